package dag

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// A stormNode is a validator: its core, and its disk, which outlives it.
type stormNode struct {
	storm *storm
	self  Author
	liar  bool
	skew  time.Duration // of its clock

	core   *Core  // nil while it is down
	life   int    // timers of a former life are void
	handed uint64 // the newest commit of this life
	wake   time.Time

	disk    map[Digest]*Block
	order   []*Block          // of the disk
	lies    map[Digest]*Block // sent besides
	commits []Commit
	ops     int
	pending [][]byte

	withholds  float64 // of a liar: the part of the others that does not get a block
	recovering bool    // the disk was lost and no new block of ours is durable
}

func (n *stormNode) now() time.Time { return n.storm.now.Add(n.skew) }

func (n *stormNode) crash() {
	n.storm.counted.crashes++
	n.core = nil
	n.life++
}

// submit gives the validator an operation to propose.
func (n *stormNode) submit() {
	n.pending = append(n.pending, fmt.Appendf(nil, "op %d of %d", n.ops, n.self))
	n.ops++
	n.step((*Core).Tick)
}

// loseDisk is a crash that nothing survives but the key: of one validator at a time, of none without which the others
// are no quorum, for neither of these can ever know what it did before, and of none where liars are silent: it is
// silent too until the rounds have gone on without it, and together that may be more than F.
func (n *stormNode) loseDisk() {
	s := n.storm
	if n.liar || s.rules.Committee.Weight(n.self) > s.rules.Committee.Faulty() ||
		slices.ContainsFunc(s.nodes, func(o *stormNode) bool { return o.recovering || o.withholds > 0 }) {
		return
	}
	s.counted.lostDisks++
	n.crash()
	clear(n.disk)
	n.order, n.commits, n.recovering = nil, nil, true
}

// askNewest asks the others how far a validator that lost its disk had come.
func (n *stormNode) askNewest() {
	if n.core == nil || !n.core.Status().Recovering {
		return
	}
	for _, o := range n.storm.nodes {
		if o == n || o.core == nil || !n.storm.passes(n, o) {
			continue
		}
		round, block, ok := o.core.Newest(n.self)
		switch ours, theirs := n.core.rules.Epoch, o.core.rules.Epoch; {
		case !ok || theirs > ours:
			continue // no answer for us
		case theirs < ours:
			round, block = 0, nil
		}
		if block != nil {
			o.deliver(n, block)
		}
		life, epoch := n.life, n.core.rules.Epoch
		n.storm.after(time.Millisecond, func() {
			if n.life == life {
				n.step(func(c *Core, now time.Time) Effects {
					if c.rules.Epoch != epoch {
						return c.Tick(now) // to what we do not ask any more
					}
					return c.Answer(now, o.self, round)
				})
			}
		})
	}
}

// epoch is the one that goes on from the durable commits, and how many commits it has.
func (n *stormNode) epoch() (epoch uint64, commits int) {
	for i := len(n.commits) - 1; i >= 0 && n.commits[i].Epoch == n.commits[len(n.commits)-1].Epoch; i-- {
		epoch, commits = n.commits[i].Epoch, commits+1
	}
	if commits > 0 && n.commits[len(n.commits)-1].Closes(n.storm.rules.Committee) {
		return epoch + 1, 0
	}
	return epoch, commits
}

// start opens a core on what is durable.
func (n *stormNode) start() {
	epoch, commits := n.epoch()
	cfg := DefaultConfig(n.storm.rulesOf(epoch))
	cfg.Key = testKey(n.self)
	cfg.GenesisMs = uint64(testStart.Add(-time.Second).UnixMilli())
	cfg.Recovering = n.recovering
	n.life++
	n.handed = 0
	core, e, err := Open(cfg, n.now(), Stored{Commits: n.commits, Blocks: n.order})
	if err != nil {
		n.storm.t.Fatalf("node %d: %v", n.self, err)
	}
	n.core = core
	n.perform(e)
	if commits >= n.storm.perEpoch {
		n.step((*Core).CloseEpoch)
	}
}

// catchUp asks somebody for commits and their blocks. Now and then a part of the answer is missing.
func (n *stormNode) catchUp() {
	s := n.storm
	o := s.nodes[s.rng.IntN(len(s.nodes))]
	if n.core == nil || o.core == nil || !s.passes(n, o) || len(o.commits) <= len(n.commits) {
		return
	}
	epoch, _ := n.epoch()
	commits := slices.Clone(o.commits[len(n.commits):])
	commits = commits[:min(len(commits), 1+s.rng.IntN(40))]
	var blocks []*Block
	for _, b := range o.order {
		if b.epoch == epoch && b.ref.Round+CollectDepth >= n.core.Status().Top {
			blocks = append(blocks, b)
		}
	}
	broken := s.chance(0.3)
	if broken {
		i := s.rng.IntN(len(commits))
		j := s.rng.IntN(len(blocks) + 1)
		commits, blocks = slices.Delete(commits, i, min(i+s.rng.IntN(2), len(commits))), slices.Delete(blocks, j, min(j+1, len(blocks)))
	}
	var err error
	n.step(func(c *Core, now time.Time) (e Effects) {
		var done Effects
		if done, err = c.CatchUp(now, commits, blocks); err == nil {
			s.counted.caughtUp++
			return done
		}
		return c.Receive(now, blocks...) // nobody votes for the last commits of an epoch
	})
	if err != nil && !errors.Is(err, ErrUncertified) && !broken {
		s.t.Fatalf("node %d catches up from %d commits: %v", n.self, len(n.commits), err)
	}
}

