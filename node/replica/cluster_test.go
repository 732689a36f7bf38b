package replica

import (
	"bytes"
	"container/heap"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"sort"
	"testing"
	"time"

	"github.com/holdfast-mesh/holdfast/node/dag"
	"github.com/holdfast-mesh/holdfast/node/ledger"
)

// memStore is a Store in memory: what was written is durable at once.
type memStore struct {
	values map[string][]byte
	keys   []string // sorted
	fail   error    // of every read, once set
}

func newMemStore() *memStore { return &memStore{values: map[string][]byte{}} }

func (s *memStore) Get(key []byte) ([]byte, bool, error) {
	v, ok := s.values[string(key)]
	return v, ok, s.fail
}

func (s *memStore) Scan(prefix, from []byte) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		if s.fail != nil {
			yield(Record{}, s.fail)
			return
		}
		start := string(prefix)
		if string(from) > start {
			start = string(from)
		}
		for i := sort.SearchStrings(s.keys, start); i < len(s.keys); i++ {
			k := s.keys[i]
			if !bytes.HasPrefix([]byte(k), prefix) || !yield(Record{[]byte(k), s.values[k]}, nil) {
				return
			}
		}
	}
}

func (s *memStore) write(records []Record) {
	for _, rec := range records {
		k := string(rec.Key)
		i := sort.SearchStrings(s.keys, k)
		have := i < len(s.keys) && s.keys[i] == k
		switch {
		case rec.Value == nil && have:
			s.keys = slices.Delete(s.keys, i, i+1)
			delete(s.values, k)
		case rec.Value != nil:
			if !have {
				s.keys = slices.Insert(s.keys, i, k)
			}
			s.values[k] = rec.Value
		}
	}
}

func (s *memStore) count(prefix string) (n int) {
	for _, k := range s.keys {
		if len(k) >= len(prefix) && k[:len(prefix)] == prefix {
			n++
		}
	}
	return n
}

func (s *memStore) clone() *memStore {
	return &memStore{values: maps.Clone(s.values), keys: slices.Clone(s.keys)}
}

// cluster is validators and observers in virtual time, with a fixed latency
// between any two. It performs effects as the contract says, and checks after
// every step that all have the same commits and the same states.
type cluster struct {
	t           testing.TB
	genesis     *ledger.Genesis
	start       time.Time
	now         time.Time
	nodes       []*node
	events      eventHeap
	seq         int
	latency     time.Duration
	drop        func(from, to int) bool // messages that get lost
	commits     map[uint64]Commit
	signed      map[dag.Slot]map[uint64]dag.Digest // every block ever sent, by epoch
	ended       map[ledger.Digest]uint64           // executed ops
	reasons     map[ledger.Reason]int              // of ops and actions that were refused
	verify      map[[32]byte]*dag.Block            // verified once for all
	ignoreRoots *node                              // it has another state on purpose
	record      bool                               // keep a digest of all effects
	twins       bool                               // somebody signs with another's key on purpose
	tamper      func(by *node, p *Reply)           // what a liar makes of its replies
	redirect    func(asks, to *node) *node         // who answers instead
	room        int                                // for the records of a reply
	late        time.Duration                      // how much longer replies take than the latency
}

type node struct {
	number    int
	cfg       Config
	store     *memStore
	r         *Replica
	own       Own
	wake      time.Time
	steps     int
	life      int // counts restarts: events of a former life are void
	effects   [][32]byte
	restored  int
	refused   map[RefusalCode]int
	evidence  int
	index     uint64 // of the last commit seen in this life
	noSnaps   bool
	lastState Effects
}

type event struct {
	at  time.Time
	seq int
	do  func()
}

type eventHeap []event

func (h eventHeap) Len() int { return len(h) }
func (h eventHeap) Less(i, j int) bool {
	return h[i].at.Before(h[j].at) || h[i].at.Equal(h[j].at) && h[i].seq < h[j].seq
}
func (h eventHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *eventHeap) Push(x any)   { *h = append(*h, x.(event)) }
func (h *eventHeap) Pop() any {
	e := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return e
}

func testKey(n int) ed25519.PrivateKey {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(n))
	seed := sha256.Sum256(append([]byte("test key"), b[:]...))
	return ed25519.NewKeyFromSeed(seed[:])
}

