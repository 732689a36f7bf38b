//go:build linux

package faults_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/transport/quicreuse"
	"github.com/quic-go/quic-go"

	"github.com/holdfast-mesh/holdfast/p2p"
	"github.com/holdfast-mesh/holdfast/testnet/faults"
)

// TestMain fails the package if a goroutine is left after all sockets are closed.
func TestMain(m *testing.M) {
	code := m.Run()
	if left := leftBehind(); code == 0 && left != "" {
		fmt.Println("a goroutine is left behind:\n" + left)
		code = 1
	}
	os.Exit(code)
}

func leftBehind() string {
	deadline := time.Now().Add(20 * time.Second)
	for {
		stacks := make([]byte, 4<<20)
		stacks = stacks[:runtime.Stack(stacks, true)]
		left := ""
		for _, g := range strings.Split(string(stacks), "\n\n")[1:] {
			if strings.Contains(g, "/faults.") || strings.Contains(g, "/p2p.") {
				left = g
			}
		}
		if left == "" || time.Now().After(deadline) {
			return left
		}
		time.Sleep(10 * time.Millisecond) // between two looks at a condition
	}
}

type pair struct {
	hosts   [2]*p2p.Host
	filters [2]*faults.Filter
	addrs   [2]string // ip:port
}

// startPair runs two of our hosts, both validators, over filtered sockets.
func startPair(t *testing.T) (p pair) {
	t.Helper()
	var configs [2]p2p.Config
	var peers []p2p.Peer
	for i := range configs {
		c := p2p.DefaultConfig()
		c.Gossip, c.DHT, c.MDNS, c.NAT, c.RelayService, c.AddressDiscovery = false, false, false, false, false, false
		key, _, err := crypto.GenerateEd25519Key(nil)
		if err != nil {
			t.Fatal(err)
		}
		id, err := peer.IDFromPrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		u, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		p.addrs[i] = u.LocalAddr().String()
		port := u.LocalAddr().(*net.UDPAddr).Port
		p.filters[i] = faults.New(uint64(i))
		c.ListenUDP = func(string, *net.UDPAddr) (net.PacketConn, error) { return p.filters[i].Wrap(u), nil }
		c.Identity, c.Network = key, "faults"
		c.Listen = []string{fmt.Sprintf("/ip4/127.0.0.1/udp/%d/quic-v1", port)}
		one, err := p2p.ParsePeer(fmt.Sprintf("%s/p2p/%s", c.Listen[0], id))
		if err != nil {
			t.Fatal(err)
		}
		peers, configs[i] = append(peers, one), c
	}
	for i, c := range configs {
		c.Committee = peers
		h, err := p2p.Open(c)
		if err != nil {
			t.Fatal(err)
		}
		p.hosts[i] = h
		ctx, stop := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- h.Run(ctx) }()
		t.Cleanup(func() { stop(); <-done; h.Close() })
	}
	return p
}

// eventually asks a condition often, for a time that only a broken machine needs.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(60 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
		time.Sleep(2 * time.Millisecond) // between two looks at a condition
	}
}

func (p pair) connected() bool { return p.sees(0) && p.sees(1) }
func (p pair) sees(i int) bool { return len(p.hosts[i].Peers()) > 0 }

// Our hosts meet through filtered sockets, notice a silent cut, in one direction
// too, and meet again when it heals. Under bad weather they stay together.
func TestHostsUnderFaults(t *testing.T) {
	p := startPair(t)
	eventually(t, "the hosts meet", p.connected)
	if c := p.filters[0].Counters()[p.addrs[1]]; c.Passed == 0 || c.Received == 0 {
		t.Fatalf("QUIC goes around the filter: %+v", c)
	}
	for _, cut := range []struct {
		name string
		rule faults.Rule
	}{
		{"both ways, at one end", faults.Rule{Drop: 1, DropIn: 1}},
		{"one way out", faults.Rule{Drop: 1}},
		{"one way in", faults.Rule{DropIn: 1}},
	} {
		set(t, p.filters[0], faults.Table{p.addrs[1]: cut.rule})
		eventually(t, "a cut "+cut.name+" is noticed by both", func() bool { return !p.sees(0) && !p.sees(1) })
		set(t, p.filters[0], nil)
		eventually(t, "the hosts meet again after a cut "+cut.name, p.connected)
	}
	c := p.filters[0].Counters()[p.addrs[1]]
	if c.Dropped == 0 || c.DroppedIn == 0 {
		t.Errorf("the cuts took nothing: %+v", c)
	}
	weather := faults.Rule{Drop: 0.05, Delay: 2 * time.Millisecond, Jitter: 2 * time.Millisecond, Duplicate: 0.05, Reorder: 0.05}
	set(t, p.filters[0], faults.Table{faults.Others: weather})
	eventually(t, "bad weather touches packets", func() bool {
		now := p.filters[0].Counters()[p.addrs[1]]
		return now.Delayed > 100 && now.Dropped > c.Dropped
	})
	if !p.connected() {
		t.Error("bad weather parted the hosts")
	}
}

