package replica

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/holdfast-mesh/holdfast/node/dag"
	"github.com/holdfast-mesh/holdfast/node/ledger"
)

// staleAfter is how far beyond an op's window our clock must be before we give
// up on it without a commit that says so: more than honest clocks differ.
const staleAfter = 5 * time.Second

// aheadMax is how far an op's time may be ahead of our clock. It waits in the pool
// until commits have come near it (see early), with the account's later ones.
const aheadMax = 5 * time.Second

// Replica is one validator, or observer, without a body. One goroutine at a
// time uses it. See the package comment for what it guarantees.
type Replica struct {
	cfg     Config
	network dag.Digest
	store   Store

	core      *dag.Core
	committee *dag.Committee
	verifier  *Verifier
	ledger    *ledger.Ledger
	pool      *pool
	flights   flights
	own       []*ledger.Op // of the block that is being proposed
	spoken    spoken

	last    dag.Commit   // the newest executed commit, without Blocks
	clockMs int64        // commit time
	roots   []Checkpoint // our own, of the newest checkpoints
	ending  *handover    // of the epoch, once the ledger names another committee; else nil

	certified  Checkpoint // the newest one
	snapshots  snapshots
	pruning    pruning
	recovering *recovering
	marked     bool // the disk says that a life before it was lost
	catching   catching
	asking     asking

	alarm   Alarm
	now     time.Time // of the step under way
	effects Effects   // of the step under way
}

// Step takes what has happened and says what to do now. Inputs are taken in the
// order of Input's fields, so the same inputs give the same effects. now may
// jump; commit time does not follow it.
func (r *Replica) Step(now time.Time, in Input) Effects {
	r.begin(now)
	if r.alarm == AlarmNone {
		r.input(in)
		r.work()
	}
	if r.alarm != AlarmNone {
		for _, op := range in.Ops {
			r.refuse(op, RefusedStopped, ledger.ReasonNone)
		}
	}
	return r.end()
}

func (r *Replica) begin(now time.Time) {
	r.now = now
	r.effects = Effects{}
}

// end completes the effects with what is a function of the state.
func (r *Replica) end() Effects {
	s := r.core.Status()
	if r.marked && s.Validator && !s.Recovering && !s.Recovered {
		r.persist([]byte(keyRecover), nil)
		r.marked = false
	}
	e := r.effects
	r.effects = Effects{}
	e.Alarm = r.alarm
	author, validator := r.core.Self()
	e.Own = Own{Validator: validator, Author: author, Epoch: s.Epoch, Round: s.OwnRound}
	if r.alarm == AlarmNone {
		e.WakeAt = r.wakeAt(e.WakeAt)
	} else {
		e.WakeAt = time.Time{}
	}
	return e
}

func (r *Replica) input(in Input) {
	for _, l := range in.Connected {
		r.asking.connected(l)
		r.catching.due = r.catching.due || l.Up
		r.absorb(r.core.Connected(r.now, l.Peer, l.Up))
	}
	for _, p := range in.Rounds {
		r.absorb(r.core.PeerHas(r.now, p.Peer, p.Round))
	}
	for _, op := range in.Ops {
		r.admit(op)
	}
	if len(in.Blocks) > 0 {
		r.absorb(r.core.Receive(r.now, in.Blocks...))
	}
	r.catching.heardLater(in.Later, r.now)
	for i := range in.Answers {
		r.answer(&in.Answers[i])
	}
	if in.Snapshot != nil {
		r.snapshotDone(*in.Snapshot)
	}
}

// work does what is due: it lets the core's timers run, proposes, and keeps the
// background jobs going.
func (r *Replica) work() {
	r.absorb(r.core.Tick(r.now))
	if r.ending != nil && !r.core.Status().Closing {
		r.absorb(r.core.CloseEpoch(r.now))
	}
	r.sweep()
	r.propose()
	r.catchUp()
	r.recover()
	r.snapshotDue()
	r.prune()
}

// wakeAt is the earliest time at which a Step without input would do something.
func (r *Replica) wakeAt(core time.Time) time.Time {
	at := core
	sooner := func(t time.Time) {
		if !t.IsZero() && (at.IsZero() || t.Before(at)) {
			at = t
		}
	}
	sooner(r.core.ProposalAt(r.pending()))
	sooner(r.asking.wakeAt())
	sooner(r.catching.pollAt)
	if r.now.Before(r.catching.retryAt) {
		sooner(r.catching.retryAt)
	}
	sooner(r.pruning.wakeAt())
	if !at.IsZero() && !at.After(r.now) {
		at = r.now.Add(time.Millisecond) // whatever is overdue, the caller must not spin
	}
	return at
}

// propose makes our block when it is due. The ops stay in the pool, in flight,
// until a commit has them or the block is dropped.
func (r *Replica) propose() {
	if !r.core.ProposalDue(r.now, r.pending()) {
		return
	}
	ops := r.pool.take(dag.PayloadBytesMax, r.judge)
	payload := make([][]byte, len(ops))
	for i, op := range ops {
		payload[i] = op.Bytes()
	}
	r.own = ops
	if r.ending != nil {
		r.core.VoteCheckpoint(r.ending.Index, r.ending.Commit, r.ending.Root)
	}
	e := r.core.Propose(r.now, payload)
	r.absorb(e)
	r.own = nil
}

