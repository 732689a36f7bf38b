package p2p

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	pb "github.com/libp2p/go-libp2p-pubsub/pb"
	"github.com/libp2p/go-libp2p/core/peer"
)

// The topics of a network. There are no others: subscriptions to foreign ones
// are an offence.
const (
	TopicBlocks   = "blocks"
	TopicServices = "services"
)

var topics = []string{TopicBlocks, TopicServices}

const (
	// gossipEnvelopeMax is what the library adds to a block's bytes.
	gossipEnvelopeMax = 64 << 10
	// gossipQueue replaces the library's 32 messages per peer, which overflow
	// silently in a burst of a committee's blocks.
	gossipQueue = 512
	// gossipChecks bounds the messages being checked at once.
	gossipChecks = 512
	// gossipInbox bounds the accepted messages that wait for Deliver.
	gossipInbox = 1024
	// foreignTopicsFree are forgiven in one message, for peers of a later version.
	foreignTopicsFree = 8
)

// Verdict is what becomes of a gossip message.
type Verdict int

const (
	// Accept hands the message on to other peers and to Deliver. A block whose
	// parents are unknown is accepted: it will not be looked at again.
	Accept Verdict = iota
	// Ignore drops it and blames nobody: old, or known.
	Ignore
	// Reject drops it and blames the peer that sent it: bad format or signature.
	Reject
)

// Topic is one topic's caller. Both functions may be called from many goroutines.
// Without any, the topic is only published to: what others publish neither comes
// nor is handed on. So a validator, who has every block by streams, can give its
// own to observers and need not take each of the others' a second time.
type Topic struct {
	// Check judges a message before it is handed on. The bytes are not to be changed.
	Check func(ctx context.Context, from peer.ID, data []byte) Verdict
	// Deliver takes an accepted message, one at a time.
	Deliver func(from peer.ID, data []byte)
}

var errHalfTopic = errors.New("p2p: a topic has both Check and Deliver, or neither to be published to alone")

// gossip carries messages to whoever listens, with no promise that they arrive:
// streams and requests make up for what is lost. Messages are named by their
// content and carry neither author nor signature of the library's: what is in
// them is signed.
type gossip struct {
	h      *Host
	pubsub *pubsub.PubSub // nil when off

	mu     sync.Mutex
	topics map[string]*pubsub.Topic

	listening listening
}

var errGossipOff = errors.New("p2p: gossip is off")

func openGossip(h *Host) (*gossip, error) {
	g := &gossip{h: h, topics: make(map[string]*pubsub.Topic)}
	if !h.config.Gossip {
		return g, nil
	}
	var err error
	g.pubsub, err = pubsub.NewGossipSub(h.ctx, h.host,
		pubsub.WithMessageSignaturePolicy(pubsub.StrictNoSign),
		pubsub.WithNoAuthor(),
		pubsub.WithMessageIdFn(contentID),
		pubsub.WithMaxMessageSize(h.config.BlockBytesMax+gossipEnvelopeMax),
		pubsub.WithPeerOutboundQueueSize(gossipQueue),
		pubsub.WithValidateQueueSize(gossipQueue),
		pubsub.WithValidateThrottle(gossipChecks),
		pubsub.WithSubscriptionFilter(g),
		pubsub.WithPeerScore(g.scoring()),
	)
	return g, err
}

func contentID(m *pb.Message) string {
	hash := sha256.New()
	hash.Write([]byte(m.GetTopic()))
	hash.Write([]byte{0})
	hash.Write(m.GetData())
	return string(hash.Sum(nil))
}

// scoring lets the library prune from its mesh those whose messages are
// invalid, and no one else: many honest nodes live behind one address, and an
// idle network delivers nothing.
func (g *gossip) scoring() (*pubsub.PeerScoreParams, *pubsub.PeerScoreThresholds) {
	perTopic := &pubsub.TopicScoreParams{
		SkipAtomicValidation:           true,
		TopicWeight:                    1,
		TimeInMeshQuantum:              time.Second, // has no weight, but the library divides by it
		InvalidMessageDeliveriesWeight: -10,
		InvalidMessageDeliveriesDecay:  0.9,
	}
	params := &pubsub.PeerScoreParams{
		SkipAtomicValidation: true,
		Topics:               make(map[string]*pubsub.TopicScoreParams),
		AppSpecificScore:     func(peer.ID) float64 { return 0 },
		DecayInterval:        pubsub.DefaultDecayInterval,
		DecayToZero:          pubsub.DefaultDecayToZero,
	}
	for _, t := range topics {
		params.Topics[g.name(t)] = perTopic
	}
	return params, &pubsub.PeerScoreThresholds{
		SkipAtomicValidation: true, GossipThreshold: -100, PublishThreshold: -200, GraylistThreshold: -400,
	}
}

