package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-mesh/holdfast/node/mesh"
)

// listening runs a command that listens until the test ends, and returns where.
func listening(t *testing.T, args ...string) string {
	t.Helper()
	ctx, end := context.WithCancel(t.Context())
	r, w := io.Pipe()
	var stderr bytes.Buffer
	ended := make(chan int, 1)
	go func() {
		code := run(ctx, append(args, "--json"), w, &stderr)
		w.Close()
		ended <- code
	}()
	t.Cleanup(func() { end(); <-ended })
	var l mesh.Listening
	if err := json.NewDecoder(r).Decode(&l); err != nil {
		t.Fatalf("%q: %v: %s", args, err, &stderr)
	}
	return l.At
}

// feed is an HTTP server of the exchange that counts its calls.
type feed struct {
	*httptest.Server
	provider string
	calls    atomic.Int64
}

func startFeed(t *testing.T, provider string) *feed {
	f := &feed{provider: provider}
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/healthz" {
			f.calls.Add(1)
			fmt.Fprintf(w, "%s for %s", provider, r.Host)
		}
	}))
	t.Cleanup(f.Close)
	return f
}

// askers call a service through the HTTP proxy, so many at a time. They ask what must
// not be done twice, so that a request which may have arrived is not tried again.
type askers struct {
	answered, failed atomic.Int64
}

func (a *askers) start(t *testing.T, proxy string, n int) {
	ctx, end := context.WithCancel(context.Background())
	var all sync.WaitGroup
	for range n {
		all.Go(func() {
			for ctx.Err() == nil {
				switch err := askOnce(ctx, proxy); {
				case ctx.Err() != nil:
				case err != nil:
					a.failed.Add(1)
				default:
					a.answered.Add(1)
				}
			}
		})
	}
	t.Cleanup(func() { end(); all.Wait() })
}

func askOnce(ctx context.Context, proxy string) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+proxy+"/", strings.NewReader("once"))
	if err != nil {
		return err
	}
	r.Host = "pricefeed.mesh"
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		return err
	}
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s", answer.Status)
	}
	return nil
}

// byName asks for a name of the zone mesh as a program does that has never heard of
// Holdfast: DNS, then HTTP.
func byName(t *testing.T, dns, proxyPort string) string {
	t.Helper()
	resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, dns)
	}}
	client := &http.Client{Transport: &http.Transport{DialContext: (&net.Dialer{Resolver: resolver}).DialContext, DisableKeepAlives: true}}
	answer, err := client.Get("http://pricefeed.mesh:" + proxyPort + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// Three HTTP servers behind one name at three providers, called by curl and by the DNS
// name through the commands of a fourth. One provider is cut off, silently: at most
// the requests in flight fail, and none after; the others notice too; when it is
// healed traffic returns.
func TestServicesThroughACut(t *testing.T) {
	if testing.Short() {
		t.Skip("four real nodes")
	}
	const inFlight = 4
	h := holdUp(t)
	svc := func(node int, args ...string) []string {
		return append([]string{"svc", "--data-dir", h.manifest.Nodes[node].Dir}, args...)
	}
	feeds := make([]*feed, len(h.manifest.Nodes))
	for i := 1; i < len(feeds); i++ {
		feeds[i] = startFeed(t, h.manifest.Nodes[i].Provider)
		must(t, svc(i, "register", "pricefeed", "--to", feeds[i].Listener.Addr().String(), "--check", "http:/healthz")...)
	}
	seen := func(node int) (v mesh.Resolution) {
		t.Helper()
		if err := json.Unmarshal([]byte(must(t, svc(node, "resolve", "pricefeed", "--json")...)), &v); err != nil {
			t.Fatal(err)
		}
		return v
	}
	eventually(t, "the caller knows all three", func() bool {
		v := mesh.Resolution{}
		out, _, _ := call(t, svc(0, "resolve", "pricefeed", "--json")...)
		return json.Unmarshal([]byte(out), &v) == nil && len(v.Instances) == 3 && !v.Stale
	})
	proxy := listening(t, svc(0, "http", "--listen", "127.0.0.1:0")...)
	_, port, _ := net.SplitHostPort(proxy)
	dns := listening(t, svc(0, "dns", "--listen", "127.0.0.1:0", "--http-port", port)...)

	wants(t, byName(t, dns, port), "for pricefeed.mesh:"+port)
	if curl, err := exec.LookPath("curl"); err != nil {
		t.Log("curl is not installed: Go's client alone has asked")
	} else {
		for _, args := range [][]string{
			{"-H", "Host: pricefeed.mesh", "http://" + proxy + "/"},
			{"--resolve", "pricefeed.mesh:" + port + ":127.0.0.1", "http://pricefeed.mesh:" + port + "/"},
		} {
			out, err := exec.Command(curl, append([]string{"-sS", "--fail", "--noproxy", "*"}, args...)...).CombinedOutput()
			if err != nil || !strings.Contains(string(out), "for pricefeed.mesh") {
				t.Errorf("curl %q: %v: %s", args, err, out)
			}
		}
	}

	var load askers
	load.start(t, proxy, inFlight)
	eventually(t, "all three are called", func() bool {
		return feeds[1].calls.Load() > 20 && feeds[2].calls.Load() > 20 && feeds[3].calls.Load() > 20
	})
	if n := load.failed.Load(); n != 0 {
		t.Fatalf("%d requests failed before anything happened", n)
	}

	gone := h.manifest.Nodes[1]
	began := time.Now()
	h.do(t, "cut", gone.Provider)
	for _, other := range []int{2, 3} { // they have not called it at all
		eventually(t, "the others notice", func() bool {
			for _, in := range seen(other).Instances {
				if in.Provider == gone.Provider {
					return strings.Contains(strings.Join(in.Why, "; "), "the connection with its owner was lost")
				}
			}
			return false
		})
		t.Logf("node %d, which does not call it, puts it behind the others %v after the cut", other, time.Since(began).Round(time.Millisecond))
	}
	answered := load.answered.Load()
	eventually(t, "requests go on", func() bool { return load.answered.Load() > answered+200 })
	failed := load.failed.Load()
	if failed > inFlight {
		t.Errorf("%d requests failed: at most the %d in flight may", failed, inFlight)
	}
	answered = load.answered.Load()
	eventually(t, "requests go on without it", func() bool { return load.answered.Load() > answered+500 })

	calls, all := feeds[1].calls.Load(), load.answered.Load()
	h.do(t, "heal")
	eventually(t, "traffic returns", func() bool { return feeds[1].calls.Load() > calls+20 })
	t.Logf("of the first %d requests since it was healed it got %d", load.answered.Load()-all, feeds[1].calls.Load()-calls)
	if n := load.failed.Load(); n != failed {
		t.Errorf("%d requests failed after the first failure was noticed", n-failed)
	}
}
