package dag

import (
	"crypto/ed25519"
	"fmt"
	"slices"
	"time"
)

// Stored is what a core is opened on: what its effects told the caller to keep.
// The zero Stored is a new network's.
type Stored struct {
	// Commits are the newest commits, by rising index: the last one made and at
	// least those before it of the same epoch whose leader's round is above the
	// collected one (last leader's round - CollectDepth). After a certified
	// checkpoint they come from peers, checked by their chain of digests.
	Commits []Commit
	// Blocks are the epoch's accepted blocks above the collected round and our
	// newest block whatever its round, verified again, in any order.
	Blocks []*Block
}

// Open makes a core that goes on from what is stored. If the last stored commit
// closed an epoch and cfg.Rules are of the next one, that epoch begins.
//
// Its effects are as any: what was accepted but not yet committed when the store
// was written may come as Commits now, and our newest block is in Send, because
// nobody knows whether it left; it is never made again. Blocks that are not
// stored, a committed one's ancestor or all of them after a checkpoint, are
// fetched when something builds on them. EpochClosed comes again too.
func Open(cfg Config, now time.Time, stored Stored) (*Core, Effects, error) {
	if err := cfg.Validate(); err != nil {
		return nil, Effects{}, err
	}
	last, err := checkChain(cfg, stored.Commits)
	if err != nil {
		return nil, Effects{}, err
	}
	c := &Core{now: now}
	c.begin(cfg, last)
	c.restore(stored)
	c.effects.EpochClosed = c.epoch.closed
	return c, c.finish(), nil
}

// checkChain returns the last of the stored commits, after checking that they
// are one chain and end where cfg's epoch can go on.
func checkChain(cfg Config, commits []Commit) (Commit, error) {
	if len(commits) == 0 {
		if cfg.Rules.Epoch != 0 {
			return Commit{}, fmt.Errorf("dag: epoch %d cannot begin without the commit that closed the one before", cfg.Rules.Epoch)
		}
		return Commit{Digest: cfg.Rules.Network, TimeMs: cfg.GenesisMs}, nil
	}
	for i := 1; i < len(commits); i++ {
		if commits[i].Index != commits[i-1].Index+1 || commits[i].Previous != commits[i-1].Digest {
			return Commit{}, fmt.Errorf("dag: stored commit %d does not follow on commit %d: restore the store from peers",
				commits[i].Index, commits[i-1].Index)
		}
	}
	last := commits[len(commits)-1]
	last.Refs, last.Blocks = nil, nil
	if last.Epoch != cfg.Rules.Epoch && last.Epoch+1 != cfg.Rules.Epoch {
		return Commit{}, fmt.Errorf("dag: the last stored commit is of epoch %d, epoch %d cannot follow", last.Epoch, cfg.Rules.Epoch)
	}
	return last, nil
}

// begin sets up an epoch without any blocks, after the commit last.
func (c *Core) begin(cfg Config, last Commit) {
	c.cfg = cfg
	c.rules = &c.cfg.Rules
	c.committee = cfg.Rules.Committee
	c.self, c.validator = 0, false
	if len(cfg.Key) != 0 {
		var key [ed25519.PublicKeySize]byte
		copy(key[:], cfg.Key.Public().(ed25519.PublicKey))
		c.self, c.validator = c.committee.AuthorOf(key)
	}
	size := c.committee.Size()
	same := last.Index > 0 && last.Epoch == cfg.Rules.Epoch
	var collected, next uint64 = 0, 1
	if same {
		collected, next = collectedAfter(last.Leader.Round), last.Leader.Round+1
	}
	c.epoch = epochState{closed: same && last.Closes(c.committee)}
	if !same {
		last.Flagged = nil
	}
	c.last = last
	c.graph = newGraph(size, collected)
	c.rule = newRule(c.committee, oneLeader(c.rules), next)
	if bug == BugQuorumLess {
		c.rule.weakened = quorumLessOne
	}
	c.waiting = newWaitingRoom(size)
	c.clock = roundClock{round: collected + 1, entered: c.now}
	c.peers = make([]peer, size)
	c.votes = newVoteBook(size, last)
	c.proved = make(map[Slot]struct{})
	c.ordered = make(map[Digest]uint64)
	c.unordered = 0
	c.own = ownBlocks{ref: Genesis(c.rules.Network, c.rules.Epoch, c.self), floor: 1}
	if cfg.Recovering && c.validator {
		c.own.recovery = &recovery{}
	}
}

// restore puts the stored blocks back into the DAG, as they were.
func (c *Core) restore(stored Stored) {
	if len(stored.Commits) > 0 {
		c.votes.first, c.votes.recent = stored.Commits[0].Index, nil
	}
	for _, commit := range stored.Commits {
		c.votes.recent = append(c.votes.recent, commit.Digest)
	}
	blocks := slices.Clone(stored.Blocks)
	slices.SortFunc(blocks, func(a, b *Block) int { return compareRefs(a.ref, b.ref) })
	for _, commit := range stored.Commits {
		for _, ref := range commit.Refs {
			if commit.Epoch == c.rules.Epoch && ref.Round > c.graph.collected {
				c.ordered[ref.Digest] = ref.Round
			}
		}
	}
	for _, b := range blocks {
		c.restoreBlock(b)
	}
	c.effects.Persist = nil // it is where these came from
	c.reobserve(c.rule.first)
	if !c.validator {
		return
	}
	if bug == BugForgetOwn {
		c.own = ownBlocks{ref: Genesis(c.rules.Network, c.rules.Epoch, c.self), floor: 1}
	}
	if c.own.last != nil {
		c.own.floor = c.own.ref.Round + 1
		if c.own.ref.Round > c.graph.collected {
			c.effects.Send = append(c.effects.Send, c.own.last)
			c.own.sent = c.now
		}
	}
}

// restoreBlock adds a stored block; count marks it if a stored commit has it.
func (c *Core) restoreBlock(b *Block) {
	if b.epoch != c.rules.Epoch || c.graph.byDigest[b.ref.Digest] != nil {
		return
	}
	if b.ref.Round <= c.graph.collected {
		if c.validator && b.ref.Author == c.self && b.ref.Round > c.own.ref.Round {
			c.own.last, c.own.ref = b, b.ref // what our next block builds on
		}
		return
	}
	parents, complete := c.findParents(b)
	if !complete {
		c.wait(b)
		return
	}
	if parents == nil {
		return
	}
	v := c.graph.insert(b.ref, parents, b)
	c.count(v)
	if v.version != nil || c.graph.slot(b.ref.Slot) != v {
		c.proved[b.ref.Slot] = struct{}{} // reported before it was stored
	}
}

// reobserve starts the commit rule anew at the leader of round first, over the
// vertices that are there.
func (c *Core) reobserve(first uint64) {
	weakened := c.rule.weakened
	c.rule = newRule(c.committee, oneLeader(c.rules), first)
	c.rule.weakened = weakened
	for round := first; round <= c.graph.top(); round++ {
		for _, v := range c.graph.at(round) {
			c.rule.observe(v)
		}
	}
}
