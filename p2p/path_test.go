package p2p

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/p2p/security/noise"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// A host that offers QUIC and TCP is reached by QUIC; one that offers TCP alone
// by TCP, secured by Noise.
func TestPathsByQUICAndTCP(t *testing.T) {
	both, tcp := loopbackConfig(), loopbackConfig()
	both.Listen = []string{"/ip4/127.0.0.1/udp/0/quic-v1", "/ip4/127.0.0.1/tcp/0"}
	tcp.Listen = []string{"/ip4/127.0.0.1/tcp/0"}
	a, b := start(t, both), start(t, tcp)
	c := loopbackConfig()
	c.Listen = both.Listen
	for _, p := range []*peerUnderTest{a, b} {
		c.Committee = append(c.Committee, Peer{ID: p.ID(), Addrs: p.host.Addrs()})
	}
	dialler := start(t, c)
	up := map[string]Path{}
	for len(up) < 2 {
		events, _, err := dialler.Events(testContext(t))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range events {
			if e.Kind == PeerUp {
				up[e.Peer.String()] = e.Path
			}
		}
	}
	if up[a.ID().String()] != PathQUIC || up[b.ID().String()] != PathTCP {
		t.Errorf("%v", up)
	}
	for _, conn := range dialler.host.Network().ConnsToPeer(b.ID()) {
		if s := conn.ConnState().Security; s != noise.ID {
			t.Errorf("security %q", s)
		}
	}
	b.stop() // a host that ends says goodbye
	if e := nextEvent(t, dialler.Host, PeerDown, b.ID()); e.Path != PathTCP || e.Notice == "" || e.Reason == "" {
		t.Errorf("%+v", e)
	}
}

// A host that nobody can call is reached through a relay, where blocks and
// heartbeats travel as well.
func TestRelayedPath(t *testing.T) {
	c := loopbackConfig()
	c.RelayService, c.NAT, c.Reach = true, true, ReachPublic
	relay := start(t, c)
	key, hiddenID := testIdentity(t)
	callerKey, callerID := testIdentity(t)
	at := relay.Addrs()[0]
	through, err := ParsePeer(fmt.Sprintf("%s/p2p-circuit/p2p/%s", at, hiddenID))
	if err != nil {
		t.Fatal(err)
	}
	hidden := loopbackConfig()
	hidden.Identity, hidden.Listen, hidden.NAT, hidden.Reach = key, nil, true, ReachPrivate
	hidden.Committee = []Peer{{ID: callerID}, {ID: hiddenID}}
	hidden.Bundle = []Peer{{ID: relay.ID(), Addrs: relay.host.Addrs()}}
	b := start(t, hidden)
	caller := loopbackConfig()
	caller.Identity, caller.NAT, caller.Listen = callerKey, true, nil
	caller.Committee = []Peer{{ID: callerID}, through}
	a := start(t, caller)
	if e := nextEvent(t, a.Host, PeerUp, hiddenID); e.Path != PathRelayed {
		t.Errorf("%+v", e)
	}
	eventually(t, "streams stand", func() bool { return len(a.allSenders()) == 1 && len(b.allSenders()) == 1 })
	a.publish(t, 100_000)
	b.publish(t, 100_000)
	eventually(t, "blocks get through the relay", func() bool { return a.shelf.has(b.ID(), 1) && b.shelf.has(a.ID(), 1) })
}

func TestFiguresAreRegisteredAndGone(t *testing.T) {
	registry := prometheus.NewRegistry()
	all := startCommittee(t, 2, nil, func(i int, c *Config) {
		if i == 0 {
			c.Registerer = registry
		}
	})
	eventually(t, "streams stand", func() bool { return streamsAll(all) })
	all[0].publish(t, 1000)
	eventually(t, "the block is there", func() bool { return all[1].shelf.has(all[0].ID(), 1) })
	count := func(name string) int {
		n, err := testutil.GatherAndCount(registry, name)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	for _, name := range []string{"peers", "validators_connected", "blocks_broadcast_total", "heartbeat_seconds", "stream_sent_bytes_total"} {
		if count("holdfast_p2p_"+name) != 1 {
			t.Errorf("no figure %s", name)
		}
	}
	if v := testutil.ToFloat64(all[0].meter.sent); v < 1000 {
		t.Errorf("%v bytes sent", v)
	}
	want := "# HELP holdfast_p2p_peers Connected peers.\n# TYPE holdfast_p2p_peers gauge\nholdfast_p2p_peers 1\n"
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "holdfast_p2p_peers"); err != nil {
		t.Error(err)
	}
	all[0].Close()
	if count("holdfast_p2p_peers") != 0 {
		t.Error("the figures outlive the host")
	}
}

// Two hosts on one machine find each other by mDNS alone, where there is multicast.
func TestMDNSFinds(t *testing.T) {
	var hosts []*peerUnderTest
	for range 2 {
		c := loopbackConfig()
		c.Listen = []string{"/ip4/0.0.0.0/udp/0/quic-v1"}
		c.MDNS = true
		hosts = append(hosts, start(t, c))
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	events, _, err := hosts[0].Events(ctx)
	if err != nil {
		t.Skipf("no multicast here: nobody was found in 5 s")
	}
	if events[0].Kind != PeerUp || events[0].Peer != hosts[1].ID() {
		t.Errorf("%+v", events)
	}
}
