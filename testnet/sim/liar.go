package sim

import (
	"github.com/holdfast-mesh/holdfast/node/dag"
)

// liar is a validator that breaks the rules, all through a run. Some run the
// product and tamper with what goes in and out; others only pretend to be a
// validator. A way to lie is a file of its own.
type liar struct {
	how Class
	lies
	rnd *random
}

// lies is what a liar does differently.
type lies interface {
	// runs reports whether the product runs at all.
	runs() bool
	// begins is called when the run begins.
	begins(n *node)
	// handles takes an event away from the node; false leaves it to the product.
	handles(n *node, e event) bool
	// swallows takes an outgoing message away.
	swallows(n *node, to int, m *message) bool
}

// honest is a lie that is none; the liars embed it and change what they lie about.
type honest struct{}

func (honest) runs() bool                         { return true }
func (honest) begins(*node)                       {}
func (honest) handles(*node, event) bool          { return false }
func (honest) swallows(*node, int, *message) bool { return false }

func newLiar(s *Sim, how Class, node int) *liar {
	l := &liar{how: how, rnd: newRandom(s.cfg.Seed, "liar", node)}
	switch how {
	case Absent:
		l.lies = absent{}
	case Equivocating:
		l.lies = newEquivocator(s, l.rnd)
	case Withholding:
		l.lies = &withholder{rnd: l.rnd}
	case Delaying:
		l.lies = &delayer{rnd: l.rnd}
	case Spamming:
		l.lies = &spammer{rnd: l.rnd}
	default:
		panic("sim: invariant broken: " + how.String() + " is no way to lie")
	}
	return l
}

// epochZero is the epoch liars forge blocks for: committees change in tests of
// their own.
const epochZero = 0

// genesisRef names the implicit block an author begins with.
func (s *Sim) genesisRef(author int) dag.Ref {
	return dag.Genesis(dag.Digest(s.world.network), epochZero, dag.Author(author))
}

// overhear returns the block in a message for a liar that has no replica, or nil
// when it is none.
func (s *Sim) overhear(m *message) *dag.Block {
	if m.opened != nil {
		return m.opened.block
	}
	b, err := s.rules.Verify(m.body)
	if err != nil {
		return nil
	}
	return b
}
