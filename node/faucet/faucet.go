package faucet

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/holdfast-mesh/holdfast/node/api"
	"github.com/holdfast-mesh/holdfast/node/ledger"
	"github.com/holdfast-mesh/holdfast/storage"
)

// Bounds of what is under way.
const (
	// openMax bounds the gifts whose end is not known. It is well within the nonces a
	// ledger keeps of an account, so that no gift falls out of them.
	openMax = 50
	// window is how long a gift's operation may execute: longer than a network without
	// a quorum is mended by itself, shorter than a person's patience.
	window = time.Minute
	// doubt is how long after that a gift is asked for before it counts as paid.
	doubt = 2 * time.Minute
)

// Faucet gives. Many goroutines may call every method.
type Faucet struct {
	cfg   Config
	self  ledger.Account
	log   *slog.Logger
	store *storage.Store

	mu     sync.Mutex // guards what is below; held over writes to the journal, not over the network
	newest map[ledger.Account]*gift
	open   map[uint64]*gift
	hour   []int64 // when the gifts of the last hour were signed, ascending
	given  int     // gifts in the journal
	next   uint64  // number of the next one
	nonce  uint64  // the last one used
}

// Open reads the journal. The caller must Close the faucet.
func Open(cfg Config) (*Faucet, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("faucet:\n%w", err)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	options := storage.DefaultOptions()
	options.Logger = cfg.Log
	store, err := storage.Open(cfg.Dir, options)
	if err != nil {
		return nil, fmt.Errorf("faucet: %w", err)
	}
	f := &Faucet{cfg: cfg, self: ledger.AccountOf(cfg.Key), log: cfg.Log, store: store,
		newest: make(map[ledger.Account]*gift), open: make(map[uint64]*gift)}
	if err := f.read(); err != nil {
		store.Close()
		return nil, fmt.Errorf("faucet: %w", err)
	}
	return f, nil
}

// Close ends the faucet. What is open is settled by the next one.
func (f *Faucet) Close() error { return f.store.Close() }

// enter counts a gift of the journal. The lock is held, or nobody else is there.
func (f *Faucet) enter(g *gift) {
	if last := f.newest[g.to]; last == nil || last.number < g.number {
		f.newest[g.to] = g
	}
	if g.open() {
		f.open[g.number] = g
	}
	f.hour = append(f.hour, g.timeMs)
	f.given++
	f.next = max(f.next, g.number+1)
	f.nonce = max(f.nonce, g.nonce)
}

// Ask gives to an account, or says why not: the error is then an *api.Problem, with
// when to ask again. An account whose last gift is still under way is told of that one
// and gets no second. It waits until the gift is final, or ctx ends: then the answer
// is the gift that is under way.
func (f *Faucet) Ask(ctx context.Context, to ledger.Account) (Answer, error) {
	g, err := f.underWay(to)
	if g == nil && err == nil {
		if err = f.afford(ctx); err == nil {
			g, err = f.sign(to)
		}
	}
	if err != nil {
		return Answer{}, err
	}
	op, err := f.settle(ctx, g)
	if err != nil {
		f.log.Warn("a gift is not settled yet", "op", g.id, "to", to, "err", err)
		op = api.Op{Op: g.id.String(), Status: api.OpPending}
	}
	return f.answer(g, op)
}

// underWay is the account's gift whose end is not known, or nil if one may be signed.
func (f *Faucet) underWay(to ledger.Account) (*gift, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if g := f.newest[to]; g != nil && g.open() {
		return g, nil
	}
	return nil, f.refuse(to, f.cfg.Now().UnixMilli())
}

// sign makes a gift durable. Limits are looked at again, for another may have been
// quicker.
func (f *Faucet) sign(to ledger.Account) (*gift, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if g := f.newest[to]; g != nil && g.open() {
		return g, nil
	}
	now := f.cfg.Now().UnixMilli()
	if err := f.refuse(to, now); err != nil {
		return nil, err
	}
	nonce := max(uint64(now), f.nonce+1)
	draft := ledger.Draft{Network: f.cfg.Network, Account: f.self, Nonce: nonce, TimeMs: now, WindowMs: window.Milliseconds(), Actions: f.cfg.actions(to)}
	raw, err := draft.Sign(f.cfg.Key)
	if err != nil {
		return nil, fmt.Errorf("signing a gift: %w", err)
	}
	g := &gift{number: f.next, to: to, timeMs: now, nonce: nonce, raw: raw, expiresMs: now + window.Milliseconds(), id: sha256.Sum256(raw)}
	if err := f.write(func(b *storage.Batch) { b.Set(giftKey(g.number), g.encode()) }); err != nil {
		return nil, err
	}
	f.enter(g)
	return g, nil
}

// end says how a gift has ended. One that was not paid is forgotten, so that the
// account may ask again.
func (f *Faucet) end(g *gift, paid bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !g.open() {
		return nil
	}
	after := *g
	after.raw = nil
	err := f.write(func(b *storage.Batch) {
		if paid {
			b.Set(giftKey(g.number), after.encode())
		} else {
			b.Delete(giftKey(g.number))
		}
	})
	if err != nil {
		return err
	}
	g.raw = nil
	delete(f.open, g.number)
	if !paid {
		f.forget(g)
	}
	return nil
}

// forget takes a gift out of all counts. The lock is held.
func (f *Faucet) forget(g *gift) {
	f.given--
	if f.newest[g.to] == g {
		delete(f.newest, g.to) // the one before was older than Every, or this were not
	}
	for i, ms := range f.hour {
		if ms == g.timeMs {
			f.hour = append(f.hour[:i], f.hour[i+1:]...)
			break
		}
	}
}
