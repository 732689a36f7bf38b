package api

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/ipld/go-ipld-prime/codec/dagcbor"
	"github.com/ipld/go-ipld-prime/codec/dagjson"
	"github.com/ipld/go-ipld-prime/node/basicnode"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/holdfast-mesh/holdfast/node/ledger"
)

// witness compares all that a server answers with what the document says, in
// both directions: what is answered must be documented, and what is documented
// must have been answered by the end.
type witness struct {
	t        testing.TB
	document object
	compiler *jsonschema.Compiler

	mu   sync.Mutex
	seen map[string]bool // "GET /v1/status 200", "Status.as_of", "GET /v1/ops ?wait"
}

func newWitness(t testing.TB) *witness {
	t.Helper()
	w := &witness{t: t, compiler: jsonschema.NewCompiler(), seen: make(map[string]bool)}
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(Document()))
	if err != nil {
		t.Fatal(err)
	}
	w.document = document.(object)
	w.compiler.AssertFormat()
	w.compiler.AssertContent()
	w.compiler.DefaultDraft(jsonschema.Draft2020)
	if err := w.compiler.AddResource("mem:///openapi.json", document); err != nil {
		t.Fatal(err)
	}
	return w
}

func at(of object, keys ...string) any {
	var value any = of
	for _, k := range keys {
		inner, _ := value.(object)
		value = inner[k]
	}
	return value
}

// RoundTrip passes a request on and looks at the answer.
func (w *witness) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := http.DefaultTransport.RoundTrip(r)
	if err != nil || response.StatusCode == http.StatusSwitchingProtocols {
		if err == nil {
			w.look(r, response, nil)
		}
		return response, err
	}
	body, err := io.ReadAll(response.Body)
	response.Body.Close()
	response.Body = io.NopCloser(bytes.NewReader(body))
	w.look(r, response, body)
	return response, err
}

// look checks one answer against the document.
func (w *witness) look(r *http.Request, response *http.Response, body []byte) {
	path := w.pathOf(r.URL.Path)
	operation, _ := at(w.document, "paths", path, strings.ToLower(r.Method)).(object)
	status := strconv.Itoa(response.StatusCode)
	if operation == nil {
		if status != "404" && status != "405" {
			w.t.Errorf("%s %s answers %s and is not documented", r.Method, r.URL.Path, status)
		}
		w.value(w.document["components"].(object)["schemas"].(object)["Problem"].(object), "Problem", w.parsed(body))
		return
	}
	name := r.Method + " " + path
	documented, _ := at(operation, "responses", status).(object)
	if documented == nil {
		w.t.Errorf("%s answers %s, which is not documented: %s", name, status, body)
		return
	}
	w.note(name + " " + status)
	if response.StatusCode < 300 {
		for parameter := range r.URL.Query() {
			w.note(name + " ?" + parameter)
		}
	}
	for header := range asMap(documented["headers"]) {
		if response.Header.Get(header) == "" {
			w.t.Errorf("%s %s has no header %s", name, status, header)
		}
	}
	media, _, _ := strings.Cut(response.Header.Get("Content-Type"), ";")
	content, _ := documented["content"].(object)
	if content == nil {
		return
	}
	of, ok := content[media].(object)
	if !ok {
		w.t.Errorf("%s %s is %q, which is not documented", name, status, media)
		return
	}
	if schema, _ := of["schema"].(object); schema != nil {
		w.validate(schema, name+" "+status, body)
	}
}

func asMap(v any) object { m, _ := v.(object); return m }

func (w *witness) note(what string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen[what] = true
}

// pathOf returns the documented path that a request's is one of.
func (w *witness) pathOf(path string) string {
	best := ""
	for pattern := range w.document["paths"].(object) {
		if pattern == path {
			return pattern
		}
		of := regexp.MustCompile(`\\\{[a-z]+\\\}`).ReplaceAllString(regexp.QuoteMeta(pattern), "[^/]+")
		if regexp.MustCompile("^" + of + "$").MatchString(path) {
			best = pattern
		}
	}
	return best
}