const (
	clientKeys = 1000 // client c signs with testKey(clientKeys+c)
	governor   = 5000
	clients    = 8
)

// testGenesis has n validators of weight 1 each, and funded clients.
func testGenesis(n int) *ledger.Genesis {
	g := &ledger.Genesis{
		Name:   "replica test",
		Assets: []ledger.Asset{{Symbol: "EUR", Decimals: 2}, {Symbol: "BTC", Decimals: 8}},
		Params: ledger.DefaultParams(),
		Governors: ledger.Council{
			Threshold: 1, Members: []ledger.Account{ledger.AccountOf(testKey(governor))},
		},
		Custodians: ledger.Council{
			Threshold: 1, Members: []ledger.Account{ledger.AccountOf(testKey(governor))},
		},
	}
	g.Committee = testCommitteeOf(n)
	for c := range clients {
		g.Balances = append(g.Balances, ledger.Balance{
			Account: ledger.AccountOf(testKey(clientKeys + c)), Asset: 0, Amount: ledger.Units(1_000_000),
		})
	}
	slices.SortFunc(g.Balances, func(a, b ledger.Balance) int { return bytes.Compare(a.Account[:], b.Account[:]) })
	return g
}

func testCommitteeOf(n int) (c ledger.Committee) {
	for i := range n {
		c.Validators = append(c.Validators, ledger.Validator{Key: ledger.AccountOf(testKey(i)), Weight: 1})
	}
	return c
}

func testConfig(g *ledger.Genesis) Config {
	cfg := DefaultConfig()
	cfg.Genesis = g
	cfg.MinRound = 20 * time.Millisecond
	cfg.CheckpointEvery = 10
	cfg.SnapshotEvery = 40
	cfg.Retain = 40
	cfg.EveryRoot = true
	return cfg
}

// newCluster opens n validators on empty disks.
func newCluster(t testing.TB, n int) *cluster {
	t.Helper()
	c := emptyCluster(t, n)
	for i := range n {
		c.add(testKey(i))
	}
	return c
}

func emptyCluster(t testing.TB, validators int) *cluster {
	c := &cluster{
		t: t, genesis: testGenesis(validators), latency: 5 * time.Millisecond,
		start: time.UnixMilli(1_700_000_000_000), room: ReplyRoomMax,
		commits: map[uint64]Commit{}, signed: map[dag.Slot]map[uint64]dag.Digest{},
		reasons: map[ledger.Reason]int{}, ended: map[ledger.Digest]uint64{}, verify: map[[32]byte]*dag.Block{},
	}
	c.now = c.start
	return c
}

// add opens one more node on an empty disk; without a key it is an observer.
func (c *cluster) add(key ed25519.PrivateKey) *node {
	c.t.Helper()
	n := &node{number: len(c.nodes), cfg: testConfig(c.genesis), store: newMemStore(), refused: map[RefusalCode]int{}}
	n.cfg.Key = key
	c.nodes = append(c.nodes, n)
	c.open(n)
	return n
}

func (c *cluster) open(n *node) {
	c.t.Helper()
	r, e, err := Open(n.cfg, c.now, n.store)
	if err != nil {
		c.t.Fatalf("node %d does not open: %v", n.number, err)
	}
	n.r = r
	c.link(n, true)
	n.index, _ = r.Executed()
	for _, commit := range e.Commits {
		n.index = min(n.index, commit.Index-1)
	}
	c.perform(n, e)
}

// fork opens all of a cluster's nodes again in a cluster of their own.
func (c *cluster) fork(t testing.TB) *cluster {
	t.Helper()
	f := emptyCluster(t, len(c.genesis.Committee.Validators))
	f.now = c.now
	f.commits, f.ended = maps.Clone(c.commits), maps.Clone(c.ended)
	for _, n := range c.nodes {
		twin := &node{number: n.number, cfg: n.cfg, store: n.store.clone(), refused: map[RefusalCode]int{}}
		f.nodes = append(f.nodes, twin)
		f.open(twin)
	}
	return f
}

// kill ends a node's life: what it was about to do is not done.
func (c *cluster) kill(n *node) {
	if n.r != nil {
		c.link(n, false)
	}
	n.r = nil
	n.life++
}