// pending reports whether there is something for our next block.
func (r *Replica) pending() bool { return r.pool.ready(r.early) }

// early holds back what the next commits would refuse for being ahead of them.
// An op executes if its time is less than a second ahead of its commit's, and that
// is the time of blocks of the round before: after an idle or a cut-off
// while these can be old. A round later they are not.
func (r *Replica) early(op *ledger.Op) verdict {
	if op.TimeMs() >= r.expectedMs()+earlyMs {
		return stays
	}
	return goes
}

// earlyMs is how far ahead of the expected commit time an op may be: the
// ledger's second less what clocks may differ.
const earlyMs = 750

// expectedMs is a time no commit that orders our next block is likely to be
// below: the lower median of a quorum made of the authors heard from least
// recently. It is never below the last commit's.
func (r *Replica) expectedMs() int64 {
	if !r.spoken.sorted {
		r.spoken.sort(r.committee)
	}
	return max(r.spoken.expected, r.clockMs)
}

// judge says whether an op goes into our next block.
func (r *Replica) judge(op *ledger.Op) verdict {
	if op.ExpiresMs() < r.now.Add(-staleAfter).UnixMilli() {
		r.refuse(op, RefusedStale, ledger.ReasonNone)
		return leaves
	}
	if code, reason := r.check(op); code != RefusedNot {
		r.refuse(op, code, reason)
		return leaves
	}
	return r.early(op)
}

// absorb turns what the core wants into what we want.
func (r *Replica) absorb(e dag.Effects) {
	for _, b := range e.Persist {
		r.accepted(b)
	}
	r.effects.Send = append(r.effects.Send, e.Send...)
	r.fetch(e.Fetch)
	for i := range e.Commits {
		r.execute(&e.Commits[i])
	}
	r.effects.WakeAt = e.WakeAt // the newest one counts
	for _, c := range e.Checkpoints {
		r.certify(c)
	}
	r.takeBack(e.Returned)
	r.effects.Evidence = append(r.effects.Evidence, e.Evidence...)
	for _, err := range e.Faults {
		r.raise(alarmOf(err))
	}
	if e.EpochClosed && r.alarm == AlarmNone {
		r.nextEpoch()
	}
}

// accepted keeps a block the core has accepted and tells the pool of its ops.
func (r *Replica) accepted(b *dag.Block) {
	r.persist(blockKey(b.Epoch(), b.Ref()), b.Bytes())
	ops := r.opsOf(b)
	r.flights.add(b.Ref(), ops)
	r.pool.accepted(ops)
	r.spoken.note(b)
}

// opsOf returns a block's operations: a received block has them from its
// verification, our own from the pool.
func (r *Replica) opsOf(b *dag.Block) []*ledger.Op {
	if ops, ok := b.Checked().([]*ledger.Op); ok {
		return ops
	}
	n := len(b.Payload())
	if n > len(r.own) {
		panic(fmt.Sprintf("replica: invariant broken: block %v has %d operations nobody has decoded", b.Ref(), n))
	}
	return r.own[:n:n]
}

// takeBack pools the operations of our dropped blocks again. Most are still in
// the pool; those from before a restart are not.
func (r *Replica) takeBack(payload [][]byte) {
	for _, raw := range payload {
		op, err := ledger.TrustedOp(raw)
		if err != nil {
			panic("replica: invariant broken: an operation of our own block does not decode: " + err.Error())
		}
		if r.pool.entries[op.ID()] == nil && !r.has(op) {
			r.admit(op)
		}
	}
}

// has reports whether the ledger has executed op, so that it is no news that
// the pool does not want it.
func (r *Replica) has(op *ledger.Op) bool {
	_, done := r.ledger.Result(op.ID())
	return done
}

// admit puts an operation into the pool, or says why not.
func (r *Replica) admit(op *ledger.Op) {
	_, validator := r.core.Self()
	switch {
	case r.alarm != AlarmNone:
		r.refuse(op, RefusedStopped, ledger.ReasonNone)
		return
	case !validator:
		r.refuse(op, RefusedObserver, ledger.ReasonNone)
		return
	case r.recovering != nil:
		r.refuse(op, RefusedRecovering, ledger.ReasonNone)
		return
	case op.ExpiresMs() < r.now.Add(-staleAfter).UnixMilli():
		r.refuse(op, RefusedStale, ledger.ReasonNone)
		return
	case op.TimeMs() > r.now.Add(aheadMax).UnixMilli():
		r.refuse(op, RefusedLedger, ledger.ReasonTimestamp)
		return
	}
	if code, reason := r.check(op); code != RefusedNot {
		r.refuse(op, code, reason)
		return
	}
	code, displaced := r.pool.add(op)
	for _, op := range displaced {
		r.refuse(op, RefusedDisplaced, ledger.ReasonNone)
	}
	if code != RefusedNot {
		r.refuse(op, code, ledger.ReasonNone)
	}
}

