//go:build !holdfast_bugs

package ledger

// bugs are deliberate faults, for a simulator that must notice them. In this
// build there are none, and the calls compile to nothing; see bugs_on.go.
type bugs struct{}

func (bugs) skipNonces() bool   { return false }
func (bugs) releaseTwice() bool { return false }
func (bugs) disorder(*turns)    {}

func (bugs) commitTime(ms int64) int64 { return ms }

func restoredBugs() bugs { return bugs{} }
