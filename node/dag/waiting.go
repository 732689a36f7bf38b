package dag

import (
	"slices"
	"time"
)

// Bounds of what waits. Everything here is signed by a validator, so a faulty
// one fills its own share only.
const (
	// waitingBlocksMax is the blocks of one author that may wait: both versions
	// of every slot between the collected round and the tip, about.
	waitingBlocksMax = 2 * CollectDepth
	// waitingBytesMax is the bytes of one author that may wait: the full
	// blocks an honest one makes in a second and a half at 50 ms a round.
	waitingBytesMax = 32 * PayloadBytesMax
	// askPerStepMax bounds the repeated requests of one step.
	askPerStepMax = 256
	// askAgainAfter is a round trip around the world, after which an unanswered
	// request is repeated to somebody else.
	askAgainAfter = 300 * time.Millisecond
	// askNextAfter is how old a request is at least when the next author that
	// points to the block is asked as well: it has the block, and the one asked
	// before may have been the faulty author itself, who never answers. Shorter,
	// and all who point to a lost block would send it at once.
	askNextAfter = 40 * time.Millisecond
	// askBelowAfter is the same for what is missing further below: a round trip between
	// continents. Every new block leads there, so it must not be as eager.
	askBelowAfter = 100 * time.Millisecond
	// askBelowMax bounds the parents that one arrival makes us look at, to ask its
	// author for what is missing below: the blocks of a few rounds of the faulty. In
	// a large committee it is askBelowBlocks blocks.
	askBelowMax    = 256
	askBelowBlocks = 4
	// versionsMax is the versions of one slot that are kept unasked: two are the
	// proof. A further one is accepted when some block that waits builds on it,
	// because an honest author may have seen it first.
	versionsMax = 2
)

// waiter is a verified block that cannot be accepted yet.
type waiter struct {
	block *Block
	needs int  // parents that are not accepted
	held  bool // its time is still ahead
	gone  bool
	walk  uint64 // the last walk of askBelow that came by
}

// want is a parent that is not accepted, and who waits for it.
type want struct {
	ref     Ref
	waiters []*waiter
	waiting bool // it is itself in the waiting room, so nobody asks for it
	done    bool // accepted or no longer needed
	attempt int
	asked   time.Time // the last time somebody was asked
	askAt   time.Time // when the next in turn is
	later   []Author  // who built on it when somebody was asked lately; see askLater
}

// waitingRoom holds the blocks that miss ancestors or whose time is ahead.
type waitingRoom struct {
	blocks  map[Digest]*waiter
	wants   map[Digest]*want
	asks    []*want     // wants in the order they came up, done ones among them
	askAt   time.Time   // no request is repeated before
	held    []*waiter   // in the order they came
	authors [][]*waiter // per author by rising round
	bytes   []int       // per author
	walks   uint64      // of askBelow, so far
}

func newWaitingRoom(authors int) waitingRoom {
	return waitingRoom{
		blocks:  make(map[Digest]*waiter),
		wants:   make(map[Digest]*want),
		authors: make([][]*waiter, authors),
		bytes:   make([]int, authors),
	}
}

func (r *waitingRoom) has(d Digest) bool {
	_, ok := r.blocks[d]
	return ok
}

// wanted reports whether a waiting block builds on d.
func (r *waitingRoom) wanted(d Digest) bool {
	_, ok := r.wants[d]
	return ok
}

// enter takes a block in, if its author's share allows. When the share is full
// the author's highest rounds go: the lowest are accepted first, and what goes
// is asked for again when something needs it.
func (r *waitingRoom) enter(b *Block) *waiter {
	a := b.ref.Author
	for len(r.authors[a]) >= waitingBlocksMax || r.bytes[a]+len(b.raw) > waitingBytesMax {
		if len(r.authors[a]) == 0 {
			break // a single block always fits
		}
		highest := r.authors[a][len(r.authors[a])-1]
		if highest.block.ref.Round <= b.ref.Round {
			return nil
		}
		r.remove(highest)
		r.askAt = time.Unix(0, 0) // somebody may wait for it
	}
	w := &waiter{block: b}
	r.blocks[b.ref.Digest] = w
	r.bytes[a] += len(b.raw)
	at, _ := slices.BinarySearchFunc(r.authors[a], b.ref.Round+1, func(w *waiter, round uint64) int {
		if w.block.ref.Round < round {
			return -1
		}
		return 1
	})
	r.authors[a] = slices.Insert(r.authors[a], at, w)
	if want := r.wants[b.ref.Digest]; want != nil {
		want.waiting = true
	}
	return w
}

