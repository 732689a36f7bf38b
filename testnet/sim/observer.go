package sim

import (
	"slices"
	"time"

	"github.com/holdfast-mesh/holdfast/node/replica"
)

// Observers are nodes without a key. They have the numbers after the validators,
// hear the blocks that validators send, as gossip would bring them, fetch from
// validators what they missed, and are held to the same order, states, money and
// life. Nothing they lose is anybody's loss, so a plan may do to them what it likes.

// Chance that a seed has observers, and how many.
const (
	observersChance = 35 // percent
	observersMax    = 2
)

// observes reports whether the node is an observer.
func (n *node) observes() bool { return n.id >= len(n.s.weights) }

// validates reports whether a node's number is a validator's.
func (s *Sim) validates(id int) bool { return id < len(s.weights) }

// drawObservers adds observers to a plan, and what goes wrong with them. It has a
// stream of its own.
func drawObservers(seed uint64, validators int, p *Plan) {
	d := drawer{random: newRandom(seed, "observers", 0), plan: p, nodes: validators + observersMax}
	if !d.chance(percent(observersChance)) {
		return
	}
	p.Observers = d.between(1, observersMax)
	for id := validators; id < validators+p.Observers; id++ {
		if d.chance(percent(70)) {
			p.Faults = append(p.Faults, Fault{Class: LateStart, Node: id, For: d.during(300*time.Millisecond, p.Chaos-500*time.Millisecond)})
		}
		for range d.below(3) {
			d.observerFault(id)
		}
	}
}

// observerFaults are those that can strike an observer alone.
var observerFaults = []Class{Loss, Delay, Jitter, Duplicate, Reorder, OneOff, Deaf, Mute, Flapping,
	Crash, CrashLoop, SyncLost, SyncKept, SlowDisk, FlippedBit, LostDisk, Skew, ClockJump}

// observerFault draws a fault of one observer: its machine, or its links to the validators.
func (d *drawer) observerFault(id int) {
	c := observerFaults[d.below(len(observerFaults))]
	validators := d.nodes - observersMax
	var in, out []pair
	for v := range validators {
		in, out = append(in, pair{v, id}), append(out, pair{id, v})
	}
	both := slices.Concat(in, out)
	f := Fault{Class: c, Node: -1}
	f.At, f.For = d.moment()
	switch c {
	case Loss, Delay, Jitter, Duplicate, Reorder:
		f.Links, f.Over = both, d.weather(c)
	case OneOff, Flapping:
		f.Links = both
	case Deaf:
		f.Links = in
	case Mute:
		f.Links = out
	default:
		d.machine(&f, id)
	}
	d.plan.Faults = append(d.plan.Faults, f)
}

// checkObserver holds an observer to its part: it follows and serves, and signs nothing (P7).
func (n *node) checkObserver(e *replica.Effects) bool {
	if n.observes() && (len(e.Send) > 0 || e.Own != (replica.Own{Epoch: e.Own.Epoch})) {
		n.s.violate("P7 one block a round", n, "an observer speaks like a validator")
		return false
	}
	return true
}
