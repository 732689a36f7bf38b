package replica

import (
	"errors"
	"slices"
	"time"

	"github.com/holdfast-mesh/holdfast/node/dag"
)

// Bounds of catching up.
const (
	// gapRounds is how far above the accepted rounds a waiting block must be for
	// us to ask for whole rounds, instead of ancestors one by one.
	gapRounds = 3
	// farRounds is how far it must be for us to ask for commits, which are
	// applied without running the rule. It is well within the collect depth, so that
	// rounds that peers have let go of are fetched as commits.
	farRounds = dag.CollectDepth / 3
	// batchBytesMax bounds the commits and blocks that wait until votes for them
	// come with later ones.
	batchBytesMax = 8 * ReplyBytesMax
	refBytes      = 48 // of a commit's reference to a block in memory
	// pollIdleRounds is after how many idle rounds without a commit we ask
	// whether we have missed something: a lost message must not cost more.
	pollIdleRounds = 2
)

// The slots of catching up; see asking.
var (
	slotRounds  = slot{kind: AskRounds}
	slotCommits = slot{kind: AskCommits}
)

// catching is what a replica that is behind does about it:
//
//	a little:        asks for rounds, and lets the commit rule decide
//	far:             asks for commits and their blocks, which votes certify
//	behind the logs: takes a certified checkpoint and its snapshot; see stateSync
//
// Each is tried with one validator after the other until the gap is closed.
type catching struct {
	batch   batch
	state   *stateSync
	waitFor time.Time // no new question about commits or states before: the last brought nothing
	restFor time.Time // the same of rounds
	retryAt time.Time // when to ask again, if something is missing
	pollAt  time.Time // when to ask although nothing seems to be missing
	due     bool      // commits are to be asked for now: somebody may have what we have not seen
	asked   progress  // when the last question of rounds was asked
	moved   progress  // when something last moved
	// patience is that of the next try at a state, if the last ended in vain.
	patience int
	pruned   int // validators in a row that have more than we, and no longer what we need
}

// progress is what shows that a replica moves.
type progress struct {
	commit, top, epoch uint64
}

// heardLater takes note of a block of an epoch that is not known here: others have
// commits that end ours, which no block of ours will tell.
func (c *catching) heardLater(later bool, now time.Time) {
	c.due = c.due || later && !now.Before(c.waitFor)
}

func (c *catching) busy() bool { return c.state != nil || len(c.batch.commits) > 0 }

// batch is commits that follow on ours, and their blocks in order. It comes in answers
// of any size.
type batch struct {
	commits []dag.Commit
	blocks  []*dag.Block
	partial int // blocks of the last commit that are here; it is complete with all
	bytes   int
}

// whole is the commits whose blocks are all here.
func (b *batch) whole() []dag.Commit {
	n := len(b.commits)
	if n > 0 && b.partial < len(b.commits[n-1].Refs) {
		return b.commits[:n-1]
	}
	return b.commits
}

// next is the question for what follows on the batch, or on the newest commit that
// is applied if the batch is empty.
func (b *batch) next(applied uint64) Request {
	q := Request{Kind: AskCommits, From: applied + 1}
	if n := len(b.commits); n > 0 {
		q.From = b.commits[n-1].Index + 1
		if n > len(b.whole()) {
			q.From--
			q.Skip = uint64(b.partial)
		}
	}
	return q
}

// continues reports whether an answer to a question goes on where the batch ends. It
// does not when the commit rule or another answer has been quicker.
func (b *batch) continues(q Request, applied uint64) bool {
	next := b.next(applied)
	return q.From == next.From && q.Skip == next.Skip || len(b.commits) == 0 && q.From <= applied
}

// drop forgets the commits up to one that is applied, and their blocks.
func (b *batch) drop(applied uint64) {
	for len(b.commits) > 0 && b.commits[0].Index <= applied {
		refs := len(b.commits[0].Refs)
		b.bytes -= refs * refBytes
		for range min(refs, len(b.blocks)) {
			b.bytes -= len(b.blocks[0].Bytes())
			b.blocks = b.blocks[1:]
		}
		b.commits = b.commits[1:]
	}
	if len(b.commits) == 0 {
		*b = batch{}
	}
}

