package testnet

import "github.com/holdfast-mesh/holdfast/node/api"

// checkOutcomes is P4: every operation a node has acknowledged ended, as final,
// rejected or expired, and what its client was told is what was executed.
func checkOutcomes(h *history, r *replayed) []Promise {
	var unknown, lies, twice findings
	seen := make(map[string]bool)
	sent := 0
	for i := range h.ops {
		o := &h.ops[i]
		if seen[o.Op] {
			twice.broke("operation %s is recorded twice", o.Op)
		}
		seen[o.Op] = true
		if o.Acked == 0 {
			continue
		}
		sent++
		if !o.Status.Ended() {
			unknown.broke("operation %s (%s) was acknowledged by node %d and is %q at the end: %s", o.Op, o.Kind, o.Node, o.Status, o.Error)
			continue
		}
		checkTold(o, r, &lies)
	}
	if sent == 0 {
		unknown.lacks("no operation was acknowledged")
	}
	told := lies.none("what clients were told and what was executed", "differences")
	if twice.count > 0 {
		told = twice.none(told.Name, told.Unit)
	}
	return []Promise{unknown.none("acknowledged operations without an outcome", "operations"), told}
}

// checkTold holds one client's answer against the execution.
func checkTold(o *OpRecord, r *replayed, f *findings) {
	x, ran := r.ops[o.Op]
	switch {
	case o.Status == api.OpFinal && o.Commit < uint64(len(r.states)):
		if !ran || x.commit != o.Commit {
			f.broke("operation %s is said to be final in commit %d, and was executed in %d", o.Op, o.Commit, x.commit)
		} else if x.refused != o.Refused {
			f.broke("operation %s: refused is told as %v, and is %v (%s)", o.Op, o.Refused, x.refused, x.reason)
		}
	case o.Status == api.OpExpired && ran && !x.refused:
		f.broke("operation %s is said to have expired, and was executed in commit %d", o.Op, x.commit)
	case o.Status == api.OpRejected && ran && !x.refused:
		f.broke("operation %s is said to be rejected (%s), and was executed in commit %d", o.Op, o.Reason, x.commit)
	}
}

// Counts are what the operations of a run came to.
type Counts struct {
	Sent     int `json:"sent"`
	Final    int `json:"final"`
	Rejected int `json:"rejected"`
	Expired  int `json:"expired"`
	Unknown  int `json:"unknown"`
}

// count counts the operations of a history. One that nobody acknowledged has no
// outcome to owe, and is counted as rejected if a node said so, else as unsent.
func count(h *history) (c Counts) {
	for i := range h.ops {
		o := &h.ops[i]
		if o.Acked == 0 && !o.Status.Ended() {
			continue
		}
		c.Sent++
		switch o.Status {
		case api.OpFinal:
			c.Final++
		case api.OpRejected:
			c.Rejected++
		case api.OpExpired:
			c.Expired++
		default:
			c.Unknown++
		}
	}
	return c
}
