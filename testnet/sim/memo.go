package sim

import (
	"errors"

	"github.com/holdfast-mesh/holdfast/node/dag"
	"github.com/holdfast-mesh/holdfast/node/ledger"
	"github.com/holdfast-mesh/holdfast/node/replica"
)

// memo remembers what a verifier said of bytes. All nodes of a run have the same
// genesis, so their verifiers agree; whether a signature is good
// follows from the bytes alone, and a verified block or op never changes. So
// bytes that many nodes receive are verified once for all of them, by the
// product's own verifier. This is what makes thousands of runs affordable:
// signatures are most of the work.
type memo struct {
	blocks map[[32]byte]*verdict
	ops    map[[32]byte]*verdict
	owned  int // blocks noted by own
	asked  int // operations noted by signed
}

// verdict is what verification made of some bytes.
type verdict struct {
	block *dag.Block
	op    *ledger.Op
	err   error
}

// by is the verdict as v gives it: it has none on a block whose epoch it does not know.
func (d *verdict) by(v *replica.Verifier) *verdict {
	if d.block != nil && !v.Knows(d.block.Epoch()) {
		return &verdict{err: replica.ErrEpoch}
	}
	return d
}

func newMemo() *memo {
	return &memo{blocks: make(map[[32]byte]*verdict), ops: make(map[[32]byte]*verdict)}
}

// block verifies with v what nobody has verified yet. That v does not know the
// block's epoch says nothing of the bytes, so it is not remembered.
func (m *memo) block(v *replica.Verifier, b []byte) *verdict {
	key := digestOf(b)
	known := m.blocks[key]
	if known == nil {
		block, err := v.Block(b)
		known = &verdict{block: block, err: err}
		if !errors.Is(err, replica.ErrEpoch) {
			m.blocks[key] = known
		}
	}
	return known.by(v)
}

// own notes a block that an honest node of this run has just signed with the
// product's own code, and returns what a receiver will find: its signature is good
// by construction. One in ownChecked is verified all the same, so that a fault in
// signing would not stay hidden. The payload is decoded anew, for a receiver shares
// nothing with the author.
func (m *memo) own(v *replica.Verifier, b *dag.Block) *verdict {
	if m.owned++; m.owned%ownChecked == 0 {
		return m.block(v, b.Bytes())
	}
	received, err := dag.TrustedBlock(b.Bytes(), m.trustedOps)
	known := &verdict{block: received, err: err}
	m.blocks[[32]byte(b.Ref().Digest)] = known
	return known
}

// signed notes an operation that a client of this run has just signed with the
// product's own code, as own notes a block: one in ownChecked is left for the first
// gateway to verify.
func (m *memo) signed(b []byte, id ledger.Digest) {
	if m.asked++; m.asked%ownChecked == 0 {
		return
	}
	op, err := ledger.TrustedOp(b)
	m.ops[id] = &verdict{op: op, err: err}
}

// ownChecked is the share of what the run signs itself that is verified like bytes of
// a stranger. A run of some seconds has dozens of each; liars' bytes are always verified.
const ownChecked = 8

// trustedOps makes of a payload what the product's verifier makes of it.
func (m *memo) trustedOps(payload [][]byte) (any, error) {
	ops := make([]*ledger.Op, len(payload))
	for i, raw := range payload {
		op, err := ledger.TrustedOp(raw)
		if err != nil {
			return nil, err
		}
		ops[i] = op
	}
	return ops, nil
}

func (m *memo) op(v *replica.Verifier, b []byte) *verdict {
	key := digestOf(b)
	known := m.ops[key]
	if known == nil {
		op, err := v.Op(b)
		known = &verdict{op: op, err: err}
		m.ops[key] = known
	}
	return known
}
