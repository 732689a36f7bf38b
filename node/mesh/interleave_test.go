package mesh

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// The interleavings: several owners, each perhaps with an old process that still
// runs, write to several stores over a network that delays, doubles and loses.
// A store looks at a record first and takes it later, as the node does; in
// between, anything may happen: other records, a kill, a wiped or damaged disk, a
// peer with an empty store. One seed is one schedule.

const (
	worldOwners = 3
	worldStores = 3
	worldSteps  = 90
)

// interleavings is how many seeds a test runs: a few, or as many as
// HOLDFAST_MESH_SEEDS says. A release has seen 100 000.
func interleavings(t fataler) int {
	t.Helper()
	text := os.Getenv("HOLDFAST_MESH_SEEDS")
	if text == "" {
		return 2000
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("HOLDFAST_MESH_SEEDS: %v", err)
	}
	return n
}

func TestInterleavings(t *testing.T) { checkInterleavings(t, interleavings(t)) }

func checkInterleavings(t fataler, seeds int) {
	t.Helper()
	pool := newPool(testingTB(t))
	tally := make(map[string]int)
	for seed := range seeds {
		w := newWorld(t, pool, uint64(seed))
		w.run()
		for what, n := range w.tally { // order: sums
			tally[what] += n
		}
	}
	for _, what := range worldEvents {
		if tally[what] == 0 && seeds > 1000 {
			t.Errorf("in %d seeds no %s", seeds, what)
		}
	}
	if tb, ok := t.(*testing.T); ok {
		tb.Logf("%d seeds: %v", seeds, tally)
	}
}

// worldEvents must all happen, or the schedules prove nothing.
var worldEvents = []string{"taken", "regression", "conflict", "tombstone", "restart", "zombie", "late", "kill", "wipe", "damage", "empty peer", "sync"}

// what names one record of the pool.
type what struct {
	owner int
	Stamp
	gone bool
	body byte
}

// pool signs each record once, for all seeds.
type pool struct {
	tb      testing.TB
	owners  [worldOwners]peer.ID
	records map[what]*Record
	byBytes map[string]*Record
}

func newPool(tb testing.TB) *pool {
	p := &pool{tb: tb, records: make(map[what]*Record), byBytes: make(map[string]*Record)}
	for i := range p.owners {
		p.owners[i] = testOwner(tb, i)
	}
	return p
}

func (p *pool) get(w what) *Record {
	r := p.records[w]
	if r == nil {
		r = record(p.tb, w.owner, func(c *Claim) {
			c.Stamp, c.Body = w.Stamp, []byte{w.body}
			if w.gone {
				c.State, c.Endpoints = Gone, nil
			}
		})
		p.records[w], p.byBytes[string(r.raw)] = r, r
	}
	return r
}

// trust is as good as Verify, for records of the pool, and much faster.
func (p *pool) trust(raw []byte) (*Record, error) {
	if r := p.byBytes[string(raw)]; r != nil {
		return r, nil
	}
	return nil, refuse(Forged, "not of the pool")
}

// process is one run of an owner.
type process struct {
	owner int
	next  Stamp
}

// site is one node: a store, its disk, and what it has looked at but not taken.
type site struct {
	store   *Store
	disk    []byte
	pending []*Record
	high    map[peer.ID]Stamp // the newest it ever held, unless its disk was harmed
}

// flight is a record on its way to a site.
type flight struct {
	r    *Record
	to   int
	late bool // written by a process that has been replaced since
}

type world struct {
	t         fataler
	seed      uint64
	rng       *rand.Rand
	pool      *pool
	now       time.Time
	processes []*process
	epochs    [worldOwners]uint64
	sites     [worldStores]*site
	flights   []flight
	buffer    []byte // one buffer for all that arrives, if byBytes
	byBytes   bool
	tally     map[string]int
	last      string // what happened last, for the error
}

func newWorld(t fataler, p *pool, seed uint64) *world {
	w := &world{t: t, seed: seed, rng: rand.New(rand.NewPCG(seed, 1)), pool: p, now: epochStart,
		tally: make(map[string]int), byBytes: seed%64 == 0}
	for i := range w.epochs {
		w.epochs[i] = 1
		w.processes = append(w.processes, &process{i, Stamp{1, 1}})
	}
	for i := range w.sites {
		w.sites[i] = &site{store: testStore(), high: make(map[peer.ID]Stamp)}
	}
	return w
}

func (w *world) run() {
	for range worldSteps {
		w.now = w.now.Add(time.Duration(w.rng.IntN(200)) * time.Millisecond)
		w.step()
		for i := range w.sites {
			w.check(i)
		}
	}
	w.settle()
}

