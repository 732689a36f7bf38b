package p2p

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/peerstore"
	"github.com/libp2p/go-libp2p/core/protocol"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
)

// protocolBytesMax bounds the caller's part of a protocol's name.
const protocolBytesMax = 32

// Conn is a stream of a protocol of the caller's own: a net.Conn whose other end
// is proven to be Peer. A peer may have as many as streamsPerPeerMax allows.
type Conn struct{ network.Stream }

// Peer is who is at the other end.
func (c *Conn) Peer() peer.ID { return c.Stream.Conn().RemotePeer() }

// LocalAddr is our address of the connection below.
func (c *Conn) LocalAddr() net.Addr { return addrOf(c.Stream.Conn().LocalMultiaddr()) }

// RemoteAddr is the peer's address of the connection below.
func (c *Conn) RemoteAddr() net.Addr { return addrOf(c.Stream.Conn().RemoteMultiaddr()) }

// Handle serves a protocol of the caller's own; peers reach it with Dial. serve
// runs on a goroutine for each stream, which Close waits for; it must return when
// the stream breaks, and the stream is closed when it returns. A peer that opens
// streams faster than allowed is punished. Call it before Run.
func (h *Host) Handle(name string, serve func(*Conn)) error {
	id, err := h.protocol(name)
	if err != nil {
		return err
	}
	h.handle(id, func(s network.Stream) {
		defer s.Close() // a Reset would take back what is still on its way
		serve(&Conn{s})
	})
	return nil
}

// Dial opens a stream of the caller's own protocol to a peer. If no connection
// stands it makes one, at the addresses given and at those that are known.
func (h *Host) Dial(ctx context.Context, to Peer, name string) (*Conn, error) {
	id, err := h.protocol(name)
	if err != nil {
		return nil, err
	}
	if to.ID == h.host.ID() {
		return nil, errors.New("p2p: dialling ourselves")
	}
	if err := h.reach(ctx, to); err != nil {
		return nil, fmt.Errorf("p2p: dialling %s: %w", to.ID, err)
	}
	opening, opened := context.WithTimeout(ctx, openTimeout)
	defer opened()
	stream, err := h.openStream(opening, to.ID, id)
	if err != nil {
		return nil, fmt.Errorf("p2p: opening %s to %s: %w", name, to.ID, err)
	}
	return &Conn{stream}, nil
}

// Reach connects with a peer, at the addresses given and at those that are known,
// unless a connection stands.
func (h *Host) Reach(ctx context.Context, to Peer) error {
	if err := h.reach(ctx, to); err != nil {
		return fmt.Errorf("p2p: reaching %s: %w", to.ID, err)
	}
	return nil
}

func (h *Host) reach(ctx context.Context, to Peer) error {
	if err := to.validate(); err != nil {
		return err
	}
	switch h.host.Network().Connectedness(to.ID) {
	case network.Connected, network.Limited:
		return nil
	}
	dialling, dialled := context.WithTimeout(ctx, h.config.DialTimeout)
	defer dialled()
	h.host.Peerstore().AddAddrs(to.ID, to.Addrs, peerstore.TempAddrTTL)
	// The backoff of an earlier failure would hold for minutes: the caller decides
	// how often to try.
	h.swarm.Backoff().Clear(to.ID)
	return h.host.Connect(dialling, peer.AddrInfo{ID: to.ID, Addrs: to.Addrs})
}

func (h *Host) protocol(name string) (protocol.ID, error) {
	if name == "" || len(name) > protocolBytesMax || strings.ContainsAny(name, "/ \t\n") {
		return "", fmt.Errorf("p2p: protocol %q: a word of at most %d bytes", name, protocolBytesMax)
	}
	return protocol.ID("/holdfast/" + h.config.Network + "/x/" + name + "/1"), nil
}

// addrOf is a multiaddr's IP address and port. Of a relayed connection it is an
// address that says nothing: the relay's would be taken for the peer's.
func addrOf(m ma.Multiaddr) net.Addr {
	_, err := m.ValueForProtocol(ma.P_CIRCUIT)
	if relayed := err == nil; !relayed && len(m) >= 2 {
		if a, err := manet.ToNetAddr(m[:2]); err == nil {
			return a
		}
	}
	return &net.TCPAddr{}
}
