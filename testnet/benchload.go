package testnet

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"math/rand/v2"
	"sync"
	"syscall"
	"time"

	"github.com/holdfast-mesh/holdfast/node/api"
	"github.com/holdfast-mesh/holdfast/node/ledger"
)

// trader is an account that acts in a bench, always through the same node, so that
// its operations stay in order.
type trader struct {
	key     ed25519.PrivateKey
	account ledger.Account
	nonce   uint64
	placed  int // orders so far, which name the next
}

// fund makes the traders and gives each the same share of half of the wallet's
// money.
func (b *bench) fund(ctx context.Context) ([]*trader, error) {
	network, err := ofAny(ctx, b, (*api.Client).Network)
	if err != nil {
		return nil, err
	}
	own, err := ofAny(ctx, b, func(c *api.Client, ctx context.Context) (api.Account, error) {
		return c.Account(ctx, ledger.AccountOf(b.cfg.Wallet))
	})
	if err != nil {
		return nil, err
	}
	traders := make([]*trader, b.cfg.Traders)
	nonce := uint64(time.Now().UnixMilli())
	for i := range traders {
		_, key, err := ed25519.GenerateKey(nil)
		if err != nil {
			return nil, err
		}
		traders[i] = &trader{key: key, account: ledger.AccountOf(key), nonce: nonce}
	}
	var gifts []ledger.Action
	for _, a := range network.Assets {
		asset := ledger.Asset{Symbol: a.Asset, Decimals: uint8(a.Decimals)}
		for _, balance := range own.Balances {
			if balance.Asset != a.Asset {
				continue
			}
			has, err := asset.ParseAmount(balance.Available)
			if err != nil {
				return nil, err
			}
			share, _ := has.Div(uint64(2 * len(traders)))
			for _, t := range traders {
				if !share.IsZero() {
					gifts = append(gifts, ledger.Action{
						Kind: ledger.KindTransfer, Asset: ledger.AssetID(a.ID), Amount: share,
						Detail: &ledger.Detail{Account: t.account},
					})
				}
			}
		}
	}
	if len(gifts) == 0 {
		return nil, fmt.Errorf("the wallet %s has nothing to give", ledger.AccountOf(b.cfg.Wallet))
	}
	return traders, b.give(ctx, network.Network, gifts, nonce)
}

// give transfers what the traders begin with.
func (b *bench) give(ctx context.Context, network string, gifts []ledger.Action, nonce uint64) error {
	id, err := ledger.ParseDigest(network)
	if err != nil {
		return err
	}
	for len(gifts) > 0 {
		part := gifts[:min(len(gifts), ledger.ActionsMax)]
		gifts = gifts[len(part):]
		nonce++
		raw, err := ledger.Draft{
			Network: id, Account: ledger.AccountOf(b.cfg.Wallet), Nonce: nonce, TimeMs: time.Now().UnixMilli(), Actions: part,
		}.Sign(b.cfg.Wallet)
		if err != nil {
			return err
		}
		answer, err := ofAny(ctx, b, func(c *api.Client, ctx context.Context) (api.Ops, error) { return c.SubmitWait(ctx, raw) })
		if err != nil {
			return err
		}
		if op := answer.Ops[0]; op.Status != api.OpFinal {
			return fmt.Errorf("a transfer ended as %s: %s", op.Status, op.Detail)
		}
	}
	return nil
}

// ofAny asks one node after the other until one answers. What is asked may be asked
// twice: an operation executes once.
func ofAny[T any](ctx context.Context, b *bench, ask func(*api.Client, context.Context) (T, error)) (answer T, err error) {
	for _, c := range b.clients {
		try, cancel := context.WithTimeout(ctx, b.cfg.Settle)
		answer, err = ask(c, try)
		cancel()
		if err == nil || ctx.Err() != nil {
			break
		}
	}
	return answer, err
}

