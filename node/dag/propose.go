package dag

import (
	"slices"
	"time"
)

// inFlightMax is the blocks of ours above the collected round that no honest
// peer is known to have, before we stop making more. Half of the collect depth:
// what stays unseen for longer is collected without being ordered anyway.
const inFlightMax = CollectDepth / 2

// sendAgainAfter is how long we wait for a quorum to fill our round, or for news
// that our blocks get out, before we send our newest block again. A lost message
// then costs a second, whatever the transport forgets; ancestors that were lost
// too are fetched by who gets this one.
const sendAgainAfter = time.Second

// ownBlocks is what we know of our own chain.
type ownBlocks struct {
	last     *Block    // our newest block; nil when there is none
	ref      Ref       // of last, or our genesis
	rounds   []uint64  // rounds above the collected one that we filled, rising
	proposed time.Time // when we made the last block
	sent     time.Time // when we last sent it
	voted    uint64    // the newest commit we voted for
	votes    []Vote    // for checkpoints, waiting for our next block

	floor    uint64 // a block of ours at or above this that we did not make has a twin
	twin     bool   // somebody else signs with our key: propose nothing
	recovery *recovery

	recovered bool // the store was lost at some time in this epoch
}

// made takes note of an accepted block of ours.
func (o *ownBlocks) made(v *vertex) {
	at, _ := slices.BinarySearch(o.rounds, v.ref.Round)
	o.rounds = slices.Insert(o.rounds, at, v.ref.Round)
	if v.ref.Round > o.ref.Round {
		o.last, o.ref = v.block, v.ref
	}
	if n := len(v.block.votes); n > 0 {
		o.voted = max(o.voted, v.block.votes[n-1].Index)
	}
}

func (o *ownBlocks) collect(round uint64) {
	n, _ := slices.BinarySearch(o.rounds, round+1)
	o.rounds = o.rounds[n:]
}

// ProposalAt is the time from which Propose makes a block in the present state:
// zero when something else has to happen first. pending says whether the caller
// has payload. Any other input may change the answer.
func (c *Core) ProposalAt(pending bool) time.Time {
	if !c.mayPropose() {
		return time.Time{}
	}
	wait := c.cfg.MinRound
	if !c.busy(pending) {
		wait = c.cfg.IdleRound
	}
	at := c.own.proposed.Add(wait)
	if !c.leaderHere() {
		at = latest(at, c.clock.entered.Add(c.cfg.LeaderTimeout))
	}
	return at
}

// ProposalDue reports whether Propose would make a block now.
func (c *Core) ProposalDue(now time.Time, pending bool) bool {
	at := c.ProposalAt(pending)
	return !at.IsZero() && !now.Before(at)
}

// mayPropose reports whether only time stands between us and a block.
func (c *Core) mayPropose() bool {
	switch {
	case !c.validator, c.own.twin, c.epoch.closed, c.conflict:
		return false
	case c.own.recovery != nil && !c.own.recovery.done:
		return false
	case c.own.recovery != nil && c.clock.round < c.own.floor:
		return false
	case c.clock.round <= c.own.ref.Round:
		return false
	case c.clock.round == c.graph.collected+1 && c.graph.collected > 0:
		return false // just opened on a checkpoint: there is nothing to build on yet
	}
	return !c.stalled()
}

// busy reports whether there is something to order, or somebody else has moved
// on to a newer round.
func (c *Core) busy(pending bool) bool {
	return pending && !c.epoch.closing || c.unordered > 0 || c.graph.top() > c.own.ref.Round || c.epoch.closing
}

// leaderHere reports whether waiting for the leader of the round before is over
// or futile.
func (c *Core) leaderHere() bool {
	before := c.rule.round(c.clock.round - 1)
	if before == nil {
		return true // decided long ago
	}
	for _, s := range before.slots {
		if c.validator && s.slot.Author == c.self {
			continue // what we did not make by now we never make
		}
		if !c.peers[s.slot.Author].disconnected && c.awaited(s.slot) {
			return false
		}
	}
	return true
}

// behindRounds is how many rounds below its slot a leader's newest block may be for
// the others to wait for the next: whoever takes part is one or two behind. One that
// comes back after a while is not waited for before it has caught up, or each of its
// slots would cost all others the leader timeout.
const behindRounds = 4

// awaited reports whether a slot's block is still to come: its author was here
// just below it, and has not gone on above it. Whoever was too slow for a round goes on
// with the next and never fills it.
func (c *Core) awaited(s Slot) bool {
	for round := c.graph.top(); round > 0 && round+behindRounds >= s.Round; round-- {
		if c.graph.slot(Slot{round, s.Author}) != nil {
			return round < s.Round
		}
	}
	return s.Round <= behindRounds
}

// stalled reports whether our blocks do not get out: too many of them are above
// the newest that peers with an honest one among them are known to have. A heavy
// validator asks for less: it must not wait for more than the honest others weigh,
// which is a quorum less its own weight.
func (c *Core) stalled() bool {
	if len(c.own.rounds) <= inFlightMax {
		return false
	}
	mark := c.own.rounds[len(c.own.rounds)-1-inFlightMax]
	others := c.committee.quorum - min(c.committee.quorum, c.committee.Weight(c.self))
	enough, have := min(c.committee.validity, others), uint64(0)
	for a := range c.peers {
		if have >= enough {
			return false
		}
		if Author(a) != c.self && c.peers[a].hasOurs >= mark {
			have += c.committee.Weight(Author(a))
		}
	}
	return have < enough
}

