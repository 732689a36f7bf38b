package dag

import (
	"testing"
	"time"
)

// forge signs a block as author, with any parents, as a faulty one may.
func forge(rules Rules, author Author, round uint64, parents ...Ref) *Block {
	return seal(&Block{
		ref: Ref{Slot: Slot{round, author}}, network: rules.Network, epoch: rules.Epoch,
		timeMs: uint64(testStart.UnixMilli()), parents: parents,
	}, testKey(author))
}

// rung adds a round of blocks by the authors to a ladder of full rounds.
func rung(rules Rules, round uint64, below []Ref, authors ...Author) (blocks []*Block, refs []Ref) {
	for _, a := range authors {
		parents := []Ref{}
		for _, p := range below {
			if p.Author == a {
				parents = append([]Ref{p}, parents...)
			} else {
				parents = append(parents, p)
			}
		}
		b := forge(rules, a, round, parents...)
		blocks, refs = append(blocks, b), append(refs, b.Ref())
	}
	return blocks, refs
}

func genesisRefs(rules Rules) (refs []Ref) {
	for a := range rules.Committee.Size() {
		refs = append(refs, Genesis(rules.Network, rules.Epoch, Author(a)))
	}
	return refs
}

// TestMisnamedParentIsNoPanic: a block that names a parent by another slot than the parent's may wait for a second
// parent while the first is accepted and collected; when the second comes it must be dropped, not trusted to be complete.
func TestMisnamedParentIsNoPanic(t *testing.T) {
	rules := testRules(keyedCommittee(t, equal(4)...))
	core, _, err := Open(DefaultConfig(rules), testStart, Stored{})
	if err != nil {
		t.Fatal(err)
	}
	now := testStart.Add(time.Hour)
	const liar = Author(3)
	top := uint64(3 * CollectDepth)
	var ladder [][]*Block
	refs := genesisRefs(rules)
	rounds := [][]Ref{refs}
	for round := uint64(1); round <= top; round++ {
		authors := []Author{0, 1, 2}
		var blocks []*Block
		blocks, refs = rung(rules, round, refs, authors...)
		ladder = append(ladder, blocks)
		rounds = append(rounds, refs)
	}
	// x is the liar's first block; b names it as another author's block of a high round, and waits for y too.
	x := forge(rules, liar, 1, append([]Ref{rounds[0][liar]}, rounds[0][:3]...)...)
	high := uint64(CollectDepth + 20)
	y := forge(rules, liar, high, append([]Ref{x.Ref()}, rounds[high-1]...)...)
	misnamed := Ref{Slot{high, 2}, x.Ref().Digest}
	b := forge(rules, liar, high+1, y.Ref(), rounds[high][0], rounds[high][1], misnamed)
	if _, err := rules.Verify(b.Bytes()); err != nil {
		t.Fatalf("the block must pass what needs no state: %v", err)
	}
	core.Receive(now, b)
	core.Receive(now, x)
	for round := uint64(1); round <= high; round++ {
		core.Receive(now, ladder[round-1]...)
	}
	if core.Status().Collected < 1 {
		t.Fatal("x is not collected yet")
	}
	core.Receive(now, y)
	if core.Block(b.Ref().Digest) != nil {
		t.Error("a block with a misnamed parent was accepted")
	}
	for round := high + 1; round <= top; round++ {
		core.Receive(now, ladder[round-1]...)
	}
	if s := core.Status(); s.Commit == 0 || s.Top != top {
		t.Errorf("the core came to a halt: %+v", s)
	}
}

// TestNoEvidenceAgainstTheHonest: a block that is held until its time comes, and is caught up with before, is not two.
func TestNoEvidenceAgainstTheHonest(t *testing.T) {
	rules := testRules(keyedCommittee(t, equal(4)...))
	open := func() *Core {
		core, _, err := Open(DefaultConfig(rules), testStart, Stored{})
		if err != nil {
			t.Fatal(err)
		}
		return core
	}
	now := testStart.Add(time.Hour)
	ahead, behind := open(), open()
	refs := genesisRefs(rules)
	var blocks []*Block
	var commits []Commit
	for round := uint64(1); round <= 12; round++ {
		var of []*Block
		of, refs = rung(rules, round, refs, 0, 1, 2)
		if len(commits) > 0 { // all of them vote for the newest commit
			newest := commits[len(commits)-1]
			refs = refs[:0]
			for i, b := range of {
				voting := *b
				voting.votes = []Vote{{Index: newest.Index, Commit: newest.Digest}}
				of[i] = seal(&voting, testKey(b.ref.Author))
				refs = append(refs, of[i].ref)
			}
		}
		blocks = append(blocks, of...)
		commits = append(commits, ahead.Receive(now, of...).Commits...)
	}
	early := testStart.Add(-aheadMax / 2)
	if behind.Receive(early, blocks[4]); behind.Status().Waiting != 1 {
		t.Fatal("the block is not held")
	}
	e, err := behind.CatchUp(early, commits, blocks)
	if err != nil || len(e.Commits) == 0 {
		t.Fatalf("%d commits, %v", len(e.Commits), err)
	}
	if len(e.Evidence) > 0 {
		t.Errorf("evidence of %v and %v", e.Evidence[0].First.Ref(), e.Evidence[0].Second.Ref())
	}
}

// TestManyRecoveredDoNotStopTheNextEpoch: a validator that recovered in an epoch may leave out the first round of the
// next only while its old life can have been there. Once a block of its new life is committed it cannot.
func TestManyRecoveredDoNotStopTheNextEpoch(t *testing.T) {
	rules := testRules(keyedCommittee(t, equal(4)...))
	cfg := DefaultConfig(rules)
	cfg.Key = testKey(3)
	cfg.Recovering = true
	core, _, err := Open(cfg, testStart, Stored{})
	if err != nil {
		t.Fatal(err)
	}
	now := testStart.Add(time.Hour)
	for a := range Author(3) {
		core.Answer(now, a, 0)
	}
	below := genesisRefs(rules)
	closed := false
	for round := uint64(1); round < 30 && !closed; round++ {
		var flags Flags
		if round > 12 {
			flags = FlagClose
		}
		own := core.Propose(now, nil).Send
		now = now.Add(time.Second)
		var refs []Ref
		var of []*Block
		for a := range Author(3) {
			b := &Block{ref: Ref{Slot: Slot{round, a}}, network: rules.Network, timeMs: uint64(testStart.UnixMilli()), flags: flags}
			b.parents = append(b.parents, below[a])
			for _, p := range below {
				if p.Author != a {
					b.parents = append(b.parents, p)
				}
			}
			of = append(of, seal(b, testKey(a)))
			refs = append(refs, b.ref)
		}
		if len(own) > 0 && own[0].ref.Round == round {
			refs = append(refs, own[0].ref)
		} else {
			refs = append(refs, below[3])
		}
		below = refs
		closed = core.Receive(now, of...).EpochClosed
	}
	if !closed {
		t.Fatalf("the epoch did not close: %+v", core.Status())
	}
	next := rules
	next.Epoch = 1
	if _, err := core.NextEpoch(now, next); err != nil {
		t.Fatal(err)
	}
	if !core.ProposalDue(now.Add(time.Hour), true) {
		t.Error("it leaves out the first round, and with a second one like it nobody could begin")
	}
}
