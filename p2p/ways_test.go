package p2p

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
	ds "github.com/ipfs/go-datastore"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
)

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// keep puts objects on a shelf and returns their names.
func (s *shelf) keep(n, size int, salt byte) (cids []cid.Cid) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range n {
		data := make([]byte, max(size, 9))
		binary.BigEndian.PutUint64(data, uint64(i))
		data[8] = salt
		o := object(data)
		s.objects[o.CID] = data
		cids = append(cids, o.CID)
	}
	return cids
}

// Objects spread over three peers are found, more of them than one request may
// name and more bytes than one answer may have.
func TestFetchFindsWhatIsSpreadOverPeers(t *testing.T) {
	all := startCommittee(t, 4, nil, nil)
	eventually(t, "all are connected", func() bool { return streamsAll(all) })
	var cids []cid.Cid
	for i, p := range all[1:] {
		cids = append(cids, p.shelf.keep(2*requestCIDsMax, 100, byte(i))...)
	}
	cids = append(cids, all[2].shelf.keep(40, itemBytesMax, 9)...)
	items, err := all[0].Fetch(testContext(t), all[1].ID(), cids)
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[cid.Cid]bool)
	for _, i := range items {
		if checkCID(i.CID, i.Data) != nil || got[i.CID] {
			t.Errorf("%s came wrong or twice", i.CID)
		}
		got[i.CID] = true
	}
	for _, c := range cids {
		if !got[c] {
			t.Errorf("%s is missing", c)
		}
	}
	some, err := all[0].Fetch(testContext(t), "", []cid.Cid{cids[0], object([]byte("nobody has this")).CID})
	if !errors.Is(err, ErrNotFound) || len(some) != 1 {
		t.Errorf("%d objects, %v", len(some), err)
	}
}

// The only peer that has an object, and breaks off its first answer, is asked again.
func TestFetchAsksAgainWhoBrokeOff(t *testing.T) {
	all := startCommittee(t, 2, nil, nil)
	eventually(t, "connected", func() bool { return streamsAll(all) })
	c := all[1].shelf.keep(1, 100, 0)
	var asked atomic.Int32
	all[1].host.SetStreamHandler(all[1].protocols.fetch, func(stream network.Stream) {
		if asked.Add(1) == 1 {
			stream.Reset()
			return
		}
		all[1].serveRequest(stream)
	})
	if items, err := all[0].Fetch(testContext(t), "", c); err != nil || len(items) != 1 {
		t.Errorf("%d objects, %v", len(items), err)
	}
}

// A peer that asks too fast is told to wait, waits, and gets its answer.
func TestRequestsAreThrottled(t *testing.T) {
	all := startCommittee(t, 2, nil, nil)
	a, b := all[0], all[1]
	eventually(t, "connected", func() bool { return streamsAll(all) })
	c := b.shelf.keep(1, 10, 0)
	now := time.Now()
	for range requestsBurst {
		if way, _ := b.serving.enter(a.ID(), true, now); way != passed {
			break
		}
		b.serving.leave(a.ID(), 0)
	}
	if _, _, err := a.Request(testContext(t), b.ID(), c); err != nil {
		t.Error(err)
	}
	b.serving.mu.Lock()
	b.serving.peers[a.ID()].bytes.tokens = -answerPerSecond / 10
	b.serving.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if _, _, err := a.Request(ctx, b.ID(), c); err == nil {
		t.Error("bytes beyond the rate are served")
	}
	if _, _, err := a.Request(testContext(t), b.ID(), c); err != nil {
		t.Error(err)
	}
}

// Observers get blocks by gossip, also those who are connected with no validator
// that makes any.
func TestGossipReachesObservers(t *testing.T) {
	const n = 5
	hosts := make([]*peerUnderTest, n)
	for i := range hosts {
		c := loopbackConfig()
		c.Gossip = true
		if i > 0 { // a chain: each knows only the one before
			p, err := ParsePeer(hosts[i-1].Addrs()[0].String())
			if err != nil {
				t.Fatal(err)
			}
			c.Bundle = []Peer{p}
		}
		hosts[i] = start(t, c)
		if err := hosts[i].Join(TopicBlocks, hosts[i].shelf.topic()); err != nil {
			t.Fatal(err)
		}
	}
	first, last := hosts[0], hosts[n-1]
	round := uint64(0)
	eventually(t, "a block gets through the chain", func() bool {
		round++ // gossip promises nothing about any single one
		b := testBlock(t)
		b.Author, b.Round = first.ID(), round
		if err := first.Publish(testContext(t), TopicBlocks, encodeBlock(b)[frameHeaderBytes:]); err != nil {
			t.Fatal(err)
		}
		return last.shelf.LastRound(first.ID()) > 0
	})
	if err := first.Join(TopicBlocks, Topic{}); err == nil {
		t.Error("a topic is joined twice")
	}
	if err := first.Join("nonsense", Topic{}); err == nil {
		t.Error("a foreign topic is joined")
	}
	if err := first.Publish(testContext(t), TopicServices, []byte("x")); err == nil {
		t.Error("publishing to a topic that is not joined")
	}
	if err := first.Publish(testContext(t), TopicBlocks, make([]byte, first.config.BlockBytesMax+1)); err == nil {
		t.Error("publishing too much")
	}
}

