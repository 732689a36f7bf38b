package mesh

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// fleet is an answer with n instances, spread over four providers, and what is
// known of them.
type fleet struct {
	t      testing.TB
	store  *Store
	health *health
	now    time.Time
	rng    *rand.Rand
	here   place
}

func newFleet(t testing.TB, n int, change func(i int, c *Claim)) *fleet {
	f := &fleet{t: t, store: testStore(), health: newHealth(), now: epochStart, rng: rand.New(rand.NewPCG(7, 7))}
	crowd(t, f.store, n, f.now, func(i int, c *Claim) {
		c.Provider, c.Region, c.Zone = testProviders[i%4], fmt.Sprintf("region-%d", i%4), ""
		c.TTL = TTLMax
		if change != nil {
			change(i, c)
		}
	})
	return f
}

func (f *fleet) id(i int) edgeID { return edgeID{"pricefeed", testOwner(f.t, i)} }

func (f *fleet) board() *board {
	return f.health.newBoard(f.store.Resolve("pricefeed", f.now), f.here, f.now)
}

func (f *fleet) choose(not avoid) *seat {
	s, _ := f.health.choose(f.board(), not, f.now, f.rng.Float64)
	return s
}

// spread counts where so many choices go.
func (f *fleet) spread(choices int) map[string]int {
	b, counts := f.board(), make(map[string]int)
	for range choices {
		s, _ := f.health.choose(b, avoid{}, f.now, f.rng.Float64)
		counts[s.Provider]++
	}
	return counts
}

func (f *fleet) accuse(i int, providers ...string) {
	for _, p := range providers {
		f.health.testified(f.id(i), p, true, f.now)
	}
}

func (f *fleet) classes() (counts [4]int) {
	for _, s := range f.board().seats {
		counts[s.class]++
	}
	return counts
}

func TestOneSourceAloneNeverEjects(t *testing.T) {
	f := newFleet(t, 6, func(i int, c *Claim) {
		if i == 1 {
			c.State = Failing
		}
	})
	f.health.failed(f.id(2), "refused", f.now, 0)
	f.health.failed(f.id(2), "refused", f.now, 0) // twice is still one source
	f.accuse(3, "gcp")
	f.accuse(3, "gcp")
	if got := f.classes(); got != [4]int{healthy: 3, doubted: 3} {
		t.Errorf("one source each: %v", got)
	}
	f.accuse(2, "gcp")
	if got := f.classes(); got != [4]int{healthy: 3, doubted: 2, ejected: 1} {
		t.Errorf("two sources against one: %v", got)
	}
	f.now = f.now.Add(witnessFor + time.Second)
	if got := f.classes(); got[ejected] != 0 {
		t.Errorf("a witness is believed for ever: %v", got)
	}
}

// R11: whatever is said, at most a third is ejected, and somebody is always chosen.
func checkEjectionIsBounded(t fataler) {
	t.Helper()
	for n := 1; n <= 12; n++ {
		f := newFleet(testingTB(t), n, nil)
		for i := range n {
			f.accuse(i, "aws", "gcp", "azure")
			f.health.failed(f.id(i), "refused", f.now, 0.5)
			if got := f.classes(); got[ejected] > n/3 {
				t.Fatalf("%d of %d ejected", got[ejected], n)
			}
			if f.choose(avoid{}) == nil {
				t.Fatalf("of %d, all accused, none is chosen", n)
			}
		}
	}
}

func TestEjectionIsBounded(t *testing.T) { checkEjectionIsBounded(t) }

// R11: when all instances fail, callers' retries are at most a fifth of their calls.
func checkRetriesAreBounded(t fataler) {
	t.Helper()
	h := newHealth()
	retries := 0
	const calls = 10_000
	for range calls {
		h.request("pricefeed")
		for range attemptsMax - 1 {
			if !h.mayRetry("pricefeed") {
				break
			}
			retries++
		}
	}
	if most := calls/5 + budgetBurst; retries > most || retries < calls/6 {
		t.Errorf("%d retries for %d calls: at most %d", retries, calls, most)
	}
}

func TestRetriesAreBounded(t *testing.T) { checkRetriesAreBounded(t) }

// R11: an instance that failed gets one real request when its time comes, not a
// herd; when that is answered, its share returns little by little.
func checkTrafficReturnsGradually(t fataler) {
	t.Helper()
	f := newFleet(testingTB(t), 2, nil) // aws and gcp
	f.health.failed(f.id(0), "refused", f.now, 0.5)
	if got := f.spread(1000); got["aws"] != 0 {
		t.Fatalf("%d of 1000 calls go to one that has just failed", got["aws"])
	}
	f.now = f.now.Add(2 * backoffFirst)
	if got := f.spread(1000); got["aws"] != 1 {
		t.Fatalf("%d trials at once, not one", got["aws"])
	}
	f.health.succeeded(f.id(0), time.Millisecond, f.now)
	last := 0
	for _, second := range []int{0, 2, 5, 8, 10} {
		was := f.now
		f.now = f.now.Add(time.Duration(second) * time.Second)
		got := f.spread(4000)["aws"]
		if got <= last {
			t.Fatalf("after %d s %d of 4000, before %d", second, got, last)
		}
		if second == 0 && got > 800 {
			t.Fatalf("at once %d of 4000", got)
		}
		last, f.now = got, was
	}
}

