package dag

import (
	"container/heap"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"
)

// A storm is a network of cores in which everything goes wrong that may: blocks are lost, late and out of order, links
// and sides are cut, nodes crash between two effects of a step and come back with what was durable or without their disk,
// clocks are off, and up to F of the weight sends different blocks of one slot to different nodes. All of it comes from one seed.
type storm struct {
	t        testing.TB
	rng      *rand.Rand
	now      time.Time
	queue    stormQueue
	events   int
	nodes    []*stormNode
	rules    Rules // of epoch 0; the next ones have the same committee
	calm     bool  // nothing is lost, cut or crashed any more
	loss     float64
	perEpoch int // commits before validators ask to close an epoch
	slowest  time.Duration
	side     []bool // nodes on different sides hear nothing of each other

	blocks  map[Digest]*Block // all that an honest node ever made durable
	commits []Commit          // the longest chain any honest node has
	stormy  int               // of them made before it was calm
	sent    map[stormSlot]Digest
	final   map[string]uint64 // the commit that took an operation
	counted stormCount
}

// A stormSlot is a slot of an epoch.
type stormSlot struct {
	epoch uint64
	Slot
}

// stormCount says what a storm was like.
type stormCount struct {
	crashes, cutSteps, restarts, lostDisks, equivocations, fetches, lost, returned, caughtUp, epochs int
}

type stormEvent struct {
	at  time.Time
	seq int
	do  func()
}

type stormQueue []stormEvent

func (q stormQueue) Len() int { return len(q) }
func (q stormQueue) Less(i, j int) bool {
	if c := q[i].at.Compare(q[j].at); c != 0 {
		return c < 0
	}
	return q[i].seq < q[j].seq
}
func (q stormQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *stormQueue) Push(x any)   { *q = append(*q, x.(stormEvent)) }
func (q *stormQueue) Pop() any {
	old := *q
	e := old[len(old)-1]
	*q = old[:len(old)-1]
	return e
}

// TestStorm lets storms rage over 4 and 7 validators and then calms them. Honest nodes never differ in a commit, never
// fill a slot twice, and never send what is not durable; when it is calm they all catch up, hold little, have every
// operation final once, and have made the commits the twin makes of all their blocks. STORMS sets how many storms.
func TestStorm(t *testing.T) {
	storms := 16
	if testing.Short() {
		storms = 4
	}
	if s := os.Getenv("STORMS"); s != "" {
		var err error
		if storms, err = strconv.Atoi(s); err != nil {
			t.Fatalf("STORMS: %v", err)
		}
	}
	first := testSeed(t)
	for i := range storms {
		seed := first + uint64(i)
		t.Run("seed "+strconv.FormatUint(seed, 10), func(t *testing.T) {
			t.Parallel()
			s := newStorm(t, seed)
			s.rage(10 * time.Second)
			s.settle(8 * time.Second)
			s.check()
		})
	}
}

func newStorm(t testing.TB, seed uint64) *storm {
	rng := rand.New(rand.NewPCG(seed, 0))
	n := 4
	if rng.IntN(3) == 0 {
		n = 7
	}
	weights := equal(n)
	if rng.IntN(3) == 0 {
		for i := range weights {
			weights[i] = 1 + rng.Uint64N(5)
		}
	}
	s := &storm{
		t: t, rng: rng, now: testStart, rules: testRules(keyedCommittee(t, weights...)), side: make([]bool, n),
		loss: []float64{0, 0.02, 0.1}[rng.IntN(3)], slowest: time.Duration(5+rng.IntN(60)) * time.Millisecond,
		perEpoch: []int{40, 1 << 30}[rng.IntN(2)],
		blocks:   make(map[Digest]*Block), sent: make(map[stormSlot]Digest), final: make(map[string]uint64),
	}
	faulty := s.rules.Committee.Faulty()
	liars := rng.IntN(4) > 0
	for _, i := range rng.Perm(n) {
		s.nodes = append(s.nodes, &stormNode{storm: s, self: Author(i), disk: make(map[Digest]*Block), lies: make(map[Digest]*Block),
			skew: time.Duration(rng.IntN(100)-50) * time.Millisecond})
		if liars && weights[i] <= faulty {
			faulty -= weights[i]
			s.nodes[len(s.nodes)-1].liar = true
			s.nodes[len(s.nodes)-1].withholds = []float64{0, 0.3, 0.8}[rng.IntN(3)]
		}
	}
	slices.SortFunc(s.nodes, func(a, b *stormNode) int { return int(a.self) - int(b.self) })
	for _, node := range s.nodes {
		node.start()
	}
	return s
}

func (s *storm) chance(p float64) bool { return s.rng.Float64() < p }

func (s *storm) after(d time.Duration, do func()) {
	s.events++
	heap.Push(&s.queue, stormEvent{s.now.Add(d), s.events, do})
}

// run lets time pass.
func (s *storm) run(d time.Duration) {
	end := s.now.Add(d)
	for len(s.queue) > 0 && !s.queue[0].at.After(end) {
		e := heap.Pop(&s.queue).(stormEvent)
		s.now = e.at
		e.do()
	}
	s.now = end
}

// rage runs the storm: every fifth of a second something else goes wrong.
func (s *storm) rage(d time.Duration) {
	for end := s.now.Add(d); s.now.Before(end); s.run(200 * time.Millisecond) {
		node := s.nodes[s.rng.IntN(len(s.nodes))]
		switch s.rng.IntN(7) {
		case 0:
			node.crash()
		case 5:
			node.loseDisk()
		case 1, 2:
			for _, n := range s.nodes {
				if n.core == nil && s.chance(0.7) {
					n.start()
					s.counted.restarts++
				}
			}
		case 3:
			for i := range s.side {
				s.side[i] = s.chance(0.4)
			}
		case 4:
			clear(s.side)
		}
		for _, n := range s.nodes {
			n.submit()
			n.askNewest()
			if s.chance(0.1) {
				n.catchUp()
			}
		}
	}
}

