package testnet

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/holdfast-mesh/holdfast/node/api"
)

// BenchConfig says what load to put on a network. Take DefaultBench, and say where
// its nodes are and whose money it is.
type BenchConfig struct {
	// APIs are the base addresses of the nodes that take the operations, in turn by
	// account. Finality is watched at the first that answers, and when it is gone at the
	// next.
	APIs []string
	// Wallet pays for the traders: a share of its money goes to each first.
	Wallet ed25519.PrivateKey
	// Rate is operations a second, each of one action; For is how long.
	Rate float64
	For  time.Duration
	// Batch is how many operations a request carries at most. Those that fall due
	// within BatchEvery go together, so a low rate has one each.
	Batch      int
	BatchEvery time.Duration
	// Traders is how many accounts act. The ledger keeps a hundred nonces of each, so
	// a few accounts cannot have thousands of operations on their way.
	Traders int
	// Settle is how long operations may take to end after the last was sent.
	Settle time.Duration
	// Progress, if set, is told how it stands, about once a second.
	Progress func(BenchSecond)
}

// DefaultBench lacks APIs and Wallet.
func DefaultBench() BenchConfig {
	return BenchConfig{
		Rate: 1000, For: 30 * time.Second, Batch: 64, BatchEvery: 5 * time.Millisecond,
		Traders: 200, Settle: 15 * time.Second,
	}
}

// Bounds of a bench.
const (
	benchRateMax    = 200_000
	benchForMax     = time.Hour
	benchTradersMax = 10_000
	benchOpsMax     = 20_000_000 // signed ahead of time: about 6 GB
)

