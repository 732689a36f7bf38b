package dag

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"
)

// testKey is the key of author a, the same in every run.
func testKey(a Author) ed25519.PrivateKey {
	seed := sha256.Sum256(binary.BigEndian.AppendUint16([]byte("dag test key"), uint16(a)))
	return ed25519.NewKeyFromSeed(seed[:])
}

// keyedCommittee gives author i the weight weights[i] and the key testKey(i).
func keyedCommittee(t testing.TB, weights ...uint64) *Committee {
	t.Helper()
	members := make([]Member, len(weights))
	for i, w := range weights {
		copy(members[i].Key[:], testKey(Author(i)).Public().(ed25519.PublicKey))
		members[i].Weight = w
	}
	c, err := NewCommittee(members)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

var testNetwork = Digest{0xaa, 1}

func testRules(c *Committee) Rules {
	return Rules{Network: testNetwork, Committee: c, Limits: DefaultLimits()}
}

// equal is n weights of one.
func equal(n int) []uint64 {
	w := make([]uint64, n)
	for i := range w {
		w[i] = 1
	}
	return w
}

var testStart = time.UnixMilli(1_700_000_000_000)

// network is cores in virtual time. It performs their effects: what a node
// persists is its disk, what it sends arrives at the others after a delay, what
// it fetches comes from the disk of whom it asks. One queue, no randomness.
type network struct {
	t       testing.TB
	now     time.Time
	seq     int
	queue   []event // by time, then by sequence
	nodes   []*node
	delay   func(from, to Author) time.Duration
	cut     func(from, to Author) bool // true: nothing passes
	rules   Rules
	onSend  func(*Block)
	checked int // commits compared between nodes
}

type event struct {
	at  time.Time
	seq int
	do  func()
}

type node struct {
	net     *network
	self    Author
	core    *Core
	config  Config
	up      bool
	life    int // deliveries of a former life are lost
	disk    []*Block
	byRef   map[Digest]*Block
	commits []Commit
	pending [][]byte
	wake    time.Time

	returned [][]byte
	evidence []Evidence
	faults   []error
	points   []Checkpoint
	next     *Rules // the epoch to start when this one closes
	liar     bool   // signs two blocks a round
}

func newNetwork(t testing.TB, weights ...uint64) *network {
	n := &network{t: t, now: testStart, delay: func(Author, Author) time.Duration { return 5 * time.Millisecond }, rules: testRules(keyedCommittee(t, weights...)),
		cut: func(Author, Author) bool { return false }}
	for a := range weights {
		cfg := DefaultConfig(n.rules)
		cfg.Key = testKey(Author(a))
		cfg.GenesisMs = uint64(testStart.UnixMilli())
		n.nodes = append(n.nodes, &node{net: n, self: Author(a), config: cfg, byRef: map[Digest]*Block{}})
	}
	return n
}

func (n *network) start(authors ...Author) {
	if len(authors) == 0 {
		for a := range n.nodes {
			authors = append(authors, Author(a))
		}
	}
	for _, a := range authors {
		n.nodes[a].open()
	}
}

func (n *network) at(t time.Time, do func()) {
	n.seq++
	e := event{t, n.seq, do}
	i, _ := slices.BinarySearchFunc(n.queue, e, func(a, b event) int {
		if c := a.at.Compare(b.at); c != 0 {
			return c
		}
		return a.seq - b.seq
	})
	n.queue = slices.Insert(n.queue, i, e)
}

// run lets virtual time pass.
func (n *network) run(d time.Duration) {
	end := n.now.Add(d)
	for len(n.queue) > 0 && !n.queue[0].at.After(end) {
		e := n.queue[0]
		n.queue = n.queue[1:]
		if e.at.After(n.now) {
			n.now = e.at
		}
		e.do()
	}
	n.now = end
}

func (n *node) open() {
	n.up, n.life = true, n.life+1
	e, core := n.openShadow()
	n.core = core
	n.perform(e)
}

// openShadow opens a core on the node's disk.
func (n *node) openShadow() (Effects, *Core) {
	stored := Stored{}
	if len(n.commits) > 0 {
		last := n.commits[len(n.commits)-1]
		for _, c := range n.commits {
			if c.Epoch == last.Epoch && c.Leader.Round > collectedAfter(last.Leader.Round) {
				stored.Commits = append(stored.Commits, c)
			}
		}
	}
	for _, b := range n.disk {
		if b.Epoch() != n.config.Rules.Epoch {
			continue
		}
		stored.Blocks = append(stored.Blocks, b)
	}
	core, e, err := Open(n.config, n.net.now, stored)
	if err != nil {
		n.net.t.Fatalf("node %d: %v", n.self, err)
	}
	return e, core
}

func (n *node) crash() { n.up = false; n.core = nil }

// step gives the core an input if the node is up, and performs what follows.
func (n *node) step(input func(now time.Time) Effects) {
	if n.up {
		n.perform(input(n.net.now))
		if n.liar { // it does not mind meeting itself
			n.core.own.twin, n.faults = false, nil
		}
	}
}

func (n *node) perform(e Effects) {
	for {
		n.effects(e)
		if !n.core.ProposalDue(n.net.now, len(n.pending) > 0) {
			break
		}
		e = n.core.Propose(n.net.now, n.pending)
		if len(e.Send) == 0 {
			n.net.t.Fatalf("node %d: a proposal was due and none was made", n.self)
		}
		n.pending = n.pending[e.Taken:]
	}
	wake := e.WakeAt
	if at := n.core.ProposalAt(len(n.pending) > 0); !at.IsZero() && (wake.IsZero() || at.Before(wake)) {
		wake = at
	}
	if !wake.IsZero() {
		if wake.Before(n.net.now) {
			wake = n.net.now
		}
		life := n.life
		n.wake = wake
		n.net.at(wake, func() {
			if n.life == life && n.wake.Equal(wake) {
				n.step(n.core.Tick)
			}
		})
	}
}

func (n *node) effects(e Effects) {
	for _, b := range e.Persist {
		if n.byRef[b.Ref().Digest] == nil {
			n.byRef[b.Ref().Digest] = b
			n.disk = append(n.disk, b)
		}
	}
	for _, b := range e.Send {
		if n.net.onSend != nil {
			n.net.onSend(b)
		}
		other := b
		if n.liar {
			other = n.otherVersion(b)
		}
		for a := range n.net.nodes {
			if a%2 == 0 {
				n.send(Author(a), b)
			} else {
				n.send(Author(a), other)
			}
		}
	}
	for _, m := range e.Fetch {
		n.fetch(m)
	}
	for _, c := range e.Commits {
		n.commit(c)
	}
	n.returned = append(n.returned, e.Returned...)
	n.evidence = append(n.evidence, e.Evidence...)
	n.faults = append(n.faults, e.Faults...)
	n.points = append(n.points, e.Checkpoints...)
	if e.EpochClosed && n.next != nil {
		n.config.Rules = *n.next
		e, err := n.core.NextEpoch(n.net.now, *n.next)
		if err != nil {
			n.net.t.Fatalf("node %d: %v", n.self, err)
		}
		n.next = nil
		n.effects(e)
	}
}

// otherVersion is a second block for b's slot, good in all but being the second.
func (n *node) otherVersion(b *Block) *Block {
	o := *b
	o.timeMs++
	other := seal(&o, n.config.Key)
	n.byRef[other.ref.Digest] = other
	return other
}

// ask makes a recovering node ask the others, who answer with its newest block.
func (n *network) ask(o *node) {
	for _, peer := range n.nodes {
		if peer == o || n.cut(o.self, peer.self) {
			continue
		}
		n.at(n.now.Add(n.delay(o.self, peer.self)), func() {
			if !peer.up {
				return
			}
			round, block, ok := peer.core.Newest(o.self)
			if !ok {
				return
			}
			n.at(n.now.Add(n.delay(peer.self, o.self)), func() {
				if n.cut(peer.self, o.self) {
					return
				}
				o.step(func(now time.Time) Effects { return o.core.Answer(now, peer.self, round) })
				if block != nil {
					o.step(func(now time.Time) Effects { return o.core.Receive(now, block) })
				}
			})
		})
	}
}

// commit appends to the node's log and compares with every other node's.
func (n *node) commit(c Commit) {
	if c.Index <= uint64(len(n.commits)) {
		if n.commits[c.Index-1].Digest != c.Digest {
			n.net.t.Fatalf("node %d made another commit %d after a restart", n.self, c.Index)
		}
		return
	}
	if c.Index != uint64(len(n.commits))+1 {
		n.net.t.Fatalf("node %d: commit %d after %d", n.self, c.Index, len(n.commits))
	}
	n.commits = append(n.commits, c)
	for _, o := range n.net.nodes {
		if c.Index <= uint64(len(o.commits)) {
			n.net.checked++
			if o.commits[c.Index-1].Digest != c.Digest {
				n.net.t.Fatalf("nodes %d and %d differ at commit %d: %v and %v", n.self, o.self, c.Index, &c, &o.commits[c.Index-1])
			}
		}
	}
}

func (n *node) send(to Author, blocks ...*Block) {
	if to == n.self || n.net.cut(n.self, to) {
		return
	}
	from, o := n.self, n.net.nodes[to]
	life := o.life
	n.net.at(n.net.now.Add(n.net.delay(from, to)), func() {
		if o.life == life && !n.net.cut(from, to) {
			if o.up && blocks[0].Epoch() > o.config.Rules.Epoch {
				o.catchUp(n.net.nodes[from])
			}
			o.step(func(now time.Time) Effects { return o.core.Receive(now, blocks...) })
		}
	})
}

func (n *node) fetch(m Missing) {
	o := n.net.nodes[m.From]
	if n.net.cut(n.self, m.From) || !o.up {
		return
	}
	from := m.From
	n.net.at(n.net.now.Add(n.net.delay(n.self, from)), func() {
		if b := o.byRef[m.Ref.Digest]; b != nil && o.up && !n.net.cut(from, n.self) {
			o.send(n.self, b)
		}
	})
}

// catchUp takes what a peer has, as a node does that hears of a later epoch.
func (n *node) catchUp(from *node) {
	var commits []Commit
	for _, c := range from.commits[min(len(n.commits), len(from.commits)):] {
		c.Blocks = nil
		commits = append(commits, c)
	}
	e, err := n.core.CatchUp(n.net.now, commits, from.disk)
	if err != nil && !errors.Is(err, ErrUncertified) {
		n.net.t.Fatalf("node %d catches up from node %d: %v", n.self, from.self, err)
	}
	if err != nil { // too few votes: what is left is decided like any blocks
		e = n.core.Receive(n.net.now, from.disk...)
	}
	n.perform(e)
}

// op is an operation for a test to follow.
func op(s string) []byte { return []byte(s) }

// finalOps is the operations a node has seen final, in order.
func (n *node) finalOps() []string {
	var ops []string
	for _, c := range n.commits {
		for _, b := range c.Blocks {
			for _, op := range b.Payload() {
				ops = append(ops, string(op))
			}
		}
	}
	return ops
}

func TestNetworkCommits(t *testing.T) {
	n := newNetwork(t, equal(4)...)
	n.start()
	for i := range 40 {
		n.nodes[i%4].pending = append(n.nodes[i%4].pending, op(fmt.Sprintf("op %d", i)))
		n.run(50 * time.Millisecond)
	}
	n.run(3 * time.Second)
	for _, node := range n.nodes {
		if got := len(node.finalOps()); got != 40 {
			t.Errorf("node %d has %d operations final, want 40", node.self, got)
		}
		if len(node.faults)+len(node.evidence) > 0 {
			t.Errorf("node %d: faults %v, evidence %v", node.self, node.faults, node.evidence)
		}
		if s := node.core.Status(); s.Certified+8 < s.Commit {
			t.Errorf("node %d: commit %d, certified only %d", node.self, s.Commit, s.Certified)
		}
	}
	if n.checked < 40 {
		t.Errorf("only %d commits compared", n.checked)
	}
	for _, b := range n.nodes[0].disk {
		again, err := n.rules.Verify(bytes.Clone(b.Bytes()))
		if err != nil || again.Ref() != b.Ref() {
			t.Fatalf("block %v does not verify: %v", b.Ref(), err)
		}
	}
}
