package replica

import (
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/holdfast-mesh/holdfast/node/dag"
	"github.com/holdfast-mesh/holdfast/node/ledger"
)

// snapshots is which snapshots are on disk and which is to be made.
//
// A snapshot is due at each certified checkpoint that is a multiple of
// SnapshotEvery. It is made beside the loop from the disk alone: the ledger
// of the snapshot before, and the commits since. So the loop never stops for it, and a
// snapshot is also a test: its root is what a quorum signed, or it is not kept.
type snapshots struct {
	every  uint64
	stored []Manifest // complete ones on disk, ascending; without their chunks' digests
	due    Checkpoint // zero when there is none
	making bool
}

// SnapshotRequest says which snapshot to make.
type SnapshotRequest struct {
	Genesis *ledger.Genesis
	Checkpoint
}

// reached looks whether a checkpoint of ours that a quorum has signed is due to
// be kept.
func (s *snapshots) reached(ours, certified Checkpoint) {
	if ours == certified && ours.Index%s.every == 0 && ours.Index > s.newest() {
		s.due = ours
	}
}

func (s *snapshots) newest() uint64 {
	if len(s.stored) == 0 {
		return 0
	}
	return s.stored[len(s.stored)-1].Index
}

// snapshotDue asks for the snapshot, one at a time.
func (r *Replica) snapshotDue() {
	s := &r.snapshots
	if s.making || s.due.Index == 0 || r.pruning.active() {
		return
	}
	s.making = true
	r.effects.SnapshotDue = &SnapshotRequest{Genesis: r.cfg.Genesis, Checkpoint: s.due}
	s.due = Checkpoint{}
}

func (r *Replica) snapshotDone(d SnapshotDone) {
	s := &r.snapshots
	s.making = false
	if d.Failed || d.Index <= s.newest() {
		return
	}
	raw, err := get(r.store, indexKey(prefixManifest, d.Index))
	if err != nil || raw == nil {
		return // the next one will do
	}
	m, err := DecodeManifest(raw)
	if err != nil {
		return
	}
	m.Chunks = nil
	s.stored = append(s.stored, m)
	r.pruneLater()
}

// errSnapshot says that what is on disk does not make the state a quorum signed.
var errSnapshot = errors.New("replica: the disk does not give the state that a quorum signed")

// BuildSnapshot makes the snapshot a replica asked for. It reads the disk and
// has a ledger of its own, so it runs beside the loop, on another goroutine. put
// makes each record durable, in the order given; the last one completes the
// snapshot. Afterwards the replica is told by Input.Snapshot.
//
// An error of put ends it. errSnapshot would mean that this program or this disk
// miscalculates: the snapshot is not kept and the replica goes on without.
func BuildSnapshot(st Store, req SnapshotRequest, put func(Record) error) error {
	l, last, err := restoreNewest(st, req.Genesis, req.Index)
	if err != nil {
		return err
	}
	for last.Index < req.Index {
		c, ops, err := storedCommit(st, last.Index+1, last.Commit)
		if err != nil {
			return err
		}
		l.Apply(batchOf(&Commit{Index: c.Index, Digest: c.Digest, TimeMs: int64(c.TimeMs), Ops: ops}))
		last = Checkpoint{Index: c.Index, Commit: c.Digest}
	}
	last.Root = l.Root()
	if last != req.Checkpoint {
		return fmt.Errorf("%w after commit %d", errSnapshot, req.Index)
	}
	m := Manifest{Checkpoint: req.Checkpoint}
	err = writeChunks(l, func(chunk []byte) error {
		m.Chunks = append(m.Chunks, sha256.Sum256(chunk))
		return put(Record{chunkKey(req.Index, uint32(len(m.Chunks)-1)), chunk})
	})
	if err != nil {
		return err
	}
	return put(Record{indexKey(prefixManifest, req.Index), m.Bytes()})
}

