package dag

import "time"

// aheadMax is how far ahead of our clock a block's time may be: it is held until
// then. Honest clocks differ by less; what is further ahead is dropped, so that
// no one can fill the waiting room with the future.
const aheadMax = 500 * time.Millisecond

// Missing is a block that something we hold builds on and that we do not have.
type Missing struct {
	Ref Ref
	// From is whom to ask this time: first the author that pointed to it.
	From Author
	// Attempt counts the requests for this block, from 0.
	Attempt int
}

// Evidence is two blocks one author signed for one slot: proof that it is faulty.
type Evidence struct {
	First, Second *Block
}

// Effects are what a caller performs, in field order: nothing below is done
// before Persist is durable. The zero Effects ask for nothing.
type Effects struct {
	// Persist are newly accepted blocks, each after its parents.
	Persist []*Block
	// Send are our own blocks, for every peer. Our newest comes again after Open,
	// and while nobody seems to have it.
	Send []*Block
	// Fetch are ancestors we miss. Each is repeated until it comes.
	Fetch []Missing
	// Commits are new commits in order. After a restart those the caller has not
	// stored come again: it tells by Index.
	Commits []Commit
	// WakeAt is when to call Tick if nothing else happens before; zero for never.
	// It supposes that the caller has no payload; see ProposalAt.
	WakeAt time.Time

	// Taken is how many of the operations handed to Propose are in our new block.
	Taken int
	// Checkpoints became certified: a quorum signed the same state root.
	Checkpoints []Checkpoint
	// Returned are operations of our own blocks that no commit will take any
	// more; the caller may propose them again.
	Returned [][]byte
	// Evidence is new proof of faulty authors, once per slot and a few per author. Keep it.
	Evidence []Evidence
	// EpochClosed says that the last of Commits is the last of its epoch. The core
	// stands still until NextEpoch.
	EpochClosed bool
	// Faults need an operator: *Conflict and *Divergence stop the node, *TwinError
	// has stopped proposing.
	Faults []error
}

// Core is one validator's (or observer's) view of the DAG: blocks go in, effects
// come out. It does no I/O, starts nothing and reads no clock: now is an
// argument of every step and may jump either way. One goroutine uses a Core at
// a time.
//
// It keeps these relations:
//
//  1. collected = leader round of the last commit - CollectDepth, not below 0
//  2. every accepted block's parents above the collected round are accepted
//  3. our blocks' rounds rise, and each is in Persist before or with its Send
//  4. commit i+1 names the digest of commit i
type Core struct {
	cfg       Config
	rules     *Rules
	committee *Committee
	self      Author
	validator bool // self is in the committee and we have its key

	now     time.Time // of the step under way
	effects Effects   // of the step under way

	graph   *graph
	rule    *rule
	waiting waitingRoom
	clock   roundClock
	own     ownBlocks
	votes   voteBook
	peers   []peer // by author
	epoch   epochState

	last      Commit // the newest commit, without Refs and Blocks
	unordered int    // accepted blocks with payload that no commit has
	proved    map[Slot]struct{}
	ordered   map[Digest]uint64 // blocks of stored commits that were not stored, and their rounds
	conflict  bool              // the rule contradicted itself; nothing commits any more
	scratch   []byte            // of buildCommit
}

// peer is what we know of another validator.
type peer struct {
	disconnected bool
	proofs       int    // Evidence against it
	hasOurs      uint64 // our newest round it is known to have
}

// Receive takes verified blocks of this epoch, in any order, any number of
// times. What lacks ancestors waits for them.
func (c *Core) Receive(now time.Time, blocks ...*Block) Effects {
	c.at(now)
	for _, b := range blocks {
		c.receive(b)
	}
	return c.finish()
}

// Tick lets time pass: call it at Effects.WakeAt, or whenever.
func (c *Core) Tick(now time.Time) Effects {
	c.at(now)
	return c.finish()
}

// Connected tells whether a peer's stream is up. A proposal does not wait for a
// leader that is not connected. All count as connected until told otherwise.
func (c *Core) Connected(now time.Time, author Author, up bool) Effects {
	c.at(now)
	if c.committee.Has(author) {
		c.peers[author].disconnected = !up
	}
	return c.finish()
}

