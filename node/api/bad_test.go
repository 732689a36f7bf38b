package api

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-mesh/holdfast/node/ledger"
)

// TestBadInput: whatever is wrong with a request, the answer is a problem that
// says what, and nothing is taken.
func TestBadInput(t *testing.T) {
	s := serve(t, testConfig())
	s.trade(t)
	good := s.node.signed(t, "alice", limit(ledger.Sell, 10_000, 10_000))
	text := string(asJSON(t, good))
	replayed := s.node.raw(t)
	alter := func(after string, skip int) string {
		b := bytes.Clone(good)
		b[bytes.Index(good, []byte(after))+len(after)+skip] ^= 1
		return string(b)
	}
	swap := func(old, to string) string {
		if !strings.Contains(text, old) {
			t.Fatalf("%s has no %s", text, old)
		}
		return strings.Replace(text, old, to, 1)
	}
	hour := ledger.Draft{Network: s.node.network, Account: accountOf("alice"), Nonce: uint64(s.node.nowMs), TimeMs: s.node.nowMs - 3600_000,
		WindowMs: 1000, Actions: []ledger.Action{limit(ledger.Sell, 1, 1)}}
	stale, err := hour.Sign(key("alice"))
	if err != nil {
		t.Fatal(err)
	}
	stranger := s.node.signed(t, "nobody", limit(ledger.Sell, 1, 1))

	const ops = "/v1/ops"
	account := "/v1/accounts/" + accountOf("alice").String()
	for _, c := range []struct {
		what, method, path, media, body string
		status                          int
		code                            string
	}{
		{"an unknown path", "GET", "/v2/status", "", "", 404, "NOT_FOUND"},
		{"a path that is not clean", "GET", "/v1/../v1/status", "", "", 404, "NOT_FOUND"},
		{"a path with a slash too many", "GET", "/v1//status", "", "", 404, "NOT_FOUND"},
		{"a path that goes on", "GET", "/v1/status/more", "", "", 404, "NOT_FOUND"},
		{"the root", "GET", "/", "", "", 404, "NOT_FOUND"},
		{"a wrong method", "DELETE", "/v1/status", "", "", 405, "BAD_METHOD"},
		{"a read of what is written", "GET", ops, "", "", 405, "BAD_METHOD"},
		{"a method nobody has", "BREW", ops, "", "", 405, "BAD_METHOD"},

		{"an unknown parameter", "GET", "/v1/markets?limt=1", "", "", 400, "BAD_PARAMETER"},
		{"a parameter twice", "GET", "/v1/markets/BTC-USDT/book?levels=1&levels=2", "", "", 400, "BAD_PARAMETER"},
		{"a query that is none", "GET", "/v1/markets/BTC-USDT/book?levels=%zz", "", "", 400, "BAD_PARAMETER"},
		{"an absurd number", "GET", "/v1/markets/BTC-USDT/book?levels=99999999999999999999", "", "", 400, "BAD_PARAMETER"},
		{"a number below zero", "GET", "/v1/markets/BTC-USDT/trades?limit=-1", "", "", 400, "BAD_PARAMETER"},
		{"a cursor that is none", "GET", account + "/history?before=1-99999999999", "", "", 400, "BAD_PARAMETER"},
		{"an interval nobody keeps", "GET", "/v1/markets/BTC-USDT/candles?interval=7m", "", "", 400, "BAD_PARAMETER"},
		{"a market that is not there", "GET", "/v1/markets/btc-usdt/book", "", "", 404, "UNKNOWN_MARKET"},
		{"a market with a long name", "GET", "/v1/markets/" + strings.Repeat("X", 5000) + "/book", "", "", 404, "UNKNOWN_MARKET"},
		{"an account that is none", "GET", "/v1/accounts/alice", "", "", 400, "BAD_PARAMETER"},
		{"an account nobody funded", "GET", "/v1/accounts/" + accountOf("nobody").String(), "", "", 404, "UNKNOWN_ACCOUNT"},
		{"a proof that is no flag", "GET", account + "?proof=maybe", "", "", 400, "BAD_PARAMETER"},
		{"an operation's id that is no CID", "GET", ops + "/17", "", "", 400, "BAD_PARAMETER"},
		{"a CID of something else", "GET", ops + "/bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy", "", "", 400, "BAD_PARAMETER"},
		{"a CID of version 0", "GET", "/v1/blocks/QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG", "", "", 400, "BAD_PARAMETER"},
		{"a wait for something else", "GET", ops + "/" + ledger.Digest{}.String() + "?wait=pending", "", "", 400, "BAD_PARAMETER"},
		{"a commit that is no number", "GET", "/v1/commits/latest", "", "", 400, "BAD_PARAMETER"},
		{"a commit far off", "GET", "/v1/commits/9007199254740991", "", "", 404, "NO_SUCH_THING"},
		{"a commit beyond all numbers", "GET", "/v1/commits/18446744073709551615", "", "", 400, "BAD_PARAMETER"},

		{"no media type", "POST", ops, "", string(good), 415, "BAD_MEDIA_TYPE"},
		{"a form", "POST", ops, "application/x-www-form-urlencoded", "op=1", 415, "BAD_MEDIA_TYPE"},
		{"a body that is empty", "POST", ops, typeCBOR, "", 400, "BAD_BODY"},
		{"a sequence that is empty", "POST", ops, typeCBORSeq, "", 400, "BAD_BODY"},
		{"text instead of CBOR", "POST", ops, typeCBOR, `{"place":1}`, 422, "BAD_FORMAT"},
		{"a sequence that breaks off", "POST", ops, typeCBORSeq, string(good) + string(good[:40]), 400, "BAD_BODY"},
		{"a sequence of nested nothing", "POST", ops, typeCBORSeq, strings.Repeat("\x81", 100_000), 400, "BAD_BODY"},
		{"a length that promises a terabyte", "POST", ops, typeCBORSeq, "\x9b\x00\x00\x01\x00\x00\x00\x00\x00", 400, "BAD_BODY"},
		{"a string without an end", "POST", ops, typeCBORSeq, "\x5f\x41a", 400, "BAD_BODY"},
		{"two operations as one", "POST", ops, typeCBOR, string(good) + string(good), 422, "BAD_FORMAT"},
		{"too many operations", "POST", ops, typeCBORSeq, strings.Repeat("\x00", OpsMax+1), 413, "TOO_MANY_OPS"},
		{"an operation that is too large", "POST", ops, typeCBOR, strings.Repeat("a", ledger.OpBytesMax+1), 413, "TOO_LARGE"},
		{"another signature", "POST", ops, typeCBOR, alter("csig", 9), 422, "BAD_SIGNATURE"},
		{"another account", "POST", ops, typeCBOR, alter("dacct", 9), 422, "BAD_SIGNATURE"},
		{"another network", "POST", ops, typeCBOR, alter("cnet", 20), 422, "WRONG_NETWORK"},
		{"a time that has passed", "POST", ops, typeCBOR, string(stale), 422, "TIMESTAMP"},
		{"an account that has nothing", "POST", ops, typeCBOR, string(stranger), 422, "UNKNOWN_ACCOUNT"},

		{"JSON that is none", "POST", ops, typeJSON, "{", 400, "BAD_BODY"},
		{"JSON that goes on", "POST", ops, typeJSON, text + "{}", 400, "BAD_BODY"},
		{"JSON of nested nothing", "POST", ops, typeJSON, strings.Repeat("[", 10_000), 400, "BAD_BODY"},
		{"JSON that is no operation", "POST", ops, typeJSON, "[]", 422, "BAD_FORMAT"},
		{"JSON with an unknown field", "POST", ops, typeJSON, swap(`"time"`, `"note":1,"time"`), 422, "BAD_FORMAT"},
		{"JSON with an unknown action", "POST", ops, typeJSON, swap(`"place"`, `"steal"`), 422, "BAD_FORMAT"},
		{"JSON with a price beyond all prices", "POST", ops, typeJSON, swap(`"price":10000`, `"price":18446744073709551615`), 400, "BAD_BODY"},
		{"JSON with a fraction of a tick", "POST", ops, typeJSON, swap(`"price":10000`, `"price":10000.5`), 422, "BAD_FORMAT"},
		{"JSON with a price below zero", "POST", ops, typeJSON, swap(`"price":10000`, `"price":-1`), 422, "BAD_FORMAT"},
		{"JSON with another price than was signed", "POST", ops, typeJSON, swap(`"price":10000`, `"price":10001`), 422, "BAD_SIGNATURE"},
		{"JSON that is too large", "POST", ops, typeJSON, `"` + strings.Repeat("a", opJSONMax) + `"`, 413, "TOO_LARGE"},

		{"a debugger that is not there", "GET", "/debug/pprof/", "", "", 404, "NOT_FOUND"},
		{"a stream without a handshake", "GET", "/v1/stream", "", "", 426, "BAD_HANDSHAKE"},
	} {
		t.Run(c.what, func(t *testing.T) {
			r, err := http.NewRequestWithContext(t.Context(), c.method, s.base+c.path, strings.NewReader(c.body))
			if err != nil {
				// The client would not send it: so the path goes as it is.
				r, _ = http.NewRequestWithContext(t.Context(), c.method, s.base, nil)
				_, r.URL.RawQuery, _ = strings.Cut(c.path, "?")
			}
			if c.media != "" {
				r.Header.Set("Content-Type", c.media)
			}
			response, err := s.HTTP.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			raw, _ := io.ReadAll(response.Body)
			var p Problem
			if err := json.Unmarshal(raw, &p); err != nil {
				t.Fatalf("it answers %s %q", response.Status, raw)
			}
			if response.StatusCode != c.status || p.Status != c.status || p.Code != c.code {
				t.Errorf("it answers %d %s, want %d %s: %s", response.StatusCode, p.Code, c.status, c.code, p.Detail)
			}
			if response.Header.Get("Content-Type") != typeProblem || p.Detail == "" || p.Remedy == "" || p.Title == "" || p.AsOf == nil || p.AsOf.Commit != 1 {
				t.Errorf("the problem lacks something: %s", raw)
			}
			if len(raw) > 2000 {
				t.Errorf("the problem repeats what it was sent: %d bytes", len(raw))
			}
		})
	}
	// Nothing of it was taken, and the same operation is taken now; one that ran is
	// what it was.
	if n := len(s.node.pending); n != 0 {
		t.Errorf("%d operations were taken", n)
	}
	if a := ok[Ops](t)(s.Submit(t.Context(), good, replayed)); a.Ops[0].Status != OpPending || a.Ops[1].Status != OpFinal {
		t.Errorf("afterwards the answers are %+v", a.Ops)
	}
}

