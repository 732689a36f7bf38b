package mesh

import (
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// What callers see and what peers bear witness of. Three kinds of sources may
// speak against an instance: its owner's signed check, our own requests, and peers
// of other providers. One source alone puts it behind the others; two eject it,
// as long as no more than a third is ejected and never the last (R11). So a check
// gone mad, a bad link of ours or a lying peer costs nobody a service.
//
// The decisions are in here; time and chance are arguments.

const (
	// backoffFirst is when an instance that failed is asked again, with one real
	// request; it doubles each time, to backoffMax, and is jittered.
	backoffFirst = time.Second
	backoffMax   = time.Minute
	// trialMax is how long such a request keeps others away.
	trialMax = 10 * time.Second
	// slowStart is how long traffic takes to return to one that has come back.
	slowStart = 10 * time.Second
	// witnessFor is how long a witness is believed.
	witnessFor = 30 * time.Second
	// latencyTau is the time over which latency moves.
	latencyTau = 10 * time.Second
	// latencyFloor is added to every latency: below it, load decides.
	latencyFloor = float64(time.Millisecond)
	// edgesMax bounds what is known of instances; the idle go first.
	edgesMax = 20_000
	edgeIdle = 10 * time.Minute
)

// edgeID is an instance, as seen from here.
type edgeID struct {
	name  string
	owner peer.ID
}

// edge is what is known of the way to one instance.
type edge struct {
	inflight atomic.Int64
	latency  atomic.Uint64 // moving, nanoseconds as float64 bits

	// Under health.mu.
	latencyAt time.Time
	fails     int // of ours in a row
	why       string
	retryAt   time.Time // when it may be asked again
	backoff   time.Duration
	trial     time.Time // since when one real request is under way, or zero
	backAt    time.Time // when it came back, or zero
	asked     time.Time // when witnesses were asked last
	used      time.Time
	witnesses map[string]time.Time // provider: bad until
}

// health is what is known of all instances. Many goroutines may use it at once.
type health struct {
	mu         sync.Mutex
	edges      map[edgeID]*edge
	budgets    map[string]*budget
	generation atomic.Uint64 // counts what changes a choice
}

func newHealth() *health {
	return &health{edges: make(map[edgeID]*edge), budgets: make(map[string]*budget)}
}

// of returns an instance's edge. h.mu is held.
func (h *health) of(id edgeID, now time.Time) *edge {
	e := h.edges[id]
	if e == nil {
		if len(h.edges) >= edgesMax {
			h.forgetIdle(now)
		}
		e = &edge{}
		h.edges[id] = e
	}
	e.used = now
	return e
}

func (h *health) forgetIdle(now time.Time) {
	for id, e := range h.edges { // order: each apart
		if now.Sub(e.used) > edgeIdle && e.inflight.Load() == 0 {
			delete(h.edges, id)
		}
	}
	if len(h.edges) >= edgesMax {
		clear(h.edges) // a flood of names: everything begins anew, healthy
	}
	h.generation.Add(1)
}

// succeeded notes a request that was answered, and how fast.
func (h *health) succeeded(id edgeID, took time.Duration, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	e := h.of(id, now)
	e.observe(took, now)
	e.trial = time.Time{}
	if e.fails > 0 {
		e.fails, e.why, e.backoff, e.backAt = 0, "", 0, now
		e.witnesses = nil
		h.generation.Add(1)
	}
}

// observe moves the latency: at once to what is slower, slowly to what is faster,
// so that one that stalls is left alone.
func (e *edge) observe(took time.Duration, now time.Time) {
	old, fresh := math.Float64frombits(e.latency.Load()), float64(took)
	if fresh < old {
		weight := math.Exp(-float64(now.Sub(e.latencyAt)) / float64(latencyTau))
		fresh = old*weight + fresh*(1-weight)
	}
	e.latency.Store(math.Float64bits(fresh))
	e.latencyAt = now
}

// failed notes a request that was not answered, or a lost link. chance is in
// [0,1). It reports whether to ask witnesses.
func (h *health) failed(id edgeID, why string, now time.Time, chance float64) (ask bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	e := h.of(id, now)
	e.fails++
	e.why = why
	e.trial, e.backAt = time.Time{}, time.Time{}
	e.backoff = min(max(backoffFirst, 2*e.backoff), backoffMax)
	e.retryAt = now.Add(time.Duration(float64(e.backoff) * (0.75 + chance/2)))
	h.generation.Add(1)
	if now.Sub(e.asked) < witnessPause {
		return false
	}
	e.asked = now
	return true
}

// witnessPause is the time between two rounds of asking witnesses of one instance.
const witnessPause = 5 * time.Second

// testified notes what a peer of another provider sees.
func (h *health) testified(id edgeID, provider string, bad bool, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	e := h.of(id, now)
	if e.witnesses == nil {
		e.witnesses = make(map[string]time.Time)
	}
	if bad {
		e.witnesses[provider] = now.Add(witnessFor)
	} else {
		delete(e.witnesses, provider)
	}
	h.generation.Add(1)
}

// back lets the instances of a peer that is connected again be asked at once.
func (h *health) back(owner peer.ID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for id, e := range h.edges { // order: each apart
		if id.owner == owner && e.fails > 0 {
			e.retryAt = time.Time{}
			h.generation.Add(1)
		}
	}
}

// tryNow lets an instance be asked at once: its owner has begun anew, or says
// that it is well again.
func (h *health) tryNow(id edgeID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if e := h.edges[id]; e != nil && e.fails > 0 {
		e.retryAt = time.Time{}
		h.generation.Add(1)
	}
}

// seen is what we would bear witness of: whether an instance answered us.
func (h *health) seen(id edgeID, now time.Time) sight {
	h.mu.Lock()
	defer h.mu.Unlock()
	e := h.edges[id]
	switch {
	case e == nil || now.Sub(e.latencyAt) > witnessPause && e.fails == 0:
		return seenNothing
	case e.fails > 0:
		return seenBad
	}
	return seenGood
}

// against lists who speaks against an instance. h.mu is held.
func (h *health) against(e *edge, in *Instance, now time.Time) (sources []string) {
	if in.State == Failing {
		sources = append(sources, "its owner says its check fails")
	}
	if e == nil {
		return sources
	}
	if e.fails > 0 {
		sources = append(sources, fmt.Sprintf("%d of our requests in a row failed, the last: %s", e.fails, e.why))
	}
	for provider, until := range e.witnesses { // order: sorted below
		if now.Before(until) {
			sources = append(sources, fmt.Sprintf("a peer of provider %q cannot reach it", provider))
		}
	}
	slices.Sort(sources)
	return sources
}

// budget allows retries and hedges for a fifth of the requests of a name.
type budget struct{ tokens float64 }

const (
	budgetShare = 0.2
	budgetBurst = 10 // so that a quiet service can be retried at all
	budgetsMax  = 4096
)

// request notes a request of a name.
func (h *health) request(name string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	b := h.budget(name)
	b.tokens = min(budgetBurst, b.tokens+budgetShare)
}

// mayRetry takes one retry of a name's budget.
func (h *health) mayRetry(name string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	b := h.budget(name)
	if off == ruleDamp {
		return true
	}
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}

func (h *health) budget(name string) *budget {
	b := h.budgets[name]
	if b == nil {
		if len(h.budgets) >= budgetsMax {
			clear(h.budgets)
		}
		b = &budget{tokens: budgetBurst}
		h.budgets[name] = b
	}
	return b
}
