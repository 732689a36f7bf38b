//go:build holdfast_bugs

package sim

// bugSendBeforeSync makes hosts send blocks before they are durable: the one of
// the deliberate bugs that belongs to whoever performs the effects.
var bugSendBeforeSync = false
