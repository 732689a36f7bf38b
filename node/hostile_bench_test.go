package node

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-mesh/holdfast/node/api"
	"github.com/holdfast-mesh/holdfast/node/ledger"
)

// BenchmarkHostileClients measures what a client sees, from submitting an operation
// until it is final, while others at the same node do their worst: ten thousand
// silent connections, bodies of 100 MB, nonsense, unknown paths, and readers that do
// not read. It alternates with calm and reports both and their ratio: the others'
// latency at most doubles.
func BenchmarkHostileClients(b *testing.B) {
	c := newCluster(b, 4)
	c.untilQuorum()
	client, err := api.NewClient("http://" + c.nodes[0].APIAddr())
	if err != nil {
		b.Fatal(err)
	}
	var calm, hostile []time.Duration
	for b.Loop() {
		for range 3 {
			calm = append(calm, c.latencies(client)...)
			end := attack(b, c.nodes[0].APIAddr())
			hostile = append(hostile, c.latencies(client)...)
			end()
		}
	}
	slices.Sort(calm)
	slices.Sort(hostile)
	of := func(sorted []time.Duration, share float64) float64 {
		return float64(sorted[int(share*float64(len(sorted)-1))].Microseconds()) / 1000
	}
	for name, share := range map[string]float64{"p50": 0.5, "p99": 0.99} {
		b.ReportMetric(of(calm, share), name+"-calm-ms")
		b.ReportMetric(of(hostile, share), name+"-hostile-ms")
		b.ReportMetric(of(hostile, share)/of(calm, share), name+"-ratio")
	}
	b.ReportMetric(0, "ns/op")
}

// latencies are how long each of 150 operations took, asked for at 30 a second.
func (c *cluster) latencies(client *api.Client) []time.Duration {
	to := ledger.AccountOf(c.faucet).String()
	took := make([]time.Duration, 150)
	var work sync.WaitGroup
	for i := range took {
		raw := c.op(c.traders[i%len(c.traders)], "transfer 0.000001 USDT to "+to)
		began := time.Now()
		work.Go(func() {
			if _, err := client.SubmitWait(context.Background(), raw); err != nil {
				c.t.Error(err)
			}
			took[i] = time.Since(began)
		})
		time.Sleep(time.Second / 30)
	}
	work.Wait()
	return took
}

// attack does to a node's API what it must bear, from an address of its own, until
// end is called.
func attack(t testing.TB, addr string) (end func()) {
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
	ctx, cancel := context.WithCancel(t.Context())
	var mu sync.Mutex
	var open []net.Conn
	dial := func() (net.Conn, error) {
		conn, err := dialer.DialContext(ctx, "tcp", addr)
		if err == nil {
			mu.Lock()
			open = append(open, conn)
			mu.Unlock()
		}
		return conn, err
	}
	for i := range 10_000 {
		if _, err := dial(); err != nil {
			t.Fatalf("silent connection %d: %v", i, err)
		}
	}
	h := &http.Client{Transport: &http.Transport{DialContext: dialer.DialContext, DisableKeepAlives: true}}
	request := func(method, path string, body func() io.Reader) func() {
		return func() {
			var r io.Reader
			if body != nil {
				r = body()
			}
			q, err := http.NewRequestWithContext(ctx, method, "http://"+addr+path, r)
			if err != nil {
				t.Error(err)
				return
			}
			if answer, err := h.Do(q); err == nil {
				io.Copy(io.Discard, answer.Body)
				answer.Body.Close()
			}
		}
	}
	huge := make([]byte, 100<<20)
	var work sync.WaitGroup
	for _, do := range []func(){
		request(http.MethodPost, "/v1/ops", func() io.Reader { return bytes.NewReader(huge) }),
		request(http.MethodPost, "/v1/ops", func() io.Reader { return bytes.NewReader([]byte(`{"ops":["AAAA", 7, {"a":`)) }),
		request(http.MethodGet, "/no/such/path", nil),
		request(http.MethodGet, "/v1/accounts/nobody", nil),
		func() { // asks, and reads nothing
			if conn, err := dial(); err == nil {
				fmt.Fprint(conn, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
			}
		},
	} {
		work.Go(func() {
			for tick := time.NewTicker(50 * time.Millisecond); ctx.Err() == nil; <-tick.C {
				do()
			}
		})
	}
	return func() {
		cancel()
		work.Wait()
		for _, conn := range open {
			conn.Close()
		}
	}
}
