package p2p

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
)

// Bounds of a question and its answer. They hold some blocks of the largest
// size, and what the caller puts around them.
const (
	QuestionBytesMax = 4<<20 + 64<<10
	AnswerBytesMax   = 4<<20 + 64<<10
)

const (
	// requestTimeout is how long nothing may come of an answer that is on its
	// way, and nothing of a question may leave.
	requestTimeout = 5 * time.Second
	// askTimeout bounds one question with its answer: what a peer takes to think,
	// and both ways on a poor link.
	askTimeout = serveTimeout
)

// Ask puts a question to one connected peer and returns what its Server answers.
// Both are the caller's own bytes, QuestionBytesMax and AnswerBytesMax at most;
// the question is not to be changed until Ask returns. Nothing is checked here:
// whoever finds an answer wrong books it with Punish. Ask waits while the peer is
// busy, and for askTimeout at most while it answers. Errors wrap ErrBusy,
// ErrUnable or ctx's; after any of them the question may have been answered.
func (h *Host) Ask(ctx context.Context, to peer.ID, question []byte) (answer []byte, err error) {
	if len(question) > QuestionBytesMax {
		return nil, fmt.Errorf("p2p: a question of %d bytes: at most %d", len(question), QuestionBytesMax)
	}
	frame := [][]byte{frameHeader(frameQuestion, len(question)), question}
	_, err = h.exchange(ctx, to, frame, func(s network.Stream) (e ending, err error) {
		answer, e, err = readReply(s)
		return e, err
	})
	if err != nil {
		return nil, fmt.Errorf("p2p: question to %s: %w", to, err)
	}
	return answer, nil
}

// readReply reads an answer, or the end frame that comes in its stead.
func readReply(stream network.Stream) (answer []byte, end ending, err error) {
	stream.SetReadDeadline(time.Now().Add(askTimeout))
	kind, n, err := readHeader(stream)
	switch {
	case err != nil:
		return nil, ending{}, err
	case kind == frameAnswer && n <= AnswerBytesMax:
		answer, err = readGrowing(steadily{stream, requestTimeout}, n)
		return answer, ending{status: endDone}, err
	case kind == frameEnd && n <= endFrameMax:
		body, err := readGrowing(steadily{stream, requestTimeout}, n)
		if err != nil {
			return nil, ending{}, err
		}
		end, err = decodeEnd(body)
		if err == nil && end.status != endBusy && end.status != endUnable {
			err = frameError("end %d in the place of an answer", end.status)
		}
		return nil, end, err
	}
	return nil, ending{}, frameError("kind %d of %d bytes in the place of an answer", kind, n)
}

// exchange sends a frame to a connected peer and lets read take what comes, again
// and again while the peer is busy and ctx allows. What the peer does wrong on
// the way is booked.
func (h *Host) exchange(ctx context.Context, to peer.ID, frame [][]byte, read func(network.Stream) (ending, error)) (ending, error) {
	for {
		began := time.Now()
		h.meter.fetches.Add(1)
		end, err := h.exchangeInTurn(ctx, to, frame, read)
		if err == nil && end.status == endUnable {
			err = ErrUnable
		}
		if err != nil {
			h.meter.fetchFailures.Add(1)
			return ending{}, err
		}
		if end.status != endBusy {
			h.meter.fetchTime.Observe(time.Since(began).Seconds())
			return end, nil
		}
		if err := pause(ctx, end.wait, nil); err != nil {
			return ending{}, err
		}
	}
}

// exchangeInTurn waits until the peer would not find us asking too much.
func (h *Host) exchangeInTurn(ctx context.Context, to peer.ID, frame [][]byte, read func(network.Stream) (ending, error)) (ending, error) {
	for {
		way, wait := h.asking.enter(to, true, time.Now())
		if way == passed {
			break
		}
		if err := pause(ctx, wait, h.asking.leaving(to)); err != nil {
			return ending{}, err
		}
	}
	moved := 0
	defer func() { h.asking.leave(to, moved) }()
	return h.exchangeOnce(ctx, to, frame, func(s network.Stream) (ending, error) {
		counted := &countedStream{Stream: s}
		end, err := read(counted)
		for _, part := range frame {
			moved += len(part)
		}
		moved += counted.read
		return end, err
	})
}

// pause waits, or until something is heard. It does not begin what ctx would not
// let it end.
func pause(ctx context.Context, wait time.Duration, heard <-chan struct{}) error {
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < wait {
		return ErrBusy
	}
	select {
	case <-time.After(wait):
	case <-heard:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

func (h *Host) exchangeOnce(ctx context.Context, to peer.ID, frame [][]byte, read func(network.Stream) (ending, error)) (ending, error) {
	opening, opened := context.WithTimeout(ctx, openTimeout)
	stream, err := h.openStream(opening, to, h.protocols.fetch)
	opened()
	if err != nil {
		return ending{}, err
	}
	defer stream.Reset()
	defer context.AfterFunc(ctx, func() { stream.Reset() })()
	unsent := writeSteadily(stream, frame, requestTimeout)
	if ctx.Err() != nil {
		return ending{}, ctx.Err()
	}
	if unsent != nil { // a peer that is busy says so without reading to the end
		defer time.AfterFunc(requestTimeout, func() { stream.Reset() }).Stop()
	}
	end, err := read(stream)
	switch {
	case err == nil:
		return end, nil
	case ctx.Err() != nil:
		return ending{}, ctx.Err()
	case unsent != nil:
		return ending{}, unsent
	case errors.Is(err, errWrongCID):
		h.punish(to, offenceWrongCID)
	default:
		h.blame(to, err)
	}
	return ending{}, err
}

type countedStream struct {
	network.Stream
	read int
}

func (c *countedStream) Read(b []byte) (int, error) {
	n, err := c.Stream.Read(b)
	c.read += n
	return n, err
}

// steadily reads from a stream on which no single wait may exceed a bound.
type steadily struct {
	stream network.Stream
	each   time.Duration
}

func (s steadily) Read(b []byte) (int, error) {
	s.stream.SetReadDeadline(time.Now().Add(s.each))
	return s.stream.Read(b)
}

// pieceBytes is what must get through within the time for one write: less than
// a second's worth of the poorest link that a node can live on.
const pieceBytes = 64 << 10

// writeSteadily writes in pieces, each of which has the same time to leave.
func writeSteadily(stream network.Stream, frame [][]byte, each time.Duration) error {
	for _, part := range frame {
		for len(part) > 0 {
			piece := part[:min(len(part), pieceBytes)]
			stream.SetWriteDeadline(time.Now().Add(each))
			if _, err := stream.Write(piece); err != nil {
				return err
			}
			part = part[len(piece):]
		}
	}
	return nil
}