func (w *witness) parsed(body []byte) any {
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err != nil {
		w.t.Errorf("%q is no JSON: %v", body, err)
	}
	return value
}

// validate checks a body against a schema that is a reference to a component,
// and notes which fields it has.
func (w *witness) validate(schema object, what string, body []byte) {
	value := w.parsed(body)
	reference, ok := schema["$ref"].(string)
	if !ok {
		return // a document of some kind
	}
	compiled, err := w.compiler.Compile("mem:///openapi.json" + reference)
	if err != nil {
		w.t.Fatalf("%s: the schema: %v", reference, err)
	}
	if err := compiled.Validate(value); err != nil {
		w.t.Errorf("%s is not as documented: %v\n%s", what, err, body)
	}
	w.value(schema, "", value)
}

// value notes the fields that a value has.
func (w *witness) value(schema object, component string, value any) {
	if reference, ok := schema["$ref"].(string); ok {
		component = strings.TrimPrefix(reference, "#/components/schemas/")
		schema = at(w.document, "components", "schemas", component).(object)
	}
	switch v := value.(type) {
	case object:
		for field, inner := range v {
			w.note(component + "." + field)
			if of := asMap(at(schema, "properties", field)); of != nil {
				w.value(of, component, inner)
			}
		}
	case []any:
		for _, inner := range v {
			w.value(asMap(schema["items"]), component, inner)
		}
	}
}

// unseen lists what is documented and was never answered.
func (w *witness) unseen() (all []string) {
	check := func(what string) {
		if !w.seen[what] {
			all = append(all, what)
		}
	}
	for path, methods := range w.document["paths"].(object) {
		for method, operation := range methods.(object) {
			name := strings.ToUpper(method) + " " + path
			for status := range asMap(at(operation.(object), "responses")) {
				check(name + " " + status)
			}
			parameters, _ := operation.(object)["parameters"].([]any)
			for _, p := range parameters {
				if p := p.(object); p["in"] == "query" {
					check(name + " ?" + p["name"].(string))
				}
			}
		}
	}
	for component, schema := range at(w.document, "components", "schemas").(object) {
		if component == "Subscription" {
			continue // clients send it; the streams' tests do
		}
		for field := range asMap(at(schema.(object), "properties")) {
			check(component + "." + field)
		}
	}
	slices.Sort(all)
	return all
}

// ask sends a request that the client would not.
func (s *served) ask(t testing.TB, method, path, media, body string) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, s.base+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if media != "" {
		r.Header.Set("Content-Type", media)
	}
	response, err := s.HTTP.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	return response
}

// TestDocumentAndHandlersAgree makes the server answer in every way it can.
func TestDocumentAndHandlersAgree(t *testing.T) {
	w := newWitness(t)
	config := testConfig()
	config.Metrics = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		fmt.Fprintln(w, "up 1")
	})
	s := serve(t, config)
	s.HTTP = &http.Client{Transport: w}
	limited := testConfig()
	limited.Requests, limited.BurstSeconds, limited.Ops = 1e-6, 1e6, 1
	spent := serve(t, limited)
	spent.HTTP = s.HTTP

	s.ask(t, "GET", "/v1/checkpoints/latest", "", "") // there is none yet
	exerciseStreams(t, s, w)
	exerciseLedger(t, s)
	exerciseAnswers(t, s)
	exerciseRefusals(t, s)
	for _, e := range endpoints() {
		path := strings.NewReplacer("{market}", "BTC-USDT", "{account}", accountOf("alice").String(), "{op}", ledger.Digest{}.String(), "{block}", ledger.Digest{}.String(), "{index}", "1").Replace(e.path)
		s.ask(t, e.method, path+"?nonsense=1", "", "")
		spent.ask(t, e.method, path, "", "")
		spent.ask(t, e.method, path, "", "")
	}
	s.ask(t, "GET", "/v1/nothing", "", "")
	s.ask(t, "DELETE", "/v1/ops", "", "")
	for _, what := range w.unseen() {
		t.Errorf("documented, and never answered: %s", what)
	}
}

