package dag

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// hand is cores moved by hand, without a network: whatever is to be delivered is
// delivered by the test.
type hand struct {
	t     testing.TB
	now   time.Time
	rules Rules
	cores []*Core
	made  [][]*Block // per author what it made, by rising round
}

// newHand opens n cores on what each made and got before.
func newHand(t testing.TB, n int, stored ...[]*Block) *hand {
	h := &hand{t: t, now: testStart, rules: testRules(keyedCommittee(t, equal(n)...)), made: make([][]*Block, n)}
	for a := range n {
		s := Stored{}
		if a < len(stored) {
			s.Blocks = stored[a]
		}
		h.cores = append(h.cores, h.open(Author(a), false, s))
	}
	return h
}

func (h *hand) open(a Author, recovering bool, stored Stored) *Core {
	cfg := DefaultConfig(h.rules)
	cfg.Key, cfg.Recovering = testKey(a), recovering
	core, _, err := Open(cfg, h.now, stored)
	if err != nil {
		h.t.Fatal(err)
	}
	return core
}

// propose makes a block by a if one is due.
func (h *hand) propose(a Author) *Block {
	e := h.cores[a].Propose(h.now, nil)
	for _, b := range e.Persist {
		if b.Author() == a {
			h.made[a] = append(h.made[a], b)
			return b
		}
	}
	return nil
}

// give hands blocks to some cores.
func (h *hand) give(blocks []*Block, to ...Author) {
	for _, a := range to {
		h.cores[a].Receive(h.now, blocks...)
	}
}

// round lets these authors propose once and then hear each other.
func (h *hand) round(authors ...Author) {
	h.now = h.now.Add(2 * time.Second)
	var blocks []*Block
	for _, a := range authors {
		if b := h.propose(a); b != nil {
			blocks = append(blocks, b)
		}
	}
	h.give(blocks, authors...)
}

// blocks is all that these authors made.
func (h *hand) blocks(authors ...Author) []*Block {
	var out []*Block
	for _, a := range authors {
		out = append(out, h.made[a]...)
	}
	return out
}

// A validator that lost its disk never fills a slot that it filled before, in
// whatever order the answers, its own old blocks still under way, and the
// progress of the others come, and whatever one liar answers.
func TestAmnesiaEveryInterleaving(t *testing.T) {
	t.Parallel()
	// The old life: four rounds that everybody has. Then validator 3 fills round
	// 5, and in the second setup round 6 as well, which the others help it to by
	// filling 5. These last blocks are still under way when it dies.
	base := newHand(t, 4)
	for range 4 {
		base.round(0, 1, 2, 3)
	}
	shared := base.blocks(0, 1, 2, 3)
	base.now = base.now.Add(2 * time.Second)
	for a := range Author(4) {
		base.propose(a)
	}
	fives := [][]*Block{base.made[0][4:5], base.made[1][4:5], base.made[2][4:5]}
	base.give(slices.Concat(fives...), 3)
	base.now = base.now.Add(2 * time.Second)
	if b := base.propose(3); b == nil || b.Round() != 6 {
		t.Fatalf("the old life made %v, not a block of round 6", b)
	}
	setups := []struct {
		name   string
		old    []*Block    // under way
		others [3][]*Block // what each of the others made beyond the shared rounds
	}{
		{"died in round 5", base.made[3][4:5], [3][]*Block{}},
		{"died in round 6", base.made[3][4:6], [3][]*Block{fives[0], fives[1], fives[2]}},
	}
	const honest = Author(3) // no liar
	runs, proposed := 0, 0
	for _, setup := range setups {
		for liar := Author(0); liar <= honest; liar++ {
			for _, lie := range []uint64{0, 1000} {
				if lie > 0 && liar != 0 {
					continue // who tells the largest lie makes no difference
				}
				eachInterleaving(func(order []amnesiaEvent) {
					runs++
					if amnesiaRun(t, base, shared, setup.old, setup.others, liar, lie, order) {
						proposed++
					}
					if t.Failed() {
						t.Fatalf("%s, liar %d says %d, order %v", setup.name, liar, lie, order)
					}
				})
			}
		}
	}
	t.Logf("%d interleavings, proposed again in %d of them", runs, proposed)
	if proposed < runs/2 {
		t.Errorf("it proposed again in only %d of %d interleavings", proposed, runs)
	}
}

type amnesiaEvent struct {
	kind byte // 'a' an answer from who, 'd' the old blocks reach who, 'p' the others go on for a round
	who  Author
}

func (e amnesiaEvent) String() string { return fmt.Sprintf("%c%d", e.kind, e.who) }

