package sim

import (
	"fmt"
	"time"

	"github.com/holdfast-mesh/holdfast/node/dag"
	"github.com/holdfast-mesh/holdfast/node/ledger"
	"github.com/holdfast-mesh/holdfast/node/replica"
)

// The checkers. Each is called where its promise could break, after every
// effect that touches it, and speaks of honest nodes only.

// slot is a round of an epoch: what a validator fills once.
type slot struct{ epoch, round uint64 }

// signed holds an honest validator to one block a round, over all its lives
// (P7). It reports whether the run goes on.
func (s *Sim) signed(n *node, b *dag.Block) bool {
	slots := s.slots[n.id]
	at, digest := slot{b.Epoch(), b.Round()}, [32]byte(b.Ref().Digest)
	if before, twice := slots[at]; twice && before != digest {
		s.violate("P7 one block a round", n, fmt.Sprintf("signed %x and %x for round %d", before[:6], digest[:6], b.Round()))
		return false
	}
	slots[at] = digest
	return true
}

// executed holds a node's commit against the one order (P1), and its own
// sequence against gaps and repetitions. It reports whether the run goes on.
func (s *Sim) executed(n *node, c *replica.Commit) bool {
	if c.Index <= n.told {
		s.violate("P1 one order", n, fmt.Sprintf("executed commit %d after commit %d", c.Index, n.told))
		return false
	}
	if !c.HasRoot {
		s.violate("P1 equal roots", n, fmt.Sprintf("commit %d has no root", c.Index))
		return false
	}
	report := committed{index: c.Index, digest: c.Digest, root: c.Root, timeMs: c.TimeMs, events: c.Events}
	if err := s.history.add(report, c.Ops); err != nil {
		s.violate("P1 one order", n, err.Error())
		return false
	}
	s.history.epoch = max(s.history.epoch, c.Epoch)
	n.told = c.Index
	n.executed = max(n.executed, c.Index)
	s.mix(uint64(n.id), c.Index, uint64(c.Root[0])<<8|uint64(c.Root[1]))
	return true
}

// restored holds a state that was taken over from others against the order (P1).
func (s *Sim) restored(n *node, at *replica.Checkpoint) bool {
	if at.Index == 0 || at.Index > uint64(len(s.history.commits)) || at.Index <= n.told {
		s.violate("P1 one order", n, fmt.Sprintf("took over the state after commit %d, at commit %d", at.Index, n.told))
		return false
	}
	if c := &s.history.commits[at.Index-1]; c.digest != at.Commit || c.root != at.Root {
		s.violate("P1 equal roots", n, fmt.Sprintf("took over another state after commit %d", at.Index))
		return false
	}
	s.trace("node %d takes over the state after commit %d", n.id, at.Index)
	s.tally.Takeovers++
	n.told = at.Index
	n.executed = max(n.executed, at.Index)
	return true
}

// audit holds the node's wallets and books to P2 after what it just executed.
func (s *Sim) audit(n *node) {
	if err := n.rep.Ledger().CheckInvariants(); err != nil {
		s.violate("P2 money", n, err.Error())
	}
}

// opened holds a restarted node to what it had told before (P5): reads do not go back.
// Commits that opening has executed are told of by its effects.
func (s *Sim) opened(n *node, e *replica.Effects) {
	index, _ := n.rep.Executed()
	if index < n.executed {
		s.violate("P5 reads go forward", n, fmt.Sprintf("had executed commit %d and comes back with commit %d", n.executed, index))
		return
	}
	n.told = index - uint64(len(e.Commits))
}

// checkForgotten: a gateway that acknowledged an operation and kept its disk
// still knows it (P4).
func (s *Sim) checkForgotten(sub *submission, a answer) {
	for _, h := range sub.holders {
		if h.node == a.gateway && h.wiped == s.nodes[a.gateway].wiped {
			s.violate("P4 intake", s.nodes[a.gateway], fmt.Sprintf("acknowledged %v and does not know it any more", shortOp(sub)))
		}
	}
}

// checkAgain: what a client hears later says the same as what it heard first (P4).
func (s *Sim) checkAgain(sub *submission, a answer) {
	was := sub.end
	switch {
	case a.status == statusFinal && was != endFinal && was != endRefused,
		a.status == statusExpired && was != endExpired && was != endRefused && was != endRejected,
		a.status == statusRejected && was == endFinal:
		s.violate("P4 one outcome", s.nodes[a.gateway], fmt.Sprintf("says status %d of %v, which had ended %v", a.status, shortOp(sub), was))
	}
}

// checkEnds holds what clients were told against the order: what is final
// there is final for its client, and nothing else is.
func (s *Sim) checkEnds() {
	for _, sub := range s.all {
		o, ordered := s.history.outcomes[sub.id]
		done := o.reason == ledger.ReasonNone
		switch {
		case sub.end == endFinal && (!ordered || !done),
			sub.end == endRejected && ordered && done,
			sub.end == endExpired && ordered && done,
			sub.end == endRefused && sub.acked:
			s.violate("P4 one outcome", nil, fmt.Sprintf("%v was told %v, in the order it is %v %v", shortOp(sub), sub.end, ordered, o.reason))
		}
	}
}

// well reports what keeps the run from being well: every honest node up and
// committing past what there was when the last fault ended, and every
// operation ended for its client.
func (s *Sim) well() (missing string) {
	for _, n := range s.nodes {
		if n.lie != nil {
			continue
		}
		if !n.up {
			return fmt.Sprintf("node %d is down", n.id)
		}
		if n.executed <= uint64(s.healedAt) {
			return fmt.Sprintf("node %d has executed commit %d, and there were %d before", n.id, n.executed, s.healedAt)
		}
	}
	for _, sub := range s.all {
		if sub.end == running {
			return fmt.Sprintf("client %d does not know what became of %v (acknowledged %v)", sub.client.number, shortOp(sub), sub.acked)
		}
	}
	return ""
}

// lookEvery is how often a healed run is looked at.
const lookEvery = 100 * time.Millisecond

// checkWell ends the run as soon as all is well.
func (s *Sim) checkWell() {
	if s.now < s.quiet || s.well() != "" {
		s.push(event{at: s.now + lookEvery, kind: evLook})
		return
	}
	s.finish()
}

// verdict is the end of patience.
func (s *Sim) verdict() {
	if missing := s.well(); missing != "" {
		s.violate("P3 life", nil, fmt.Sprintf("%v after the last fault: %s", calmWithin, missing))
		return
	}
	s.finish()
}

// finish looks at everything once more.
func (s *Sim) finish() {
	s.checkEnds()
	for _, n := range s.nodes {
		if n.lie == nil && n.up {
			s.audit(n)
		}
	}
	s.done = true
}