// sign makes every operation of the load, in the order in which they are due, by
// API. What each does is drawn from a fixed seed.
func (b *bench) sign(ctx context.Context, traders []*trader) ([][]*benchOp, error) {
	network, err := ofAny(ctx, b, (*api.Client).Network)
	if err != nil {
		return nil, err
	}
	id, err := ledger.ParseDigest(network.Network)
	if err != nil {
		return nil, err
	}
	markets, err := ofAny(ctx, b, (*api.Client).Markets)
	if err != nil {
		return nil, err
	}
	total := int(b.cfg.Rate * b.cfg.For.Seconds())
	began := time.Now().UnixMilli()
	rnd := rand.New(rand.NewPCG(1, 2))
	ops := make([][]*benchOp, len(b.clients))
	for i := range total {
		if i%4096 == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		t := traders[i%len(traders)]
		t.nonce++
		raw, err := ledger.Draft{
			Network: id, Account: t.account, Nonce: t.nonce, TimeMs: began, WindowMs: ledger.WindowMsMax,
			Actions: []ledger.Action{t.next(rnd, &markets, traders)},
		}.Sign(t.key)
		if err != nil {
			return nil, err
		}
		op, err := ledger.DecodeOp(raw)
		if err != nil {
			return nil, err
		}
		at := i % len(traders) % len(ops)
		ops[at] = append(ops[at], &benchOp{
			due: time.Duration(float64(i) / b.cfg.Rate * float64(time.Second)), id: op.ID().String(), raw: raw,
		})
	}
	return ops, nil
}

// next is what a trader does: of ten operations six place an order near the touch,
// three cancel the one placed before, and one takes what is there. Where nothing
// trades it transfers.
func (t *trader) next(rnd *rand.Rand, markets *api.Markets, traders []*trader) ledger.Action {
	if len(markets.Markets) == 0 {
		return ledger.Action{Kind: ledger.KindTransfer, Amount: ledger.Units(1), Detail: &ledger.Detail{Account: traders[rnd.IntN(len(traders))].account}}
	}
	market := ledger.MarketID(markets.Markets[0].ID)
	name := func(n int) ledger.ClientID {
		id, err := ledger.ClientIDOf(fmt.Sprintf("bench%d", n))
		if err != nil {
			panic("testnet: invariant broken: a short name is a client id: " + err.Error())
		}
		return id
	}
	const middle = 6_000_000 // ticks; any will do, the first trades make it the price
	place := ledger.Action{Kind: ledger.KindPlace, Market: market, Side: ledger.Side(rnd.IntN(2)), Quantity: ledger.Lots(1 + rnd.IntN(9))}
	switch draw := rnd.IntN(10); {
	case draw == 0: // across the spread: takes about four
		place.TIF, place.Quantity = ledger.IOC, 20
		place.Price = ledger.Ticks(middle + 50 - 100*int(place.Side))
	case draw <= 3 && t.placed > 0:
		t.placed--
		return ledger.Action{Kind: ledger.KindCancel, Target: name(t.placed)}
	default:
		place.Price = ledger.Ticks(middle - 1 - rnd.IntN(50))
		if place.Side == ledger.Sell {
			place.Price = ledger.Ticks(middle + 1 + rnd.IntN(50))
		}
		place.ClientID = name(t.placed)
		t.placed++
	}
	return place
}

// inFlightMax bounds the requests on their way to one node; what is due beyond
// waits, and its latency counts from when it was due.
const inFlightMax = 256

// send hands a node what is due, when it is due.
func (b *bench) send(ctx context.Context, at int, ops []*benchOp) {
	slots := make(chan struct{}, inFlightMax)
	var work sync.WaitGroup
	defer work.Wait()
	for len(ops) > 0 && ctx.Err() == nil {
		if wait := ops[0].due - time.Since(b.began); wait > 0 {
			select {
			case <-time.After(wait):
			case <-ctx.Done():
				return
			}
		}
		n, horizon := 1, time.Since(b.began)
		for n < len(ops) && n < b.cfg.Batch && (ops[n].due <= horizon || ops[n].due-ops[0].due < b.cfg.BatchEvery) {
			n++
		}
		part := ops[:n]
		ops = ops[n:]
		if last := part[n-1].due - time.Since(b.began); last > 0 {
			time.Sleep(last)
		}
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return
		}
		b.begin(part)
		work.Go(func() {
			defer func() { <-slots }()
			b.submit(ctx, at, part)
		})
	}
}