// remove takes a block out, accepted or not.
func (r *waitingRoom) remove(w *waiter) {
	if w.gone {
		return
	}
	w.gone = true
	a := w.block.ref.Author
	delete(r.blocks, w.block.ref.Digest)
	r.bytes[a] -= len(w.block.raw)
	at := slices.Index(r.authors[a], w)
	r.authors[a] = slices.Delete(r.authors[a], at, at+1)
	if w.held {
		r.held = slices.DeleteFunc(r.held, func(h *waiter) bool { return h == w })
	}
	for i := range w.block.parents { // what only w wanted is wanted no more
		if want := r.wants[w.block.parents[i].Digest]; want != nil {
			want.waiters = slices.DeleteFunc(want.waiters, func(o *waiter) bool { return o == w })
			if len(want.waiters) == 0 {
				r.satisfy(want)
			}
		}
	}
	if want := r.wants[w.block.ref.Digest]; want != nil {
		want.waiting = false
	}
}

func (r *waitingRoom) satisfy(w *want) {
	w.done = true
	delete(r.wants, w.ref.Digest)
}

// release returns the waiting blocks that d was the last need of.
func (r *waitingRoom) release(d Digest) []*waiter {
	if len(r.wants) == 0 {
		return nil
	}
	want := r.wants[d]
	if want == nil {
		return nil
	}
	r.satisfy(want)
	return ready(want.waiters)
}

// ready counts one need of each waiter as met and returns those with none left.
func ready(waiters []*waiter) []*waiter {
	var out []*waiter
	for _, w := range waiters {
		if w.needs--; w.needs == 0 && !w.held {
			out = append(out, w)
		}
	}
	return out
}

// collect drops what is at or below round, counts parents there as met, and
// takes out and returns the blocks that need nothing more.
func (r *waitingRoom) collect(round uint64) []*waiter {
	if len(r.blocks) == 0 {
		return nil
	}
	for a := range r.authors {
		for len(r.authors[a]) > 0 && r.authors[a][0].block.ref.Round <= round {
			r.remove(r.authors[a][0])
		}
	}
	var out []*waiter
	for _, want := range r.asks {
		if !want.done && want.ref.Round <= round {
			r.satisfy(want)
			out = append(out, ready(want.waiters)...)
		}
	}
	for _, w := range out {
		r.remove(w)
	}
	return out
}

// reached is the highest round that the newest waiting blocks of authors with an
// honest one among them have come to. One liar's block from far ahead is no news.
func (r *waitingRoom) reached(c *Committee) uint64 {
	if len(r.blocks) == 0 {
		return 0
	}
	var newest [CommitteeMax]reach
	for a, queue := range r.authors {
		newest[a].weight = c.members[a].Weight
		if n := len(queue); n > 0 {
			newest[a].index = queue[n-1].block.ref.Round
		}
	}
	return reachedBy(newest[:len(r.authors)], c.validity)
}

// heldUntil is when the next held block's time comes; zero for never.
func (r *waitingRoom) heldUntil() time.Time {
	var ms uint64
	for _, w := range r.held {
		if ms == 0 || w.block.timeMs < ms {
			ms = w.block.timeMs
		}
	}
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(int64(ms))
}

// hold keeps a block until its time has come.
func (c *Core) hold(b *Block) {
	if w := c.waiting.enter(b); w != nil {
		w.held = true
		c.waiting.held = append(c.waiting.held, w)
	}
}

// unhold lets blocks in whose time has come.
func (c *Core) unhold() {
	if len(c.waiting.held) == 0 {
		return
	}
	var due []*waiter
	for _, w := range c.waiting.held {
		if !time.UnixMilli(int64(w.block.timeMs)).After(c.now) {
			due = append(due, w)
		}
	}
	for _, w := range due {
		c.waiting.remove(w)
		if w.block.ref.Round > c.graph.collected {
			c.arrive(w.block)
		}
	}
}

// wait puts b aside until its missing ancestors come, and asks for those that
// are not on their way already.
func (c *Core) wait(b *Block) {
	if bug == BugForgetWaiting && b.ref.Round%8 == 0 {
		return
	}
	w := c.waiting.enter(b)
	if w == nil {
		return
	}
	for _, p := range b.parents {
		if p.Round <= c.graph.collected || c.graph.byDigest[p.Digest] != nil {
			continue
		}
		w.needs++
		known := c.waiting.wants[p.Digest]
		fresh := known == nil
		if fresh {
			known = &want{ref: p, waiting: c.waiting.has(p.Digest)}
			c.waiting.wants[p.Digest] = known
			c.waiting.asks = append(c.waiting.asks, known)
		}
		known.waiters = append(known.waiters, w)
		switch {
		case known.waiting:
		case fresh:
			c.ask(known)
		default:
			c.askToo(known, b.ref.Author, askNextAfter)
		}
	}
	c.askBelow(b)
}