// Validate lists every fault at once.
func (c *BenchConfig) Validate() error {
	var faults []error
	fault := func(bad bool, format string, args ...any) {
		if bad {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	fault(len(c.APIs) == 0, "no node to send to: start a network with `holdfast testnet up`, or name APIs")
	fault(len(c.Wallet) != ed25519.PrivateKeySize, "no wallet that pays for the traders")
	fault(!(c.Rate > 0 && c.Rate <= benchRateMax), "a rate of %v a second: choose above 0, at most %d", c.Rate, benchRateMax)
	fault(c.For < time.Second || c.For > benchForMax, "a time of %v: choose 1s to %v", c.For, benchForMax)
	fault(c.Rate*c.For.Seconds() > benchOpsMax, "%.0f operations: all are signed ahead of time, at most %d", c.Rate*c.For.Seconds(), benchOpsMax)
	fault(c.Batch < 1 || c.Batch > api.OpsMax, "batches of %d: choose 1 to %d", c.Batch, api.OpsMax)
	fault(c.BatchEvery < 0 || c.BatchEvery > time.Second, "batches of %v: choose 0 to 1s", c.BatchEvery)
	fault(c.Traders < 1 || c.Traders > benchTradersMax, "%d traders: choose 1 to %d", c.Traders, benchTradersMax)
	fault(c.Settle < time.Second || c.Settle > time.Hour, "a settling time of %v: choose 1s to 1h", c.Settle)
	return errors.Join(faults...)
}

// BenchResult is what a load came to. Latencies are from the moment an operation
// was due to be sent, whether or not it could be (no coordinated omission), to the
// moment a client saw it final.
type BenchResult struct {
	Rate      float64 `json:"rate"` // asked for, a second
	Sent      int     `json:"sent"`
	Final     int     `json:"final"`
	Refused   int     `json:"refused"` // not taken, or ended otherwise
	Unended   int     `json:"unended"` // taken, and not seen to end in time
	FinalPerS float64 `json:"final_per_s"`
	P50Ms     float64 `json:"p50_ms"`
	P99Ms     float64 `json:"p99_ms"`
	MaxMs     float64 `json:"max_ms"`
	MaxGapMs  float64 `json:"max_gap_ms"`  // the longest time without a commit, while operations were on their way
	LateMs    float64 `json:"late_p99_ms"` // by how much the generator itself was late
	CPUs      float64 `json:"generator_cpus"`

	Seconds []BenchSecond `json:"seconds"`
}

// BenchSecond is one second of a load.
type BenchSecond struct {
	Second  int     `json:"second"`
	Sent    int     `json:"sent"`
	Final   int     `json:"final"`
	P99Ms   float64 `json:"p99_ms"` // of those that became final in it
	Pending int     `json:"pending"`
}

// benchLatencyMax is the longest latency the histogram tells apart, in
// microseconds.
const benchLatencyMax = int64(10 * time.Minute / time.Microsecond)

// bench is a load that runs.
type bench struct {
	cfg     BenchConfig
	clients []*api.Client
	began   time.Time
	cpus    float64 // CPUs the generator itself was busy with

	sent, refused atomic.Int64

	mu      sync.Mutex
	open    map[string]*benchOp // by CID, as commits list them
	final   int
	latency *hdrhistogram.Histogram
	late    *hdrhistogram.Histogram
	second  *hdrhistogram.Histogram
	lastSum BenchSecond
	seconds []BenchSecond
	gap     time.Duration
	commit  time.Time // when the newest commit was seen
	ended   time.Time // when the newest operation was seen final
}

// benchOp is an operation, signed ahead of time.
type benchOp struct {
	due time.Duration // after the beginning
	id  string
	raw []byte
}

// Bench puts an open-loop load on a network and measures what becomes of it. It
// funds its traders first, signs everything ahead of time, and sends what is due
// whether or not earlier operations have ended.
func Bench(ctx context.Context, c BenchConfig) (BenchResult, error) {
	if err := c.Validate(); err != nil {
		return BenchResult{}, err
	}
	b := &bench{
		cfg: c, open: make(map[string]*benchOp),
		latency: hdrhistogram.New(1, benchLatencyMax, 3),
		late:    hdrhistogram.New(1, benchLatencyMax, 3),
		second:  hdrhistogram.New(1, benchLatencyMax, 3),
	}
	for _, base := range c.APIs {
		client, err := api.NewClient(base)
		if err != nil {
			return BenchResult{}, err
		}
		client.HTTP = newHTTP()
		b.clients = append(b.clients, client)
	}
	traders, err := b.fund(ctx)
	if err != nil {
		return BenchResult{}, fmt.Errorf("funding the traders: %w", err)
	}
	ops, err := b.sign(ctx, traders)
	if err != nil {
		return BenchResult{}, err
	}
	if err := b.run(ctx, ops); err != nil {
		return BenchResult{}, err
	}
	return b.result(), nil
}

// run sends and watches until everything has ended or the time is over.
func (b *bench) run(ctx context.Context, ops [][]*benchOp) error {
	watching, stop := context.WithCancel(ctx)
	defer stop()
	var stream *api.Stream
	var err error
	at := 0
	for ; at < len(b.clients); at++ {
		if stream, err = b.commits(watching, at, nil); err == nil {
			break
		}
	}
	if err != nil {
		return err
	}
	before := cpuTime()
	b.began = time.Now()
	b.commit = b.began
	var work sync.WaitGroup
	watched := make(chan error, 1)
	work.Go(func() { watched <- b.watch(watching, stream, at) })
	work.Go(func() { b.report(watching) })
	var sending sync.WaitGroup
	inTime, end := context.WithTimeout(ctx, b.cfg.For+b.cfg.Settle)
	defer end()
	for i := range b.clients {
		sending.Go(func() { b.send(inTime, i, ops[i]) })
	}
	sent := make(chan struct{})
	go func() { sending.Wait(); close(sent) }()
	select {
	case <-sent:
		b.settle(ctx)
	case err = <-watched:
	case <-ctx.Done():
	}
	stop()
	sending.Wait()
	work.Wait()
	b.cpus = (cpuTime() - before).Seconds() / time.Since(b.began).Seconds()
	if err == nil {
		err = ctx.Err()
	}
	return err
}

// settle waits for the operations on their way.
func (b *bench) settle(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, b.cfg.Settle)
	defer cancel()
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for b.pending() > 0 {
		select {
		case <-look.C:
		case <-ctx.Done():
			return
		}
	}
}

func (b *bench) pending() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.open)
}

// report sums up each second.
func (b *bench) report(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		b.mu.Lock()
		s := BenchSecond{Second: n + 1, Sent: int(b.sent.Load()) - b.lastSum.Sent, Final: b.final - b.lastSum.Final,
			P99Ms: inMillis(b.second.ValueAtQuantile(99)), Pending: len(b.open)}
		b.lastSum.Sent += s.Sent
		b.lastSum.Final += s.Final
		b.second.Reset()
		b.seconds = append(b.seconds, s)
		b.mu.Unlock()
		if b.cfg.Progress != nil {
			b.cfg.Progress(s)
		}
	}
}

func (b *bench) result() BenchResult {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := BenchResult{
		Rate: b.cfg.Rate, Sent: int(b.sent.Load()), Final: b.final, Refused: int(b.refused.Load()), Unended: len(b.open),
		P50Ms: inMillis(b.latency.ValueAtQuantile(50)), P99Ms: inMillis(b.latency.ValueAtQuantile(99)), MaxMs: inMillis(b.latency.Max()),
		MaxGapMs: math.Round(float64(b.gap.Microseconds())/10) / 100, LateMs: inMillis(b.late.ValueAtQuantile(99)),
		CPUs: math.Round(100*b.cpus) / 100, Seconds: b.seconds,
	}
	if took := b.ended.Sub(b.began).Seconds(); r.Final > 0 && took > 0 {
		r.FinalPerS = math.Round(float64(r.Final)/took*10) / 10
	}
	return r
}

func inMillis(us int64) float64 { return math.Round(float64(us)/10) / 100 }