// A validator that only publishes is heard by observers and hears nothing.
func TestPublishingAloneIsHeard(t *testing.T) {
	publisher := startGossiping(t, Topic{})
	var observers []*peerUnderTest
	for range 2 {
		s := newShelf()
		o := startGossiping(t, s.topic(), publisher)
		o.shelf = s
		observers = append(observers, o)
	}
	heard := func(o *peerUnderTest) bool { return o.shelf.LastRound(publisher.ID()) > 0 }
	round := uint64(0)
	eventually(t, "both observers hear it", func() bool {
		round++
		b := testBlock(t)
		b.Author, b.Round = publisher.ID(), round
		if err := publisher.Publish(testContext(t), TopicBlocks, encodeBlock(b)[frameHeaderBytes:]); err != nil {
			t.Fatal(err)
		}
		return heard(observers[0]) && heard(observers[1])
	})
	for _, o := range observers {
		if slices.Contains(o.gossip.pubsub.ListPeers(o.gossip.name(TopicBlocks)), publisher.ID()) {
			t.Error("the publisher is sent what others publish")
		}
	}
	if err := publisher.Join(TopicServices, Topic{Deliver: func(peer.ID, []byte) {}}); !errors.Is(err, errHalfTopic) {
		t.Errorf("a topic that is delivered unchecked: %v", err)
	}
}

func startGossiping(t *testing.T, topic Topic, known ...*peerUnderTest) *peerUnderTest {
	t.Helper()
	c := loopbackConfig()
	c.Gossip = true
	for _, k := range known {
		c.Bundle = append(c.Bundle, k.peer(t))
	}
	p := start(t, c)
	if err := p.Join(TopicBlocks, topic); err != nil {
		t.Fatal(err)
	}
	return p
}

// peer is what others need to know of p.
func (p *peerUnderTest) peer(t *testing.T) Peer {
	t.Helper()
	known, err := ParsePeer(p.Addrs()[0].String())
	if err != nil {
		t.Fatal(err)
	}
	return known
}

// A newcomer that has a network's name, one raw address and an object's CID, and
// knows no validator, gets the object: so a node joins by the CID of the bundle.
func TestNewcomerFetchesByOneAddress(t *testing.T) {
	all := startCommittee(t, 4, nil, func(_ int, c *Config) { c.Gossip, c.DHT = true, true })
	genesis := all[2].shelf.keep(1, 5000, 1)[0]
	c := loopbackConfig()
	c.Gossip, c.DHT = true, true
	c.Bundle = []Peer{all[2].peer(t)}
	c.Listen, c.Follow = nil, 0
	newcomer := start(t, c)
	nextEvent(t, newcomer.Host, PeerUp, all[2].ID())
	items, err := newcomer.Fetch(testContext(t), all[2].ID(), []cid.Cid{genesis})
	if err != nil || len(items) != 1 || items[0].CID != genesis {
		t.Fatalf("%d objects, %v", len(items), err)
	}
	// It may put questions, too.
	all[2].shelf.mu.Lock()
	all[2].shelf.answer = func(context.Context, peer.ID, []byte) ([]byte, error) { return []byte("42"), nil }
	all[2].shelf.mu.Unlock()
	if answer, err := newcomer.Ask(testContext(t), all[2].ID(), []byte("?")); err != nil || string(answer) != "42" {
		t.Fatalf("%q, %v", answer, err)
	}
	for _, offender := range []*peerUnderTest{all[2], newcomer} {
		if len(offender.scores.offenders) > 0 {
			t.Errorf("offences: %v", offender.scores.offenders)
		}
	}
}

// numbered is a namespace whose values are "name number" with a check of the name.
type numbered struct{}

func (numbered) Validate(name string, value []byte) error {
	var n uint64
	var of string
	if _, err := fmt.Sscanf(string(value), "%s %d", &of, &n); err != nil || of != name {
		return fmt.Errorf("%q is not of %q", value, name)
	}
	return nil
}

