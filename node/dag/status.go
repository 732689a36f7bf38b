package dag

import "time"

// Status is a core's state in figures, for operators and for answers that say
// how old they are.
type Status struct {
	Epoch     uint64
	Round     uint64 // the clock's
	RoundAt   time.Time
	OwnRound  uint64 // of our newest block
	Top       uint64 // the highest accepted round
	Seen      uint64 // the highest round that honest blocks have reached; far above Top means catch up
	Collected uint64

	Commit       uint64 // index of the newest commit, 0 before the first
	CommitDigest Digest
	CommitMs     uint64
	Certified    uint64 // index of the newest commit a quorum voted for

	Waiting    int // blocks that wait for ancestors or for their time
	Wanted     int // blocks that are missing
	Validator  bool
	Recovering bool // the store was lost; nothing is proposed yet
	Recovered  bool // the store was lost, and no commit has a block of ours since; see Config.Recovering
	Stalled    bool // our blocks do not get out; nothing is proposed
	Twin       bool // somebody else signs with our key; nothing is proposed
	Closing    bool // our blocks ask to close the epoch
	Closed     bool // the epoch is over; see NextEpoch
}

// Status describes the core as it is now.
func (c *Core) Status() Status {
	s := Status{
		Epoch: c.rules.Epoch, Round: c.clock.round, RoundAt: c.clock.entered,
		OwnRound: c.own.ref.Round, Top: c.graph.top(), Seen: c.graph.top(), Collected: c.graph.collected,
		Commit: c.last.Index, CommitDigest: c.last.Digest, CommitMs: c.last.TimeMs, Certified: c.votes.certified,
		Waiting: len(c.waiting.blocks), Wanted: len(c.waiting.wants),
		Validator: c.validator, Twin: c.own.twin, Closing: c.epoch.closing, Closed: c.epoch.closed,
	}
	s.Seen = max(s.Seen, c.waiting.reached(c.committee))
	s.Recovering = c.own.recovery != nil && !c.own.recovery.done
	s.Recovered = c.own.recovered || c.own.recovery != nil
	s.Stalled = c.validator && c.stalled()
	return s
}

// Rules are the rules of the epoch the core is in.
func (c *Core) Rules() *Rules { return c.rules }

// Self is our place in the committee; ok is false for an observer.
func (c *Core) Self() (a Author, ok bool) { return c.self, c.validator }

// Block returns an accepted block above the collected round, or nil.
func (c *Core) Block(d Digest) *Block {
	if v := c.graph.byDigest[d]; v != nil {
		return v.block
	}
	return nil
}
