package p2p

import (
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// Bounds of the blocks of others that wait to be seen at our peers.
const (
	relayBytesMax  = 32 << 20
	relayBlocksMax = 8192
)

// relayQueue holds others' blocks for Config.RelayAfter. Then whoever has not
// shown to have them gets them from us: so the two ends of a broken link have
// each other's blocks from those in between, without gossip and without asking.
type relayQueue struct {
	mu      sync.Mutex
	waiting []relayedBlock
	bytes   int
	wake    chan struct{}
}

type relayedBlock struct {
	Block
	from peer.ID
	due  time.Time
}

func newRelayQueue() *relayQueue { return &relayQueue{wake: make(chan struct{}, 1)} }

// Offer hands on a block of another validator that the caller has verified.
// Followers get it at once; validators after Config.RelayAfter, if they have not
// shown to have it by then. It does not wait.
func (h *Host) Offer(from peer.ID, b Block) {
	h.handOn(b, from, true)
	if h.roles.isValidator(h.host.ID()) {
		h.relays.push(relayedBlock{b, from, time.Now().Add(h.config.RelayAfter)})
	}
}

// handOn queues another's block for the followers, or the validators, that lack
// it. It is framed only if there is one: most blocks have reached everybody.
func (h *Host) handOn(b Block, from peer.ID, followers bool) (queued int) {
	var frame []byte
	for _, s := range h.allSenders() {
		if s.follower != followers || s.to == from || !s.lacks(b.Author, b.Round) {
			continue
		}
		if frame == nil {
			frame = encodeBlock(b)
		}
		if s.offerOther(queuedBlock{b.Author, b.Round, frame}, h.config.QueueBytesMax) {
			queued++
		}
	}
	return queued
}

func (r *relayQueue) push(b relayedBlock) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waiting = append(r.waiting, b)
	r.bytes += len(b.Data)
	for r.bytes > relayBytesMax || len(r.waiting) > relayBlocksMax {
		r.dropFirst()
	}
	signal(r.wake)
}

func (r *relayQueue) dropFirst() relayedBlock {
	first := r.waiting[0]
	r.waiting[0] = relayedBlock{}
	if r.waiting = r.waiting[1:]; len(r.waiting) == 0 {
		r.waiting = nil
	}
	r.bytes -= len(first.Data)
	return first
}

// due takes what has waited long enough and says how long until the next.
func (r *relayQueue) due(now time.Time) (ready []relayedBlock, next time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.waiting) > 0 {
		if wait := r.waiting[0].due.Sub(now); wait > 0 {
			return ready, wait
		}
		ready = append(ready, r.dropFirst())
	}
	return ready, 0
}

func (h *Host) relayLoop() {
	for {
		ready, next := h.relays.due(time.Now())
		for _, b := range ready {
			h.meter.relayed.Add(float64(h.handOn(b.Block, b.from, false)))
		}
		var timer <-chan time.Time
		if next > 0 {
			timer = time.After(next)
		}
		select {
		case <-timer:
		case <-h.relays.wake:
		case <-h.ctx.Done():
			return
		}
	}
}
