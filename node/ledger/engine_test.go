package ledger

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"testing"
)

// startMs is when test networks begin; nonces are read as milliseconds, so it
// is above two days.
const startMs = 1_000_000_000_000

// market is a market of asset 0 in asset 1 with one unit as tick and lot, so
// that tests count in small numbers.
func plainMarket() Market {
	return Market{Base: 0, Quote: 1, Tick: Decimal{1, 0}, Lot: 1, STP: ExpireMaker}
}

// world is a ledger under test with named accounts. Each op is signed by
// nobody: tests of the engine begin where verification has ended.
type world struct {
	t     testing.TB
	l     *Ledger
	nonce uint64
	time  int64
}

// name is the account of a one-word name.
func name(s string) (a Account) {
	copy(a[:], s)
	a[31] = 1
	return a
}

// plainGenesis has two assets without decimals, one market, and accounts A to
// E with plenty of both.
func plainGenesis(markets ...Market) *Genesis {
	if len(markets) == 0 {
		markets = []Market{plainMarket()}
	}
	g := &Genesis{
		Name:       "test",
		Assets:     []Asset{{Symbol: "BASE"}, {Symbol: "QUOTE"}},
		Markets:    markets,
		Custodians: Council{2, []Account{name("k1"), name("k2"), name("k3")}},
		Governors:  Council{2, []Account{name("g1"), name("g2"), name("g3")}},
		Params:     DefaultParams(),
	}
	for _, who := range []string{"A", "B", "C", "D", "E"} {
		for asset := range AssetID(2) {
			g.Balances = append(g.Balances, Balance{name(who), asset, Units(1_000_000)})
		}
	}
	return g
}

func newWorld(t testing.TB, g *Genesis) *world {
	t.Helper()
	slices.SortFunc(g.Balances, func(a, b Balance) int { return a.compare(&b) })
	for _, m := range [][]Account{g.Custodians.Members, g.Governors.Members} {
		slices.SortFunc(m, func(a, b Account) int { return bytes.Compare(a[:], b[:]) })
	}
	l, err := New(g)
	if err != nil {
		t.Fatal(err)
	}
	return &world{t: t, l: l, nonce: startMs, time: startMs}
}

// sign makes an op of an account, with the next nonce, now.
func (w *world) sign(who string, actions ...Action) Op {
	w.nonce++
	return w.signAt(who, w.nonce, actions...)
}

func (w *world) signAt(who string, nonce uint64, actions ...Action) Op {
	op := Op{network: w.l.network, account: name(who), nonce: nonce, timeMs: w.time, windowMs: 60_000, actions: actions}
	h := sha256.New()
	fmt.Fprint(h, op.account, nonce, op.timeMs)
	for _, a := range actions {
		if a.Detail != nil {
			fmt.Fprintf(h, "%+v", *a.Detail)
			a.Detail = nil
		}
		fmt.Fprintf(h, "%+v", a)
	}
	op.id = Digest(h.Sum(nil))
	return op
}

// commit applies ops as the next commit and checks all invariants.
func (w *world) commit(ops ...Op) []Event {
	w.t.Helper()
	var d Digest
	binary.BigEndian.PutUint64(d[:], w.l.index+1)
	events := w.l.Apply(Batch{Index: w.l.index + 1, TimeMs: w.time, Digest: sha256.Sum256(d[:]), Ops: ops})
	if err := w.l.CheckInvariants(); err != nil {
		w.t.Fatal(err)
	}
	return events
}

// do commits one op and returns its outcomes.
func (w *world) do(who string, actions ...Action) []Event {
	w.t.Helper()
	var outcomes []Event
	for _, e := range w.commit(w.sign(who, actions...)) {
		if e.Outcome {
			outcomes = append(outcomes, e)
		}
	}
	return outcomes
}

// one commits one action and returns its outcome.
func (w *world) one(who string, a Action) Event {
	w.t.Helper()
	outcomes := w.do(who, a)
	if len(outcomes) != 1 {
		w.t.Fatalf("%d outcomes of one action: %+v", len(outcomes), outcomes)
	}
	return outcomes[0]
}

// limit is a limit order at market 0.
func limit(side Side, price Ticks, q Lots) Action {
	return Action{Kind: KindPlace, Side: side, Price: price, Quantity: q}
}

func (w *world) wantReason(e Event, reason Reason) {
	w.t.Helper()
	if e.Reason != reason || (reason != ReasonNone) != (e.Kind == EventRejected) {
		w.t.Fatalf("got %v %v, want reason %v", e.Kind, e.Reason, reason)
	}
}

func (w *world) wantState(e Event, state OrderState, executed Lots) {
	w.t.Helper()
	if e.Kind != EventPlaced || e.State != state || e.Executed != executed {
		w.t.Fatalf("got %v %v executed %d, want %v executed %d (%v)", e.Kind, e.State, e.Executed, state, executed, e.Reason)
	}
}

func (w *world) wantBalance(who string, asset AssetID, available, held uint64) {
	w.t.Helper()
	a, h := w.l.Balance(name(who), asset)
	if a != Units(available) || h != Units(held) {
		w.t.Fatalf("%s has %v, %v held of asset %d; want %d, %d", who, a, h, asset, available, held)
	}
}

// restored is the ledger after a snapshot and restore, in chunks.
func restored(t testing.TB, l *Ledger, chunkBytes int) *Ledger {
	t.Helper()
	b := l.AppendSnapshot(nil)
	r := NewRestorer()
	for chunk := range slices.Chunk(b, chunkBytes) {
		if err := r.Add(chunk); err != nil {
			t.Fatal(err)
		}
	}
	again, err := r.Finish()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(again.AppendSnapshot(nil), b) {
		t.Fatal("the restored ledger's snapshot differs")
	}
	if again.Root() != l.Root() {
		t.Fatal("the restored ledger's root differs")
	}
	return again
}

func TestTradeAtTheRestingPrice(t *testing.T) {
	w := newWorld(t, plainGenesis())
	w.wantState(w.one("B", limit(Sell, 100, 10)), StateNew, 0)
	w.wantState(w.one("A", limit(Buy, 105, 4)), StateFilled, 4)
	w.wantBalance("A", 0, 1_000_004, 0)
	w.wantBalance("A", 1, 999_600, 0)
	w.wantBalance("B", 0, 999_990, 6)
	w.wantBalance("B", 1, 1_000_400, 0)
	restored(t, w.l, 7)
}
