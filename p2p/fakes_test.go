package p2p

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	mh "github.com/multiformats/go-multihash"
)

// shelf is a caller of this package: it keeps its own blocks and those it gets,
// and serves them.
type shelf struct {
	self peer.ID

	mu       sync.Mutex
	own      []Block
	got      map[peer.ID]map[uint64]Block
	last     Rounds
	objects  map[cid.Cid][]byte
	from     map[cid.Cid]peer.ID // who brought a block first
	copies   int                 // blocks received, repeats included
	refuse   func(Block) error
	forward  func(from peer.ID, b Block)
	copiesBy map[peer.ID]int // received of an author, repeats included
	answer   func(ctx context.Context, from peer.ID, question []byte) ([]byte, error)
}

func newShelf() *shelf {
	return &shelf{got: make(map[peer.ID]map[uint64]Block), last: Rounds{}, objects: make(map[cid.Cid][]byte),
		from: make(map[cid.Cid]peer.ID), copiesBy: make(map[peer.ID]int)}
}

// LastRound is the highest round there is. One that forwards what it has, as
// nodes do, counts only up to the first gap: what is shown is not sent again.
func (s *shelf) LastRound(a peer.ID) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.forward == nil || a == s.self {
		return s.last[a]
	}
	round := uint64(0)
	for _, there := s.got[a][1]; there; _, there = s.got[a][round+1] {
		round++
	}
	return round
}

func (s *shelf) Backlog(_ context.Context, to peer.ID, after uint64, have Rounds, bytesMax int) ([]Block, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []Block
	n := 0
	for _, b := range s.own {
		if b.Round > after && (n == 0 || n+len(b.Data) <= bytesMax) {
			out = append(out, b)
			n += len(b.Data)
		} else if b.Round > after {
			break
		}
	}
	if s.forward == nil {
		return out, nil
	}
	for author, rounds := range s.got { // order: authors apart
		for r := have[author] + 1; author != to && r <= s.last[author]; r++ {
			if b, ok := rounds[r]; ok {
				out = append(out, b)
			}
		}
	}
	return out, nil
}

func (s *shelf) Receive(_ context.Context, from peer.ID, b Block) error {
	if s.refuse != nil {
		if err := s.refuse(b); err != nil {
			return err
		}
	}
	s.mu.Lock()
	s.copies++
	rounds := s.got[b.Author]
	if rounds == nil {
		rounds = make(map[uint64]Block)
		s.got[b.Author] = rounds
	}
	_, known := rounds[b.Round]
	rounds[b.Round] = b
	if !known {
		s.from[b.CID] = from
	}
	s.objects[b.CID] = b.Data
	s.last[b.Author] = max(s.last[b.Author], b.Round)
	s.copiesBy[b.Author]++
	forward := s.forward
	s.mu.Unlock()
	if forward != nil && !known {
		forward(from, b)
	}
	return nil
}

func (s *shelf) Serve(_ context.Context, _ peer.ID, cids []cid.Cid, send func(Item) bool) error {
	var items []Item
	s.mu.Lock()
	for _, c := range cids {
		if data, ok := s.objects[c]; ok {
			items = append(items, Item{c, data})
		}
	}
	s.mu.Unlock()
	for _, i := range items {
		if !send(i) {
			break
		}
	}
	return nil
}

func (s *shelf) Answer(ctx context.Context, from peer.ID, question []byte) ([]byte, error) {
	s.mu.Lock()
	answer := s.answer
	s.mu.Unlock()
	if answer == nil {
		return nil, errors.New("nothing answers here")
	}
	return answer(ctx, from, question)
}

// has reports whether blocks from 1 to round of an author are all here.
func (s *shelf) has(author peer.ID, round uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for r := uint64(1); r <= round; r++ {
		if _, ok := s.got[author][r]; !ok {
			return false
		}
	}
	return true
}

func (s *shelf) copiesOf(author peer.ID) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.copiesBy[author]
}

func object(data []byte) Item {
	sum, err := mh.Sum(data, mh.SHA2_256, -1)
	if err != nil {
		panic(err)
	}
	return Item{cid.NewCidV1(cid.Raw, sum), data}
}

// peerUnderTest is a running host with its shelf.
type peerUnderTest struct {
	*Host
	shelf *shelf
	key   crypto.PrivKey
	stop  context.CancelFunc
	done  chan error
	round uint64
}

func (p *peerUnderTest) publish(t testing.TB, bytes int) Block {
	t.Helper()
	p.round++
	data := make([]byte, max(bytes, 8))
	rand.Read(data)
	binary.BigEndian.PutUint64(data, p.round)
	i := object(data)
	b := Block{Author: p.ID(), Round: p.round, CID: i.CID, Data: data}
	p.shelf.mu.Lock()
	p.shelf.own = append(p.shelf.own, b)
	p.shelf.objects[b.CID] = data
	p.shelf.last[p.ID()] = p.round
	p.shelf.mu.Unlock()
	p.Broadcast(b)
	return b
}

func (p *peerUnderTest) close(t testing.TB) {
	t.Helper()
	p.stop()
	if err := <-p.done; err != nil {
		t.Errorf("Run: %v", err)
	}
	if err := p.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}

func testIdentity(t testing.TB) (crypto.PrivKey, peer.ID) {
	t.Helper()
	key, err := NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	id, err := peer.IDFromPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return key, id
}

