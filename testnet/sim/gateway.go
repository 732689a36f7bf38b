package sim

import (
	"fmt"
	"time"

	"github.com/holdfast-mesh/holdfast/node/ledger"
)

// What clients and gateways say to each other.

// answer is what a gateway tells a client of one operation.
type answer struct {
	gateway int
	asOf    uint64 // the newest commit the gateway has executed
	status  status
	commit  uint64 // of final and rejected operations
	reason  ledger.Reason
}

type status uint8

const (
	statusUnknown  status = iota // never seen here
	statusRefused                // not taken: signature, form, or the ledger would refuse it now
	statusPending                // acknowledged: durable here
	statusFinal                  // executed
	statusRejected               // ordered and refused, or can never be ordered
	statusExpired                // its window was over before it was ordered
)

// The way between a client and its gateway, and how often a reply is lost on it.
const (
	clientLatencyMin = time.Millisecond
	clientLatencyMax = 20 * time.Millisecond
)

const clientLoss = 20_000 // ppm

// submitted is a client's request at a gateway that is up.
func (n *node) submitted(sub *submission, post bool) {
	a := n.status(sub)
	if a.status == statusUnknown && post {
		a.status, a.reason = n.admits(sub)
		if a.status == statusUnknown {
			n.intake.fresh = append(n.intake.fresh, sub)
			n.run()
			return // it is answered when it is durable
		}
	}
	n.s.answer(sub, a)
}

// admits says why an operation is not journalled, or statusUnknown if it is.
func (n *node) admits(sub *submission) (status, ledger.Reason) {
	op := n.s.memo.op(n.rep.Verifier(), sub.bytes).op
	if op == nil {
		return statusRefused, ledger.ReasonNone
	}
	if _, done := n.rep.Ledger().Result(sub.id); done {
		return statusPending, ledger.ReasonNone // executed by the step whose batch is being synced
	}
	reason, ok := n.rep.Ledger().Check(*op).(ledger.Reason)
	switch {
	case !ok:
		return statusUnknown, ledger.ReasonNone
	case forever(reason):
		return statusRejected, reason
	}
	return statusRefused, reason
}

// forever reports whether an operation refused for this reason can never be
// executed: its nonce is gone.
func forever(r ledger.Reason) bool {
	return r == ledger.ReasonNonceUsed || r == ledger.ReasonNonceTooLow
}

// status says what this node knows of an operation.
func (n *node) status(sub *submission) answer {
	a := answer{gateway: n.id, asOf: n.executed}
	if o, ok := n.s.history.at(sub.id, n.executed); ok {
		a.status, a.commit, a.reason = statusFinal, o.commit, o.reason
		switch o.reason {
		case ledger.ReasonNone:
		case ledger.ReasonTimestamp:
			a.status = statusExpired // it came into the order when its window was over
		default:
			a.status = statusRejected
		}
		return a
	}
	if reason, ok := n.intake.ended[sub.id]; ok {
		a.status, a.reason = statusRejected, reason
		return a
	}
	if n.s.history.timeMs(n.executed) > sub.expiresMs {
		a.status = statusExpired
		return a
	}
	if n.intake.held[sub.id] != nil {
		a.status = statusPending
	}
	return a
}

// acknowledge answers an operation that has just become durable.
func (s *Sim) acknowledge(n *node, j *journalled) {
	if j.by == nil {
		return
	}
	s.trace("node %d acknowledges %v", n.id, shortOp(j.by))
	j.by.holders = append(j.by.holders, holder{n.id, n.wiped})
	s.answer(j.by, answer{gateway: n.id, asOf: n.executed, status: statusPending})
}

// holder is a gateway that has an operation in its journal, for as long as it
// keeps that disk.
type holder struct{ node, wiped int }

