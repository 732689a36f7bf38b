package mesh

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

const (
	// attemptsMax bounds the instances one call tries.
	attemptsMax = 4
	// hedgeMin is the least time after which a call that has no answer is also put
	// to another provider; hedgeFactor of an instance's latency is the rest.
	hedgeMin    = 100 * time.Millisecond
	hedgeFactor = 4
	// findTimeout is how long a call waits for a name nobody has heard of here.
	findTimeout = 5 * time.Second
)

// ErrNone says that no instance is known, or that all that are known were tried.
var ErrNone = errors.New("mesh: no instance")

// call is one request to one instance.
type call struct {
	m     *Mesh
	seat  *seat
	began time.Time
}

// board returns the judged answer for a name, made anew when anything has changed.
func (m *Mesh) board(name string) *board {
	a, now := m.Resolve(name), time.Now()
	m.boardsMu.RLock()
	b := m.boards[name]
	m.boardsMu.RUnlock()
	if b != nil && b.answer == a && now.Before(b.until) && b.generation == m.health.generation.Load() {
		return b
	}
	b = m.health.newBoard(a, m.here(), now)
	if a.Found {
		m.boardsMu.Lock()
		m.boards[name] = b
		m.boardsMu.Unlock()
	}
	return b
}

func (m *Mesh) here() place { return place{m.config.Provider, m.config.Region, m.config.Zone} }

// begin chooses an instance for one request, from memory.
func (m *Mesh) begin(name string, not avoid) (*call, error) {
	b := m.board(name)
	now := time.Now()
	s, _ := m.health.choose(b, not, now, rand.Float64)
	if s == nil {
		return nil, fmt.Errorf("%w of %s is left: %d known, %d tried", ErrNone, name, len(b.seats), len(not.owners))
	}
	if b.answer.Stale {
		m.meter.stale(name)
	}
	s.edge.inflight.Add(1)
	return &call{m, s, now}, nil
}

func (c *call) id() edgeID { return edgeID{c.seat.Name, c.seat.Owner} }

// finish says how the request ended. An error that speaks of the instance counts
// against it; those of the caller, or of a policy, do not.
func (c *call) finish(err error) {
	c.seat.edge.inflight.Add(-1)
	now := time.Now()
	switch {
	case err == nil:
		c.m.health.succeeded(c.id(), now.Sub(c.began), now)
		c.m.meter.call(c.seat.Record, "ok", now.Sub(c.began))
	case errors.Is(err, errDenied):
		c.m.meter.call(c.seat.Record, "denied", 0)
	case errors.Is(err, errDrained):
		c.m.meter.call(c.seat.Record, "drained", 0)
	case errors.Is(err, context.Canceled):
		c.m.meter.call(c.seat.Record, "canceled", 0)
	default:
		c.m.meter.call(c.seat.Record, "failed", 0)
		c.m.failed(c.seat.Record, err.Error(), now)
	}
}

// failed notes what we see of an instance and asks witnesses what they see.
func (m *Mesh) failed(r *Record, why string, now time.Time) {
	if m.health.failed(edgeID{r.Name, r.Owner}, why, now, rand.Float64()) && r.Owner != m.self {
		m.spawn(func() { m.askWitnesses(r) })
	}
}

// lost notes that the connection with a peer is gone, for every instance it has.
func (m *Mesh) lost(owner peer.ID) {
	m.mu.RLock()
	var records []*Record
	for _, name := range m.store.Names() {
		if h, ok := m.store.Instance(name, owner); ok && h.Record.State != Gone {
			records = append(records, h.Record)
		}
	}
	m.mu.RUnlock()
	for _, r := range records {
		m.failed(r, "the connection with its owner was lost", time.Now())
	}
}

// hedgeAfter is how long to wait for an instance before another is asked too.
func (c *call) hedgeAfter() time.Duration {
	latency := math.Float64frombits(c.seat.edge.latency.Load())
	return max(hedgeMin, time.Duration(hedgeFactor*latency))
}

// Dial connects with an instance of a service, whichever is best. Those that do
// not answer are passed over; as nothing has been sent to them, that is safe.
func (m *Mesh) Dial(ctx context.Context, name string) (net.Conn, *Record, error) {
	finding, found := context.WithTimeout(ctx, findTimeout)
	_, err := m.Await(finding, name)
	found()
	if err != nil {
		return nil, nil, err
	}
	m.health.request(name)
	var not avoid
	var last error
	for range attemptsMax {
		conn, r, err := m.dialHedged(ctx, name, &not)
		if err == nil {
			return conn, r, nil
		}
		if last == nil || !errors.Is(err, ErrNone) {
			last = err
		}
		if errors.Is(err, ErrNone) || errors.Is(err, errDenied) || ctx.Err() != nil || !m.health.mayRetry(name) {
			break
		}
	}
	return nil, nil, fmt.Errorf("mesh: %s: %w", name, last)
}

// dialled is how an attempt ended.
type dialled struct {
	conn net.Conn
	call *call
	err  error
}

// dialHedged tries one instance, and one of another provider if the first takes
// long. Those tried are added to not.
func (m *Mesh) dialHedged(ctx context.Context, name string, not *avoid) (net.Conn, *Record, error) {
	first, err := m.begin(name, *not)
	if err != nil {
		return nil, nil, err
	}
	ended := make(chan dialled, 2) // both can end, though one is taken
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	try := func(c *call) {
		not.owners = append(not.owners, c.seat.Owner)
		go func() {
			conn, err := m.reach(ctx, c.seat.Record, false)
			ended <- dialled{conn, c, err}
		}()
	}
	try(first)
	running := 1
	hedge := time.NewTimer(first.hedgeAfter())
	defer hedge.Stop()
	for {
		select {
		case <-hedge.C:
			if second := m.hedge(name, *not, first); second != nil {
				try(second)
				running++
			}
		case d := <-ended:
			running--
			d.call.finish(d.err)
			if d.err == nil {
				go discard(ended, running)
				return d.conn, d.call.seat.Record, nil
			}
			if err = d.err; running == 0 {
				return nil, nil, fmt.Errorf("%s: %w", d.call.seat.Owner, err)
			}
		}
	}
}

// hedge chooses an instance of another provider, if the budget allows and there
// is one.
func (m *Mesh) hedge(name string, not avoid, first *call) *call {
	not.provider = first.seat.Provider
	second, err := m.begin(name, not)
	if err != nil {
		return nil
	}
	if second.seat.Provider == first.seat.Provider || !m.health.mayRetry(name) {
		second.seat.edge.inflight.Add(-1)
		return nil
	}
	return second
}

// discard closes what the slower attempts have still come to. They were canceled:
// that says nothing about their instances.
func discard(ended <-chan dialled, running int) {
	for range running {
		d := <-ended
		d.call.seat.edge.inflight.Add(-1)
		if d.conn != nil {
			d.conn.Close()
		}
	}
}

// Explain says for every instance of a name why it is in or out.
func (m *Mesh) Explain(name string) (*Answer, []Explained) {
	m.mu.Lock()
	delete(m.answers, name) // as of now, with the last beats
	m.mu.Unlock()
	b := m.board(name)
	return b.answer, m.health.explain(b, time.Now())
}
