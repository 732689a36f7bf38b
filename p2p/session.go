package p2p

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

// session is what we do with one connected peer, from its first connection to
// the end of its last: watch its heartbeat and, if it is a source, ask for its
// blocks. Streams may break and be opened again within a session.
type session struct {
	peer   peer.ID
	since  time.Time
	ctx    context.Context
	cancel context.CancelFunc

	heard atomic.Int64  // when it last sent us anything, nanoseconds after since
	rtt   atomic.Int64  // of the last heartbeat, nanoseconds
	beats chan struct{} // the peer opened a heartbeat stream

	mu       sync.Mutex
	provider string // as it claims
	path     Path
	addr     string
	notice   Notice
	reason   string
}

// hear notes a sign of life. Times are kept relative to since, by the monotonic
// clock: a clock that is set back must neither kill a peer nor keep one alive.
func (s *session) hear() { s.hearAt(time.Now()) }

func (s *session) hearAt(t time.Time) { s.heard.Store(int64(t.Sub(s.since))) }

// lastHeard is the time of the last sign of life.
func (s *session) lastHeard() time.Time { return s.since.Add(time.Duration(s.heard.Load())) }

func (s *session) silence() time.Duration { return time.Since(s.lastHeard()) }

// end notes why the session is about to end; the first reason stays.
func (s *session) end(n Notice, reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.notice == "" {
		s.notice, s.reason = n, reason
	}
}

// PeerInfo is a connected peer.
type PeerInfo struct {
	ID        peer.ID
	Validator bool
	Provider  string // of a validator as configured, else as the peer claims
	Path      Path
	Addr      string
	Since     time.Time
	RTT       time.Duration // 0 before the first heartbeat
	Acked     uint64        // the last round of ours the peer has shown to have
}

// Peers are the connected peers, ordered by id.
func (h *Host) Peers() []PeerInfo {
	h.mu.Lock()
	defer h.mu.Unlock()
	infos := make([]PeerInfo, 0, len(h.sessions))
	for id, s := range h.sessions { // order: sorted below
		s.mu.Lock()
		info := PeerInfo{ID: id, Validator: h.roles.isValidator(id), Provider: s.provider,
			Path: s.path, Addr: s.addr, Since: s.since, RTT: time.Duration(s.rtt.Load())}
		s.mu.Unlock()
		if p := h.roles.provider(id); p != "" {
			info.Provider = p
		}
		if out := h.senders[id]; out != nil {
			info.Acked = out.shown(h.host.ID())
		}
		infos = append(infos, info)
	}
	slices.SortFunc(infos, func(a, b PeerInfo) int {
		switch {
		case a.ID < b.ID:
			return -1
		case a.ID > b.ID:
			return 1
		}
		return 0
	})
	return infos
}

func (h *Host) connectedPeers() []peer.ID {
	h.mu.Lock()
	defer h.mu.Unlock()
	ids := make([]peer.ID, 0, len(h.sessions))
	for id := range h.sessions { // order: sorted below
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

func (h *Host) session(p peer.ID) *session {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.sessions[p]
}

// watchConnections begins and ends sessions as the library reports peers
// connected and disconnected, which it does in order for each peer.
func (h *Host) watchConnections() {
	paths := &pathWatcher{changed: make(chan peer.ID, connEventsMax)}
	h.host.Network().Notify(paths)
	defer h.host.Network().StopNotify(paths)
	for _, p := range h.host.Network().Peers() {
		h.connected(p)
	}
	for {
		select {
		case <-h.ctx.Done():
			for _, p := range h.connectedPeers() {
				h.disconnected(p)
			}
			return
		case p := <-paths.changed:
			h.pathChanged(p)
		case e := <-h.connectedness.Out():
			change := e.(event.EvtPeerConnectednessChanged)
			if change.Connectedness == network.NotConnected {
				h.disconnected(change.Peer)
			} else {
				h.connected(change.Peer)
			}
		}
	}
}

func (h *Host) connected(p peer.ID) {
	path, addr := h.pathTo(p)
	h.mu.Lock()
	if h.sessions[p] != nil || path == PathNone {
		h.mu.Unlock()
		return
	}
	s := &session{peer: p, since: time.Now(), path: path, addr: addr, beats: make(chan struct{}, 1)}
	s.ctx, s.cancel = context.WithCancel(h.ctx)
	s.hear()
	h.sessions[p] = s
	h.mu.Unlock()

	h.log.Info("peer up", "peer", p, "path", path, "addr", addr)
	h.meter.ups.Add(1)
	h.events.push(Event{Kind: PeerUp, Peer: p, Path: path, Addr: addr, At: s.since})
	h.roles.connected(h.connectedPeers())
	h.spawn(func() { h.watchBeat(s) })
	if h.config.Blocks != nil {
		h.spawn(func() { h.askForBlocks(s) })
	}
}

func (h *Host) disconnected(p peer.ID) {
	h.mu.Lock()
	s := h.sessions[p]
	delete(h.sessions, p)
	h.mu.Unlock()
	if s == nil {
		return
	}
	s.cancel()
	s.end(NoticedByClose, "the connection was closed")
	h.log.Info("peer down", "peer", p, "reason", s.reason, "notice", s.notice)
	h.meter.downs.Add(1)
	h.events.push(Event{Kind: PeerDown, Peer: p, Path: s.path, Addr: s.addr, Reason: s.reason, Notice: s.notice, At: time.Now()})
	h.roles.connected(h.connectedPeers())
	signal(h.healNow)
}

func (h *Host) pathChanged(p peer.ID) {
	s := h.session(p)
	path, addr := h.pathTo(p)
	if s == nil || path == PathNone {
		return
	}
	s.mu.Lock()
	same := s.path == path
	s.path, s.addr = path, addr
	s.mu.Unlock()
	if !same {
		h.log.Info("path changed", "peer", p, "path", path, "addr", addr)
		h.events.push(Event{Kind: PathChanged, Peer: p, Path: path, Addr: addr, At: time.Now()})
	}
}

// pathTo is the best way among the connections with a peer.
func (h *Host) pathTo(p peer.ID) (Path, string) {
	rank := map[Path]int{PathNone: 0, PathRelayed: 1, PathTCP: 2, PathQUIC: 3}
	best, addr := PathNone, ""
	for _, c := range h.host.Network().ConnsToPeer(p) {
		if path := pathOf(c); !c.IsClosed() && rank[path] > rank[best] {
			best, addr = path, c.RemoteMultiaddr().String()
		}
	}
	return best, addr
}

func pathOf(c network.Conn) Path {
	a := c.RemoteMultiaddr()
	if _, err := a.ValueForProtocol(ma.P_CIRCUIT); err == nil {
		return PathRelayed
	}
	if _, err := a.ValueForProtocol(ma.P_QUIC_V1); err == nil {
		return PathQUIC
	}
	return PathTCP
}

// pathWatcher hears of single connections: of a peer that stays connected the
// event bus says nothing. What does not fit is dropped: the next change tells.
type pathWatcher struct{ changed chan peer.ID }

func (w *pathWatcher) note(c network.Conn) {
	select {
	case w.changed <- c.RemotePeer():
	default:
	}
}
func (w *pathWatcher) Connected(_ network.Network, c network.Conn)    { w.note(c) }
func (w *pathWatcher) Disconnected(_ network.Network, c network.Conn) { w.note(c) }
func (w *pathWatcher) Listen(network.Network, ma.Multiaddr)           {}
func (w *pathWatcher) ListenClose(network.Network, ma.Multiaddr)      {}
