package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/holdfast-mesh/holdfast/node/dag"
	"github.com/holdfast-mesh/holdfast/node/ledger"
	"github.com/holdfast-mesh/holdfast/node/replica"
	"github.com/holdfast-mesh/holdfast/storage"
)

// fullRetry is how often a batch is tried again on a full disk.
const fullRetry = 500 * time.Millisecond

// loop owns the replica: it steps it and performs the effects in their order,
// until ctx ends or the disk fails. While a batch is being synced the inbox
// collects, so the busier the node, the more one sync carries.
func (n *Node) loop(ctx context.Context) error {
	e := n.opened
	n.opened = replica.Effects{}
	var fresh []*submission
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		n.turns.Add(1)
		if err := n.perform(ctx, &e, fresh); err != nil {
			return err
		}
		if !n.sleep(ctx, timer, e.WakeAt) {
			return nil
		}
		var in replica.Input
		in, fresh = n.inbox.take()
		if n.standing.Load().proposes() {
			for _, s := range fresh {
				in.Ops = append(in.Ops, s.op)
			}
		}
		began := time.Now()
		n.mu.Lock()
		e = n.replica.Step(began, in)
		n.mu.Unlock()
		n.meter.step.Observe(time.Since(began).Seconds())
	}
}

// sleep waits until something is in the inbox or the replica wants to be woken;
// false means that ctx ended.
func (n *Node) sleep(ctx context.Context, timer *time.Timer, until time.Time) bool {
	var wake <-chan time.Time
	if !until.IsZero() {
		timer.Reset(time.Until(until))
		wake = timer.C
	}
	select {
	case <-n.inbox.wake:
	case <-wake:
	case <-ctx.Done():
		return false
	}
	return ctx.Err() == nil
}

// perform does what a step wants, in the order of replica.Effects: its questions, then
// one batch and, if the step binds, nothing of the rest before it is durable. Operations
// that came for the journal and what readers will ask for are in the same batch.
func (n *Node) perform(ctx context.Context, e *replica.Effects, fresh []*submission) error {
	if last := n.standing.Load(); last != nil && last.members.committee == n.replica.Committee() {
		n.askAll(e) // else when the standing tells who is whom by now
	}
	all := make([]*happened, len(e.Commits))
	for i := range e.Commits {
		all[i] = happenedIn(&e.Commits[i])
	}
	n.batch.Reset()
	for _, r := range e.Persist {
		put(&n.batch, r)
		recordCID(&n.batch, r)
	}
	if err := n.index.record(&n.batch, e.Restored != nil, all); err != nil {
		return fmt.Errorf("reading the index: %w", err)
	}
	n.intake.record(&n.batch, fresh)
	if err := n.write(ctx, e, e.Binds() || len(fresh) > 0); err != nil {
		return err
	}
	n.intake.durable(fresh)
	n.hand(fresh)
	n.send(e.Send)
	n.askAll(e)
	n.executed(e, all)
	for _, r := range e.Refused {
		n.intake.refused(r)
	}
	for _, proof := range e.Evidence {
		n.proven(proof)
	}
	if e.SnapshotDue != nil {
		n.snapshot(*e.SnapshotDue)
	}
	n.alarmed(e.Alarm)
	return nil
}

// hand notes that fresh operations are with our replica, which had them with the
// step, or gives them to a validator if we propose nothing.
func (n *Node) hand(fresh []*submission) {
	if len(fresh) == 0 {
		return
	}
	n.intake.gave(fresh, time.Now())
	if n.standing.Load().proposes() {
		return
	}
	ops := make([]*ledger.Op, len(fresh))
	for i, s := range fresh {
		ops[i] = s.op
	}
	n.forward(ops)
}

