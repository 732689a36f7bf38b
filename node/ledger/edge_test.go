package ledger

import (
	"errors"
	"math"
	"testing"
)

// bigGenesis has two assets of 18 decimals, of which A owns 10^12 tokens of
// each and B everything else there can be.
func bigGenesis(m Market) *Genesis {
	g := plainGenesis(m)
	g.Assets = []Asset{{Symbol: "BASE", Decimals: 18}, {Symbol: "QUOTE", Decimals: 18}}
	trillion, _ := Units(1e18).Mul(1e12)
	rest, _ := MaxAmount.Sub(trillion)
	g.Balances = nil
	for asset := range AssetID(2) {
		g.Balances = append(g.Balances, Balance{name("A"), asset, trillion}, Balance{name("B"), asset, rest})
	}
	return g
}

// TestEighteenDecimals trades 10^12 tokens of 18 decimals at 0.1, to the unit.
func TestEighteenDecimals(t *testing.T) {
	m := Market{Base: 0, Quote: 1, Tick: Decimal{1, 2}, Lot: 1e14, MakerPPM: 100, TakerPPM: 200, STP: ExpireMaker}
	w := newWorld(t, bigGenesis(m))
	const lots, price = 1e16, 10 // 10^12 tokens at 0.10
	w.wantState(w.one("A", limit(Sell, price, lots)), StateNew, 0)
	w.wantState(w.one("B", limit(Buy, price, lots)), StateFilled, lots)
	trillion, _ := Units(1e18).Mul(1e12)
	tenth, _ := Units(1e17).Mul(1e12)
	free, held := w.l.Balance(name("A"), 0)
	if !free.IsZero() || !held.IsZero() {
		t.Fatalf("A still has %v, %v", free, held)
	}
	free, _ = w.l.Balance(name("A"), 1)
	want, _ := trillion.Add(tenth)
	want, _ = want.Sub(tenth.PPMCeil(100))
	if free != want {
		t.Fatalf("A has %v in quote, want %v", free, want)
	}
}

// TestOverflowIsRefused goes beyond each product and sum.
func TestOverflowIsRefused(t *testing.T) {
	huge := Market{Base: 0, Quote: 1, Tick: Decimal{1 << 63, 0}, Lot: 1, STP: ExpireMaker}
	w := newWorld(t, bigGenesis(huge))
	check := func(what, who string, a Action, reason Reason) {
		t.Helper()
		before := w.l.AppendSnapshot(nil)
		e := w.one(who, a)
		if e.Reason != reason {
			t.Errorf("%s: got %v %v, want %v", what, e.Kind, e.Reason, reason)
		}
		if len(w.l.AppendSnapshot(nil)) != len(before)+resultBytes {
			t.Errorf("%s: left more than its nonce", what)
		}
	}
	check("price x quantity", "B", limit(Buy, TicksMax, LotsMax), ReasonOverflow)
	check("price x quantity of a sale", "B", limit(Sell, TicksMax, LotsMax), ReasonOverflow)
	check("... x tick-lot", "B", limit(Buy, 1<<33, 1<<33), ReasonOverflow)
	check("beyond a tick", "B", limit(Buy, TicksMax+1, 1), ReasonPriceFilter)
	check("beyond a lot", "B", limit(Buy, 1, LotsMax+1), ReasonLotSize)
	check("all bits", "B", limit(Buy, math.MaxUint64, math.MaxUint64), ReasonPriceFilter)
	check("beyond what there is", "A", limit(Buy, TicksMax, 4), ReasonInsufficientBalance)
	check("amount + fee", "B", Action{Kind: KindWithdraw, Amount: MaxAmount, Detail: &Detail{Fee: Units(1), Reference: "x"}}, ReasonOverflow)
	check("all of it", "B", Action{Kind: KindTransfer, Amount: MaxAmount, Detail: &Detail{Account: name("A")}}, ReasonInsufficientBalance)
	deposit := Action{Kind: KindAttestDeposit, Amount: Units(1), Detail: &Detail{Account: name("A"), Reference: "one too many"}}
	w.one("k1", deposit)
	check("deposits", "k2", deposit, ReasonOverflow)
}

