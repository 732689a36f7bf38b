package p2p

import (
	"bytes"
	"crypto/sha256"
	"slices"
	"sync"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/peerstore"
)

// committeeTag protects connections from the connection manager.
const committeeTag = "holdfast"

// roles knows who is a validator and whose blocks we ask for.
type roles struct {
	self   peer.ID
	follow int

	mu        sync.Mutex
	committee map[peer.ID]Peer
	order     []Peer
	sources   map[peer.ID]bool // whose streams we open
	changed   chan struct{}    // closed at the next change
}

func newRoles(self peer.ID, follow int) *roles {
	return &roles{self: self, follow: follow, changed: make(chan struct{})}
}

// SetCommittee replaces the validators: whose streams are accepted, who is
// dialled first, and of whom have vectors speak. Call it at every new epoch.
func (h *Host) SetCommittee(committee []Peer) {
	for _, p := range h.roles.members() {
		h.host.ConnManager().Unprotect(p.ID, committeeTag)
	}
	h.knowAddrs(committee)
	for _, p := range committee {
		h.host.ConnManager().Protect(p.ID, committeeTag)
	}
	h.roles.set(committee, h.connectedPeers())
	h.dropUnallowedSenders()
	signal(h.healNow)
}

func (h *Host) knowAddrs(peers []Peer) {
	for _, p := range peers {
		if p.ID != h.host.ID() {
			h.host.Peerstore().AddAddrs(p.ID, p.Addrs, peerstore.PermanentAddrTTL)
		}
	}
}

func (r *roles) set(committee []Peer, connected []peer.ID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.order = slices.Clone(committee)
	r.committee = make(map[peer.ID]Peer, len(committee))
	for _, p := range committee {
		r.committee[p.ID] = p
	}
	r.choose(connected)
	close(r.changed)
	r.changed = make(chan struct{})
}

// connected chooses anew after peers have come or gone.
func (r *roles) connected(peers []peer.ID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.choose(peers) {
		close(r.changed)
		r.changed = make(chan struct{})
	}
}

// choose sets the sources: all other validators for a validator, some connected
// ones of different providers for an observer, who keeps those he has.
func (r *roles) choose(connected []peer.ID) (changed bool) {
	sources := make(map[peer.ID]bool)
	if _, validator := r.committee[r.self]; validator {
		for _, p := range r.order {
			if p.ID != r.self {
				sources[p.ID] = true
			}
		}
	} else {
		providers := make(map[string]bool)
		take := func(keep bool, fresh bool) {
			for _, p := range r.byDistance(connected) {
				if len(sources) >= r.follow || sources[p.ID] || (keep && !r.sources[p.ID]) || (fresh && providers[p.Provider]) {
					continue
				}
				sources[p.ID] = true
				providers[p.Provider] = true
			}
		}
		take(true, false)
		take(false, true)
		take(false, false)
	}
	changed = len(sources) != len(r.sources)
	for p := range sources { // order: one difference is enough, whichever is seen first
		changed = changed || !r.sources[p]
	}
	r.sources = sources
	return changed
}

// byDistance orders the connected validators differently for every observer,
// so that observers spread over the committee.
func (r *roles) byDistance(connected []peer.ID) []Peer {
	var peers []Peer
	for _, id := range connected {
		if p, ok := r.committee[id]; ok {
			peers = append(peers, p)
		}
	}
	key := func(p Peer) []byte {
		sum := sha256.Sum256([]byte(string(r.self) + string(p.ID)))
		return sum[:]
	}
	slices.SortFunc(peers, func(a, b Peer) int { return bytes.Compare(key(a), key(b)) })
	return peers
}

func (r *roles) isValidator(p peer.ID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, ok := r.committee[p]
	return ok
}

// isSource reports whether we ask p for its blocks, and when to ask again.
func (r *roles) isSource(p peer.ID) (source bool, changed <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sources[p], r.changed
}

func (r *roles) members() []Peer {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.order
}

func (r *roles) provider(p peer.ID) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.committee[p].Provider
}
