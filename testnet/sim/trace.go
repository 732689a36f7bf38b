package sim

import (
	"fmt"
	"time"

	"github.com/holdfast-mesh/holdfast/node/replica"
)

// trace gives out a line that explains the event under way. The arguments are
// formatted only when somebody reads.
func (s *Sim) trace(format string, args ...any) {
	if s.cfg.Trace != nil {
		s.cfg.Trace(fmt.Sprintf("%s     %s", stamp(s.now), fmt.Sprintf(format, args...)))
	}
}

func stamp(at time.Duration) string { return fmt.Sprintf("%10.6f", at.Seconds()) }

var eventNames = [eventKinds]string{
	evDeliver: "deliver", evSynced: "synced", evWake: "wake", evBeat: "beat", evFault: "fault", evClient: "client",
	evSubmit: "submit", evAsk: "ask", evAnswer: "answer", evSnapshot: "snapshot", evLiar: "liar",
	evHealed: "healed", evLook: "look", evVerdict: "verdict",
}

// traceEvent gives out the status line of an event: when, where, what, and the
// state of the node it meets before it acts.
func (s *Sim) traceEvent(e event) {
	line := fmt.Sprintf("%s %-8s", stamp(e.at), eventNames[e.kind])
	switch e.kind {
	case evFault:
		line += fmt.Sprintf(" %s %v", [...]string{"begins:", "ends:"}[e.from], s.plan.Faults[e.node])
	case evClient:
		c := s.clients[e.node]
		line += fmt.Sprintf(" client %d, %d open", c.number, len(c.open))
	case evAnswer:
		line += fmt.Sprintf(" client %d: gateway %d at commit %d says %d of %v", e.sub.client.number, e.answer.gateway, e.answer.asOf, e.answer.status, shortOp(e.sub))
	case evHealed, evLook, evVerdict:
		line += fmt.Sprintf(" %d commits", len(s.history.commits))
	default:
		line += " " + s.nodeLine(e)
	}
	s.cfg.Trace(line)
}

func (s *Sim) nodeLine(e event) string {
	n := s.nodes[e.node]
	line := fmt.Sprintf("node %d", n.id)
	switch {
	case n.lie != nil && !n.lie.runs():
		line += fmt.Sprintf(" (%v)", n.lie.how)
	case !n.up:
		line += " (down)"
	case n.rep != nil:
		line += " " + n.rep.String()
	}
	switch e.kind {
	case evDeliver:
		line += fmt.Sprintf(" from %d: %s", e.from, e.msg.describe())
	case evSubmit, evAsk:
		line += fmt.Sprintf(" client %d: %v", e.sub.client.number, shortOp(e.sub))
	}
	return line
}

// describe says what a message is about.
func (m *message) describe() string {
	switch m.kind {
	case msgBlock:
		if m.opened != nil && m.opened.block != nil {
			b := m.opened.block
			return fmt.Sprintf("block %v with %d operations on %v", b.Ref(), len(b.Payload()), b.Parents())
		}
	case msgRequest:
		if q, err := replica.DecodeRequest(m.body); err == nil {
			return fmt.Sprintf("request %d for %v from %d %v", q.ID, q.Kind, q.From, q.Refs)
		}
	case msgReply:
		if r, err := replica.DecodeReply(m.body); err == nil {
			return fmt.Sprintf("reply %d with %d blocks, %d commits", r.ID, len(r.Blocks), len(r.Commits))
		}
	case msgBeat:
		return fmt.Sprintf("beat, has %d", m.have)
	}
	return fmt.Sprintf("%v of %d bytes", m.kind, len(m.body))
}
