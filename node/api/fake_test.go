package api

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-mesh/holdfast/node/ledger"
)

// startMs is when the test network begins; nonces are read as milliseconds.
const startMs = 1_800_000_000_000

// fakeNode is a Backend around a real ledger and a real verifier. Its commits
// are made by the test, and everything is kept in memory. What is fake is
// agreement and the disk.
type fakeNode struct {
	genesis  *ledger.Genesis
	network  ledger.Digest
	verifier *ledger.Verifier

	mu       sync.RWMutex
	l        *ledger.Ledger
	status   Status
	quorum   bool
	nowMs    int64
	refuse   error // of Submit
	broken   error // of whatever reads the disk
	peers    []Peer
	oldest   uint64 // commits before it are pruned
	ops      map[ledger.Digest]*OpStatus
	pending  []ledger.Op
	executed []*Executed
	commits  []Commit
	blocks   map[ledger.Digest][]byte
	arrived  chan struct{} // closed by the next change
}

// key returns a person's key.
func key(name string) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte(name))
	return ed25519.NewKeyFromSeed(seed[:])
}

func accountOf(name string) ledger.Account { return ledger.AccountOf(key(name)) }

// testGenesis has BTC-USDT and ETH-USDT, and four people with funds.
func testGenesis() *ledger.Genesis {
	g := &ledger.Genesis{
		Name:   "test",
		Assets: []ledger.Asset{{Symbol: "BTC", Decimals: 8, WithdrawalFeeMin: ledger.Units(1000)}, {Symbol: "USDT", Decimals: 6}, {Symbol: "ETH", Decimals: 18}},
		Markets: []ledger.Market{
			{Base: 0, Quote: 1, Tick: ledger.Decimal{Units: 1, Decimals: 2}, Lot: 10_000, MinNotional: ledger.Units(1_000_000), MakerPPM: -100, TakerPPM: 1000, BandPPM: 500_000, STP: ledger.ExpireMaker},
			{Base: 2, Quote: 1, Tick: ledger.Decimal{Units: 1, Decimals: 2}, Lot: 1e15, TakerPPM: 1000, FeeAsset: ledger.FeeQuote, STP: ledger.ExpireTaker},
		},
		Custodians: ledger.Council{Threshold: 2, Members: []ledger.Account{accountOf("k1"), accountOf("k2")}},
		Governors:  ledger.Council{Threshold: 2, Members: []ledger.Account{accountOf("g1"), accountOf("g2")}},
		Params:     ledger.DefaultParams(),
	}
	for _, name := range []string{"alice", "bob", "carol", "dave"} {
		for asset, units := range []uint64{100_0000_0000, 10_000_000_000_000, 1e19} {
			g.Balances = append(g.Balances, ledger.Balance{Account: accountOf(name), Asset: ledger.AssetID(asset), Amount: ledger.Units(units)})
		}
	}
	slices.SortFunc(g.Balances, func(a, b ledger.Balance) int {
		if c := bytes.Compare(a.Account[:], b.Account[:]); c != 0 {
			return c
		}
		return int(a.Asset) - int(b.Asset)
	})
	for _, c := range []*ledger.Council{&g.Custodians, &g.Governors} {
		slices.SortFunc(c.Members, func(a, b ledger.Account) int { return bytes.Compare(a[:], b[:]) })
	}
	return g
}

func newFakeNode(t testing.TB) *fakeNode {
	t.Helper()
	g := testGenesis()
	l, err := ledger.New(g)
	if err != nil {
		t.Fatal(err)
	}
	return &fakeNode{
		genesis: g, network: l.Network(), verifier: ledger.NewVerifier(l.Network()), l: l, quorum: true, nowMs: startMs, oldest: 1,
		ops: make(map[ledger.Digest]*OpStatus), blocks: make(map[ledger.Digest][]byte), arrived: make(chan struct{}),
		status: Status{Network: l.Network().String(), Name: g.Name, Peer: "12D3KooWfake", Version: "test", Validator: true, Ready: true, Peers: 3,
			Provider: "aws", Region: "eu", Zone: "a", Epoch: 1, Round: 7, Weight: Weight{Connected: 4, Quorum: 3, Total: 4}},
		peers: []Peer{{Peer: "12D3KooWother", Validator: true, Connected: true, Provider: "gcp", Path: "direct", Addresses: []string{"/ip4/127.0.0.1/udp/1/quic-v1"}}},
	}
}

// signed returns an operation in canonical bytes. Nonces rise by themselves.
func (f *fakeNode) signed(t testing.TB, who string, actions ...ledger.Action) []byte {
	t.Helper()
	f.mu.Lock()
	f.nowMs++
	now := f.nowMs
	f.mu.Unlock()
	op, err := ledger.Draft{Network: f.network, Account: accountOf(who), Nonce: uint64(now), TimeMs: now, Actions: actions}.Sign(key(who))
	if err != nil {
		t.Fatal(err)
	}
	return op
}

