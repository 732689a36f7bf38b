package dag

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

var seedFlag = flag.Uint64("seed", 0, "run only this seed of the random tests")

// seeds are the seeds of a random test: count of them, or the one asked for.
func seeds(count int) []uint64 {
	if *seedFlag != 0 {
		return []uint64{*seedFlag}
	}
	var out []uint64
	for i := range count {
		out = append(out, uint64(i+1))
	}
	return out
}

// dump writes down all of a core that has to survive a restart: everything but
// what waits, what was asked for, timers and what peers said of themselves.
func dump(c *Core) string {
	var b strings.Builder
	fmt.Fprintf(&b, "epoch %d closed %v, commit %d %v leader %v at %d flagged %v\n", c.rules.Epoch, c.epoch.closed,
		c.last.Index, c.last.Digest, c.last.Leader, c.last.TimeMs, c.last.Flagged)
	fmt.Fprintf(&b, "collected %d, unordered %d\n", c.graph.collected, c.unordered)
	fmt.Fprintf(&b, "clock %d weight %d\n", c.clock.round, c.clock.weight.weight)
	fmt.Fprintf(&b, "own %v filled %v voted %d\n", c.own.ref, c.own.rounds, c.own.voted)
	for round := c.graph.collected + 1; round <= c.graph.top(); round++ {
		vertices := slices.Clone(c.graph.at(round))
		slices.SortFunc(vertices, func(a, b *vertex) int { return compareRefs(a.ref, b.ref) })
		for _, v := range vertices {
			parents := 0
			for _, p := range v.parents {
				if p.ref.Round > c.graph.collected {
					parents++
				}
			}
			fmt.Fprintf(&b, "%v committed %v pointed %v parents %d\n", v.ref, v.committed, v.pointed, parents)
		}
	}
	for i := c.rule.next; i < len(c.rule.rounds); i++ {
		for _, s := range c.rule.rounds[i].slots {
			fmt.Fprintf(&b, "slot %v %v blame %d", s.slot, s.decision, s.blame.weight)
			candidates := slices.Clone(s.candidates)
			slices.SortFunc(candidates, func(a, b candidate) int { return compareRefs(a.block.ref, b.block.ref) })
			for _, k := range candidates {
				fmt.Fprintf(&b, " %v %d", k.block.ref, k.certified.weight)
			}
			b.WriteByte('\n')
		}
	}
	return b.String()
}

// firstDifference shows the first line two dumps differ in.
func firstDifference(a, b string) string {
	x, y := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := range min(len(x), len(y)) {
		if x[i] != y[i] {
			return fmt.Sprintf("running:  %s\nreopened: %s", x[i], y[i])
		}
	}
	return fmt.Sprintf("%d lines and %d", len(x), len(y))
}

// checkReopen opens what the node has on disk beside it and compares.
func (n *node) checkReopen() {
	e, shadow := n.openShadow()
	if len(e.Commits) > 0 || len(e.Persist) > 0 || len(e.Faults) > 0 {
		n.net.t.Fatalf("node %d reopened: %d commits, %d blocks and faults %v that it did not have before",
			n.self, len(e.Commits), len(e.Persist), e.Faults)
	}
	if a, b := dump(n.core), dump(shadow); a != b {
		n.net.t.Fatalf("node %d reopened is not the same:\n%s", n.self, firstDifference(a, b))
	}
	if last := n.core.own.last; last != nil && last.Round() > n.core.graph.collected && (len(e.Send) != 1 || e.Send[0] != last) {
		n.net.t.Fatalf("node %d reopened sends %v, its newest block is %v", n.self, e.Send, last.Ref())
	}
}

// chaos runs a network with crashes, cuts and uneven delays from one seed. Every
// check of the test network holds all along; at the end everything is healed.
func chaos(t testing.TB, seed uint64, n *network, during time.Duration, check func(*node)) {
	rnd := rand.New(rand.NewPCG(seed, 7))
	groups := make([]int, len(n.nodes))
	n.cut = func(from, to Author) bool { return groups[from] != groups[to] }
	n.delay = func(Author, Author) time.Duration { return time.Duration(1+rnd.IntN(60)) * time.Millisecond }
	n.start()
	ops := 0
	for end := n.now.Add(during); n.now.Before(end); {
		n.run(time.Duration(1+rnd.IntN(200)) * time.Millisecond)
		node := n.nodes[rnd.IntN(len(n.nodes))]
		switch rnd.IntN(6) {
		case 0:
			if node.up {
				node.crash()
			}
		case 1, 2:
			if !node.up {
				node.open()
			}
		case 3:
			for a := range groups {
				groups[a] = rnd.IntN(2) * rnd.IntN(2)
			}
		case 4:
			clear(groups)
		case 5:
			ops++
			node.pending = append(node.pending, op(fmt.Sprintf("op %d", ops)))
			if node.up {
				node.step(node.core.Tick)
			}
		}
		for _, o := range n.nodes {
			if o.up && check != nil {
				check(o)
			}
		}
	}
	clear(groups)
	for _, o := range n.nodes {
		if !o.up {
			o.open()
		}
		o.pending = append(o.pending, o.returned...)
		o.step(o.core.Tick)
	}
	n.run(5 * time.Second)
	for _, o := range n.nodes {
		final := o.finalOps()
		if len(o.pending) > 0 || len(final) != ops {
			t.Fatalf("seed %d: node %d has %d of %d operations final and %d never proposed; %+v",
				seed, o.self, len(final), ops, len(o.pending), o.core.Status())
		}
		if len(o.faults)+len(o.evidence) > 0 {
			t.Fatalf("seed %d: node %d has faults %v and evidence %v among honest nodes", seed, o.self, o.faults, o.evidence)
		}
	}
}

// A core reopened from what it stored is the one that stored it, at every point
// of a run with crashes and cuts.
func TestReopenGivesTheSameCore(t *testing.T) {
	t.Parallel()
	for _, seed := range seeds(8) {
		t.Logf("seed %d", seed)
		n := newNetwork(t, equal(4)...)
		checks := 0
		chaos(t, seed, n, 20*time.Second, func(o *node) { checks++; o.checkReopen() })
		if checks < 100 {
			t.Fatalf("only %d reopenings compared", checks)
		}
	}
}
