package mesh

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/holdfast-mesh/holdfast/p2p"
)

// Mesh is a node's part in the network's services: it knows everybody's, keeps
// its own alive and reaches the others'. Open, then Run, then Close. Methods may
// be called from many goroutines at once.
type Mesh struct {
	config   Config
	log      *slog.Logger
	host     *p2p.Host
	self     peer.ID
	rejected *rejections
	checked  checked
	health   *health
	meter    *meter
	searches searches
	ports    ports
	probes   chan struct{} // a place for each witness's probe under way

	mu      sync.RWMutex
	store   *Store
	answers map[string]*Answer // as of the last change, see Answer.Until
	out     []entryOut         // taken, and not yet on disk
	changed chan struct{}      // closed at the next change
	events  []Event            // the last ones
	own     map[string]*service
	epoch   uint64
	// orphaned says that instances of ours may be known that are not registered.
	orphaned bool
	closed   bool

	boardsMu sync.RWMutex
	boards   map[string]*board

	disk    sync.Mutex // guards journal, which is I/O; never held with mu
	journal *journal
	wake    chan struct{} // there is something for the disk

	work   sync.WaitGroup
	ctx    context.Context
	cancel context.CancelFunc
}

const (
	// eventsMax bounds the events that are kept for people.
	eventsMax = 512
	// protocolName is the stream protocol in which callers reach instances.
	protocolName = "svc"
	// diskRetry is how soon a disk that did not work is tried again.
	diskRetry = 10 * time.Second
)

// Open reads what is on disk and begins to listen. The caller must Close the mesh.
func Open(c Config) (*Mesh, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("mesh: configuration: %w", err)
	}
	m := &Mesh{
		config: c, log: c.Logger, host: c.Host, self: c.Host.ID(),
		rejected: newRejections(), health: newHealth(),
		probes: make(chan struct{}, probesMax), wake: make(chan struct{}, 1),
		store: NewStore(c.Bounds), answers: make(map[string]*Answer), changed: make(chan struct{}),
		own: make(map[string]*service), boards: make(map[string]*board),
	}
	if m.log == nil {
		m.log = slog.New(slog.DiscardHandler)
	}
	m.ctx, m.cancel = context.WithCancel(context.Background())
	m.meter = newMeter(m)
	m.remember(time.Now())
	if err := m.open(); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}

func (m *Mesh) open() error {
	m.epoch, m.orphaned = m.nextEpoch(time.Now()), true
	if err := m.restoreOwn(); err != nil {
		return err
	}
	if err := m.meter.register(m.config.Registerer); err != nil {
		return fmt.Errorf("mesh: metrics: %w", err)
	}
	if err := m.host.Handle(protocolName, m.serveStream); err != nil {
		return fmt.Errorf("mesh: %w", err)
	}
	err := m.host.Join(p2p.TopicServices, p2p.Topic{Check: m.checkNews, Deliver: m.deliverNews})
	if err != nil {
		m.log.Warn("no gossip of services; peers are asked instead", "err", err)
	}
	return nil
}

// remember loads the journal. Nothing on the disk keeps the mesh from starting.
func (m *Mesh) remember(now time.Time) {
	dir := m.config.Dir
	if dir == "" {
		return
	}
	j, data, err := openJournal(dir)
	if err != nil {
		m.log.Warn("the last known services cannot be read; peers will tell", "err", err)
	}
	m.journal = j
	damaged := load(data,
		func(r *Record) { m.note(m.self, m.store.Take(r, ByMemory, now), now) },
		func(p *Proof) { m.store.TakeProof(p, now) }, m.verify)
	if damaged > 0 {
		m.log.Warn("a part of the last known services was damaged and is skipped; peers will tell", "bytes", damaged, "of", len(data))
	}
	names, instances := m.store.Len()
	m.log.Info("services remembered", "names", names, "instances", instances)
	m.replaceJournal()
}