// TestHugeBodyIsCutEarly: of 100 MB the server takes no more than it has to.
func TestHugeBodyIsCutEarly(t *testing.T) {
	const huge = 100 << 20
	s := serve(t, testConfig())
	address := strings.TrimPrefix(s.base, "http://")
	t.Run("announced", func(t *testing.T) {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		raw := &rawConn{c, t}
		raw.say(fmt.Sprintf("POST /v1/ops HTTP/1.1\r\nHost: x\r\nContent-Type: application/cbor-seq\r\nContent-Length: %d\r\n\r\n", huge))
		if r := raw.answer(); r.StatusCode != http.StatusRequestEntityTooLarge {
			t.Errorf("it answers %s", r.Status)
		}
	})
	t.Run("in chunks", func(t *testing.T) {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		raw := &rawConn{c, t}
		raw.say("POST /v1/ops HTTP/1.1\r\nHost: x\r\nContent-Type: application/cbor-seq\r\nTransfer-Encoding: chunked\r\n\r\n")
		chunk := append(append([]byte("10000\r\n"), make([]byte, 0x10000)...), "\r\n"...)
		sent := 0
		for sent < huge {
			n, err := c.Write(chunk)
			if sent += n; err != nil {
				break
			}
		}
		// What lies in the buffers of two sockets on top of the bound.
		if sent > opsBytesMax+32<<20 {
			t.Errorf("%d bytes were taken", sent)
		}
	})
}

