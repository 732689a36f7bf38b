package p2p

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/marcopolo/simnet"
	ma "github.com/multiformats/go-multiaddr"
)

// simulation is a network of hosts in virtual time. Packets between two of them
// vanish when cut says so.
type simulation struct {
	net   *simnet.Simnet
	peers []Peer
	hosts []*peerUnderTest // nil while down
	cut   atomic.Pointer[func(from, to int) bool]
}

// simConn drops packets on their way out.
type simConn struct {
	*simnet.SimConn
	s    *simulation
	from int
}

// All hosts are behind one public address, as a whole network may be: the
// library's own limits on connections from one address would not let it heal.
const (
	simPort = 8000
	simIP   = "1.0.0.1"
)

func (c *simConn) WriteTo(b []byte, to net.Addr) (int, error) {
	if cut := c.s.cut.Load(); cut != nil && (*cut)(c.from, to.(*net.UDPAddr).Port-simPort) {
		return len(b), nil
	}
	return c.SimConn.WriteTo(b, to)
}

func (s *simulation) listen(i int) func(string, *net.UDPAddr) (net.PacketConn, error) {
	return func(_ string, addr *net.UDPAddr) (net.PacketConn, error) {
		fast := simnet.LinkSettings{BitsPerSecond: 100_000_000}
		return &simConn{s.net.NewEndpoint(addr, simnet.NodeBiDiLinkSettings{Uplink: fast, Downlink: fast}), s, i}, nil
	}
}

// simulate runs n hosts, the first of which are the committee. It must run in a
// synctest bubble.
func simulate(t *testing.T, n int, change func(s *simulation, i int, c *Config)) *simulation {
	s := &simulation{net: &simnet.Simnet{LatencyFunc: simnet.StaticLatency(5 * time.Millisecond)}, hosts: make([]*peerUnderTest, n)}
	s.net.Start()
	configs := make([]Config, n)
	for i := range n {
		c := loopbackConfig()
		c.Gossip, c.DHT = true, true
		c.Listen = []string{fmt.Sprintf("/ip4/%s/udp/%d/quic-v1", simIP, simPort+i)}
		c.ListenUDP = s.listen(i)
		c.Provider = fmt.Sprintf("provider-%d", i%4)
		key, id := testIdentity(t)
		c.Identity = key
		s.peers = append(s.peers, Peer{ID: id, Addrs: []ma.Multiaddr{ma.StringCast(c.Listen[0])}, Provider: c.Provider})
		configs[i] = c
	}
	for i, c := range configs {
		change(s, i, &c)
		s.hosts[i] = startOnly(t, c)
		if c.Gossip {
			if err := s.hosts[i].Join(TopicBlocks, s.hosts[i].shelf.topic()); err != nil {
				t.Fatal(err)
			}
		}
	}
	return s
}

func (s *simulation) set(cut func(from, to int) bool) {
	if cut == nil {
		s.cut.Store(nil)
		return
	}
	s.cut.Store(&cut)
}

func (s *simulation) close(t *testing.T) {
	for _, h := range s.hosts {
		if h != nil {
			h.close(t)
		}
	}
	s.net.Close()
}

func (s *simulation) kill(t *testing.T, i int) {
	s.hosts[i].close(t)
	s.hosts[i] = nil
}

// whole reports whether every living host is connected with all those it wants:
// the others of the committee for a validator, enough peers for an observer.
func (s *simulation) whole(committee int) error {
	for i, h := range s.hosts {
		if h == nil {
			continue
		}
		connected := h.connectedPeers()
		for j, g := range s.hosts {
			if i != j && g != nil && j < committee && h.session(g.ID()) == nil {
				return fmt.Errorf("%d has not %d, only %d peers", i, j, len(connected))
			}
		}
	}
	return nil
}

// wholeAgain waits in virtual time until the network is whole and a block of
// every validator has reached every other by its stream; it returns how long
// that took.
func (s *simulation) wholeAgain(t *testing.T, committee int, limit time.Duration) time.Duration {
	began := time.Now()
	for _, h := range s.hosts[:committee] {
		if h != nil {
			h.publish(t, 200)
		}
	}
	for {
		err := s.whole(committee)
		if err == nil {
			err = s.delivered(committee)
		}
		if err == nil {
			return time.Since(began)
		}
		if time.Since(began) > limit {
			t.Fatalf("not whole %v after healing: %v", limit, err)
		}
		time.Sleep(10 * time.Millisecond) // virtual
	}
}

func (s *simulation) delivered(committee int) error {
	for i, h := range s.hosts[:committee] {
		for j, g := range s.hosts[:committee] {
			if h != nil && g != nil && i != j && !g.shelf.has(h.ID(), h.round) {
				return fmt.Errorf("%d lacks blocks of %d", j, i)
			}
		}
	}
	return nil
}

// partition is a way to cut a network in pieces.
type partition struct {
	name string
	cut  func(from, to int) bool
}

