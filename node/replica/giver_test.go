package replica

import (
	"testing"
	"time"

	"github.com/holdfast-mesh/holdfast/node/dag"
)

// TestWhoGivesABlockIsAskedForWhatIsBelow: a block of validator 3, given to us by
// validator 1 from its disk, misses its parents. Validator 1 has them; the author
// may withhold.
func TestWhoGivesABlockIsAskedForWhatIsBelow(t *testing.T) {
	start := time.UnixMilli(1_700_000_000_000)
	g := testGenesis(4)
	cfg := testConfig(g)
	cfg.Key = testKey(0)
	r, _, err := Open(cfg, start, newMemStore())
	if err != nil {
		t.Fatal(err)
	}
	var parents []dag.Ref
	for _, a := range []dag.Author{3, 1, 2} {
		parents = append(parents, dag.Ref{Slot: dag.Slot{Round: 4, Author: a}, Digest: dag.Digest{byte(a), 9}})
	}
	raw := dag.Draft{
		Network: r.network, Slot: dag.Slot{Round: 5, Author: 3}, TimeMs: uint64(start.UnixMilli()), Parents: parents,
	}.Sign(testKey(3))
	b, err := r.Verifier().Block(raw)
	if err != nil {
		t.Fatal(err)
	}
	asked := func(e Effects) (to []dag.Author, refs int) {
		for _, q := range e.Ask {
			if q.Kind == AskBlocks {
				to, refs = append(to, q.To), refs+len(q.Refs)
			}
		}
		return to, refs
	}
	e := r.Step(start, Input{Answers: []Answer{{From: 1, Kind: AskBlocks, Blocks: []*dag.Block{b}}}})
	if to, refs := asked(e); len(to) != 1 || to[0] != 1 || refs != 3 {
		t.Errorf("asks %v for %d blocks, want 3 of validator 1", to, refs)
	}
}