// TestManyIdleConnections: whoever comes finds room, and who has been idle for
// longest goes.
func TestManyIdleConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		config := testConfig()
		config.Connections, config.ConnectionsPerAddress = 20, 20
		s, listener := servePiped(t, config)
		var idle []*rawConn
		for i := range 200 {
			c := listener.raw(t)
			if i%2 == 0 { // half of them have asked something before they fell silent
				go c.say("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
				if r := c.answer(); r.StatusCode != http.StatusOK {
					t.Fatalf("connection %d gets %s", i, r.Status)
				}
			}
			synctest.Wait()
			idle = append(idle, c)
		}
		if _, err := s.Status(t.Context()); err != nil {
			t.Fatalf("there is no room: %v", err)
		}
		open := 0
		for _, c := range idle {
			c.SetReadDeadline(time.Now().Add(time.Millisecond))
			_, err := io.ReadAll(c)
			if err, ok := err.(net.Error); ok && err.Timeout() {
				open++
			}
		}
		if open > config.Connections || open < config.Connections-2 {
			t.Errorf("%d of 200 idle connections are open, %d may be", open, config.Connections)
		}
	})
}

// TestNoAddressTakesAllConnections: one that has its share of busy ones gets no
// more, and others find room.
func TestNoAddressTakesAllConnections(t *testing.T) {
	config := testConfig()
	config.Connections, config.ConnectionsPerAddress = 10, 4
	c := newConnections(&config)
	conns := make(map[string][]*from)
	dial := func(address string) (closed net.Conn) {
		conn := &from{address: address}
		conns[address] = append(conns[address], conn)
		return c.note(conn, http.StateNew)
	}
	busy := func(address string) {
		for range 4 {
			if dial(address) != nil {
				t.Fatalf("%s does not get its share", address)
			}
			c.note(conns[address][len(conns[address])-1], http.StateActive)
		}
		if closed := dial(address); closed != conns[address][4] {
			t.Errorf("of %s %v is closed, want the newest", address, closed)
		}
	}
	busy("10.0.0.1:1")
	busy("10.0.0.2:1")
	// One that is closed makes room for one.
	c.note(conns["10.0.0.1:1"][0], http.StateClosed)
	if dial("10.0.0.1:1") != nil || dial("10.0.0.1:1") == nil {
		t.Error("one that was closed makes room for none, or for two")
	}
	// Of one with only idle ones the oldest goes, and not of another.
	for i := range 5 {
		closed := dial("10.0.0.3:1")
		if i < 2 && closed != nil {
			t.Errorf("connection %d of a third address: %v is closed", i, closed)
		}
		if i >= 2 && closed == nil {
			t.Errorf("connection %d of a third address: there are too many of all", i)
		}
	}
	if len(c.open) != 10 || c.idle.Len() > 10 {
		t.Errorf("%d are open, %d idle", len(c.open), c.idle.Len())
	}
	for _, of := range conns {
		for _, conn := range of {
			c.note(conn, http.StateClosed)
		}
	}
	if len(c.open)+len(c.of)+c.idle.Len() != 0 {
		t.Errorf("of none %d are open, %d idle, of %d addresses", len(c.open), c.idle.Len(), len(c.of))
	}
}

