//go:build !holdfast_bugs

package dag

// bug is none: this build has no faults but its own.
const bug = BugNone
