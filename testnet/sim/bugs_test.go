//go:build holdfast_bugs

package sim

import (
	"testing"

	"github.com/holdfast-mesh/holdfast/node/dag"
	"github.com/holdfast-mesh/holdfast/node/ledger"
	"github.com/holdfast-mesh/holdfast/node/replica"
)

// bugSeedsMax is within how many seeds each deliberate bug must be caught.
const bugSeedsMax = 500

// TestBugs plants each deliberate bug into the product and wants the checkers to
// catch it. Run it with: go test -tags holdfast_bugs ./testnet/sim -run Bugs
func TestBugs(t *testing.T) {
	for _, tc := range []struct {
		name  string
		plant func(on bool)
	}{
		{"send before sync", func(on bool) { bugSendBeforeSync = on }},
		{"forget a vote after restart", inDag(dag.BugForgetOwn)},
		{"quorum minus one", inDag(dag.BugQuorumLess)},
		{"apply a commit twice", inReplica(replica.BugApplyTwice)},
		{"skip a nonce check after restore", inLedger(ledger.Bugs{SkipNoncesAfterRestore: true})},
		{"release a hold twice", inLedger(ledger.Bugs{ReleaseTwice: true})},
		{"map iteration in Apply", inLedger(ledger.Bugs{MapOrder: true})},
		{"wall clock in Apply", inLedger(ledger.Bugs{WallClock: true})},
		{"forget waiting blocks", inDag(dag.BugForgetWaiting)},
		{"re-propose after amnesia", inReplica(replica.BugAmnesia)},
		{"prune too early", inReplica(replica.BugPruneEarly)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			defer tc.plant(false)
			for seed := uint64(1); seed <= bugSeedsMax; seed++ {
				tc.plant(true)
				v := New(Config{Seed: seed}).Run().Violation
				tc.plant(false)
				if v == nil {
					continue
				}
				if sound := New(Config{Seed: seed}).Run().Violation; sound != nil {
					t.Errorf("seed %d fails without the bug too: %v", seed, sound)
					continue
				}
				t.Logf("caught by seed %d: %v", seed, v)
				return
			}
			t.Errorf("not caught in %d seeds", bugSeedsMax)
		})
	}
}

func inDag(b dag.Bug) func(bool) {
	return func(on bool) {
		if dag.SetBug(dag.BugNone); on {
			dag.SetBug(b)
		}
	}
}

func inReplica(b replica.Bug) func(bool) {
	return func(on bool) {
		if replica.SetBug(replica.BugNone); on {
			replica.SetBug(b)
		}
	}
}

func inLedger(b ledger.Bugs) func(bool) {
	return func(on bool) {
		if ledger.SetBugs(ledger.Bugs{}); on {
			ledger.SetBugs(b)
		}
	}
}