func (w *world) did(format string, args ...any) { w.last = fmt.Sprintf(format, args...) }

func (w *world) fail(format string, args ...any) {
	w.t.Helper()
	w.t.Fatalf("seed %d, after %s: %s", w.seed, w.last, fmt.Sprintf(format, args...))
}

func (w *world) step() {
	s := w.rng.IntN(worldStores)
	switch n := w.rng.IntN(100); {
	case n < 25:
		w.publish(w.processes[w.rng.IntN(len(w.processes))])
	case n < 55:
		w.look()
	case n < 80:
		w.act(s)
	case n < 86:
		w.restart(w.rng.IntN(worldOwners))
	case n < 91:
		w.sync(s, w.rng.IntN(worldStores))
	case n < 95:
		w.kill(s)
	case n < 97:
		w.emptyPeer(s)
	case n < 98:
		w.wipe(s)
	default:
		w.damage(s)
	}
}

// publish lets a process write its next record to some sites. Now and then it is
// a tombstone, or it writes two that contradict each other.
func (w *world) publish(p *process) {
	id := what{owner: p.owner, Stamp: p.next, gone: w.rng.IntN(12) == 0}
	p.next.Seq++
	late := p.next.Epoch < w.epochs[p.owner]
	if id.gone {
		w.tally["tombstone"]++
	}
	if late {
		w.tally["zombie"]++
		p.next.Seq += uint64(w.rng.IntN(3)) // it is in no hurry, but far ahead
	}
	liar := w.rng.IntN(4) == 0
	for to := range w.sites {
		if liar && w.rng.IntN(2) == 0 {
			id.body = byte(w.rng.IntN(3))
		}
		if w.rng.IntN(3) > 0 {
			w.flights = append(w.flights, flight{w.pool.get(id), to, late})
		}
	}
	w.did("owner %d writes %v", p.owner, id.Stamp)
}

// restart begins a new process of an owner; the old one may go on for a while.
func (w *world) restart(owner int) {
	w.tally["restart"]++
	w.epochs[owner]++
	w.processes = slices.DeleteFunc(w.processes, func(p *process) bool {
		return p.owner == owner && w.rng.IntN(2) == 0
	})
	w.processes = append(w.processes, &process{owner, Stamp{w.epochs[owner], 1}})
	w.did("owner %d restarts", owner)
}

// look takes any record that is on its way, and lets its site look at it.
func (w *world) look() {
	if len(w.flights) == 0 {
		return
	}
	i := w.rng.IntN(len(w.flights))
	f := w.flights[i]
	if w.rng.IntN(4) > 0 { // else it arrives once more later
		w.flights = slices.Delete(w.flights, i, i+1)
	}
	if w.rng.IntN(10) == 0 {
		return // lost
	}
	if f.late {
		w.tally["late"]++
	}
	r := w.arrive(f.r)
	w.did("store %d looks at %v of owner %s", f.to, r.Stamp, r.Owner)
	if at := w.sites[f.to]; at.store.Newer(r) {
		at.pending = append(at.pending, r)
	}
}

// arrive is what a site makes of the bytes; the buffer they came in is used again.
func (w *world) arrive(r *Record) *Record {
	if !w.byBytes {
		return r
	}
	w.buffer = append(w.buffer[:0], r.raw...)
	got, err := Verify(testNetwork, w.buffer)
	if err != nil {
		w.fail("%v", err)
	}
	return got
}

// act lets a site take something it has looked at before.
func (w *world) act(s int) {
	at := w.sites[s]
	if len(at.pending) == 0 {
		return
	}
	i := w.rng.IntN(len(at.pending))
	r := at.pending[i]
	at.pending = slices.Delete(at.pending, i, i+1)
	w.did("store %d takes %v of owner %s", s, r.Stamp, r.Owner)
	w.take(at, r, ByNews)
}

func (w *world) take(at *site, r *Record, way Way) {
	before, held := at.store.Instance(r.Name, r.Owner)
	w.keep(at, r, at.store.Take(r, way, w.now))
	if held && before.Record.Stamp == r.Stamp && before.Record.digest != r.digest {
		after, _ := at.store.Instance(r.Name, r.Owner)
		if after.Proof == nil || after.Proof.A.Epoch < r.Epoch {
			w.fail("two bodies at %v, and no proof is kept", r.Stamp)
		}
	}
}

// keep writes to the site's disk what its store has taken.
func (w *world) keep(at *site, r *Record, o Outcome) {
	switch o.Kind {
	case Taken:
		w.tally["taken"]++
		at.disk = appendEntry(at.disk, recordEntry(r))
	case Conflict:
		w.tally["conflict"]++
		at.disk = appendEntry(at.disk, proofEntry(o.Proof))
	case Refused:
		w.tally[string(o.Refusal.Reason)]++
	}
}