// begin notes operations as being on their way.
func (b *bench) begin(ops []*benchOp) {
	now := time.Since(b.began)
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, op := range ops {
		b.open[op.id] = op
		b.late.RecordValue(max((now - op.due).Microseconds(), 1))
	}
	b.sent.Add(int64(len(ops)))
}

// submit sends a request. One that fails is sent again, to the next node: an operation
// executes once.
func (b *bench) submit(ctx context.Context, at int, ops []*benchOp) {
	raw := make([][]byte, len(ops))
	for i, op := range ops {
		raw[i] = op.raw
	}
	for ; ctx.Err() == nil; at++ {
		answer, err := b.clients[at%len(b.clients)].Submit(ctx, raw...)
		if err == nil {
			b.refusedOf(answer.Ops)
			return
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

// refusedOf takes out what was not taken.
func (b *bench) refusedOf(answers []api.Op) {
	for _, a := range answers {
		if a.Status != api.OpRejected && a.Status != api.OpExpired {
			continue
		}
		b.mu.Lock()
		if _, open := b.open[a.Op]; open {
			delete(b.open, a.Op)
			b.refused.Add(1)
		}
		b.mu.Unlock()
	}
}

// commits opens a stream of the commits at a node, after a cursor if there is one.
func (b *bench) commits(ctx context.Context, at int, after *api.Cursor) (*api.Stream, error) {
	dial, cancel := context.WithTimeout(ctx, statusMax)
	defer cancel()
	stream, err := b.clients[at].Stream(dial)
	if err != nil {
		return nil, err
	}
	if err := stream.Subscribe(dial, api.Subscription{Channel: api.ChannelCommits, After: after}); err != nil {
		stream.Close()
		return nil, err
	}
	return stream, nil
}

// watch reads the commits at a node and notes which operations are final. When that node
// is gone it goes on at the next, from where it was; with none for the
// settling time it gives up.
func (b *bench) watch(ctx context.Context, stream *api.Stream, at int) error {
	var after *api.Cursor
	heard := time.Now()
	for {
		err := b.read(ctx, b.clients[at], stream, &after, &heard)
		stream.Close()
		for stream = nil; stream == nil; {
			if time.Since(heard) > b.cfg.Settle {
				return fmt.Errorf("no node tells of commits any more: %w", err)
			}
			select {
			case <-time.After(againAfter):
			case <-ctx.Done():
				return nil
			}
			at = (at + 1) % len(b.clients)
			stream, err = b.commits(ctx, at, after)
		}
	}
}

// read reads a stream to its end.
func (b *bench) read(ctx context.Context, node *api.Client, stream *api.Stream, after **api.Cursor, heard *time.Time) error {
	for {
		m, err := stream.Next(ctx)
		if err != nil {
			return err
		}
		if m.Problem != nil {
			return m.Problem
		}
		*heard = time.Now()
		if m.Type != api.MessageUpdate {
			continue
		}
		for _, c := range m.Commits {
			b.committed()
			if c.Ops == 0 {
				continue
			}
			commit, err := node.Commit(ctx, c.Index)
			if err != nil {
				return err
			}
			b.finished(commit.Ops)
		}
		if m.Cursor != (api.Cursor{}) {
			*after = &m.Cursor
		}
	}
}

// committed measures the time since the commit before, while operations wait.
func (b *bench) committed() {
	now := time.Now()
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.open) > 0 {
		b.gap = max(b.gap, now.Sub(b.commit))
	}
	b.commit = now
}

func (b *bench) finished(ids []string) {
	now := time.Now()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, id := range ids {
		op := b.open[id]
		if op == nil {
			continue
		}
		delete(b.open, id)
		b.final++
		took := max((now.Sub(b.began) - op.due).Microseconds(), 1)
		b.latency.RecordValue(took)
		b.second.RecordValue(took)
		b.ended = now
	}
}

// cpuTime is the CPU time this process has used.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
