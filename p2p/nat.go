package p2p

import (
	"context"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/host/autorelay"
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

func (h *Host) natOptions() []libp2p.Option {
	var options []libp2p.Option
	switch h.config.Reach {
	case ReachPublic:
		options = append(options, libp2p.ForceReachabilityPublic())
	case ReachPrivate:
		options = append(options, libp2p.ForceReachabilityPrivate())
	}
	if h.config.RelayService {
		resources := relay.DefaultResources()
		resources.Limit = &relay.RelayLimit{Duration: relayedFor, Data: relayedBytesMax}
		resources.MaxReservations = relayedPeersMax
		resources.MaxReservationsPerIP = relayedPeersMax
		resources.MaxReservationsPerASN = relayedPeersMax
		options = append(options, libp2p.EnableRelayService(
			relay.WithResources(resources),
			// Private addresses too: a network may be on private ones altogether.
			relay.WithReservationAddressFilter(func(ma.Multiaddr) bool { return true })))
	}
	if !h.config.NAT {
		return append(options, libp2p.DisableRelay())
	}
	return append(options,
		libp2p.EnableRelay(),
		libp2p.EnableAutoNATv2(),
		libp2p.EnableHolePunching(),
		libp2p.NATPortMap(),
		libp2p.EnableAutoRelayWithPeerSource(h.relayCandidates,
			autorelay.WithMinInterval(relayAskEvery), autorelay.WithBackoff(relayAskEvery), autorelay.WithBootDelay(0),
			// The library waits for four candidates; a small network has fewer.
			autorelay.WithMinCandidates(1), autorelay.WithNumRelays(relaysUsed)),
	)
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
