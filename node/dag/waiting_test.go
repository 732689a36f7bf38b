package dag

import (
	"slices"
	"testing"
	"time"
)

// byHand makes unsigned blocks of one network in any shape.
type byHand struct{ rules Rules }

func (m byHand) block(round uint64, author Author, timeMs uint64, parents ...*Block) *Block {
	b := &Block{ref: Ref{Slot: Slot{round, author}}, network: m.rules.Network, timeMs: timeMs}
	for _, p := range parents {
		b.parents = append(b.parents, p.ref)
	}
	if len(parents) == 0 {
		for a := range Author(m.rules.Committee.Size()) {
			b.parents = append(b.parents, Genesis(m.rules.Network, 0, a))
		}
	}
	b.raw = appendBlock(nil, b, make([]byte, 64))
	b.ref.Digest = digestOf(b.raw)
	return b
}

func nowMs(t time.Time) uint64 { return uint64(t.UnixMilli()) }

func TestBlocksWaitForTheirAncestors(t *testing.T) {
	maker := newBlockMaker(t, 4)
	var rounds [][]*Block
	for range 6 {
		rounds = append(rounds, maker.next())
	}
	core := follower(t, maker.rules)
	e := core.Receive(testStart, rounds[2][1])
	if len(e.Persist) != 0 || len(e.Fetch) != 4 {
		t.Fatalf("accepts %d, fetches %d, want none and its 4 parents", len(e.Persist), len(e.Fetch))
	}
	for i, m := range e.Fetch {
		if m.Ref != rounds[2][1].parents[i] || m.From != 1 || m.Attempt != 0 {
			t.Errorf("fetches %+v", m)
		}
	}
	// A second block on the same parents asks for nothing new.
	if e := core.Receive(testStart, rounds[2][0]); len(e.Fetch) != 0 {
		t.Errorf("fetches %v again", e.Fetch)
	}
	// Unanswered, the request goes to somebody else.
	if e := core.Tick(testStart.Add(askAgainAfter - 1)); len(e.Fetch) != 0 {
		t.Errorf("asks again too early: %v", e.Fetch)
	}
	wake := core.Tick(testStart.Add(askAgainAfter - 1)).WakeAt
	if !wake.Equal(testStart.Add(askAgainAfter)) {
		t.Errorf("wants to be woken at %v", wake)
	}
	var asked []Author
	for now := wake; len(asked) < 3; now = now.Add(askAgainAfter) {
		e := core.Tick(now)
		if len(e.Fetch) != 4 {
			t.Fatalf("asks again for %d, want 4", len(e.Fetch))
		}
		asked = append(asked, e.Fetch[0].From)
	}
	if !slices.Contains(asked, 0) || len(slices.Compact(slices.Clone(asked))) < 2 {
		t.Errorf("asked only %v", asked)
	}
	now := testStart.Add(time.Minute)
	for _, b := range rounds[1] {
		if e := core.Receive(now, b); len(e.Persist) != 0 {
			t.Errorf("accepted %v without its parents", e.Persist)
		}
	}
	// What waits itself is not asked for; what it waits for is.
	for _, m := range core.Tick(now.Add(askAgainAfter)).Fetch {
		if m.Ref.Round != 1 {
			t.Errorf("asks for %v, which is here and waits", m.Ref)
		}
	}
	e = core.Receive(now, rounds[0]...)
	if len(e.Persist) != 10 {
		t.Errorf("accepted %d blocks, want all 10", len(e.Persist))
	}
	seen := map[Digest]bool{}
	for _, b := range e.Persist {
		for _, p := range b.parents {
			if p.Round > 0 && !seen[p.Digest] {
				t.Errorf("block %v stands before its parent %v", b.ref, p)
			}
		}
		seen[b.ref.Digest] = true
	}
	if s := core.Status(); s.Waiting != 0 || s.Wanted != 0 {
		t.Errorf("%d still wait, %d are wanted", s.Waiting, s.Wanted)
	}
	if e := core.Tick(now.Add(time.Minute)); len(e.Fetch) != 0 {
		t.Errorf("still fetches %v", e.Fetch)
	}
}

