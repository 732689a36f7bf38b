//go:build holdfast_bugs

package replica

// bug is the fault replicas now have.
var bug = BugNone

// SetBug plants one fault into every replica of this process. It exists only in
// builds with the tag holdfast_bugs, for tests that prove that the simulator's
// checkers find what they are for. Set it while no replica runs.
func SetBug(b Bug) { bug = b }
