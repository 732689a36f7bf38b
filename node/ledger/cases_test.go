package ledger

import (
	"bytes"
	"cmp"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestCases runs the cases of testdata/exchange.json and, for the rules those do
// not touch, of testdata/exchange-more.json, or of the file that LEDGER_CASES
// names instead, through signed, encoded, decoded and verified ops, each a commit
// of its own. It fails on an op, a field or an expectation it does not know.
// Around every op the ledger is also snapshotted and restored, and the restored
// one must do the same.
func TestCases(t *testing.T) {
	if path := os.Getenv("LEDGER_CASES"); path != "" {
		runCases(t, path)
		return
	}
	runCases(t, "testdata/exchange.json")
	runCases(t, "testdata/exchange-more.json")
}

func runCases(t *testing.T, path string) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && !filepath.IsAbs(path) {
		b, err = os.ReadFile(filepath.Join("../..", path)) // as seen from where the module's root is
	}
	if err != nil {
		t.Fatalf("no cases: %v", err)
	}
	cases, err := readCases(b)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	t.Logf("%d cases of %s", len(cases), path)
	for _, c := range cases {
		t.Run(c.id, func(t *testing.T) {
			if err := runCase(c.body); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestCasesRefuse: a runner that skips what it does not know proves nothing.
func TestCasesRefuse(t *testing.T) {
	b, err := os.ReadFile("testdata/exchange.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{``, `{}`, `[]`, `{"format":"exchange-cases/1","cases":[]}`, `{"format":"exchange-cases/2","cases":[{"id":"x"}]}`} {
		if cases, err := readCases([]byte(bad)); err == nil {
			t.Errorf("%s is read as %d cases", bad, len(cases))
		}
	}
	cases, err := readCases(b)
	if err != nil {
		t.Fatal(err)
	}
	for i, edit := range [][2]string{
		{`"op":"order","id":"b1"`, `"op":"wish","id":"b1"`},
		{`"op":"order","id":"b1"`, `"op":"order","mood":"good","id":"b1"`},
		{`"executed":"1.0000"`, `"elapsed":"1.0000"`},
		{`"executed":"1.0000"`, `"executed":"1.0001"`},
		{`"quote":"100"`, `"quote":"105"`},
		{`"status":"FILLED"`, `"status":"NEW"`},
		{`"side":"BUY"`, `"side":"HOLD"`},
		{`"available":"900"`, `"available":"900.000001"`},
		{`"USDT":{"available":"900","held":"0"}`, `"BTC2":{"available":"0","held":"0"}`},
		{`"price":"100.00","qty":"1.0000"}]`, `"price":"105.00","qty":"1.0000"}]`},
		{`"trades":[`, `"trades":[{"price":"1.00"},`},
		{`"trades":[`, `"trends":[`},
		{`"given":{`, `"given":{"weather":"fine",`},
		{`"base":"BTC"`, `"base":"BTC","colour":"red"`},
		{`"decimals":8`, `"decimals":8,"colour":"red"`},
		{`"id":"E01"`, `"id":"E01","colour":"red"`},
	} {
		var flat bytes.Buffer
		if err := json.Compact(&flat, cases[0].body); err != nil {
			t.Fatal(err)
		}
		if strings.Count(flat.String(), edit[0]) == 0 {
			t.Fatalf("edit %d finds nothing", i)
		}
		if err := runCase([]byte(strings.Replace(flat.String(), edit[0], edit[1], 1))); err == nil {
			t.Errorf("the case passes with %s", edit[1])
		}
	}
	if err := runCase(cases[0].body); err != nil {
		t.Errorf("and without an edit: %v", err)
	}
}

type exchangeCase struct {
	id   string
	body json.RawMessage
}

func readCases(b []byte) ([]exchangeCase, error) {
	var file struct {
		Format string            `json:"format"`
		Cases  []json.RawMessage `json:"cases"`
	}
	if err := json.Unmarshal(b, &file); err != nil {
		return nil, err
	}
	if file.Format != "exchange-cases/1" || len(file.Cases) == 0 {
		return nil, fmt.Errorf("format %q with %d cases; want exchange-cases/1 with some", file.Format, len(file.Cases))
	}
	var all []exchangeCase
	for i, body := range file.Cases {
		var head struct {
			ID string `json:"id"`
		}
		if err := json.Unmarshal(body, &head); err != nil || head.ID == "" {
			return nil, fmt.Errorf("case %d has no id: %v", i, err)
		}
		all = append(all, exchangeCase{head.ID, body})
	}
	return all, nil
}

// bag is a JSON object whose every field must be used.
type bag struct {
	where string
	left  map[string]json.RawMessage
}

// problem is what stops a case; runCase recovers it into an error.
type problem struct{ error }

func giveUp(format string, args ...any) { panic(problem{fmt.Errorf(format, args...)}) }

func newBag(where string, raw json.RawMessage) *bag {
	b := &bag{where: where}
	if err := json.Unmarshal(raw, &b.left); err != nil || b.left == nil {
		giveUp("%s: %s is no object: %v", where, raw, err)
	}
	return b
}

func (b *bag) take(key string, into any) bool {
	raw, ok := b.left[key]
	if !ok {
		return false
	}
	delete(b.left, key)
	if err := json.Unmarshal(raw, into); err != nil {
		giveUp("%s: %s: %v", b.where, key, err)
	}
	return true
}

func (b *bag) text(key, otherwise string) string {
	b.take(key, &otherwise)
	return otherwise
}

func (b *bag) number(key string, otherwise int64) int64 {
	b.take(key, &otherwise)
	return otherwise
}

// bag takes an object; nil when it is not there.
func (b *bag) bag(key string) *bag {
	var raw json.RawMessage
	if !b.take(key, &raw) {
		return nil
	}
	return newBag(b.where+" "+key, raw)
}

func (b *bag) list(key string) (all []*bag, there bool) {
	var raws []json.RawMessage
	there = b.take(key, &raws)
	for i, raw := range raws {
		all = append(all, newBag(fmt.Sprintf("%s %s[%d]", b.where, key, i), raw))
	}
	return all, there
}

func (b *bag) keys() []string { return slices.Sorted(maps.Keys(b.left)) }

// empty stops when a field is left that nobody asked for.
func (b *bag) empty() {
	if len(b.left) > 0 {
		giveUp("%s: nobody knows the fields %s", b.where, strings.Join(b.keys(), ", "))
	}
}

// caseRun is one case being run.
type caseRun struct {
	l        *Ledger
	index    uint64
	timeMs   int64
	verifier *Verifier
	names    Names
	keys     map[string]ed25519.PrivateKey // by the case's name of somebody
	people   []string                      // the users, sorted
	council  []string                      // the custodians

	nonces      map[uint64]bool // that the case names, or that were used
	lastNonce   uint64
	sent        map[string][]byte  // by op_hash
	answers     map[string]Result  // by op_hash: the first result
	firsts      map[string]*answer // by op_hash: how it ended the first time
	orders      map[string]OrderID
	orderName   map[OrderID]string
	withdrawals map[string]WithdrawalID
	deposits    int
	trades      []Event
}

// seed is an asset no case knows. Everybody who acts has a unit of it, because
// in the cases accounts exist and here they do when they own something.
const seed = "SEED"

func runCase(raw json.RawMessage) (err error) {
	defer func() {
		if p := recover(); p != nil {
			found, ok := p.(problem)
			if !ok {
				panic(p)
			}
			err = found.error
		}
	}()
	c := newBag("case", raw)
	for _, forPeople := range []string{"id", "area", "title", "typical_mistake", "policy", "notes"} {
		var any json.RawMessage
		c.take(forPeople, &any)
	}
	ops, _ := c.list("ops")
	r := &caseRun{nonces: map[uint64]bool{}, sent: map[string][]byte{}, answers: map[string]Result{}, firsts: map[string]*answer{}, orders: map[string]OrderID{},
		orderName: map[OrderID]string{}, withdrawals: map[string]WithdrawalID{}, keys: map[string]ed25519.PrivateKey{}}
	r.meet(raw)
	r.begin(c.bag("given"))
	for i, op := range ops {
		op.where = fmt.Sprintf("op %d", i)
		r.run(op)
	}
	if final := c.bag("final"); final != nil {
		r.final(final)
	}
	c.empty()
	return nil
}

// meet finds everybody a case names: who acts, who attests, which nonces are
// spoken for.
func (r *caseRun) meet(raw json.RawMessage) {
	var all struct {
		Given struct {
			Balances  map[string]json.RawMessage `json:"balances"`
			Threshold int                        `json:"attest_threshold"`
		} `json:"given"`
		Ops []struct {
			User, From, To, Attestor string
			Nonce                    uint64
		} `json:"ops"`
	}
	if err := json.Unmarshal(raw, &all); err != nil {
		giveUp("%v", err)
	}
	users, council := map[string]bool{}, map[string]bool{}
	for name := range all.Given.Balances {
		users[name] = true
	}
	for _, op := range all.Ops {
		users[op.User], users[op.From], users[op.To] = true, true, true
		council[op.Attestor] = true
		r.nonces[op.Nonce] = true
	}
	delete(users, "")
	delete(council, "")
	for i := 1; len(council) < max(1, all.Given.Threshold); i++ {
		council[fmt.Sprintf("v%d", i)] = true
	}
	r.people, r.council = slices.Sorted(maps.Keys(users)), slices.Sorted(maps.Keys(council))
	for _, name := range slices.Concat(r.people, r.council, []string{"governor"}) {
		from := sha256.Sum256([]byte("case " + name))
		r.keys[name] = ed25519.NewKeyFromSeed(from[:])
	}
}

// account returns the account of somebody the case names.
func (r *caseRun) account(name string) Account {
	key, ok := r.keys[name]
	if !ok {
		giveUp("nobody is called %q", name)
	}
	return AccountOf(key)
}

// begin makes the ledger of a case.
func (r *caseRun) begin(given *bag) {
	if given == nil {
		giveUp("nothing is given")
	}
	g := &Genesis{Name: "case", Params: DefaultParams()}
	// The cases know no reopening; those that do say so.
	g.Params.ReopenMs = given.number("reopen_ms", 0)
	g.Params.ReopenGapMs = given.number("reopen_gap_ms", g.Params.ReopenGapMs)
	g.Params.NonceWindow = uint32(given.number("nonce_window", 100))
	g.Params.FillsMax = uint32(given.number("max_fills", int64(g.Params.FillsMax)))
	r.timeMs = given.number("commit_time", 1_000_000)
	threshold := given.number("attest_threshold", 1)

	assets := given.bag("assets")
	for _, symbol := range assets.keys() {
		a := assets.bag(symbol)
		g.Assets = append(g.Assets, Asset{Symbol: symbol, Decimals: uint8(a.number("decimals", 0))})
		a.empty()
	}
	g.Assets = append(g.Assets, Asset{Symbol: seed})
	r.names.Assets = g.Assets
	markets := given.bag("markets")
	for _, name := range markets.keys() {
		g.Markets = append(g.Markets, r.market(name, markets.bag(name)))
	}
	r.names.Markets = g.Markets
	r.balances(g, given.bag("balances"))
	given.empty()

	for _, name := range r.council {
		g.Custodians.Members = append(g.Custodians.Members, r.account(name))
	}
	slices.SortFunc(g.Custodians.Members, func(a, b Account) int { return bytes.Compare(a[:], b[:]) })
	g.Custodians.Threshold = uint8(threshold)
	g.Governors = Council{1, []Account{r.account("governor")}}
	var err error
	if r.l, err = New(g); err != nil {
		giveUp("given: %v", err)
	}
	r.verifier = NewVerifier(r.l.Network())
}

func (r *caseRun) balances(g *Genesis, all *bag) {
	if all == nil {
		return
	}
	for _, who := range all.keys() {
		of := all.bag(who)
		for _, symbol := range of.keys() {
			id := r.asset(symbol)
			if n := r.amount(id, of.text(symbol, "")); !n.IsZero() {
				g.Balances = append(g.Balances, Balance{r.account(who), id, n})
			}
		}
	}
	for _, who := range r.people {
		g.Balances = append(g.Balances, Balance{r.account(who), r.asset(seed), Units(1)})
	}
	slices.SortFunc(g.Balances, func(a, b Balance) int { return a.compare(&b) })
}

// market reads a market's definition.
func (r *caseRun) market(name string, b *bag) Market {
	m := Market{Base: r.asset(b.text("base", "")), Quote: r.asset(b.text("quote", ""))}
	if got := r.names.Assets[m.Base].Symbol + "-" + r.names.Assets[m.Quote].Symbol; got != name {
		giveUp("%s: a market is called after its assets, %s", name, got)
	}
	tick := b.text("tick", "")
	if strings.Contains(tick, ".") {
		tick = strings.TrimRight(tick, "0")
	}
	_, fraction, _ := strings.Cut(strings.TrimSuffix(tick, "."), ".")
	m.Tick.Decimals = uint8(len(fraction))
	units, err := parseNumber(strings.TrimSuffix(tick, "."), m.Tick.Decimals)
	if err != nil {
		giveUp("%s: %v", name, err)
	}
	m.Tick.Units, _ = units.Uint64()
	lot, fits := r.amount(m.Base, b.text("lot", "")).Uint64()
	if !fits {
		giveUp("%s: the lot is too large", name)
	}
	m.Lot = lot
	m.MakerPPM, m.TakerPPM = int32(b.number("maker_ppm", 0)), int32(b.number("taker_ppm", 0))
	switch fee := b.text("fee_asset", "received"); fee {
	case "received":
	case "quote":
		m.FeeAsset = FeeQuote
	default:
		giveUp("%s: fee_asset %q", name, fee)
	}
	m.STP = r.stp(b.text("default_stp", "EXPIRE_MAKER"))
	if m.Status, err = ParseStatus(b.text("status", "TRADING")); err != nil {
		giveUp("%s: %v", name, err)
	}
	m.MinNotional = r.amount(m.Quote, b.text("min_notional", "0"))
	m.BandPPM = uint32(b.number("band_ppm", 0))
	m.OpenOrdersMax = uint32(b.number("max_open_orders", 0))
	if reference := b.text("reference_price", ""); reference != "" {
		if m.Reference, err = m.ParsePrice(&r.names.Assets[m.Quote], reference); err != nil {
			giveUp("%s: %v", name, err)
		}
	}
	b.empty()
	return m
}

func (r *caseRun) stp(s string) STP {
	mode, err := ParseSTP(strings.ReplaceAll(s, "_", "-"))
	if err != nil {
		giveUp("%v", err)
	}
	return mode
}

func (r *caseRun) asset(symbol string) AssetID {
	id, err := r.names.Asset(symbol)
	if err != nil {
		giveUp("%v", err)
	}
	return id
}

// amount reads an amount that must be right.
func (r *caseRun) amount(id AssetID, s string) Amount {
	n, err := r.names.Assets[id].ParseAmount(s)
	if err != nil {
		giveUp("%v", err)
	}
	return n
}

// signature is what an op of a case says about its envelope.
type signature struct {
	nonce     uint64
	timestamp int64
	window    int64
	hash      string
}

func (r *caseRun) signature(op *bag) signature {
	s := signature{timestamp: op.number("timestamp", r.timeMs), window: op.number("recv_window", 5000), hash: op.text("op_hash", "")}
	if !op.take("nonce", &s.nonce) {
		s.nonce = max(r.lastNonce, uint64(r.timeMs)) + 1
		for r.nonces[s.nonce] {
			s.nonce++
		}
		r.lastNonce = s.nonce
	}
	return s
}

// answer is how an op of a case ended.
type answer struct {
	events    []Event
	outcome   *Event // nil: a commit without ops
	refused   Reason // by the ledger, or by the grammar before it
	hash      string
	market    MarketID
	canceled  []string
	cancelled bool    // a replace's first leg
	first     *answer // of a duplicate: how the same bytes ended the first time
}

// submit signs, encodes, decodes, verifies and commits one op.
func (r *caseRun) submit(who string, s signature, a Action) *answer {
	raw := r.sent[s.hash]
	if raw == nil {
		d := Draft{Network: r.l.Network(), Account: r.account(who), Nonce: s.nonce, TimeMs: s.timestamp, WindowMs: s.window, Actions: []Action{a}}
		var err error
		if raw, err = d.Sign(r.keys[who]); err != nil {
			giveUp("%v", err)
		}
		if s.hash != "" {
			r.sent[s.hash] = raw
		}
	}
	u, err := DecodeOp(raw)
	if err != nil {
		giveUp("%v", err)
	}
	op, err := r.verifier.Verify(u)
	if err != nil {
		giveUp("%v", err)
	}
	events := r.commit(*op)
	ans := &answer{events: events, hash: s.hash, market: a.Market}
	for i := range events {
		if events[i].Outcome {
			if ans.outcome != nil {
				giveUp("an op of one action has two outcomes")
			}
			ans.outcome, ans.refused = &events[i], events[i].Reason
		}
	}
	if ans.outcome == nil {
		giveUp("an op has no outcome")
	}
	switch ans.outcome.Kind {
	case EventPlaced, EventReduced, EventCanceled:
		ans.market = ans.outcome.Market
	}
	result, known := r.l.Result(op.ID())
	if ans.outcome.Kind == EventDuplicate {
		// What was refused without using its nonce up has no result; its event tells all.
		if first, ok := r.answers[s.hash]; !ok || !known && ans.refused == ReasonNone || result != first {
			giveUp("the second submission's result is %+v, the first's was %+v", result, first)
		}
		ans.first = r.firsts[s.hash]
	} else if s.hash != "" {
		r.answers[s.hash], r.firsts[s.hash] = result, ans
	}
	return ans
}

// commit applies a commit to the ledger and to one restored from its snapshot,
// and checks all invariants.
func (r *caseRun) commit(ops ...Op) []Event { return r.commitAt(r.timeMs, ops...) }

func (r *caseRun) commitAt(timeMs int64, ops ...Op) []Event {
	restored, err := Restore(r.l.AppendSnapshot(nil))
	if err != nil {
		giveUp("restore: %v", err)
	}
	r.index++
	b := Batch{Index: r.index, TimeMs: timeMs, Digest: sha256.Sum256(fmt.Append(nil, r.index)), Ops: ops}
	events := slices.Clone(r.l.Apply(b))
	if again := restored.Apply(b); !slices.Equal(events, again) {
		giveUp("a restored ledger does %+v, the other %+v", again, events)
	}
	if restored.Root() != r.l.Root() || !bytes.Equal(restored.AppendSnapshot(nil), r.l.AppendSnapshot(nil)) {
		giveUp("a restored ledger has another root")
	}
	if err := r.l.CheckInvariants(); err != nil {
		giveUp("%v", err)
	}
	if err := checkFromOutside(r.l); err != nil {
		giveUp("%v", err)
	}
	for _, e := range events {
		if e.Kind == EventTrade {
			r.trades = append(r.trades, e)
		}
	}
	return events
}

// run runs one op and compares what it expects.
func (r *caseRun) run(op *bag) {
	expect := op.bag("expect")
	kind := op.text("op", "")
	op.where += " " + kind
	var ans *answer
	switch kind {
	case "order":
		ans = r.order(op)
	case "cancel":
		who := op.text("user", "")
		a := Action{Kind: KindCancel}
		r.target(op, who, &a)
		ans = r.submit(who, r.signature(op), a)
	case "cancel_all":
		ans = r.cancelAll(op)
	case "amend":
		ans = r.amend(op)
	case "cancel_replace", "replace":
		ans = r.replace(op)
	case "commit":
		ans = r.time(op)
	case "set_status":
		market := r.marketID(op)
		status, err := ParseStatus(op.text("status", ""))
		if err != nil {
			giveUp("%s: %v", op.where, err)
		}
		ans = r.submit("governor", r.signature(op), Action{Kind: KindSetMarketStatus, Market: market, Status: status})
		if ans.refused != ReasonNone {
			giveUp("%s: %v", op.where, ans.refused)
		}
	case "transfer":
		ans = r.transfer(op)
	case "withdraw":
		ans = r.withdraw(op)
	case "withdraw_cancel":
		who, id := op.text("user", ""), r.withdrawal(op)
		ans = r.submit(who, r.signature(op), Action{Kind: KindCancelWithdrawal, Withdrawal: id})
	case "withdraw_sign":
		ans = r.custodians(op, Action{Kind: KindSignWithdrawal, Withdrawal: r.withdrawal(op)})
	case "withdraw_complete":
		ans = r.custodians(op, Action{Kind: KindCompleteWithdrawal, Withdrawal: r.withdrawal(op), Detail: new(Detail)})
	case "withdraw_fail":
		ans = r.custodians(op, Action{Kind: KindFailWithdrawal, Withdrawal: r.withdrawal(op)})
	case "deposit_attest":
		ans = r.attest(op)
	case "deposit":
		ans = r.deposit(op)
	case "list_asset":
		ans = r.listAsset(op)
	case "list_market":
		ans = r.listMarket(op)
	default:
		giveUp("%s: nobody knows this op", op.where)
	}
	op.empty()
	if expect != nil {
		expect.where = op.where + " expect"
		r.compare(ans, expect)
	}
}

func (r *caseRun) marketID(op *bag) MarketID {
	id, err := r.names.Market(op.text("market", ""))
	if err != nil {
		giveUp("%s: %v", op.where, err)
	}
	return id
}

// clientID is an account's own name for an order, or none.
func clientID(op *bag) (id ClientID, there bool) {
	name := op.text("client_id", op.text("client_order_id", ""))
	if name == "" {
		return id, false
	}
	return nameOf(name), true
}

// nameOf is a name as a client id; one that is too long is hashed.
func nameOf(name string) ClientID {
	id, err := ClientIDOf(name)
	if err != nil {
		h := sha256.Sum256([]byte(name))
		copy(id[:], h[:])
	}
	return id
}

// target says which order is meant: the user's of that name, else anybody's,
// else one that nobody has; or one by the user's own name for it.
func (r *caseRun) target(op *bag, who string, a *Action) {
	if id, there := clientID(op); there {
		a.Target = id
		return
	}
	name := op.text("order", "")
	a.Order = idMax
	for _, key := range []string{who + "/" + name, name} {
		if id, ok := r.orders[key]; ok {
			a.Order = id
			return
		}
	}
}

func (r *caseRun) withdrawal(op *bag) WithdrawalID {
	if id, ok := r.withdrawals[op.text("withdrawal", "")]; ok {
		return id
	}
	return idMax
}

// refusedFor returns the Reason in an error of the grammar.
func refusedFor(err error) Reason {
	for reason := ReasonNone + 1; reason < reasonEnd; reason++ {
		if strings.Contains(fmt.Sprint(err), reason.Error()) {
			return reason
		}
	}
	giveUp("%v", err)
	return ReasonNone
}

// newOrder reads an order. What the grammar refuses cannot be said in an op at
// all; where the ledger has a number that it refuses for the same reason, that
// is sent instead, so that the whole way is tested, and else reason says why
// nothing is sent.
func (r *caseRun) newOrder(op *bag) (who string, a Action, reason Reason) {
	who, a.Kind, a.Market = op.text("user", ""), KindPlace, r.marketID(op)
	m := &r.names.Markets[a.Market]
	var err error
	if a.Side, err = ParseSide(op.text("side", "")); err != nil {
		giveUp("%s: %v", op.where, err)
	}
	// What a case calls an order is also the account's name for it, unless the
	// case gives it another.
	if id, there := clientID(op); there {
		op.text("id", "")
		a.ClientID = id
	} else if name := op.text("id", ""); name != "" {
		a.ClientID = nameOf(name)
	}
	switch kind := op.text("type", "LIMIT"); kind {
	case "LIMIT":
	case "LIMIT_MAKER", "POST_ONLY":
		a.Type = PostOnly
	case "MARKET":
		a.Type = MarketOrder
	default:
		giveUp("%s: type %q", op.where, kind)
	}
	a.ExpireAtMs = op.number("expire_at", 0)
	otherwise := "GTC"
	if a.ExpireAtMs != 0 {
		otherwise = "GTD"
	}
	tif := op.text("tif", otherwise)
	if tif == "GTT" { // another name of it
		tif = "GTD"
	}
	if a.TIF, err = ParseTIF(tif); err != nil {
		giveUp("%s: %v", op.where, err)
	}
	switch { // said twice, or once too often
	case a.Type == MarketOrder && a.TIF == IOC:
		a.TIF = GTC
	case a.TIF == GTC && a.ExpireAtMs != 0:
		a.TIF = GTD
	}
	if stp := op.text("stp", ""); stp != "" {
		a.STP = r.stp(stp)
	}
	told := func(err error) {
		if err != nil && reason == ReasonNone {
			reason = refusedFor(err)
		}
	}
	if s := op.text("price", ""); s != "" {
		a.Price, err = m.ParsePrice(&r.names.Assets[m.Quote], s)
		told(err)
	}
	if s := op.text("qty", ""); s != "" {
		a.Quantity, err = m.ParseQuantity(&r.names.Assets[m.Base], s)
		told(err)
	}
	if s := op.text("quote_qty", ""); s != "" {
		a.Amount, err = r.names.Assets[m.Quote].ParseAmount(s)
		told(err)
	}
	if reason == ReasonPriceFilter || reason == ReasonLotSize {
		reason = ReasonNone // the number is zero now, and refused for that
	}
	return who, a, reason
}

func (r *caseRun) order(op *bag) *answer {
	id := op.text("id", "")
	op.left["id"], _ = json.Marshal(id)
	who, a, reason := r.newOrder(op)
	s := r.signature(op)
	if reason != ReasonNone {
		return &answer{refused: reason, market: a.Market}
	}
	ans := r.submit(who, s, a)
	r.learn(who, id, ans)
	return ans
}

// learn notes which order of the ledger an order of the case has become.
func (r *caseRun) learn(who, name string, ans *answer) {
	if ans.outcome.Kind == EventPlaced {
		r.orders[name], r.orders[who+"/"+name] = ans.outcome.Order, ans.outcome.Order
		r.orderName[ans.outcome.Order] = name
	}
}

func (r *caseRun) cancelAll(op *bag) *answer {
	a := Action{Kind: KindCancelAll, AllMarkets: true}
	if _, one := op.left["market"]; one {
		a.AllMarkets, a.Market = false, r.marketID(op)
	}
	who := op.text("user", "")
	ans := r.submit(who, r.signature(op), a)
	for _, e := range ans.events {
		if e.Kind == EventCanceled {
			ans.canceled = append(ans.canceled, r.orderName[e.Order])
		}
	}
	return ans
}

func (r *caseRun) amend(op *bag) *answer {
	who, a, market := op.text("user", ""), Action{Kind: KindAmend}, MarketID(0)
	r.target(op, who, &a)
	if open, _, ok := r.l.Order(a.Order); ok {
		market = open.Market
	}
	m := &r.names.Markets[market]
	var err error
	text := op.text("qty", "")
	s := r.signature(op)
	if a.Quantity, err = m.ParseQuantity(&r.names.Assets[m.Base], text); err != nil {
		return &answer{refused: refusedFor(err), market: market} // no op can say it
	}
	return r.submit(who, s, a)
}

func (r *caseRun) replace(op *bag) *answer {
	who := op.text("user", "")
	var old Action
	r.target(op, who, &old)
	next := op.bag("new")
	if next == nil {
		giveUp("%s: it places nothing", op.where)
	}
	name := next.text("id", "")
	next.left["id"], _ = json.Marshal(name)
	if kind := next.text("op", "order"); kind != "order" {
		giveUp("%s: the new one is a %s", op.where, kind)
	}
	if _, there := next.left["user"]; !there {
		next.left["user"], _ = json.Marshal(who)
	}
	placer, a, reason := r.newOrder(next)
	next.empty()
	if placer != who {
		giveUp("%s: %s cannot place it", op.where, placer)
	}
	a.Kind, a.Order, a.Target = KindReplace, old.Order, old.Target
	switch mode := op.text("mode", "STOP_ON_FAILURE"); mode {
	case "STOP_ON_FAILURE":
	case "ALLOW_FAILURE":
		a.ContinueOnFailure = true
	default:
		giveUp("%s: mode %q", op.where, mode)
	}
	s := r.signature(op)
	if reason != ReasonNone {
		return &answer{refused: reason, market: a.Market} // no op can say it, so nothing is cancelled either
	}
	ans := r.submit(who, s, a)
	for _, e := range ans.events {
		ans.cancelled = ans.cancelled || e.Kind == EventCanceled
	}
	r.learn(who, name, ans)
	return ans
}

// time is a commit without ops.
func (r *caseRun) time(op *bag) *answer {
	given := op.number("time", r.timeMs)
	r.timeMs = max(r.timeMs, given)
	here := false
	op.take("snapshot_restore_here", &here)
	if here {
		restored, err := Restore(r.l.AppendSnapshot(nil))
		if err != nil {
			giveUp("%s: %v", op.where, err)
		}
		if restored.Root() != r.l.Root() {
			giveUp("%s: the restored ledger has another root", op.where)
		}
		r.l = restored
	}
	// The ledger is told the time as it is given: not to go back is its own rule.
	ans := &answer{events: r.commitAt(given)}
	for _, e := range ans.events {
		if e.Kind == EventExpired {
			ans.canceled = append(ans.canceled, r.orderName[e.Order])
		}
	}
	return ans
}

// moved reads an amount to move; below zero is sent as zero, which the ledger
// refuses for the same reason.
func (r *caseRun) moved(op *bag, key, otherwise string, id AssetID) (n Amount, reason Reason) {
	n, err := r.names.Assets[id].ParseAmount(op.text(key, otherwise))
	if err != nil {
		if reason = refusedFor(err); reason == ReasonBadAmount {
			return Amount{}, ReasonNone
		}
	}
	return n, reason
}

func (r *caseRun) transfer(op *bag) *answer {
	who := op.text("user", op.text("from", ""))
	to := op.text("to", "")
	id := r.asset(op.text("asset", ""))
	n, reason := r.moved(op, "amount", "", id)
	s := r.signature(op)
	if reason != ReasonNone {
		return &answer{refused: reason}
	}
	return r.submit(who, s, Action{Kind: KindTransfer, Asset: id, Amount: n, Detail: &Detail{Account: r.account(to)}})
}

func (r *caseRun) withdraw(op *bag) *answer {
	name, who := op.text("id", ""), op.text("user", "")
	id := r.asset(op.text("asset", ""))
	n, reason := r.moved(op, "amount", "", id)
	fee, feeReason := r.moved(op, "fee", "0", id)
	address := op.text("address", "an address of the case")
	s := r.signature(op)
	if reason = cmp.Or(reason, feeReason); reason != ReasonNone {
		return &answer{refused: reason}
	}
	ans := r.submit(who, s, Action{Kind: KindWithdraw, Asset: id, Amount: n, Detail: &Detail{Fee: fee, Reference: address}})
	if ans.outcome.Kind == EventWithdrawal {
		r.withdrawals[name] = ans.outcome.Withdrawal
	}
	return ans
}

// custodians lets as many custodians speak as it takes; the last one's answer
// is the answer. A case that names one speaks of that one alone.
func (r *caseRun) custodians(op *bag, a Action) (ans *answer) {
	s := r.signature(op)
	if who := op.text("attestor", ""); who != "" {
		return r.submit(who, s, a)
	}
	custodians, _ := r.l.Councils()
	for i := range int(custodians.Threshold) {
		if ans = r.submit(r.council[i], s, a); ans.refused != ReasonNone {
			break
		}
	}
	return ans
}

func (r *caseRun) attest(op *bag) *answer {
	who, id := op.text("attestor", ""), r.asset(op.text("asset", ""))
	d := &Detail{Reference: op.text("deposit_id", ""), Account: r.account(op.text("user", ""))}
	n, reason := r.moved(op, "amount", "", id)
	s := r.signature(op)
	if reason != ReasonNone {
		return &answer{refused: reason}
	}
	return r.submit(who, s, Action{Kind: KindAttestDeposit, Asset: id, Amount: n, Detail: d})
}

// deposit lets as many custodians attest as it takes.
func (r *caseRun) deposit(op *bag) (ans *answer) {
	id := r.asset(op.text("asset", ""))
	r.deposits++
	d := &Detail{Reference: op.text("deposit_id", fmt.Sprint("deposit ", r.deposits)), Account: r.account(op.text("user", ""))}
	n, reason := r.moved(op, "amount", "", id)
	s := r.signature(op)
	if reason != ReasonNone {
		return &answer{refused: reason}
	}
	custodians, _ := r.l.Councils()
	for i := range int(custodians.Threshold) {
		if ans = r.submit(r.council[i], s, Action{Kind: KindAttestDeposit, Asset: id, Amount: n, Detail: d}); ans.refused != ReasonNone {
			break
		}
	}
	return ans
}

// listAsset proposes an asset.
func (r *caseRun) listAsset(op *bag) *answer {
	s := r.signature(op)
	n := Asset{Symbol: op.text("asset", ""), Decimals: uint8(op.number("decimals", 0))}
	ans := r.submit("governor", s, Action{Kind: KindListAsset, Detail: &Detail{NewAsset: &n}})
	if ans.refused == ReasonNone {
		r.names.Assets = append(r.names.Assets, n)
	}
	return ans
}

// listMarket proposes a market. One that is wrong whatever the state cannot be
// said in an op.
func (r *caseRun) listMarket(op *bag) *answer {
	s, name := r.signature(op), op.text("market", "")
	m := r.market(name, &bag{where: op.where, left: op.left})
	op.left = nil
	if len(m.faults()) > 0 {
		return &answer{refused: ReasonBadProposal}
	}
	ans := r.submit("governor", s, Action{Kind: KindListMarket, Detail: &Detail{NewMarket: &m}})
	if ans.refused == ReasonNone {
		r.names.Markets = append(r.names.Markets, m)
	}
	return ans
}