// from is a connection of an address.
type from struct {
	net.Conn
	address string
}

func (f *from) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(f.address))
}

// TestSlowClientsAreCut: a header, a body or a reader that takes too long.
func TestSlowClientsAreCut(t *testing.T) {
	const header = "POST /v1/ops HTTP/1.1\r\nHost: x\r\nContent-Type: application/cbor\r\nContent-Length: 100\r\n\r\n"
	for _, c := range []struct {
		what string
		say  func(c *rawConn)
		most func(c *Config) time.Duration
	}{
		{"nothing said", func(*rawConn) {}, func(c *Config) time.Duration { return c.HeaderTimeout }},
		{"half a header", func(c *rawConn) { c.say("GET /v1/sta") }, func(c *Config) time.Duration { return c.HeaderTimeout }},
		{"half a body", func(c *rawConn) { c.say(header + "abc") }, func(c *Config) time.Duration { return c.RequestTimeout }},
		{"no reader", func(c *rawConn) {
			c.say("GET /v1/openapi.json HTTP/1.1\r\nHost: x\r\n\r\n")
			time.Sleep(2*DefaultConfig().RequestTimeout + time.Millisecond)
		}, func(c *Config) time.Duration { return 2 * c.RequestTimeout }},
		{"nothing more said", func(c *rawConn) {
			go c.say("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
			c.answer()
		}, func(c *Config) time.Duration { return c.IdleTimeout }},
	} {
		t.Run(c.what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				config := testConfig()
				_, listener := servePiped(t, config)
				began := time.Now()
				raw := listener.raw(t)
				c.say(raw)
				raw.cut()
				if took, most := time.Since(began), c.most(&config); took < most/2 || took > most+time.Second {
					t.Errorf("it was cut after %v, want %v", took, most)
				}
			})
		})
	}
}

