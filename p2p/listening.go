package p2p

import (
	"slices"
	"sync"
	"time"

	pb "github.com/libp2p/go-libp2p-pubsub/pb"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
)

// listening is what connected peers said they listen to by gossip. The library has a list
// of its own, but loses entries of it: a peer that dies without a word and starts again
// within the time in which the dead connection is noticed says what it listens to over the
// new connection, and then all that is forgotten with the old one. It says it once.
type listening struct {
	mu    sync.Mutex
	since map[peer.ID]map[string]time.Time // by peer and the library's name of a topic
}

// unheardAfter is how long a peer that said it listens may be missing in the library's
// list, which follows at once.
const unheardAfter = time.Second

func (l *listening) note(from peer.ID, subs []*pb.RPC_SubOpts) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range subs {
		if !s.GetSubscribe() {
			delete(l.since[from], s.GetTopicid())
			continue
		}
		if l.since == nil {
			l.since = make(map[peer.ID]map[string]time.Time)
		}
		if l.since[from] == nil {
			l.since[from] = make(map[string]time.Time)
		}
		l.since[from][s.GetTopicid()] = time.Now()
	}
}

// unheard are the peers that listen to a topic, long enough, and are not among those whom
// the library would send to. What they said is forgotten: they say it over the next
// connection, or do not listen any more.
func (l *listening) unheard(name string, listed []peer.ID) (lost []peer.ID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for p, of := range l.since { // order: each stands for itself
		if at, listens := of[name]; listens && time.Since(at) > unheardAfter && !slices.Contains(listed, p) {
			lost = append(lost, p)
			delete(l.since, p)
		}
	}
	return lost
}

// forget is for peers that are gone.
func (l *listening) forget(gone func(peer.ID) bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for p := range l.since { // order: each stands for itself
		if gone(p) {
			delete(l.since, p)
		}
	}
}

// healGossip closes the connections of peers that listen to us and that the library has
// forgotten. They are dialled again, and say anew what they listen to.
func (h *Host) healGossip() {
	g := h.gossip
	connected := func(p peer.ID) bool { return h.swarm.Connectedness(p) == network.Connected }
	g.listening.forget(func(p peer.ID) bool { return !connected(p) })
	for _, topic := range g.joined() {
		for _, p := range g.listening.unheard(topic.String(), topic.ListPeers()) {
			h.hangUp(p, "gossip has forgotten what it listens to")
		}
	}
}
