package dag

// Bug is a fault that can be planted in builds with the tag holdfast_bugs; in
// all others it is the constant BugNone and the compiler drops what depends on it.
type Bug uint8

// The faults, each by what the core then does wrong.
const (
	BugNone          Bug = iota
	BugForgetOwn         // after a restart it does not know its own blocks, and makes them anew
	BugQuorumLess        // its commit rule is content with Q-1
	BugCommitTwice       // it hands out every 16th commit twice
	BugForgetWaiting     // it loses blocks that wait for ancestors
	BugAmnesia           // after losing its store it proposes from the newest block of its own it got
	BugCollectEarly      // it collects two rounds below the last leader
)
