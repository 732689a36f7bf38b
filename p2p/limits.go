package p2p

import (
	"net/netip"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	rcmgr "github.com/libp2p/go-libp2p/p2p/host/resource-manager"
	"github.com/libp2p/go-libp2p/x/rate"
)

// Bounds of the resource manager. The library's defaults follow the machine's
// memory and allow eight connections per address, and one new connection in
// five seconds: a network behind one address could not heal.
const (
	connsPerPeerMax   = 8   // simultaneous dials from both ends, over QUIC and TCP
	streamsPerPeerMax = 256 // what QUIC's own limit allows at once
	streamsSystemMax  = 16 << 10
	libraryMemoryMax  = 512 << 20
	filesMax          = 2048
	// connRatePerAddress lets every node behind one address redial each second.
	connRatePerAddress  = 256
	connBurstPerAddress = 1024
)

func newResourceManager(c Config) (network.ResourceManager, error) {
	limits := rcmgr.DefaultLimits
	both := func(conns, streams int, memory int64) rcmgr.BaseLimit {
		return rcmgr.BaseLimit{
			Conns: conns, ConnsInbound: conns, ConnsOutbound: conns,
			Streams: streams, StreamsInbound: streams, StreamsOutbound: streams,
			Memory: memory, FD: filesMax,
		}
	}
	none := rcmgr.BaseLimitIncrease{}
	conns := 2 * c.PeersMax // between the connection manager's sweeps
	limits.SystemBaseLimit, limits.SystemLimitIncrease = both(conns, streamsSystemMax, libraryMemoryMax), none
	limits.TransientBaseLimit, limits.TransientLimitIncrease = both(conns, streamsSystemMax/4, libraryMemoryMax/4), none
	limits.PeerBaseLimit, limits.PeerLimitIncrease = both(connsPerPeerMax, streamsPerPeerMax, libraryMemoryMax/8), none
	limits.ProtocolBaseLimit, limits.ProtocolLimitIncrease = both(conns, streamsSystemMax, libraryMemoryMax), none
	limits.ProtocolPeerBaseLimit, limits.ProtocolPeerLimitIncrease = both(connsPerPeerMax, streamsPerPeerMax/2, libraryMemoryMax/8), none

	return rcmgr.NewResourceManager(
		rcmgr.NewFixedLimiter(limits.Scale(0, 0)),
		rcmgr.WithMetricsDisabled(),
		rcmgr.WithLimitPerSubnet(
			[]rcmgr.ConnLimitPerSubnet{{PrefixLength: 32, ConnCount: c.ConnsPerAddress}},
			[]rcmgr.ConnLimitPerSubnet{{PrefixLength: 56, ConnCount: c.ConnsPerAddress}},
		),
		rcmgr.WithConnRateLimiters(&rate.Limiter{
			NetworkPrefixLimits: []rate.PrefixLimit{
				{Prefix: netip.MustParsePrefix("127.0.0.0/8")},
				{Prefix: netip.MustParsePrefix("::1/128")},
			},
			SubnetRateLimiter: rate.SubnetLimiter{
				IPv4SubnetLimits: []rate.SubnetLimit{{PrefixLength: 32, Limit: rate.Limit{RPS: connRatePerAddress, Burst: connBurstPerAddress}}},
				IPv6SubnetLimits: []rate.SubnetLimit{{PrefixLength: 56, Limit: rate.Limit{RPS: connRatePerAddress, Burst: connBurstPerAddress}}},
				GracePeriod:      time.Minute,
			},
		}),
	)
}
