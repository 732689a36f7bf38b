package faucet

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-mesh/holdfast/node/api"
	"github.com/holdfast-mesh/holdfast/node/ledger"
)

func testKey(name string) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte(name))
	return ed25519.NewKeyFromSeed(seed[:])
}

func account(name string) ledger.Account { return ledger.AccountOf(testKey(name)) }

// network is the product's ledger behind a gateway that may lose what it is told and
// what it answers.
type network struct {
	mu       sync.Mutex
	l        *ledger.Ledger
	verifier *ledger.Verifier
	id       ledger.Digest
	ops      map[ledger.Digest]api.Op
	now      time.Time
	sent     int  // operations that came
	deaf     bool // operations do not arrive
	mute     bool // answers do not arrive
	amnesia  bool // it does not know an operation it has not seen executed
}

func newNetwork(t *testing.T) *network {
	t.Helper()
	g := &ledger.Genesis{Name: "test", Params: ledger.DefaultParams()}
	for i := range 4 {
		g.Committee.Validators = append(g.Committee.Validators, ledger.Validator{Key: account(fmt.Sprint("validator", i)), Weight: 1})
	}
	g.Assets = []ledger.Asset{{Symbol: "BTC", Decimals: 8}, {Symbol: "USDT", Decimals: 6}}
	coins, err := g.Assets[0].ParseAmount("1")
	if err != nil {
		t.Fatal(err)
	}
	dollars, err := g.Assets[1].ParseAmount("1000")
	if err != nil {
		t.Fatal(err)
	}
	g.Balances = []ledger.Balance{{Account: account("faucet"), Asset: 0, Amount: coins}, {Account: account("faucet"), Asset: 1, Amount: dollars}}
	id, err := g.ID()
	if err != nil {
		t.Fatal(err)
	}
	l, err := ledger.New(g)
	if err != nil {
		t.Fatal(err)
	}
	return &network{l: l, id: id, verifier: ledger.NewVerifier(id), ops: make(map[ledger.Digest]api.Op), now: time.UnixMilli(1_700_000_000_000)}
}

var errLost = errors.New("no answer")

func (n *network) clock() time.Time {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.now
}

func (n *network) pass(d time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.now = n.now.Add(d)
}

func (n *network) set(change func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	change()
}

func (n *network) Submit(_ context.Context, raw ...[]byte) (api.Ops, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.deaf {
		return api.Ops{}, errLost
	}
	n.sent++
	u, err := ledger.DecodeOp(raw[0])
	if err != nil {
		return api.Ops{}, err
	}
	op, err := n.verifier.Verify(u)
	if err != nil {
		return api.Ops{}, err
	}
	last, _ := n.l.Commit()
	events := n.l.Apply(ledger.Batch{Index: last + 1, TimeMs: n.now.UnixMilli(), Digest: sha256.Sum256(fmt.Append(nil, last+1)), Ops: []ledger.Op{*op}})
	if _, known := n.ops[op.ID()]; !known {
		state := api.Op{Op: op.ID().String(), Status: api.OpFinal, Commit: last + 1}
		for _, e := range events {
			if e.Kind == ledger.EventRejected {
				state.Status = api.OpRejected
			}
		}
		result, _ := n.l.Result(op.ID())
		for range op.Actions() {
			state.Actions = append(state.Actions, api.ActionResult{Refused: result.Refused > 0})
		}
		n.ops[op.ID()] = state
	}
	if n.mute {
		return api.Ops{}, errLost
	}
	return api.Ops{Ops: []api.Op{n.ops[op.ID()]}}, nil
}

func (n *network) Op(_ context.Context, id ledger.Digest) (api.Op, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.mute {
		return api.Op{}, errLost
	}
	op, known := n.ops[id]
	switch {
	case known:
		return op, nil
	case n.deaf || n.amnesia:
		return api.Op{Op: id.String(), Status: api.OpUnknown}, nil
	}
	return api.Op{Op: id.String(), Status: api.OpExpired}, nil
}

func (n *network) WaitOp(ctx context.Context, id ledger.Digest) (api.Op, error) { return n.Op(ctx, id) }

func (n *network) Account(_ context.Context, who ledger.Account) (api.Account, error) {
	return api.Account{Balances: []api.Balance{{Asset: "USDT", Available: n.balance(who)}}}, nil
}

