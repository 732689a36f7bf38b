package p2p

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
)

// Server answers other peers. It may be called from many goroutines at once, and
// should give up when ctx ends, which is after serveTimeout at the latest. An
// error tells the asker that nothing will come and to ask another.
type Server interface {
	// Serve calls send for each of the objects that are here, in any order, until
	// send says false: the answer is full, and the asker will ask for the rest.
	Serve(ctx context.Context, from peer.ID, cids []cid.Cid, send func(Item) bool) error
	// Answer answers a question that from has put with Ask, with AnswerBytesMax at
	// most. The question is the callee's to keep. It comes from anyone: nothing in
	// it is believed.
	Answer(ctx context.Context, from peer.ID, question []byte) (answer []byte, err error)
}

// serveRequest answers one request or question on its stream.
func (h *Host) serveRequest(stream network.Stream) {
	defer stream.Close()
	from := stream.Conn().RemotePeer()
	stream.SetReadDeadline(time.Now().Add(h.config.StallAfter))
	kind, n, err := readHeader(stream)
	if err == nil {
		err = checkAsking(kind, n)
	}
	if err != nil {
		h.refuse(from, stream, err)
		return
	}
	// A question is long: it is let in before it is read.
	way, wait := h.serving.enter(from, h.roles.isValidator(from), time.Now())
	if way != passed {
		h.meter.throttled.Add(1)
		if way == tooMany {
			h.punish(from, offenceRequests)
		}
		h.writeAnswer(from, stream, encodeEnd(ending{endBusy, max(wait, 10*time.Millisecond)}))
		return
	}
	moved := 0
	defer func() { h.serving.leave(from, moved) }()
	ctx, cancel := context.WithTimeout(h.ctx, serveTimeout)
	defer cancel()
	defer context.AfterFunc(ctx, func() { stream.Reset() })()
	body, err := readGrowing(steadily{stream, h.config.StallAfter}, n)
	if err != nil {
		h.refuse(from, stream, err)
		return
	}
	if kind == frameQuestion {
		moved = h.answerQuestion(ctx, from, stream, body)
	} else {
		moved = h.answerRequest(ctx, from, stream, body)
	}
}

func checkAsking(kind byte, bodyBytes int) error {
	switch {
	case kind == frameQuestion && bodyBytes > QuestionBytesMax:
		return frameTooLong(bodyBytes, QuestionBytesMax)
	case kind == frameRequest && bodyBytes > requestFrameMax:
		return frameTooLong(bodyBytes, requestFrameMax)
	case kind != frameQuestion && kind != frameRequest:
		return frameError("kind %d where a request or a question must come", kind)
	}
	return nil
}

// refuse ends a stream whose asker stalls or writes what it may not.
func (h *Host) refuse(from peer.ID, stream network.Stream, err error) {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		h.punish(from, offenceStalled)
	}
	h.blame(from, err)
	stream.Reset()
}

// answerRequest sends the objects and returns how many bytes they have.
func (h *Host) answerRequest(ctx context.Context, from peer.ID, stream network.Stream, body []byte) (moved int) {
	cids, err := decodeRequest(body)
	if err != nil {
		h.refuse(from, stream, err)
		return 0
	}
	end := endDone
	items := 0
	var unsent, unfit error
	err = h.config.Server.Serve(ctx, from, cids, func(i Item) bool {
		if items == itemsMax || (items > 0 && moved+len(i.Data) > itemsBytesMax) {
			end = endMore
			return false
		}
		if len(i.Data) > itemBytesMax {
			unfit = fmt.Errorf("object %s has %d bytes: a peer takes %d", i.CID, len(i.Data), itemBytesMax)
			return false
		}
		if unsent = h.writeAnswer(from, stream, encodeItem(i)); unsent != nil {
			return false
		}
		items++
		moved += len(i.Data)
		return true
	})
	if unsent != nil {
		stream.Reset()
		return moved
	}
	if err = errors.Join(err, unfit); err != nil {
		h.unable(from, stream, err)
		return moved
	}
	h.meter.served.Add(float64(moved))
	h.writeAnswer(from, stream, encodeEnd(ending{status: end}))
	return moved
}

// answerQuestion sends the answer and returns how many bytes went to and fro.
func (h *Host) answerQuestion(ctx context.Context, from peer.ID, stream network.Stream, question []byte) (moved int) {
	answer, err := h.config.Server.Answer(ctx, from, question)
	if err == nil && len(answer) > AnswerBytesMax {
		err = fmt.Errorf("an answer of %d bytes: a peer takes %d", len(answer), AnswerBytesMax)
	}
	if err != nil {
		h.unable(from, stream, err)
		return len(question)
	}
	h.meter.served.Add(float64(len(answer)))
	h.writeAnswer(from, stream, frameHeader(frameAnswer, len(answer)), answer)
	return len(question) + len(answer)
}

// unable tells the asker that we have failed, which is no fault of its.
func (h *Host) unable(to peer.ID, stream network.Stream, err error) {
	h.log.Debug("a peer's request could not be answered", "peer", to, "err", err)
	h.writeAnswer(to, stream, encodeEnd(ending{status: endUnable}))
}

func (h *Host) writeAnswer(to peer.ID, stream network.Stream, frame ...[]byte) error {
	err := writeSteadily(stream, frame, h.config.StallAfter)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		h.punish(to, offenceStalled)
	}
	return err
}