// Run keeps our own instances alive and knows of the others', until ctx ends. It
// may be called once.
func (m *Mesh) Run(ctx context.Context) error {
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return errors.New("mesh: Run: the mesh is closed")
	}
	m.mu.Unlock()
	stop := context.AfterFunc(ctx, m.cancel)
	defer stop()
	for _, loop := range []func(){m.keepDisk, m.beatLoop, m.watchPeers} {
		m.spawn(loop)
	}
	<-m.ctx.Done()
	m.end()
	m.work.Wait()
	return nil
}

// Close ends everything the mesh has started and brings the journal to rest. It
// does not say goodbye for our instances: see DrainAll.
func (m *Mesh) Close() error {
	if !m.end() {
		return nil
	}
	m.work.Wait()
	m.meter.unregister(m.config.Registerer)
	m.flush(false)
	m.disk.Lock()
	defer m.disk.Unlock()
	if m.journal == nil {
		return nil
	}
	return m.journal.Close()
}

// end lets nothing start and stops what runs; it reports whether it was the first.
func (m *Mesh) end() bool {
	m.mu.Lock()
	first := !m.closed
	m.closed = true
	own := slices.Collect(maps.Values(m.own))
	m.mu.Unlock()
	m.cancel()
	for _, s := range own {
		s.stop()
	}
	return first
}

// spawn runs f on a goroutine that Close waits for, unless the mesh is closed.
func (m *Mesh) spawn(f func()) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return false
	}
	m.work.Go(f)
	return true
}

func (m *Mesh) verify(raw []byte) (*Record, error) { return Verify(m.config.Network, raw) }

// take gives a record to the store and sees to what follows. from is who passed
// it on.
func (m *Mesh) take(r *Record, way Way, from peer.ID) Outcome {
	now := time.Now()
	m.mu.Lock()
	before, held := m.store.Instance(r.Name, r.Owner)
	o := m.store.Take(r, way, now)
	m.follow(r, o, before, held, now)
	m.mu.Unlock()
	m.note(from, o, now)
	return o
}

// takeProof does the same with a proof.
func (m *Mesh) takeProof(p *Proof, from peer.ID) Outcome {
	now := time.Now()
	m.mu.Lock()
	before, held := m.store.Instance(p.A.Name, p.A.Owner)
	o := m.store.TakeProof(p, now)
	m.follow(p.A, o, before, held, now)
	m.mu.Unlock()
	m.note(from, o, now)
	return o
}

// follow does what a change of the store asks for. m.mu is held.
func (m *Mesh) follow(r *Record, o Outcome, before Held, held bool, now time.Time) {
	switch o.Kind {
	case Taken:
		m.out = append(m.out, recordEntry(r))
		signal(m.wake)
		if r.Owner == m.self {
			m.surpass(r, now)
		}
		e, more := eventOf(before, held, r, now)
		if !more && held && m.answered(before.Record) {
			return // a beat: what was answered stays right until its time
		}
		if more {
			m.happened(e)
		}
		if more && r.State == Serving {
			m.health.tryNow(edgeID{r.Name, r.Owner})
		}
	case Conflict:
		m.out = append(m.out, proofEntry(o.Proof))
		signal(m.wake)
		m.happened(Event{Contradicted, r.Name, r.Owner, r.Stamp, r.State, now})
		m.log.Warn("an owner contradicts itself; its instance is quarantined", "service", r.Name, "owner", r.Owner, "stamp", r.Stamp)
	default:
		return
	}
	delete(m.answers, r.Name)
	close(m.changed)
	m.changed = make(chan struct{})
}

// answered reports whether the kept answer takes an instance for living: then one
// more beat of it changes nothing. m.mu is held.
func (m *Mesh) answered(r *Record) bool {
	a := m.answers[r.Name]
	if a == nil || a.Stale || !time.Now().Before(a.Until) {
		return false
	}
	in := slices.IndexFunc(a.Instances, func(in Instance) bool { return in.Owner == r.Owner })
	return in >= 0 && a.Instances[in].Standing == Live
}

