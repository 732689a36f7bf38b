package dag

import (
	"testing"
)

// handGraph feeds full rounds to a rule: every present author points to every
// block of the round before.
type handGraph struct {
	g    *graph
	r    *rule
	last []Ref
}

func newHandGraph(t testing.TB, n int) *handGraph {
	weights := make([]uint64, n)
	for i := range weights {
		weights[i] = 1
	}
	c := testCommittee(t, weights...)
	leaders := func(round uint64) []Author { return []Author{Author(round % uint64(n))} }
	return &handGraph{g: newGraph(n, 0), r: newRule(c, leaders, 1)}
}

func (h *handGraph) round(round uint64, present ...Author) {
	var now []Ref
	for _, a := range present {
		ref := Ref{Slot{round, a}, Digest{byte(round), byte(round >> 8), byte(a)}}
		h.r.observe(h.g.add(ref, h.last, nil))
		now = append(now, ref)
	}
	h.last = now
}

func TestRuleCommitsInThreeRounds(t *testing.T) {
	h := newHandGraph(t, 4)
	for round := uint64(1); round <= 9; round++ {
		h.round(round, 0, 1, 2) // author 3 is never here
		for _, s := range h.r.decide(h.g) {
			if s.slot.Round != round-2 {
				t.Errorf("round %d decides the leader of %d", round, s.slot.Round)
			}
			want := committed
			if s.slot.Author == 3 {
				want = skipped
			}
			if s.decision != want || !s.direct {
				t.Errorf("leader %v: %v, direct %v; want %v", s.slot, s.decision, s.direct, want)
			}
		}
	}
	if h.r.next != 7 {
		t.Errorf("%d leader rounds decided, want 7", h.r.next)
	}
}

func TestLineariseTakesEachBlockOnce(t *testing.T) {
	h := newHandGraph(t, 4)
	seen := map[Digest]bool{}
	for round := uint64(1); round <= 40; round++ {
		h.round(round, 0, 1, 2, 3)
		for _, s := range h.r.decide(h.g) {
			blocks := h.g.linearise(s.block)
			for i, v := range blocks {
				if seen[v.ref.Digest] {
					t.Errorf("block %v twice", v.ref)
				}
				seen[v.ref.Digest] = true
				if i > 0 && blocks[i-1].ref.Round > v.ref.Round {
					t.Errorf("block %v after %v", v.ref, blocks[i-1].ref)
				}
			}
			if blocks[len(blocks)-1] != s.block {
				t.Errorf("leader %v is not last in its commit", s.block.ref)
			}
		}
	}
	if len(seen) != 37*4+1 {
		t.Errorf("%d blocks ordered, want all of 37 rounds and a leader", len(seen))
	}
}