// link tells the others that a validator came or went.
func (c *cluster) link(n *node, up bool) {
	for _, other := range c.nodes {
		if other == n || other.r == nil || len(n.cfg.Key) == 0 {
			continue
		}
		c.deliver(other, 20*time.Millisecond, func() Input {
			a, ok := other.r.Committee().AuthorOf(publicKey(n.cfg.Key))
			if !ok || up != (n.r != nil) {
				return Input{}
			}
			return Input{Connected: []Link{{a, up}}}
		})
	}
}

func (c *cluster) restart(n *node) {
	c.t.Helper()
	c.kill(n)
	c.open(n)
}

// loseDisk starts a validator on an empty disk and says that it has lost the other one.
func (c *cluster) loseDisk(n *node) {
	c.t.Helper()
	c.kill(n)
	n.store = newMemStore()
	n.cfg.Recover = true
	c.open(n)
	n.cfg.Recover = false
}

func (c *cluster) after(d time.Duration, do func()) {
	c.seq++
	heap.Push(&c.events, event{c.now.Add(d), c.seq, do})
}

// deliver gives a node an input after the latency, if it still lives then.
func (c *cluster) deliver(n *node, d time.Duration, make func() Input) {
	life := n.life
	c.after(d, func() {
		if n.life == life && n.r != nil {
			c.step(n, make())
		}
	})
}

func (c *cluster) lost(from, to int) bool { return c.drop != nil && c.drop(from, to) }

func (c *cluster) step(n *node, in Input) {
	c.perform(n, n.r.Step(c.now, in))
}

// perform does effects in field order, on a disk that is durable at once.
func (c *cluster) perform(n *node, e Effects) {
	if c.record {
		n.effects = append(n.effects, digestOf(e))
	}
	n.steps++
	n.lastState = e
	n.store.write(e.Persist)
	n.own = e.Own
	for _, b := range e.Send {
		c.checkSigned(n, b)
		for _, peer := range c.nodes {
			if peer != n {
				c.sendBlock(n, peer, b.Bytes())
			}
		}
	}
	for _, q := range e.Ask {
		c.carry(n, q)
	}
	if e.Restored != nil {
		n.restored++
		n.index = e.Restored.Index
	}
	for _, commit := range e.Commits {
		c.checkCommit(n, commit)
	}
	for _, refusal := range e.Refused {
		n.refused[refusal.Code]++
	}
	n.evidence += len(e.Evidence)
	if e.SnapshotDue != nil && !n.noSnaps {
		req := *e.SnapshotDue
		c.deliver(n, 10*time.Millisecond, func() Input {
			err := BuildSnapshot(n.store, req, func(rec Record) error { n.store.write([]Record{rec}); return nil })
			if err != nil {
				c.t.Errorf("node %d: snapshot %d: %v", n.number, req.Index, err)
			}
			return Input{Snapshot: &SnapshotDone{Index: req.Index, Failed: err != nil}}
		})
	}
	if n.wake = e.WakeAt; n.wake.IsZero() {
		return
	}
	n.steps++ // a later step makes this wake-up void
	life, steps := n.life, n.steps
	c.after(max(n.wake.Sub(c.now), 0), func() {
		if n.life == life && n.steps == steps {
			c.step(n, Input{})
		}
	})
}

func (c *cluster) sendBlock(from, to *node, raw []byte) {
	if c.lost(from.number, to.number) {
		return
	}
	c.deliver(to, c.latency, func() Input {
		b, err := c.verified(to.r, raw)
		if err != nil {
			return Input{Later: errors.Is(err, ErrEpoch)}
		}
		return Input{Blocks: []*dag.Block{b}}
	})
}

// verified verifies a block as to would, once for all nodes.
func (c *cluster) verified(to *Replica, raw []byte) (*dag.Block, error) {
	key := sha256.Sum256(raw)
	if b := c.verify[key]; b != nil {
		if to.Verifier().Knows(b.Epoch()) {
			return b, nil
		}
		return nil, ErrEpoch
	}
	b, err := to.Verifier().Block(raw)
	if err == nil {
		c.verify[key] = b
	}
	return b, err
}

