package dag

import "testing"

// TestHeavyValidatorDoesNotStallForEver: of the weights 1, 1, 4, 2 the last may be
// faulty and absent. What is left of the others weighs less than V, so a stall
// rule that wants V would stop the heavy one, and with it everybody.
func TestHeavyValidatorDoesNotStallForEver(t *testing.T) {
	rules := testRules(keyedCommittee(t, 1, 1, 4, 2))
	cfg := DefaultConfig(rules)
	cfg.Key = testKey(2)
	core, _, err := Open(cfg, testStart, Stored{})
	if err != nil {
		t.Fatal(err)
	}
	for round := uint64(1); round <= inFlightMax+1; round++ {
		core.own.rounds = append(core.own.rounds, round)
	}
	if !core.Status().Stalled {
		t.Error("nobody has our blocks, and it is no stall")
	}
	core.PeerHas(testStart, 0, 1)
	if !core.Status().Stalled {
		t.Error("one faulty validator's word is enough")
	}
	core.PeerHas(testStart, 1, 1)
	if core.Status().Stalled {
		t.Error("all honest others have our blocks, and it still stalls")
	}
}