// step gives the core an input, performs what comes of it, and proposes when that is due.
func (n *stormNode) step(input func(c *Core, now time.Time) Effects) {
	if n.core == nil {
		return
	}
	n.perform(input(n.core, n.now()))
	for n.core != nil && n.core.ProposalDue(n.now(), len(n.pending) > 0) {
		e := n.core.Propose(n.now(), n.pending)
		if len(e.Send) == 0 {
			n.storm.t.Fatalf("node %d: a proposal was due and none was made", n.self)
		}
		n.pending = n.pending[e.Taken:]
		n.perform(e)
		if n.core != nil {
			n.recovering = false // a new block of ours is durable
		}
	}
	n.sleep()
}

// sleep arms the timer of the core's next wish.
func (n *stormNode) sleep() {
	if n.core == nil {
		return
	}
	at := n.core.wakeAt()
	if p := n.core.ProposalAt(len(n.pending) > 0); !p.IsZero() && (at.IsZero() || p.Before(at)) {
		at = p
	}
	if at.IsZero() || at.Equal(n.wake) {
		return
	}
	n.wake = at
	life := n.life
	n.storm.after(max(0, at.Sub(n.now())), func() {
		if n.life == life && n.wake.Equal(at) {
			n.wake = time.Time{}
			n.step((*Core).Tick)
		}
	})
}

// perform does the effects in order, and may crash before and after what has to be durable first.
func (n *stormNode) perform(e Effects) {
	s := n.storm
	if !s.calm && s.chance(0.002) {
		s.counted.cutSteps++
		n.crash()
		return
	}
	for _, b := range e.Persist {
		n.persist(b)
	}
	if !s.calm && s.chance(0.002) {
		s.counted.cutSteps++
		n.crash()
		return
	}
	for _, b := range e.Send {
		n.send(b)
	}
	for _, m := range e.Fetch {
		n.fetch(m)
	}
	for _, c := range e.Commits {
		n.commit(c)
	}
	for _, op := range e.Returned {
		s.counted.returned++
		n.pending = append(n.pending, op)
	}
	for _, v := range e.Evidence {
		if a := v.First.Author(); !s.nodes[a].liar || v.Second.Ref().Slot != v.First.Ref().Slot || v.First.Ref() == v.Second.Ref() {
			s.t.Fatalf("node %d holds %v and %v against %d", n.self, v.First.Ref(), v.Second.Ref(), a)
		}
	}
	if n.liar {
		n.core.own.twin = false // it knows
	} else if len(e.Faults) > 0 {
		s.t.Fatalf("node %d: %v", n.self, e.Faults)
	}
	epoch, commits := n.epoch()
	switch {
	case e.EpochClosed:
		next, err := n.core.NextEpoch(n.now(), s.rulesOf(epoch))
		if err != nil {
			s.t.Fatalf("node %d: %v", n.self, err)
		}
		n.perform(next)
	case commits >= s.perEpoch && !n.core.epoch.closing:
		n.perform(n.core.CloseEpoch(n.now()))
	}
}

func (n *stormNode) persist(b *Block) {
	if n.disk[b.Ref().Digest] != nil {
		n.storm.t.Fatalf("node %d accepts block %v twice", n.self, b.Ref())
	}
	n.disk[b.Ref().Digest] = b
	n.order = append(n.order, b)
	if !n.liar {
		n.storm.blocks[b.Ref().Digest] = b
	}
}

// send sends our block to everybody; a liar has others for some.
func (n *stormNode) send(b *Block) {
	s := n.storm
	if !n.liar {
		if n.disk[b.Ref().Digest] == nil {
			s.t.Fatalf("node %d sends block %v, which is not durable", n.self, b.Ref())
		}
		slot := stormSlot{b.epoch, b.ref.Slot}
		if d, filled := s.sent[slot]; filled && d != b.Ref().Digest {
			s.t.Fatalf("node %d fills slot %v twice", n.self, slot)
		}
		s.sent[slot] = b.Ref().Digest
	}
	other := b
	if n.liar && s.chance(0.4) {
		s.counted.equivocations++
		other = n.equivocate(b)
	}
	for _, to := range s.nodes {
		switch {
		case to == n || n.liar && s.chance(n.withholds):
		case s.chance(0.5):
			n.deliver(to, b)
		default:
			n.deliver(to, other)
		}
	}
}

