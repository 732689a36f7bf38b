package faults

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// Counters count packets, not calls. A batch of QUIC's is as many packets as it
// is on the wire.
type Counters struct {
	Passed     uint64 `json:"passed"`     // sent, late ones and copies too
	Dropped    uint64 `json:"dropped"`    // vanished on the way out
	Delayed    uint64 `json:"delayed"`    // of the passed, those that waited
	Duplicated uint64 `json:"duplicated"` // copies beyond the first
	Received   uint64 `json:"received"`   // given to QUIC
	DroppedIn  uint64 `json:"dropped_in"` // vanished on the way in
}

// link is what a filter knows of one remote.
type link struct {
	rule atomic.Pointer[Rule] // nil: nothing is wrong with this link

	passed, dropped, delayed, duplicated, received, droppedIn atomic.Uint64

	mu      sync.Mutex // guards the fates
	out, in *fate
}

func newLink(seed uint64, remote netip.AddrPort) *link {
	return &link{out: newFate(seed, remote), in: newFate(^seed, remote)}
}

// obey makes a rule the link's.
func (l *link) obey(r Rule) {
	if r == (Rule{}) {
		l.rule.Store(nil)
		return
	}
	l.rule.Store(&r)
}

// send decides about one packet that goes out, and counts it as lost or copied.
func (l *link) send(r Rule, now time.Time, size int) departures {
	l.mu.Lock()
	defer l.mu.Unlock()
	d := l.out.of(r, now, size)
	switch d.n {
	case 0:
		l.dropped.Add(1)
	case 2:
		l.duplicated.Add(1)
	}
	return d
}

// admits decides about one packet that comes in, and counts it.
func (l *link) admits() bool {
	if r := l.rule.Load(); r != nil && r.DropIn > 0 && l.unlucky(r.DropIn) {
		l.droppedIn.Add(1)
		return false
	}
	l.received.Add(1)
	return true
}

func (l *link) unlucky(p float64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.in.happens(p)
}

func (l *link) counters() Counters {
	return Counters{
		Passed: l.passed.Load(), Dropped: l.dropped.Load(), Delayed: l.delayed.Load(),
		Duplicated: l.duplicated.Load(), Received: l.received.Load(), DroppedIn: l.droppedIn.Load(),
	}
}
