package p2p

import (
	"context"
	"time"

	"github.com/libp2p/go-libp2p/config"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/host/autorelay"
	basichost "github.com/libp2p/go-libp2p/p2p/host/basic"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/relay"
	ma "github.com/multiformats/go-multiaddr"
)

// A relayed connection is for being found and for hole punching; consensus goes
// over it only while nothing better is there. These bound what it may cost the
// peer in between.
const (
	relayedFor      = 10 * time.Minute
	relayedBytesMax = 64 << 20
	relayedPeersMax = 64
	// relaysTried bounds the relays proposed to the library at a time.
	relaysTried = 16
)

// passNATs has the library find out whether we are reachable, and be reached through
// others if not.
func (h *Host) passNATs(library *config.Config) {
	var forced network.Reachability
	switch h.config.Reach {
	case ReachPublic:
		forced = network.ReachabilityPublic
		library.ForceReachability = &forced
	case ReachPrivate:
		forced = network.ReachabilityPrivate
		library.ForceReachability = &forced
	}
	if h.config.RelayService {
		resources := relay.DefaultResources()
		resources.Limit = &relay.RelayLimit{Duration: relayedFor, Data: relayedBytesMax}
		resources.MaxReservations = relayedPeersMax
		resources.MaxReservationsPerIP = relayedPeersMax
		resources.MaxReservationsPerASN = relayedPeersMax
		library.EnableRelayService = true
		library.RelayServiceOpts = []relay.Option{
			relay.WithResources(resources),
			// Private addresses too: a network may be on private ones altogether.
			relay.WithReservationAddressFilter(func(ma.Multiaddr) bool { return true }),
		}
	}
	if !h.config.NAT {
		return
	}
	library.Relay = true
	library.EnableAutoNATv2 = true
	library.EnableHolePunching = true
	library.NATManager = basichost.NewNATManager
	library.EnableAutoRelay = true
	library.AutoRelayOpts = []autorelay.Option{
		autorelay.WithPeerSource(h.relayCandidates),
		autorelay.WithMinInterval(relayAskEvery), autorelay.WithBackoff(relayAskEvery), autorelay.WithBootDelay(0),
		// The library waits for four candidates; a small network has fewer.
		autorelay.WithMinCandidates(1), autorelay.WithNumRelays(relaysUsed),
	}
}

const (
	relayAskEvery = 5 * time.Second
	// relaysUsed is two, so that a relay may die.
	relaysUsed = 2
)

// relayCandidates proposes the connected peers, validators first: any peer may
// relay, and only a connected one is known to be reachable.
func (h *Host) relayCandidates(ctx context.Context, n int) <-chan peer.AddrInfo {
	out := make(chan peer.AddrInfo, relaysTried)
	defer close(out)
	peers := h.Peers()
	for _, validators := range []bool{true, false} {
		for _, p := range peers {
			if p.Validator == validators && p.Path != PathRelayed && len(out) < min(n, relaysTried) {
				out <- h.host.Peerstore().PeerInfo(p.ID)
			}
		}
	}
	return out
}
