package dag

// commitDecided turns the decided prefix of leaders into commits. A commit moves
// the collected round, which may let waiting blocks in, so it goes on until
// nothing more is decided.
func (c *Core) commitDecided() {
	for !c.epoch.closed && !c.conflict {
		slots := c.rule.decide(c.graph)
		if c.rule.conflict != nil {
			c.conflict = true
			c.effects.Faults = append(c.effects.Faults, c.rule.conflict)
			return
		}
		if len(slots) == 0 {
			return
		}
		for _, s := range slots {
			if s.decision == committed {
				c.commit(c.buildCommit(s.block))
				if c.epoch.closed {
					return
				}
			}
		}
	}
}

// buildCommit puts what a leader adds to the order into a commit.
func (c *Core) buildCommit(leader *vertex) Commit {
	vertices := c.graph.linearise(leader)
	commit := Commit{
		Epoch:    c.rules.Epoch,
		Index:    c.last.Index + 1,
		Previous: c.last.Digest,
		Leader:   leader.ref,
		Refs:     make([]Ref, len(vertices)),
		Blocks:   make([]*Block, len(vertices)),
		TimeMs:   max(c.last.TimeMs, c.leaderTime(leader)),
	}
	for i, v := range vertices {
		commit.Refs[i], commit.Blocks[i] = v.ref, v.block
	}
	commit.Flagged = flaggedAfter(c.last.Flagged, commit.Blocks)
	c.scratch = commit.append(c.scratch[:0])
	commit.Digest = digestOf(c.scratch)
	return commit
}

// leaderTime is the time a leader gives its commit. In an epoch's first round
// its parents are no blocks and have no clocks, so its own has to do: nothing
// but itself is in such a commit, so it harms or helps nobody else.
func (c *Core) leaderTime(leader *vertex) uint64 {
	if leader.ref.Round == 1 {
		return leader.block.timeMs
	}
	return medianTime(c.committee, leader.parents, leader.ref.Round-1)
}

// commit makes a commit the newest and lets go of what it leaves behind.
func (c *Core) commit(commit Commit) {
	for _, b := range commit.Blocks {
		if c.validator && b.ref.Author == c.self && b.ref.Round >= c.own.floor {
			c.own.recovered = false // the old life cannot have seen this commit, nor the end of the epoch
		}
		if len(b.payload) > 0 {
			c.unordered--
		}
	}
	c.effects.Commits = append(c.effects.Commits, commit)
	if bug == BugCommitTwice && commit.Index%16 == 0 {
		c.effects.Commits = append(c.effects.Commits, commit)
	}
	c.last = commit
	c.last.Refs, c.last.Blocks = nil, nil
	c.votes.committed(c.committee, commit.Index, commit.Digest)
	c.collect(collectedAfter(commit.Leader.Round))
	if commit.Closes(c.committee) {
		c.epoch.closed = true
		c.effects.EpochClosed = true
	}
}

// collect drops everything at or below round. Operations of our own that no
// commit took go back to the caller.
func (c *Core) collect(round uint64) {
	if bug == BugCollectEarly {
		round = c.last.Leader.Round - min(c.last.Leader.Round, 2)
	}
	if round <= c.graph.collected {
		return
	}
	for _, v := range c.graph.collect(round) {
		if !v.committed {
			c.dropped(v.block)
		}
		v.cut()
	}
	c.rule.forget(round)
	c.own.collect(round)
	for d, r := range c.ordered { // order: each entry is judged alone
		if r <= round {
			delete(c.ordered, d)
		}
	}
	for s := range c.proved { // order: each entry is judged alone
		if s.Round <= round {
			delete(c.proved, s)
		}
	}
	for _, w := range c.waiting.collect(round) {
		parents, complete := c.findParents(w.block)
		if complete && parents != nil {
			c.accept(w.block, parents)
		}
	}
}

// dropped counts out a block that was collected without a commit.
func (c *Core) dropped(b *Block) {
	if len(b.payload) == 0 {
		return
	}
	c.unordered--
	if c.validator && b.ref.Author == c.self {
		c.effects.Returned = append(c.effects.Returned, b.payload...)
	}
}
