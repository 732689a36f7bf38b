package node

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/holdfast-mesh/holdfast/node/api"
	"github.com/holdfast-mesh/holdfast/node/dag"
	"github.com/holdfast-mesh/holdfast/node/ledger"
	"github.com/holdfast-mesh/holdfast/node/replica"
	"github.com/holdfast-mesh/holdfast/storage"
)

// Blocks are stored by epoch, round and author. cid/<digest> leads from a block's
// CID to these, for those who walk the DAG by its links.
const prefixCID = "cid/"

// recordCID keeps cid/ in step with a record of the replica.
func recordCID(batch *storage.Batch, r replica.Record) {
	epoch, ref, ok := replica.ParseBlockKey(r.Key)
	if !ok {
		return
	}
	key := append([]byte(prefixCID), ref.Digest[:]...)
	if r.Value == nil {
		batch.Delete(key)
		return
	}
	place := binary.AppendUvarint(binary.AppendUvarint(nil, epoch), ref.Round)
	batch.Set(key, binary.AppendUvarint(place, uint64(ref.Author)))
}

// block reads a block by its digest; api.ErrNotFound if it is not here, or not
// ours to give out yet.
func (n *Node) block(d dag.Digest) ([]byte, error) {
	place, err := n.store.Get(append([]byte(prefixCID), d[:]...))
	if errors.Is(err, storage.ErrNotFound) {
		return nil, api.ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	r := eventReader{b: place}
	epoch := r.uint()
	ref := dag.Ref{Slot: dag.Slot{Round: r.uint(), Author: dag.Author(r.uint())}, Digest: d}
	if r.bad {
		return nil, fmt.Errorf("%w: where block %v is", errEventLog, d)
	}
	own := n.standing.Load().own
	if own.Validator && epoch == own.Epoch && ref.Author == own.Author && ref.Round > own.Round {
		return nil, api.ErrNotFound
	}
	raw, err := replica.BlockAt(disk{n.store}, epoch, ref)
	if err == nil && raw == nil {
		err = api.ErrNotFound
	}
	return raw, err
}

// object gives out an object by its digest: the genesis, by which a network is
// joined, or a block.
func (n *Node) object(d dag.Digest) ([]byte, error) {
	if ledger.Digest(d) == n.network {
		return n.genesis, nil
	}
	return n.block(d)
}