// limit is a limit order in BTC-USDT: lots of 0.0001 BTC at cents.
func limit(side ledger.Side, lots ledger.Lots, price ledger.Ticks) ledger.Action {
	return ledger.Action{Kind: ledger.KindPlace, Side: side, Quantity: lots, Price: price}
}

// change changes the node under its lock and wakes who waits.
func (f *fakeNode) change(do func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	do()
	close(f.arrived)
	f.arrived = make(chan struct{})
}

// commit executes all that is pending.
func (f *fakeNode) commit() (index uint64) {
	f.change(func() {
		index = f.commitLocked(f.pending)
		f.pending = nil
	})
	return index
}

func (f *fakeNode) commitLocked(ops []ledger.Op) uint64 {
	last, _ := f.l.Commit()
	index := last + 1
	f.nowMs++
	digest := ledger.Digest(sha256.Sum256([]byte("commit " + strconv.FormatUint(index, 10))))
	events := f.l.Apply(ledger.Batch{Index: index, TimeMs: f.nowMs, Digest: digest, Ops: ops})
	records := AppendRecords(nil, f.l, index, f.nowMs, ops, events)
	f.executed = append(f.executed, &Executed{Index: index, TimeMs: f.nowMs, Digest: digest, Ops: len(ops), Records: records})
	c := Commit{Index: index, Commit: digest.String(), Epoch: 1, Round: index * 2, TimeMs: f.nowMs}
	if len(f.commits) > 0 {
		c.Previous = f.commits[len(f.commits)-1].Commit
	}
	block := []byte("\xa1\x61i")
	for i := range ops {
		f.conclude(&ops[i], index, uint32(i), records)
		c.Ops = append(c.Ops, ops[i].ID().String())
		block = append(block, ops[i].Bytes()...)
	}
	id := ledger.Digest(sha256.Sum256(block))
	f.blocks[id] = block
	c.Blocks = []string{id.String()}
	f.commits = append(f.commits, c)
	return index
}

// conclude notes how an operation ended.
func (f *fakeNode) conclude(op *ledger.Op, index uint64, position uint32, records []Record) {
	result, _ := f.l.Result(op.ID())
	s := &OpStatus{ID: op.ID(), State: OpFinal, Reason: result.Reason, ExpiresMs: op.ExpiresMs(), Commit: index, Position: position, TimeMs: f.nowMs,
		Actions: len(op.Actions()), Refused: result.Refused}
	if result.Reason != ledger.ReasonNone {
		s.State = OpRejected
	}
	for i := range records {
		if records[i].Op == op.ID() {
			s.Records = append(s.Records, records[i])
		}
	}
	f.ops[op.ID()] = s
}

func (f *fakeNode) asOf() AsOf {
	index, ms := f.l.Commit()
	return AsOf{Commit: index, Time: Stamp(ms), AgeMs: f.nowMs - ms, Quorum: f.quorum}
}

func (f *fakeNode) View(read func(l *ledger.Ledger, asOf AsOf)) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	read(f.l, f.asOf())
}

func (f *fakeNode) Prove(account ledger.Account) (p Proven, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p.Proof, ok = f.l.AppendProof(nil, account)
	p.Root, p.AsOf = f.l.Root(), f.asOf()
	return p, ok
}

func (f *fakeNode) AsOf() AsOf {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.asOf()
}

func (f *fakeNode) Status() Status {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.status
}

func (f *fakeNode) Peers() []Peer {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.peers
}

func (f *fakeNode) Committee() Committee {
	return Committee{Epoch: 1, Weight: 4, Quorum: 3, Faults: 1, Validators: []Validator{{Author: 0, Key: accountOf("v").String(), Weight: 4, Addresses: []string{}, Self: true, Connected: true}}}
}

func (f *fakeNode) Submit(ctx context.Context, ops [][]byte) ([]OpStatus, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.refuse != nil {
		return nil, f.refuse
	}
	all := make([]OpStatus, len(ops))
	for i, raw := range ops {
		all[i] = f.take(raw)
	}
	return all, nil
}

func (f *fakeNode) take(raw []byte) OpStatus {
	s := OpStatus{ID: sha256.Sum256(raw), State: OpRejected}
	u, err := ledger.DecodeOp(raw)
	if err != nil {
		s.Code, s.Detail = CodeBadFormat, err.Error()
		return s
	}
	op, err := f.verifier.Verify(u)
	if errors.Is(err, ledger.ErrNetwork) {
		s.Reason = ledger.ReasonWrongNetwork
		return s
	}
	if err != nil {
		s.Code, s.Detail = CodeBadSignature, err.Error()
		return s
	}
	if known := f.ops[s.ID]; known != nil {
		return *known
	}
	if err := f.l.Check(*op); errors.As(err, &s.Reason) {
		return s
	}
	s.State, s.ExpiresMs = OpPending, op.ExpiresMs()
	f.ops[s.ID] = &s
	f.pending = append(f.pending, *op)
	return s
}

