package p2p

import (
	"context"
	"errors"
	"io"
	"maps"
	"os"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
)

const (
	// backlogBytesMax is what is asked of the caller at a time.
	backlogBytesMax = 2 << 20
	// queueBlocksMax bounds the queue of tiny blocks.
	queueBlocksMax = 4096
)

// sender feeds one peer's stream with our blocks and with others' that the peer
// lacks. Its queue is bounded: a peer that falls behind gets the rest from the
// caller's store when the queue is empty, so nothing of ours is lost and no
// memory grows. A new stream starts in the same way.
//
// Invariants: queued <= QueueBytesMax; while lagging no own block is queued
// behind a gap.
type sender struct {
	to       peer.ID
	follower bool
	stop     context.CancelFunc

	mu      sync.Mutex
	queue   []queuedBlock
	queued  int    // bytes
	last    uint64 // the highest own round queued or written
	lagging bool   // own blocks above last are in the store only
	news    bool   // an own block was made since the store was asked
	have    Rounds // shown by the peer, or written to it
	wake    chan struct{}
}

type queuedBlock struct {
	author peer.ID
	round  uint64
	frame  []byte // shared by all senders
}

// Broadcast sends a block of ours to every validator and follower that has a
// stream with us. The caller's Backlog must know the block already: a peer
// whose queue is full, or who connects later, gets it from there. It does not wait.
func (h *Host) Broadcast(b Block) {
	q := queuedBlock{b.Author, b.Round, encodeBlock(b)}
	h.meter.broadcasts.Add(1)
	for _, s := range h.allSenders() {
		if !s.offerOwn(q, h.config.QueueBytesMax) {
			h.meter.lagging.Add(1)
		}
	}
}

func (h *Host) allSenders() []*sender {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := make([]*sender, 0, len(h.senders))
	for _, s := range h.senders { // order: each has its own queue
		all = append(all, s)
	}
	return all
}

// offerOwn queues an own block; false: the peer lags and gets it from the store.
func (s *sender) offerOwn(q queuedBlock, bytesMax int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer signal(s.wake)
	s.news = true
	if !s.lagging && !s.fits(q, bytesMax) {
		s.lagging = true
	}
	if s.lagging {
		return false
	}
	s.push(q)
	s.last = max(s.last, q.round)
	return true
}

// lacks reports whether the peer has not shown to have another's block.
func (s *sender) lacks(author peer.ID, round uint64) bool {
	return author != s.to && s.shown(author) < round
}

// offerOther queues another's block unless the peer has shown to have it or the
// queue is full: such a block is a service, and the peer can ask for it.
func (s *sender) offerOther(q queuedBlock, bytesMax int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.have[q.author] >= q.round || q.author == s.to || !s.fits(q, bytesMax) {
		return false
	}
	s.push(q)
	signal(s.wake)
	return true
}

func (s *sender) fits(q queuedBlock, bytesMax int) bool {
	return s.queued+len(q.frame) <= bytesMax && len(s.queue) < queueBlocksMax
}

func (s *sender) push(q queuedBlock) {
	s.queue = append(s.queue, q)
	s.queued += len(q.frame)
}

// next returns what is to be written: a queued frame, or nil and whether the
// store must be asked.
func (s *sender) next() (q *queuedBlock, lagging bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) > 0 {
		first := s.queue[0]
		s.queue[0] = queuedBlock{}
		s.queue = s.queue[1:]
		if len(s.queue) == 0 {
			s.queue = nil
		}
		s.queued -= len(first.frame)
		return &first, false
	}
	if s.lagging {
		s.news = false
	}
	return nil, s.lagging
}

// asked notes what the store had. The peer has caught up when nothing is left
// and nothing was made meanwhile.
func (s *sender) asked(own int, last uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = max(s.last, last)
	if own == 0 && !s.news {
		s.lagging = false
	}
}

func (s *sender) position() (last uint64, have Rounds) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last, maps.Clone(s.have)
}

func (s *sender) show(rounds Rounds) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for author, round := range rounds { // order: each author apart
		if s.have[author] < round {
			s.have[author] = round
		}
	}
}

func (s *sender) shown(author peer.ID) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.have[author]
}

// serveBlocks feeds a validator. The peer id is proven by the connection.
func (h *Host) serveBlocks(stream network.Stream) {
	from := stream.Conn().RemotePeer()
	if !h.roles.isValidator(from) {
		h.punish(from, offenceUnallowed)
		stream.Reset()
		return
	}
	h.serveStream(stream, false)
}

