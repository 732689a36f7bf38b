package p2p

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// spread is a set of durations shown by its percentiles.
type spread []time.Duration

func (s spread) at(p float64) time.Duration {
	if len(s) == 0 {
		return 0
	}
	sorted := slices.Clone(s)
	slices.Sort(sorted)
	return sorted[min(len(sorted)-1, int(p*float64(len(sorted))))]
}

func (s spread) String() string {
	return fmt.Sprintf("p50 %v p99 %v max %v of %d", s.at(.5).Round(time.Microsecond), s.at(.99).Round(time.Microsecond),
		s.at(1).Round(time.Microsecond), len(s))
}

// clock stamps blocks with the time they were made and collects how long they took.
type clock struct {
	start time.Time

	mu    sync.Mutex
	took  spread
	count int
	bytes int
	more  chan struct{}
}

func newClock() *clock { return &clock{start: time.Now(), more: make(chan struct{}, 1)} }

func (c *clock) stamp(data []byte) {
	binary.BigEndian.PutUint64(data[8:], uint64(time.Since(c.start)))
}

func (c *clock) read(data []byte) {
	took := time.Since(c.start) - time.Duration(binary.BigEndian.Uint64(data[8:]))
	c.mu.Lock()
	c.took = append(c.took, took)
	c.count++
	c.bytes += len(data)
	c.mu.Unlock()
	signal(c.more)
}

// wait waits until n blocks are there; a gossip message may be lost for good.
func (c *clock) wait(b *testing.B, n int) {
	lost := time.After(10 * time.Second)
	for {
		c.mu.Lock()
		enough := c.count >= n
		c.mu.Unlock()
		if enough {
			return
		}
		select {
		case <-c.more:
		case <-lost:
			c.mu.Lock()
			defer c.mu.Unlock()
			b.Fatalf("%d of %d blocks are there", c.count, n)
		}
	}
}

// taker is a Blocks that keeps only what is on its way: what is measured is the way.
type taker struct {
	*shelf
	take func(Block)
}

// takerKeeps is more blocks than are ever in flight.
const takerKeeps = 2 * inFlightMessages

func (m *taker) send(h *Host, b Block) {
	m.mu.Lock()
	m.own = append(m.own, b)
	if len(m.own) > takerKeeps {
		m.own = slices.Clone(m.own[takerKeeps/2:])
	}
	m.mu.Unlock()
	h.Broadcast(b)
}

func (m *taker) Receive(_ context.Context, _ peer.ID, b Block) error {
	m.mu.Lock()
	known := b.Round <= m.last[b.Author]
	m.last[b.Author] = max(m.last[b.Author], b.Round)
	m.mu.Unlock()
	if !known {
		m.take(b)
	}
	return nil
}

var sizes = []struct {
	name  string
	bytes int
}{{"1KiB", 1 << 10}, {"64KiB", 64 << 10}, {"512KiB", 512 << 10}}

// BenchmarkStream sends blocks from one host to three others on loopback. Latency
// is of one block at a time, from Broadcast to Receive; goodput is of blocks sent
// as fast as the three take them, counted at all three.
func BenchmarkStream(b *testing.B) {
	for _, size := range sizes {
		b.Run(size.name, func(b *testing.B) {
			clock := newClock()
			all := startCommittee(b, 4, nil, func(i int, c *Config) {
				c.Blocks = &taker{newShelf(), func(b Block) { clock.read(b.Data) }}
			})
			eventually(b, "streams stand", func() bool { return streamsAll(all) })
			store := all[0].config.Blocks.(*taker)
			measure(b, clock, size.bytes, func(round uint64, data []byte) {
				store.send(all[0].Host, Block{Author: all[0].ID(), Round: round, CID: object(data[:8]).CID, Data: data})
			})
		})
	}
}

// BenchmarkGossip is the same by gossip.
func BenchmarkGossip(b *testing.B) {
	for _, size := range sizes {
		b.Run(size.name, func(b *testing.B) {
			clock := newClock()
			all := startCommittee(b, 4, nil, func(_ int, c *Config) { c.Gossip = true })
			for _, p := range all {
				err := p.Join(TopicBlocks, Topic{
					Check:   func(context.Context, peer.ID, []byte) Verdict { return Accept },
					Deliver: func(_ peer.ID, data []byte) { clock.read(data) },
				})
				if err != nil {
					b.Fatal(err)
				}
			}
			eventually(b, "the mesh stands", func() bool {
				for _, p := range all {
					if len(p.gossip.pubsub.ListPeers(p.gossip.name(TopicBlocks))) < 3 {
						return false
					}
				}
				return true
			})
			time.Sleep(2 * time.Second) // the library forms its mesh at its heartbeat, unseen
			measure(b, clock, size.bytes, func(_ uint64, data []byte) {
				if err := all[0].Publish(b.Context(), TopicBlocks, data); err != nil {
					b.Fatal(err)
				}
			})
		})
	}
}