// storedCommit reads a commit and its operations from the disk. They were
// verified before they were written; that they are the same is checked by digest.
func storedCommit(st Store, index uint64, previous dag.Digest) (dag.Commit, []ledger.Op, error) {
	raw, err := get(st, indexKey(prefixCommit, index))
	if err != nil {
		return dag.Commit{}, nil, err
	}
	if raw == nil {
		return dag.Commit{}, nil, fmt.Errorf("%w: commit %d is missing", ErrDamaged, index)
	}
	c, err := dag.DecodeCommit(raw)
	if err != nil {
		return dag.Commit{}, nil, fmt.Errorf("%w: commit %d: %w", ErrDamaged, index, err)
	}
	if c.Index != index || c.Previous != previous {
		return dag.Commit{}, nil, fmt.Errorf("%w: commit %d does not follow on the one before", ErrDamaged, index)
	}
	var ops []ledger.Op
	for _, ref := range c.Refs {
		raw, err := getBlock(st, c.Epoch, ref)
		if err != nil {
			return dag.Commit{}, nil, err
		}
		if raw == nil {
			return dag.Commit{}, nil, fmt.Errorf("%w: block %v of commit %d is missing", ErrDamaged, ref, index)
		}
		b, err := dag.TrustedBlock(raw, trustedOps)
		if err != nil {
			return dag.Commit{}, nil, fmt.Errorf("%w: block %v: %w", ErrDamaged, ref, err)
		}
		trusted, _ := b.Checked().([]*ledger.Op)
		for _, op := range trusted {
			ops = append(ops, *op)
		}
	}
	return c, ops, nil
}

// trustedOps decodes operations that were verified before they were stored.
func trustedOps(payload [][]byte) (any, error) {
	ops := make([]*ledger.Op, len(payload))
	for i, raw := range payload {
		op, err := ledger.TrustedOp(raw)
		if err != nil {
			return nil, fmt.Errorf("operation %d: %w", i, err)
		}
		ops[i] = op
	}
	return ops, nil
}

// restoreNewest restores the newest complete snapshot at or below an index, or
// the genesis. A damaged one is passed over: the one before and the commits since
// lead to the same state.
func restoreNewest(st Store, genesis *ledger.Genesis, most uint64) (*ledger.Ledger, Checkpoint, error) {
	manifests, err := storedManifests(st)
	if err != nil {
		return nil, Checkpoint{}, err
	}
	var damage error
	for i := len(manifests) - 1; i >= 0; i-- {
		if manifests[i].Index > most {
			continue
		}
		l, err := restoreSnapshot(st, &manifests[i])
		if err == nil {
			return l, manifests[i].Checkpoint, nil
		}
		damage = errors.Join(damage, err)
	}
	l, err := ledger.New(genesis)
	if err != nil {
		return nil, Checkpoint{}, err
	}
	id, err := genesis.ID()
	if err != nil {
		return nil, Checkpoint{}, err
	}
	if damage != nil {
		if _, ok, err := st.Get(indexKey(prefixCommit, 1)); err != nil || !ok {
			return nil, Checkpoint{}, fmt.Errorf("no snapshot on disk can be restored: %w", damage)
		}
	}
	return l, Checkpoint{Commit: dag.Digest(id)}, nil
}

// restoreSnapshot restores one snapshot and checks that it is the state its
// manifest names.
func restoreSnapshot(st Store, m *Manifest) (*ledger.Ledger, error) {
	restorer := ledger.NewRestorer()
	for i, want := range m.Chunks {
		chunk, err := get(st, chunkKey(m.Index, uint32(i)))
		if err != nil {
			return nil, err
		}
		if sha256.Sum256(chunk) != want {
			return nil, fmt.Errorf("%w: chunk %d of snapshot %d", ErrDamaged, i, m.Index)
		}
		if err := restorer.Add(chunk); err != nil {
			return nil, fmt.Errorf("chunk %d of snapshot %d: %w", i, m.Index, err)
		}
	}
	l, err := restorer.Finish()
	if err != nil {
		return nil, fmt.Errorf("snapshot %d: %w", m.Index, err)
	}
	if l.Root() != m.Root {
		return nil, fmt.Errorf("%w: snapshot %d has another root than its manifest", ErrDamaged, m.Index)
	}
	return l, nil
}

// storedManifests are the complete snapshots, ascending.
func storedManifests(st Store) ([]Manifest, error) {
	var manifests []Manifest
	for rec, err := range st.Scan([]byte(prefixManifest), nil) {
		if err != nil {
			return nil, fmt.Errorf("replica: scanning snapshots: %w", err)
		}
		m, err := DecodeManifest(rec.Value)
		if err != nil {
			return nil, fmt.Errorf("%w: manifest %q: %w", ErrDamaged, rec.Key, err)
		}
		manifests = append(manifests, m)
	}
	return manifests, nil
}
