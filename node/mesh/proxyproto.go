package mesh

import (
	"encoding/binary"
	"net"

	"github.com/libp2p/go-libp2p/core/peer"
)

// The PROXY protocol, version 2, tells a TCP service who calls.
// https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt
const (
	proxySignature = "\r\n\r\n\x00\r\nQUIT\n"
	proxyCommand   = 0x21 // version 2, PROXY
	proxyUnspec    = 0x00
	proxyTCP4      = 0x11
	proxyTCP6      = 0x21
	// proxyAuthority carries the service's name, proxyPeer the caller's peer id in
	// text; 0xE0 to 0xEF are for applications.
	proxyAuthority = 0x02
	proxyPeer      = 0xE0
)

// preface tells an instance of ours who calls, if it wants to know.
func (s *service) preface(backend net.Conn, caller peer.ID, from net.Conn) error {
	if !s.ProxyProtocol {
		return nil
	}
	_, err := backend.Write(proxyHeader(s.Name, caller, from.RemoteAddr(), from.LocalAddr()))
	return err
}

// proxyHeader is a PROXY v2 header. Addresses that are none leave it to the peer
// id to say who calls.
func proxyHeader(name string, caller peer.ID, from, to net.Addr) []byte {
	family, addresses := proxyAddresses(from, to)
	var values []byte
	for _, v := range []struct {
		kind byte
		text string
	}{{proxyAuthority, name + ".mesh"}, {proxyPeer, caller.String()}} {
		values = append(values, v.kind)
		values = binary.BigEndian.AppendUint16(values, uint16(len(v.text)))
		values = append(values, v.text...)
	}
	b := append([]byte(proxySignature), proxyCommand, family)
	b = binary.BigEndian.AppendUint16(b, uint16(len(addresses)+len(values)))
	return append(append(b, addresses...), values...)
}

func proxyAddresses(from, to net.Addr) (family byte, b []byte) {
	src, srcPort := ipOf(from)
	dst, dstPort := ipOf(to)
	family = proxyTCP6
	if src4, dst4 := src.To4(), dst.To4(); src4 != nil && dst4 != nil {
		family, src, dst = proxyTCP4, src4, dst4
	} else if src.To16() == nil || dst.To16() == nil {
		return proxyUnspec, nil
	} else {
		src, dst = src.To16(), dst.To16()
	}
	b = append(append(b, src...), dst...)
	b = binary.BigEndian.AppendUint16(b, srcPort)
	return family, binary.BigEndian.AppendUint16(b, dstPort)
}

func ipOf(a net.Addr) (net.IP, uint16) {
	switch a := a.(type) {
	case *net.TCPAddr:
		return a.IP, uint16(a.Port)
	case *net.UDPAddr:
		return a.IP, uint16(a.Port)
	}
	return nil, 0
}
