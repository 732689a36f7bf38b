package p2p

import (
	"context"
	"encoding/binary"
	"errors"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
)

// Heartbeats. Of two peers the one with the lower id opens a stream and sends a
// beat every Config.Beat, which the other sends back. Both take silence of
// Config.DeadAfter for death: the opener when no echo comes, the other when no
// beat does. Should the opener not open, the other does after beatPatience, so
// that a peer that is cut off right after its handshake is noticed as well.
// Anything else that comes from the peer counts as a sign of life.
const beatPatience = 2 // beats

// beatSlack makes sure that a peer whose deadline has passed was silent for long enough.
const beatSlack = time.Millisecond

// watchBeat watches one session to its end.
func (h *Host) watchBeat(s *session) {
	patience := beatPatience * h.config.Beat
	for s.ctx.Err() == nil {
		if h.host.ID() > s.peer {
			select {
			case <-s.beats: // its stream watches it
				continue
			case <-time.After(patience):
			case <-s.ctx.Done():
				return
			}
			if s.silence() < patience {
				continue
			}
		}
		err := h.sendBeats(s)
		if errors.Is(err, ErrForeign) {
			return // a peer that speaks libp2p and nothing of ours
		}
		if silent := s.silence(); silent >= h.config.DeadAfter {
			h.bury(s, silent)
		}
		select {
		case <-time.After(h.config.Beat):
		case <-s.ctx.Done():
		}
	}
}

// bury closes the connections of a peer that has been silent for long enough.
// A connection that a redial has just made stays, and must show life in its turn.
func (h *Host) bury(s *session, silent time.Duration) {
	var dead []network.Conn
	var newest time.Time
	conns := h.host.Network().ConnsToPeer(s.peer)
	for _, c := range conns {
		if opened := c.Stat().Opened; time.Since(opened) >= h.config.DeadAfter/2 {
			dead = append(dead, c)
		} else if opened.After(newest) {
			newest = opened
		}
	}
	if len(dead) == len(conns) {
		s.end(NoticedByBeat, "silent for "+silent.Round(time.Millisecond).String())
		s.hear() // it is over
	} else {
		s.hearAt(newest)
	}
	h.log.Debug("closing silent connections", "peer", s.peer, "silent", silent, "connections", len(dead))
	for _, c := range dead {
		c.Close()
	}
}

// sendBeats opens a heartbeat stream and returns when it breaks or falls silent.
func (h *Host) sendBeats(s *session) error {
	ctx, cancel := context.WithDeadline(s.ctx, s.lastHeard().Add(h.config.DeadAfter+beatSlack))
	defer cancel()
	stream, err := h.openStream(ctx, s.peer, h.protocols.beat)
	if err != nil {
		return err
	}
	defer stream.Reset()
	defer context.AfterFunc(s.ctx, func() { stream.Reset() })()

	tick := time.NewTicker(h.config.Beat)
	defer tick.Stop()
	for n := uint64(1); ; n++ {
		sent := time.Now()
		if err := h.writeBeat(stream, n); err != nil {
			return err
		}
		if err := h.awaitBeat(s, stream, n); err != nil {
			return err
		}
		s.rtt.Store(int64(time.Since(sent)))
		h.meter.rtt.Observe(time.Since(sent).Seconds())
		select {
		case <-tick.C:
		case <-s.ctx.Done():
			return s.ctx.Err()
		}
	}
}

// answerBeats sends a peer's beats back.
func (h *Host) answerBeats(stream network.Stream) {
	defer stream.Reset()
	s := h.session(stream.Conn().RemotePeer())
	for n := 0; s == nil && n < sessionTries; n++ {
		// The peer was faster than our own notice of its connection.
		select {
		case <-time.After(sessionWait):
		case <-h.ctx.Done():
			return
		}
		s = h.session(stream.Conn().RemotePeer())
	}
	if s == nil {
		return
	}
	for n := uint64(1); ; n++ {
		if err := h.awaitBeat(s, stream, n); err != nil {
			if silent := s.silence(); silent >= h.config.DeadAfter {
				h.bury(s, silent)
			}
			return
		}
		signal(s.beats)
		if err := h.writeBeat(stream, n); err != nil {
			return
		}
	}
}

// A stream may arrive before the event that its connection exists.
const (
	sessionTries = 50
	sessionWait  = 10 * time.Millisecond
)

func (h *Host) writeBeat(stream network.Stream, n uint64) error {
	f := newFrame(frameBeat, beatFrameBytesMax)
	f = binary.BigEndian.AppendUint64(f, n)
	f = appendID(f, h.config.Provider)
	stream.SetWriteDeadline(time.Now().Add(h.config.DeadAfter))
	_, err := stream.Write(finishFrame(f))
	return err
}

// awaitBeat waits for beat n. A deadline that passes ends the stream, even if
// other signs of life have come meanwhile: a stream whose protocol is not yet
// agreed on keeps the first error for ever.
func (h *Host) awaitBeat(s *session, stream network.Stream, n uint64) error {
	stream.SetReadDeadline(s.lastHeard().Add(h.config.DeadAfter + beatSlack))
	body, err := readFrame(stream, frameBeat, beatFrameBytesMax)
	if err != nil {
		h.blame(s.peer, err)
		return err
	}
	s.hear()
	r := bodyReader{b: body}
	got := r.uint64("beat")
	provider := string(r.take(int(r.byte("provider")), "provider"))
	err = r.end()
	if err == nil && got != n {
		err = frameError("beat %d where %d must come", got, n)
	}
	if err != nil {
		h.blame(s.peer, err)
		return err
	}
	s.mu.Lock()
	s.provider = provider
	s.mu.Unlock()
	return nil
}

// blame punishes a peer if err is what no honest peer would write.
func (h *Host) blame(p peer.ID, err error) {
	switch {
	case errors.Is(err, errFrame):
		h.log.Debug("bad frame", "peer", p, "err", err)
		h.punish(p, offenceFrame)
	case errors.Is(err, ErrInvalid):
		h.log.Debug("invalid", "peer", p, "err", err)
		h.punish(p, offenceInvalid)
	}
}
