package p2p

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/prometheus/client_golang/prometheus"
)

// Config says what a host is and how hard it tries. Take DefaultConfig, fill in
// Identity and Network, change what you need, and let Open check it.
type Config struct {
	// Identity is the Ed25519 key whose public half is the host's peer id.
	Identity crypto.PrivKey
	// Network is the id of the network; it is part of every protocol and topic
	// name, so that hosts of different networks have nothing to say to each other.
	Network string
	// Provider is the failure domain this host is in; peers are told, and use it
	// only to keep connections to several.
	Provider string

	// Listen holds multiaddrs to listen on: QUIC (/udp/N/quic-v1) first, TCP (with
	// Noise) too. Empty: nobody can call this host, unless through a relay.
	Listen []string
	// Announce, if not empty, replaces the listened addresses in what peers are told.
	Announce []string
	// ListenUDP, if set, makes the socket under QUIC, so that a test can put
	// faults under it. A socket that embeds *net.UDPConn keeps QUIC's fast path.
	ListenUDP func(network string, addr *net.UDPAddr) (net.PacketConn, error)

	// Committee are the validators. Their streams are accepted and they are
	// dialled first; SetCommittee changes them later.
	Committee []Peer
	// Bundle are the other peers named in the network's bundle.
	Bundle []Peer
	// BookPath is the file of the address book; empty keeps it in memory only.
	BookPath string

	// Blocks makes and takes blocks. Nil: no block streams either way.
	Blocks Blocks
	// Server answers other peers' requests and questions. Nil: they are refused.
	Server Server
	// Follow is how many validators an observer asks for their streams.
	Follow int
	// FollowersMax bounds the observers whose streams this host feeds.
	FollowersMax int

	// Gossip, DHT and MDNS turn on these ways of travelling and of finding.
	Gossip, DHT, MDNS bool
	// Records holds, per namespace of DHT keys, the rules its values must obey.
	Records map[string]RecordRules
	// NAT turns on AutoNAT v2, hole punching, port mapping and the use of relays.
	NAT bool
	// Reach says whether peers can reach this host, if that is known; else AutoNAT
	// finds out, which takes minutes. Who can be reached relays for others, who
	// cannot looks for relays.
	Reach Reach
	// RelayService lets peers that cannot be reached be reached through this host.
	RelayService bool
	// AddressDiscovery lets peers tell us which address they see us under.
	AddressDiscovery bool

	// Beat is the time between two heartbeats, DeadAfter the silence after which
	// a peer is dead and its connections are closed.
	Beat, DeadAfter time.Duration
	// StallAfter is how long a peer may neither write what is due on a stream nor
	// read what we wrote: a hello, a request, room for a frame.
	StallAfter time.Duration
	// HealEvery is the period of the healing loop, DialTimeout the bound of one dial.
	HealEvery, DialTimeout time.Duration
	// RelayAfter is how long another's block may be missing from what a validator
	// has shown to have before we send it ours. It should exceed a round trip.
	RelayAfter time.Duration
	// PeersWanted is the number of peers below which the book is dialled, and
	// PeersMax the number above which the least useful connections are closed.
	PeersWanted, PeersMax int
	// ConnsPerAddress bounds connections from one IP address. Many nodes live
	// behind one address, so it is far above the library's 8.
	ConnsPerAddress int
	// BlockBytesMax bounds the bytes of one block, QueueBytesMax those waiting
	// for one peer.
	BlockBytesMax, QueueBytesMax int

	// Logger and Registerer may be nil: silence, and no metrics.
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// DefaultConfig returns a configuration that lacks only Identity and Network.
func DefaultConfig() Config {
	return Config{
		Listen:           []string{"/ip4/0.0.0.0/udp/4001/quic-v1", "/ip4/0.0.0.0/tcp/4001"},
		Follow:           2,
		FollowersMax:     64,
		Gossip:           true,
		DHT:              true,
		MDNS:             true,
		NAT:              true,
		RelayService:     true,
		AddressDiscovery: true,
		Beat:             500 * time.Millisecond,
		DeadAfter:        2 * time.Second,
		StallAfter:       5 * time.Second,
		HealEvery:        time.Second,
		DialTimeout:      2 * time.Second,
		RelayAfter:       500 * time.Millisecond,
		PeersWanted:      16,
		PeersMax:         384,
		ConnsPerAddress:  1024,
		BlockBytesMax:    1 << 20,
		QueueBytesMax:    8 << 20,
	}
}

// Bounds on what a configuration may ask for.
const (
	networkBytesMax   = 128     // a CID is 59; it is repeated in every protocol name
	committeePeersMax = 256     // have vectors and hello frames are sized by it
	bundlePeersMax    = 1024    // all are dialled every second when away
	blockBytesLimit   = 1 << 20 // the gossip message limit, and the fetch item limit
	providerBytesMax  = 64      // a label, told to every peer
	peerAddrsMax      = 16      // addresses of one peer that are worth dialling
)

// Validate lists every fault of the configuration at once, or returns nil.
func (c Config) Validate() error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }

	if c.Identity == nil {
		fault("Identity is missing: load or create one with LoadOrCreateIdentity")
	} else if c.Identity.Type() != crypto.Ed25519 {
		fault("Identity is a %s key: it must be Ed25519", c.Identity.Type())
	}
	if c.Network == "" || len(c.Network) > networkBytesMax || strings.ContainsAny(c.Network, "/ \t\n") {
		fault("Network %q must be 1 to %d bytes without slashes or spaces", c.Network, networkBytesMax)
	}
	if len(c.Provider) > providerBytesMax {
		fault("Provider is %d bytes: at most %d", len(c.Provider), providerBytesMax)
	}
	for _, list := range []struct {
		name  string
		addrs []string
	}{{"Listen", c.Listen}, {"Announce", c.Announce}} {
		for _, a := range list.addrs {
			if _, err := parseRawAddr(a); err != nil {
				fault("%s %q: %w", list.name, a, err)
			}
		}
	}
	if len(c.Committee) > committeePeersMax {
		fault("Committee has %d peers: at most %d", len(c.Committee), committeePeersMax)
	}
	if len(c.Bundle) > bundlePeersMax {
		fault("Bundle has %d peers: at most %d", len(c.Bundle), bundlePeersMax)
	}
	for _, list := range []struct {
		name  string
		peers []Peer
	}{{"Committee", c.Committee}, {"Bundle", c.Bundle}} {
		seen := make(map[peer.ID]bool)
		for i, p := range list.peers {
			if err := p.validate(); err != nil {
				fault("%s[%d]: %w", list.name, i, err)
			}
			if seen[p.ID] {
				fault("%s[%d]: peer %s is named twice", list.name, i, p.ID)
			}
			seen[p.ID] = true
		}
	}
	for ns, rules := range c.Records {
		if ns == "" || strings.Contains(ns, "/") || rules == nil {
			fault("Records[%q]: a namespace is a word without slashes, with rules", ns)
		}
	}

	between := func(name string, v, low, high time.Duration) {
		if v < low || v > high {
			fault("%s is %v: it must be between %v and %v", name, v, low, high)
		}
	}
	between("Beat", c.Beat, 10*time.Millisecond, 10*time.Second)
	between("DeadAfter", c.DeadAfter, 2*c.Beat, time.Minute)
	between("StallAfter", c.StallAfter, 10*time.Millisecond, time.Minute)
	between("HealEvery", c.HealEvery, 10*time.Millisecond, time.Minute)
	between("DialTimeout", c.DialTimeout, 50*time.Millisecond, time.Minute)
	between("RelayAfter", c.RelayAfter, time.Millisecond, time.Minute)

	count := func(name string, v, low, high int) {
		if v < low || v > high {
			fault("%s is %d: it must be between %d and %d", name, v, low, high)
		}
	}
	switch c.Reach {
	case ReachUnknown, ReachPublic, ReachPrivate:
	default:
		fault("Reach is %q: it must be %q, %q or empty", c.Reach, ReachPublic, ReachPrivate)
	}
	count("Follow", c.Follow, 0, 16)
	count("FollowersMax", c.FollowersMax, 0, 4096)
	count("PeersWanted", c.PeersWanted, 1, 1024)
	count("PeersMax", c.PeersMax, c.PeersWanted, 1<<16)
	count("ConnsPerAddress", c.ConnsPerAddress, 1, 1<<20)
	count("BlockBytesMax", c.BlockBytesMax, 1, blockBytesLimit)
	count("QueueBytesMax", c.QueueBytesMax, c.BlockBytesMax+frameOverheadMax, 1<<30)
	return errors.Join(faults...)
}

