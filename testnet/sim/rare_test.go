package sim

import (
	"testing"
	"time"

	"github.com/holdfast-mesh/holdfast/node/replica"
)

// What a plan drawn for a few seconds reaches seldom has tests of its own, on
// many seeds: their weather, clients and clocks still differ.

const rareSeeds = 12

// TestStatesAreTakenOver: a node is away while the others make a few hundred
// rounds and prune nearly all of them. It comes back by checkpoint and chunks,
// in every run, also with loss on every link.
func TestStatesAreTakenOver(t *testing.T) {
	quick := pace{minRound: 25 * time.Millisecond, checkpoint: 2, snapshot: 4, retain: 2, room: replica.ReplyRoomMax}
	for seed := range uint64(rareSeeds) {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			plan := &Plan{Chaos: 9 * time.Second, Faults: []Fault{
				{Class: Crash, At: 500 * time.Millisecond, For: 8 * time.Second, Node: int(seed % 4), Times: int(seed % 8)},
			}}
			if seed%2 == 1 {
				plan.Faults = append(plan.Faults, Fault{Class: Loss, At: 8 * time.Second, For: time.Second, Node: -1,
					Links: split(4, []int{int(seed % 4)}), Over: weather{loss: percent(20)}})
			}
			r := New(Config{Seed: seed, Weights: []int{1, 1, 1, 1}, Load: 30, Plan: plan, pace: &quick}).Run()
			if r.Violation != nil {
				t.Error(r)
			}
			if r.Tally.Takeovers == 0 {
				t.Errorf("seed %d: nobody took a state over in %d commits", seed, r.Commits)
			}
		})
	}
}

// TestObserversTakeStatesOver: one observer begins late, one loses its disk, and
// both find nearly all of the order pruned. They come by checkpoint and chunks,
// also with loss on their links, and follow on.
func TestObserversTakeStatesOver(t *testing.T) {
	quick := pace{minRound: 25 * time.Millisecond, checkpoint: 2, snapshot: 4, retain: 2, room: replica.ReplyRoomMax}
	for seed := range uint64(rareSeeds) {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			plan := &Plan{Chaos: 9 * time.Second, Observers: 2, Faults: []Fault{
				{Class: LateStart, For: 7 * time.Second, Node: 4},
				{Class: LostDisk, At: 8 * time.Second, For: 500 * time.Millisecond, Node: 5},
			}}
			if seed%2 == 1 {
				plan.Faults = append(plan.Faults, Fault{Class: Loss, At: 7 * time.Second, For: 2 * time.Second, Node: -1,
					Links: split(6, []int{4, 5}), Over: weather{loss: percent(20)}})
			}
			r := New(Config{Seed: seed, Weights: []int{1, 1, 1, 1}, Load: 30, Plan: plan, pace: &quick}).Run()
			if r.Violation != nil {
				t.Error(r)
			}
			if r.Tally.Takeovers < 2 || r.Tally.Faults[LateStart] != 1 || r.Tally.Faults[LostDisk] != 1 {
				t.Errorf("seed %d: %d states taken over in %d commits", seed, r.Tally.Takeovers, r.Commits)
			}
		})
	}
}

// TestCommitteeChanges: governors change the weights in the middle of crashes, cuts
// and loss, so that an epoch closes and the next one begins with other quorums.
func TestCommitteeChanges(t *testing.T) {
	for seed := range uint64(rareSeeds) {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			weights, next := []int{1, 1, 1, 1}, []int{1, 2, 2, 2}
			plan := draw(seed, weights)
			plan.Liars, plan.Next = nil, next
			plan.Chaos = max(plan.Chaos, 8*time.Second) // the epoch needs some commits to close
			s := New(Config{Seed: seed, Weights: weights, Load: 20, Plan: &plan})
			r := s.Run()
			if r.Violation != nil {
				t.Error(r)
			}
			if s.history.epoch != 1 {
				t.Errorf("seed %d: the run ended in epoch %d", seed, s.history.epoch)
			}
		})
	}
}
