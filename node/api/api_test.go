package api

import (
	"bytes"
	"context"
	"encoding/hex"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/holdfast-mesh/holdfast/node/ledger"
)

// served is a server of a fake node on a loopback port, and a client of it.
type served struct {
	*Client
	node   *fakeNode
	server *Server
	stop   context.CancelFunc
	ended  chan error
}

// serve starts a server, and has it ended and its goroutines gone after the test.
// It is patient, as the machine may be busy: what is about time runs in a bubble,
// over pipes.
func serve(t testing.TB, config Config) *served {
	t.Helper()
	config.HeaderTimeout, config.RequestTimeout, config.StreamTimeout, config.AlivePeriod = time.Hour, time.Hour, time.Hour, time.Hour
	node := newFakeNode(t)
	server, err := New(node, config)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	client, err := NewClient("http://" + listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	s := &served{node: node, Client: client, server: server, stop: stop, ended: make(chan error, 1)}
	go func() { s.ended <- server.Serve(ctx, listener) }()
	t.Cleanup(func() {
		stop()
		if err := <-s.ended; err != nil {
			t.Error(err)
		}
		s.ended <- nil
		client.HTTP.CloseIdleConnections()
	})
	return s
}

// trade makes alice and bob trade 0.5 BTC at 100.00 in commit 1, and leaves
// alice 0.5 BTC for sale and a bid of carol.
func (s *served) trade(t testing.TB) {
	t.Helper()
	s.must(t, "alice", limit(ledger.Sell, 10_000, 10_000))
	s.must(t, "carol", limit(ledger.Buy, 20_000, 9_900))
	s.must(t, "bob", limit(ledger.Buy, 5_000, 10_050))
	s.node.commit()
}

// must submits an operation that must be taken.
func (s *served) must(t testing.TB, who string, actions ...ledger.Action) ledger.Digest {
	t.Helper()
	a, err := s.Submit(t.Context(), s.node.signed(t, who, actions...))
	if err != nil || a.Ops[0].Status != OpPending {
		t.Fatalf("submitting for %s: %+v, %v", who, a, err)
	}
	id, err := ledger.ParseDigest(a.Ops[0].Op)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// ok fails the test if there is an error and returns the answer.
func ok[T any](t testing.TB) func(a T, err error) T {
	t.Helper()
	return func(a T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
}

func TestTradeIsSeenEverywhere(t *testing.T) {
	s := serve(t, testConfig())
	s.trade(t)
	ctx := t.Context()

	book := ok[Book](t)(s.Book(ctx, "BTC-USDT", 0))
	if len(book.Asks) != 1 || book.Asks[0] != (Level{"100.00", "0.5000", 1}) || len(book.Bids) != 1 || book.Bids[0] != (Level{"99.00", "2.0000", 1}) {
		t.Errorf("the book is %+v", book)
	}
	if book.AsOf.Commit != 1 || !book.AsOf.Quorum {
		t.Errorf("the book is as of %+v", book.AsOf)
	}

	trades := ok[Trades](t)(s.Trades(ctx, "BTC-USDT", Page{}))
	if len(trades.Trades) != 1 {
		t.Fatalf("the trades are %+v", trades)
	}
	tr := trades.Trades[0]
	if tr.Price != "100.00" || tr.Quantity != "0.5000" || tr.Amount != "50" || tr.Side != "buy" {
		t.Errorf("the trade is %+v", tr)
	}

	candles := ok[Candles](t)(s.Candles(ctx, "BTC-USDT", "1h", 0, 0))
	if len(candles.Candles) != 1 || candles.Candles[0].Close != "100.00" || candles.Candles[0].Quantity != "0.5000" || candles.Candles[0].Trades != 1 {
		t.Errorf("the candles are %+v", candles)
	}

	markets := ok[Markets](t)(s.Markets(ctx))
	if m := markets.Markets[0]; m.Market != "BTC-USDT" || m.Last != "100.00" || m.Tick != "0.01" || m.Lot != "0.0001" || m.OpenOrdersMax != 200 {
		t.Errorf("the market is %+v", m)
	}

	orders := ok[Orders](t)(s.Orders(ctx, accountOf("alice"), 0, 0))
	if len(orders.Orders) != 1 || orders.Orders[0].Remaining != "0.5000" || orders.Orders[0].Executed != "0.5000" {
		t.Errorf("alice's orders are %+v", orders)
	}

	// Bob bought 0.5 BTC and pays 1000 ppm of it; alice receives 50 USDT and no rebate, as the house has no USDT yet.
	bob := ok[Account](t)(s.Account(ctx, accountOf("bob")))
	if bob.Balances[0] != (Balance{"BTC", "100.4995", "0"}) {
		t.Errorf("bob has %+v", bob.Balances)
	}
	alice := ok[Account](t)(s.Account(ctx, accountOf("alice")))
	if alice.Balances[0] != (Balance{"BTC", "99", "0.5"}) || alice.OpenOrders != 1 {
		t.Errorf("alice has %+v", alice)
	}

	history := ok[History](t)(s.History(ctx, accountOf("alice"), Page{}))
	if len(history.Events) != 2 || history.Events[0].Kind != "trade" || history.Events[1].Kind != "placed" {
		t.Fatalf("alice's history is %+v", history)
	}
	e := history.Events[0]
	if e.Fee != "0.0005" || e.FeeAsset != "BTC" || e.MakerFee != "0" || e.MakerFeeAsset != "USDT" || e.Counterparty != accountOf("alice").String() {
		t.Errorf("the trade is %+v", e)
	}
}

func TestListsGoOnWhereTheyEnd(t *testing.T) {
	s := serve(t, testConfig())
	for range 5 {
		s.trade(t)
	}
	ctx := t.Context()
	whole := ok[Trades](t)(s.Trades(ctx, "BTC-USDT", Page{}))
	var parts []Trade
	for page := (Page{Limit: 2}); ; {
		part := ok[Trades](t)(s.Trades(ctx, "BTC-USDT", page))
		parts = append(parts, part.Trades...)
		if page.Before = part.Next; part.Next == "" {
			break
		}
	}
	if len(parts) != len(whole.Trades) || len(parts) < 5 {
		t.Fatalf("%d in parts, %d whole", len(parts), len(whole.Trades))
	}
	for i := range parts {
		if parts[i] != whole.Trades[i] {
			t.Errorf("part %d is %+v, in the whole it is %+v", i, parts[i], whole.Trades[i])
		}
	}

	all := ok[Orders](t)(s.Orders(ctx, accountOf("carol"), 0, 0))
	first := ok[Orders](t)(s.Orders(ctx, accountOf("carol"), 0, 3))
	rest := ok[Orders](t)(s.Orders(ctx, accountOf("carol"), first.Next, 3))
	if len(all.Orders) != 5 || all.Next != 0 || rest.Next != 0 || !slices.Equal(append(first.Orders, rest.Orders...), all.Orders) {
		t.Errorf("of %+v the first are %+v, the rest %+v", all, first, rest)
	}

	for _, who := range []string{"dave", "alice", "dave"} {
		s.must(t, who, ledger.Action{Kind: ledger.KindWithdraw, Asset: 0, Amount: ledger.Units(5000), Detail: &ledger.Detail{Fee: ledger.Units(1000), Reference: "bc1q " + who}})
	}
	s.node.commit()
	two := ok[Withdrawals](t)(s.Withdrawals(ctx, 0, 2))
	one := ok[Withdrawals](t)(s.Withdrawals(ctx, two.Next, 2))
	if len(two.Withdrawals) != 2 || two.Next != 2 || len(one.Withdrawals) != 1 || one.Next != 0 {
		t.Fatalf("the withdrawals are %+v and %+v", two, one)
	}
	for i, w := range append(two.Withdrawals, one.Withdrawals...) {
		if w.Withdrawal != uint64(i+1) || "bc1q "+map[string]string{accountOf("dave").String(): "dave", accountOf("alice").String(): "alice"}[w.Account] != w.Address || w.Amount != "0.00005" {
			t.Errorf("withdrawal %d is %+v", i+1, w)
		}
	}
}

func TestOperationIsFollowedToItsEnd(t *testing.T) {
	s := serve(t, testConfig())
	ctx := t.Context()
	id := s.must(t, "alice",
		limit(ledger.Sell, 10_000, 10_000),
		ledger.Action{Kind: ledger.KindCancel, Order: 4711},
	)
	if pending := ok[Op](t)(s.Op(ctx, id)); pending.Status != OpPending || pending.ExpiresMs == 0 {
		t.Errorf("before the commit it is %+v", pending)
	}
	waited := make(chan Op, 1)
	go func() {
		a, err := s.WaitOp(ctx, id)
		if err != nil {
			t.Error(err)
		}
		waited <- a
	}()
	s.node.commit()
	a := <-waited
	if a.Status != OpFinal || a.Commit != 1 || *a.Position != 0 || len(a.Actions) != 2 {
		t.Fatalf("it ended as %+v", a)
	}
	if first := a.Actions[0]; first.Refused || first.Order != 1 || first.State != "NEW" || len(first.Events) != 1 {
		t.Errorf("the order came to %+v", first)
	}
	if second := a.Actions[1]; !second.Refused || second.Reason != "UNKNOWN_ORDER" || second.Detail == "" {
		t.Errorf("the cancel came to %+v", second)
	}
	unknown := ok[Op](t)(s.Op(ctx, ledger.Digest{1}))
	if unknown.Status != OpUnknown || unknown.AsOf == nil {
		t.Errorf("one nobody has seen is %+v", unknown)
	}
	// Sent again it is what it was, and runs no second time.
	again := ok[Ops](t)(s.Submit(ctx, s.raw(t, id)))
	if again.Ops[0].Status != OpFinal || again.Ops[0].Commit != 1 {
		t.Errorf("sent again it is %+v", again.Ops[0])
	}
}

// raw returns the bytes of an operation out of its block.
func (s *served) raw(t testing.TB, id ledger.Digest) []byte {
	t.Helper()
	for _, block := range s.node.blocks {
		items, err := split(block[3:])
		if err != nil {
			t.Fatal(err)
		}
		for _, item := range items {
			if u, err := ledger.DecodeOp(item); err == nil && u.ID() == id {
				return item
			}
		}
	}
	t.Fatalf("no block has %v", id)
	return nil
}

func TestWaitEndsWithThePresentStatus(t *testing.T) {
	config := testConfig()
	config.WaitTimeout = 20 * time.Millisecond
	s := serve(t, config)
	a := ok[Ops](t)(s.SubmitWait(t.Context(), s.node.signed(t, "alice", limit(ledger.Sell, 10_000, 10_000))))
	if a.Ops[0].Status != OpPending {
		t.Errorf("it is %+v", a.Ops[0])
	}
}

func TestSequenceHasAStatusForEach(t *testing.T) {
	s := serve(t, testConfig())
	good := s.node.signed(t, "alice", limit(ledger.Sell, 10_000, 10_000))
	forged, elsewhere := bytes.Clone(good), bytes.Clone(good)
	forged[bytes.Index(good, []byte("csig"))+10] ^= 1
	elsewhere[bytes.Index(good, []byte("cnet"))+20] ^= 1
	a := ok[Ops](t)(s.Submit(t.Context(), good, forged, elsewhere, []byte{0xa0}, good))
	var got []string
	for _, op := range a.Ops {
		got = append(got, string(op.Status)+" "+op.Reason)
	}
	want := []string{"pending ", "rejected BAD_SIGNATURE", "rejected WRONG_NETWORK", "rejected BAD_FORMAT", "pending "}
	for i := range want {
		if i >= len(got) || got[i] != want[i] {
			t.Fatalf("the answers are %q, want %q", got, want)
		}
	}
	if a.Ops[0].Op != a.Ops[4].Op {
		t.Error("one operation has two ids")
	}
}

func TestProofVerifies(t *testing.T) {
	s := serve(t, testConfig())
	s.trade(t)
	a := ok[Account](t)(s.AccountProof(t.Context(), accountOf("alice")))
	checkpoint := ok[Checkpoint](t)(s.Checkpoint(t.Context()))
	if a.Proof == nil || a.Proof.Root != checkpoint.Root {
		t.Fatalf("the proof is %+v, the checkpoint %+v", a.Proof, checkpoint)
	}
	raw, err := hex.DecodeString(a.Proof.Root)
	if err != nil {
		t.Fatal(err)
	}
	state, head, err := ledger.VerifyProof(ledger.Digest(raw), accountOf("alice"), a.Proof.Bytes)
	if err != nil || len(state.Orders) != 1 || head.Commit != a.Proof.AsOf.Commit {
		t.Errorf("the proof shows %+v of commit %d, %v", state, head.Commit, err)
	}
}

func TestChainIsServed(t *testing.T) {
	s := serve(t, testConfig())
	s.trade(t)
	commit := ok[Commit](t)(s.Commit(t.Context(), 1))
	if len(commit.Ops) != 3 || len(commit.Blocks) != 1 || commit.AsOf.Commit != 1 {
		t.Fatalf("the commit is %+v", commit)
	}
	id, err := ledger.ParseDigest(commit.Blocks[0])
	if err != nil {
		t.Fatal(err)
	}
	block := ok[[]byte](t)(s.Block(t.Context(), id))
	if !bytes.Equal(block, s.node.blocks[id]) {
		t.Error("the block is not what the node has")
	}
}

func TestContractSaysWhatWorks(t *testing.T) {
	s := serve(t, testConfig())
	look := func() (state, place, read string) {
		t.Helper()
		c := ok[Contract](t)(s.Contract(t.Context()))
		for _, k := range c.Kinds {
			switch k.Kind {
			case "place":
				place = k.Now
			case "read_account":
				read = k.Now
			}
		}
		return c.State, place, read
	}
	expect := func(state, place, read string) {
		t.Helper()
		if gotState, gotPlace, gotRead := look(); gotState != state || gotPlace != place || gotRead != read {
			t.Errorf("in state %q an order is %q and a read %q; want %q, %q, %q", gotState, gotPlace, gotRead, state, place, read)
		}
	}
	expect("with_quorum", "final", "fresh")
	s.node.change(func() { s.node.quorum = false })
	expect("without_quorum", "pending", "stale")
	s.node.change(func() { s.node.status.Peers = 0 })
	expect("alone", "pending", "stale")
	s.node.change(func() { s.node.status.DiskFull = true })
	expect("alone", "refused", "stale")
}

func TestAgeAndQuorumAreSaid(t *testing.T) {
	s := serve(t, testConfig())
	s.trade(t)
	s.node.change(func() { s.node.nowMs += 90_000; s.node.quorum = false })
	a := ok[Account](t)(s.Account(t.Context(), accountOf("alice")))
	if a.AsOf.AgeMs != 90_000 || a.AsOf.Quorum || a.AsOf.Commit != 1 {
		t.Errorf("it is as of %+v", a.AsOf)
	}
}

func TestRebateIsBelowZero(t *testing.T) {
	s := serve(t, testConfig())
	// A taker that sells pays in USDT, so that there is something to give back.
	for _, next := range []struct {
		who  string
		side ledger.Side
	}{{"bob", ledger.Buy}, {"alice", ledger.Sell}, {"alice", ledger.Sell}, {"bob", ledger.Buy}} {
		s.must(t, next.who, limit(next.side, 10_000, 10_000))
		s.node.commit()
	}
	history := ok[History](t)(s.History(t.Context(), accountOf("alice"), Page{}))
	var got [][4]string
	for _, e := range history.Events {
		if e.Kind == "trade" {
			got = append(got, [4]string{e.Fee, e.FeeAsset, e.MakerFee, e.MakerFeeAsset})
		}
	}
	want := [][4]string{{"0.001", "BTC", "-0.01", "USDT"}, {"0.1", "USDT", "0", "BTC"}}
	if !slices.Equal(got, want) {
		t.Errorf("the fees are %v, want %v", got, want)
	}
}

// TestNewListingsAreSeen: what governors list has a name in the same commit.
func TestNewListingsAreSeen(t *testing.T) {
	s := serve(t, testConfig())
	s.trade(t)
	ok[Markets](t)(s.Markets(t.Context()))
	for _, listing := range []ledger.Action{
		{Kind: ledger.KindListAsset, Detail: &ledger.Detail{NewAsset: &ledger.Asset{Symbol: "SOL", Decimals: 9}}},
		{Kind: ledger.KindListMarket, Detail: &ledger.Detail{NewMarket: &ledger.Market{Base: 3, Quote: 1, Tick: ledger.Decimal{Units: 1, Decimals: 2}, Lot: 1e7, STP: ledger.ExpireMaker}}},
	} {
		for _, g := range []string{"g1", "g2"} {
			s.must(t, g, listing)
		}
		s.node.commit()
	}
	s.must(t, "bob", ledger.Action{Kind: ledger.KindPlace, Market: 2, Quantity: 150, Price: 10_000})
	s.node.commit()
	book := ok[Book](t)(s.Book(t.Context(), "SOL-USDT", 0))
	if len(book.Bids) != 1 || book.Bids[0] != (Level{"100.00", "1.50", 1}) {
		t.Errorf("the book of a new market is %+v", book)
	}
	history := ok[History](t)(s.History(t.Context(), accountOf("g2"), Page{}))
	if len(history.Events) < 2 || history.Events[0].Market != "SOL-USDT" || history.Events[1].Asset != "SOL" {
		t.Errorf("the governor's history is %+v", history.Events)
	}
}
