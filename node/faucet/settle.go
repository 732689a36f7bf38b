package faucet

import (
	"context"
	"time"

	"github.com/holdfast-mesh/holdfast/node/api"
)

// settleEvery is how often Run looks at what is open.
const settleEvery = 5 * time.Second

// settleTimeout bounds one look at one gift.
const settleTimeout = 20 * time.Second

// Run settles the gifts nobody waits for any more, and those a crash has left open,
// until ctx ends.
func (f *Faucet) Run(ctx context.Context) {
	again := time.NewTicker(settleEvery)
	defer again.Stop()
	for {
		for _, g := range f.opened() {
			each, cancel := context.WithTimeout(ctx, settleTimeout)
			if _, err := f.settle(each, g); err != nil && ctx.Err() == nil {
				f.log.Warn("a gift is not settled yet", "op", g.id, "to", g.to, "err", err)
			}
			cancel()
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return
		}
	}
}

func (f *Faucet) opened() []*gift {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := make([]*gift, 0, len(f.open))
	for _, g := range f.open { // order: each is settled by itself
		all = append(all, g)
	}
	return all
}

// settle sends the gift's operation, once more if it was sent before, waits for its
// end and writes it down. With an error its end is not known.
func (f *Faucet) settle(ctx context.Context, g *gift) (api.Op, error) {
	f.mu.Lock()
	raw := g.raw
	f.mu.Unlock()
	if raw == nil {
		return f.cfg.Gateway.Op(ctx, g.id)
	}
	late := f.cfg.Now().UnixMilli() > g.expiresMs
	if !late {
		// A refusal does not say that no node has it: what counts is the answer below.
		if _, err := f.cfg.Gateway.Submit(ctx, raw); err != nil {
			f.log.Debug("a gift was not taken", "op", g.id, "err", err)
		}
	}
	ask := f.cfg.Gateway.WaitOp
	if late {
		ask = f.cfg.Gateway.Op
	}
	op, err := ask(ctx, g.id)
	if err != nil {
		return op, err
	}
	switch {
	case op.Status == api.OpFinal:
		return op, f.end(g, paidBy(op))
	case op.Status == api.OpExpired, op.Status == api.OpRejected && op.Commit != 0:
		return op, f.end(g, false)
	case f.cfg.Now().UnixMilli() > g.expiresMs+doubt.Milliseconds():
		// It cannot execute any more, and the node was not there when it could: it
		// counts as paid, for twice would be worse than not at all.
		f.log.Warn("how a gift ended is not known; it counts as paid", "op", g.id, "to", g.to)
		return op, f.end(g, true)
	}
	return op, nil
}

// paidBy says whether a final operation moved anything.
func paidBy(op api.Op) bool {
	for _, a := range op.Actions {
		if !a.Refused {
			return true
		}
	}
	return len(op.Actions) == 0 // the node does not say: better so than twice
}