// TestHeaderIsBounded: a header that never ends is cut.
func TestHeaderIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, listener := servePiped(t, testConfig())
		c := listener.raw(t)
		sent := 0
		go func() {
			io.WriteString(c, "GET /v1/status HTTP/1.1\r\nHost: x\r\n")
			for i := 0; ; i++ {
				n, err := fmt.Fprintf(c, "X-%d: %0100d\r\n", i, i)
				if sent += n; err != nil {
					return
				}
			}
		}()
		if r := c.answer(); r.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
			t.Errorf("it answers %s", r.Status)
		}
		if sent > 2*headerBytesMax {
			t.Errorf("%d bytes were taken", sent)
		}
	})
}

// TestDebugIsForThisMachine: over loopback, under a loopback name, without a proxy.
func TestDebugIsForThisMachine(t *testing.T) {
	config := testConfig()
	config.Debug = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "inside") })
	s := serve(t, config)
	for _, c := range []struct {
		host, from, header string
		status             int
	}{
		{"127.0.0.1:8080", "127.0.0.1:5", "", 200},
		{"localhost:8080", "[::1]:5", "", 200},
		{"localhost", "[::ffff:127.0.0.1]:5", "", 200},
		{"127.0.0.1:8080", "10.0.0.7:5", "", 403},
		{"evil.example", "127.0.0.1:5", "", 403},
		{"127.0.0.1", "127.0.0.1:5", "X-Forwarded-For", 403},
		{"127.0.0.1", "127.0.0.1:5", "Forwarded", 403},
	} {
		r, _ := http.NewRequestWithContext(t.Context(), "GET", "/debug/pprof/", nil)
		r.Host, r.RemoteAddr = c.host, c.from
		if c.header != "" {
			r.Header.Set(c.header, "for=10.0.0.7")
		}
		w := &written{header: make(http.Header)}
		s.server.Handler().ServeHTTP(w, r)
		if w.status != c.status {
			t.Errorf("from %s to %s with %q it answers %d, want %d", c.from, c.host, c.header, w.status, c.status)
		}
	}
}

// written is a ResponseWriter that keeps what matters.
type written struct {
	header http.Header
	status int
}

func (w *written) Header() http.Header { return w.header }
func (w *written) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
}
func (w *written) Write(b []byte) (int, error) {
	w.WriteHeader(200)
	return len(b), nil
}

// FuzzSplit: whatever a body is, it is cut into pieces that make it up, or refused.
func FuzzSplit(f *testing.F) {
	f.Add([]byte{0xa0, 0x01})
	f.Add([]byte{0x9b, 0, 0, 1, 0, 0, 0, 0, 0})
	f.Add(binary.BigEndian.AppendUint32(nil, 1<<31))
	f.Fuzz(func(t *testing.T, body []byte) {
		items, err := split(body)
		if err == nil && !bytes.Equal(bytes.Join(items, nil), body) {
			t.Errorf("%x is cut into %x", body, items)
		}
	})
}

// FuzzFromJSON: whatever is sent as JSON becomes bytes that decode to the same,
// or is refused.
func FuzzFromJSON(f *testing.F) {
	node := newFakeNode(f)
	f.Add(asJSON(f, node.signed(f, "alice", limit(ledger.Sell, 10_000, 10_000))))
	f.Add([]byte(`{"/":{"bytes":"AA"}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		op, err := fromJSON(body)
		if err != nil {
			return
		}
		if u, err := ledger.DecodeOp(op); err == nil && !bytes.Equal(u.Bytes(), op) {
			t.Errorf("%q becomes %x", body, op)
		}
	})
}
