package dag

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// Networks of weights with a liar of up to F that shows two blocks a round, lost
// disks, crashes, cuts and uneven delays: one order, nothing lost, proof against
// the liar alone, and every honest slot filled at most once over all lives.
func TestChaos(t *testing.T) {
	t.Parallel()
	for _, seed := range seeds(30) {
		weights := [][]uint64{equal(4), {3, 2, 2, 2, 1}, equal(7)}[seed%3]
		n := newNetwork(t, weights...)
		liar := n.nodes[seed%uint64(len(weights))]
		if n.rules.Committee.Weight(liar.self) <= n.rules.Committee.Faulty() {
			liar.liar = true
		}
		chaosWithLosses(t, seed, n)
	}
}

func chaosWithLosses(t *testing.T, seed uint64, n *network) {
	rnd := rand.New(rand.NewPCG(seed, 9))
	groups := make([]int, len(n.nodes))
	n.cut = func(from, to Author) bool { return groups[from] != groups[to] || rnd.IntN(20) == 0 }
	n.delay = func(Author, Author) time.Duration { return time.Duration(1+rnd.IntN(80)) * time.Millisecond }
	slots := map[Slot]Digest{}
	n.onSend = func(b *Block) {
		if first, filled := slots[b.ref.Slot]; filled && first != b.ref.Digest && !n.nodes[b.Author()].liar {
			t.Fatalf("seed %d: author %d filled round %d twice", seed, b.Author(), b.Round())
		}
		slots[b.ref.Slot] = b.ref.Digest
	}
	n.start()
	ops, losses, recovered := 0, 0, 0
	for step := range 300 {
		n.run(time.Duration(1+rnd.IntN(150)) * time.Millisecond)
		o := n.nodes[rnd.IntN(len(n.nodes))]
		switch rnd.IntN(8) {
		case 0:
			if o.up {
				o.crash()
			}
		case 1, 2, 3:
			for _, o := range n.nodes {
				if !o.up {
					o.open()
				}
			}
		case 4:
			for a := range groups {
				groups[a] = rnd.IntN(2) * rnd.IntN(2)
			}
		case 5:
			clear(groups)
		case 6:
			if o.liar {
				continue // its operations are its own affair
			}
			ops++
			o.pending = append(o.pending, op(fmt.Sprintf("op %d", step)))
			if o.up {
				o.step(o.core.Tick)
			}
		case 7: // one disk at a time, and everything it held that was not final
			if step%5 == 0 && n.allRecovered() && n.othersUp(o) && !o.liar {
				losses++
				ops -= o.loseDisk()
			}
		}
		for _, o := range n.nodes {
			recovered += o.recover()
		}
	}
	clear(groups)
	n.cut = func(Author, Author) bool { return false }
	for range 10 {
		for _, o := range n.nodes {
			if !o.up {
				o.open()
			}
			recovered += o.recover()
			o.pending = append(o.pending, o.returned...)
			o.returned = nil
			o.step(o.core.Tick)
		}
		n.run(time.Second)
	}
	if recovered != losses {
		t.Errorf("seed %d: %d of %d lost disks recovered", seed, recovered, losses)
	}
	t.Logf("seed %d: weights of %d, %d operations, %d lost disks, %d commits", seed, len(n.nodes), ops, losses, len(n.nodes[0].commits))
	for _, o := range n.nodes {
		seen := map[string]bool{}
		for _, s := range o.finalOps() {
			seen[s] = true
		}
		if len(seen) < ops {
			t.Fatalf("seed %d: node %d has %d operations final, want at least %d; %+v", seed, o.self, len(seen), ops, o.core.Status())
		}
		for _, e := range o.evidence {
			if !n.nodes[e.First.Author()].liar {
				t.Fatalf("seed %d: proof against honest author %d", seed, e.First.Author())
			}
		}
		if len(o.faults) > 0 {
			t.Fatalf("seed %d: node %d: %v", seed, o.self, o.faults)
		}
	}
}

// recover lets a node that lost its disk ask, and takes note once when it has
// made a block again.
func (n *node) recover() int {
	if !n.up || !n.config.Recovering {
		return 0
	}
	n.net.ask(n)
	if n.core.own.recovery != nil {
		return 0
	}
	n.config.Recovering = false
	return 1
}

func (n *network) allRecovered() bool {
	for _, o := range n.nodes {
		if o.config.Recovering {
			return false
		}
	}
	return true
}

func (n *network) othersUp(but *node) bool {
	for _, o := range n.nodes {
		if !o.up && o != but {
			return false
		}
	}
	return true
}

// loseDisk starts a node on its key alone. It returns how many operations were
// only there: waiting, or in blocks of its own that no commit has.
func (n *node) loseDisk() int {
	final := map[string]bool{}
	for _, s := range n.finalOps() {
		final[s] = true
	}
	only := map[string]bool{}
	for _, b := range n.disk {
		for _, op := range b.Payload() {
			if b.Author() == n.self && !final[string(op)] {
				only[string(op)] = true
			}
		}
	}
	for _, op := range n.pending {
		only[string(op)] = true
	}
	for _, op := range n.returned {
		only[string(op)] = true
	}
	n.disk, n.byRef, n.commits, n.pending, n.returned = nil, map[Digest]*Block{}, nil, nil, nil
	n.config.Recovering = true
	n.open()
	return len(only)
}
