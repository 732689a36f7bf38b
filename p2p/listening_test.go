package p2p

import (
	"fmt"
	"strings"
	"testing"
	"time"

	pb "github.com/libp2p/go-libp2p-pubsub/pb"
	"github.com/libp2p/go-libp2p/core/peer"
)

// A peer that dies without a word and starts at once hears by gossip, and goes on hearing
// when the dead connection is noticed.
func TestGossipReachesWhoStartsAgain(t *testing.T) {
	cuts := newCuts()
	var configs [2]Config
	var peers [2]Peer
	for i := range configs {
		c := loopbackConfig()
		c.Gossip, c.ListenUDP = true, cuts.listen
		c.Identity, peers[i].ID = testIdentity(t)
		c.Listen = []string{fmt.Sprintf("/ip4/127.0.0.1/udp/%d/quic-v1", freePort(t))}
		p, err := ParsePeer(c.Listen[0] + "/p2p/" + peers[i].ID.String())
		if err != nil {
			t.Fatal(err)
		}
		configs[i], peers[i] = c, p
	}
	configs[0].Bundle, configs[1].Bundle = peers[1:], peers[:1]
	stays := start(t, configs[0])
	if err := stays.Join(TopicBlocks, Topic{}); err != nil {
		t.Fatal(err)
	}
	round := uint64(0)
	hears := func(p *peerUnderTest, what string) {
		t.Helper()
		last := round
		eventually(t, what, func() bool {
			round++
			b := testBlock(t)
			b.Author, b.Round = stays.ID(), round
			if err := stays.Publish(testContext(t), TopicBlocks, encodeBlock(b)[frameHeaderBytes:]); err != nil {
				t.Fatal(err)
			}
			time.Sleep(20 * time.Millisecond)
			return p.shelf.LastRound(stays.ID()) > last
		})
	}
	for life := range 3 {
		p := startOnly(t, configs[1])
		if err := p.Join(TopicBlocks, p.shelf.topic()); err != nil {
			t.Fatal(err)
		}
		hears(p, fmt.Sprintf("it hears, life %d", life))
		if life > 0 { // the connection of the life before is noticed to be dead
			time.Sleep(configs[0].DeadAfter + time.Second)
			hears(p, fmt.Sprintf("it still hears, life %d", life))
		}
		cuts.set(func(int, int) bool { return true })
		p.close(t)
		cuts.set(nil)
	}
}

// A peer that said it listens, and that the library does not list, is connected anew;
// then it says it again. Whoever does not listen, or is listed, is left alone.
func TestForgottenListenersAreConnectedAnew(t *testing.T) {
	hosts := make([]*peerUnderTest, 3)
	var ids []peer.ID
	for i := range hosts {
		c := loopbackConfig()
		c.Gossip = true
		if i > 0 {
			p, err := ParsePeer(hosts[0].Addrs()[0].String())
			if err != nil {
				t.Fatal(err)
			}
			c.Bundle = []Peer{p}
		}
		hosts[i] = start(t, c)
		ids = append(ids, hosts[i].ID())
	}
	a := hosts[0]
	if err := a.Join(TopicBlocks, Topic{}); err != nil {
		t.Fatal(err)
	}
	if err := hosts[1].Join(TopicBlocks, hosts[1].shelf.topic()); err != nil {
		t.Fatal(err)
	}
	name := a.gossip.name(TopicBlocks)
	noted := func(p peer.ID) bool {
		l := &a.gossip.listening
		l.mu.Lock()
		defer l.mu.Unlock()
		return !l.since[p][name].IsZero()
	}
	eventually(t, "all are connected, and one listens", func() bool { return len(a.connectedPeers()) == 2 && noted(ids[1]) })
	nextEvent(t, a.Host, PeerUp, ids[2])
	listed := a.session(ids[1])
	time.Sleep(unheardAfter + 2*a.config.HealEvery)
	subscribe, topic := true, name
	a.gossip.listening.note(ids[2], []*pb.RPC_SubOpts{{Subscribe: &subscribe, Topicid: &topic}})
	if e := nextEvent(t, a.Host, PeerDown, ids[2]); !strings.Contains(e.Reason, "gossip") {
		t.Errorf("it went because of %q", e.Reason)
	}
	nextEvent(t, a.Host, PeerUp, ids[2])
	if noted(ids[2]) || !noted(ids[1]) {
		t.Error("what was said over a connection that is gone is remembered, or what was said over one that is not is forgotten")
	}
	if a.session(ids[1]) != listed {
		t.Error("the peer that is listed was hung up on")
	}
}
