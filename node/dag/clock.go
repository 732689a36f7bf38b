package dag

import "time"

// roundClock is the round we are in: the lowest that the accepted blocks of a
// quorum have not filled.
type roundClock struct {
	round   uint64
	entered time.Time // when it came to this round
	weight  tally     // authors with an accepted block of this round
}

// at begins a step. When the clock was set back, all that is remembered of it goes
// back as far: what was due in a second is due in a second still.
func (c *Core) at(now time.Time) {
	back := c.now.Sub(now)
	c.now = now
	if back <= 0 {
		return
	}
	times := []*time.Time{&c.clock.entered, &c.own.proposed, &c.own.sent, &c.waiting.askAt}
	for _, w := range c.waiting.asks {
		times = append(times, &w.asked, &w.askAt)
	}
	for _, t := range times {
		if !t.IsZero() {
			*t = t.Add(-back)
		}
	}
}

// advance counts a new vertex. At a quorum the clock moves to the next round; a
// vertex of a higher round, which can only come by catching up, moves it there.
func (c *Core) advance(v *vertex) {
	if v.ref.Round < c.clock.round {
		return
	}
	if v.ref.Round > c.clock.round {
		c.enter(v.ref.Round)
	}
	c.clock.weight.add(c.committee, v.ref.Author)
	for c.clock.weight.weight >= c.committee.quorum {
		c.enter(c.clock.round + 1)
	}
}

// enter moves the clock to a round and counts the blocks that are there already.
func (c *Core) enter(round uint64) {
	c.clock = roundClock{round: round, entered: c.now}
	for _, v := range c.graph.at(round) {
		c.clock.weight.add(c.committee, v.ref.Author)
	}
}