// carry takes a request to its validator and the answer back, as bytes.
func (c *cluster) carry(n *node, q Request) {
	if !n.r.Committee().Has(q.To) {
		c.t.Errorf("node %d asks validator %d of %d", n.number, q.To, n.r.Committee().Size())
	}
	to := c.validator(n, q.To)
	if to == nil || c.lost(n.number, to.number) {
		return
	}
	if c.redirect != nil {
		to = c.redirect(n, to)
	}
	raw := q.Bytes()
	c.after(c.latency, func() {
		if to.r == nil || c.lost(to.number, n.number) {
			return
		}
		asked, err := DecodeRequest(raw)
		if err != nil {
			c.t.Errorf("request does not decode: %v", err)
			return
		}
		reply, err := Serve(to.store, asked, to.own, c.room)
		if err != nil {
			return
		}
		if c.tamper != nil {
			c.tamper(to, &reply)
		}
		answer := reply.Bytes()
		if len(answer) > ReplyBytesMax {
			c.t.Errorf("a reply of %d bytes", len(answer))
		}
		c.deliver(n, c.latency+c.late, func() Input {
			p, err := DecodeReply(answer)
			if err != nil {
				c.t.Errorf("reply does not decode: %v", err)
				return Input{}
			}
			a, err := n.r.Verifier().Answer(q.To, p)
			if err != nil {
				c.t.Errorf("node %d refuses an answer of node %d: %v", n.number, to.number, err)
				return Input{}
			}
			return Input{Answers: []Answer{a}}
		})
	})
}

// validator is the node that is a validator of n's committee.
func (c *cluster) validator(n *node, a dag.Author) *node {
	committee := n.r.Committee()
	if !committee.Has(a) {
		return nil
	}
	key := committee.Member(a).Key
	for _, v := range c.nodes {
		if publicKey(v.cfg.Key) == key {
			return v
		}
	}
	return nil
}

// checkSigned holds every validator to one block per round, over all its lives.
func (c *cluster) checkSigned(n *node, b *dag.Block) {
	c.t.Helper()
	byEpoch := c.signed[b.Ref().Slot]
	if byEpoch == nil {
		byEpoch = map[uint64]dag.Digest{}
		c.signed[b.Ref().Slot] = byEpoch
	}
	if have, ok := byEpoch[b.Epoch()]; ok && have != b.Ref().Digest && !c.twins {
		c.t.Errorf("node %d signed two blocks for round %d of epoch %d", n.number, b.Round(), b.Epoch())
	}
	byEpoch[b.Epoch()] = b.Ref().Digest
}

// checkCommit holds all nodes to one chain and one state per commit.
func (c *cluster) checkCommit(n *node, commit Commit) {
	c.t.Helper()
	if commit.Index != n.index+1 {
		c.t.Errorf("node %d executed commit %d after %d", n.number, commit.Index, n.index)
	}
	n.index = commit.Index
	if n == c.ignoreRoots {
		commit.HasRoot = false
	}
	first, ok := c.commits[commit.Index]
	if !ok {
		c.commits[commit.Index] = commit
		for _, ev := range commit.Events {
			if ev.Kind == ledger.EventRejected {
				c.reasons[ev.Reason]++
			}
			if ev.Outcome && ev.Kind != ledger.EventDuplicate {
				c.ended[commit.Ops[ev.Op].ID()] = commit.Index
			}
		}
		return
	}
	sameRoot := !first.HasRoot || !commit.HasRoot || first.Root == commit.Root || n == c.ignoreRoots
	if first.Digest != commit.Digest || !sameRoot {
		c.t.Errorf("node %d has another commit or state at %d", n.number, commit.Index)
	}
}

// run lets virtual time pass.
func (c *cluster) run(d time.Duration) {
	c.t.Helper()
	end := c.now.Add(d)
	for len(c.events) > 0 && !c.events[0].at.After(end) && !c.t.Failed() {
		e := heap.Pop(&c.events).(event)
		if e.at.After(c.now) {
			c.now = e.at
		}
		e.do()
	}
	c.now = end
}