func partitions() []partition {
	half := func(i int) bool { return i%2 == 0 }
	return []partition{
		{"halves", func(from, to int) bool { return half(from) != half(to) }},
		{"one against all", func(from, to int) bool { return from == 3 || to == 3 }},
		{"one way", func(from, to int) bool { return half(from) && !half(to) }},
		// Two halves that both still see host 0.
		{"bridge", func(from, to int) bool { return from != 0 && to != 0 && half(from) != half(to) }},
	}
}

// wholeWithin is the promise: after any cut, in virtual seconds.
const wholeWithin = 3 * time.Second

// pass lets virtual time pass; a part of a second more, so that healing falls
// on any point of the loops.
func pass(d time.Duration) { time.Sleep(d + time.Duration(rand.IntN(1000))*time.Millisecond) }

// simulated is how many hosts a simulation has: twenty, or fewer where it should
// not last long.
func simulated() int {
	if testing.Short() {
		return 8
	}
	return 20
}

// noBubble skips a simulation under the race detector, whose runtime crashes in
// bubbles as busy as these (https://github.com/golang/go/issues/78156). It looks at
// the same goroutines in the tests on real sockets.
func noBubble(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector crashes in a busy synctest bubble: golang/go#78156")
	}
}

// Twenty validators, cut in every way, one cut after the other. HOLDFAST_P2P_LONG cuts
// each way for up to an hour, in a network of its own; half an hour of a core each.
func TestSimulatedPartitionsHeal(t *testing.T) {
	noBubble(t)
	if os.Getenv("HOLDFAST_P2P_LONG") != "" {
		for _, p := range partitions() {
			t.Run(p.name, func(t *testing.T) {
				t.Parallel()
				var cuts []timedCut
				for _, length := range []time.Duration{5 * time.Second, time.Minute, 10 * time.Minute, time.Hour} {
					cuts = append(cuts, timedCut{p, length})
				}
				cutAndHeal(t, cuts)
			})
		}
		return
	}
	var cuts []timedCut
	for i, p := range partitions() {
		cuts = append(cuts, timedCut{p, []time.Duration{5 * time.Second, 12 * time.Second}[i%2]})
	}
	cutAndHeal(t, cuts)
}

// timedCut is a partition, and for how much of virtual time.
type timedCut struct {
	partition
	length time.Duration
}

// cutAndHeal runs a network of validators through the cuts, and holds it to its promise
// after each.
func cutAndHeal(t *testing.T, cuts []timedCut) {
	n := simulated()
	synctest.Test(t, func(t *testing.T) {
		s := simulate(t, n, func(s *simulation, i int, c *Config) { c.Committee = s.peers })
		defer s.close(t)
		t.Logf("%d validators whole %v after the start", n, s.wholeAgain(t, n, 10*time.Second))
		for _, c := range cuts {
			s.set(c.cut)
			pass(c.length)
			if s.whole(n) == nil {
				t.Fatalf("%s: the cut did not bite", c.name)
			}
			s.set(nil)
			t.Logf("%s for %v: whole after %v", c.name, c.length, s.wholeAgain(t, n, wholeWithin))
		}
	})
}

// An hour in two halves, with all bootstrap peers gone. An hour of twenty hosts
// takes four minutes of a core, so it takes HOLDFAST_P2P_LONG; else there are
// seven. Nobody was given an address of any validator: they were found through the
// bootstrap peers, and what brings them together again is the address book.
func TestSimulatedHourWithoutBootstrapPeersHeals(t *testing.T) {
	noBubble(t)
	n, validators, length := 7, 4, time.Hour
	if os.Getenv("HOLDFAST_P2P_LONG") != "" {
		n = 20
	} else if testing.Short() {
		length = 5 * time.Minute
	}
	synctest.Test(t, func(t *testing.T) {
		bootstrap := []int{n - 1}
		if n == 20 {
			bootstrap = append(bootstrap, n-2)
		}
		s := simulate(t, n, func(s *simulation, i int, c *Config) {
			for _, p := range s.peers[:validators] {
				c.Committee = append(c.Committee, Peer{ID: p.ID, Provider: p.Provider})
			}
			for _, b := range bootstrap {
				c.Bundle = append(c.Bundle, s.peers[b])
			}
			c.PeersWanted = 4
			// Heartbeats are most of an hour's work, and healing needs none.
			c.Beat, c.DeadAfter = 5*time.Second, 20*time.Second
		})
		defer s.close(t)
		t.Logf("%d hosts found %d validators %v after the start", n, validators, s.wholeAgain(t, validators, 5*time.Minute))
		pass(10 * time.Second) // into the books
		for _, b := range bootstrap {
			s.kill(t, b)
		}
		s.set(partitions()[0].cut)
		pass(length)
		if s.whole(validators) == nil {
			t.Fatal("the cut did not bite")
		}
		s.set(nil)
		t.Logf("cut for %v: whole %v after healing", length, s.wholeAgain(t, validators, wholeWithin))
	})
}