// TestMarketOrderWorthOverflows sums up makers whose worth together is beyond
// an Amount, though each alone fits.
func TestMarketOrderWorthOverflows(t *testing.T) {
	huge := Market{Base: 0, Quote: 1, Tick: Decimal{1 << 62, 0}, Lot: 1, STP: ExpireMaker}
	w := newWorld(t, bigGenesis(huge))
	for range 3 {
		w.wantState(w.one("A", limit(Sell, TicksMax, 4)), StateNew, 0) // 2^127 each
	}
	w.wantReason(w.one("B", Action{Kind: KindPlace, Type: MarketOrder, Side: Buy, Quantity: 12}), ReasonOverflow)
	e := w.one("B", Action{Kind: KindPlace, Type: MarketOrder, Side: Buy, Amount: MaxAmount})
	w.wantReason(e, ReasonInsufficientBalance)
	free, _ := w.l.Balance(name("B"), 1)
	e = w.one("B", Action{Kind: KindPlace, Type: MarketOrder, Side: Buy, Amount: free})
	w.wantState(e, StateFilled, 7) // 7 x 2^125 fit what B has, 8 do not
}

// TestLevelSum puts more lots into a level than 64 bits count.
func TestLevelSum(t *testing.T) {
	w := newWorld(t, bigGenesis(plainMarket()))
	for range 3 {
		w.wantState(w.one("B", limit(Sell, 1, LotsMax)), StateNew, 0)
	}
	want, _ := Units(uint64(LotsMax)).Mul(3)
	if d := w.l.Depth(nil, 0, Sell, 1); len(d) != 1 || d[0].Lots != want || d[0].Orders != 3 {
		t.Fatalf("got %+v, want %v lots", d, want)
	}
	restored(t, w.l, 1<<20)
	w.do("B", Action{Kind: KindCancelAll, AllMarkets: true})
}

// TestTwice orders the same bytes again, in the same commit and later: they run
// once and report the first result.
func TestTwice(t *testing.T) {
	w := newWorld(t, plainGenesis())
	op := w.sign("A", limit(Buy, 1, 1), limit(Buy, 0, 1))
	events := w.commit(op, op)
	if last := events[len(events)-1]; len(events) != 3 || last.Kind != EventDuplicate || last.First != 1 {
		t.Fatalf("got %+v", events)
	}
	w.l = restored(t, w.l, 10)
	if e := w.commit(op); len(e) != 1 || e[0].Kind != EventDuplicate || e[0].First != 1 || !e[0].Outcome {
		t.Fatalf("got %+v", e)
	}
	if r, ok := w.l.Result(op.id); !ok || r.Commit != 1 || r.Refused != 1<<1 || r.Reason != ReasonNone {
		t.Fatalf("the result is %+v, %v", r, ok)
	}
	w.wantBalance("A", 1, 999_999, 1)

	late := w.sign("A", limit(Buy, 1, 1))
	w.time += 61_000
	w.commit(late)
	if e := w.commit(late); e[0].Kind != EventDuplicate || e[0].Reason != ReasonTimestamp {
		t.Fatalf("got %+v", e)
	}
	if _, ok := w.l.Result(Digest{1}); ok {
		t.Fatal("a result of an op that never was")
	}
}

// TestStranger sends an op of an account that does not exist, funds it, and
// sends the op again: it must not run then.
func TestStranger(t *testing.T) {
	w := newWorld(t, plainGenesis())
	op := w.sign("S", limit(Buy, 1, 1))
	if e := w.commit(op); e[0].Reason != ReasonUnknownAccount {
		t.Fatalf("got %+v", e)
	}
	w.one("A", Action{Kind: KindTransfer, Asset: 1, Amount: Units(5), Detail: &Detail{Account: name("S")}})
	w.l = restored(t, w.l, 1000)
	if e := w.commit(op); e[0].Kind != EventDuplicate || e[0].Reason != ReasonUnknownAccount {
		t.Fatalf("got %+v", e)
	}
	w.wantState(w.one("S", limit(Buy, 1, 1)), StateNew, 0)
	for range refusalsMax + 10 {
		w.l.Apply(Batch{Index: w.l.index + 1, TimeMs: w.time, Ops: []Op{w.sign("T", limit(Buy, 1, 1))}})
	}
	if len(w.l.refusals) != refusalsMax || len(w.l.refusedBefore) != refusalsMax {
		t.Fatalf("%d and %d strangers are remembered", len(w.l.refusals), len(w.l.refusedBefore))
	}
}

