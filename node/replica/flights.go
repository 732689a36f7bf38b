package replica

import (
	"github.com/holdfast-mesh/holdfast/node/dag"
	"github.com/holdfast-mesh/holdfast/node/ledger"
)

// flights are the accepted blocks of the epoch that are above the collected
// round, by round, with their operations. They tell the pool what is under way.
type flights struct {
	base   uint64 // rounds at and below it are collected
	rounds [][]flight
}

type flight struct {
	digest dag.Digest
	ops    []*ledger.Op
	landed bool // committed
}

// add takes note of an accepted block.
func (f *flights) add(ref dag.Ref, ops []*ledger.Op) {
	if ref.Round <= f.base {
		return
	}
	for uint64(len(f.rounds)) < ref.Round-f.base {
		f.rounds = append(f.rounds, nil)
	}
	at := ref.Round - f.base - 1
	if f.rounds[at] == nil && at > 0 {
		f.rounds[at] = make([]flight, 0, cap(f.rounds[at-1])) // rounds are alike
	}
	f.rounds[at] = append(f.rounds[at], flight{digest: ref.Digest, ops: ops})
}

// land returns the operations of a block that a commit has ordered.
func (f *flights) land(ref dag.Ref) (ops []*ledger.Op, found bool) {
	if ref.Round <= f.base || ref.Round-f.base > uint64(len(f.rounds)) {
		return nil, false
	}
	round := f.rounds[ref.Round-f.base-1]
	for i := range round {
		if round[i].digest == ref.Digest {
			round[i].landed = true
			return round[i].ops, true
		}
	}
	return nil, false
}

// collect forgets the rounds up to one and returns the operations of the blocks
// there that no commit has ordered, and none will.
func (f *flights) collect(round uint64) (dropped [][]*ledger.Op) {
	n := min(round-min(f.base, round), uint64(len(f.rounds)))
	for _, blocks := range f.rounds[:n] {
		for _, b := range blocks {
			if !b.landed && len(b.ops) > 0 {
				dropped = append(dropped, b.ops)
			}
		}
	}
	clear(f.rounds[:n])
	f.rounds = f.rounds[n:]
	f.base = max(f.base, round)
	return dropped
}
