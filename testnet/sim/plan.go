package sim

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Plan is what goes wrong in a run. It is drawn from the seed, and is data, so
// that a failing one can be shortened fault by fault.
type Plan struct {
	Liars     []Liar
	Faults    []Fault // by At
	Observers int     // beside the validators
	Next      []int   // weights that governors vote for from changeAt on; nil: no other committee
	Chaos     time.Duration
}

// Liar is a validator that lies all through the run, and how.
type Liar struct {
	Node int
	How  Class
}

// Fault is one thing that goes wrong for a while.
type Fault struct {
	Number int // in the plan as drawn
	Class  Class
	At     time.Duration
	For    time.Duration
	Node   int     // of those that strike one node; -1 for all
	Links  []pair  // of those that strike links
	Over   weather // what the weather classes add to a link
	Clock  clock   // what the clock classes set
	Times  int     // how often a crash loop crashes; where in its effects a crash strikes
}

// String is the fault as the status lines show it.
func (f Fault) String() string {
	s := fmt.Sprintf("%v at %v for %v", f.Class, f.At, f.For)
	if f.Node >= 0 {
		s += fmt.Sprintf(" node %d", f.Node)
	}
	if len(f.Links) > 0 {
		s += fmt.Sprintf(" links %v", f.Links)
	}
	switch f.Class {
	case Loss:
		s += fmt.Sprintf(" %d%%", f.Over.loss/percent(1))
	case Delay:
		s += fmt.Sprintf(" +%v", f.Over.delay)
	case Skew, ClockJump:
		s += fmt.Sprintf(" by %v", f.Clock.offset)
	}
	return s
}

// Bounds of what a plan draws.
const (
	chaosMin  = 4 * time.Second // enough rounds for any commit rule to have been cut in half
	chaosMax  = 9 * time.Second
	faultsMin = 4
	faultsMax = 12
	// skewMax is what any number of clocks may be wrong by at once; a block
	// waits up to 500 ms for a slow clock.
	skewMax = 120 * time.Millisecond
	// jumpMax is how far one clock at a time jumps. Blocks from the future are
	// not taken until it has come, so this is also how long after its repair a
	// node may still be unheard: well inside the 5 s all must be well by.
	jumpMax = 2 * time.Second
)

// draw makes the plan of a seed for nodes of these weights. Liars, and nodes
// that lose what they once knew, together weigh at most a third: beyond that
// nothing is promised.
func draw(seed uint64, weights []int) Plan {
	r := newRandom(seed, "plan", 0)
	p := Plan{Chaos: r.during(chaosMin, chaosMax)}
	d := drawer{random: r, plan: &p, nodes: len(weights)}
	faulty := faultyWeight(weights)
	budget := faulty
	order := r.shuffled(len(weights))
	if r.chance(percent(55)) {
		for _, node := range order {
			if weights[node] <= budget && r.chance(percent(80)) {
				budget -= weights[node]
				p.Liars = append(p.Liars, Liar{node, Absent + Class(r.below(int(Spamming-Absent)+1))})
			}
		}
	}
	// Those that may lose their disk.
	for _, node := range slices.Backward(order) {
		honest := !slices.ContainsFunc(p.Liars, func(l Liar) bool { return l.Node == node })
		if honest && weights[node] <= budget {
			budget -= weights[node]
			d.amnesiacs = append(d.amnesiacs, node)
		}
	}
	for range r.between(faultsMin, faultsMax) {
		d.fault(Class(r.below(int(Absent))))
	}
	if r.chance(percent(30)) {
		d.fault(Unruly)
	}
	drawObservers(seed, len(weights), &p)
	drawNext(seed, weights, d.amnesiacs, &p)
	slices.SortStableFunc(p.Faults, func(a, b Fault) int { return cmp.Compare(a.At, b.At) })
	for i := range p.Faults {
		p.Faults[i].Number = i
	}
	return p
}

// Chance that a seed has a change of the committee, and the highest weight in the next.
const (
	nextChance    = 25 // percent
	nextWeightMax = 4
)

// drawNext draws the next committee's weights: whoever lies or loses its memory weighs
// at most a third there too. It has a stream of its own.
func drawNext(seed uint64, weights []int, amnesiacs []int, p *Plan) {
	r := newRandom(seed, "next", 0)
	if !r.chance(percent(nextChance)) {
		return
	}
	next := make([]int, len(weights))
	faulty := 0
	for i := range next {
		next[i] = r.between(1, nextWeightMax)
		if slices.Contains(amnesiacs, i) || slices.ContainsFunc(p.Liars, func(l Liar) bool { return l.Node == i }) {
			next[i] = 1
			faulty++
		}
	}
	if faulty <= faultyWeight(next) && !slices.Equal(next, weights) {
		p.Next = next
	}
}

// faultyWeight is F, the most weight that may be faulty.
func faultyWeight(weights []int) int {
	total := 0
	for _, w := range weights {
		total += w
	}
	return (total - 1) / 3
}

// drawer draws faults into a plan.
type drawer struct {
	*random
	plan      *Plan
	nodes     int
	amnesiacs []int
}