// add appends an answer that continues the batch, but for commits that are applied by
// now. It reports whether the answer is what was asked for: commits without a gap, and each
// one's blocks in order. A commit that lacks blocks is the last that is taken.
func (b *batch) add(q Request, a *Answer, applied uint64) bool {
	blocks, skip := a.Blocks, q.Skip
	for i := range a.Commits {
		c := &a.Commits[i]
		if c.Index != q.From+uint64(i) {
			return false
		}
		refs := c.Refs[min(skip, uint64(len(c.Refs))):]
		n := min(len(refs), len(blocks))
		for j, block := range blocks[:n] {
			if block.Ref() != refs[j] || block.Epoch() != c.Epoch {
				return false
			}
		}
		if c.Index > applied && !b.append(c, skip, blocks[:n]) {
			return false
		}
		if blocks = blocks[n:]; n < len(refs) {
			break
		}
		skip = 0
	}
	return len(blocks) == 0
}

// append adds blocks of a commit from the one at skip on.
func (b *batch) append(c *dag.Commit, skip uint64, blocks []*dag.Block) bool {
	n := len(b.commits)
	if n > len(b.whole()) {
		if c.Digest != b.commits[n-1].Digest || skip != uint64(b.partial) {
			return false
		}
	} else {
		if skip != 0 {
			return false
		}
		b.commits = append(b.commits, *c)
		b.partial = 0
		b.bytes += len(c.Refs) * refBytes
	}
	b.blocks = append(b.blocks, blocks...)
	b.partial += len(blocks)
	for _, block := range blocks {
		b.bytes += len(block.Bytes())
	}
	return true
}

func (r *Replica) progress() progress {
	s := r.core.Status()
	return progress{commit: s.Commit, top: s.Top, epoch: s.Epoch}
}

// catchUp asks for what we seem to miss, and now and then for what we may miss
// without knowing it.
func (r *Replica) catchUp() {
	k := &r.catching
	expired := r.asking.expire(r.now)
	r.dropOvertaken()
	if k.state != nil {
		r.syncState()
		k.retryAt = k.waitFor
		k.pollAt = r.now.Add(pollIdleRounds * r.cfg.IdleRound)
		return
	}
	if p := r.progress(); p != k.moved {
		k.moved = p
		k.pollAt = r.now.Add(pollIdleRounds * r.cfg.IdleRound)
	}
	s := r.core.Status()
	poll := !r.now.Before(k.pollAt)
	if poll {
		k.pollAt = r.now.Add(pollIdleRounds * r.cfg.IdleRound)
	}
	gap := s.Seen - s.Top
	k.retryAt = time.Time{}
	if gap > gapRounds && r.now.Before(k.restFor) {
		k.retryAt = k.restFor
	}
	far := r.far()
	again := func(s slot) bool { return slices.Contains(expired, s) } // of somebody else
	if poll || far || k.due || again(slotCommits) || len(k.batch.commits) > 0 && !r.now.Before(k.waitFor) {
		r.askCommits()
	}
	k.due = false
	if poll || again(slotRounds) || gap > gapRounds && !far && !r.now.Before(k.restFor) {
		r.askRounds(s)
	}
}

// Far reports whether a validator in this state is so far behind that commits will
// bring it what it lacks: more cheaply, because they are certified, than the blocks
// that streams and gossip bring meanwhile, which need not even be verified.
func Far(s dag.Status) bool { return s.Seen-s.Top > farRounds }

// far is Far, unless the last question about commits brought nothing. Then rounds and
// missing ancestors are asked for, as by anybody else.
func (r *Replica) far() bool { return Far(r.core.Status()) && !r.now.Before(r.catching.waitFor) }

func (r *Replica) askRounds(s dag.Status) {
	if r.asking.pending(slotRounds) {
		return
	}
	if peer, ok := r.nextPeer(); ok {
		r.askRoundsOf(peer, s)
	}
}

func (r *Replica) askRoundsOf(peer dag.Author, s dag.Status) {
	r.catching.asked = r.progress()
	from := max(s.Collected, s.Round-min(s.Round, 2)) + 1
	r.askOnce(slotRounds, peer, Request{Kind: AskRounds, Epoch: s.Epoch, From: from})
}

// roundsAnswered goes on where the answer was full, and slows down when all of them
// brought nothing.
func (r *Replica) roundsAnswered(q question, a *Answer) {
	if next, more := roundsAfter(q.request, a); more && !r.far() {
		r.askOnce(slotRounds, a.From, next)
		return
	}
	if r.progress() == r.catching.asked {
		r.catching.restFor = r.now.Add(r.cfg.AskTimeout)
	}
}