// TestNonceAhead sends an op whose nonce is a day ahead, and the same again when
// it no longer is: its signer was told that it is refused. The nonce itself is
// free.
func TestNonceAhead(t *testing.T) {
	w := newWorld(t, plainGenesis())
	op := w.signAt("A", startMs+nonceAheadMs, limit(Buy, 1, 1))
	if e := w.commit(op, op); len(e) != 2 || e[0].Reason != ReasonNonceWindow || e[1].Kind != EventDuplicate {
		t.Fatalf("got %+v", e)
	}
	w.time++
	w.l = restored(t, w.l, 1000)
	if err := w.l.Check(op); !errors.Is(err, ReasonNonceWindow) {
		t.Fatalf("it may enter the pool: %v", err)
	}
	if e := w.commit(op); e[0].Kind != EventDuplicate || e[0].Reason != ReasonNonceWindow || e[0].First != 1 {
		t.Fatalf("got %+v", e)
	}
	if e := w.commit(w.signAt("A", startMs+nonceAheadMs, limit(Buy, 1, 1))); e[0].Kind != EventPlaced {
		t.Fatalf("another op of this nonce: %+v", e)
	}
	old := w.signAt("A", startMs-nonceBehindMs, limit(Buy, 1, 1))
	for range 2 { // can never run, so nobody need remember it
		if e := w.commit(old); e[0].Kind != EventRejected || e[0].Reason != ReasonNonceWindow {
			t.Fatalf("got %+v", e)
		}
	}
}

// TestCheck says what may be pooled, and changes nothing.
func TestCheck(t *testing.T) {
	w := newWorld(t, plainGenesis())
	used := w.sign("A", limit(Buy, 1, 1))
	w.commit(used)
	want := func(op Op, reason Reason) {
		t.Helper()
		err := w.l.Check(op)
		if reason == ReasonNone && err != nil || reason != ReasonNone && !errors.Is(err, reason) {
			t.Errorf("got %v, want %v", err, reason)
		}
	}
	root := w.l.Root()
	want(used, ReasonNonceUsed)
	want(w.sign("A", limit(Buy, 1, 1)), ReasonNone)
	want(w.sign("S", limit(Buy, 1, 1)), ReasonUnknownAccount)
	want(w.signAt("A", startMs+nonceAheadMs, limit(Buy, 1, 1)), ReasonNonceWindow)
	want(w.signAt("A", startMs-nonceBehindMs, limit(Buy, 1, 1)), ReasonNonceWindow)
	old := w.sign("A", limit(Buy, 1, 1))
	old.timeMs -= 60_001
	want(old, ReasonTimestamp)
	foreign := w.sign("A", limit(Buy, 1, 1))
	foreign.network[0]++
	want(foreign, ReasonWrongNetwork)
	if e := w.commit(foreign); e[0].Reason != ReasonWrongNetwork {
		t.Errorf("a foreign op got %v", e[0].Reason)
	}
	before := w.l.index
	if w.l.index--; w.l.Root() == root {
		t.Error("the foreign op's commit has no index of its own")
	}
	w.l.index = before
	if _, kept := w.l.nonces[w.l.accountOf(ptr(name("A")))].find(foreign.nonce); kept {
		t.Error("a foreign op used a nonce up")
	}
}

// TestTimestampEdges: less than a second ahead, and the window to the
// millisecond.
func TestTimestampEdges(t *testing.T) {
	w := newWorld(t, plainGenesis())
	w.commit()
	for _, c := range []struct {
		ahead  int64
		reason Reason
	}{{999, ReasonNone}, {1000, ReasonTimestamp}, {-60_000, ReasonNone}, {-60_001, ReasonTimestamp}} {
		op := w.sign("A", limit(Buy, 1, 1))
		op.timeMs = w.time + c.ahead
		if e := w.commit(op); e[0].Reason != c.reason {
			t.Errorf("%d ms ahead: %v, want %v", c.ahead, e[0].Reason, c.reason)
		}
	}
	w.time -= 50_000 // a commit's time that goes back counts as the last one
	op := w.sign("A", limit(Buy, 1, 1))
	op.timeMs = w.time - 20_000
	if e := w.commit(op); e[0].Reason != ReasonTimestamp {
		t.Errorf("time went back: %+v", e[0])
	}
}

