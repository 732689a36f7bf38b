package node

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/holdfast-mesh/holdfast/node/api"
	"github.com/holdfast-mesh/holdfast/node/dag"
	"github.com/holdfast-mesh/holdfast/node/ledger"
	"github.com/holdfast-mesh/holdfast/node/mesh"
	"github.com/holdfast-mesh/holdfast/node/replica"
	"github.com/holdfast-mesh/holdfast/p2p"
)

// The first byte of a question says what it is.
const (
	questionReplica byte = 1 // replica.Request; answered by replica.Reply
	questionOps     byte = 2 // operations for our pool; answered by how many were verified
)

// askingMax bounds the questions under way. The replica has one open per slot
// and asks again when nothing comes, so what is above it may be dropped.
const askingMax = 64

// errQuestion marks a question no honest peer asks.
var errQuestion = fmt.Errorf("%w: a malformed question", p2p.ErrInvalid)

func (n *Node) answerReplica(raw []byte) ([]byte, error) {
	q, err := replica.DecodeRequest(raw)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errQuestion, err)
	}
	reply, err := replica.Serve(disk{n.store}, q, n.standing.Load().own, replica.ReplyRoomMax)
	if err != nil {
		if !errors.Is(err, replica.ErrUnable) {
			n.log.Error("the disk cannot be served from", "question", q.Kind, "err", err)
			n.meter.diskFaults.Inc()
		}
		return nil, err
	}
	return reply.Bytes(), nil
}

// askAll asks what a step wants to know, once.
func (n *Node) askAll(e *replica.Effects) {
	for _, q := range e.Ask {
		n.ask(q)
	}
	e.Ask = nil
}

// ask sends a replica's question and brings the answer to the loop. A lost one
// is asked again, so nothing here is tried twice.
func (n *Node) ask(q replica.Request) {
	select {
	case n.askSlots <- struct{}{}:
	default:
		n.meter.questionsDropped.Inc()
		return
	}
	now := n.standing.Load()
	to := now.members.peers[q.To]
	n.spawn(func(ctx context.Context) {
		defer func() { <-n.askSlots }()
		ctx, cancel := context.WithTimeout(ctx, 2*q.Within)
		defer cancel()
		raw, err := n.host.Ask(ctx, to, append([]byte{questionReplica}, q.Bytes()...))
		if err != nil {
			n.log.Debug("a question was not answered", "peer", to, "question", q.Kind, "err", err)
			return
		}
		n.answered(to, q, raw)
	})
}

// answered verifies an answer. A wrong one is the peer's fault.
func (n *Node) answered(from peer.ID, q replica.Request, raw []byte) {
	reply, err := replica.DecodeReply(raw)
	if err == nil && (reply.ID != q.ID || reply.Kind != q.Kind) {
		err = errors.New("the answer is to another question")
	}
	var answer replica.Answer
	if err == nil {
		answer, err = n.standing.Load().verifier.Answer(q.To, reply)
	}
	if err != nil {
		n.host.Punish(from, "a wrong answer: "+err.Error())
		return
	}
	n.inbox.add(func(in *replica.Input) { in.Answers = append(in.Answers, answer) })
}

// encodeOps writes operations for questionOps.
func encodeOps(ops []*ledger.Op) []byte {
	b := []byte{questionOps}
	for _, op := range ops {
		b = binary.AppendUvarint(b, uint64(len(op.Bytes())))
		b = append(b, op.Bytes()...)
	}
	return b
}

func decodeOps(b []byte) (raw [][]byte, err error) {
	for len(b) > 0 {
		size, n := binary.Uvarint(b)
		if n <= 0 || size == 0 || size > ledger.OpBytesMax || size > uint64(len(b)-n) || len(raw) == forwardOpsMax {
			return nil, errQuestion
		}
		raw = append(raw, b[n:n+int(size):n+int(size)])
		b = b[n+int(size):]
	}
	return raw, nil
}

// answerOps takes operations that another node has journalled for its clients.
func (n *Node) answerOps(b []byte) ([]byte, error) {
	raw, err := decodeOps(b)
	if err != nil {
		return nil, err
	}
	now := n.standing.Load()
	if !now.proposes() {
		return nil, errUnableToPropose
	}
	ops, errs := now.verifier.Ops(raw)
	good := make([]*ledger.Op, 0, len(ops))
	for i, op := range ops {
		if op == nil {
			return nil, fmt.Errorf("%w: operation %d: %w", errQuestion, i, errs[i])
		}
		good = append(good, op)
	}
	if !n.inbox.addOps(good) {
		return nil, errUnableToPropose
	}
	return binary.AppendUvarint(nil, uint64(len(good))), nil
}

var errUnableToPropose = errors.New("this node proposes no blocks at present: ask another validator")

// server answers peers for p2p; see p2p.Server.
type server struct{ n *Node }

// Serve gives out objects by their CIDs.
func (s server) Serve(ctx context.Context, _ peer.ID, cids []cid.Cid, send func(p2p.Item) bool) error {
	for _, c := range cids {
		d, err := dag.DigestFromCID(c)
		if err != nil {
			continue // no object of ours has such a name
		}
		raw, err := s.n.object(d)
		if errors.Is(err, api.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		if ctx.Err() != nil || !send(p2p.Item{CID: c, Data: raw}) {
			return ctx.Err()
		}
	}
	return nil
}

// Answer answers a question from the disk, beside the loop, or by what is known of
// services.
func (s server) Answer(ctx context.Context, from peer.ID, question []byte) ([]byte, error) {
	if len(question) == 0 {
		return nil, errQuestion
	}
	switch question[0] {
	case questionReplica:
		return s.n.answerReplica(question[1:])
	case questionOps:
		return s.n.answerOps(question[1:])
	case mesh.QuestionTag:
		return s.n.answerServices(ctx, from, question)
	}
	return nil, errQuestion
}
