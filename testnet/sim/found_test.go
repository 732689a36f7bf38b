package sim

import (
	"slices"
	"testing"
	"time"
)

// What the simulator has found, each with the seed that showed it. Draws may
// change what a seed means, so each keeps its plan as well.

// TestFoundWithheldChain: the blocks of a withholding validator reach one or two
// others each. Those build on them, and everybody has to fetch them, one after
// the other. A validator that had not the block said so at once, but the
// question was repeated elsewhere only after 300 ms: commits fell seconds behind.
func TestFoundWithheldChain(t *testing.T) {
	for _, seed := range []uint64{39, 187, 243} {
		plan := &Plan{Chaos: 5 * time.Second, Liars: []Liar{{5, Withholding}, {6, Delaying}}}
		r := New(Config{Seed: seed, Weights: []int{1, 1, 1, 1, 1, 1, 1}, Plan: plan}).Run()
		if r.Violation != nil {
			t.Error(r)
		}
	}
}

// TestFoundRefusedForEver: an acknowledged operation whose nonce another one
// used up ends as rejected at its gateway. A gateway that took it out of its
// journal at once knew nothing of it any more after a restart.
func TestFoundRefusedForEver(t *testing.T) {
	for _, seed := range []uint64{217, 295} {
		plan := draw(seed, []int{1, 1, 1, 1})
		plan.Liars = nil
		plan.Faults = append([]Fault{
			{Class: Unruly, For: plan.Chaos, Node: -1},
			{Class: CrashLoop, At: 300 * time.Millisecond, For: 3 * time.Second, Node: 1, Times: 4},
		}, plan.Faults...)
		if r := New(Config{Seed: seed, Weights: []int{1, 1, 1, 1}, Plan: &plan}).Run(); r.Violation != nil {
			t.Error(r)
		}
	}
}

// TestFoundWithheldBelow: of six validators one withholds and one equivocates. The
// blocks above a withheld one were here and waiting, so those who built on them, and
// had all that was missing, were not asked for it; rounds took 0.6 s. It has small
// tests in node/dag.
func TestFoundWithheldBelow(t *testing.T) { found(t, 9761) }

// TestFoundPrunedMeanwhile: a validator that lost its disk took a state over, and the
// others pruned the commits below it before it asked for them. It asked for them
// seventeen times, half a second each. It has small tests in node/replica.
func TestFoundPrunedMeanwhile(t *testing.T) { found(t, 10693) }

// TestFoundOvertakenState: rounds brought a validator past the state it was fetching, and
// it took the older state over all the same. It has a small test in node/replica.
func TestFoundOvertakenState(t *testing.T) { foundNow(t, 11617) }

// TestFoundAskedTooSoon: with three withholding liars of seven, the one honest validator
// that had a missing block built on it too soon after somebody else was asked, and was
// passed over for a second and a half. It has a small test in node/dag.
func TestFoundAskedTooSoon(t *testing.T) { foundNow(t, 17553) }

// foundNow runs a seed as it is drawn now.
func foundNow(t *testing.T, seed uint64) {
	t.Helper()
	if r := New(Config{Seed: seed}).Run(); r.Violation != nil {
		t.Error(r)
	}
}

// found runs seeds from before there were observers, without them.
func found(t *testing.T, seeds ...uint64) {
	t.Helper()
	for _, seed := range seeds {
		s := New(Config{Seed: seed})
		plan := s.plan
		plan.Observers = 0
		plan.Faults = slices.DeleteFunc(slices.Clone(plan.Faults), func(f Fault) bool {
			return f.Node >= len(s.weights) || slices.ContainsFunc(f.Links, func(p pair) bool { return max(p.from, p.to) >= len(s.weights) })
		})
		if r := New(Config{Seed: seed, Plan: &plan}).Run(); r.Violation != nil {
			t.Error(r)
		}
	}
}

// TestFoundPrunedEpoch: who knew the first committee only found nothing but later epochs.
// Small tests are in node/replica.
func TestFoundPrunedEpoch(t *testing.T) {
	foundNow(t, 397)
	foundNow(t, 3578)
}

// TestFoundAnswerOfAnotherEpoch: a validator without its disk asked what it had signed in an
// epoch that was over for those who answered, and signed rounds of the next one twice.
func TestFoundAnswerOfAnotherEpoch(t *testing.T) {
	for _, seed := range []uint64{20, 560, 1826, 3330, 3839} {
		foundNow(t, seed)
	}
}

// TestFoundSeeds are the seeds that first showed what now has small tests in
// node/dag and node/replica:
//
//	1580, 1988: a heavy validator stalled for good when a faulty one was gone
//	2844: a missing block was asked of two liars in turn, for ever
//	399, 1024, 1189: only the first that pointed to a missing block was asked soon
//	934, 2494: what was missing below a served block was asked of its author, a liar
//	41, 379, 2722, 3326: clients that stayed with gateways that lie
func TestFoundSeeds(t *testing.T) {
	found(t, 41, 379, 399, 934, 1024, 1189, 1580, 1988, 2494, 2722, 2844, 3326)
}
