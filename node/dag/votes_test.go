package dag

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"
)

// voting makes blocks for a core by hand, with chosen votes.
type voting struct {
	t      *testing.T
	core   *Core
	rules  Rules
	round  uint64
	last   []Ref
	late   *Ref            // author 0 points to this in its next block
	absent map[Author]bool // make no blocks
	made   map[Slot]Ref
	timeMs uint64
}

func newVoting(t *testing.T, weights ...uint64) *voting {
	rules := testRules(keyedCommittee(t, weights...))
	v := &voting{t: t, rules: rules, core: follower(t, rules), made: map[Slot]Ref{}, timeMs: nowMs(testStart)}
	for a := range weights {
		v.last = append(v.last, Genesis(rules.Network, 0, Author(a)))
	}
	return v
}

// next makes a full round in which author a casts votes[a].
func (v *voting) next(votes map[Author][]Vote) Effects {
	v.round++
	var blocks []*Block
	var refs []Ref
	for a := range v.last {
		if v.absent[v.last[a].Author] {
			continue
		}
		b := &Block{ref: Ref{Slot: Slot{v.round, Author(a)}}, network: v.rules.Network, timeMs: v.timeMs,
			parents: append([]Ref{v.last[a]}, without(v.last, a)...), votes: votes[Author(a)]}
		if a == 0 && v.late != nil {
			b.parents = append(b.parents, *v.late)
			v.late = nil
		}
		b.raw = appendBlock(nil, b, make64())
		b.ref.Digest = digestOf(b.raw)
		blocks, refs = append(blocks, b), append(refs, b.ref)
		v.made[b.ref.Slot] = b.ref
	}
	v.last = refs
	return v.core.Receive(testStart.Add(time.Second), blocks...)
}

func TestVotesCertify(t *testing.T) {
	v := newVoting(t, 4, 3, 2, 1) // Q is 7
	var commits []Commit
	for len(commits) < 8 {
		commits = append(commits, v.next(nil).Commits...)
	}
	vote := func(i int) []Vote { return []Vote{{Index: uint64(i), Commit: commits[i-1].Digest}} }
	for _, step := range []struct {
		votes map[Author][]Vote
		want  uint64
	}{
		{map[Author][]Vote{0: vote(5)}, 0},             // 4
		{map[Author][]Vote{2: vote(3)}, 0},             // 4+2
		{map[Author][]Vote{1: vote(2)}, 2},             // 4+2+3 for 2
		{map[Author][]Vote{3: vote(8)}, 3},             // 4+2+1 for 3
		{map[Author][]Vote{1: vote(1)}, 3},             // an older vote takes nothing back
		{map[Author][]Vote{1: vote(7), 2: vote(6)}, 5}, // 4+3+... for 5
	} {
		v.next(step.votes)
		if got := v.core.Status().Certified; got != step.want {
			t.Errorf("votes %v: certified %d, want %d", step.votes, got, step.want)
		}
	}
}

// A vote for a commit that we have not made yet counts, or is held against its
// author, once we have made it.
func TestVotesAheadOfUs(t *testing.T) {
	n := busyNetwork(t, equal(4), 30)
	third := n.nodes[0].commits[2].Digest
	for _, claim := range []Digest{third, {0xff}} {
		late := follower(t, n.rules)
		for a := range Author(3) { // as if they stood in blocks that came first
			late.votes.authors[a].ahead = []Vote{{Index: 3, Commit: claim}}
		}
		var faults []error
		for _, b := range n.nodes[0].disk {
			if late.Status().Commit < 3 {
				faults = append(faults, late.Receive(n.now, b).Faults...)
			}
		}
		if s := late.Status(); claim == third && (s.Certified != 3 || len(faults) > 0) {
			t.Errorf("three votes for our third commit: certified %d, faults %v", s.Certified, faults)
		} else if claim != third && (s.Certified >= 3 || len(faults) != 1) {
			t.Errorf("three votes for another third commit: certified %d, faults %v", s.Certified, faults)
		}
	}
}

// More than F weight for another commit than ours is a fault; F is not.
func TestVotesForAnotherCommit(t *testing.T) {
	v := newVoting(t, equal(4)...)
	for range 6 {
		v.next(nil)
	}
	other := []Vote{{Index: 2, Commit: Digest{0xbb}}}
	if e := v.next(map[Author][]Vote{0: other}); len(e.Faults) != 0 {
		t.Errorf("one of four votes for another commit: %v", e.Faults)
	}
	e := v.next(map[Author][]Vote{1: other})
	var d *Divergence
	if len(e.Faults) != 1 || !errors.As(e.Faults[0], &d) || d.Index != 2 || d.Theirs != (Digest{0xbb}) || d.Weight != 2 || d.Checkpoint {
		t.Errorf("faults %v", e.Faults)
	}
	if e := v.next(map[Author][]Vote{2: other}); len(e.Faults) != 0 {
		t.Errorf("reported again: %v", e.Faults)
	}
	if v.core.Status().Certified != 0 {
		t.Error("votes for another commit certify ours")
	}
}