// balance is what an account has of USDT.
func (n *network) balance(who ledger.Account) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	asset := ledger.Asset{Symbol: "USDT", Decimals: 6}
	available, _ := n.l.Balance(who, 1)
	return asset.FormatAmount(available)
}

// config is a faucet of ten dollars a day.
func (n *network) config(t *testing.T, dir string) Config {
	t.Helper()
	asset := ledger.Asset{Symbol: "USDT", Decimals: 6}
	ten, err := asset.ParseAmount("10")
	if err != nil {
		t.Fatal(err)
	}
	return Config{
		Dir: dir, Network: n.id, Names: ledger.Names{Assets: []ledger.Asset{{Symbol: "BTC", Decimals: 8}, asset}}, Key: testKey("faucet"),
		Gateway: n, Gift: []Coin{{1, ten}}, Every: 24 * time.Hour, Hourly: 5, Total: 8, Now: n.clock,
	}
}

func open(t *testing.T, c Config) *Faucet {
	t.Helper()
	f, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// again is what a restart leads to: nothing is left but the journal.
func again(t *testing.T, f *Faucet) *Faucet {
	t.Helper()
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return open(t, f.cfg)
}

// refused fails unless the asking is refused with the code.
func refused(t *testing.T, f *Faucet, who, code string) *api.Problem {
	t.Helper()
	a, err := f.Ask(t.Context(), account(who))
	p := (*api.Problem)(nil)
	if !errors.As(err, &p) || p.Code != code {
		t.Fatalf("%s: %v %+v, want %s", who, err, a, code)
	}
	return p
}

func given(t *testing.T, f *Faucet, who string) Answer {
	t.Helper()
	a, err := f.Ask(t.Context(), account(who))
	if err != nil || a.Status != api.OpFinal {
		t.Fatalf("%s: %v: %+v", who, err, a)
	}
	return a
}

// TestLimitsHoldOverRestarts: after every gift the faucet is started anew.
func TestLimitsHoldOverRestarts(t *testing.T) {
	n := newNetwork(t)
	f := open(t, n.config(t, t.TempDir()))
	for i := range 5 {
		given(t, f, fmt.Sprint("person", i))
		f = again(t, f)
		if p := refused(t, f, fmt.Sprint("person", i), "ACCOUNT_LIMIT"); p.RetryAfterMs != (24 * time.Hour).Milliseconds() {
			t.Errorf("ask again in %d ms", p.RetryAfterMs)
		}
	}
	if p := refused(t, f, "person5", "HOURLY_LIMIT"); p.RetryAfterMs != time.Hour.Milliseconds() {
		t.Errorf("ask again in %d ms", p.RetryAfterMs)
	}
	n.pass(time.Hour)
	f = again(t, f)
	for i := range 3 {
		given(t, f, fmt.Sprint("person", 5+i))
		f = again(t, f)
	}
	refused(t, f, "person9", "TOTAL_LIMIT")
	if a := f.About(); a.Given != 8 || a.Open != 0 {
		t.Errorf("about: %+v", a)
	}
	n.pass(24 * time.Hour)
	f = again(t, f)
	refused(t, f, "person0", "TOTAL_LIMIT")
	c := f.cfg
	c.Total = 9
	f.Close()
	f = open(t, c)
	given(t, f, "person0")
	for who, want := range map[string]string{"person0": "20", "person7": "10", "person9": "0", "faucet": "910"} {
		if got := n.balance(account(who)); got != want {
			t.Errorf("%s has %s, want %s", who, got, want)
		}
	}
}

// TestNeverTwice: answers are lost and the faucet dies at every point; whoever asks,
// and asks again, gets one gift.
func TestNeverTwice(t *testing.T) {
	n := newNetwork(t)
	f := open(t, n.config(t, t.TempDir()))
	ask := func() Answer {
		a, err := f.Ask(t.Context(), account("alice"))
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	n.set(func() { n.deaf, n.mute = true, false })
	first := ask()
	if first.Status != api.OpPending || f.About().Open != 1 {
		t.Fatalf("%+v, %+v", first, f.About())
	}
	for i := range 6 {
		n.set(func() { n.deaf, n.mute = i%2 == 0, true })
		if a := ask(); a.Op != first.Op || a.Status != api.OpPending {
			t.Fatalf("try %d: %+v, first %+v", i, a, first)
		}
		f = again(t, f)
	}
	if got := n.balance(account("alice")); got != "10" {
		t.Fatalf("alice has %s", got)
	}
	n.set(func() { n.deaf, n.mute = false, false })
	if a := ask(); a.Op != first.Op || a.Status != api.OpFinal {
		t.Errorf("at last: %+v", a)
	}
	refused(t, f, "alice", "ACCOUNT_LIMIT")
	if got := n.balance(account("alice")); got != "10" || n.sent < 4 {
		t.Errorf("alice has %s after %d sendings", got, n.sent)
	}
}

// TestManyAtOnce: one account asks from many places at once.
func TestManyAtOnce(t *testing.T) {
	n := newNetwork(t)
	f := open(t, n.config(t, t.TempDir()))
	var work sync.WaitGroup
	for range 20 {
		work.Go(func() { f.Ask(t.Context(), account("alice")) })
	}
	work.Wait()
	if got := n.balance(account("alice")); got != "10" || f.About().Given != 1 {
		t.Errorf("alice has %s; %+v", got, f.About())
	}
}

// TestNotExecuted: a gift counts as not paid only if the network says so.
func TestNotExecuted(t *testing.T) {
	for _, tc := range []struct {
		name    string
		amnesia bool
		pass    time.Duration
		given   int
	}{
		{"the network says it has expired", false, window + time.Second, 0},
		{"nobody knows yet", true, window + time.Second, 1},
		{"nobody will know", true, window + doubt + time.Second, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			n := newNetwork(t)
			f := open(t, n.config(t, t.TempDir()))
			n.set(func() { n.deaf, n.amnesia = true, tc.amnesia })
			if a, err := f.Ask(t.Context(), account("alice")); err != nil || a.Status != api.OpPending {
				t.Fatalf("%v: %+v", err, a)
			}
			n.set(func() { n.deaf = false })
			n.pass(tc.pass)
			f = again(t, f)
			for _, g := range f.opened() {
				if _, err := f.settle(t.Context(), g); err != nil {
					t.Fatal(err)
				}
			}
			f = again(t, f)
			if got := f.About().Given; got != tc.given {
				t.Errorf("%d gifts count, want %d", got, tc.given)
			}
			if n.balance(account("alice")) != "0" {
				t.Error("an operation was executed after its window")
			}
			if tc.given == 0 {
				given(t, f, "alice")
			}
		})
	}
}

// TestRunSettles: what a crash has left open ends without anybody asking.
func TestRunSettles(t *testing.T) {
	n := newNetwork(t)
	f := open(t, n.config(t, t.TempDir()))
	n.set(func() { n.deaf, n.mute = true, true })
	// The balance is known; nothing else is heard.
	if _, err := f.Ask(t.Context(), account("alice")); err != nil {
		t.Fatal(err)
	}
	n.set(func() { n.deaf, n.mute = false, false })
	f = again(t, f)
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan struct{})
	go func() { f.Run(ctx); close(ran) }()
	for deadline := time.Now().Add(time.Minute); f.About().Open > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it is not settled")
		}
	}
	cancel()
	<-ran
	if got := n.balance(account("alice")); got != "10" {
		t.Errorf("alice has %s", got)
	}
}

