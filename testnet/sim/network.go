package sim

import (
	"slices"
	"time"
)

// message is what travels: the bytes of one of the protocols of package node.
// Nobody changes a message once it is sent, so all who get it share it, and what
// one receiver found out about the bytes holds for the next.
type message struct {
	kind messageKind
	body []byte
	// have is, in a beat, the newest round of the receiver's blocks that the
	// sender has.
	have uint64
	// opened is the verdict on body; see memo.
	opened *verdict
}

type messageKind uint8

const (
	msgBlock   messageKind = iota // a block
	msgRequest                    // a question to another validator
	msgReply                      // the answer
	msgBeat                       // a heartbeat
)

// String is the kind as the status lines show it.
func (k messageKind) String() string { return [...]string{"block", "request", "reply", "beat"}[k] }

// weather is what one directed link does to the messages on it.
type weather struct {
	delay     time.Duration // of every message
	jitter    time.Duration // up to so much more
	loss      ppm           // vanish
	duplicate ppm           // arrive twice
	reorder   ppm           // leave the line and arrive up to lateMax later
}

// lateMax is how far a reordered or duplicated message may fall behind.
const lateMax = 400 * time.Millisecond

// lossMax is the highest loss of a link, in percent, however many faults overlap on it.
const lossMax = 30

// pair is a directed link: what from sends to to.
type pair struct{ from, to int }

// network carries messages between nodes. A link keeps its order, as a stream
// does, unless its weather reorders; a cut one swallows everything in silence,
// and nobody is told.
type network struct {
	nodes int
	links []link // by from x nodes + to
	rnd   *random
	queue *queue
	tally *Tally
}

type link struct {
	calm    weather // as the run began
	now     weather
	cuts    []Class       // the faults that cut this link at the moment
	lastDue time.Duration // when the last message that kept its place arrives
}

// newNetwork links every two nodes, each direction with a latency of its own.
func newNetwork(seed uint64, nodes int, q *queue, t *Tally) *network {
	n := &network{
		nodes: nodes, links: make([]link, nodes*nodes),
		rnd: newRandom(seed, "network", 0), queue: q, tally: t,
	}
	for i := range n.links {
		n.links[i].calm = weather{
			delay:  n.rnd.during(latencyMin, latencyMax),
			jitter: n.rnd.during(0, 2*time.Millisecond),
		}
		n.links[i].now = n.links[i].calm
	}
	return n
}

// latencyMin and latencyMax bound the one-way latency of a calm link: from
// neighbouring zones to across an ocean.
const (
	latencyMin = 1 * time.Millisecond
	latencyMax = 45 * time.Millisecond
)

func (n *network) link(p pair) *link { return &n.links[p.from*n.nodes+p.to] }

// send puts a message on the link; life is the receiver's at this moment.
func (n *network) send(now time.Duration, p pair, life uint32, m *message) {
	l := n.link(p)
	n.tally.Messages++
	if len(l.cuts) > 0 {
		for _, c := range l.cuts {
			n.tally.bite(c)
		}
		return
	}
	if n.rnd.chance(min(l.now.loss, percent(lossMax))) {
		n.tally.bite(Loss)
		return
	}
	due := now + l.now.delay
	if l.now.jitter > 0 {
		due += n.rnd.during(0, l.now.jitter)
	}
	if l.now.delay > l.calm.delay {
		n.tally.bite(Delay)
	}
	if l.now.jitter > l.calm.jitter {
		n.tally.bite(Jitter)
	}
	if n.rnd.chance(l.now.reorder) {
		n.tally.bite(Reorder)
		due += n.rnd.during(0, lateMax)
	} else {
		due = max(due, l.lastDue)
		l.lastDue = due
	}
	n.deliver(due, p, life, m)
	if n.rnd.chance(l.now.duplicate) {
		n.tally.bite(Duplicate)
		n.deliver(due+n.rnd.during(0, lateMax), p, life, m)
	}
}

func (n *network) deliver(at time.Duration, p pair, life uint32, m *message) {
	n.queue.push(event{at: at, kind: evDeliver, node: int32(p.to), from: int32(p.from), life: life, msg: m})
}

// cut makes the links swallow everything until mend is called with the same.
func (n *network) cut(links []pair, why Class) {
	for _, p := range links {
		l := n.link(p)
		l.cuts = append(l.cuts, why)
	}
}

func (n *network) mend(links []pair, why Class) {
	for _, p := range links {
		l := n.link(p)
		i := slices.Index(l.cuts, why)
		if i < 0 {
			panic("sim: invariant broken: a link mended more often than cut")
		}
		l.cuts = slices.Delete(l.cuts, i, i+1)
	}
}

// open reports whether messages pass from one node to another.
func (n *network) open(p pair) bool { return len(n.link(p).cuts) == 0 }

// spoil adds to the weather of some links until calm is called with the same.
func (n *network) spoil(links []pair, over weather) {
	for _, p := range links {
		w := &n.link(p).now
		w.delay += over.delay
		w.jitter += over.jitter
		w.loss += over.loss
		w.duplicate += over.duplicate
		w.reorder += over.reorder
	}
}

func (n *network) calm(links []pair, over weather) {
	n.spoil(links, weather{
		delay: -over.delay, jitter: -over.jitter,
		loss: -over.loss, duplicate: -over.duplicate, reorder: -over.reorder,
	})
}