func TestTrafficReturnsGradually(t *testing.T) { checkTrafficReturnsGradually(t) }

func TestBackoffGrowsAndIsJittered(t *testing.T) {
	h, now, id := newHealth(), epochStart, edgeID{"a", "b"}
	due := func(chance float64) time.Duration {
		h.failed(id, "refused", now, chance)
		return h.edges[id].retryAt.Sub(now)
	}
	for i, base := range []time.Duration{1, 2, 4, 8, 16, 32, 60, 60} {
		chance := float64(i%2) * 0.999
		low, high := base*time.Second*3/4, base*time.Second*5/4
		if got := due(chance); got < low || got > high {
			t.Errorf("failure %d: again in %v, not between %v and %v", i, got, low, high)
		}
	}
	if a, b := due(0), due(0.9); a == b {
		t.Error("no jitter")
	}
}

func TestNearestFirst(t *testing.T) {
	f := newFleet(t, 4, func(i int, c *Claim) {
		c.Provider, c.Region, c.Zone = "gcp", "far", "z"
		switch i {
		case 0:
			c.Provider, c.Region, c.Zone = "aws", "us-east-1", "a"
		case 1:
			c.Region, c.Provider = "us-east-1", "gcp"
		case 2:
			c.Provider = "aws"
		}
	})
	f.here = place{"aws", "us-east-1", "a"}
	var not avoid
	for want := range 4 {
		s := f.choose(not)
		if s.Owner != testOwner(t, want) || s.distance != want {
			t.Fatalf("choice %d is at distance %d", want, s.distance)
		}
		not.owners = append(not.owners, s.Owner)
	}
	if s := f.choose(not); s != nil {
		t.Error("one that was tried is chosen again")
	}
	// A zone called a at another provider is not this one.
	if d := f.here.distance(&Record{Claim: Claim{Provider: "gcp", Region: "far", Zone: "a"}}); d != 3 {
		t.Errorf("distance %d", d)
	}
}

func TestHedgeGoesToAnotherProvider(t *testing.T) {
	f := newFleet(t, 8, nil)
	for range 200 {
		first := f.choose(avoid{})
		second := f.choose(avoid{owners: []peer.ID{first.Owner}, provider: first.Provider})
		if second.Provider == first.Provider {
			t.Fatalf("both at %s", first.Provider)
		}
	}
}

// The better of two: load goes to the fast, and away from one that stalls.
func TestSlowAndBusyInstancesGetLess(t *testing.T) {
	f := newFleet(t, 4, nil)
	for i := range 4 {
		took := 5 * time.Millisecond
		if i == 0 {
			took = 200 * time.Millisecond
		}
		f.health.succeeded(f.id(i), took, f.now)
	}
	got := f.spread(4000)
	if got["aws"] > 4000/8 || got["gcp"] < 4000/5 {
		t.Errorf("the slow one is at aws: %v", got)
	}
	b := f.board()
	b.seats[1].edge.inflight.Store(500)
	busy := b.seats[1].Provider
	if got := f.spread(4000); got[busy] > 4000/8 {
		t.Errorf("the busy one is at %s: %v", busy, got)
	}
}

func TestExplainSaysWhy(t *testing.T) {
	f := newFleet(t, 5, func(i int, c *Claim) {
		switch i {
		case 1:
			c.State = Failing
		case 2:
			c.State = Draining
		case 3:
			c.Beat, c.TTL = BeatMin, 4*BeatMin
		}
	})
	f.accuse(1, "gcp")
	f.store.Take(record(t, 4, func(c *Claim) { c.Body = []byte("another"); c.TTL = TTLMax }), ByNews, f.now)
	f.now = f.now.Add(9 * time.Second)
	f.here = place{provider: "aws"}
	f.health.testified(f.id(1), "gcp", true, f.now)
	var all []string
	for _, x := range f.health.explain(f.board(), f.now) {
		all = append(all, fmt.Sprintf("%v %d %s", x.In, x.Rank, strings.Join(x.Why, "; ")))
	}
	for i, want := range []string{
		"true 1 healthy; same provider",
		"true 2 suspect; elsewhere; suspect: not heard of for 9s, its ttl is 4s",
		"true 3 doubted; elsewhere; draining: it wants nothing new",
		`false 0 ejected; elsewhere; a peer of provider "gcp" cannot reach it; its owner says its check fails`,
		"false 0 quarantined: its owner has signed two different records as 1.1",
	} {
		if i >= len(all) || all[i] != want {
			t.Errorf("line %d is not %q in\n%s", i, want, strings.Join(all, "\n"))
		}
	}
}