// loopbackConfig is for hosts in one process: no mDNS, no NAT.
func loopbackConfig() Config {
	c := DefaultConfig()
	c.Network = "test"
	c.Listen = []string{"/ip4/127.0.0.1/udp/0/quic-v1"}
	c.MDNS, c.NAT, c.RelayService, c.AddressDiscovery, c.DHT, c.Gossip = false, false, false, false, false, false
	if os.Getenv("HOLDFAST_P2P_LOG") != "" {
		c.Logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	return c
}

// start opens and runs a host; the test ends it.
func start(t testing.TB, c Config) *peerUnderTest {
	t.Helper()
	p := startOnly(t, c)
	t.Cleanup(func() { p.close(t) })
	return p
}

func startOnly(t testing.TB, c Config) *peerUnderTest {
	t.Helper()
	if c.Identity == nil {
		c.Identity, _ = testIdentity(t)
	}
	p := &peerUnderTest{shelf: newShelf(), key: c.Identity, done: make(chan error, 1)}
	if c.Blocks == nil {
		c.Blocks = p.shelf
	} else if s, ok := c.Blocks.(*shelf); ok {
		p.shelf = s
	}
	if c.Server == nil {
		c.Server = p.shelf
	}
	if c.Logger != nil {
		id, _ := peer.IDFromPrivateKey(c.Identity)
		c.Logger = c.Logger.With("self", id.String()[46:])
	}
	h, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	p.Host, p.shelf.self = h, h.ID()
	var ctx context.Context
	ctx, p.stop = context.WithCancel(context.Background())
	go func() { p.done <- h.Run(ctx) }()
	return p
}

// startCommittee runs n validators on loopback, with sockets that obey cuts.
func startCommittee(t testing.TB, n int, cuts *cuts, change func(i int, c *Config)) []*peerUnderTest {
	t.Helper()
	var peers []Peer
	var configs []Config
	for i := range n {
		c := loopbackConfig()
		key, id := testIdentity(t)
		port := freePort(t)
		c.Identity = key
		c.Listen = []string{fmt.Sprintf("/ip4/127.0.0.1/udp/%d/quic-v1", port)}
		c.Provider = fmt.Sprintf("provider-%d", i%4)
		if cuts != nil {
			c.ListenUDP = cuts.listen
		}
		p, err := ParsePeer(c.Listen[0] + "/p2p/" + id.String())
		if err != nil {
			t.Fatal(err)
		}
		p.Provider = c.Provider
		peers, configs = append(peers, p), append(configs, c)
	}
	var all []*peerUnderTest
	for i, c := range configs {
		c.Committee = peers
		if change != nil {
			change(i, &c)
		}
		all = append(all, start(t, c))
	}
	return all
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

// cuts drops packets between ports of loopback, silently.
type cuts struct {
	mu   sync.Mutex
	drop func(from, to int) bool
}

type cutConn struct {
	*net.UDPConn
	cuts *cuts
	port int
}

func newCuts() *cuts { return new(cuts) }

func (c *cuts) set(drop func(from, to int) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drop = drop
}

func (c *cuts) cut(from, to int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.drop != nil && c.drop(from, to)
}

func (c *cuts) listen(network string, addr *net.UDPAddr) (net.PacketConn, error) {
	u, err := net.ListenUDP(network, addr)
	if err != nil {
		return nil, err
	}
	return &cutConn{u, c, u.LocalAddr().(*net.UDPAddr).Port}, nil
}

func (c *cutConn) WriteTo(b []byte, to net.Addr) (int, error) {
	if c.cuts.cut(c.port, to.(*net.UDPAddr).Port) {
		return len(b), nil
	}
	return c.UDPConn.WriteTo(b, to)
}

func (c *cutConn) WriteMsgUDP(b, oob []byte, to *net.UDPAddr) (int, int, error) {
	if c.cuts.cut(c.port, to.Port) {
		return len(b), len(oob), nil
	}
	return c.UDPConn.WriteMsgUDP(b, oob, to)
}

func (p *peerUnderTest) port() int {
	var port int
	if _, err := fmt.Sscanf(p.config.Listen[0], "/ip4/127.0.0.1/udp/%d/quic-v1", &port); err != nil {
		panic(err)
	}
	return port
}

func portOf(t testing.TB, a ma.Multiaddr) int {
	t.Helper()
	s, err := a.ValueForProtocol(ma.P_UDP)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// eventually waits for a condition, which it asks often, for a time that only a
// broken machine needs.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(2 * time.Minute)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
		time.Sleep(2 * time.Millisecond) // between two looks at a condition
	}
}

// streamsAll reports whether every validator has a block stream to every other.
func streamsAll(all []*peerUnderTest) bool {
	for _, p := range all {
		if len(p.allSenders()) < len(all)-1 {
			return false
		}
	}
	return true
}

// nextEvent waits for an event of a kind about a peer.
func nextEvent(t testing.TB, h *Host, kind EventKind, about peer.ID) Event {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	for {
		events, _, err := h.Events(ctx)
		if errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("no %v about %s", kind, about)
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range events {
			if e.Kind == kind && e.Peer == about {
				return e
			}
		}
	}
}

// topic takes blocks by gossip; they are framed as on a stream.
func (s *shelf) topic() Topic {
	return Topic{
		Check: func(_ context.Context, _ peer.ID, data []byte) Verdict {
			if _, err := decodeBlock(data); err != nil {
				return Reject
			}
			return Accept
		},
		Deliver: func(from peer.ID, data []byte) {
			if b, err := decodeBlock(data); err == nil {
				s.Receive(context.Background(), from, b)
			}
		},
	}
}