func TestBlocksAheadOfTimeAreHeld(t *testing.T) {
	rules := testRules(keyedCommittee(t, equal(4)...))
	core := follower(t, rules)
	make := byHand{rules}
	now := testStart
	soon := make.block(1, 0, nowMs(now)+500)
	far := make.block(1, 1, nowMs(now)+501)
	e := core.Receive(now, soon, far)
	if len(e.Persist) != 0 || !e.WakeAt.Equal(now.Add(500*time.Millisecond)) {
		t.Errorf("accepts %d, wakes at %v", len(e.Persist), e.WakeAt)
	}
	if e := core.Tick(now.Add(499 * time.Millisecond)); len(e.Persist) != 0 {
		t.Error("accepted before its time")
	}
	// What builds on it does not fetch what is here.
	child := make.block(2, 0, nowMs(now), soon, make.block(1, 2, nowMs(now)), make.block(1, 3, nowMs(now)))
	if e := core.Receive(now.Add(499*time.Millisecond), child); len(e.Fetch) != 2 {
		t.Errorf("fetches %v, want the two that are not here", e.Fetch)
	}
	if e := core.Tick(now.Add(500 * time.Millisecond)); len(e.Persist) != 1 || e.Persist[0] != soon {
		t.Errorf("accepts %v when its time has come", e.Persist)
	}
	if e := core.Tick(now.Add(time.Hour)); len(e.Persist) != 0 {
		t.Errorf("accepts %v, which was dropped", e.Persist)
	}
	if e := core.Receive(now.Add(time.Second), far); len(e.Persist) != 1 {
		t.Error("refuses for ever what came too early once")
	}
}

// One faulty author fills its own share of the waiting room and no more; what
// is nearest to acceptance stays.
func TestWaitingIsBounded(t *testing.T) {
	rules := testRules(keyedCommittee(t, equal(4)...))
	core := follower(t, rules)
	make := byHand{rules}
	absent := make.block(1, 3, 0)
	now := testStart
	var blocks []*Block
	for round := uint64(3 * waitingBlocksMax); round > 1; round-- {
		b := make.block(round, 1, nowMs(now), absent)
		blocks = append(blocks, b)
		core.Receive(now, b)
	}
	if n := core.Status().Waiting; n != waitingBlocksMax {
		t.Errorf("%d blocks wait, want %d", n, waitingBlocksMax)
	}
	if low := core.waiting.authors[1][0].block.ref.Round; low != 2 {
		t.Errorf("the lowest that waits is of round %d", low)
	}
	if e := core.Receive(now, blocks[0]); len(e.Fetch) != 0 || core.Status().Waiting != waitingBlocksMax {
		t.Error("a block above a full share came in")
	}
	if n := len(core.waiting.wants); n != 1 {
		t.Errorf("%d blocks are wanted, want 1", n)
	}
	// Others are not affected.
	core.Receive(now, make.block(2, 2, nowMs(now), absent))
	if n := core.Status().Waiting; n != waitingBlocksMax+1 {
		t.Errorf("%d blocks wait, want one more", n)
	}
	// Bytes are bounded too.
	big := follower(t, rules)
	for round := uint64(2); round < 200; round++ {
		b := make.block(round, 1, nowMs(now), absent)
		b.payload = [][]byte{make32(32 << 10)}
		b.raw = appendBlock(nil, b, make64())
		b.ref.Digest = digestOf(b.raw)
		big.Receive(now, b)
		b2 := *b
		b2.timeMs--
		b2.payload = [][]byte{make32(PayloadBytesMax)}
		b2.raw = appendBlock(nil, &b2, make64())
		b2.ref.Digest = digestOf(b2.raw)
		big.Receive(now, &b2)
	}
	if n := big.waiting.bytes[1]; n > waitingBytesMax || n < waitingBytesMax/2 {
		t.Errorf("%d bytes wait, want up to %d", n, waitingBytesMax)
	}
	// Everything that waited is let in once the ancestor comes, or was dropped.
	if e := core.Receive(now, absent); len(e.Persist) != 1+waitingBlocksMax+1 {
		t.Errorf("accepted %d, want all that waited", len(e.Persist))
	}
	if n := core.Status().Waiting + len(core.waiting.wants); n != 0 {
		t.Errorf("%d still wait or are wanted", n)
	}
}

// A block that something waits for and that had to leave its author's full share
// is asked for again.
func TestWhatIsCrowdedOutIsFetchedAgain(t *testing.T) {
	rules := testRules(keyedCommittee(t, equal(4)...))
	core := follower(t, rules)
	make := byHand{rules}
	now := testStart
	soon := nowMs(now) + 400
	high := make.block(1000, 1, soon)
	child := make.block(1001, 2, nowMs(now), high)
	if e := core.Receive(now, high, child); len(e.Fetch) != 0 {
		t.Fatalf("fetches %v, which is here and held", e.Fetch)
	}
	for round := uint64(2); round < 2+waitingBlocksMax; round++ {
		core.Receive(now, make.block(round, 1, soon))
	}
	if core.waiting.has(high.ref.Digest) {
		t.Fatal("the highest round still waits in a full share")
	}
	if s := core.Status(); s.Wanted != 1 {
		t.Fatalf("%d blocks wanted, want the one that was crowded out", s.Wanted)
	}
	for range waitingBlocksMax { // it may have been asked for in the very step
		if core.waiting.wants[high.ref.Digest].attempt > 0 {
			return
		}
		core.Tick(now)
	}
	t.Error("the block that was crowded out is not asked for")
}