// runUntil lets time pass until done holds, for at most d.
func (c *cluster) runUntil(d time.Duration, what string, done func() bool) {
	c.t.Helper()
	for end := c.now.Add(d); c.now.Before(end) && !c.t.Failed(); {
		if done() {
			return
		}
		c.run(10 * time.Millisecond)
	}
	if !done() {
		for _, n := range c.nodes {
			if n.r != nil {
				c.t.Logf("node %d: %v", n.number, n.r)
			}
		}
		c.t.Fatalf("not within %v: %s", d, what)
	}
}

// transfer is a signed operation of a client.
func (c *cluster) transfer(client int, nonce uint64) *ledger.Op {
	c.t.Helper()
	to := ledger.AccountOf(testKey(clientKeys + (client+1)%clients))
	return c.op(testKey(clientKeys+client), nonce, ledger.Action{
		Kind: ledger.KindTransfer, Asset: 0, Amount: ledger.Units(1), Detail: &ledger.Detail{Account: to},
	})
}

func (c *cluster) op(key ed25519.PrivateKey, nonce uint64, actions ...ledger.Action) *ledger.Op {
	c.t.Helper()
	return signOp(c.t, c.genesis, key, uint64(c.now.UnixMilli())+nonce, c.now.UnixMilli(), actions...)
}

func signOp(t testing.TB, g *ledger.Genesis, key ed25519.PrivateKey, nonce uint64, nowMs int64, actions ...ledger.Action) *ledger.Op {
	t.Helper()
	id, err := g.ID()
	if err != nil {
		t.Fatal(err)
	}
	raw, err := ledger.Draft{
		Network: id, Account: ledger.AccountOf(key), Nonce: nonce, TimeMs: nowMs, WindowMs: 60_000, Actions: actions,
	}.Sign(key)
	if err != nil {
		t.Fatal(err)
	}
	op, err := newVerifier(dag.Digest(id)).Op(raw)
	if err != nil {
		t.Fatal(err)
	}
	return op
}

// load gives the nodes, in turn, an operation every interval for a while.
func (c *cluster) load(d, every time.Duration) (ops []*ledger.Op) {
	c.t.Helper()
	for end, i := c.now.Add(d), 0; c.now.Before(end) && !c.t.Failed(); i++ {
		op := c.transfer(i%clients, uint64(i))
		if n := c.nodes[i%len(c.nodes)]; n.r != nil {
			c.step(n, Input{Ops: []*ledger.Op{op}})
			if _, validator := n.r.Self(); validator && n.r.recovering == nil && n.r.alarm == AlarmNone {
				ops = append(ops, op)
			}
		}
		c.run(every)
	}
	return ops
}

// settled waits until every op has been executed everywhere.
func (c *cluster) settled(d time.Duration, ops []*ledger.Op) {
	c.t.Helper()
	c.runUntil(d, "all operations executed", func() bool {
		return !slices.ContainsFunc(ops, func(op *ledger.Op) bool { return c.ended[op.ID()] == 0 })
	})
}

// digestOf hashes all that is in effects, to compare two runs.
func digestOf(e Effects) [32]byte {
	h := sha256.New()
	for _, rec := range e.Persist {
		fmt.Fprintf(h, "%x=%x\n", rec.Key, rec.Value)
	}
	for _, b := range e.Send {
		fmt.Fprintf(h, "send %x\n", b.Bytes())
	}
	for _, q := range e.Ask {
		fmt.Fprintf(h, "ask %d %x\n", q.To, q.Bytes())
	}
	for _, cm := range e.Commits {
		fmt.Fprintf(h, "commit %d %x %x %v\n", cm.Index, cm.Digest, cm.Root, cm.Events)
	}
	for _, f := range e.Refused {
		fmt.Fprintf(h, "refused %x %d %d\n", f.Op.ID(), f.Code, f.Reason)
	}
	fmt.Fprintf(h, "%v %v %v %v %q %v", e.Own, e.Restored, e.Checkpoint, len(e.Evidence), e.Alarm, e.WakeAt.UnixNano())
	var d [32]byte
	h.Sum(d[:0])
	return d
}

// publicKey is the key of a private one, zero without one.
func publicKey(key ed25519.PrivateKey) (public [ed25519.PublicKeySize]byte) {
	if len(key) != 0 {
		copy(public[:], key.Public().(ed25519.PublicKey))
	}
	return public
}