// answer sends an answer on its way, or loses it.
func (s *Sim) answer(sub *submission, a answer) {
	if s.rnd.chance(clientLoss) {
		return
	}
	s.push(event{at: s.now + s.rnd.during(clientLatencyMin, clientLatencyMax), kind: evAnswer, sub: sub, answer: &a})
}

// post sends an operation, or a question about it, to a gateway.
func (s *Sim) post(sub *submission, gateway int, post bool) {
	sub.sentAt, sub.answered = s.now, false
	kind := evAsk
	if post {
		kind = evSubmit
	}
	s.push(event{at: s.now + s.rnd.during(clientLatencyMin, clientLatencyMax), kind: kind, node: int32(gateway), sub: sub})
}

// act is a client's turn: it goes on with what it has on its way and, till the
// end comes near, begins something new.
func (c *client) act(s *Sim) {
	keep := c.open[:0]
	for _, sub := range c.open {
		if sub.end != running {
			continue
		}
		keep = append(keep, sub)
		switch wait := s.now - sub.sentAt; {
		case !sub.acked && wait >= postTimeout:
			c.elsewhere(s, sub)
			s.post(sub, sub.gateway, true)
		case sub.acked && wait >= askAgain:
			// The gateway may be a liar, down or cut off: after a while each
			// question goes to another, which gets the operation too.
			if s.now-sub.begun > patience {
				c.elsewhere(s, sub)
			}
			s.post(sub, sub.gateway, false)
		}
	}
	clear(c.open[len(keep):])
	c.open = keep
	if s.now >= s.quiet || s.now < c.next || len(c.open) >= inFlightMax {
		return
	}
	c.next = s.now + c.rnd.during(0, 2*s.thinkTime)
	for _, sub := range c.think(s) {
		sub.begun = s.now
		s.memo.signed(sub.bytes, sub.id)
		c.open = append(c.open, sub)
		s.all = append(s.all, sub)
		if sub.everywhere {
			for g := range s.weights {
				s.post(sub, g, true)
			}
			continue
		}
		sub.gateway = c.gateway
		s.post(sub, c.gateway, true)
	}
}

// elsewhere goes to the next gateway with an operation; new ones begin there too.
// One that was silent is passed over for a while, but never for ever: it may have
// been down, and the only one that answers may lie.
func (c *client) elsewhere(s *Sim, sub *submission) {
	if !sub.answered {
		c.silent[sub.gateway] = s.now + silentFor
	}
	for range s.weights {
		sub.gateway = (sub.gateway + 1) % len(s.weights)
		if c.silent[sub.gateway] <= s.now {
			break
		}
	}
	c.gateway = sub.gateway
}

// heard takes a gateway's answer.
func (c *client) heard(s *Sim, sub *submission, a answer) {
	if sub.end != running {
		s.checkAgain(sub, a)
		return
	}
	c.seen = max(c.seen, a.asOf)
	c.silent[a.gateway] = 0
	sub.answered = sub.answered || a.gateway == sub.gateway
	switch a.status {
	case statusPending:
		if !sub.acked {
			sub.acked = true
			s.tally.Acked++
		}
	case statusUnknown:
		// Acknowledged elsewhere, or nowhere yet: this gateway gets it too.
		s.checkForgotten(sub, a)
		s.post(sub, a.gateway, true)
	case statusRefused:
		if sub.acked {
			return // another gateway has it: go on asking
		}
		sub.end = endRefused
	case statusFinal:
		sub.end, sub.told = endFinal, a.commit
	case statusRejected:
		sub.end, sub.told = endRejected, a.commit
	case statusExpired:
		sub.end, sub.told = endExpired, a.asOf
	}
	if sub.end != running {
		s.trace("client %d: %v ended %v", c.number, shortOp(sub), sub.end)
	}
}

// String names the ending for the status lines.
func (e ending) String() string {
	return [...]string{"running", "final", "rejected", "expired", "refused"}[e]
}

func shortOp(sub *submission) string { return fmt.Sprintf("op %x", sub.id[:4]) }