func TestCheckpoints(t *testing.T) {
	v := newVoting(t, equal(4)...)
	for range 6 {
		v.next(nil)
	}
	point := Vote{Index: 2, Commit: Digest{1}, Checkpoint: true, Root: [32]byte{7}}
	wrong := point
	wrong.Root[0]++
	var blocks []*Block
	e := v.next(map[Author][]Vote{0: {point}, 1: {wrong}})
	blocks = append(blocks, e.Persist...)
	if len(e.Checkpoints) != 0 {
		t.Errorf("certified by one: %v", e.Checkpoints)
	}
	e = v.next(map[Author][]Vote{0: {point}, 2: {point}})
	blocks = append(blocks, e.Persist...)
	if len(e.Checkpoints) != 0 {
		t.Errorf("certified by two, one of them twice: %v", e.Checkpoints)
	}
	e = v.next(map[Author][]Vote{3: {point}})
	blocks = append(blocks, e.Persist...)
	if len(e.Checkpoints) != 1 {
		t.Fatalf("checkpoints %v", e.Checkpoints)
	}
	cp := e.Checkpoints[0]
	if cp.Index != 2 || cp.Commit != point.Commit || cp.Root != point.Root || len(cp.Voters) != 3 {
		t.Errorf("checkpoint %+v", cp)
	}
	if err := VerifyCheckpoint(v.rules.Committee, cp, blocks); err != nil {
		t.Error(err)
	}
	votersOnly := slices.DeleteFunc(slices.Clone(blocks), func(b *Block) bool { return !slices.Contains(cp.Voters, b.ref) })
	if err := VerifyCheckpoint(v.rules.Committee, cp, votersOnly); err != nil {
		t.Errorf("by the voters named: %v", err)
	}
	if err := VerifyCheckpoint(v.rules.Committee, cp, votersOnly[1:]); err == nil {
		t.Error("two of four certify")
	}
	if err := VerifyState(v.rules.Committee, cp, votersOnly[1:]); err != nil {
		t.Errorf("two of four, of which one is honest: %v", err)
	}
	if err := VerifyState(v.rules.Committee, cp, []*Block{votersOnly[0], votersOnly[0]}); err == nil {
		t.Error("one of four, twice, shows a state")
	}
	cp.Root[5]++
	if err := VerifyCheckpoint(v.rules.Committee, cp, blocks); err == nil {
		t.Error("another root is certified")
	}
	if err := VerifyState(v.rules.Committee, cp, blocks); err == nil {
		t.Error("another root is shown")
	}
	if e := v.next(map[Author][]Vote{1: {point}}); len(e.Checkpoints) != 0 {
		t.Errorf("certified again: %v", e.Checkpoints)
	}
}

// Validators vote for the newest commit and for the checkpoints they are given,
// and these become certified; a validator with another root is told.
func TestCheckpointsInANetwork(t *testing.T) {
	n := newNetwork(t, equal(4)...)
	n.start()
	voted := make([]int, 4)
	for i := range 100 {
		o := n.nodes[i%4]
		o.pending = append(o.pending, op(fmt.Sprintf("op %d", i)))
		o.step(o.core.Tick)
		n.run(20 * time.Millisecond)
		for a, o := range n.nodes {
			for ; voted[a]+10 <= len(o.commits); voted[a] += 10 {
				c := o.commits[voted[a]+9]
				root := [32]byte{byte(c.Index)}
				if a == 2 && c.Index >= 30 {
					root[1] = 1 // it computes something else from here on
				}
				o.core.VoteCheckpoint(c.Index, c.Digest, root)
			}
		}
	}
	n.run(3 * time.Second)
	for a, o := range n.nodes {
		if len(o.points) < 4 {
			t.Errorf("node %d: %d checkpoints certified", a, len(o.points))
		}
		for i, cp := range o.points {
			if cp.Index != uint64(10*(i+1)) || cp.Commit != o.commits[cp.Index-1].Digest || cp.Root != ([32]byte{byte(cp.Index)}) {
				t.Errorf("node %d: checkpoint %+v", a, cp)
			}
			var blocks []*Block
			for _, ref := range cp.Voters {
				blocks = append(blocks, o.byRef[ref.Digest])
			}
			if err := VerifyCheckpoint(n.rules.Committee, cp, blocks); err != nil {
				t.Error(err)
			}
		}
		var d *Divergence
		switch {
		case a != 2 && len(o.faults) > 0:
			t.Errorf("node %d: %v", a, o.faults)
		case a == 2 && (len(o.faults) == 0 || !errors.As(o.faults[0], &d) || !d.Checkpoint || d.Index != 30):
			t.Errorf("node 2 has another root and is told %v", o.faults)
		}
	}
}

// What is remembered of votes stays bounded whatever authors state.
func TestVotesAreBounded(t *testing.T) {
	v := newVoting(t, equal(4)...)
	for i := range uint64(200) {
		var votes []Vote
		for k := range uint64(VotesMax) {
			votes = append(votes, Vote{Index: 1 + i*VotesMax + k, Commit: Digest{byte(k)}, Checkpoint: k%2 == 0})
		}
		v.next(map[Author][]Vote{0: votes})
	}
	a := &v.core.votes.authors[0]
	if len(a.ahead) > votesKept || len(a.checkpoints) > votesKept {
		t.Errorf("%d votes ahead and %d checkpoints kept, at most %d", len(a.ahead), len(a.checkpoints), votesKept)
	}
	if len(v.core.votes.recent) > 2*recentCommits {
		t.Errorf("%d digests kept", len(v.core.votes.recent))
	}
	for i := range uint64(20) {
		v.core.VoteCheckpoint(i+1, Digest{}, [32]byte{})
	}
	if n := len(v.core.ownVotes()); n > VotesMax {
		t.Errorf("%d votes for one block", n)
	}
}
