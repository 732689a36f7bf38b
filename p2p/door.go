package p2p

import (
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// A peer may open this many streams of our protocols; each request is one.
const (
	streamsPerSecond = 200
	streamsBurst     = 400
	doorsMax         = 4096
)

// bucket is a token bucket: rate tokens a second, burst at once.
type bucket struct {
	rate, burst float64
	tokens      float64
	at          time.Time
}

func newBucket(rate, burst float64, now time.Time) *bucket {
	return &bucket{rate: rate, burst: burst, tokens: burst, at: now}
}

// take removes n tokens if there are so many.
func (b *bucket) take(n float64, now time.Time) bool {
	b.tokens = min(b.burst, b.tokens+now.Sub(b.at).Seconds()*b.rate)
	b.at = now
	if b.tokens < n {
		return false
	}
	b.tokens -= n
	return true
}

// wait is how long until n tokens are there.
func (b *bucket) wait(n float64) time.Duration {
	if b.tokens >= n {
		return 0
	}
	return time.Duration((n - b.tokens) / b.rate * float64(time.Second))
}

// door reports whether the peer may open one more stream now.
func (h *Host) door(p peer.ID) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	b := h.doors[p]
	if b == nil {
		if len(h.doors) >= doorsMax && !h.forgetQuietDoors(time.Now()) {
			return false
		}
		b = newBucket(streamsPerSecond, streamsBurst, time.Now())
		h.doors[p] = b
	}
	return b.take(1, time.Now())
}

// forgetQuietDoors drops the buckets that are full again: they say nothing.
func (h *Host) forgetQuietDoors(now time.Time) bool {
	for p, b := range h.doors { // order: each apart
		if now.Sub(b.at).Seconds()*b.rate >= b.burst {
			delete(h.doors, p)
		}
	}
	return len(h.doors) < doorsMax
}