// roundsAfter is the question for what had no room in an answer. Each goes on further up
// than the one before, so they end.
func roundsAfter(q Request, a *Answer) (next Request, more bool) {
	if a.Head == 0 || len(a.Blocks) == 0 {
		return Request{}, false
	}
	last := a.Blocks[len(a.Blocks)-1].Ref()
	next = Request{Kind: AskRounds, Epoch: q.Epoch, From: last.Round, Author: last.Author + 1}
	if int(next.Author) == dag.CommitteeMax {
		next.From, next.Author = last.Round+1, 0
	}
	return next, next.From > q.From || next.From == q.From && next.Author > q.Author
}

func (r *Replica) askCommits() {
	if r.asking.pending(slotCommits) {
		return
	}
	if peer, ok := r.nextPeer(); ok {
		r.askCommitsOf(peer)
	}
}

// askCommitsOf asks a validator for what follows on the batch so far.
func (r *Replica) askCommitsOf(peer dag.Author) {
	r.askOnce(slotCommits, peer, r.catching.batch.next(r.last.Index))
}

// commitsAnswered adds to the batch and applies what votes certify by now.
func (r *Replica) commitsAnswered(q question, a *Answer) {
	k := &r.catching
	if k.state != nil {
		if k.state.certificate != nil && k.state.commits == nil {
			r.windowAnswered(k.state, q, a)
		}
		return
	}
	k.batch.drop(r.last.Index)
	if !k.batch.continues(q.request, r.last.Index) {
		k.due = true // it is asked for again, from where we are by now
		return
	}
	if len(a.Commits) == 0 {
		r.noCommits(q, a)
		return
	}
	k.pruned = 0
	applied, before := r.last.Index, k.batch.next(r.last.Index)
	if !k.batch.add(q.request, a, applied) {
		k.batch = batch{} // nonsense: from anew
		k.waitFor = r.now.Add(r.cfg.AskTimeout)
		return
	}
	next := k.batch.next(r.last.Index)
	vain := next.From == before.From && next.Skip == before.Skip && q.request.From > applied
	epoch := r.core.Rules().Epoch
	if whole := k.batch.whole(); len(whole) > 0 {
		e, err := r.core.CatchUp(r.now, whole, k.batch.blocks)
		switch {
		case err == nil:
			r.absorb(e)
			k.batch.drop(r.last.Index)
		case !errors.Is(err, dag.ErrUncertified):
			r.endOfCommits(a)
			return
		}
	}
	switch {
	case r.alarm != AlarmNone:
	case r.core.Rules().Epoch != epoch:
		k.due = true // who is who has changed: whoever's turn it is goes on
	case vain || a.Head < next.From && len(k.batch.commits) > 0 || k.batch.bytes > batchBytesMax:
		r.endOfCommits(a) // the votes are not further on
	case a.Head >= next.From:
		r.asking.forget(AskCommits) // another may have been asked, if this one came late
		r.askCommitsOf(a.From)
	}
}

// endOfCommits lets the commit rule decide what no votes certify: at the end of the
// chain, and at that of an epoch, after which nobody of its committee votes. Who has these
// commits also has the rounds that decided them.
func (r *Replica) endOfCommits(a *Answer) {
	k := &r.catching
	blocks := k.batch.blocks
	k.batch = batch{}
	k.waitFor = r.now.Add(r.cfg.AskTimeout)
	epoch := r.core.Rules().Epoch
	r.receiveFrom(a.From, blocks)
	if s := r.core.Status(); s.Epoch == epoch && s.Commit < a.Head {
		r.askRoundsOf(a.From, s)
	}
}

// noCommits looks whether the validators have let go of what we need.
func (r *Replica) noCommits(q question, a *Answer) {
	k := &r.catching
	if a.Head < q.request.From {
		k.pruned = 0
		r.endOfCommits(a)
		return
	}
	k.batch = batch{}
	k.pruned++
	if k.pruned >= min(prunedMin, r.committee.Size()-1) {
		k.pruned = 0
		k.state = r.newStateSync()
	}
}

// prunedMin is how many validators in a row must be without the commits we
// need before we take a snapshot instead.
const prunedMin = 2
