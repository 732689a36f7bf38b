package p2p

import (
	"crypto/sha256"
	"encoding/hex"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/discovery/mdns"
)

// listenMDNS finds the peers of this network on the local one.
func (h *Host) listenMDNS() {
	service := mdns.NewMdnsService(h.host, mdnsName(h.config.Network), foundFunc(h.found))
	if err := service.Start(); err != nil {
		h.log.Warn("mDNS is off: no multicast here", "err", err)
		return
	}
	<-h.ctx.Done()
	service.Close()
}

// mdnsName is a hash, since a network id is longer than a DNS label may be.
func mdnsName(network string) string {
	sum := sha256.Sum256([]byte(network))
	return "_holdfast-" + hex.EncodeToString(sum[:8]) + "._udp"
}

type foundFunc func(peer.AddrInfo)

func (f foundFunc) HandlePeerFound(info peer.AddrInfo) { f(info) }