// equivocate makes another block of b's slot: other operations and votes, another time, and where the quorum allows a
// parent less, one that nobody has, or one under a wrong name.
func (n *stormNode) equivocate(b *Block) *Block {
	rules := n.storm.rulesOf(b.epoch)
	other := &Block{ref: Ref{Slot: b.ref.Slot}, network: b.network, epoch: b.epoch, timeMs: b.timeMs + 1,
		payload: [][]byte{fmt.Appendf(nil, "lie %v", b.ref)}, votes: b.votes}
	if b.flags&FlagClose != 0 {
		other.flags, other.payload = FlagClose, nil
	}
	rng := n.storm.rng
	if n.storm.chance(0.2) {
		other.timeMs += uint64(rng.IntN(450))
	}
	if len(other.votes) > 0 && n.storm.chance(0.3) {
		other.votes = []Vote{{Index: other.votes[0].Index + rng.Uint64N(3), Commit: Digest{byte(rng.IntN(4))}}}
	}
	other.parents = slices.Clone(b.parents)
	if i := rng.IntN(len(other.parents)); i > 0 {
		changed := slices.Clone(other.parents)
		switch rng.IntN(4) {
		case 0:
			changed[i].Digest[0]++
		case 1:
			changed[i].Round = max(1, changed[i].Round-min(changed[i].Round, rng.Uint64N(70)))
		default:
			changed = slices.Delete(changed, i, i+1)
		}
		if rules.checkParents(&Block{ref: other.ref, network: b.network, epoch: b.epoch, parents: changed}) == nil {
			other.parents = changed
		}
	}
	seal(other, testKey(n.self))
	if _, err := rules.Verify(other.Bytes()); err != nil {
		n.storm.t.Fatal(err)
	}
	n.lies[other.Ref().Digest] = other
	return other
}

// deliver carries blocks over the network as it is now and then.
func (n *stormNode) deliver(to *stormNode, blocks ...*Block) {
	s := n.storm
	if !s.passes(n, to) {
		s.counted.lost++
		return
	}
	d := time.Millisecond + time.Duration(s.rng.Int64N(int64(s.slowest)))
	if !s.calm && s.chance(0.02) {
		d *= 20 // very late, and long overtaken
	}
	s.after(d, func() {
		if s.side[n.self] == s.side[to.self] {
			to.step(func(c *Core, now time.Time) Effects { return c.Receive(now, blocks...) })
		}
	})
}

// fetch asks a node for a block and delivers it, if it has it and the network lets both through.
func (n *stormNode) fetch(m Missing) {
	s := n.storm
	s.counted.fetches++
	o := s.nodes[m.From]
	if o == n || !s.passes(n, o) {
		return
	}
	s.after(time.Millisecond, func() {
		for _, b := range []*Block{o.disk[m.Ref.Digest], o.lies[m.Ref.Digest]} {
			if b != nil && o.core != nil {
				o.deliver(n, b)
				return
			}
		}
	})
}

// commit checks a commit against the chain of all and appends it to the node's.
func (n *stormNode) commit(c Commit) {
	s := n.storm
	if c.Index <= n.handed {
		s.t.Fatalf("node %d hands out commit %d after %d", n.self, c.Index, n.handed)
	}
	n.handed = c.Index
	if c.Index <= uint64(len(n.commits)) {
		if n.commits[c.Index-1].Digest != c.Digest {
			s.t.Fatalf("node %d makes another commit %d after a restart", n.self, c.Index)
		}
		return
	}
	previous, timeMs := s.rules.Network, uint64(0)
	if len(n.commits) > 0 {
		last := n.commits[len(n.commits)-1]
		previous, timeMs = last.Digest, last.TimeMs
	}
	if c.Index != uint64(len(n.commits))+1 || c.Previous != previous || c.TimeMs < timeMs {
		s.t.Fatalf("node %d: %v does not follow on %d commits up to %v, %d ms", n.self, &c, len(n.commits), previous, timeMs)
	}
	n.commits = append(n.commits, c)
	if n.liar {
		return
	}
	if c.Index <= uint64(len(s.commits)) {
		if s.commits[c.Index-1].Digest != c.Digest {
			s.t.Fatalf("node %d: commit %d is %v, others have %v", n.self, c.Index, &c, &s.commits[c.Index-1])
		}
		return
	}
	s.commits = append(s.commits, c)
	for _, b := range c.Blocks {
		for _, op := range b.Payload() {
			if at := s.final[string(op)]; at > 0 && !s.nodes[b.Author()].liar {
				s.t.Fatalf("%q is in commits %d and %d", op, at, c.Index)
			}
			s.final[string(op)] = c.Index
		}
	}
}
