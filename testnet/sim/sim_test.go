package sim

import (
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-mesh/holdfast/node/replica"
)

// seedsDefault is CI's share; SIM_SEEDS sets another number, for longer runs on demand.
const (
	seedsDefault = 2_000
	seedsShort   = 40
	seedsInTest  = 50 // of a parallel subtest
)

// TestSeeds runs thousands of seeded disasters, with every class of fault mixed
// in, and wants every promise held in each and every class met in some.
func TestSeeds(t *testing.T) {
	seeds := seedsDefault
	if testing.Short() {
		seeds = seedsShort
	}
	if v := os.Getenv("SIM_SEEDS"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 1 {
			t.Fatalf("SIM_SEEDS is %q: give a number of seeds", v)
		}
		seeds = n
	}
	var mu sync.Mutex
	var tally Tally
	t.Run("group", func(t *testing.T) {
		for from := 1; from <= seeds; from += seedsInTest {
			t.Run(fmt.Sprintf("from %d", from), func(t *testing.T) {
				t.Parallel()
				for seed := from; seed < from+seedsInTest && seed <= seeds; seed++ {
					r := New(Config{Seed: uint64(seed)}).Run()
					if r.Violation != nil {
						t.Errorf("%v\nreplay it with: holdfast sim --seed %d -v", r, seed)
					}
					mu.Lock()
					tally.Add(r.Tally)
					mu.Unlock()
				}
			})
		}
	})
	t.Logf("\n%s", &tally)
	if missing := tally.Missing(); len(missing) > 0 && !testing.Short() {
		t.Errorf("these faults never bit in %d seeds: %v", seeds, missing)
	}
	if tally.Seeds != seeds || tally.Trades == 0 || tally.Payouts == 0 || tally.Expired == 0 || tally.Rejected == 0 {
		t.Errorf("the runs did not do what they are for:\n%s", &tally)
	}
}

// recorded runs a seed and keeps every status line.
func recorded(cfg Config) (Report, []string) {
	var lines []string
	cfg.Trace = func(line string) { lines = append(lines, line) }
	return New(cfg).Run(), lines
}

// TestReplay: a seed replays to the byte, and being watched changes nothing.
func TestReplay(t *testing.T) {
	for _, seed := range []uint64{7, 8, 9, 10} {
		first, lines := recorded(Config{Seed: seed})
		second, again := recorded(Config{Seed: seed})
		if first.String() != second.String() {
			t.Errorf("seed %d reports\n%v\nand\n%v", seed, first, second)
		}
		if !slices.Equal(lines, again) || len(lines) < first.Tally.Events {
			t.Errorf("seed %d: %d status lines and %d, or they differ", seed, len(lines), len(again))
		}
		if silent := New(Config{Seed: seed}).Run(); silent.Fingerprint != first.Fingerprint {
			t.Errorf("seed %d runs differently when nobody watches", seed)
		}
	}
	if a, b := New(Config{Seed: 7}).Run(), New(Config{Seed: 8}).Run(); a.Fingerprint == b.Fingerprint {
		t.Error("two seeds have one fingerprint")
	}
}

// cutFor is longer than every timeout of the product and of the host: the
// longest is the pause of 30 s after which markets reopen gently.
const cutFor = 31 * time.Second

// cutLoad keeps every round busy: with nothing to order rounds slow to one a second,
// which is no gap.
const cutLoad = 25

// sizes are the committees that are cut in every way.
func sizes() []int {
	if testing.Short() {
		return []int{4}
	}
	return []int{4, 5}
}

// cutPlan is one cut of these links and nothing else.
func cutPlan(class Class, links []pair) *Plan {
	return &Plan{Chaos: cutFor + 2*time.Second, Faults: []Fault{{Class: class, At: time.Second, For: cutFor, Node: -1, Links: links}}}
}

// cutRun runs one cut of n equal validators and returns the run when it is over.
func cutRun(t *testing.T, n int, class Class, links []pair) *Sim {
	t.Helper()
	weights := make([]int, n)
	for i := range weights {
		weights[i] = 1
	}
	s := New(Config{Seed: uint64(n), Weights: weights, Load: cutLoad, Plan: cutPlan(class, links)})
	for s.Step() {
	}
	if v := s.Report().Violation; v != nil {
		t.Errorf("%v %v: %v", class, links, v)
	}
	return s
}

// longestGap is the longest time without a commit while the cut lasted.
func (s *Sim) longestGap() time.Duration {
	begin, end := epoch.Add(time.Second).UnixMilli(), epoch.Add(time.Second+cutFor).UnixMilli()
	last, gap := begin, int64(0)
	for _, c := range s.history.commits {
		if c.timeMs >= begin && c.timeMs <= end {
			gap = max(gap, c.timeMs-last)
			last = c.timeMs
		}
	}
	return time.Duration(max(gap, end-last)) * time.Millisecond
}

