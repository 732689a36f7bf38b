package replica

import (
	"errors"
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
	linked  bool      // a way to a validator has opened; it may have what we have not seen
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

func (c *catching) busy() bool { return c.state != nil || len(c.batch.commits) > 0 }

// batch is commits that follow on ours, and their blocks in order.
type batch struct {
	commits []dag.Commit
	blocks  []*dag.Block
	partial uint64 // blocks of the last commit that are here; it is complete with all
	bytes   int
}

func (b *batch) whole() []dag.Commit {
	n := len(b.commits)
	if n > 0 && b.partial < uint64(len(b.commits[n-1].Refs)) {
		return b.commits[:n-1]
	}
	return b.commits
}

func (r *Replica) progress() progress {
	s := r.core.Status()
	return progress{commit: s.Commit, top: s.Top, epoch: s.Epoch}
}

// catchUp asks for what we seem to miss, and now and then for what we may miss
// without knowing it.
func (r *Replica) catchUp() {
	r.asking.expire(r.now)
	r.dropOvertaken()
	k := &r.catching
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
	if poll || far || k.linked || len(k.batch.commits) > 0 && !r.now.Before(k.waitFor) {
		r.askCommits()
	}
	k.linked = false
	if poll || gap > gapRounds && !far && !r.now.Before(k.restFor) {
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
		r.catching.asked = r.progress()
		from := max(s.Collected, s.Round-min(s.Round, 2)) + 1
		r.askOnce(slotRounds, peer, Request{Kind: AskRounds, Epoch: s.Epoch, From: from})
	}
}

// roundsAnswered slows down when an answer brought nothing.
func (r *Replica) roundsAnswered() {
	if r.progress() == r.catching.asked {
		r.catching.restFor = r.now.Add(r.cfg.AskTimeout)
	}
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
	b := &r.catching.batch
	q := Request{Kind: AskCommits, From: r.last.Index + 1}
	if n := len(b.commits); n > 0 {
		q.From = b.commits[n-1].Index + 1
		if n > len(b.whole()) {
			q.From--
			q.Skip = b.partial
		}
	}
	r.askOnce(slotCommits, peer, q)
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
	r.dropApplied()
	if len(a.Commits) == 0 {
		r.noCommits(a)
		return
	}
	k.pruned = 0
	if !k.batch.add(q.request, a) {
		k.batch = batch{} // nonsense, or about something else than what we have: from anew
		k.waitFor = r.now.Add(r.cfg.AskTimeout)
		return
	}
	before := r.last.Index
	e, err := r.core.CatchUp(r.now, k.batch.whole(), k.batch.blocks)
	switch {
	case err == nil:
		r.absorb(e)
		k.batch = batch{}
	case errors.Is(err, dag.ErrUncertified) && a.Head > a.Commits[len(a.Commits)-1].Index && k.batch.bytes < batchBytesMax:
		// the votes are further on
	default:
		blocks := k.batch.blocks
		k.batch = batch{}
		r.absorb(r.core.Receive(r.now, blocks...)) // the end of the chain: the rule decides
		k.waitFor = r.now.Add(r.cfg.AskTimeout)
		return
	}
	if r.alarm == AlarmNone && (r.last.Index > before && a.Head > r.last.Index || len(k.batch.commits) > 0) {
		r.askCommitsOf(a.From)
	}
}

// noCommits looks whether the validators have let go of what we need.
func (r *Replica) noCommits(a *Answer) {
	k := &r.catching
	k.batch = batch{}
	if a.Head <= r.last.Index {
		k.pruned = 0
		k.waitFor = r.now.Add(r.cfg.AskTimeout)
		return
	}
	k.pruned++
	if k.pruned >= min(prunedMin, r.committee.Size()-1) {
		k.pruned = 0
		k.state = r.newStateSync()
	}
}

// prunedMin is how many validators in a row must be without the commits we
// need before we take a snapshot instead.
const prunedMin = 2

// dropApplied forgets a batch that the commit rule has overtaken.
func (r *Replica) dropApplied() {
	b := &r.catching.batch
	if len(b.commits) > 0 && b.commits[0].Index <= r.last.Index {
		*b = batch{}
	}
}

// add appends an answer to the batch. It reports whether the answer is what was
// asked for: each commit's blocks in order, the first going on where we were.
func (b *batch) add(q Request, a *Answer) bool {
	skip := q.Skip
	next := q.From
	resumes := false
	if n := len(b.commits); n > 0 {
		last := b.commits[n-1]
		if resumes = n > len(b.whole()); resumes {
			if a.Commits[0].Digest != last.Digest || skip != b.partial {
				return false
			}
		} else if last.Index+1 != q.From {
			return false
		}
	} else if skip != 0 {
		return false
	}
	blocks := a.Blocks
	for i := range a.Commits {
		c := &a.Commits[i]
		if c.Index != next {
			return false
		}
		next++
		if i > 0 || !resumes {
			b.commits = append(b.commits, *c)
			b.bytes += len(c.Refs) * 48
		}
		b.partial = skip
		for _, ref := range c.Refs[min(skip, uint64(len(c.Refs))):] {
			if len(blocks) == 0 {
				return i == len(a.Commits)-1
			}
			if blocks[0].Ref() != ref || blocks[0].Epoch() != c.Epoch {
				return false
			}
			b.blocks = append(b.blocks, blocks[0])
			b.bytes += len(blocks[0].Bytes())
			b.partial++
			blocks = blocks[1:]
		}
		skip = 0
	}
	return len(blocks) == 0
}