// sync lets one site take what another holds.
func (w *world) sync(to, from int) {
	w.tally["sync"]++
	w.did("store %d asks store %d", to, from)
	at := w.sites[to]
	for _, h := range w.sites[from].store.Set("pricefeed") {
		w.keep(at, h.Record, at.store.Take(h.Record, ByMemory, w.now))
		if h.Proof != nil {
			w.keep(at, h.Record, at.store.TakeProof(h.Proof, w.now))
		}
	}
}

// emptyPeer lets a site ask one that knows nothing.
func (w *world) emptyPeer(s int) {
	w.tally["empty peer"]++
	w.did("store %d asks an empty one", s)
	w.sites[s].store.Merge("pricefeed", nil, w.now)
}

// kill ends a site's process and starts it again from its disk. The records it
// had looked at are still on their way to it.
func (w *world) kill(s int) {
	w.tally["kill"]++
	w.did("store %d is killed", s)
	w.reopen(w.sites[s])
}

func (w *world) reopen(at *site) {
	at.store = testStore()
	load(at.disk,
		func(r *Record) { at.store.Take(r, ByMemory, w.now) },
		func(p *Proof) { at.store.TakeProof(p, w.now) }, w.pool.trust)
}

func (w *world) wipe(s int) {
	w.tally["wipe"]++
	w.did("store %d loses its disk", s)
	at := w.sites[s]
	at.disk, at.high = nil, make(map[peer.ID]Stamp)
	w.reopen(at)
}

// damage harms any bytes of a disk, and its process dies of it.
func (w *world) damage(s int) {
	at := w.sites[s]
	if len(at.disk) == 0 {
		return
	}
	w.tally["damage"]++
	w.did("store %d's disk is damaged", s)
	if i := w.rng.IntN(len(at.disk)); w.rng.IntN(2) == 0 {
		at.disk[i] ^= 1 << w.rng.IntN(8)
	} else {
		at.disk = at.disk[:i]
	}
	at.high = make(map[peer.ID]Stamp)
	w.reopen(at)
	at.disk = nil
	for _, e := range at.store.entries() {
		at.disk = appendEntry(at.disk, e)
	}
}

// check looks at one site: nothing it ever held has become older or is gone.
func (w *world) check(s int) {
	at := w.sites[s]
	for _, h := range at.store.Set("pricefeed") {
		high, r := at.high[h.Record.Owner], h.Record
		if newer(high, r.Stamp) {
			w.fail("store %d holds %v of %s, and held %v before", s, r.Stamp, r.Owner, high)
		}
		at.high[r.Owner] = r.Stamp
		if h.Proof != nil && (h.Proof.A.Stamp != h.Proof.B.Stamp || h.Proof.A.digest == h.Proof.B.digest) {
			w.fail("store %d keeps a proof that proves nothing", s)
		}
	}
	if got := len(at.store.Set("pricefeed")); got < len(at.high) {
		w.fail("store %d holds %d owners and held %d", s, got, len(at.high))
	}
}

// newer is the order as a plain twin of Stamp.After: R2 as written on the page.
func newer(a, b Stamp) bool {
	if a.Epoch != b.Epoch {
		return a.Epoch > b.Epoch
	}
	return a.Seq > b.Seq
}

// settle lets all sites ask each other; then they must hold the same: of every
// owner the newest that any of them held before.
func (w *world) settle() {
	want := make(map[peer.ID]Stamp)
	for _, at := range w.sites {
		for _, h := range at.store.Set("pricefeed") {
			if newer(h.Record.Stamp, want[h.Record.Owner]) {
				want[h.Record.Owner] = h.Record.Stamp
			}
		}
	}
	for range 2 {
		for to := range w.sites {
			for from := range w.sites {
				w.sync(to, from)
				w.check(to)
			}
		}
	}
	first := contents(w.sites[0].store)
	for s, at := range w.sites {
		w.did("all have asked all")
		if !slices.Equal(contents(at.store), first) {
			w.fail("store %d differs from store 0", s)
		}
		for _, h := range at.store.Set("pricefeed") {
			if h.Record.Stamp != want[h.Record.Owner] {
				w.fail("store %d holds %v of %s, the newest is %v", s, h.Record.Stamp, h.Record.Owner, want[h.Record.Owner])
			}
			w.checkValue(h.Record)
		}
	}
}

// checkValue is R3: a held record still says, and proves, what its owner signed.
func (w *world) checkValue(r *Record) {
	if w.pool.byBytes[string(r.raw)] == nil {
		w.fail("the bytes of %v of %s have changed since they came", r.Stamp, r.Owner)
	}
}