func TestRefused(t *testing.T) {
	n := newNetwork(t)
	c := n.config(t, t.TempDir())
	c.Hourly, c.Total = 200, 200
	f := open(t, c)
	refused(t, f, "faucet", "OWN_ACCOUNT")
	for i := range 100 {
		given(t, f, fmt.Sprint("person", i))
	}
	if p := refused(t, f, "person100", "EMPTY"); !strings.Contains(p.Detail, "has 0 USDT") {
		t.Errorf("%+v", p)
	}
	if f.About().Given != 100 {
		t.Errorf("%+v", f.About())
	}
	n.set(func() { n.deaf = true })
	f.mu.Lock()
	for i := range openMax {
		f.open[uint64(1000+i)] = &gift{}
	}
	f.mu.Unlock()
	refused(t, f, "person101", "BUSY")
}

func TestOpenRefuses(t *testing.T) {
	n := newNetwork(t)
	dir := t.TempDir()
	good := n.config(t, dir)
	for _, tc := range []struct {
		want   string
		change func(*Config)
	}{
		{"directory", func(c *Config) { c.Dir = "" }},
		{"key", func(c *Config) { c.Key = nil }},
		{"0 coins", func(c *Config) { c.Gift = nil }},
		{"different assets", func(c *Config) { c.Gift = append(c.Gift, c.Gift...) }},
		{"different assets", func(c *Config) { c.Gift = []Coin{{9, c.Gift[0].Amount}} }},
		{"one gift every", func(c *Config) { c.Every = 0 }},
		{"gifts an hour", func(c *Config) { c.Hourly = 0 }},
		{"gifts in all", func(c *Config) { c.Total = TotalMax + 1 }},
	} {
		c := good
		tc.change(&c)
		if _, err := Open(c); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("got %v, want %q", err, tc.want)
		}
	}
	f := open(t, good)
	if _, err := Open(good); err == nil {
		t.Error("two faucets share a journal")
	}
	f.Close()
	other := good
	other.Key = testKey("other")
	if _, err := Open(other); err == nil || !strings.Contains(err.Error(), "another wallet") {
		t.Errorf("another's journal: %v", err)
	}
}