// PeerHas tells that a peer has our block of a round and so all before it. Peers
// say so themselves; the core also learns it from their blocks.
func (c *Core) PeerHas(now time.Time, author Author, round uint64) Effects {
	c.at(now)
	if c.committee.Has(author) {
		c.peers[author].hasOurs = max(c.peers[author].hasOurs, round)
	}
	return c.finish()
}

// acknowledge learns from another author's block which of ours it has.
func (c *Core) acknowledge(b *Block) {
	p := &c.peers[b.ref.Author]
	for i := range b.parents {
		if b.parents[i].Author == c.self {
			p.hasOurs = max(p.hasOurs, b.parents[i].Round)
		}
	}
}

// Propose makes our block for the clock's round if it is due, with as many of
// the operations, from the first, as fit; Effects.Taken says how many. It keeps
// their bytes, which must not change any more. An operation beyond the limits
// must not be handed in: the core panics. When no block is due none is made.
func (c *Core) Propose(now time.Time, payload [][]byte) Effects {
	c.at(now)
	if !c.ProposalDue(now, len(payload) > 0) {
		return c.finish()
	}
	b := &Block{
		ref:     Ref{Slot: Slot{c.clock.round, c.self}},
		network: c.rules.Network,
		epoch:   c.rules.Epoch,
		timeMs:  c.ownTime(),
		payload: c.fitting(payload),
		votes:   c.ownVotes(),
	}
	if c.epoch.closing {
		b.flags, b.payload = FlagClose, nil
	}
	var parents []*vertex
	b.parents, parents = c.choose()
	seal(b, c.cfg.Key)
	c.own.proposed, c.own.sent = now, now
	c.own.recovery = nil
	c.effects.Send = append(c.effects.Send, b)
	c.effects.Taken = len(b.payload)
	c.accept(b, parents)
	return c.finish()
}

// OwnAfter returns our blocks above a round and above the collected one, by
// rising round: what to send a peer that comes back and says it has us up to
// that round.
func (c *Core) OwnAfter(round uint64) []*Block {
	var blocks []*Block
	for _, filled := range c.own.rounds {
		for v := c.graph.slot(Slot{filled, c.self}); filled > round && v != nil; v = v.version {
			blocks = append(blocks, v.block)
		}
	}
	return blocks
}

// sendAgainAt is when our newest block is due to be sent again; zero when the
// others have evidently gone on with it.
func (c *Core) sendAgainAt() time.Time {
	if !c.validator || c.epoch.closed || c.own.ref.Round <= c.graph.collected {
		return time.Time{}
	}
	if c.clock.round > c.own.ref.Round && !c.stalled() {
		return time.Time{}
	}
	return c.own.sent.Add(sendAgainAfter)
}

// sendAgain repeats our newest block if it is due.
func (c *Core) sendAgain() {
	if at := c.sendAgainAt(); !at.IsZero() && !c.now.Before(at) {
		c.own.sent = c.now
		c.effects.Send = append(c.effects.Send, c.own.last)
	}
}

// ownTime is our clock, but never behind our previous block.
func (c *Core) ownTime() uint64 {
	ms := uint64(min(max(c.now.UnixMilli(), 0), timeMsMax))
	if c.own.last != nil {
		ms = max(ms, c.own.last.timeMs)
	}
	return ms
}

// fitting is the longest prefix of ops that one block holds.
func (c *Core) fitting(ops [][]byte) [][]byte {
	size := 0
	for i, op := range ops {
		if len(op) == 0 || len(op) > c.rules.Limits.OpBytesMax {
			panic("dag: an operation handed to Propose must be within the limits")
		}
		if size += len(op); size > c.rules.Limits.PayloadBytesMax || i == payloadOpsMax {
			return slices.Clone(ops[:i])
		}
	}
	return slices.Clone(ops)
}

// choose picks the parents of our next block: our own previous, then per author
// the newest accepted block below this round that our blocks do not have in
// their history yet. Of two versions of a slot it takes the lower digest, and
// none when one is in our history already. The second result is those above the
// collected round.
func (c *Core) choose() ([]Ref, []*vertex) {
	refs := make([]Ref, 0, c.committee.Size())
	parents := make([]*vertex, 0, c.committee.Size())
	refs = append(refs, c.own.ref)
	if v := c.graph.byDigest[c.own.ref.Digest]; v != nil {
		parents = append(parents, v)
	}
	for a := range Author(c.committee.Size()) {
		if a == c.self {
			continue
		}
		if c.clock.round == 1 {
			refs = append(refs, Genesis(c.rules.Network, c.rules.Epoch, a))
		} else if v := c.newest(a); v != nil {
			refs = append(refs, v.ref)
			parents = append(parents, v)
		}
	}
	return refs, parents
}

// newest is the block of a to point to, or nil.
func (c *Core) newest(a Author) *vertex {
	for round := c.clock.round - 1; round > c.graph.collected; round-- {
		first := c.graph.slot(Slot{round, a})
		if first == nil {
			continue
		}
		best := first
		for v := first; v != nil; v = v.version {
			if v.pointed {
				return nil
			}
			if compareDigests(v.ref.Digest, best.ref.Digest) < 0 {
				best = v
			}
		}
		return best
	}
	return nil
}

// point marks our block and everything below it as in our history.
func (c *Core) point(own *vertex) {
	if own.pointed {
		return
	}
	own.pointed = true
	stack := append(make([]*vertex, 0, c.committee.Size()), own)
	for len(stack) > 0 {
		v := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		for _, p := range v.parents {
			if !p.pointed && p.ref.Round > c.graph.collected {
				p.pointed = true
				stack = append(stack, p)
			}
		}
	}
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