// settle ends the storm and gives the nodes time to come back.
func (s *storm) settle(d time.Duration) {
	s.calm, s.stormy = true, len(s.commits)
	clear(s.side)
	for _, n := range s.nodes {
		if n.core == nil {
			n.start()
		}
	}
	for left := d; left > 0; left -= 200 * time.Millisecond {
		for _, n := range s.nodes {
			if left > d/2 { // then nothing more to order
				n.submit()
			}
			n.askNewest()
			n.catchUp()
		}
		s.run(200 * time.Millisecond)
	}
}

// rulesOf are an epoch's.
func (s *storm) rulesOf(epoch uint64) Rules {
	rules := s.rules
	rules.Epoch = epoch
	return rules
}

func (s *storm) passes(from, to *stormNode) bool {
	return s.side[from.self] == s.side[to.self] && (s.calm || !s.chance(s.loss))
}

// check holds the calm network to what it promises.
func (s *storm) check() {
	t := s.t
	ordered := make(map[Digest]bool)
	defer func() {
		if t.Failed() {
			for _, n := range s.nodes {
				t.Logf("node %d liar %v: %d commits, %d pending, recovering %v, %+v", n.self, n.liar, len(n.commits), len(n.pending), n.recovering, n.core.Status())
			}
		}
	}()
	for _, c := range s.commits {
		for _, ref := range c.Refs {
			if ordered[ref.Digest] {
				t.Fatalf("block %v is in two commits", ref)
			}
			ordered[ref.Digest] = true
		}
	}
	for _, n := range s.nodes {
		if n.liar {
			continue
		}
		status := n.core.Status()
		if behind := len(s.commits) - len(n.commits); behind > 10 {
			t.Errorf("node %d is %d commits behind: %+v", n.self, behind, status)
		}
		// What waits are blocks of the last rounds, under way or, where clocks are behind, ahead of their time; and what
		// liars built on blocks nobody has, until that is collected.
		if len(n.core.graph.byDigest) > 3*(CollectDepth+20)*len(s.nodes) || status.Waiting > 10*len(s.nodes) || status.Wanted > 10*len(s.nodes) {
			t.Errorf("node %d holds %d blocks, %d waiting, %d wanted", n.self, len(n.core.graph.byDigest), status.Waiting, status.Wanted)
		}
		for _, b := range n.order {
			for _, op := range b.Payload() {
				if b.Author() == n.self && s.final[string(op)] == 0 {
					t.Errorf("node %d: %q of block %v is not final", n.self, op, b.ref)
				}
			}
		}
		if n.recovering {
			t.Errorf("node %d never recovered: %+v", n.self, status)
		}
		if len(n.pending) > 0 {
			t.Errorf("node %d: %d operations still wait for a block", n.self, len(n.pending))
		}
	}
	if made := len(s.commits) - s.stormy; made < 4 {
		t.Errorf("only %d commits since it is calm", made)
	}
	for len(s.commits) > 0 && uint64(s.counted.epochs) <= s.commits[len(s.commits)-1].Epoch {
		s.checkTwin(uint64(s.counted.epochs))
		s.counted.epochs++
	}
	t.Logf("%d nodes, loss %v, up to %v: %d commits of %d blocks, %d operations; %+v", len(s.nodes), s.loss, s.slowest,
		len(s.commits), len(ordered), len(s.final), s.counted)
}

// checkTwin has the plain rule make an epoch's commits of everything honest nodes have.
func (s *storm) checkTwin(epoch uint64) {
	committee := s.rules.Committee
	names := make([]string, committee.Size())
	weights := make([]uint64, committee.Size())
	for i := range names {
		names[i], weights[i] = string(rune('A'+i)), committee.Weight(Author(i))
	}
	name := func(r Ref) string {
		if r.Round == 0 {
			return names[r.Author] + "0"
		}
		return fmt.Sprintf("%s%d-%v", names[r.Author], r.Round, r.Digest)
	}
	d := newPlainDAG(names, weights)
	for _, b := range slices.SortedFunc(maps.Values(s.blocks), func(a, b *Block) int { return compareRefs(a.ref, b.ref) }) {
		if b.epoch != epoch {
			continue
		}
		p := &plainBlock{id: name(b.ref), author: names[b.ref.Author], round: int(b.ref.Round)}
		for _, parent := range b.parents {
			// What nobody has, or has under another name, was accepted because it counted as collected.
			if id := name(parent); d.genesis(id) || d.blocks[id] != nil {
				p.parents = append(p.parents, id)
			}
		}
		d.add(p)
	}
	rules := plainRules{quorum: committee.Quorum(), leaders: func(round int) []string {
		return []string{names[LeaderOf(committee, s.rules.Network, epoch, uint64(round))]}
	}}
	want := linearisePlainly(d, sequence(decidePlainly(d, rules)), CollectDepth)
	for _, c := range s.commits {
		if c.Epoch != epoch {
			continue
		}
		if len(want) == 0 {
			s.t.Fatalf("the twin does not make commit %v", &c)
		}
		var blocks []string
		for _, r := range c.Refs {
			blocks = append(blocks, name(r))
		}
		slices.Sort(blocks)
		slices.Sort(want[0].blocks)
		if want[0].leader != name(c.Leader) || !slices.Equal(blocks, want[0].blocks) {
			s.t.Fatalf("commit %v has the blocks %v, the twin makes %v", &c, blocks, want[0])
		}
		want = want[1:]
	}
}