// fault draws one fault of a class, or nothing where the plan has no room for it.
func (d *drawer) fault(c Class) {
	f := Fault{Class: c, Node: -1}
	f.At, f.For = d.moment()
	switch c {
	case Loss, Delay, Jitter, Duplicate, Reorder:
		f.Links = d.someLinks()
		f.Over = d.weather(c)
	case Halves, OneOff, Bridge, Ring, OneWay, Deaf, Mute, Flapping:
		f.Links = d.shape(c)
	case Crash, SlowDisk, GatewayLost, Skew, ClockJump, CrashLoop, SyncLost, SyncKept:
		d.machine(&f, d.below(d.nodes))
	case PowerLoss:
		f.Times = d.below(8)
		f.For = min(f.For, 1500*time.Millisecond)
	case FlippedBit, LostDisk:
		if len(d.amnesiacs) == 0 {
			return
		}
		d.machine(&f, d.amnesiacs[d.below(len(d.amnesiacs))])
	case Unruly:
		f.At, f.For = 0, d.plan.Chaos
	}
	d.plan.Faults = append(d.plan.Faults, f)
}

// moment draws when a fault begins and how long it lasts.
func (d *drawer) moment() (at, lasts time.Duration) {
	at = d.during(200*time.Millisecond, d.plan.Chaos-time.Second)
	return at, min(d.during(100*time.Millisecond, 4*time.Second), d.plan.Chaos-at)
}

// machine draws a fault of one node's machine. Of a crash in the middle of a sync
// the outcome is drawn when it comes.
func (d *drawer) machine(f *Fault, node int) {
	f.Node = node
	switch f.Class {
	case Crash, SlowDisk, GatewayLost:
		f.Times = d.below(8)
	case Skew:
		f.Times = d.below(8)
		f.Clock = clock{offset: d.during(-skewMax, skewMax), drift: ppm(d.between(-200, 200))}
	case ClockJump:
		f.Times = d.below(8)
		f.Clock = clock{offset: d.during(-5*jumpMax, jumpMax)}
	case CrashLoop:
		f.Times = d.between(2, 5)
	case FlippedBit, LostDisk:
		f.Times = d.below(1 << 20)
	}
}

// someLinks is all links, those of one node, or one link.
func (d *drawer) someLinks() []pair {
	all := d.allLinks()
	switch d.below(4) {
	case 0, 1:
		return all
	case 2:
		node := d.below(d.nodes)
		return slices.DeleteFunc(all, func(p pair) bool { return p.from != node && p.to != node })
	default:
		i := d.below(len(all))
		return all[i : i+1]
	}
}

func (d *drawer) allLinks() []pair {
	var all []pair
	for from := range d.nodes {
		for to := range d.nodes {
			if from != to {
				all = append(all, pair{from, to})
			}
		}
	}
	return all
}

func (d *drawer) weather(c Class) (w weather) {
	switch c {
	case Loss:
		w.loss = percent(d.between(1, lossMax))
	case Delay:
		w.delay = d.during(20*time.Millisecond, 900*time.Millisecond)
	case Jitter:
		w.jitter = d.during(20*time.Millisecond, 500*time.Millisecond)
	case Duplicate:
		w.duplicate = percent(d.between(5, 50))
	case Reorder:
		w.reorder = percent(d.between(5, 50))
	}
	return w
}

func (d *drawer) shape(c Class) []pair {
	order := d.shuffled(d.nodes)
	one := order[:1]
	switch c {
	case Halves:
		return split(d.nodes, order[:d.between(1, d.nodes-1)])
	case OneOff, Flapping:
		return split(d.nodes, one)
	case Bridge:
		return bridge(d.nodes, order[1:1+d.nodes/2], order[0])
	case Ring:
		return ring(order)
	case Deaf:
		return deaf(d.nodes, one)
	case Mute:
		return mute(d.nodes, one)
	default:
		return []pair{{order[0], order[1]}}
	}
}

// Only keeps the faults with these numbers, and the liars; a shortened plan is
// named by the seed and these numbers.
func (p Plan) Only(keep []int) Plan {
	out := Plan{Liars: p.Liars, Observers: p.Observers, Next: p.Next, Chaos: p.Chaos}
	for _, f := range p.Faults {
		if slices.Contains(keep, f.Number) {
			out.Faults = append(out.Faults, f)
		}
	}
	return out
}

// Numbers are those of the plan's faults, as Only takes them.
func (p Plan) Numbers() []int {
	out := make([]int, len(p.Faults))
	for i, f := range p.Faults {
		out[i] = f.Number
	}
	return out
}

// String lists the plan, a line each.
func (p Plan) String() string {
	var b strings.Builder
	if p.Observers > 0 {
		fmt.Fprintf(&b, "observers: %d\n", p.Observers)
	}
	if p.Next != nil {
		fmt.Fprintf(&b, "next committee: weights %v\n", p.Next)
	}
	for _, l := range p.Liars {
		fmt.Fprintf(&b, "liar: node %d, %v\n", l.Node, l.How)
	}
	for _, f := range p.Faults {
		fmt.Fprintf(&b, "fault %d: %v\n", f.Number, f)
	}
	return b.String()
}