// eachInterleaving calls f with every order of three answers, one round of the
// others, and the delivery of the old blocks to each of the others. A delivery
// commutes with everything but its receiver's answer and that round, so of its
// places only three differ: before both, between them, after both.
func eachInterleaving(f func([]amnesiaEvent)) {
	frame := []amnesiaEvent{{'a', 0}, {'a', 1}, {'a', 2}, {'p', 0}}
	var permute func(k int)
	permute = func(k int) {
		if k < len(frame) {
			for i := k; i < len(frame); i++ {
				frame[k], frame[i] = frame[i], frame[k]
				permute(k + 1)
				frame[k], frame[i] = frame[i], frame[k]
			}
			return
		}
		for choice := range 27 {
			var order []amnesiaEvent
			for i := 0; i <= len(frame); i++ {
				for who := range Author(3) {
					answer := slices.Index(frame, amnesiaEvent{'a', who})
					round := slices.Index(frame, amnesiaEvent{'p', 0})
					place := [...]int{0, min(answer, round) + 1, len(frame)}
					if place[[...]int{choice % 3, choice / 3 % 3, choice / 9}[who]] == i {
						order = append(order, amnesiaEvent{'d', who})
					}
				}
				if i < len(frame) {
					order = append(order, frame[i])
				}
			}
			f(order)
		}
	}
	permute(0)
}

// amnesiaRun plays one order and reports whether validator 3 proposed in the end.
func amnesiaRun(t *testing.T, base *hand, shared, old []*Block, others [3][]*Block, liar Author, lie uint64, order []amnesiaEvent) bool {
	h := &hand{t: t, now: base.now, rules: base.rules, made: make([][]*Block, 4)}
	for a := range Author(3) {
		h.cores = append(h.cores, h.open(a, false, Stored{Blocks: slices.Concat(shared, others[a])}))
	}
	h.cores = append(h.cores, h.open(3, true, Stored{}))
	answers := 0
	check := func() {
		b := h.propose(3)
		if b == nil {
			return
		}
		if answers < 3 {
			t.Errorf("proposed round %d with %d answers", b.Round(), answers)
		}
		if b.Round() <= old[len(old)-1].Round() {
			t.Errorf("filled round %d a second time", b.Round())
		}
	}
	progress := func() {
		h.now = h.now.Add(2 * time.Second)
		all := slices.Concat(shared, others[0], others[1], others[2], h.blocks(0, 1, 2, 3))
		h.give(all, 0, 1, 2, 3)
		for a := range Author(3) {
			h.propose(a)
		}
		h.give(h.blocks(0, 1, 2), 0, 1, 2, 3)
	}
	for _, e := range order {
		switch e.kind {
		case 'a':
			round, newest, ok := h.cores[e.who].Newest(3)
			if !ok {
				t.Fatalf("validator %d does not answer", e.who)
			}
			if e.who == liar {
				round, newest = lie, nil
			}
			answers++
			h.cores[3].Answer(h.now, e.who, round)
			if newest != nil {
				h.give([]*Block{newest}, 3)
			}
		case 'd':
			h.give(old, e.who)
		case 'p':
			progress()
		}
		check()
	}
	h.give(old, 3) // they come back to their author too
	for range 3 {
		progress()
		check()
	}
	if liar < 3 && lie > 100 {
		return true // it may have to wait for round 1002; that costs it its turn, not safety
	}
	return len(h.made[3]) > 0
}

// While recovering: our own word does not count as an answer, nor the same
// peer's twice; an epoch that ends meanwhile changes nothing; and who recovered
// in one epoch leaves out the first round of the next, where it may have been
// alone before.
func TestRecoveryEdges(t *testing.T) {
	h := newHand(t, 4)
	core := h.open(3, true, Stored{})
	for _, from := range []Author{3, 0, 0, 1, 9} {
		core.Answer(h.now, from, 5)
	}
	if !core.Status().Recovering || core.ProposalDue(h.now.Add(time.Hour), true) {
		t.Error("recovered on the answers of two others")
	}
	if _, _, ok := core.Newest(0); ok {
		t.Error("answers another while it recovers itself")
	}
	next := h.rules
	next.Epoch = 1
	core.epoch.closed = true
	if _, err := core.NextEpoch(h.now, next); err != nil {
		t.Fatal(err)
	}
	if !core.Status().Recovering || core.ProposalDue(h.now.Add(time.Hour), true) {
		t.Error("recovered by a change of epoch")
	}
	for from := range Author(3) {
		core.Answer(h.now, from, 0)
	}
	if core.Status().Recovering {
		t.Error("still recovering with three answers")
	}
	core.epoch.closed = true
	next.Epoch = 2
	if _, err := core.NextEpoch(h.now, next); err != nil {
		t.Fatal(err)
	}
	if core.Status().Recovering || core.ProposalDue(h.now.Add(time.Hour), true) {
		t.Error("fills the first round of the next epoch")
	}
	var firsts []*Block
	make := byHand{next}
	for a := range Author(3) {
		b := make.block(1, a, nowMs(h.now))
		b.epoch = 2
		for i := range b.parents {
			b.parents[i] = Genesis(next.Network, 2, Author(i))
		}
		b.raw = appendBlock(nil, b, make64())
		b.ref.Digest = digestOf(b.raw)
		firsts = append(firsts, b)
	}
	core.Receive(h.now, firsts...)
	if !core.ProposalDue(h.now.Add(time.Hour), true) {
		t.Error("does not go on in the second round")
	}
}
