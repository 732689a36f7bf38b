package dag

import "time"

// recovery is how a validator that lost its store, but not its key, finds a
// round it cannot have filled before.
//
// Let r be the highest round we ever filled. That block has parents at r-1
// weighing Q, so others weighing at least Q minus our weight had filled r-1
// before. Answers weigh at least Q without us. The two sets, both among the
// others, share more than F; so an honest validator answers that it has filled
// r-1, and M, the highest answer, is at least r-1. From M+2 on every slot is new
// to us, however long our old blocks were under way and whatever liars answer.
//
// A validator that recovered in one epoch may have begun the next one in
// its old life, alone and for a single round, since nobody who answered had; so
// it leaves out the first round of the next, unless a block of its new life is in
// a commit: the old life cannot have seen that, nor what came after. Until then
// Status.Recovered holds, and a restart has to recover again.
type recovery struct {
	answers tally
	highest uint64
	done    bool
}

// Newest is this validator's answer to one that recovers: the highest round of
// its epoch that it knows filled by itself or by author, and author's newest
// block to send along, nil when there is none. ok is false while this validator
// recovers itself or follows only: it must not answer then.
func (c *Core) Newest(author Author) (round uint64, block *Block, ok bool) {
	if !c.validator || !c.committee.Has(author) || c.own.recovery != nil {
		return 0, nil, false
	}
	round = c.own.ref.Round
	for r := c.graph.top(); r > c.graph.collected; r-- {
		if v := c.graph.slot(Slot{r, author}); v != nil {
			return max(round, r), v.block, true
		}
	}
	return round, nil, true
}

// Answer takes a peer's answer while we recover: the highest round of our epoch
// that it or we have filled, as far as it knows. From a peer that is in an
// earlier epoch that is 0; one in a later epoch has no answer for us: first
// catch up, then ask again. More answers of one peer only raise the highest, and
// those after a quorum's count for nothing, or asking on would put off our turn
// for ever. A liar's answer can do that too: the caller should count a round only
// when it has seen the block that fills it accepted.
func (c *Core) Answer(now time.Time, from Author, round uint64) Effects {
	c.at(now)
	r := c.own.recovery
	if r == nil || r.done || !c.committee.Has(from) || from == c.self {
		return c.finish()
	}
	r.answers.add(c.committee, from)
	r.highest = max(r.highest, round)
	if r.answers.weight >= c.committee.quorum {
		r.done, c.own.recovered = true, true
		c.own.floor = max(r.highest, c.own.ref.Round) + 2
		if bug == BugAmnesia {
			c.own.floor = c.own.ref.Round + 1
		}
	}
	return c.finish()
}
