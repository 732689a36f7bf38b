// Package ledger holds wallets and order books as one deterministic state machine.
//
// The same batches give the same state, byte for byte, on every node, also
// across a snapshot and restore at any point. Nothing here reads a clock, draws
// a random number, starts a goroutine or does I/O: time and order are arguments.
//
// A caller checks an operation before it pools it, hands over what agreement
// has ordered, and reads the events that come back:
//
//	if err := l.Check(op); err != nil {
//		return err // not worth pooling; err says why
//	}
//	...
//	for _, event := range l.Apply(batch) {
//		publish(event)
//	}
//	root := l.Root()
//
// Apply never fails: an operation that cannot execute is a Rejected event.
package ledger