const receivers = 3

// What is sent and not yet received everywhere: bytes, and messages, of which
// gossip drops those that do not fit its queues.
const (
	inFlightBytes    = 4 << 20
	inFlightMessages = 256
)

func measure(b *testing.B, clock *clock, bytes int, send func(round uint64, data []byte)) {
	round := uint64(0)
	next := func() {
		round++
		data := make([]byte, bytes)
		binary.BigEndian.PutUint64(data, round)
		clock.stamp(data)
		send(round, data)
	}
	for range 20 { // pools, windows
		next()
		clock.wait(b, int(round)*receivers)
	}
	clock.mu.Lock()
	clock.took = nil
	clock.mu.Unlock()
	for range max(50, min(b.N, 1000)) {
		next()
		clock.wait(b, int(round)*receivers)
	}
	clock.mu.Lock()
	latency := clock.took
	clock.mu.Unlock()

	b.ResetTimer()
	began := time.Now()
	for range b.N {
		next()
		clock.wait(b, (int(round)-max(1, min(inFlightMessages, inFlightBytes/bytes)))*receivers)
	}
	clock.wait(b, int(round)*receivers)
	goodput := float64(b.N) * float64(bytes) * receivers / time.Since(began).Seconds()
	b.StopTimer()
	b.ReportMetric(float64(latency.at(.5))/1e6, "p50-ms")
	b.ReportMetric(float64(latency.at(.99))/1e6, "p99-ms")
	b.ReportMetric(goodput/1e6, "MB/s")
	b.ReportMetric(0, "ns/op") // says nothing beside the others
}

// BenchmarkIdle is what four connected validators cost together that have nothing
// to say: cores used, over as many seconds as there are iterations (-benchtime 20x).
func BenchmarkIdle(b *testing.B) {
	all := startCommittee(b, 4, nil, func(_ int, c *Config) { c.Gossip, c.DHT = true, true })
	for _, p := range all {
		if err := p.Join(TopicBlocks, p.shelf.topic()); err != nil {
			b.Fatal(err)
		}
	}
	eventually(b, "streams stand", func() bool { return streamsAll(all) })
	time.Sleep(3 * time.Second) // what follows a start: tables, meshes, addresses
	before := cpuTime(b)
	b.ResetTimer()
	for range b.N {
		time.Sleep(time.Second)
	}
	b.StopTimer()
	b.ReportMetric((cpuTime(b)-before).Seconds()/b.Elapsed().Seconds(), "cores")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkMesh is what four validators cost together that carry ten thousand
// operations of 200 bytes a second: twenty blocks a second from each, offered on
// as a node does; by streams alone, and with gossip in two ways.
func BenchmarkMesh(b *testing.B) {
	const blocksPerSecond, blockBytes = 20, 10_000 * 200 / 4 / 20
	for _, way := range []string{"streams", "publishing", "listening"} {
		b.Run(way, func(b *testing.B) {
			all := startCommittee(b, 4, nil, func(_ int, c *Config) { c.Gossip, c.DHT = way != "streams", true })
			for _, p := range all {
				p.forwarding()
				topic := p.shelf.topic()
				if way == "publishing" {
					topic = Topic{}
				}
				if way != "streams" {
					if err := p.Join(TopicBlocks, topic); err != nil {
						b.Fatal(err)
					}
				}
			}
			eventually(b, "streams stand", func() bool { return streamsAll(all) })
			time.Sleep(3 * time.Second) // tables, meshes
			before := cpuTime(b)
			b.ResetTimer()
			tick := time.NewTicker(time.Second / blocksPerSecond)
			defer tick.Stop()
			for range b.N * blocksPerSecond {
				<-tick.C
				for _, p := range all {
					block := p.publish(b, blockBytes)
					if way != "streams" {
						p.Publish(b.Context(), TopicBlocks, encodeBlock(block)[frameHeaderBytes:])
					}
				}
			}
			for _, p := range all {
				for _, q := range all {
					eventually(b, "all is there", func() bool { return p == q || q.shelf.has(p.ID(), p.round) })
				}
			}
			b.StopTimer()
			b.ReportMetric((cpuTime(b)-before).Seconds()/b.Elapsed().Seconds(), "cores")
			b.ReportMetric(0, "ns/op")
		})
	}
}

func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