// check asks the ledger whether an operation is worth ordering.
func (r *Replica) check(op *ledger.Op) (RefusalCode, ledger.Reason) {
	if op.ExpiresMs() < r.clockMs {
		return RefusedExpired, ledger.ReasonNone
	}
	err := r.ledger.Check(*op)
	if err == nil {
		return RefusedNot, ledger.ReasonNone
	}
	var reason ledger.Reason
	if !errors.As(err, &reason) {
		panic("replica: invariant broken: the ledger refuses without a reason: " + err.Error())
	}
	return RefusedLedger, reason
}

func (r *Replica) refuse(op *ledger.Op, code RefusalCode, reason ledger.Reason) {
	r.effects.Refused = append(r.effects.Refused, Refusal{Op: op, Code: code, Reason: reason})
}

// sweep lets operations go whose window our clock has left well behind, so that
// a long partition does not fill the pool with the past.
func (r *Replica) sweep() {
	for _, op := range r.pool.expire(r.now.Add(-staleAfter).UnixMilli()) {
		r.refuse(op, RefusedStale, ledger.ReasonNone)
	}
}

func (r *Replica) persist(key, value []byte) {
	r.effects.Persist = append(r.effects.Persist, Record{key, value})
}

// raise stops the replica. The first alarm is kept on disk: no restart cures it.
func (r *Replica) raise(a Alarm) {
	if r.alarm == AlarmNone {
		r.alarm = a
		r.persist([]byte(keyAlarm), []byte(a))
	}
}

// alarmOf names a fault of the core.
func alarmOf(err error) Alarm {
	var twin *dag.TwinError
	var divergence *dag.Divergence
	switch {
	case errors.As(err, &twin):
		return AlarmTwin
	case errors.As(err, &divergence) && divergence.Checkpoint:
		return AlarmRoot
	}
	return AlarmFork
}

// Verifier verifies what comes from outside for the epochs known now. It is a
// new one when another epoch is known; see Effects.Verifier.
func (r *Replica) Verifier() *Verifier { return r.verifier }

// Committee is the committee of the running epoch.
func (r *Replica) Committee() *dag.Committee { return r.committee }

// Self is our place in the committee; ok is false for an observer.
func (r *Replica) Self() (author dag.Author, ok bool) { return r.core.Self() }

// Ledger is the state after the newest executed commit. Read only, and only
// between steps.
func (r *Replica) Ledger() *ledger.Ledger { return r.ledger }

// Executed returns the newest executed commit: the ledger is the state after it.
func (r *Replica) Executed() (index uint64, digest dag.Digest) {
	return r.last.Index, r.last.Digest
}

// CommitMs is commit time: that of the newest executed commit, in Unix milliseconds.
func (r *Replica) CommitMs() int64 { return r.clockMs }

// Have is the newest round of an author's blocks of the epoch that is accepted
// here, and so all its earlier ones. Tell it to the author: see Input.Rounds.
func (r *Replica) Have(author dag.Author) uint64 {
	if int(author) >= len(r.spoken.rounds) {
		return 0
	}
	return r.spoken.rounds[author]
}

// Status describes the state of agreement.
func (r *Replica) Status() dag.Status { return r.core.Status() }

// Certified is the newest certified checkpoint, zero before the first.
func (r *Replica) Certified() Checkpoint { return r.certified }

// Pooled returns how many operations are in the pool and what they cost of its bound.
func (r *Replica) Pooled() (ops, cost int) { return len(r.pool.entries), r.pool.cost }

// String is one line for people.
func (r *Replica) String() string {
	s := r.core.Status()
	state := ""
	for _, f := range []struct {
		on   bool
		word string
	}{
		{r.alarm != AlarmNone, " ALARM: " + string(r.alarm)}, {s.Recovering, " recovering"},
		{r.catching.busy(), " catching up"}, {s.Stalled, " stalled"}, {s.Closing, " closing"},
	} {
		if f.on {
			state += f.word
		}
	}
	return fmt.Sprintf("commit %d epoch %d round %d own %d seen %d waiting %d pool %d%s",
		r.last.Index, s.Epoch, s.Round, s.OwnRound, s.Seen, s.Waiting, len(r.pool.entries), state)
}

// sameCommittee reports whether the ledger names the members of c, in order.
func sameCommittee(c *dag.Committee, named ledger.Committee) bool {
	members := membersOf(named)
	if len(members) != c.Size() {
		return false
	}
	return !slices.ContainsFunc(members, func(m dag.Member) bool {
		a, ok := c.AuthorOf(m.Key)
		return !ok || c.Member(a) != m
	})
}

func membersOf(named ledger.Committee) []dag.Member {
	members := make([]dag.Member, len(named.Validators))
	for i, v := range named.Validators {
		members[i] = dag.Member{Key: v.Key, Weight: v.Weight}
	}
	return members
}
