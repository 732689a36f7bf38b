package mesh

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-mesh/holdfast/p2p"
)

// webService is a real HTTP server that says who calls and who it is.
type webService struct {
	*httptest.Server
	sick  atomic.Bool
	calls atomic.Int64
}

func startWeb(t testing.TB, id string) *webService {
	t.Helper()
	s := &webService{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/healthz" {
			if s.sick.Load() {
				w.WriteHeader(http.StatusInternalServerError)
			}
			return
		}
		s.calls.Add(1)
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s|%s|%s|%s", id, r.Header.Get(HeaderPeer), r.Host, body)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *webService) service(name string) Service {
	return Service{Name: name, To: s.Listener.Addr().String(), Check: "http:/healthz"}
}

// startLines is a TCP server that answers each line, and says first who it is.
func startLines(t testing.TB, id string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer c.Close()
				for lines := bufio.NewScanner(c); lines.Scan(); {
					fmt.Fprintf(c, "%s: %s\n", id, lines.Text())
				}
			})
		}
	})
	t.Cleanup(func() { l.Close(); serving.Wait() })
	return l.Addr().String()
}

// Everybody knows a service soon after it is registered, that it fails, that it
// is well again, and that it has gone.
func TestNewsReachEverybody(t *testing.T) {
	nodes := startNodes(t, 4, nil)
	web := startWeb(t, "one")
	if err := nodes[0].Register(web.service("pricefeed")); err != nil {
		t.Fatal(err)
	}
	everywhere := func(what string, state State, n int) {
		t.Helper()
		eventually(t, what, func() bool {
			for _, node := range nodes {
				if node.states("pricefeed")[state] != n {
					return false
				}
			}
			return true
		})
	}
	everywhere("serving", Serving, 1)
	web.sick.Store(true)
	everywhere("failing", Failing, 1)
	web.sick.Store(false)
	everywhere("serving again", Serving, 1)
	if err := nodes[0].Deregister(testContext(t), "pricefeed"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "gone", func() bool {
		for _, node := range nodes {
			if a := node.Resolve("pricefeed"); len(a.Instances) > 0 || !a.Found {
				return false
			}
		}
		return true
	})
}

// With gossip off, peers are asked when they come, and each other later.
func TestPeersAreAskedWhereGossipMisses(t *testing.T) {
	nodes := startNodes(t, 3, func(_ int, s *nodeSetup) {
		s.host.Gossip = false
		s.mesh.SyncEvery = 100 * time.Millisecond
	})
	for i, n := range nodes {
		if err := n.Register(startWeb(t, fmt.Sprint(i)).service("pricefeed")); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "all know all", func() bool {
		for _, n := range nodes {
			if n.states("pricefeed")[Serving] != 3 {
				return false
			}
		}
		return true
	})
	eventually(t, "nobody is unsure", func() bool {
		for _, n := range nodes {
			if n.Resolve("pricefeed").Stale {
				return false
			}
		}
		return true
	})
}

// A node whose only peer knows of no services finds them in the DHT, and calls
// them.
func TestColdStartFindsServicesInTheDHT(t *testing.T) {
	hub := setupNode(t, 0)
	hub.bare = true
	hubNode := startNode(t, hub)
	t.Cleanup(hubNode.stop)
	apart := func(i int) *testNode {
		s := setupNode(t, i)
		s.host.Bundle = []p2p.Peer{hubNode.addr}
		n := startNode(t, s)
		t.Cleanup(n.stop)
		return n
	}
	owner, seeker := apart(1), apart(2)
	if err := owner.Register(Service{Name: "lines", To: startLines(t, "far")}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the seeker finds it", func() bool { return len(seeker.Resolve("lines").Usable()) == 1 })
	conn, r, err := seeker.Dial(testContext(t), "lines")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if r.Owner != owner.addr.ID {
		t.Errorf("dialled %s", r.Owner)
	}
	fmt.Fprintln(conn, "hello")
	if line, err := bufio.NewReader(conn).ReadString('\n'); line != "far: hello\n" || err != nil {
		t.Errorf("%q, %v", line, err)
	}
}

// proxyTCP runs a TCP proxy of a node and returns its address.
func (n *testNode) proxyTCP(t testing.TB, name string) string {
	t.Helper()
	return n.proxy(t, func(l net.Listener) error { return n.ServeTCP(t.Context(), l, name) })
}

func (n *testNode) proxyHTTP(t testing.TB) string {
	t.Helper()
	return n.proxy(t, func(l net.Listener) error { return n.ServeHTTP(t.Context(), l) })
}

func (n *testNode) proxy(t testing.TB, serve func(net.Listener) error) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- serve(l) }()
	t.Cleanup(func() {
		if err := <-done; err != nil {
			t.Errorf("proxy: %v", err)
		}
	})
	return l.Addr().String()
}

