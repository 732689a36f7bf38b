package replica

import (
	"testing"
	"time"
)

// BenchmarkCatchUp brings an observer from nothing to the commits of half a minute of
// four validators, as one does that was cut off, and reports blocks a second of all of
// it, and what a block costs to serve, to verify and to take in.
func BenchmarkCatchUp(b *testing.B) {
	c := emptyCluster(b, 4)
	for i := range 4 {
		n := c.add(testKey(i))
		c.kill(n)
		n.store = newMemStore()
		n.cfg.CheckpointEvery, n.cfg.SnapshotEvery, n.cfg.Retain = 100, 5_000, 20_000
		n.cfg.EveryRoot = false
		c.open(n)
	}
	c.load(30*time.Second, 12*time.Millisecond)
	source := c.nodes[0]
	target, _ := source.r.Executed()
	cfg := source.cfg
	cfg.Key = nil
	var blocks int
	var serve, verify, step time.Duration
	for b.Loop() {
		store := newMemStore()
		r, e, err := Open(cfg, c.now, store)
		if err != nil {
			b.Fatal(err)
		}
		lap := time.Now()
		since := func(sum *time.Duration) {
			now := time.Now()
			*sum, lap = *sum+now.Sub(lap), now
		}
		for now := c.now; ; now = now.Add(10 * time.Millisecond) {
			if index, _ := r.Executed(); index+5 >= target {
				break
			}
			var in Input
			for _, q := range e.Ask {
				if q.Kind != AskCommits {
					continue
				}
				lap = time.Now()
				p, err := Serve(source.store, q, source.own, ReplyRoomMax)
				if err != nil {
					b.Fatal(err)
				}
				raw := p.Bytes()
				since(&serve)
				if p, err = DecodeReply(raw); err != nil {
					b.Fatal(err)
				}
				a, err := r.Verifier().Answer(q.To, p)
				if err != nil {
					b.Fatal(err)
				}
				since(&verify)
				blocks += len(a.Blocks)
				in.Answers = append(in.Answers, a)
			}
			lap = time.Now()
			e = r.Step(now, in)
			store.write(e.Persist)
			since(&step)
		}
	}
	b.ReportMetric(float64(blocks)/(serve+verify+step).Seconds(), "blocks/s")
	for name, d := range map[string]time.Duration{"serve": serve, "verify": verify, "step": step} {
		b.ReportMetric(float64(d.Microseconds())/float64(blocks), name+"-us/block")
	}
}
