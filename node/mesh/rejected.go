package mesh

import (
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// rejectedMax is how many refusals are kept for people to look at.
const rejectedMax = 256

// Rejection is one record that was not taken.
type Rejection struct {
	At     time.Time
	From   peer.ID // who passed it on; itself, for the disk
	Reason Reason
	Detail string
	Times  int // in a row from the same peer for the same reason
}

// rejections counts refusals by reason and keeps the last ones. Many goroutines
// may use it at once.
type rejections struct {
	mu     sync.Mutex
	counts map[Reason]uint64
	last   []Rejection
}

func newRejections() *rejections { return &rejections{counts: make(map[Reason]uint64)} }

// add notes a refusal. A peer that floods takes one place, not all.
func (r *rejections) add(from peer.ID, refusal *Refusal, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.counts[refusal.Reason]++
	for i := range r.last {
		if l := &r.last[i]; l.From == from && l.Reason == refusal.Reason {
			l.Times++
			l.At, l.Detail = now, refusal.Detail
			return
		}
	}
	if len(r.last) == rejectedMax {
		r.last = append(r.last[:0], r.last[1:]...)
	}
	r.last = append(r.last, Rejection{now, from, refusal.Reason, refusal.Detail, 1})
}

// list returns the last refusals, oldest first, and the counts of all.
func (r *rejections) list() ([]Rejection, map[Reason]uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	counts := make(map[Reason]uint64, len(r.counts))
	for reason, n := range r.counts { // order: a map to a map
		counts[reason] = n
	}
	return append([]Rejection(nil), r.last...), counts
}
