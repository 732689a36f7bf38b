package sim

import (
	"fmt"
	"time"

	"github.com/holdfast-mesh/holdfast/node/dag"
	"github.com/holdfast-mesh/holdfast/node/ledger"
	"github.com/holdfast-mesh/holdfast/node/replica"
)

// Config is one run. The zero value of each field but Seed means: as the seed
// has it.
type Config struct {
	Seed     uint64
	Replicas int   // validators
	Weights  []int // of the validators; overrides Replicas
	Load     int   // operations clients begin per virtual second
	Plan     *Plan // what goes wrong; nil draws it
	// Trace gets one line per event, for eyes. Without it no line is made.
	Trace func(line string)
	// Panics lets a panic of the product through, for its stack; by default it
	// is a violation like any other.
	Panics bool

	pace *pace // of tests and benchmarks
}

// Bounds of Config, and what a seed draws.
const (
	ReplicasMin = 1
	ReplicasMax = 40 // a run of more is a test of patience
	LoadMax     = 5_000

	loadMin, loadMax = 4, 24 // drawn
	weightMax        = 4     // drawn, in a run in five; else all are 1

	// calmWithin is the promise: so long after the last fault ended and the last
	// node is back, commits go on everywhere and every acknowledged operation has ended.
	calmWithin = 5 * time.Second
	// quietAfter is how long after the last fault clients still begin new things.
	quietAfter = 300 * time.Millisecond
	changeAt   = 2 * time.Second        // when governors vote for the next committee
	roomMin    = 8 << 10                // of an answer, drawn in every other run: so much, or
	roomSteps  = 5                      // twice that, and so on
	actEvery   = 150 * time.Millisecond // a client looks after what it has on its way
)

// Validate lists the faults of the configuration.
func (c *Config) Validate() error {
	if c.Replicas < 0 || c.Replicas > ReplicasMax || len(c.Weights) > ReplicasMax {
		return fmt.Errorf("%d replicas: choose %d to %d", max(c.Replicas, len(c.Weights)), ReplicasMin, ReplicasMax)
	}
	if c.Load < 0 || c.Load > LoadMax {
		return fmt.Errorf("a load of %d operations a second: choose up to %d", c.Load, LoadMax)
	}
	for i, w := range c.Weights {
		if w < 1 {
			return fmt.Errorf("validator %d has the weight %d: choose at least 1", i, w)
		}
	}
	return nil
}

// Sim is one run: replicas, their disks, clocks and network, their clients, and
// what goes wrong. It is a value without goroutines; one goroutine uses it.
type Sim struct {
	cfg     Config
	plan    Plan
	weights []int
	pace    pace
	rnd     *random
	world   *world
	now     time.Duration
	queue   queue
	net     *network
	nodes   []*node // validators, then observers
	clients []*client
	all     []*submission
	memo    *memo
	rules   *dag.Rules // of the first epoch, for liars without a replica
	history *history
	slots   []map[slot][32]byte // by validator: what honest ones signed
	tally   Tally

	thinkTime   time.Duration // of a client, between two things it begins
	healed      time.Duration // when the last fault has ended
	quiet       time.Duration // when clients stop to begin new things
	healedAt    int           // commits known when the last fault ended; -1: not yet
	violation   *Violation
	done        bool
	fingerprint uint64
}

// Violation is a broken promise.
type Violation struct {
	Promise string
	At      time.Duration
	Node    int // -1: of no node alone
	What    string
}

// String is the violation in a line.
func (v *Violation) String() string {
	who := ""
	if v.Node >= 0 {
		who = fmt.Sprintf(" node %d", v.Node)
	}
	return fmt.Sprintf("%s broken at %v:%s %s", v.Promise, v.At, who, v.What)
}

// Report is how a run ended.
type Report struct {
	Seed        uint64
	Replicas    int
	Plan        Plan
	Violation   *Violation // nil: every promise held
	Virtual     time.Duration
	Healed      time.Duration // when the last fault ended
	Commits     int
	Fingerprint uint64 // of everything that happened, in order
	Tally       Tally
}

