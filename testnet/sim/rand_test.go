package sim

import (
	"math"
	"slices"
	"testing"
	"time"
)

// TestRandomIsFixed holds the generator to its published definition: the first
// outputs of xoshiro256** from the state 1, 2, 3, 4.
func TestRandomIsFixed(t *testing.T) {
	r := &random{s: [4]uint64{1, 2, 3, 4}}
	want := []uint64{11520, 0, 1509978240, 1215971899390074240, 1216172134540287360}
	for i, w := range want {
		if got := r.next(); got != w {
			t.Errorf("output %d is %d, want %d", i, got, w)
		}
	}
	if got := splitMix(0x9e3779b97f4a7c15); got != 0xe220a8397b1dcdaf {
		t.Errorf("SplitMix64 from 0 begins with %#x", got)
	}
}

func TestRandomStreamsDiffer(t *testing.T) {
	seen := map[uint64]string{}
	for seed := range uint64(50) {
		for _, label := range []string{"plan", "network", "client"} {
			for number := range 5 {
				v := newRandom(seed, label, number).next()
				if other, twice := seen[v]; twice {
					t.Errorf("seed %d %s %d begins like %s", seed, label, number, other)
				}
				seen[v] = label
			}
		}
	}
	a, b := newRandom(7, "plan", 1), newRandom(7, "plan", 1)
	for range 3 {
		if x, y := a.next(), b.next(); x != y {
			t.Errorf("one name, two streams: %d and %d", x, y)
		}
	}
}

func TestRandomIsEven(t *testing.T) {
	const draws = 60_000
	r := newRandom(1, "even", 0)
	var counts [6]int
	for range draws {
		counts[r.below(6)]++
	}
	for face, n := range counts {
		if math.Abs(float64(n)-draws/6) > 500 {
			t.Errorf("face %d came %d times of %d", face, n, draws)
		}
	}
	hits := 0
	for range draws {
		if r.chance(percent(30)) {
			hits++
		}
	}
	if math.Abs(float64(hits)-draws*0.3) > 600 {
		t.Errorf("30 %% came %d times of %d", hits, draws)
	}
	if r.chance(0) || !r.chance(1_000_000) {
		t.Error("never and always are not exact")
	}
}

func TestRandomStaysInside(t *testing.T) {
	r := newRandom(2, "inside", 0)
	low, high := false, false
	for range 2_000 {
		d := r.during(3*time.Millisecond, 3*time.Millisecond+4*time.Microsecond)
		if d < 3*time.Millisecond || d > 3*time.Millisecond+4*time.Microsecond {
			t.Fatalf("%v is outside", d)
		}
		low = low || d == 3*time.Millisecond
		high = high || d == 3*time.Millisecond+4*time.Microsecond
		s := r.shuffled(5)
		slices.Sort(s)
		if !slices.Equal(s, []int{0, 1, 2, 3, 4}) {
			t.Fatalf("a shuffle lost a number: %v", s)
		}
	}
	if !low || !high {
		t.Error("a bound was never drawn")
	}
}