// exerciseStreams sees every kind of message.
func exerciseStreams(t *testing.T, s *served, w *witness) {
	stream, err := s.Stream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	message := func() {
		t.Helper()
		_, raw, err := stream.conn.Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		w.validate(object{"$ref": "#/components/schemas/Message"}, "a message", raw)
	}
	for _, to := range []Subscription{
		{Channel: ChannelBook, Market: "BTC-USDT"}, {Channel: ChannelTrades, Market: "BTC-USDT"}, {Channel: ChannelCommits},
		{Channel: ChannelAccount, Account: accountOf("alice").String()}, {Channel: ChannelPeers}, {Channel: "nonsense"},
	} {
		if err := stream.Subscribe(t.Context(), to); err != nil {
			t.Fatal(err)
		}
		message()
	}
	s.trade(t)
	for range 4 { // of each but the peers
		message()
	}
	if err := stream.Subscribe(t.Context(), Subscription{Channel: ChannelAccount, Account: accountOf("alice").String()}); err != nil {
		t.Fatal(err)
	}
	message()
}

// exerciseLedger makes everything happen that an event can tell.
func exerciseLedger(t *testing.T, s *served) {
	do := func(who string, actions ...ledger.Action) ledger.Digest {
		t.Helper()
		id := s.must(t, who, actions...)
		s.node.commit()
		return id
	}
	// Fees in USDT, so that a maker's rebate can be paid; an amendment, a cancel_all.
	do("bob", limit(ledger.Buy, 5_000, 9_900))
	do("alice", limit(ledger.Sell, 30_000, 9_900))
	do("bob", limit(ledger.Buy, 50_000, 9_800), limit(ledger.Buy, 50_000, 9_700))
	do("bob", ledger.Action{Kind: ledger.KindAmend, Order: 6, Quantity: 40_000}, ledger.Action{Kind: ledger.KindAmend, Order: 7, Quantity: 40_000})
	do("bob", ledger.Action{Kind: ledger.KindCancelAll, AllMarkets: true})
	named, _ := ledger.ClientIDOf("mine")
	placed := do("dave", ledger.Action{Kind: ledger.KindPlace, Side: ledger.Sell, Quantity: 10_000, Price: 20_000, ClientID: named}, limit(ledger.Sell, 10_000, 30_000))
	if a, err := s.Op(t.Context(), placed); err != nil || a.Actions[0].State != "NEW" {
		t.Fatalf("%+v, %v", a, err)
	}
	// Money in, across and out.
	to := accountOf("erin")
	for _, k := range []string{"k1", "k2"} {
		do(k, ledger.Action{Kind: ledger.KindAttestDeposit, Asset: 1, Amount: ledger.Units(5_000_000), Detail: &ledger.Detail{Account: to, Reference: "tx 1"}})
	}
	do("alice", ledger.Action{Kind: ledger.KindTransfer, Asset: 0, Amount: ledger.Units(1), Detail: &ledger.Detail{Account: to}})
	do("alice", ledger.Action{Kind: ledger.KindWithdraw, Asset: 0, Amount: ledger.Units(5000), Detail: &ledger.Detail{Fee: ledger.Units(1000), Reference: "bc1q"}})
	do("bob", ledger.Action{Kind: ledger.KindWithdraw, Asset: 0, Amount: ledger.Units(5000), Detail: &ledger.Detail{Fee: ledger.Units(1000), Reference: "bc1q"}})
	do("k1", ledger.Action{Kind: ledger.KindSignWithdrawal, Withdrawal: 1})
	// Governors halt a market.
	for _, g := range []string{"g1", "g2"} {
		id := do(g, ledger.Action{Kind: ledger.KindSetMarketStatus, Market: 1, Status: ledger.StatusHalt})
		if a, err := s.Op(t.Context(), id); err != nil || a.Status != OpFinal {
			t.Fatalf("%+v, %v", a, err)
		}
	}
	// One operation ordered twice; one that is rejected in its commit.
	s.must(t, "alice", ledger.Action{Kind: ledger.KindCancel, Order: 4711})
	s.node.change(func() {
		twice := s.node.pending[0]
		s.node.pending = nil
		s.node.commitLocked([]ledger.Op{twice, twice})
	})
	late := s.must(t, "alice", limit(ledger.Sell, 10_000, 10_000))
	s.node.change(func() { s.node.nowMs += 100_000 })
	s.node.commit()
	if a, err := s.Op(t.Context(), late); err != nil || a.Status != OpRejected || a.Reason != "TIMESTAMP" {
		t.Fatalf("it is %+v, %v", a, err)
	}
}