func make32(n int) []byte { return make([]byte, n) }
func make64() []byte      { return make([]byte, 64) }

// Two versions of a slot are kept, and reported once. A third is taken only
// when another block builds on it.
func TestVersionsOfASlot(t *testing.T) {
	rules := testRules(keyedCommittee(t, equal(4)...))
	core := follower(t, rules)
	make := byHand{rules}
	now := testStart
	var versions []*Block
	for i := range uint64(5) {
		versions = append(versions, make.block(1, 1, nowMs(now)-i))
	}
	e := core.Receive(now, versions...)
	if len(e.Persist) != 2 {
		t.Errorf("%d versions accepted, want 2", len(e.Persist))
	}
	if len(e.Evidence) != 1 || e.Evidence[0] != (Evidence{versions[0], versions[1]}) {
		t.Errorf("evidence %v, want the first two", e.Evidence)
	}
	if e := core.Receive(now, versions...); len(e.Persist)+len(e.Evidence) != 0 {
		t.Error("the same blocks again change something")
	}
	zero, two, three := make.block(1, 0, nowMs(now)), make.block(1, 2, nowMs(now)), make.block(1, 3, nowMs(now))
	core.Receive(now, zero, two, three)
	onFourth := make.block(2, 0, nowMs(now), zero, versions[3], two)
	e = core.Receive(now, onFourth)
	if len(e.Fetch) != 1 || e.Fetch[0].Ref != versions[3].ref {
		t.Errorf("fetches %v, want the fourth version", e.Fetch)
	}
	if e = core.Receive(now, versions[4], versions[3]); len(e.Persist) != 2 || e.Persist[1] != onFourth {
		t.Errorf("accepts %v, want the fourth and what builds on it", e.Persist)
	}
	if len(e.Evidence) != 0 {
		t.Errorf("proved again: %v", e.Evidence)
	}
	// Versions that wait count too.
	waiting := follower(t, rules)
	var proofs int
	for i := range uint64(4) {
		e := waiting.Receive(now, make.block(2, 1, nowMs(now)-i, versions[0], zero, two))
		proofs += len(e.Evidence)
	}
	if n := waiting.Status().Waiting; n != 2 || proofs != 1 {
		t.Errorf("%d versions wait with %d proofs, want 2 and 1", n, proofs)
	}
}

// A block that names a parent by a slot it is not in is never accepted, and
// whoever built on it waits in vain within its bounds.
func TestParentUnderAnotherSlot(t *testing.T) {
	rules := testRules(keyedCommittee(t, equal(4)...))
	core := follower(t, rules)
	make := byHand{rules}
	now := testStart
	var ones []*Block
	for a := range Author(4) {
		ones = append(ones, make.block(1, a, nowMs(now)))
	}
	core.Receive(now, ones...)
	liar := make.block(2, 0, nowMs(now), ones[0], ones[1], ones[2])
	liar.parents[1].Author = 3 // under the name of another author
	liar.raw = appendBlock(nil, liar, make64())
	liar.ref.Digest = digestOf(liar.raw)
	if e := core.Receive(now, liar); len(e.Persist)+len(e.Fetch) != 0 || core.Status().Waiting != 0 {
		t.Errorf("accepts %v, fetches %v", e.Persist, e.Fetch)
	}
}

// Many times the waiting room's rounds behind and with nothing but requests for
// single ancestors, a node still comes back; CatchUp only makes it quicker.
func TestFarBehindComesBack(t *testing.T) {
	n := newNetwork(t, equal(4)...)
	alone := map[Author]bool{3: true}
	n.cut = func(from, to Author) bool { return alone[from] != alone[to] }
	n.start()
	for _, o := range n.nodes[:3] {
		o.step(func(now time.Time) Effects { return o.core.Connected(now, 3, false) })
	}
	for len(n.nodes[0].commits) < 3*waitingBlocksMax {
		n.nodes[0].pending = append(n.nodes[0].pending, op("more"))
		n.nodes[0].step(n.nodes[0].core.Tick)
		n.run(20 * time.Millisecond)
	}
	clear(alone)
	for range 40 {
		n.nodes[0].pending = append(n.nodes[0].pending, op("more"))
		n.nodes[0].step(n.nodes[0].core.Tick)
		n.run(500 * time.Millisecond)
	}
	n.run(3 * time.Second)
	behind, ahead := n.nodes[3].core.Status(), n.nodes[0].core.Status()
	if behind.Commit+4 < ahead.Commit || behind.OwnRound+4 < ahead.Round {
		t.Errorf("after healing: %+v\nthe others: %+v", behind, ahead)
	}
}
