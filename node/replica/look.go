package replica

import (
	"fmt"

	"github.com/holdfast-mesh/holdfast/node/dag"
	"github.com/holdfast-mesh/holdfast/node/ledger"
)

// What others than a replica may look up on its disk. Any goroutine may call
// these, and each record is checked.

// CommitAt returns a stored commit; ok is false before it is executed and after
// it is pruned.
func CommitAt(st Store, index uint64) (c dag.Commit, ok bool, err error) {
	raw, err := get(st, indexKey(prefixCommit, index))
	if raw == nil {
		return dag.Commit{}, false, err
	}
	if c, err = dag.DecodeCommit(raw); err != nil || c.Index != index {
		return dag.Commit{}, false, fmt.Errorf("%w: commit %d: %w", ErrDamaged, index, err)
	}
	return c, true, nil
}

// BlockAt returns the bytes of a stored block, nil if it is not there.
func BlockAt(st Store, epoch uint64, ref dag.Ref) ([]byte, error) { return getBlock(st, epoch, ref) }

// ParseBlockKey tells which block a record is; ok is false for other records.
func ParseBlockKey(key []byte) (epoch uint64, ref dag.Ref, ok bool) { return parseBlockKey(key) }

// NewestCertificate returns the newest certified checkpoint on disk; ok is false
// before the first.
func NewestCertificate(st Store) (c Certificate, ok bool, err error) {
	index, err := newestIndex(st, prefixCheckpoint)
	if err != nil || index == 0 {
		return Certificate{}, false, err
	}
	raw, err := get(st, indexKey(prefixCheckpoint, index))
	if raw == nil {
		return Certificate{}, false, err
	}
	if c, err = DecodeCertificate(raw); err != nil {
		return Certificate{}, false, fmt.Errorf("%w: checkpoint %d: %w", ErrDamaged, index, err)
	}
	return c, true, nil
}

// Included reports whether an operation is in an accepted block that is not
// committed yet. Only between steps.
func (r *Replica) Included(id ledger.Digest) bool { return r.pool.flying[id] > 0 }

// PoolFull is how full the pool is: 0 is empty, at 1 operations are refused.
func (r *Replica) PoolFull() float64 { return float64(r.pool.cost) / float64(r.pool.costMax) }
