//go:build holdfast_bugs

package mesh

import "testing"

// checks are what fails when a rule does not hold, and passes when it does.
var checks = []struct {
	rule  rule
	name  string
	check func(fataler)
}{
	{ruleCompare, "R1", func(t fataler) { checkInterleavings(t, 200) }},
	{ruleCompare, "R1, stale writer", checkStaleWriter},
	{ruleDelete, "R4, stale writer", checkStaleWriter},
	{ruleEpoch, "R2", func(t fataler) { checkInterleavings(t, 200) }},
	{ruleValue, "R3 in interleavings", func(t fataler) { checkInterleavings(t, 1000) }},
	{ruleValue, "R3", checkRecordsHoldByValue},
	{ruleDelete, "R4", func(t fataler) { checkInterleavings(t, 200) }},
	{ruleNonempty, "R5", checkNeverEmpty},
	{ruleDisk, "R6", checkDiskRemembers},
	{ruleRepair, "R7", checkJournalRepairs},
	{ruleProof, "R8", func(t fataler) { checkInterleavings(t, 200) }},
	{ruleSuspect, "R9", checkSuspectIsNotGone},
	{ruleAlone, "R10", checkWorksAlone},
	{ruleDamp, "R11, ejection", checkEjectionIsBounded},
	{ruleDamp, "R11, retries", checkRetriesAreBounded},
	{ruleDamp, "R11, return", checkTrafficReturnsGradually},
}

// TestBugs switches each rule off: its check must fail, and pass with the rule.
func TestBugs(t *testing.T) {
	for _, c := range checks {
		t.Run(c.name, func(t *testing.T) {
			c.check(t)
			off = c.rule
			defer func() { off = ruleNone }()
			e := &expectFailure{T: t}
			run(e, c.check)
			if e.failed == "" {
				t.Fatalf("the rule is switched off, and its check does not notice")
			}
			t.Logf("noticed: %s", e.failed)
		})
	}
}

// run calls a check until its first Fatalf.
func run(e *expectFailure, check func(fataler)) {
	defer func() {
		if r := recover(); r != nil && r != (stopped{}) {
			panic(r)
		}
	}()
	check(e)
}
