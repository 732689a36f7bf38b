package mesh

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/holdfast-mesh/holdfast/p2p"
)

// BenchmarkResolve is a resolve and a choice from memory, of names with so many
// instances, while others' beats come in.
func BenchmarkResolve(b *testing.B) {
	n := startNodes(b, 1, nil)[0]
	for _, size := range []int{3, 100, 1000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			name := fmt.Sprintf("bench-%d", size)
			beats := make([]*Record, size)
			for i := range beats {
				beats[i] = record(b, i, func(c *Claim) { c.Name, c.Epoch, c.IssuedMs = name, 1, uint64(time.Now().UnixMilli()) })
				n.take(beats[i], ByMemory, n.self)
			}
			next := 0
			for b.Loop() {
				if next++; next%1000 == 0 { // a beat every thousand calls
					i := next / 1000 % size
					beats[i] = record(b, i, func(c *Claim) {
						c.Name, c.Stamp, c.IssuedMs = name, Stamp{1, beats[i].Seq + 1}, uint64(time.Now().UnixMilli())
					})
					n.take(beats[i], ByMemory, n.self)
				}
				c, err := n.begin(name, avoid{})
				if err != nil {
					b.Fatal(err)
				}
				c.seat.edge.inflight.Add(-1)
			}
		})
	}
}

// proxyPair is an owner and a caller, and a bare stream protocol between them.
type proxyPair struct {
	owner, caller *testNode
}

func startPair(b *testing.B, services ...Service) proxyPair {
	b.Helper()
	nodes := startNodes(b, 2, nil)
	p := proxyPair{nodes[0], nodes[1]}
	if err := p.owner.host.Handle("bench", func(c *p2p.Conn) { io.Copy(io.Discard, c) }); err != nil {
		b.Fatal(err)
	}
	for _, s := range services {
		if err := p.owner.Register(s); err != nil {
			b.Fatal(err)
		}
	}
	for _, s := range services {
		eventually(b, "known", func() bool { return p.caller.states(s.Name)[Serving] == 1 })
	}
	return p
}

// sinkServer takes whatever is sent, and says how much at the end of each.
func sinkServer(b *testing.B, done chan<- int64) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				n, _ := io.CopyBuffer(onlyWriter{io.Discard}, onlyReader{c}, make([]byte, spliceBytes))
				if n > 0 {
					done <- n
				}
			}()
		}
	}()
	return l.Addr().String()
}

// pump writes total bytes and returns how long it took until all were read.
func pump(b *testing.B, c net.Conn, total int64, read func() int64) time.Duration {
	b.Helper()
	chunk := make([]byte, spliceBytes)
	began := time.Now()
	for left := total; left > 0; {
		n, err := c.Write(chunk[:min(left, int64(len(chunk)))])
		if err != nil {
			b.Fatal(err)
		}
		left -= int64(n)
	}
	if err := closeWrite(c); err != nil {
		b.Fatal(err)
	}
	if got := read(); got != total {
		b.Fatalf("%d bytes of %d arrived", got, total)
	}
	return time.Since(began)
}

// BenchmarkProxy compares what goes through the proxies with what goes without.
func BenchmarkProxy(b *testing.B) {
	b.Run("tcp", benchmarkProxyTCP)
	b.Run("latency", benchmarkProxyLatency)
}

// benchmarkProxyTCP sends the same through a proxied TCP connection and through a
// bare stream between the same two hosts, in turn.
func benchmarkProxyTCP(b *testing.B) {
	const total = 64 << 20
	done := make(chan int64, 1)
	p := startPair(b, Service{Name: "sink", To: sinkServer(b, done), Check: "none"})
	bareDone := make(chan int64, 1)
	if err := p.owner.host.Handle("sink", func(c *p2p.Conn) {
		n, _ := io.CopyBuffer(onlyWriter{io.Discard}, onlyReader{c}, make([]byte, spliceBytes))
		bareDone <- n
	}); err != nil {
		b.Fatal(err)
	}
	proxy := p.caller.proxyTCP(b, "sink")
	var proxied, bare time.Duration
	for b.Loop() {
		c, err := net.Dial("tcp", proxy)
		if err != nil {
			b.Fatal(err)
		}
		proxied += pump(b, c, total, func() int64 { return <-done })
		c.Close()
		s, err := p.caller.host.Dial(b.Context(), p.owner.addr, "sink")
		if err != nil {
			b.Fatal(err)
		}
		bare += pump(b, s, total, func() int64 { return <-bareDone })
		s.Close()
	}
	bytes := float64(b.N) * total / 1e6
	b.ReportMetric(bytes/proxied.Seconds(), "proxied-MB/s")
	b.ReportMetric(bytes/bare.Seconds(), "bare-MB/s")
	b.ReportMetric(100*bare.Seconds()/proxied.Seconds(), "%-of-bare")
	b.ReportMetric(0, "ns/op")
}

// benchmarkProxyLatency asks an HTTP server directly and through the proxy, in turn.
func benchmarkProxyLatency(b *testing.B) {
	web := startWeb(b, "one")
	p := startPair(b, web.service("pricefeed"))
	proxy := p.caller.proxyHTTP(b)
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1}}
	ask := func(address string) time.Duration {
		r, err := http.NewRequestWithContext(b.Context(), http.MethodGet, "http://"+address+"/", nil)
		if err != nil {
			b.Fatal(err)
		}
		r.Host = "pricefeed.mesh"
		began := time.Now()
		answer, err := client.Do(r)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, answer.Body); err != nil || answer.StatusCode != http.StatusOK {
			b.Fatalf("%s, %v", answer.Status, err)
		}
		answer.Body.Close()
		return time.Since(began)
	}
	direct, through := []time.Duration{}, []time.Duration{}
	for range 50 { // connections, buffers
		ask(web.Listener.Addr().String())
		ask(proxy)
	}
	for b.Loop() {
		if rand.IntN(2) == 0 {
			direct = append(direct, ask(web.Listener.Addr().String()))
			through = append(through, ask(proxy))
		} else {
			through = append(through, ask(proxy))
			direct = append(direct, ask(web.Listener.Addr().String()))
		}
	}
	at := func(d []time.Duration, q float64) float64 {
		slices.Sort(d)
		return float64(d[int(q*float64(len(d)-1))]) / 1e6
	}
	b.ReportMetric(at(direct, .5), "direct-p50-ms")
	b.ReportMetric(at(through, .5), "proxied-p50-ms")
	b.ReportMetric(at(through, .5)-at(direct, .5), "added-p50-ms")
	b.ReportMetric(at(through, .99), "proxied-p99-ms")
	b.ReportMetric(0, "ns/op")
}