// serveFollower feeds an observer, if there is room.
func (h *Host) serveFollower(stream network.Stream) {
	h.mu.Lock()
	followers := 0
	for p, s := range h.senders { // order: a count
		if s.follower && p != stream.Conn().RemotePeer() {
			followers++
		}
	}
	h.mu.Unlock()
	if followers >= h.config.FollowersMax {
		stream.Reset()
		return
	}
	h.serveStream(stream, true)
}

func (h *Host) serveStream(stream network.Stream, follower bool) {
	defer stream.Reset()
	from := stream.Conn().RemotePeer()
	stream.SetReadDeadline(time.Now().Add(h.config.StallAfter))
	body, err := readFrame(stream, frameHello, haveFrameBytesMax)
	var have Rounds
	if err == nil {
		have, err = decodeRounds(body)
	}
	if err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			h.punish(from, offenceStalled)
		}
		h.blame(from, err)
		return
	}
	stream.SetReadDeadline(time.Time{})

	ctx, cancel := context.WithCancel(h.ctx)
	s := &sender{to: from, follower: follower, stop: cancel, have: have,
		last: have[h.host.ID()], lagging: true, wake: make(chan struct{}, 1)}
	h.addSender(s)
	defer h.removeSender(s)
	defer context.AfterFunc(ctx, func() { stream.Reset() })()
	if !h.spawn(func() { defer cancel(); h.writeBlocks(ctx, s, stream) }) {
		cancel()
		return
	}
	defer cancel()
	h.readShown(s, stream)
}

// addSender lets a peer's new stream replace the one it had.
func (h *Host) addSender(s *sender) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if old := h.senders[s.to]; old != nil {
		old.stop()
	}
	h.senders[s.to] = s
}

func (h *Host) removeSender(s *sender) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.senders[s.to] == s {
		delete(h.senders, s.to)
	}
}

// dropUnallowedSenders ends the streams of those who are validators no more.
func (h *Host) dropUnallowedSenders() {
	for _, s := range h.allSenders() {
		if !s.follower && !h.roles.isValidator(s.to) {
			s.stop()
		}
	}
}

// readShown reads what the peer has until its stream ends.
func (h *Host) readShown(s *sender, stream network.Stream) {
	for {
		body, err := readFrame(stream, frameHave, haveFrameBytesMax)
		if err == nil {
			var rounds Rounds
			if rounds, err = decodeRounds(body); err == nil {
				s.show(rounds)
				if in := h.session(s.to); in != nil {
					in.hear()
				}
				continue
			}
		}
		h.blame(s.to, err)
		return
	}
}

func (h *Host) writeBlocks(ctx context.Context, s *sender, stream network.Stream) {
	for ctx.Err() == nil {
		q, lagging := s.next()
		var err error
		switch {
		case q != nil:
			err = h.writeBlock(s, stream, *q)
		case lagging:
			err = h.writeBacklog(ctx, s, stream)
		default:
			select {
			case <-s.wake:
			case <-ctx.Done():
			}
		}
		if err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				h.punish(s.to, offenceStalled)
			}
			h.log.Debug("block stream ends", "peer", s.to, "err", err)
			return
		}
	}
}

func (h *Host) writeBacklog(ctx context.Context, s *sender, stream network.Stream) error {
	last, have := s.position()
	blocks, err := h.config.Blocks.Backlog(ctx, s.to, last, have, backlogBytesMax)
	if err != nil {
		return err
	}
	own := 0
	for _, b := range blocks {
		if b.Author == h.host.ID() && b.Round > last {
			own, last = own+1, b.Round
		}
		if err := h.writeBlock(s, stream, queuedBlock{b.Author, b.Round, encodeBlock(b)}); err != nil {
			return err
		}
	}
	s.asked(own, last)
	return nil
}

func (h *Host) writeBlock(s *sender, stream io.Writer, q queuedBlock) error {
	if d, ok := stream.(interface{ SetWriteDeadline(time.Time) error }); ok {
		d.SetWriteDeadline(time.Now().Add(h.config.StallAfter))
	}
	n, err := stream.Write(q.frame)
	h.meter.sent.Add(float64(n))
	if err != nil {
		return err
	}
	// Others' blocks count as shown once written, so that none goes out twice;
	// our own count when the peer says so.
	if q.author != h.host.ID() {
		s.show(Rounds{q.author: q.round})
	}
	return nil
}
