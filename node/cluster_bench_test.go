package node

import (
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-mesh/holdfast/node/api"
	"github.com/holdfast-mesh/holdfast/node/ledger"
)

// BenchmarkCluster makes signed operations final on four nodes in one process,
// each taking a quarter of them in requests of 64, and reports how many a
// second, and what CPU each costs on all nodes together.
// Signing them is not timed. `holdfast bench` measures processes, through the API.
func BenchmarkCluster(b *testing.B) {
	c := newCluster(b, 4)
	c.untilQuorum()
	to := ledger.AccountOf(c.faucet).String()
	raw := make([][]byte, b.N)
	for i := range raw {
		raw[i] = c.op(c.traders[i%len(c.traders)], "transfer 0.000001 USDT to "+to)
	}
	b.ResetTimer()
	began, before := time.Now(), cpuTime(b)
	var work sync.WaitGroup
	for g := range 4 {
		work.Go(func() {
			node := backend{c.nodes[g].Node}
			var last ledger.Digest
			for i := g * 64; i < len(raw); i += 256 {
				part := raw[i:min(i+64, len(raw))]
				for {
					s, err := node.Submit(b.Context(), part)
					if err == nil {
						last = s[len(s)-1].ID
						break
					}
					time.Sleep(10 * time.Millisecond)
				}
			}
			if last != (ledger.Digest{}) {
				if s, err := node.Wait(b.Context(), last); err != nil || s.State != api.OpFinal {
					b.Errorf("%+v, %v", s, err)
				}
			}
		})
	}
	work.Wait()
	b.ReportMetric(float64(b.N)/time.Since(began).Seconds(), "ops/s")
	b.ReportMetric(float64((cpuTime(b)-before).Microseconds())/float64(b.N), "cpu-us/op")
}

// cpuTime is the CPU time of this process, which says more than the clock on a
// machine that others use.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