// get asks the HTTP proxy for a service and returns the answer's parts.
func get(t testing.TB, proxy, name string, change func(*http.Request)) (parts []string, code int) {
	t.Helper()
	r, err := http.NewRequestWithContext(testContext(t), http.MethodGet, "http://"+proxy+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = name + ".mesh"
	if change != nil {
		change(r)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(string(body), "|"), answer.StatusCode
}

func TestTCPProxy(t *testing.T) {
	nodes := startNodes(t, 2, nil)
	if err := nodes[0].Register(Service{Name: "lines", To: startLines(t, "first")}); err != nil {
		t.Fatal(err)
	}
	proxy := nodes[1].proxyTCP(t, "lines")
	eventually(t, "known", func() bool { return nodes[1].states("lines")[Serving] == 1 })
	conn, err := net.Dial("tcp", proxy)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	answers := bufio.NewScanner(conn)
	for i := range 100 {
		fmt.Fprintf(conn, "line %d\n", i)
		if want := fmt.Sprintf("first: line %d", i); !answers.Scan() || answers.Text() != want {
			t.Fatalf("%q, want %q, %v", answers.Text(), want, answers.Err())
		}
	}
	// An end is passed on as an end.
	fmt.Fprint(conn, "the last")
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if !answers.Scan() || answers.Text() != "first: the last" || answers.Scan() || answers.Err() != nil {
		t.Errorf("after the end: %q, %v", answers.Text(), answers.Err())
	}
}

// The instance is told who calls, and not by the caller.
func TestHTTPProxySaysWhoCalls(t *testing.T) {
	nodes := startNodes(t, 2, nil)
	web := startWeb(t, "one")
	if err := nodes[0].Register(web.service("pricefeed")); err != nil {
		t.Fatal(err)
	}
	for i, n := range nodes { // the owner's own node too
		parts, code := get(t, n.proxyHTTP(t), "pricefeed", func(r *http.Request) {
			r.Header.Set(HeaderPeer, "somebody else")
			r.Method, r.Body = http.MethodPost, io.NopCloser(strings.NewReader("question"))
		})
		want := []string{"one", n.addr.ID.String(), "pricefeed.mesh", "question"}
		if code != 200 || fmt.Sprint(parts) != fmt.Sprint(want) {
			t.Errorf("node %d: %d %q, want %q", i, code, parts, want)
		}
	}
	if _, code := get(t, nodes[1].proxyHTTP(t), "pricefeed", func(r *http.Request) { r.Host = "example.com" }); code != http.StatusBadRequest {
		t.Errorf("a foreign host: %d", code)
	}
}

// A policy is observed before it is enforced, and a deny beats all.
func TestPolicyDecidesWhoCalls(t *testing.T) {
	nodes := startNodes(t, 3, nil)
	owner, friend, stranger := nodes[0], nodes[1], nodes[2]
	if err := owner.Register(startWeb(t, "one").service("pricefeed")); err != nil {
		t.Fatal(err)
	}
	proxies := map[*testNode]string{friend: friend.proxyHTTP(t), stranger: stranger.proxyHTTP(t)}
	expect := func(when string, n *testNode, want int) {
		t.Helper()
		if parts, code := get(t, proxies[n], "pricefeed", nil); code != want {
			t.Errorf("%s: %d %q, want %d", when, code, parts, want)
		}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	expect("no policy", stranger, 200)
	must(owner.Allow("pricefeed", friend.addr.ID.String()))
	expect("observed", stranger, 200)
	if d, err := owner.Authz(stranger.addr.ID, "pricefeed"); err != nil || !d.Allowed || d.Would {
		t.Errorf("%+v, %v", d, err)
	}
	must(owner.SetMode("pricefeed", ModeEnforce))
	expect("enforced", friend, 200)
	expect("enforced, on a stream that was let in before", stranger, 403)
	stranger.restartHTTP(t, proxies)
	expect("enforced, on a new stream", stranger, 403)
	must(owner.Deny("pricefeed", friend.addr.ID.String()))
	expect("denied, on a stream that was let in before", friend, 403)
	for _, who := range []string{"", "not a name!", "12D3KooWbroken"} {
		if err := owner.Allow("pricefeed", who); err == nil {
			t.Errorf("a rule for %q", who)
		}
	}
	if err := friend.Allow("pricefeed", "validator"); err == nil {
		t.Error("a policy is changed where the service is not")
	}
}

// restartHTTP takes a proxy without connections that were let in before.
func (n *testNode) restartHTTP(t testing.TB, proxies map[*testNode]string) {
	proxies[n] = n.proxyHTTP(t)
}
