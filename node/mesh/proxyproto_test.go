package mesh

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"testing"

	"github.com/libp2p/go-libp2p/core/peer"
)

// readProxyHeader reads a PROXY v2 header as its specification has it, apart from
// the code that writes it.
func readProxyHeader(t testing.TB, r io.Reader) (from string, values map[byte]string) {
	t.Helper()
	head := make([]byte, 16)
	if _, err := io.ReadFull(r, head); err != nil {
		t.Fatal(err)
	}
	if string(head[:12]) != "\x0D\x0A\x0D\x0A\x00\x0D\x0A\x51\x55\x49\x54\x0A" || head[12] != 0x21 {
		t.Fatalf("not a PROXY v2 header: %q", head)
	}
	rest := make([]byte, binary.BigEndian.Uint16(head[14:]))
	if _, err := io.ReadFull(r, rest); err != nil {
		t.Fatal(err)
	}
	switch head[13] {
	case 0x11:
		from, rest = fmt.Sprintf("%v:%d", net.IP(rest[:4]), binary.BigEndian.Uint16(rest[8:])), rest[12:]
	case 0x21:
		from, rest = fmt.Sprintf("%v:%d", net.IP(rest[:16]), binary.BigEndian.Uint16(rest[32:])), rest[36:]
	case 0x00:
	default:
		t.Fatalf("family %x", head[13])
	}
	values = make(map[byte]string)
	for len(rest) >= 3 {
		n := 3 + int(binary.BigEndian.Uint16(rest[1:]))
		values[rest[0]], rest = string(rest[3:n]), rest[n:]
	}
	if len(rest) != 0 {
		t.Fatalf("%d bytes left over", len(rest))
	}
	return from, values
}

func TestProxyHeader(t *testing.T) {
	v4 := &net.UDPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 4001}
	v6 := &net.TCPAddr{IP: net.ParseIP("2001:db8::1"), Port: 4001}
	for _, test := range []struct {
		from, to net.Addr
		want     string
	}{
		{v4, v4, "192.0.2.1:4001"},
		{v6, v6, "2001:db8::1:4001"},
		{v6, v4, "2001:db8::1:4001"},
		{&net.TCPAddr{}, v4, ""},
		{nil, nil, ""},
	} {
		b := proxyHeader("lines", peer.ID("somebody"), test.from, test.to)
		from, values := readProxyHeader(t, bytes.NewReader(b))
		if from != test.want || values[proxyAuthority] != "lines.mesh" || values[proxyPeer] != peer.ID("somebody").String() {
			t.Errorf("from %v to %v: %q, %q", test.from, test.to, from, values)
		}
	}
}

// A TCP service that asks for it is told which peer calls, before the first byte.
func TestTCPServiceIsToldWhoCalls(t *testing.T) {
	nodes := startNodes(t, 2, nil)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := nodes[0].Register(Service{Name: "lines", To: l.Addr().String(), Check: "none", ProxyProtocol: true}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "known", func() bool { return nodes[1].states("lines")[Serving] == 1 })
	for _, caller := range nodes { // the owner's own node too
		conn, _, err := caller.Dial(testContext(t), "lines")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Fprintln(conn, "hello"); err != nil {
			t.Fatal(err)
		}
		instance, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		r := bufio.NewReader(instance)
		if _, values := readProxyHeader(t, r); values[proxyPeer] != caller.addr.ID.String() {
			t.Errorf("told %q", values)
		}
		if line, err := r.ReadString('\n'); line != "hello\n" || err != nil {
			t.Errorf("%q, %v", line, err)
		}
		conn.Close()
		instance.Close()
	}
}