// askBelow asks b's author for what is missing below those parents of b that
// wait: it has just built on them, so it has all of it. Whoever pointed there before
// may have been faulty. For b's own parents wait has asked already.
func (c *Core) askBelow(b *Block) {
	c.waiting.walks++
	room := max(askBelowMax, askBelowBlocks*c.committee.Size())
	for below := []*Block{b}; len(below) > 0; below = below[1:] {
		for i := range below[0].parents {
			missing := c.waiting.wants[below[0].parents[i].Digest]
			switch room--; {
			case room < 0:
				return
			case missing == nil:
			case !missing.waiting:
				if !c.askToo(missing, b.ref.Author, askBelowAfter) && below[0] != b {
					c.askLater(missing, b.ref.Author)
				}
			default:
				if w := c.waiting.blocks[missing.ref.Digest]; w != nil && w.walk != c.waiting.walks {
					w.walk = c.waiting.walks
					below = append(below, w.block)
				}
			}
		}
	}
}

// ask requests a missing block, first from the author that pointed to it, then
// from the others that did, then from anybody.
func (c *Core) ask(w *want) {
	var from Author
	if w.attempt < len(w.waiters) {
		from = w.waiters[w.attempt].block.ref.Author
	} else {
		// Everybody in turn. A step that also depended on the waiters could go
		// round without ever meeting the one who has the block.
		from = Author((int(w.waiters[0].block.ref.Author) + w.attempt) % c.committee.Size())
	}
	c.askOf(w, from)
	w.attempt++
	w.askAt = c.now.Add(askAgainAfter)
	c.waiting.askBy(w.askAt)
}

// askToo requests a missing block from one more author that has it, unless
// somebody was asked so lately: then it returns false. Those whose turn it is are asked at
// their time all the same: a faulty author with many blocks must not hold them off.
func (c *Core) askToo(w *want, author Author, after time.Duration) bool {
	if c.now.Before(w.asked.Add(after)) {
		return false
	}
	c.askOf(w, author)
	return true
}

// askLater has an author asked, out of turn, as soon as the last request is old enough.
// It may be the last that builds on the missing block for long: who waits for it
// may be what all others wait for.
func (c *Core) askLater(w *want, author Author) {
	if !slices.Contains(w.later, author) {
		w.later = append(w.later, author)
		c.waiting.askBy(w.laterAt())
	}
}

// laterAt is when the next of those in later is asked; zero when there is none.
func (w *want) laterAt() (at time.Time) {
	if len(w.later) > 0 {
		at = w.asked.Add(askBelowAfter)
	}
	return at
}

// askBy has requests looked at by some time, if it is not zero.
func (r *waitingRoom) askBy(at time.Time) {
	if !at.IsZero() && (r.askAt.IsZero() || at.Before(r.askAt)) {
		r.askAt = at
	}
}

// askOf requests a missing block from one validator.
func (c *Core) askOf(w *want, from Author) {
	if c.validator && from == c.self {
		from = Author((int(from) + 1) % c.committee.Size())
	}
	c.effects.Fetch = append(c.effects.Fetch, Missing{Ref: w.ref, From: from, Attempt: w.attempt})
	w.asked = c.now
}

// askAgain repeats the requests that were not answered in time.
func (c *Core) askAgain() {
	r := &c.waiting
	if r.askAt.IsZero() || c.now.Before(r.askAt) {
		return
	}
	r.askAt = time.Time{}
	r.asks = slices.DeleteFunc(r.asks, func(w *want) bool { return w.done })
	asked := 0
	for _, w := range r.asks {
		if w.waiting {
			continue
		}
		if at := w.laterAt(); !at.IsZero() && !c.now.Before(at) && asked < askPerStepMax {
			asked++
			next := w.later[0]
			w.later = w.later[1:]
			c.askOf(w, next)
		}
		if !c.now.Before(w.askAt) && asked < askPerStepMax {
			asked++
			c.ask(w)
		}
		r.askBy(w.askAt)
		r.askBy(w.laterAt())
	}
}