// write writes the batch, and if it binds makes it durable, with all before it. When
// nothing is left that is not durable the replica's standing is published. On a full disk it waits for room, with the
// node standing still but for reads; any other failure ends the node.
func (n *Node) write(ctx context.Context, e *replica.Effects, binds bool) error {
	write := n.store.WriteUnsynced
	if binds {
		write = n.store.Write
	}
	for n.batch.Len() > 0 {
		began := time.Now()
		err := write(&n.batch)
		if err == nil {
			if n.loose = !binds; binds {
				n.meter.sync.Observe(time.Since(began).Seconds())
			}
			if n.full.Swap(false) {
				n.log.Info("there is room on the disk again: going on")
			}
			break
		}
		if !errors.Is(err, storage.ErrFull) {
			return fmt.Errorf("the node stops, for what is on disk is not known any more: %w", err)
		}
		if !n.full.Swap(true) {
			n.log.Error("the disk is full: taking no operations until there is room", "err", err)
		}
		n.turns.Add(1)
		select {
		case <-time.After(fullRetry):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if !n.loose {
		n.stand(e)
	}
	return nil
}

// stand publishes how the replica stands, now that this is durable.
func (n *Node) stand(e *replica.Effects) {
	last := n.standing.Load()
	now := &standing{
		own:      e.Own,
		verifier: n.replica.Verifier(),
		status:   n.replica.Status(),
		commitMs: n.replica.CommitMs(),
		alarm:    e.Alarm,
	}
	now.executed, _ = n.replica.Executed()
	now.pooled, _ = n.replica.Pooled()
	now.poolFull = n.replica.PoolFull()
	if committee := n.replica.Committee(); last != nil && last.members.committee == committee {
		now.members = last.members
	} else {
		now.members = newMembers(committee)
	}
	now.have = make([]uint64, len(now.members.peers))
	for a := range now.have {
		now.have[a] = n.replica.Have(dag.Author(a))
	}
	n.standing.Store(now)
	if last != nil && last.members != now.members {
		n.log.Info("a new committee", "epoch", now.status.Epoch, "validators", len(now.members.peers))
		n.host.SetCommittee(n.committee(now.members))
	}
}

// send hands our new blocks to every validator's stream, and to gossip.
func (n *Node) send(blocks []*dag.Block) {
	now := n.standing.Load()
	for _, b := range blocks {
		out := now.members.streamed(b)
		n.host.Broadcast(out)
		n.publish(out.Data)
	}
}

// executed tells everybody who waits for commits.
func (n *Node) executed(e *replica.Effects, all []*happened) {
	if e.Restored != nil {
		n.log.Info("took over a state that a quorum has signed", "commit", e.Restored.Index)
	}
	if e.Checkpoint != nil {
		n.meter.checkpoint.Set(float64(e.Checkpoint.Index))
	}
	if len(all) == 0 {
		return
	}
	n.committedAt.Store(time.Now().UnixNano())
	n.index.recorded(e.Restored != nil, all)
	for _, h := range all {
		n.intake.settle(h)
		n.meter.executed(h)
	}
}

// proven keeps what proves a validator faulty where a person sees it.
func (n *Node) proven(e dag.Evidence) {
	author := n.standing.Load().members.peers[e.First.Author()]
	n.meter.evidence.Inc()
	n.log.Error("a validator signed two blocks for one round", "peer", author, "round", e.First.Round(),
		"first", e.First.Ref().Digest, "second", e.Second.Ref().Digest)
}

// alarmed says once, and loudly, why the replica has stopped.
func (n *Node) alarmed(a replica.Alarm) {
	if a == replica.AlarmNone || n.alarm == a {
		return
	}
	n.alarm = a
	n.log.Error("ALARM: this validator has stopped and takes no operations; a person has to look, no restart cures it", "why", string(a))
}

// snapshot makes a snapshot beside the loop, from the disk alone.
func (n *Node) snapshot(due replica.SnapshotRequest) {
	n.spawn(func(ctx context.Context) {
		began := time.Now()
		err := replica.BuildSnapshot(disk{n.store}, due, func(r replica.Record) error {
			if err := ctx.Err(); err != nil {
				return err
			}
			var batch storage.Batch
			put(&batch, r)
			return n.store.Write(&batch)
		})
		if err != nil {
			n.log.Warn("no snapshot was made", "commit", due.Index, "err", err)
		} else {
			n.log.Info("made a snapshot", "commit", due.Index, "took", time.Since(began))
		}
		n.inbox.add(func(in *replica.Input) {
			in.Snapshot = &replica.SnapshotDone{Index: due.Index, Failed: err != nil}
		})
	})
}
