package p2p

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/p2p/host/eventbus"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	ma "github.com/multiformats/go-multiaddr"
)

// connGrace is how long a new connection is safe from the connection manager.
const connGrace = 20 * time.Second

// connEventsMax is how many changes of connectedness may wait for Run; the
// library stops accepting connections while they do.
const connEventsMax = 1024

// Host is one peer of the network. Open makes it listen, Run makes it work,
// Close ends it. Methods may be called from many goroutines at once.
type Host struct {
	config    Config
	log       *slog.Logger
	host      host.Host
	swarm     *swarm.Swarm
	protocols protocols

	scores *scores
	events *eventQueue
	meter  *meter
	book   *book
	roles  *roles
	relays *relayQueue
	gossip *gossip
	finder *finder // the DHT; nil when off

	serving, asking *turnstile

	connectedness event.Subscription
	healNow       chan struct{}

	// ctx ends with the host; work counts its goroutines.
	ctx    context.Context
	cancel context.CancelFunc
	work   sync.WaitGroup

	mu       sync.Mutex
	closed   bool
	ended    bool // no goroutine may start any more
	running  bool
	sessions map[peer.ID]*session
	senders  map[peer.ID]*sender
	dialling map[peer.ID]bool
	doors    map[peer.ID]*bucket // inbound streams allowed, per peer
}

type protocols struct {
	blocks, follow, beat, fetch protocol.ID
	gossip, dht                 string // prefixes
}

func newProtocols(network string) protocols {
	prefix := "/holdfast/" + network
	return protocols{
		blocks: protocol.ID(prefix + "/blocks/1"),
		follow: protocol.ID(prefix + "/follow/1"),
		beat:   protocol.ID(prefix + "/beat/1"),
		fetch:  protocol.ID(prefix + "/fetch/1"),
		gossip: prefix + "/",
		dht:    prefix,
	}
}

// Open checks the configuration, reads the address book and starts to listen.
// Peers are answered from now on, but found, watched and healed only by Run,
// which should follow soon. The caller must Close the host.
func Open(c Config) (*Host, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("p2p: configuration: %w", err)
	}
	h := &Host{
		config:    c,
		log:       c.Logger,
		protocols: newProtocols(c.Network),
		scores:    newScores(),
		events:    newEventQueue(),
		meter:     newMeter(),
		relays:    newRelayQueue(),
		serving:   newTurnstile(1, servingMax, servingPerPeer),
		asking:    newTurnstile(askingShare, math.MaxInt, askingPerPeer),
		healNow:   make(chan struct{}, 1),
		sessions:  make(map[peer.ID]*session),
		senders:   make(map[peer.ID]*sender),
		dialling:  make(map[peer.ID]bool),
		doors:     make(map[peer.ID]*bucket),
	}
	if h.log == nil {
		h.log = slog.New(slog.DiscardHandler)
	}
	h.ctx, h.cancel = context.WithCancel(context.Background())
	if err := h.open(); err != nil {
		h.Close()
		return nil, fmt.Errorf("p2p: %w", err)
	}
	return h, nil
}

func (h *Host) open() (err error) {
	if h.book, err = openBook(h.config.BookPath, h.log); err != nil {
		return err
	}
	self, err := peer.IDFromPrivateKey(h.config.Identity)
	if err != nil {
		return err
	}
	h.roles = newRoles(self, h.config.Follow)
	library, err := h.libraryConfig()
	if err != nil {
		return err
	}
	if h.host, err = library.NewNode(); err != nil {
		return fmt.Errorf("listening on %q: %w", h.config.Listen, err)
	}
	named, ok := h.host.Network().(*swarm.Swarm)
	if !ok {
		panic("p2p: invariant broken: the library's network is not a swarm")
	}
	h.swarm = named
	h.SetCommittee(h.config.Committee)
	h.knowAddrs(h.config.Bundle)
	if h.connectedness, err = h.host.EventBus().Subscribe(new(event.EvtPeerConnectednessChanged), eventbus.BufSize(connEventsMax)); err != nil {
		return err
	}
	h.handle(h.protocols.beat, h.answerBeats)
	if h.config.Blocks != nil {
		h.handle(h.protocols.blocks, h.serveBlocks)
		h.handle(h.protocols.follow, h.serveFollower)
	}
	if h.config.Server != nil {
		h.handle(h.protocols.fetch, h.serveRequest)
	}
	if h.gossip, err = openGossip(h); err != nil {
		return fmt.Errorf("gossip: %w", err)
	}
	if h.finder, err = openFinder(h); err != nil {
		return fmt.Errorf("DHT: %w", err)
	}
	return h.meter.register(h)
}