func set(t *testing.T, f *faults.Filter, table faults.Table) {
	t.Helper()
	if err := f.Set(table); err != nil {
		t.Fatal(err)
	}
}

// BenchmarkStream sends 64 MiB on a libp2p stream: with a plain socket and with
// ours, in turns, and reports the ratio of the two.
func BenchmarkStream(b *testing.B) {
	filter := faults.New(1)
	plain := newLine(b, func(n string, a *net.UDPAddr) (net.PacketConn, error) { return net.ListenUDP(n, a) })
	filtered := newLine(b, filter.ListenUDP)
	var took [2]time.Duration
	for b.Loop() {
		took[0] += plain.send(b)
		took[1] += filtered.send(b)
	}
	mb := float64(b.N) * lineBytes / 1e6
	b.ReportMetric(mb/took[0].Seconds(), "plain-MB/s")
	b.ReportMetric(mb/took[1].Seconds(), "filtered-MB/s")
	b.ReportMetric(took[0].Seconds()/took[1].Seconds(), "filtered/plain")
}

const lineBytes = 64 << 20

// line is a libp2p stream between two hosts of this process.
type line struct {
	out network.Stream
	in  chan network.Stream
	got network.Stream
}

type listenUDP = func(string, *net.UDPAddr) (net.PacketConn, error)

type loopbackSource struct{}

func (loopbackSource) PreferredSourceIPForDestination(*net.UDPAddr) (net.IP, error) {
	return net.IPv4(127, 0, 0, 1), nil
}

func newLine(b *testing.B, listen listenUDP) *line {
	b.Helper()
	from, to := newHost(b, listen), newHost(b, listen)
	l := &line{in: make(chan network.Stream, 1)}
	to.SetStreamHandler("/line", func(s network.Stream) { l.in <- s })
	if err := from.Connect(b.Context(), peer.AddrInfo{ID: to.ID(), Addrs: to.Addrs()}); err != nil {
		b.Fatal(err)
	}
	var err error
	if l.out, err = from.NewStream(b.Context(), to.ID(), "/line"); err != nil {
		b.Fatal(err)
	}
	if _, err := l.out.Write([]byte{0}); err != nil {
		b.Fatal(err)
	}
	l.got = <-l.in
	if _, err := io.ReadFull(l.got, make([]byte, 1)); err != nil {
		b.Fatal(err)
	}
	return l
}

func newHost(b *testing.B, listen listenUDP) host.Host {
	b.Helper()
	h, err := libp2p.New(libp2p.ListenAddrStrings("/ip4/127.0.0.1/udp/0/quic-v1"), libp2p.DisableMetrics(),
		libp2p.QUICReuse(func(reset quic.StatelessResetKey, token quic.TokenGeneratorKey) (*quicreuse.ConnManager, error) {
			m, err := quicreuse.NewConnManager(reset, token, quicreuse.OverrideListenUDP(listen),
				quicreuse.OverrideSourceIPSelector(func() (quicreuse.SourceIPSelector, error) { return loopbackSource{}, nil }))
			if err == nil {
				b.Cleanup(func() { m.Close() })
			}
			return m, err
		}))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { h.Close() })
	return h
}

func (l *line) send(b *testing.B) time.Duration {
	began := time.Now()
	failed := make(chan error, 1)
	go func() {
		chunk := make([]byte, 1<<20)
		for range lineBytes / len(chunk) {
			if _, err := l.out.Write(chunk); err != nil {
				failed <- err
				return
			}
		}
		failed <- nil
	}()
	if _, err := io.CopyN(io.Discard, l.got, lineBytes); err != nil {
		b.Fatal(err)
	}
	if err := <-failed; err != nil {
		b.Fatal(err)
	}
	return time.Since(began)
}
