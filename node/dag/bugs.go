//go:build holdfast_bugs

package dag

// bug is the fault the core now has.
var bug = BugNone

// SetBug plants one fault into every core of this process. It exists only in
// builds with the tag holdfast_bugs, for tests that prove that the simulator's
// checkers find what they are for. Set it while no core runs.
func SetBug(b Bug) { bug = b }