// receive judges one block that its author vouches for.
func (c *Core) receive(b *Block) {
	if b.epoch != c.rules.Epoch || b.network != c.rules.Network || c.epoch.closed {
		return
	}
	if b.ref.Round <= c.graph.collected || c.graph.byDigest[b.ref.Digest] != nil || c.waiting.has(b.ref.Digest) {
		return
	}
	if c.tooManyVersions(b) {
		return
	}
	ahead := int64(b.timeMs) - c.now.UnixMilli()
	if ahead > aheadMax.Milliseconds() {
		return
	}
	c.prove(b)
	c.checkOwn(b)
	if ahead > 0 {
		c.hold(b)
		return
	}
	c.arrive(b)
}

// arrive accepts b if its ancestors are here, else lets it wait.
func (c *Core) arrive(b *Block) {
	parents, complete := c.findParents(b)
	if !complete {
		c.wait(b)
		return
	}
	if parents != nil {
		c.accept(b, parents)
	}
}

// findParents returns b's parents above the collected round, and whether all are
// here. It returns nil, true for a block that names a parent by a wrong slot:
// such a block can never be accepted.
func (c *Core) findParents(b *Block) (parents []*vertex, complete bool) {
	parents = make([]*vertex, 0, len(b.parents))
	complete = true
	for i := range b.parents {
		p := &b.parents[i]
		if p.Round <= c.graph.collected {
			continue
		}
		v := c.graph.find(p)
		if v == nil {
			if c.graph.byDigest[p.Digest] != nil {
				return nil, true
			}
			complete = false
			continue
		}
		parents = append(parents, v)
	}
	return parents, complete
}

// accept adds a block whose parents are here to the DAG, and then whatever
// waited for it.
func (c *Core) accept(b *Block, parents []*vertex) {
	c.add(b, parents)
	for ready := c.waiting.release(b.ref.Digest); len(ready) > 0; {
		w := ready[0]
		ready = ready[1:]
		parents, complete := c.findParents(w.block)
		c.waiting.remove(w)
		// A block that names a parent by a wrong slot may be released when that one is collected already.
		if complete && parents != nil && w.block.ref.Round > c.graph.collected {
			c.add(w.block, parents)
			ready = append(ready, c.waiting.release(w.block.ref.Digest)...)
		}
	}
}

// add makes b part of the DAG and counts what it says.
func (c *Core) add(b *Block, parents []*vertex) *vertex {
	v := c.graph.insert(b.ref, parents, b)
	c.rule.observe(v)
	c.effects.Persist = append(c.effects.Persist, b)
	c.count(v)
	return v
}

// count takes note of a new vertex everywhere but in the rule.
func (c *Core) count(v *vertex) {
	b := v.block
	if _, done := c.ordered[b.ref.Digest]; done {
		v.committed = true
		delete(c.ordered, b.ref.Digest)
	} else if len(b.payload) > 0 {
		c.unordered++
	}
	c.advance(v)
	c.countVotes(b)
	if c.validator {
		if b.ref.Author == c.self {
			c.own.made(v)
			c.point(v)
		} else {
			c.acknowledge(b)
		}
	}
}

// finish brings what follows from this step's inputs: blocks whose time has
// come, commits, certificates, the next wake-up. It hands the effects out.
func (c *Core) finish() Effects {
	c.unhold()
	c.commitDecided()
	c.certify()
	c.askAgain()
	c.sendAgain()
	c.effects.WakeAt = c.wakeAt()
	e := c.effects
	c.effects = Effects{}
	return e
}

// wakeAt is the earliest time at which a Tick would do something.
func (c *Core) wakeAt() time.Time {
	at := c.ProposalAt(false)
	for _, t := range [...]time.Time{c.waiting.heldUntil(), c.waiting.askAt, c.sendAgainAt()} {
		if !t.IsZero() && (at.IsZero() || t.Before(at)) {
			at = t
		}
	}
	return at
}