// New sets a run up. cfg must be valid.
func New(cfg Config) *Sim {
	if err := cfg.Validate(); err != nil {
		panic("sim: " + err.Error())
	}
	s := &Sim{cfg: cfg, rnd: newRandom(cfg.Seed, "sim", 0), history: newHistory(), memo: newMemo(), healedAt: -1, fingerprint: cfg.Seed}
	s.weights = s.drawWeights()
	if s.pace = s.drawPace(); cfg.pace != nil {
		s.pace = *cfg.pace
	}
	load := cfg.Load
	if drawn := s.rnd.between(loadMin, loadMax); load == 0 {
		load = drawn
	}
	s.plan = draw(cfg.Seed, s.weights)
	if cfg.Plan != nil {
		s.plan = *cfg.Plan
	}
	s.world = newWorld(s.weights, tradersDefault)
	s.rules = newRules(s.world)
	s.net = newNetwork(cfg.Seed, len(s.weights)+s.plan.Observers, &s.queue, &s.tally)
	s.slots = make([]map[slot][32]byte, len(s.weights))
	for i := range len(s.weights) + s.plan.Observers {
		s.nodes = append(s.nodes, newNode(s, i, s.replicaConfig(i)))
	}
	for i := range s.slots {
		s.slots[i] = make(map[slot][32]byte)
	}
	for _, l := range s.plan.Liars {
		s.nodes[l.Node].lie = newLiar(s, l.How, l.Node)
	}
	s.newClients(load)
	s.healed = s.plan.Chaos
	for i := range s.plan.Faults {
		s.schedule(i)
	}
	s.quiet = s.healed + quietAfter
	s.push(event{at: s.healed, kind: evHealed})
	s.push(event{at: s.healed + calmWithin, kind: evVerdict})
	for _, n := range s.nodes {
		if n.lie != nil {
			n.lie.begins(n)
		}
		n.start()
	}
	return s
}

// drawWeights: 4 to 7 validators, now and then more, mostly of one weight.
func (s *Sim) drawWeights() []int {
	replicas := 4
	switch r := s.rnd.below(100); {
	case r < 45:
	case r < 65:
		replicas = 5
	case r < 80:
		replicas = 6
	case r < 98:
		replicas = 7
	default:
		replicas = 10
	}
	uneven := s.rnd.chance(percent(20))
	if s.cfg.Replicas > 0 {
		replicas = s.cfg.Replicas
	}
	if len(s.cfg.Weights) > 0 {
		return s.cfg.Weights
	}
	weights := make([]int, replicas)
	for i := range weights {
		if weights[i] = 1; uneven {
			weights[i] = s.rnd.between(1, weightMax)
		}
	}
	return weights
}

// quorum is Q: any two sets of this weight share an honest validator.
func (s *Sim) quorum() int {
	total := 0
	for _, w := range s.weights {
		total += w
	}
	return total - faultyWeight(s.weights)
}

// replicaConfig is the product's configuration for this run: as fast a network
// as the seed has it, and checkpoints, snapshots and pruning so near each other
// that a few seconds have many.
func (s *Sim) replicaConfig(i int) replica.Config {
	c := replica.DefaultConfig()
	c.Genesis = s.world.genesis
	if s.validates(i) {
		c.Key = s.world.validators[i]
	}
	c.MinRound = s.pace.minRound
	c.CheckpointEvery = s.pace.checkpoint
	c.SnapshotEvery = s.pace.snapshot
	c.Retain = s.pace.retain
	c.EveryRoot = true
	return c
}

// pace is what all replicas of a run have in common.
type pace struct {
	minRound             time.Duration
	checkpoint, snapshot uint64 // commits
	retain               uint64
	room                 int // bytes that records may take in an answer
}

// drawPace: slow rounds are cheap to simulate; quick ones reach the collected
// round, 60 rounds down, and with it pruning and states that are taken over.
func (s *Sim) drawPace() pace {
	r := newRandom(s.cfg.Seed, "pace", 0)
	p := pace{minRound: 120 * time.Millisecond}
	switch n := r.below(10); {
	case n < 3:
		p.minRound = 25 * time.Millisecond
	case n < 6:
		p.minRound = 60 * time.Millisecond
	}
	p.checkpoint = uint64(r.between(1, 5))
	p.snapshot = p.checkpoint * uint64(r.between(2, 6))
	p.retain = uint64(r.between(2, 30))
	p.room = replica.ReplyRoomMax
	if r.chance(percent(50)) { // what is asked for comes in pieces
		p.room = roomMin << r.below(roomSteps)
	}
	return p
}

func (s *Sim) newClients(load int) {
	add := func(r role, key []byte, number int) {
		c := &client{number: len(s.clients), role: r, key: key, account: ledger.AccountOf(key)}
		c.rnd = newRandom(s.cfg.Seed, "client", c.number)
		c.gateway = c.rnd.below(len(s.weights))
		c.silent = make([]time.Duration, len(s.weights))
		s.clients = append(s.clients, c)
		s.push(event{at: c.rnd.during(0, actEvery), kind: evClient, node: int32(c.number)})
	}
	for i, key := range s.world.traders {
		add(trader, key, i)
	}
	for i, key := range s.world.custodians {
		add(custodian, key, i)
	}
	for i, key := range s.world.governors {
		add(governor, key, i)
	}
	s.thinkTime = time.Second * time.Duration(len(s.clients)) / time.Duration(load)
}

