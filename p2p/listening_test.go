package p2p

import (
	"strings"
	"testing"
	"time"

	pb "github.com/libp2p/go-libp2p-pubsub/pb"
	"github.com/libp2p/go-libp2p/core/peer"
)

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