// Run finds peers, watches them and heals until ctx ends, the host is closed or
// something fails that cannot be healed. It may be called once.
func (h *Host) Run(ctx context.Context) error {
	h.mu.Lock()
	if h.closed || h.running {
		h.mu.Unlock()
		return errors.New("p2p: Run: the host is closed or running already")
	}
	h.running = true
	h.mu.Unlock()
	defer context.AfterFunc(ctx, h.cancel)()

	h.spawn(h.watchConnections)
	h.spawn(h.heal)
	h.spawn(h.relayLoop)
	h.spawn(h.keepBook)
	if h.finder != nil {
		h.spawn(h.finder.run)
	}
	if h.config.MDNS {
		h.spawn(h.listenMDNS)
	}
	<-h.ctx.Done()
	h.end()
	h.work.Wait()
	if err := context.Cause(ctx); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// Close ends the host and waits for all it has started. It is safe to call twice.
func (h *Host) Close() error {
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		return nil
	}
	h.closed = true
	h.mu.Unlock()
	h.end()

	var errs []error
	if h.finder != nil {
		errs = append(errs, h.finder.close())
	}
	if h.host != nil {
		errs = append(errs, h.host.Close())
	}
	h.work.Wait()
	if h.connectedness != nil {
		errs = append(errs, h.connectedness.Close())
	}
	if h.book != nil {
		errs = append(errs, h.book.save())
	}
	h.meter.unregister(h)
	return errors.Join(errs...)
}

// end stops everything and lets nothing start.
func (h *Host) end() {
	h.mu.Lock()
	h.ended = true
	h.mu.Unlock()
	h.cancel()
}

// spawn runs f on a goroutine that Close waits for, unless the host is closed.
func (h *Host) spawn(f func()) bool {
	if !h.enter() {
		return false
	}
	go func() {
		defer h.work.Done()
		f()
	}()
	return true
}

// enter counts the calling goroutine among the host's; it must call h.work.Done.
func (h *Host) enter() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ended {
		return false
	}
	h.work.Add(1)
	return true
}

// handle serves a protocol on the library's goroutines, which Close waits for.
// A peer that opens streams faster than streamsPerSecond is punished.
func (h *Host) handle(id protocol.ID, serve func(network.Stream)) {
	h.host.SetStreamHandler(id, func(s network.Stream) {
		if !h.enter() {
			s.Reset()
			return
		}
		defer h.work.Done()
		defer context.AfterFunc(h.ctx, func() { s.Reset() })()
		if from := s.Conn().RemotePeer(); !h.door(from) {
			h.punish(from, offenceStreams)
			s.Reset()
			return
		}
		serve(s)
	})
}

// ID is the host's peer id.
func (h *Host) ID() peer.ID { return h.host.ID() }

// Addrs are the multiaddrs peers can reach the host under, each with its peer
// id at the end: what another host takes with ParsePeer.
func (h *Host) Addrs() []ma.Multiaddr {
	info := peer.AddrInfo{ID: h.host.ID(), Addrs: h.host.Addrs()}
	addrs, err := peer.AddrInfoToP2pAddrs(&info)
	if err != nil {
		panic(fmt.Sprintf("p2p: invariant broken: own address: %v", err))
	}
	return addrs
}

// Events waits until something has happened to a peer or ctx ends, and returns
// what has happened since the last call, oldest first. Whoever does not call
// loses the oldest events, of which dropped tells the number; Peers is the
// truth at any time.
func (h *Host) Events(ctx context.Context) (events []Event, dropped uint64, err error) {
	for {
		if events, dropped = h.events.take(); len(events) > 0 {
			return events, dropped, nil
		}
		select {
		case <-h.events.wake:
		case <-ctx.Done():
			return nil, 0, ctx.Err()
		case <-h.ctx.Done():
			return nil, 0, errClosed
		}
	}
}

var errClosed = errors.New("p2p: the host is closed")

// Punish books an offence the caller has found, such as a block with a bad
// signature that came by gossip. The peer is cut off and refused for a time.
func (h *Host) Punish(p peer.ID, why string) {
	h.punish(p, offence{why, offenceReported.points})
}

func (h *Host) punish(p peer.ID, o offence) {
	h.meter.offences.Add(1)
	banned, length := h.scores.add(p, o, time.Now())
	if !banned {
		return
	}
	h.log.Warn("peer banned", "peer", p, "reason", o.what, "for", length)
	h.meter.bans.Add(1)
	h.events.push(Event{Kind: PeerBanned, Peer: p, Reason: o.what, At: time.Now()})
	h.hangUp(p, "banned: "+o.what)
}

// hangUp closes all connections with a peer.
func (h *Host) hangUp(p peer.ID, why string) {
	h.mu.Lock()
	if s := h.sessions[p]; s != nil {
		s.end(NoticedByUs, why)
	}
	h.mu.Unlock()
	h.spawn(func() { h.swarm.ClosePeer(p) })
}
