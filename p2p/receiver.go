package p2p

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	msmux "github.com/multiformats/go-multistream"
)

const (
	// askAgain is the pause after a block stream broke while its peer stays
	// connected; it doubles to askAgainMax while streams break at once.
	askAgain    = 50 * time.Millisecond
	askAgainMax = 2 * time.Second
	// showEvery is the least time between two acknowledgements on a stream.
	// The first after a pause goes at once; what waits for them is Config.RelayAfter.
	showEvery = 100 * time.Millisecond
	// openTimeout bounds the opening of a stream on a connection that stands.
	openTimeout = 5 * time.Second
)

// askForBlocks keeps a stream open to a peer while it is a source. It is the
// receiver who opens: nobody can push blocks at us whom we have not asked.
func (h *Host) askForBlocks(s *session) {
	pause := askAgain
	for s.ctx.Err() == nil {
		source, changed := h.roles.isSource(s.peer)
		if !source {
			select {
			case <-changed:
				continue
			case <-s.ctx.Done():
				return
			}
		}
		began := time.Now()
		err := h.receiveBlocks(s)
		if s.ctx.Err() != nil {
			return
		}
		h.log.Debug("asking for blocks again", "peer", s.peer, "err", err)
		if time.Since(began) > askAgainMax {
			pause = askAgain
		}
		select {
		case <-time.After(pause):
		case <-s.ctx.Done():
		}
		pause = min(2*pause, askAgainMax)
	}
}

// openStream opens a stream on a connection that stands, a relayed one too. A peer
// that does not know the protocol makes the error an ErrForeign.
func (h *Host) openStream(ctx context.Context, to peer.ID, id protocol.ID) (network.Stream, error) {
	ctx = network.WithAllowLimitedConn(network.WithNoDial(ctx, "holdfast"), "holdfast")
	stream, err := h.host.NewStream(ctx, to, id)
	if unsupported := (msmux.ErrNotSupported[protocol.ID]{}); errors.As(err, &unsupported) {
		err = fmt.Errorf("%w: %w", ErrForeign, err)
	}
	return stream, err
}

// receiveBlocks opens one stream, says what we have and takes blocks until the
// stream breaks or the peer is no source any more.
func (h *Host) receiveBlocks(s *session) error {
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	id := h.blockProtocol()
	opening, opened := context.WithTimeout(ctx, openTimeout)
	stream, err := h.openStream(opening, s.peer, id)
	opened()
	if err != nil {
		return err
	}
	defer stream.Reset()
	defer context.AfterFunc(ctx, func() { stream.Reset() })()

	shown := h.rounds(Rounds{})
	stream.SetWriteDeadline(time.Now().Add(h.config.StallAfter))
	if _, err := stream.Write(encodeRounds(frameHello, shown)); err != nil {
		return err
	}
	received := make(chan struct{}, 1)
	if !h.spawn(func() { defer cancel(); h.showRounds(ctx, s.peer, stream, shown, received) }) {
		return errClosed
	}
	limit := frameOverheadMax + h.config.BlockBytesMax
	for {
		block, n, err := readBlock(stream, limit)
		if err != nil {
			h.blame(s.peer, err)
			return err
		}
		s.hear()
		h.meter.received.Add(float64(n))
		if err := h.config.Blocks.Receive(ctx, s.peer, block); err != nil {
			h.blame(s.peer, err)
			return err
		}
		signal(received)
	}
}

// blockProtocol is how we ask: validators as their peers, others as followers.
func (h *Host) blockProtocol() protocol.ID {
	if h.roles.isValidator(h.host.ID()) {
		return h.protocols.blocks
	}
	return h.protocols.follow
}

func readBlock(stream network.Stream, limit int) (Block, int, error) {
	body, err := readFrame(stream, frameBlock, limit)
	if err != nil {
		return Block{}, 0, err
	}
	b, err := decodeBlock(body)
	return b, len(body), err
}

// rounds is what we have of each validator beyond what was shown before.
func (h *Host) rounds(shown Rounds) Rounds {
	fresh := make(Rounds)
	for _, p := range h.roles.members() {
		if r := h.config.Blocks.LastRound(p.ID); r > shown[p.ID] {
			fresh[p.ID] = r
		}
	}
	return fresh
}

// showRounds acknowledges what we have, whichever way it came: after a block on
// this stream soon, and else every Config.Beat. It returns, which ends the
// stream, when the peer is no source any more, or is to be asked otherwise.
func (h *Host) showRounds(ctx context.Context, source peer.ID, stream network.Stream, shown Rounds, received <-chan struct{}) {
	idle := time.NewTicker(h.config.Beat)
	defer idle.Stop()
	for {
		is, changed := h.roles.isSource(source)
		if !is || stream.Protocol() != h.blockProtocol() {
			return
		}
		select {
		case <-changed:
		case <-received:
		case <-idle.C:
		case <-ctx.Done():
			return
		}
		if fresh := h.rounds(shown); len(fresh) > 0 {
			stream.SetWriteDeadline(time.Now().Add(h.config.StallAfter))
			if _, err := stream.Write(encodeRounds(frameHave, fresh)); err != nil {
				return
			}
			for a, r := range fresh { // order: a copy
				shown[a] = r
			}
		}
		select {
		case <-time.After(showEvery):
		case <-ctx.Done():
			return
		}
	}
}
