package mesh

// rule names one of the rules of doc.go. In builds with the tag holdfast_bugs a
// test can switch one off, to see that the tests of that rule then fail; in all
// others off is the constant ruleNone, and the compiler drops what depends on it.
type rule uint8

const (
	ruleNone     rule = iota
	ruleCompare       // R1: compare at the moment of writing
	ruleEpoch         // R2: a lower epoch loses, whatever its seq
	ruleValue         // R3: records hold their content by value
	ruleDelete        // R4: only a signed, newer tombstone deletes
	ruleNonempty      // R5: a set never becomes empty or loses half at once
	ruleDisk          // R6: the last good sets are on disk
	ruleRepair        // R7: every damaged state repairs itself
	ruleProof         // R8: two bodies for one stamp are kept as proof
	ruleSuspect       // R9: suspect is not gone
	ruleAlone         // R10: works with bootstrap and any provider gone
	ruleDamp          // R11: recovery is damped
)
