package replica

import (
	"fmt"
	"slices"

	"github.com/holdfast-mesh/holdfast/node/dag"
	"github.com/holdfast-mesh/holdfast/node/ledger"
)

// rootsKept is how many of our own checkpoints wait for their certificates:
// a quorum that is so many checkpoints behind is told of by the alarm of others.
const rootsKept = 64

// execute applies the next commit to the ledger and keeps its record. Commits
// that were executed before a restart come again and are passed over.
func (r *Replica) execute(c *dag.Commit) {
	if c.Index <= r.last.Index && bug != BugApplyTwice {
		return
	}
	if c.Index > r.last.Index+1 {
		panic(fmt.Sprintf("replica: invariant broken: commit %d follows on %d", c.Index, r.last.Index))
	}
	r.persist(indexKey(prefixCommit, c.Index), c.Bytes())
	var ops []ledger.Op
	for _, b := range c.Blocks {
		landed, known := r.flights.land(b.Ref())
		if !known {
			landed = r.opsOf(b)
		}
		for _, op := range landed {
			ops = append(ops, *op)
		}
		if r.ending != nil {
			r.ending.collect(b)
		}
		r.pool.executed(landed)
		if known {
			r.pool.landed(landed)
		}
	}
	firstOfEpoch := c.Epoch != r.last.Epoch
	done := r.apply(c, ops)
	if firstOfEpoch || slices.ContainsFunc(done.Events, func(e ledger.Event) bool { return e.Kind == ledger.EventCommitteeSet }) {
		r.endBegins(&done)
	}
	for _, ops := range r.flights.collect(collectedAfter(c.Leader.Round)) {
		r.pool.landed(ops)
	}
	for _, op := range r.pool.expire(r.clockMs) {
		r.refuse(op, RefusedExpired, ledger.ReasonNone)
	}
	r.checkpoint(&done)
	r.effects.Commits = append(r.effects.Commits, done)
}

// apply is the one place where the ledger changes: a commit, once, in order.
func (r *Replica) apply(c *dag.Commit, ops []ledger.Op) Commit {
	done := commitOf(c, ops)
	done.Events = slices.Clone(r.ledger.Apply(batchOf(&done)))
	if bug == BugApplyTwice && c.Index%8 == 0 {
		r.ledger.Apply(batchOf(&done))
	}
	r.last = *c
	r.last.Blocks = nil
	r.clockMs = done.TimeMs
	return done
}

func commitOf(c *dag.Commit, ops []ledger.Op) Commit {
	return Commit{
		Epoch: c.Epoch, Index: c.Index, Digest: c.Digest, Leader: c.Leader,
		TimeMs: int64(c.TimeMs), Ops: ops,
	}
}

// checkpoint computes the root where it is due, and votes for it. At the end of an
// epoch none is; see handover.
func (r *Replica) checkpoint(done *Commit) {
	due := done.Index%r.cfg.CheckpointEvery == 0 && r.ending == nil
	if !due && !r.cfg.EveryRoot {
		return
	}
	done.Root, done.HasRoot = r.ledger.Root(), true
	if !due {
		return
	}
	ours := Checkpoint{Index: done.Index, Commit: done.Digest, Root: done.Root}
	r.core.VoteCheckpoint(ours.Index, ours.Commit, ours.Root)
	r.rememberRoot(ours)
	r.snapshots.reached(ours, r.certified)
}

func (r *Replica) rememberRoot(ours Checkpoint) {
	if len(r.roots) == rootsKept {
		r.roots = slices.Delete(r.roots, 0, 1)
	}
	r.roots = append(r.roots, ours)
	if r.certified.Index == ours.Index && r.certified != ours {
		r.raise(AlarmRoot)
	}
}

// certify takes a checkpoint that a quorum has signed. It may be one that we have
// not reached yet.
func (r *Replica) certify(c dag.Checkpoint) {
	if c.Index <= r.certified.Index {
		return
	}
	r.certified = Checkpoint{Index: c.Index, Commit: c.Commit, Root: c.Root}
	votes := slices.Clone(c.Voters)
	slices.SortFunc(votes, func(a, b dag.Ref) int { return int(a.Author) - int(b.Author) })
	certificate := Certificate{Checkpoint: r.certified, Epoch: r.core.Rules().Epoch, Votes: votes}
	r.persist(indexKey(prefixCheckpoint, c.Index), certificate.Bytes())
	newest := r.certified
	r.effects.Checkpoint = &newest
	for _, ours := range r.roots {
		if ours.Index == c.Index && ours != r.certified {
			r.raise(AlarmRoot)
		}
		if ours == r.certified && (r.ending == nil || ours.Index < r.ending.Index) {
			r.snapshots.reached(ours, r.certified)
		}
	}
}

// nextEpoch begins the epoch after the one whose last commit was just executed,
// under the committee that the end of it was begun for. What the old epoch did not commit is
// over; our own part of it goes back to the pool.
func (r *Replica) nextEpoch() {
	epoch := r.core.Rules().Epoch + 1
	committee := r.handOver()
	r.committee = committee
	r.knowEpoch(epoch, committee)
	for _, ops := range r.flights.collect(maxUint64) {
		r.pool.landed(ops)
	}
	r.flights = flights{}
	r.spoken = newSpoken(committee.Size())
	r.askAnew(false)
	if r.recovering == nil {
		e, err := r.core.NextEpoch(r.now, *r.verifier.newest())
		if err != nil {
			panic("replica: invariant broken: " + err.Error())
		}
		r.absorb(e)
		return
	}
	// We may have signed in the new epoch too, in the life we do not remember.
	r.recovering = newRecovering(committee.Size())
	core, e, err := dag.Open(r.coreConfig(r.verifier.newest(), true), r.now, dag.Stored{Commits: []dag.Commit{r.last}})
	if err != nil {
		panic("replica: invariant broken: " + err.Error())
	}
	r.core = core
	r.absorb(e)
}

// collectedAfter is the round at and below which nothing is ordered any more
// once a leader of this round is committed; see dag.
func collectedAfter(leaderRound uint64) uint64 {
	return leaderRound - min(leaderRound, dag.CollectDepth)
}