// Reach is whether a host can be reached by peers it has not called.
type Reach string

const (
	ReachUnknown Reach = ""
	ReachPublic  Reach = "public"
	ReachPrivate Reach = "private"
)

// Peer is a peer that is known beforehand: who it is and where it may be found.
type Peer struct {
	ID       peer.ID
	Addrs    []ma.Multiaddr
	Provider string
}

// ParsePeer reads a peer's address such as /ip4/192.0.2.1/udp/4001/quic-v1/p2p/12D3...
// It takes no DNS names: a network must start and heal without a resolver.
func ParsePeer(addr string) (Peer, error) {
	m, err := parseRawAddr(addr)
	if err != nil {
		return Peer{}, fmt.Errorf("peer address %q: %w", addr, err)
	}
	info, err := peer.AddrInfoFromP2pAddr(m)
	if err != nil {
		return Peer{}, fmt.Errorf("peer address %q: it must end in /p2p/ and the peer's id: %w", addr, err)
	}
	return Peer{ID: info.ID, Addrs: info.Addrs}, nil
}

func (p Peer) validate() error {
	if err := p.ID.Validate(); err != nil {
		return fmt.Errorf("peer id: %w", err)
	}
	if len(p.Provider) > providerBytesMax {
		return fmt.Errorf("peer %s: provider is %d bytes: at most %d", p.ID, len(p.Provider), providerBytesMax)
	}
	if len(p.Addrs) > peerAddrsMax {
		return fmt.Errorf("peer %s: %d addresses: at most %d", p.ID, len(p.Addrs), peerAddrsMax)
	}
	for _, a := range p.Addrs {
		if isName(a) {
			return fmt.Errorf("peer %s: %s: %w", p.ID, a, errNamedAddr)
		}
	}
	return nil
}

var errNamedAddr = errors.New("a DNS name: give the IP address, a network must start and heal without a resolver")

func parseRawAddr(s string) (ma.Multiaddr, error) {
	m, err := ma.NewMultiaddr(s)
	if err != nil {
		return nil, err
	}
	if isName(m) {
		return nil, errNamedAddr
	}
	return m, nil
}

func isName(m ma.Multiaddr) bool {
	for _, c := range m {
		switch c.Protocol().Code {
		case ma.P_DNS, ma.P_DNS4, ma.P_DNS6, ma.P_DNSADDR:
			return true
		}
	}
	return false
}