// happened keeps an event for people. m.mu is held.
func (m *Mesh) happened(e Event) {
	if len(m.events) == eventsMax {
		m.events = append(m.events[:0], m.events[1:]...)
	}
	m.events = append(m.events, e)
	m.log.Info("service "+string(e.Kind), "service", e.Name, "owner", e.Owner, "state", e.State, "stamp", e.Stamp)
}

// note counts a refusal.
func (m *Mesh) note(from peer.ID, o Outcome, now time.Time) {
	if o.Refusal != nil {
		m.rejected.add(from, o.Refusal, now)
	}
}

// Resolve is what is known of a name now, from memory. A name that is not known
// is searched for in the background; see Await.
func (m *Mesh) Resolve(name string) *Answer {
	now := time.Now()
	m.mu.RLock()
	a := m.answers[name]
	m.mu.RUnlock()
	if a == nil || !now.Before(a.Until) {
		m.mu.Lock()
		a = m.store.Resolve(name, now)
		if a.Found { // whoever asks for rubbish gets no place in memory
			m.answers[name] = a
		}
		m.mu.Unlock()
	}
	if !a.Found && CheckName(name) == nil {
		m.search(name)
	}
	return a
}

// Await is Resolve for a name that may not be known yet: it waits until it is, or
// ctx ends. That nobody serves a name any more is believed only once a peer was
// asked: what reaches a node whose disk was lost first may be an old farewell.
func (m *Mesh) Await(ctx context.Context, name string) (*Answer, error) {
	if err := CheckName(name); err != nil {
		return nil, fmt.Errorf("mesh: %w", err)
	}
	for {
		changed := m.Changed()
		a := m.Resolve(name)
		if len(a.Usable()) > 0 || a.Found && !m.unsure() && ctx.Err() == nil {
			return a, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return a, fmt.Errorf("mesh: no instance of %s is known: %w", name, ctx.Err())
		case <-m.ctx.Done():
			return a, errClosed
		}
	}
}

var errClosed = errors.New("mesh: closed")

// Changed is closed when any name changes after the call.
func (m *Mesh) Changed() <-chan struct{} {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.changed
}

// Names are all known names.
func (m *Mesh) Names() []string {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.store.Names()
}

// Events are the last things that happened, oldest first.
func (m *Mesh) Events() []Event {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return append([]Event(nil), m.events...)
}

// Rejected are the last records that were not taken, and how many there were for
// each reason.
func (m *Mesh) Rejected() ([]Rejection, map[Reason]uint64) { return m.rejected.list() }

// keepDisk writes what is taken, as it comes, and brings a disk that failed back.
func (m *Mesh) keepDisk() {
	retry := time.NewTicker(diskRetry)
	defer retry.Stop()
	for {
		select {
		case <-m.wake:
			m.flush(false)
		case <-retry.C:
			m.replaceIfDue()
		case <-m.ctx.Done():
			return
		}
	}
}

// flush appends to the journal what has been taken since. With sync it is durable
// when flush returns true.
func (m *Mesh) flush(sync bool) bool {
	m.disk.Lock()
	defer m.disk.Unlock()
	m.mu.Lock()
	out := m.out
	m.out = nil
	m.mu.Unlock()
	if m.journal == nil {
		return false
	}
	var err error
	if len(out) > 0 {
		err = m.journal.Append(out)
	}
	if err == nil && sync {
		err = m.journal.Sync()
	}
	if err != nil {
		m.log.Warn("services are not written to disk; trying again", "err", err)
	}
	return err == nil
}

func (m *Mesh) replaceIfDue() {
	m.disk.Lock()
	due := m.journal != nil && m.journal.Due()
	m.disk.Unlock()
	if due {
		m.replaceJournal()
	}
}

// replaceJournal writes all that is held into a new file.
func (m *Mesh) replaceJournal() {
	m.disk.Lock()
	defer m.disk.Unlock()
	m.mu.Lock()
	entries := m.store.entries()
	m.out = nil
	m.mu.Unlock()
	if err := m.journal.Replace(entries); err != nil {
		m.log.Warn("services are not written to disk; trying again", "err", err, "in", diskRetry)
	}
}

// signal wakes the one who waits on a channel of capacity one, without waiting.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