func (numbered) Newer(a, b []byte) bool {
	number := func(v []byte) (n uint64) { fmt.Sscanf(string(v), "%s %d", new(string), &n); return n }
	return number(a) > number(b)
}

func startDHT(t *testing.T, n int) []*peerUnderTest {
	all := startCommittee(t, n, nil, func(_ int, c *Config) {
		c.DHT = true
		c.Records = map[string]RecordRules{"test": numbered{}}
	})
	eventually(t, "the tables are full", func() bool {
		for _, p := range all {
			if p.finder.dht.RoutingTable().Size() < n-1 {
				return false
			}
		}
		return true
	})
	return all
}

func TestRecordsAndProvidersAreFound(t *testing.T) {
	all := startDHT(t, 4)
	ctx := testContext(t)
	if err := all[0].PutRecord("test", "a", []byte("a 1")); err != nil {
		t.Fatal(err)
	}
	has := func(p *peerUnderTest, want string) bool {
		got, err := p.GetRecord(ctx, "test", "a")
		return err == nil && string(got) == want
	}
	eventually(t, "the record is found", func() bool { return has(all[3], "a 1") })
	if err := all[1].PutRecord("test", "a", []byte("a 2")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the newer record is found", func() bool { return has(all[3], "a 2") && has(all[0], "a 2") })
	if err := all[0].PutRecord("test", "a", []byte("b 3")); err == nil {
		t.Error("a record that is not valid is put")
	}
	if err := all[0].PutRecord("other", "a", []byte("a 3")); err == nil {
		t.Error("a namespace without rules is taken")
	}
	if _, err := all[0].GetRecord(ctx, "test", "nothing"); !errors.Is(err, ErrNotFound) {
		t.Errorf("what is not there: %v", err)
	}

	c := all[1].shelf.keep(1, 10, 0)[0]
	if err := all[1].Provide(c); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the provider is found", func() bool {
		found, err := all[3].FindProviders(ctx, c, 5)
		return err == nil && len(found) == 1 && found[0].ID == all[1].ID()
	})
	items, err := all[3].Fetch(ctx, "", []cid.Cid{c})
	if err != nil || len(items) != 1 || !bytes.Equal(items[0].Data, all[1].shelf.objects[c]) {
		t.Errorf("%v, %v", items, err)
	}
}

func key(i int) ds.Key { return ds.NewKey(fmt.Sprint(i)) }

func TestBoundedStore(t *testing.T) {
	s := newBoundedStore(3, 100)
	ctx := testContext(t)
	for i := range 3 {
		if err := s.Put(ctx, key(i), make([]byte, 10)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Put(ctx, key(4), nil); !errors.Is(err, errStoreFull) {
		t.Errorf("a fourth entry of three: %v", err)
	}
	if err := s.Put(ctx, key(0), make([]byte, 200)); !errors.Is(err, errStoreFull) {
		t.Errorf("200 bytes of 100: %v", err)
	}
	if v, err := s.Get(ctx, key(0)); err != nil || len(v) != 10 {
		t.Errorf("what was there is gone: %v", err)
	}
	if err := errors.Join(s.Delete(ctx, key(0)), s.Put(ctx, key(4), make([]byte, 20))); err != nil {
		t.Error(err)
	}
	if err := s.Delete(ctx, key(7)); err != nil || s.bytes != 10+10+20+3*2 {
		t.Errorf("%d bytes counted, %v", s.bytes, err)
	}
}

// A new committee changes whose streams are open.
func TestCommitteeChanges(t *testing.T) {
	all := startCommittee(t, 3, nil, nil)
	eventually(t, "streams stand", func() bool { return streamsAll(all) })
	two := all[0].config.Committee[:2]
	for _, p := range all {
		p.SetCommittee(two)
	}
	eventually(t, "only two have streams between them", func() bool {
		return len(all[0].allSenders()) == 2 && len(all[1].allSenders()) == 2 && len(all[2].allSenders()) == 0
	})
	for _, s := range all[0].allSenders() {
		if s.follower != (s.to == all[2].ID()) {
			t.Errorf("%s follows: %v", s.to, s.follower)
		}
	}
	for _, p := range all {
		p.SetCommittee(all[0].config.Committee)
	}
	eventually(t, "all have streams again", func() bool {
		for _, p := range all {
			for _, s := range p.allSenders() {
				if s.follower {
					return false
				}
			}
		}
		return streamsAll(all)
	})
}