func (g *gossip) name(topic string) string { return g.h.protocols.gossip + topic }

// CanSubscribe and FilterIncomingSubscriptions are the library's subscription filter.
func (g *gossip) CanSubscribe(name string) bool {
	return slices.ContainsFunc(topics, func(t string) bool { return g.name(t) == name })
}

func (g *gossip) FilterIncomingSubscriptions(from peer.ID, subs []*pb.RPC_SubOpts) ([]*pb.RPC_SubOpts, error) {
	foreign := 0
	for _, s := range subs {
		if !g.CanSubscribe(s.GetTopicid()) {
			foreign++
		}
	}
	if foreign > foreignTopicsFree {
		g.h.punish(from, offenceTopics)
		return nil, pubsub.ErrTooManySubscriptions
	}
	known := pubsub.FilterSubscriptions(subs, g.CanSubscribe)
	g.listening.note(from, known)
	return known, nil
}

// Join takes part in a topic, TopicBlocks or TopicServices, each once. An empty
// Topic joins to publish alone.
func (h *Host) Join(topic string, t Topic) error {
	g := h.gossip
	if g.pubsub == nil {
		return errGossipOff
	}
	if !slices.Contains(topics, topic) {
		return fmt.Errorf("p2p: there is no topic %q, only %q", topic, topics)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.topics[topic] != nil {
		return fmt.Errorf("p2p: topic %q is joined already", topic)
	}
	if (t.Check == nil) != (t.Deliver == nil) {
		return errHalfTopic
	}
	joined, err := g.pubsub.Join(g.name(topic))
	if err == nil && t.Check != nil {
		err = g.listen(joined, t)
	}
	if err != nil {
		return fmt.Errorf("p2p: topic %q: %w", topic, err)
	}
	g.topics[topic] = joined
	return nil
}

// joined are the topics in which we take part, if only to publish.
func (g *gossip) joined() []*pubsub.Topic {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Collect(maps.Values(g.topics)) // order: each stands for itself
}

func (g *gossip) listen(joined *pubsub.Topic, t Topic) error {
	if err := g.pubsub.RegisterTopicValidator(joined.String(), g.checker(t)); err != nil {
		return err
	}
	inbox, err := joined.Subscribe(pubsub.WithBufferSize(gossipInbox))
	if err != nil {
		return err
	}
	g.h.spawn(func() { g.deliver(inbox, t) })
	return nil
}

func (g *gossip) checker(t Topic) pubsub.ValidatorEx {
	return func(ctx context.Context, from peer.ID, m *pubsub.Message) pubsub.ValidationResult {
		if from == g.h.host.ID() {
			return pubsub.ValidationAccept // the caller made it
		}
		if len(m.GetData()) > g.h.config.BlockBytesMax {
			return g.reject(from)
		}
		switch t.Check(ctx, from, m.GetData()) {
		case Accept:
			return pubsub.ValidationAccept
		case Ignore:
			return pubsub.ValidationIgnore
		default:
			return g.reject(from)
		}
	}
}

func (g *gossip) reject(from peer.ID) pubsub.ValidationResult {
	g.h.meter.gossipRejected.Add(1)
	g.h.punish(from, offenceGossip)
	return pubsub.ValidationReject
}

func (g *gossip) deliver(inbox *pubsub.Subscription, t Topic) {
	defer inbox.Cancel()
	for {
		m, err := inbox.Next(g.h.ctx)
		if err != nil {
			return
		}
		if m.ReceivedFrom == g.h.host.ID() {
			continue
		}
		g.h.meter.gossipIn.Add(1)
		t.Deliver(m.ReceivedFrom, m.GetData())
	}
}

// Publish gives data to the peers who listen to a joined topic. A nil error does
// not say that anybody got it, and the same bytes cannot be published again for
// two minutes.
func (h *Host) Publish(ctx context.Context, topic string, data []byte) error {
	g := h.gossip
	if g.pubsub == nil {
		return errGossipOff
	}
	if len(data) > h.config.BlockBytesMax {
		return fmt.Errorf("p2p: publishing %d bytes: at most %d", len(data), h.config.BlockBytesMax)
	}
	g.mu.Lock()
	joined := g.topics[topic]
	g.mu.Unlock()
	if joined == nil {
		return fmt.Errorf("p2p: topic %q is not joined", topic)
	}
	h.meter.gossipOut.Add(1)
	return joined.Publish(ctx, data)
}
