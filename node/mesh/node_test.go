package mesh

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/holdfast-mesh/holdfast/p2p"
)

// testNode is a real host with a mesh, as a node has them.
type testNode struct {
	*Mesh
	host *p2p.Host
	key  crypto.PrivKey
	addr p2p.Peer
	stop func()
}

// door is the server of a host: it hands questions about services to the mesh.
type door struct{ mesh atomic.Pointer[Mesh] }

func (d *door) Serve(context.Context, peer.ID, []cid.Cid, func(p2p.Item) bool) error { return nil }

func (d *door) Answer(ctx context.Context, from peer.ID, question []byte) ([]byte, error) {
	if m := d.mesh.Load(); m != nil && len(question) > 0 && question[0] == QuestionTag {
		return m.Answer(ctx, from, question)
	}
	return nil, errors.New("nobody here answers that")
}

// nodeSetup is what a test may change of a node before it starts.
type nodeSetup struct {
	host p2p.Config
	mesh Config
	bare bool // a host without a mesh
}

var testProviders = [...]string{"aws", "gcp", "azure", "hetzner"}

// startNodes starts n nodes that all know each other, one at each provider.
func startNodes(t testing.TB, n int, change func(i int, s *nodeSetup)) []*testNode {
	t.Helper()
	setups := make([]nodeSetup, n)
	var peers []p2p.Peer
	for i := range setups {
		setups[i] = setupNode(t, i)
		peers = append(peers, addrOf(t, &setups[i]))
	}
	nodes := make([]*testNode, n)
	for i := range setups {
		setups[i].host.Bundle = peers
		if change != nil {
			change(i, &setups[i])
		}
		nodes[i] = startNode(t, setups[i])
		t.Cleanup(nodes[i].stop)
	}
	return nodes
}

// setupNode is the i-th node of a test on loopback.
func setupNode(t testing.TB, i int) nodeSetup {
	t.Helper()
	h := p2p.DefaultConfig()
	h.Identity = testKey(t, i)
	h.Network = testNetwork
	h.Listen = []string{fmt.Sprintf("/ip4/127.0.0.1/udp/%d/quic-v1", freePort(t))}
	h.MDNS, h.NAT, h.RelayService, h.AddressDiscovery = false, false, false, false
	h.Provider = testProviders[i%4]
	h.HealEvery = 100 * time.Millisecond
	h.Records = map[string]p2p.RecordRules{Namespace: Rules(testNetwork)}
	c := DefaultConfig()
	c.Key, c.Network = h.Identity, h.Network
	c.Provider, c.Region = h.Provider, fmt.Sprintf("region-%d", i)
	c.CheckEvery = 50 * time.Millisecond
	c.Beat, c.TTL = time.Second, 4*time.Second
	if os.Getenv("HOLDFAST_MESH_LOG") != "" {
		c.Logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})).With("self", i)
	}
	return nodeSetup{host: h, mesh: c}
}

func addrOf(t testing.TB, s *nodeSetup) p2p.Peer {
	t.Helper()
	id, err := peer.IDFromPrivateKey(s.host.Identity)
	if err != nil {
		t.Fatal(err)
	}
	p, err := p2p.ParsePeer(s.host.Listen[0] + "/p2p/" + id.String())
	if err != nil {
		t.Fatal(err)
	}
	p.Provider = s.host.Provider
	return p
}

// startNode opens and runs a node. Its stop may be called twice.
func startNode(t testing.TB, s nodeSetup) *testNode {
	t.Helper()
	server := &door{}
	s.host.Server = server
	var bundle []p2p.Peer
	self := addrOf(t, &s)
	for _, p := range s.host.Bundle {
		if p.ID != self.ID {
			bundle = append(bundle, p)
		}
	}
	s.host.Bundle = bundle
	host, err := p2p.Open(s.host)
	if err != nil {
		t.Fatal(err)
	}
	n := &testNode{host: host, key: s.host.Identity, addr: self}
	ctx, cancel := context.WithCancel(context.Background())
	hostDone, meshDone := make(chan error, 1), make(chan error, 1)
	if !s.bare {
		s.mesh.Host = host
		if n.Mesh, err = Open(s.mesh); err != nil {
			t.Fatal(err)
		}
		server.mesh.Store(n.Mesh)
		go func() { meshDone <- n.Run(ctx) }()
	} else {
		meshDone <- nil
	}
	go func() { hostDone <- host.Run(ctx) }()
	var stopped atomic.Bool
	n.stop = func() {
		if stopped.Swap(true) {
			return
		}
		cancel()
		errs := []error{<-meshDone}
		if n.Mesh != nil {
			errs = append(errs, n.Mesh.Close())
		}
		if err := errors.Join(append(errs, <-hostDone, host.Close())...); err != nil {
			t.Errorf("stopping a node: %v", err)
		}
	}
	return n
}

func freePort(t testing.TB) int {
	t.Helper()
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return c.LocalAddr().(*net.UDPAddr).Port
}

// eventually waits for a condition, which it asks often, for a time that only a
// broken machine needs.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(60 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
		time.Sleep(2 * time.Millisecond) // between two looks at a condition
	}
}

// states are what a node knows of a name: how many instances are in each state.
func (n *testNode) states(name string) map[State]int {
	states := make(map[State]int)
	for _, in := range n.Resolve(name).Instances {
		states[in.State]++
	}
	return states
}

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}