// TestEverySplit: all two-way splits of four and five validators. The side with
// a quorum goes on without a pause; without one nothing commits.
func TestEverySplit(t *testing.T) {
	for _, n := range sizes() {
		for mask := 1; mask < 1<<(n-1); mask++ { // the last validator is always on the other side
			t.Run(fmt.Sprintf("%d by %b", n, mask), func(t *testing.T) {
				t.Parallel()
				var side []int
				for i := range n {
					if mask>>i&1 == 1 {
						side = append(side, i)
					}
				}
				s := cutRun(t, n, Halves, split(n, side))
				quorum := max(len(side), n-len(side)) >= n-(n-1)/3
				switch gap := s.longestGap(); {
				case quorum && gap > time.Second:
					t.Errorf("with a quorum on one side, %v without a commit", gap)
				case !quorum && gap < cutFor-time.Second:
					t.Errorf("without a quorum on either side, the longest gap is only %v", gap)
				}
			})
		}
	}
}

// TestEveryOneWayPair: each direction of each link cut alone. Everybody goes on.
func TestEveryOneWayPair(t *testing.T) {
	for _, n := range sizes() {
		for from := range n {
			for to := range n {
				if from == to {
					continue
				}
				t.Run(fmt.Sprintf("%d from %d to %d", n, from, to), func(t *testing.T) {
					t.Parallel()
					s := cutRun(t, n, OneWay, []pair{{from, to}})
					if gap := s.longestGap(); gap > time.Second {
						t.Errorf("%v without a commit", gap)
					}
				})
			}
		}
	}
}

// TestEveryBridge: one validator alone connects two sides, in every way.
func TestEveryBridge(t *testing.T) {
	for _, n := range sizes() {
		for over := range n {
			var rest []int
			for i := range n {
				if i != over {
					rest = append(rest, i)
				}
			}
			for mask := 1; mask < 1<<(len(rest)-1); mask++ {
				t.Run(fmt.Sprintf("%d over %d by %b", n, over, mask), func(t *testing.T) {
					t.Parallel()
					var side []int
					for i, node := range rest {
						if mask>>i&1 == 1 {
							side = append(side, node)
						}
					}
					cutRun(t, n, Bridge, bridge(n, side, over))
				})
			}
		}
	}
}

// TestEveryRing: each validator talks to two neighbours only, in every order.
func TestEveryRing(t *testing.T) {
	for _, n := range sizes() {
		for _, order := range rings(n) {
			t.Run(fmt.Sprint(order), func(t *testing.T) {
				t.Parallel()
				cutRun(t, n, Ring, ring(order))
			})
		}
	}
}

// rings returns every circle of n, each once: it starts with 0 and does not run
// the other way round.
func rings(n int) (out [][]int) {
	var extend func(order []int)
	extend = func(order []int) {
		if len(order) == n {
			if order[1] < order[n-1] {
				out = append(out, slices.Clone(order))
			}
			return
		}
		for i := 1; i < n; i++ {
			if !slices.Contains(order, i) {
				extend(append(order, i))
			}
		}
	}
	extend([]int{0})
	return out
}

func TestRingsAreAll(t *testing.T) {
	if a, b := len(rings(4)), len(rings(5)); a != 3 || b != 12 {
		t.Errorf("%d and %d rings, want 3 and 12", a, b)
	}
}

// benchPace is the product's default for a network across continents, but for
// rounds of 100 ms.
var benchPace = pace{minRound: 100 * time.Millisecond, checkpoint: 100, snapshot: 5_000, retain: 20_000, room: replica.ReplyRoomMax}

// BenchmarkSim reports how much virtual time a wall second simulates, with 20
// operations a second and without faults, on one core. Rubbish is collected as late
// as holdfast sim does it.
func BenchmarkSim(b *testing.B) {
	defer debug.SetGCPercent(debug.SetGCPercent(400))
	for _, n := range []int{4, 7, 20} {
		b.Run(fmt.Sprintf("replicas=%d", n), func(b *testing.B) {
			var virtual time.Duration
			commits := 0
			for i := range b.N {
				r := New(Config{Seed: uint64(i + 1), Replicas: n, Load: 20, Plan: &Plan{Chaos: 20 * time.Second}, pace: &benchPace}).Run()
				if r.Violation != nil {
					b.Fatal(r)
				}
				virtual += r.Virtual
				commits += r.Commits
			}
			b.ReportMetric(virtual.Seconds()/b.Elapsed().Seconds(), "virtual-s/s")
			b.ReportMetric(float64(commits)/virtual.Seconds(), "commits/virtual-s")
		})
	}
}
