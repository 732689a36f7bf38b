package p2p

import (
	"fmt"

	"github.com/libp2p/go-libp2p/config"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/core/transport"
	"github.com/libp2p/go-libp2p/p2p/host/peerstore/pstoremem"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	"github.com/libp2p/go-libp2p/p2p/net/connmgr"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	"github.com/libp2p/go-libp2p/p2p/net/upgrader"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	libp2pquic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	ma "github.com/multiformats/go-multiaddr"
	"go.uber.org/fx"
)

// libraryConfig is the library's host as we want it. Its front package, libp2p.New, is not
// used: that links WebSocket, WebTransport and WebRTC into every program, a twelfth of
// ours and all of their code to trust, whether or not they are switched on. What New
// would fill in by default stands here.
func (h *Host) libraryConfig() (*config.Config, error) {
	c := h.config
	resources, err := newResourceManager(c)
	if err != nil {
		return nil, err
	}
	low := c.PeersMax - c.PeersMax/8
	connections, err := connmgr.NewConnManager(low, c.PeersMax, connmgr.WithGracePeriod(connGrace))
	if err != nil {
		return nil, err
	}
	peers, err := pstoremem.NewPeerstore()
	if err != nil {
		return nil, err
	}
	library := &config.Config{
		PeerKey:            c.Identity,
		UserAgent:          "holdfast",
		Peerstore:          peers,
		Transports:         []fx.Option{transportBy(libp2pquic.NewTransport), transportBy(tcp.NewTCPTransport)},
		SecurityTransports: []config.Security{{ID: protocol.ID(noise.ID), Constructor: noise.New}},
		Muxers:             []upgrader.StreamMuxer{{ID: yamux.ID, Muxer: yamux.DefaultTransport}},
		ResourceManager:    resources,
		ConnManager:        connections,
		ConnectionGater:    &gater{h.scores},
		DisablePing:        true,
		SwarmOpts:          []swarm.Option{swarm.WithDialTimeout(c.DialTimeout), swarm.WithDialTimeoutLocal(c.DialTimeout)},
		// There are no counters of black holes: twenty seconds into a cut they would declare
		// UDP broken and hardly ever dial it again.
		PrometheusRegisterer:            c.Registerer,
		DisableMetrics:                  c.Registerer == nil,
		DisableIdentifyAddressDiscovery: !c.AddressDiscovery,
	}
	for _, s := range c.Listen {
		addr, err := ma.NewMultiaddr(s)
		if err != nil {
			return nil, fmt.Errorf("listening on %q: %w", s, err)
		}
		library.ListenAddrs = append(library.ListenAddrs, addr)
	}
	if len(c.Announce) > 0 {
		announced := make([]ma.Multiaddr, len(c.Announce))
		for i, a := range c.Announce {
			announced[i] = ma.StringCast(a) // Validate has parsed it
		}
		library.AddrsFactory = func([]ma.Multiaddr) []ma.Multiaddr { return announced }
	}
	if c.ListenUDP != nil {
		library.QUICReuse = []fx.Option{suppliedSocket(c)}
	}
	h.passNATs(library)
	return library, nil
}

// transportBy has the library make a transport.
func transportBy(constructor any) fx.Option {
	return fx.Provide(fx.Annotate(constructor, fx.As(new(transport.Transport)), fx.ResultTags(`group:"transport"`)))
}