// TestHandler asks over HTTP, well and badly.
func TestHandler(t *testing.T) {
	n := newNetwork(t)
	f := open(t, n.config(t, t.TempDir()))
	server := httptest.NewServer(f.Handler())
	defer server.Close()
	client := &Client{Base: server.URL, HTTP: server.Client()}
	a, err := client.Ask(t.Context(), account("alice"))
	if err != nil || a.Status != api.OpFinal || a.Gift[0] != "10 USDT" || a.NextMs != n.clock().Add(24*time.Hour).UnixMilli() {
		t.Errorf("%v: %+v", err, a)
	}
	if about, err := client.About(t.Context()); err != nil || about.Given != 1 || about.Total != 8 {
		t.Errorf("%v: %+v", err, about)
	}
	for _, tc := range []struct {
		name, body string
		status     int
		code       string
	}{
		{"again", `{"account":"` + account("alice").String() + `"}`, 429, "ACCOUNT_LIMIT"},
		{"nothing", ``, 400, "BAD_BODY"},
		{"no JSON", `hello`, 400, "BAD_BODY"},
		{"no account", `{}`, 400, "BAD_BODY"},
		{"a short account", `{"account":"ab"}`, 400, "BAD_BODY"},
		{"an unknown field", `{"account":"` + account("bob").String() + `","amount":"1000000"}`, 400, "BAD_BODY"},
		{"two objects", `{"account":"` + account("bob").String() + `"}{}`, 400, "BAD_BODY"},
		{"a long body", `{"account":"` + strings.Repeat("a", 1<<20) + `"}`, 400, "BAD_BODY"},
	} {
		r, err := server.Client().Post(server.URL+Path, "application/json", strings.NewReader(tc.body))
		if err != nil {
			t.Fatal(err)
		}
		var p api.Problem
		var raw bytes.Buffer
		raw.ReadFrom(r.Body)
		r.Body.Close()
		if err := json.Unmarshal(raw.Bytes(), &p); err != nil || r.StatusCode != tc.status || p.Code != tc.code || p.Remedy == "" {
			t.Errorf("%s: %v: %s: %s", tc.name, err, r.Status, raw.Bytes())
		}
		if limited := r.StatusCode == http.StatusTooManyRequests; limited != (r.Header.Get("Retry-After") != "") {
			t.Errorf("%s: Retry-After is %q", tc.name, r.Header.Get("Retry-After"))
		}
	}
	if n.balance(account("bob")) != "0" {
		t.Error("bob got something")
	}
	if r, err := server.Client().Get(server.URL + "/healthz"); err != nil || r.StatusCode != http.StatusOK {
		t.Errorf("%v: %v", err, r)
	}
}

func FuzzDecodeGift(f *testing.F) {
	g := &gift{number: 7, to: account("alice"), timeMs: 1, raw: bytes.Repeat([]byte{1}, 100), expiresMs: 2}
	f.Add(g.encode())
	g.raw = nil
	f.Add(g.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		g, err := decodeGift(giftKey(7), b)
		if err != nil {
			return
		}
		if back, err := decodeGift(giftKey(7), g.encode()); err != nil || back.id != g.id || back.open() != g.open() {
			t.Fatalf("%v: %+v, want %+v", err, back, g)
		}
	})
}