// exerciseAnswers asks for everything there is.
func exerciseAnswers(t *testing.T, s *served) {
	ctx := t.Context()
	all := []error{}
	keep := func(_ any, err error) { all = append(all, err) }
	alice := accountOf("alice")
	keep(s.Status(ctx))
	keep(s.Network(ctx))
	keep(s.Peers(ctx))
	keep(s.Committee(ctx))
	s.node.change(func() { s.node.status.DiskFull = true })
	keep(s.Contract(ctx))
	s.node.change(func() { s.node.status.DiskFull = false })
	keep(s.Markets(ctx))
	keep(s.Book(ctx, "BTC-USDT", 5))
	keep(s.Trades(ctx, "BTC-USDT", Page{Before: "100-0", Limit: 1}))
	keep(s.Candles(ctx, "BTC-USDT", "1h", 1, 1))
	keep(s.AccountProof(ctx, alice))
	keep(s.Orders(ctx, accountOf("dave"), 0, 1))
	do := s.must(t, "dave", limit(ledger.Sell, 10_000, 20_000))
	s.node.commit()
	keep(s.WaitOp(ctx, do))
	keep(s.Orders(ctx, accountOf("dave"), 1, 0))
	keep(s.Withdrawals(ctx, 0, 1))
	keep(s.Withdrawals(ctx, 1, 0))
	keep(s.History(ctx, alice, Page{Before: "100-0", Limit: 1000}))
	keep(s.History(ctx, accountOf("g2"), Page{}))
	keep(s.History(ctx, accountOf("bob"), Page{}))
	keep(s.SubmitWait(ctx, s.node.raw(t)))
	keep(s.Client.Commit(ctx, 2))
	for id := range s.node.blocks {
		keep(s.Client.Block(ctx, id))
		break
	}
	keep(s.Checkpoint(ctx))
	for _, path := range []string{"/v1/openapi.json", "/healthz", "/readyz", "/metrics"} {
		if response := s.ask(t, "GET", path, "", ""); response.StatusCode != http.StatusOK {
			t.Errorf("%s answers %s", path, response.Status)
		}
	}
	if err := errors.Join(all...); err != nil {
		t.Fatal(err)
	}
}

// raw returns an operation that has ended already, so that nobody waits for it.
func (f *fakeNode) raw(t testing.TB) []byte {
	t.Helper()
	for _, block := range f.blocks {
		if len(block) > 3 {
			items, err := split(block[3:])
			if err != nil {
				t.Fatal(err)
			}
			return items[0]
		}
	}
	t.Fatal("no block has an operation")
	return nil
}

