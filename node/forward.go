package node

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/holdfast-mesh/holdfast/node/ledger"
	"github.com/holdfast-mesh/holdfast/node/replica"
	"github.com/holdfast-mesh/holdfast/p2p"
)

// Bounds of one question that forwards operations.
const (
	forwardOpsMax   = 512
	forwardBytesMax = 1 << 20
	forwardTimeout  = 3 * time.Second
)

// resubmit hands in again what has not ended, until ctx ends: to our own replica
// or, while that proposes nothing, to another validator.
func (n *Node) resubmit(ctx context.Context) error {
	tick := time.NewTicker(resubmitAfter / 2)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		now := n.standing.Load()
		due := n.intake.due(time.Now(), now.commitMs, n.fate)
		switch {
		case len(due) == 0:
		case now.proposes():
			n.inbox.add(func(in *replica.Input) { in.Ops = append(in.Ops, due...) })
		default:
			n.forward(due)
		}
	}
}

// proposes says whether operations given to the replica get into blocks that
// others see: not an observer's, nor while a lost disk or a broken link keeps a
// validator silent.
func (s *standing) proposes() bool {
	return s.own.Validator && !s.status.Recovering && !s.status.Stalled && s.alarm == replica.AlarmNone
}

// fate tells what became of an operation. One that may have been executed in
// commits before the index begins, and whose nonce the ledger does not keep any
// more, is one this node cannot speak of.
func (n *Node) fate(op *ledger.Op) fate {
	n.mu.RLock()
	l := n.replica.Ledger()
	_, done := l.Result(op.ID())
	state, _ := l.State(op.Account())
	n.mu.RUnlock()
	if !done {
		_, _, err := n.index.op(op.ID())
		done = err == nil
	}
	switch {
	case done:
		return fateDone
	case op.Nonce() <= state.NonceFloor && n.index.skipped(op.TimeMs()):
		return fateSkipped
	}
	return fateNot
}

// forward gives operations to a validator that can be reached. If nobody can be
// they stay in the journal, and are tried again.
func (n *Node) forward(ops []*ledger.Op) {
	for len(ops) > 0 {
		to, ok := n.forwarding.choose(n.host.Peers())
		if !ok {
			return
		}
		part := ops[:fitting(ops)]
		ops = ops[len(part):]
		n.spawn(func(ctx context.Context) {
			ctx, cancel := context.WithTimeout(ctx, forwardTimeout)
			defer cancel()
			if _, err := n.host.Ask(ctx, to, encodeOps(part)); err != nil {
				n.forwarding.failed(to)
				n.log.Debug("forwarding operations", "peer", to, "ops", len(part), "err", err)
			}
		})
	}
}

// fitting is how many of the first operations one question can carry.
func fitting(ops []*ledger.Op) int {
	bytes := 0
	for i, op := range ops {
		if bytes += len(op.Bytes()); i == forwardOpsMax || i > 0 && bytes > forwardBytesMax {
			return i
		}
	}
	return len(ops)
}

// forwarding is which validator a node that proposes nothing hands operations to:
// the same one while it takes them, else one of another provider.
type forwarding struct {
	mu      sync.Mutex
	to      p2p.PeerInfo
	refused []peer.ID // lately, oldest first
}

// choose picks a validator among the connected peers.
func (f *forwarding) choose(peers []p2p.PeerInfo) (to peer.ID, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	best, rank := p2p.PeerInfo{}, -1
	for _, p := range peers {
		if !p.Validator {
			continue
		}
		r := slices.Index(f.refused, p.ID) // who refused longest ago comes first of them
		switch {
		case p.ID == f.to.ID:
			r = 1 << 20
		case r < 0 && p.Provider != f.to.Provider:
			r = 1 << 19
		case r < 0:
			r = 1 << 18
		default:
			r = len(f.refused) - r
		}
		if r > rank {
			best, rank = p, r
		}
	}
	if rank < 0 {
		return "", false
	}
	f.to = best
	f.refused = slices.DeleteFunc(f.refused, func(id peer.ID) bool { return id == best.ID })
	return best.ID, true
}

// failed remembers who did not take operations.
func (f *forwarding) failed(id peer.ID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.to.ID == id {
		f.to.ID = ""
	}
	f.refused = append(slices.DeleteFunc(f.refused, func(p peer.ID) bool { return p == id }), id)
}
