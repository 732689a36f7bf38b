package api

import (
	"bytes"
	"context"
	"net/http"
	"testing"

	"github.com/holdfast-mesh/holdfast/node/ledger"
)

// taker is a node whose Submit costs nothing, so that what is measured is the API.
type taker struct{ *fakeNode }

func (n taker) Submit(_ context.Context, ops [][]byte) ([]OpStatus, error) {
	all := make([]OpStatus, len(ops))
	for i := range ops {
		all[i] = OpStatus{ID: ledger.Digest{byte(i)}, State: OpPending, ExpiresMs: startMs}
	}
	return all, nil
}

func benchServer(b *testing.B) (*Server, []byte) {
	node := newFakeNode(b)
	config := testConfig()
	config.Requests, config.Ops = 1e9, 1e9
	server, err := New(taker{node}, config)
	if err != nil {
		b.Fatal(err)
	}
	return server, node.signed(b, "alice", limit(ledger.Sell, 10_000, 10_000))
}

// BenchmarkSubmit is what the API adds to taking operations, without the
// connection: cutting the sequence, asking the backend, writing the answer.
func BenchmarkSubmit(b *testing.B) {
	for _, c := range []struct {
		name  string
		media string
		ops   int
	}{{"alone", typeCBOR, 1}, {"sequence of 64", typeCBORSeq, 64}, {"sequence of 512", typeCBORSeq, 512}} {
		b.Run(c.name, func(b *testing.B) {
			server, op := benchServer(b)
			body := bytes.Repeat(op, c.ops)
			b.ReportAllocs()
			for b.Loop() {
				r, _ := http.NewRequest(http.MethodPost, "/v1/ops", bytes.NewReader(body))
				r.Header.Set("Content-Type", c.media)
				r.RemoteAddr = "127.0.0.1:5"
				w := &written{header: make(http.Header)}
				if server.Handler().ServeHTTP(w, r); w.status != http.StatusOK {
					b.Fatal(w.status)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*c.ops), "ns/op-taken")
		})
	}
}

// BenchmarkSubmitOverLoopback is the same with client, connection and server in
// one process: what one operation a request costs is mostly HTTP.
func BenchmarkSubmitOverLoopback(b *testing.B) {
	for _, c := range []struct {
		name string
		ops  int
	}{{"alone", 1}, {"sequence of 512", 512}} {
		b.Run(c.name, func(b *testing.B) {
			config := testConfig()
			config.Requests, config.Ops = 1e9, 1e9
			s := serve(b, config)
			s.server.backend = taker{s.node}
			op := s.node.signed(b, "alice", limit(ledger.Sell, 10_000, 10_000))
			ops := make([][]byte, c.ops)
			for i := range ops {
				ops[i] = op
			}
			for b.Loop() {
				if _, err := s.Submit(b.Context(), ops...); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*c.ops), "ns/op-taken")
		})
	}
}

// fill fills a book, so that answers are as long as they get.
func fill(b *testing.B, f *fakeNode) {
	for price := range ledger.Ticks(150) {
		for _, order := range []ledger.Action{limit(ledger.Buy, 10_000, 9_000-price), limit(ledger.Sell, 10_000, 11_000+price)} {
			f.take(f.signed(b, "alice", order))
		}
		f.commit()
	}
}

// BenchmarkBook is a read of 50 levels a side: of a commit somebody has read
// already, and of a new one each time.
func BenchmarkBook(b *testing.B) {
	for _, fresh := range []bool{false, true} {
		name := "kept"
		if fresh {
			name = "fresh"
		}
		b.Run(name, func(b *testing.B) {
			server, _ := benchServer(b)
			fill(b, server.backend.(taker).fakeNode)
			r, _ := http.NewRequest(http.MethodGet, "/v1/markets/BTC-USDT/book", nil)
			r.RemoteAddr = "127.0.0.1:5"
			b.ReportAllocs()
			for b.Loop() {
				if fresh {
					server.books.of = nil
				}
				w := &written{header: make(http.Header)}
				if server.Handler().ServeHTTP(w, r); w.status != http.StatusOK {
					b.Fatal(w.status)
				}
			}
		})
	}
}

// BenchmarkStreams is a commit with a trade, told to a hundred streams of the
// book and of trades.
func BenchmarkStreams(b *testing.B) {
	s := serve(b, testConfig())
	const many = 100
	var all []*Stream
	for range many {
		stream := s.open(b, Subscription{Channel: ChannelTrades, Market: "BTC-USDT"}, Subscription{Channel: ChannelBook, Market: "BTC-USDT"})
		stream.next(b, MessageSnapshot, ChannelTrades)
		stream.next(b, MessageSnapshot, ChannelBook)
		all = append(all, stream)
	}
	for b.Loop() {
		s.node.take(s.node.signed(b, "alice", limit(ledger.Sell, 10_000, 10_000)))
		s.node.take(s.node.signed(b, "bob", limit(ledger.Buy, 10_000, 10_000)))
		s.node.take(s.node.signed(b, "carol", limit(ledger.Buy, 10_000, 9_000+ledger.Ticks(b.N%100))))
		s.node.commit()
		for _, stream := range all {
			stream.next(b, MessageUpdate, ChannelTrades)
			stream.next(b, MessageUpdate, ChannelBook)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*many), "us/stream")
}