func (s *Sim) push(e event) { s.queue.push(e) }

// failed reports whether the run is over because a promise broke.
func (s *Sim) failed() bool { return s.violation != nil }

// violate ends the run. Only the first broken promise counts: what follows may
// be its consequence.
func (s *Sim) violate(promise string, n *node, what string) {
	if s.violation != nil {
		return
	}
	s.violation = &Violation{Promise: promise, At: s.now, Node: -1, What: what}
	if n != nil {
		s.violation.Node = n.id
	}
	s.trace("VIOLATION %v", s.violation)
}

// Step performs the next event. It reports false when the run is over.
func (s *Sim) Step() bool {
	if s.done || s.failed() {
		return false
	}
	if !s.cfg.Panics {
		defer func() {
			if r := recover(); r != nil {
				s.violate("invariant", nil, fmt.Sprint("panic: ", r))
			}
		}()
	}
	e, ok := s.queue.pop()
	if !ok {
		s.done = true
		return false
	}
	s.now = e.at
	s.tally.Events++
	s.mix(uint64(e.at), uint64(e.kind)<<32|uint64(uint32(e.node)), uint64(e.from)<<32|uint64(e.life))
	s.perform(e)
	return !s.done && !s.failed()
}

// mix stirs numbers into the fingerprint of the run.
func (s *Sim) mix(numbers ...uint64) {
	for _, x := range numbers {
		s.fingerprint = splitMix(s.fingerprint ^ x)
	}
}

func (s *Sim) perform(e event) {
	if s.cfg.Trace != nil {
		s.traceEvent(e)
	}
	switch e.kind {
	case evFault:
		s.fault(int(e.node), int(e.from))
		return
	case evClient:
		s.clients[e.node].act(s)
		s.push(event{at: s.now + actEvery, kind: evClient, node: e.node})
		return
	case evAnswer:
		e.sub.client.heard(s, e.sub, *e.answer)
		return
	case evHealed:
		s.healedAt = len(s.history.commits)
		s.checkWell()
		return
	case evVerdict:
		s.verdict()
		return
	case evLook:
		s.checkWell()
		return
	}
	n := s.nodes[e.node]
	if n.lie != nil && n.lie.handles(n, e) {
		return
	}
	if !n.up || e.kind != evSubmit && e.kind != evAsk && e.life != n.life {
		return // it was for a process that is no more
	}
	switch e.kind {
	case evDeliver:
		n.receive(int(e.from), e.msg)
	case evSynced:
		n.synced()
	case evWake:
		n.woken(e.at)
	case evBeat:
		n.beat()
	case evSnapshot:
		n.build()
	case evSubmit, evAsk:
		n.submitted(e.sub, e.kind == evSubmit)
	}
}

// Run performs all events and reports.
func (s *Sim) Run() Report {
	for s.Step() {
	}
	return s.Report()
}

// Report says how the run ended, or how far it has come.
func (s *Sim) Report() Report {
	t := s.tally
	t.Virtual = s.now
	t.Commits = len(s.history.commits)
	t.Trades = s.history.trades
	t.Observers = s.plan.Observers
	if s.history.epoch > 0 {
		t.Changes = 1
	}
	for range s.history.paid { // order: only counted
		t.Payouts++
	}
	for _, slots := range s.slots {
		t.Blocks += len(slots)
	}
	for _, sub := range s.all {
		switch sub.end {
		case endFinal:
			t.Final++
		case endRejected:
			t.Rejected++
		case endExpired:
			t.Expired++
		case endRefused:
			t.Refused++
		}
	}
	t.close()
	return Report{
		Seed: s.cfg.Seed, Replicas: len(s.weights), Plan: s.plan, Violation: s.violation, Virtual: s.now,
		Healed: s.healed, Commits: len(s.history.commits), Fingerprint: s.fingerprint, Tally: t,
	}
}

func (s *Sim) anyTrader(r *random) ledger.Account {
	return s.traderNumber(r.below(len(s.world.traders)))
}

func (s *Sim) traderNumber(i int) ledger.Account {
	return ledger.AccountOf(s.world.traders[i%len(s.world.traders)])
}