// exerciseRefusals is refused in every way.
func exerciseRefusals(t *testing.T, s *served) {
	ctx := t.Context()
	expect := func(code string, err error) {
		t.Helper()
		if CodeOf(err) != code {
			t.Errorf("want %s, the error is %v", code, err)
		}
	}
	nobody, alice := accountOf("nobody"), accountOf("alice")
	get := func(path string) error { return s.get(ctx, path, nil, new(any)) }
	for _, part := range []string{"book", "trades", "candles"} {
		expect("UNKNOWN_MARKET", get("/v1/markets/DOGE-USDT/"+part))
	}
	for _, part := range []string{"", "/orders", "/history"} {
		expect("UNKNOWN_ACCOUNT", get("/v1/accounts/"+nobody.String()+part))
	}
	s.server.proving <- struct{}{}
	expect("BUSY", get("/v1/accounts/"+alice.String()+"?proof"))
	<-s.server.proving
	expect("NO_SUCH_THING", get("/v1/commits/99999"))
	expect("NO_SUCH_THING", get("/v1/blocks/"+ledger.Digest{}.String()))

	var some ledger.Digest
	for some = range s.node.blocks {
		break
	}
	s.node.change(func() { s.node.oldest = 5 })
	expect("TOO_OLD", get("/v1/commits/1"))
	expect("TOO_OLD", get("/v1/blocks/"+some.String()))
	expect("TOO_OLD", get("/v1/markets/BTC-USDT/trades?before=2-0"))
	expect("TOO_OLD", get("/v1/accounts/"+alice.String()+"/history?before=2-0"))
	s.node.change(func() {
		s.node.broken, s.node.refuse = errors.New("the disk is broken"), errors.New("the disk is broken")
	})
	for _, path := range []string{"/v1/markets/BTC-USDT/trades", "/v1/markets/BTC-USDT/candles", "/v1/accounts/" + alice.String() + "/history",
		"/v1/ops/" + some.String(), "/v1/commits/9", "/v1/blocks/" + some.String(), "/v1/checkpoints/latest"} {
		expect("INTERNAL", get(path))
	}
	op := s.node.signed(t, "alice", limit(ledger.Sell, 10_000, 10_000))
	submit := func() error { _, err := s.Submit(ctx, op); return err }
	expect("INTERNAL", submit())
	for code, refuse := range map[string]error{"DISK_FULL": ErrDiskFull, "STOPPED": ErrStopped, "BUSY": &BusyError{What: "the pool", After: 1}} {
		s.node.change(func() { s.node.refuse = refuse })
		expect(code, submit())
	}
	s.node.change(func() { s.node.refuse, s.node.broken, s.node.oldest = nil, nil, 1 })
	post := func(media string, body []byte) error {
		return s.do(ctx, http.MethodPost, "/v1/ops", nil, media, body, new(any))
	}
	expect("BAD_BODY", post(typeCBORSeq, []byte{0xff}))
	expect("TOO_LARGE", post(typeCBOR, make([]byte, ledger.OpBytesMax+1)))
	expect("TOO_MANY_OPS", post(typeCBORSeq, make([]byte, OpsMax+1)))
	expect("BAD_MEDIA_TYPE", post("text/plain", op))
	expect("BAD_FORMAT", post(typeCBOR, []byte{0xa0}))
	s.node.change(func() { s.node.status.Ready = false })
	expect("NOT_READY", get("/readyz"))
	expect("BAD_HANDSHAKE", get("/v1/stream"))
	without := serve(t, testConfig())
	without.HTTP = s.HTTP
	expect("NO_SUCH_THING", without.get(ctx, "/metrics", nil, new(any)))
}

// TestDocumentIsSound checks what the types cannot: that references resolve,
// schemas compile, names are unique and paths have their parameters.
func TestDocumentIsSound(t *testing.T) {
	w := newWitness(t)
	if w.document["openapi"] != "3.1.0" {
		t.Errorf("it is of version %v", w.document["openapi"])
	}
	for component := range at(w.document, "components", "schemas").(object) {
		if _, err := w.compiler.Compile("mem:///openapi.json#/components/schemas/" + component); err != nil {
			t.Error(err)
		}
	}
	for _, reference := range regexp.MustCompile(`"#/components/schemas/([A-Za-z]+)"`).FindAllStringSubmatch(string(Document()), -1) {
		if at(w.document, "components", "schemas", reference[1]) == nil {
			t.Errorf("there is no component %s", reference[1])
		}
	}
	names := make(map[string]bool)
	for path, methods := range w.document["paths"].(object) {
		for _, operation := range methods.(object) {
			name := operation.(object)["operationId"].(string)
			if names[name] {
				t.Errorf("there are two operations %s", name)
			}
			names[name] = true
			for _, in := range regexp.MustCompile(`\{([a-z]+)\}`).FindAllStringSubmatch(path, -1) {
				parameters, _ := operation.(object)["parameters"].([]any)
				if !slices.ContainsFunc(parameters, func(p any) bool { return p.(object)["name"] == in[1] && p.(object)["required"] == true }) {
					t.Errorf("%s does not describe {%s}", path, in[1])
				}
			}
		}
	}
}

