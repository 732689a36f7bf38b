package p2p

import (
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// What one peer may ask of us. A node that catches up reads some MiB a second
// from each of several peers; more than this is taken from orders.
const (
	requestsPerSecond = 100
	requestsBurst     = 200
	answerPerSecond   = 64 << 20
	answerBurst       = 128 << 20
	servingMax        = 64
	servingPerPeer    = 16
	servingPeersMax   = 4096
	serveTimeout      = 30 * time.Second
)

// What we ask of one peer stays below what it allows, so that an honest asker is
// refused, and booked, for nothing. Of its requests some may be over for us and
// not yet for the peer.
const (
	askingShare   = 0.9
	askingPerPeer = servingPerPeer / 2
)

// turnstile bounds the requests that are under way, in all and for each peer,
// and how fast they and their bytes follow each other. There are two: for what
// peers ask of us and for what we ask of them.
type turnstile struct {
	share        float64 // of what the constants above allow one peer
	max, perPeer int     // under way at once

	mu    sync.Mutex
	open  int
	peers map[peer.ID]*turns
}

type turns struct {
	requests, bytes *bucket
	open            int
	left            chan struct{} // one of the open ones has ended
}

func newTurnstile(share float64, max, perPeer int) *turnstile {
	return &turnstile{share: share, max: max, perPeer: perPeer, peers: make(map[peer.ID]*turns)}
}

// passage is whether a request may go on.
type passage int

const (
	passed  passage = iota
	crowded         // others take all there is
	tooMany         // the peer takes more than its share
)

// enter asks for one request to go on now; refused, it says when to ask again.
// One that has passed must leave. Strangers leave half of the room to validators.
func (t *turnstile) enter(p peer.ID, validator bool, now time.Time) (passage, time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.of(p, now)
	max := t.max
	if !validator {
		max /= 2
	}
	switch {
	case c == nil:
		return crowded, time.Second
	case c.open >= t.perPeer:
		return tooMany, 50 * time.Millisecond
	case t.open >= max:
		return crowded, 50 * time.Millisecond
	case !c.bytes.take(0, now) || c.bytes.tokens < 0:
		return tooMany, c.bytes.wait(0)
	case !c.requests.take(1, now):
		return tooMany, c.requests.wait(1)
	}
	t.open++
	c.open++
	return passed, 0
}

// leave ends a request and charges the bytes that went to and fro. They are not
// known before, so the bucket may go below nothing and must fill up first.
func (t *turnstile) leave(p peer.ID, bytes int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.open--
	c := t.peers[p]
	c.open--
	c.bytes.tokens -= float64(bytes)
	signal(c.left)
}

// of is nil when the table is full of peers that are not quiet.
func (t *turnstile) of(p peer.ID, now time.Time) *turns {
	if c := t.peers[p]; c != nil {
		return c
	}
	if len(t.peers) >= servingPeersMax {
		t.forgetQuiet(now)
	}
	if len(t.peers) >= servingPeersMax {
		return nil
	}
	c := &turns{
		requests: newBucket(t.share*requestsPerSecond, t.share*requestsBurst, now),
		bytes:    newBucket(t.share*answerPerSecond, t.share*answerBurst, now),
		left:     make(chan struct{}, 1),
	}
	t.peers[p] = c
	return c
}

func (t *turnstile) forgetQuiet(now time.Time) {
	for p, c := range t.peers { // order: each apart
		if c.open == 0 && now.Sub(c.requests.at) > time.Minute {
			delete(t.peers, p)
		}
	}
}

// leaving tells when a request with the peer ends.
func (t *turnstile) leaving(p peer.ID) <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	if c := t.peers[p]; c != nil {
		return c.left
	}
	return nil
}