func (f *fakeNode) Op(ctx context.Context, id ledger.Digest) (OpStatus, error) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if s := f.ops[id]; s != nil {
		return *s, f.broken
	}
	return OpStatus{ID: id, State: OpUnknown}, f.broken
}

// wait waits until a change after which done says so.
func (f *fakeNode) wait(ctx context.Context, done func() bool) error {
	for {
		f.mu.RLock()
		ok, arrived := done(), f.arrived
		f.mu.RUnlock()
		if ok {
			return nil
		}
		select {
		case <-arrived:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (f *fakeNode) Wait(ctx context.Context, id ledger.Digest) (s OpStatus, err error) {
	err = f.wait(ctx, func() bool {
		s = OpStatus{ID: id, State: OpUnknown}
		if known := f.ops[id]; known != nil {
			s = *known
		}
		return s.State.Ended()
	})
	if err != nil {
		return s, nil // the present status
	}
	return s, f.broken
}

func (f *fakeNode) Next(ctx context.Context, after uint64) (e *Executed, err error) {
	waited := f.wait(ctx, func() bool {
		if after+1 < f.oldest {
			err = &TooOldError{Oldest: f.oldest}
			return true
		}
		if after < uint64(len(f.executed)) {
			e = f.executed[after]
			return true
		}
		return false
	})
	if waited != nil {
		return nil, waited
	}
	return e, err
}

func (f *fakeNode) Commit(ctx context.Context, index uint64) (Commit, error) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	switch {
	case f.broken != nil:
		return Commit{}, f.broken
	case index == 0 || index > uint64(len(f.commits)):
		return Commit{}, ErrNotFound
	case index < f.oldest:
		return Commit{}, &TooOldError{Oldest: f.oldest}
	}
	return f.commits[index-1], nil
}

func (f *fakeNode) Block(ctx context.Context, id ledger.Digest) ([]byte, error) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	switch b := f.blocks[id]; {
	case f.broken != nil:
		return nil, f.broken
	case f.oldest > 1 && b != nil:
		return nil, &TooOldError{Oldest: f.oldest}
	case b == nil:
		return nil, fmt.Errorf("reading a block: %w", ErrNotFound)
	default:
		return b, nil
	}
}

func (f *fakeNode) Checkpoint(ctx context.Context) (Checkpoint, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.broken != nil {
		return Checkpoint{}, f.broken
	}
	if len(f.commits) == 0 {
		return Checkpoint{}, ErrNotFound
	}
	newest := f.commits[len(f.commits)-1]
	root := f.l.Root()
	return Checkpoint{Index: newest.Index, Commit: newest.Commit, Root: fmt.Sprintf("%x", root[:]), Epoch: 1, Certificate: []byte{0xa0}, Votes: newest.Blocks}, nil
}

// before returns the newest records before a cursor that are wanted.
func (f *fakeNode) before(before Cursor, most int, want func(r *Record) bool) (all []Record, err error) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if f.broken != nil {
		return nil, f.broken
	}
	if f.oldest > 1 && before != (Cursor{}) && before.Commit < f.oldest {
		return nil, &TooOldError{Oldest: f.oldest}
	}
	for i := len(f.executed) - 1; i >= 0; i-- {
		records := f.executed[i].Records
		for j := len(records) - 1; j >= 0; j-- {
			r := &records[j]
			if len(all) < most && want(r) && (before == Cursor{} || r.Cursor.Less(before)) {
				all = append(all, *r)
			}
		}
	}
	return all, nil
}

func (f *fakeNode) Trades(ctx context.Context, market ledger.MarketID, before Cursor, most int) ([]Record, error) {
	return f.before(before, most, func(r *Record) bool { return r.Kind == ledger.EventTrade && r.Market == market })
}

func (f *fakeNode) History(ctx context.Context, account ledger.Account, before Cursor, most int) ([]Record, error) {
	return f.before(before, most, func(r *Record) bool { return r.Concerns(account) })
}

func (f *fakeNode) Candles(ctx context.Context, market ledger.MarketID, interval Interval, fromMs int64, most int) (bars []Bar, err error) {
	trades, err := f.Trades(ctx, market, Cursor{}, 1<<20)
	for _, r := range slices.Backward(trades) {
		start := r.TimeMs - r.TimeMs%interval.Ms()
		if start < fromMs {
			continue
		}
		if len(bars) == 0 || bars[len(bars)-1].StartMs != start {
			bars = append(bars, Bar{StartMs: start, Open: r.Price, High: r.Price, Low: r.Price})
		}
		b := &bars[len(bars)-1]
		b.High, b.Low, b.Close = max(b.High, r.Price), min(b.Low, r.Price), r.Price
		b.Lots, _ = b.Lots.Add(ledger.Units(uint64(r.Quantity)))
		b.Worth, _ = b.Worth.Add(r.Amount)
		b.Trades++
	}
	return bars[:min(most, len(bars))], err
}

// testConfig is quiet and quick to end.
func testConfig() Config {
	c := DefaultConfig()
	c.DrainTimeout = 2 * time.Second
	c.Log = slog.New(slog.DiscardHandler)
	return c
}
