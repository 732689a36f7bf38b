//go:build !holdfast_bugs

package sim

// bugs has no fault in builds without the tag holdfast_bugs.
const bugSendBeforeSync = false
