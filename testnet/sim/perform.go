package sim

import (
	"slices"
	"time"

	"github.com/holdfast-mesh/holdfast/node/dag"
	"github.com/holdfast-mesh/holdfast/node/replica"
)

// take puts something into the next step's input.
func (n *node) take(put func(in *replica.Input)) {
	put(&n.in)
	n.some = true
}

// run steps the replica while there is something to do and the disk is free.
func (n *node) run() {
	for n.up && !n.busy && (n.some || n.intake.waits()) {
		if !n.step() {
			return
		}
	}
}

// step makes one step and reports whether its effects are all performed.
func (n *node) step() bool {
	in := n.in
	n.in, n.some = replica.Input{}, false
	return n.perform(n.rep.Step(n.local(), in))
}

// perform does what a step wants done, in order: its questions, then the batch and, if
// the step binds, nothing else till it is durable. Journalled operations ride along.
func (n *node) perform(e replica.Effects) bool {
	if !n.ask(e.Ask) {
		return false
	}
	batch, acks := n.intake.batch(n, n.batch[:0])
	for _, r := range e.Persist {
		batch = append(batch, record{string(r.Key), r.Value})
	}
	n.batch = batch
	if len(batch) == 0 {
		return n.afterSync(e, nil)
	}
	if n.boundary() {
		return false
	}
	if !e.Binds() && len(acks) == 0 {
		n.disk.write(batch)
		return n.afterSync(e, nil)
	}
	if bugSendBeforeSync {
		if !n.send(e.Send) {
			return false
		}
		e.Send = nil
	}
	n.disk.begin(batch)
	n.busy, n.due, n.acks = true, e, acks
	took := n.rnd.during(syncMin, syncMax)
	if n.slow > 0 {
		n.s.tally.bite(SlowDisk)
		took *= slowSync
	}
	n.s.push(event{at: n.s.now + took, kind: evSynced, node: int32(n.id), life: n.life})
	if n.crashAt == crashSyncLost || n.crashAt == crashSyncKept {
		n.crash(n.crashAt == crashSyncKept)
		return false
	}
	return false
}

// synced goes on with a step whose batch is durable.
func (n *node) synced() {
	n.disk.end()
	n.recover = false // the disk says so itself from now on
	e, acks := n.due, n.acks
	n.busy, n.due, n.acks = false, replica.Effects{}, nil
	if n.afterSync(e, acks) {
		n.run()
	}
}

// afterSync performs everything below Persist, in the order of the fields.
func (n *node) afterSync(e replica.Effects, acks []*journalled) bool {
	n.mayServe = e.Own
	if !n.checkObserver(&e) || n.boundary() || !n.acknowledge(acks) || !n.send(e.Send) {
		return false
	}
	n.executedAll(&e)
	if n.boundary() {
		return false
	}
	for _, r := range e.Refused {
		n.intake.refused(n, r)
	}
	if e.SnapshotDue != nil {
		due := *e.SnapshotDue
		n.builds = &due
		n.s.push(event{at: n.s.now + n.rnd.during(time.Millisecond, 60*time.Millisecond), kind: evSnapshot, node: int32(n.id), life: n.life})
	}
	if e.Alarm == replica.AlarmDisk {
		n.crash(true)
		n.replaceDisk()
		return false
	}
	if e.Alarm != replica.AlarmNone {
		n.s.violate("P1 safety", n, string(e.Alarm))
		return false
	}
	n.arm(e.WakeAt)
	return !n.s.failed()
}

// acknowledge tells clients that their operations are durable here, and hands
// these to the replica.
func (n *node) acknowledge(acks []*journalled) bool {
	for _, j := range acks {
		n.s.acknowledge(n, j)
		if n.crashAt == crashAfterAck {
			n.crash(true)
			return false
		}
		if n.boundary() {
			return false
		}
	}
	n.intake.submit(n, acks)
	return true
}

// send puts own blocks on every stream.
func (n *node) send(blocks []*dag.Block) bool {
	for _, b := range blocks {
		if !n.s.signed(n, b) {
			return false
		}
		if !slices.Contains(n.own, b) { // the newest is sent again now and then
			n.own = append(n.own, b)
		}
		if len(n.own) > againMax {
			n.own = slices.Delete(n.own, 0, 1)
		}
		m := &message{kind: msgBlock, body: b.Bytes()}
		if n.lie == nil {
			m.opened = n.s.memo.own(n.rep.Verifier(), b)
		}
		for to := range n.s.nodes {
			if to == n.id {
				continue
			}
			n.post(to, m)
			if n.boundary() {
				return false
			}
		}
	}
	return true
}

// ask sends the replica's questions.
func (n *node) ask(requests []replica.Request) bool {
	for _, q := range requests {
		n.s.trace("node %d asks %d: request %d for %v from %d %v", n.id, q.To, q.ID, q.Kind, q.From, q.Refs)
		n.post(int(q.To), &message{kind: msgRequest, body: q.Bytes()})
		if n.boundary() {
			return false
		}
	}
	return true
}

// post hands a message to the network, through the liar if it is one's.
func (n *node) post(to int, m *message) {
	if n.lie != nil && n.lie.swallows(n, to, m) {
		return
	}
	n.s.net.send(n.s.now, pair{n.id, to}, n.s.nodes[to].life, m)
}

// executedAll looks at what was executed.
func (n *node) executedAll(e *replica.Effects) {
	if e.Restored != nil && !n.s.restored(n, e.Restored) {
		return
	}
	for i := range e.Commits {
		if !n.s.executed(n, &e.Commits[i]) {
			return
		}
		n.intake.settle(&e.Commits[i])
	}
	if len(e.Commits) > 0 {
		n.s.audit(n)
	}
}

// arm schedules the next wake. An earlier one that is still to come is void.
func (n *node) arm(at time.Time) {
	if at.IsZero() {
		n.wake = 0
		return
	}
	due := n.clock.when(at, n.s.now)
	if due <= n.s.now {
		due = n.s.now + time.Microsecond // a step at a time, or time stands still
	}
	if due == n.wake {
		return
	}
	n.wake = due
	n.s.push(event{at: due, kind: evWake, node: int32(n.id), life: n.life})
}

// woken is the alarm.
func (n *node) woken(at time.Duration) {
	if at != n.wake {
		return
	}
	n.wake = 0
	n.some = true
	n.run()
}
