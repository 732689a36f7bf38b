package sim

import (
	"time"

	"github.com/holdfast-mesh/holdfast/node/ledger"
	"github.com/holdfast-mesh/holdfast/node/replica"
)

// intake is a node as a gateway: it journals an operation before it
// acknowledges it, hands it to the replica again and again until it is final or
// its window is over, and finds it in the journal after a crash.
type intake struct {
	fresh   []*submission // to be journalled with the next batch
	held    map[ledger.Digest]*journalled
	order   []*journalled                   // held, oldest first, with holes till the next sweep
	ended   map[ledger.Digest]ledger.Reason // can never be ordered, says our replica
	deletes []record                        // of journal records that are not needed any more
}

// journalled is an acknowledged operation.
type journalled struct {
	op     *ledger.Op
	by     *submission   // who waits for the acknowledgement; nil after a restart
	given  time.Duration // when the replica got it last; 0: not yet
	closed bool
}

// The journal's place on the disk, and how often an op is handed in again.
const (
	intakePrefix = "intake/"
	resubmitGap  = time.Second
)

func newIntake() intake {
	return intake{held: make(map[ledger.Digest]*journalled), ended: make(map[ledger.Digest]ledger.Reason)}
}

func intakeKey(id ledger.Digest) string { return intakePrefix + string(id[:]) }

// load reads the journal after a restart.
func (in *intake) load(d *disk) error {
	for r, err := range d.scan(intakePrefix, "") {
		if err != nil {
			return err
		}
		op, err := ledger.TrustedOp(r.value)
		if err != nil {
			return err
		}
		in.add(&journalled{op: op})
	}
	return nil
}

func (in *intake) add(j *journalled) {
	in.held[j.op.ID()] = j
	in.order = append(in.order, j)
}

// waits reports whether something wants a batch of its own.
func (in *intake) waits() bool { return len(in.fresh) > 0 }

// unsent reports whether something is acknowledged that the replica never got.
func (in *intake) unsent() bool {
	for _, j := range in.order {
		if !j.closed && j.given == 0 {
			return true
		}
	}
	return false
}

// batch appends the journal's part of the next durable batch to records, and returns
// what may be acknowledged once it is durable.
func (in *intake) batch(n *node, records []record) (_ []record, acks []*journalled) {
	for _, sub := range in.fresh {
		op := n.s.memo.op(n.rep.Verifier(), sub.bytes).op
		if in.held[op.ID()] != nil {
			acks = append(acks, &journalled{op: op, by: sub, closed: true}) // posted twice
			continue
		}
		j := &journalled{op: op, by: sub}
		in.add(j)
		acks = append(acks, j)
		records = append(records, record{intakeKey(op.ID()), op.Bytes()})
	}
	in.fresh = in.fresh[:0]
	if len(records) > 0 {
		records = append(records, in.deletes...)
		in.deletes = in.deletes[:0]
	}
	return records, acks
}

// submit hands acknowledged operations to the replica.
func (in *intake) submit(n *node, acks []*journalled) {
	for _, j := range acks {
		if !j.closed {
			in.give(n, j)
		}
	}
}

func (in *intake) give(n *node, j *journalled) {
	j.given = n.s.now
	n.take(func(i *replica.Input) { i.Ops = append(i.Ops, j.op) })
}

// resubmit hands in again what has not ended yet, and lets go of what has.
func (in *intake) resubmit(n *node) {
	keep := in.order[:0]
	for _, j := range in.order {
		if j.closed {
			continue
		}
		if _, ended := n.s.history.at(j.op.ID(), n.executed); ended || n.s.history.timeMs(n.executed) > j.op.ExpiresMs() {
			in.close(j)
			continue
		}
		keep = append(keep, j)
		if _, ended := in.ended[j.op.ID()]; ended {
			continue
		}
		if j.given == 0 || n.s.now-j.given >= resubmitGap {
			in.give(n, j)
		}
	}
	clear(in.order[len(keep):])
	in.order = keep
}

// settle lets go of what a commit has executed.
func (in *intake) settle(c *replica.Commit) {
	for _, op := range c.Ops {
		if j := in.held[op.ID()]; j != nil {
			in.close(j)
		}
	}
}

func (in *intake) close(j *journalled) {
	j.closed = true
	delete(in.held, j.op.ID())
	in.deletes = append(in.deletes, record{intakeKey(j.op.ID()), nil})
}

// refused hears what the replica did not take. Only what can never be executed
// ends here; all else is handed in again.
func (in *intake) refused(n *node, r replica.Refusal) {
	j := in.held[r.Op.ID()]
	if j == nil || r.Code != replica.RefusedLedger || !forever(r.Reason) {
		return
	}
	if _, done := n.rep.Ledger().Result(r.Op.ID()); !done {
		// It stays in the journal till its window is over: whoever asks after a
		// restart shall hear the same.
		in.ended[r.Op.ID()] = r.Reason
	}
}
