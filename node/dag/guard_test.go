package dag

import (
	"testing"
	"time"
)

// TestOwnMissingLeaderIsNotWaitedFor: a round we led and left out is passed at once.
func TestOwnMissingLeaderIsNotWaitedFor(t *testing.T) {
	core, m, _ := validatorCore(t, nil)
	below := ones(m, 1, 2, 3)
	round := uint64(1)
	for LeaderOf(m.rules.Committee, m.rules.Network, 0, round) != 0 {
		core.Receive(testStart, below...)
		round++
		var next []*Block
		for i, a := range []Author{1, 2, 3} {
			parents := []*Block{below[i]}
			for k, p := range below {
				if k != i {
					parents = append(parents, p)
				}
			}
			next = append(next, m.block(round, a, nowMs(testStart), parents...))
		}
		below = next
	}
	core.Receive(testStart, below...) // a quorum fills the round we lead: the clock leaves it
	if s := core.Status(); s.Round != round+1 || s.OwnRound != 0 {
		t.Fatalf("the clock is at %d, our newest at %d; the test needs it past round %d without us", s.Round, s.OwnRound, round)
	}
	if !core.ProposalDue(testStart.Add(minRoundDefault), true) {
		t.Error("waits for a block that nobody but itself could make")
	}
}

// TestOneLiarIsNotFarAhead: what a single author claims about the rounds is no
// reason to catch up; what authors with an honest one among them show is.
func TestOneLiarIsNotFarAhead(t *testing.T) {
	core, m, _ := validatorCore(t, nil)
	far := func(a Author) *Block {
		var parents []*Block
		for _, p := range []Author{a, 0, 1, 2, 3} {
			if p != a || len(parents) == 0 {
				parents = append(parents, m.block(1_000_000, p, nowMs(testStart)))
			}
		}
		return m.block(1_000_001, a, nowMs(testStart), parents...)
	}
	core.Receive(testStart, far(3))
	if s := core.Status(); s.Waiting != 1 || s.Seen != s.Top {
		t.Errorf("one liar's block of round 1 000 001 is believed: seen %d, %d waiting", s.Seen, s.Waiting)
	}
	core.Receive(testStart, far(2))
	if s := core.Status(); s.Seen != 1_000_001 {
		t.Errorf("two of four are at round 1 000 001, seen is %d", s.Seen)
	}
}

// TestClockSetBack: an hour back, and the next block is due as soon as before, a
// missing ancestor is asked for as soon as before.
func TestClockSetBack(t *testing.T) {
	core, m, _ := validatorCore(t, nil)
	now := testStart.Add(2 * time.Hour)
	core.Propose(now, [][]byte{op("a")})
	core.Receive(now, ones(m, 1, 2, 3)...)
	missing := m.block(1, 3, nowMs(testStart)+1)
	core.Receive(now, m.block(2, 3, nowMs(testStart), missing, ones(m, 1)[0], ones(m, 2)[0]))

	now = now.Add(-time.Hour)
	e := core.Tick(now)
	if got := core.ProposalAt(true); got.After(now.Add(minRoundDefault)) {
		t.Errorf("the next block is due %v after the clock was set back", got.Sub(now))
	}
	if e.WakeAt.After(now.Add(askAgainAfter)) {
		t.Errorf("sleeps for %v", e.WakeAt.Sub(now))
	}
	if e := core.Tick(now.Add(askAgainAfter)); len(e.Fetch) != 1 || e.Fetch[0].Ref != missing.ref {
		t.Errorf("asks for %v, want %v", e.Fetch, missing.ref)
	}
}

// TestEvidenceIsBounded: a liar that signs pairs for ever more rounds does not
// fill what is kept of it.
func TestEvidenceIsBounded(t *testing.T) {
	core, m, _ := validatorCore(t, nil)
	proofs := 0
	for i := range uint64(10 * proofsMax) {
		parent := m.block(1_000_000-2*i, 3, nowMs(testStart))
		for ms := range uint64(2) {
			e := core.Receive(testStart, m.block(parent.ref.Round+1, 3, nowMs(testStart)+ms, parent))
			proofs += len(e.Evidence)
		}
	}
	if proofs != proofsMax || len(core.proved) != proofsMax {
		t.Errorf("%d proofs against one author, %d slots remembered, want %d", proofs, len(core.proved), proofsMax)
	}
}