// TestWitnessSees makes sure that the comparison can fail: a field, a status and
// a path that are not documented, and a field that is never there.
func TestWitnessSees(t *testing.T) {
	faults := &counted{TB: t}
	w := newWitness(t)
	w.t = faults
	w.validate(object{"$ref": "#/components/schemas/Health"}, "planted", []byte(`{"as_of":{"commit":1,"time":"2027-01-15T08:00:00.000Z","age_ms":0,"quorum":true},"ok":true,"more":1}`))
	w.validate(object{"$ref": "#/components/schemas/Level"}, "planted", []byte(`{"price":"01.0","quantity":"1","orders":1}`))
	r, _ := http.NewRequestWithContext(t.Context(), "GET", "http://node/v1/status", nil)
	w.look(r, &http.Response{StatusCode: 418}, nil)
	r, _ = http.NewRequestWithContext(t.Context(), "GET", "http://node/v1/secret", nil)
	w.look(r, &http.Response{StatusCode: 200, Header: make(http.Header)}, []byte("{}"))
	if faults.errors != 4 {
		t.Errorf("%d of 4 planted faults are seen", faults.errors)
	}
	if unseen := w.unseen(); !slices.Contains(unseen, "Status.alarm") || !slices.Contains(unseen, "GET /v1/status 200") || !slices.Contains(unseen, "GET /v1/ops/{op} ?wait") {
		t.Errorf("what is missing is %q", unseen)
	}
}

// counted counts errors where another test would fail.
type counted struct {
	testing.TB
	errors int
}

func (c *counted) Errorf(string, ...any) { c.errors++ }

// asJSON writes an operation in DAG-JSON.
func asJSON(t testing.TB, op []byte) []byte {
	t.Helper()
	builder := basicnode.Prototype.Any.NewBuilder()
	if err := dagcbor.Decode(builder, bytes.NewReader(op)); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := dagjson.Encode(builder.Build(), &b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestJSONIsAsDocumented: the schema of an operation in JSON takes real ones, the
// server turns them into the bytes that were signed.
func TestJSONIsAsDocumented(t *testing.T) {
	w := newWitness(t)
	f := newFakeNode(t)
	compiled, err := w.compiler.Compile("mem:///openapi.json#/paths/~1v1~1ops/post/requestBody/content/application~1json/schema")
	if err != nil {
		t.Fatal(err)
	}
	for _, actions := range [][]ledger.Action{
		{limit(ledger.Sell, 10_000, 10_000)},
		{{Kind: ledger.KindTransfer, Asset: 1, Amount: ledger.MaxAmount, Detail: &ledger.Detail{Account: accountOf("bob")}}},
		{{Kind: ledger.KindWithdraw, Asset: 1, Amount: ledger.Units(1), Detail: &ledger.Detail{Reference: "bc1 \" ü"}}, {Kind: ledger.KindCancelAll, AllMarkets: true}},
	} {
		op := f.signed(t, "alice", actions...)
		text := asJSON(t, op)
		if err := compiled.Validate(w.parsed(text)); err != nil {
			t.Errorf("%s: %v", text, err)
		}
		back, err := fromJSON(text)
		if err != nil || !bytes.Equal(back, op) {
			t.Errorf("%s becomes %x (%v), signed was %x", text, back, err, op)
		}
	}
}