// TestCouncilBounds fills what one member may leave open.
func TestCouncilBounds(t *testing.T) {
	w := newWorld(t, plainGenesis())
	deposit := func(n int) Action {
		return Action{Kind: KindAttestDeposit, Amount: Units(1), Detail: &Detail{Account: name("A"), Reference: string(rune('0' + n))}}
	}
	for n := range depositsOpenMax {
		w.wantReason(w.one("k1", deposit(n)), ReasonNone)
	}
	w.wantReason(w.one("k1", deposit(depositsOpenMax)), ReasonMaxNumDeposits)
	w.wantReason(w.one("k2", deposit(5)), ReasonNone)
	w.wantReason(w.one("k1", deposit(depositsOpenMax)), ReasonNone)
	for n := range proposalsOpenMax {
		w.wantReason(w.one("g1", Action{Kind: KindListAsset, Detail: &Detail{NewAsset: &Asset{Symbol: string(rune('A' + n))}}}), ReasonNone)
	}
	status := Action{Kind: KindSetMarketStatus, Status: StatusHalt}
	w.wantReason(w.one("g1", status), ReasonMaxNumProposals)
	for range withdrawalsMax {
		w.wantReason(w.one("A", Action{Kind: KindWithdraw, Amount: Units(1), Detail: &Detail{Reference: "x"}}), ReasonNone)
	}
	w.wantReason(w.one("A", Action{Kind: KindWithdraw, Amount: Units(1), Detail: &Detail{Reference: "x"}}), ReasonMaxNumWithdrawals)
	restored(t, w.l, 1<<20)
}

// TestGovernance changes the committee, lists a market on listed assets and
// trades on it.
func TestGovernance(t *testing.T) {
	w := newWorld(t, plainGenesis())
	both := func(a Action) Event {
		t.Helper()
		w.wantReason(w.one("g1", a), ReasonNone)
		return w.one("g2", a)
	}
	committee := &Committee{Validators: []Validator{{Key: name("v1"), Weight: 3}, {Key: name("v2"), Weight: 4}}}
	e := both(Action{Kind: KindSetCommittee, Detail: &Detail{NewCommittee: committee}})
	if e.Kind != EventCommitteeSet || len(w.l.Committee().Validators) != 2 {
		t.Fatalf("got %+v", e)
	}
	w.wantReason(w.one("g1", Action{Kind: KindSetCommittee, Detail: &Detail{NewCommittee: &Committee{}}}), ReasonBadProposal)
	if e := both(Action{Kind: KindListAsset, Detail: &Detail{NewAsset: &Asset{Symbol: "GOLD"}}}); e.Asset != 2 {
		t.Fatalf("got %+v", e)
	}
	m := plainMarket()
	m.Base = 2
	if e := both(Action{Kind: KindListMarket, Detail: &Detail{NewMarket: &m}}); e.Kind != EventMarketListed || e.Market != 1 {
		t.Fatalf("got %+v", e)
	}
	w.wantReason(w.one("g1", Action{Kind: KindListMarket, Detail: &Detail{NewMarket: &m}}), ReasonBadProposal)
	m.Base = 9
	w.wantReason(w.one("g1", Action{Kind: KindListMarket, Detail: &Detail{NewMarket: &m}}), ReasonBadProposal)
	w.l = restored(t, w.l, 100)
	order := limit(Buy, 5, 5)
	order.Market = 1
	w.wantState(w.one("A", order), StateNew, 0)
	order.Market = 2
	w.wantReason(w.one("A", order), ReasonUnknownMarket)
}

// TestInvariantsAreChecked breaks each invariant once.
func TestInvariantsAreChecked(t *testing.T) {
	for what, breakIt := range map[string]func(*Ledger){
		"money appears":            func(l *Ledger) { l.wallets.records[1].available = plus(l.wallets.records[1].available, Units(1)) },
		"a hold is not an order's": func(l *Ledger) { l.wallets.records[1].hold(Units(1)) },
		"a level's sum":            func(l *Ledger) { l.levels.records[1].lots++ },
		"a level's count":          func(l *Ledger) { l.levels.records[1].orders++ },
		"an order's price":         func(l *Ledger) { l.orders.records[1].price++ },
		"an account's list":        func(l *Ledger) { l.accounts[l.accountOf(ptr(name("A")))].firstOrder = 0 },
		"a seat's count":           func(l *Ledger) { l.seats.records[1].open++ },
		"a crossed book": func(l *Ledger) {
			b := l.books[0]
			_, key := b.sides[Sell].best()
			b.sides[Buy].runs[0].keys[0] = ^key
			l.levels.records[b.sides[Buy].runs[0].levels[0]].price = Ticks(^key)
		},
		"fees from nowhere": func(l *Ledger) { l.assets[0].fees = Units(1) },
	} {
		l := busyWorld(t).l
		if err := l.CheckInvariants(); err != nil {
			t.Fatal(err)
		}
		breakIt(l)
		if l.CheckInvariants() == nil {
			t.Errorf("%s, and nobody notices", what)
		}
	}
}
