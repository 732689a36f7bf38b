package replica

// Bug is a fault that can be planted in builds with the tag holdfast_bugs; in
// all others it is the constant BugNone and the compiler drops what depends on it.
type Bug uint8

// The faults, each by what the replica then does wrong.
const (
	BugNone       Bug = iota
	BugApplyTwice     // it applies every 8th commit to the ledger twice
	BugPruneEarly     // it prunes what its own restart still needs
	BugAmnesia        // after losing its disk it proposes as if it had never run
)
