package api

import "github.com/holdfast-mesh/holdfast/node/ledger"

// What an operation does in a state of the network.
const (
	doesFinal   = "final"   // becomes final at once
	doesPending = "pending" // is made durable here, and becomes final or expires when a quorum is back
	doesRefused = "refused" // is refused at once, and nothing is kept
	doesFresh   = "fresh"   // is answered from the newest commit
	doesStale   = "stale"   // is answered, and says how old that is
)

// The states of the network as a node sees it: the columns of the contract.
const (
	stateWithQuorum    = "with_quorum"
	stateWithoutQuorum = "without_quorum"
	stateAlone         = "alone"
)

// contractOf says what each kind of operation does now. What moves money needs
// a quorum to end, and only a disk of this node to be kept safe; what reads
// needs neither.
func contractOf(s *Status) *Contract {
	c := &Contract{AsOf: s.AsOf, State: stateWithoutQuorum}
	switch {
	case s.AsOf.Quorum:
		c.State = stateWithQuorum
	case s.Peers == 0:
		c.State = stateAlone
	}
	for k := ledger.KindPlace; k <= ledger.KindSetParams; k++ {
		c.Kinds = append(c.Kinds, promise(c.State, k.String(), doesFinal, doesPending, refusal(s)))
	}
	for _, read := range []string{"read_market", "read_account", "read_op", "stream"} {
		c.Kinds = append(c.Kinds, promise(c.State, read, doesFresh, doesStale, ""))
	}
	return c
}

// promise is an entry: what a kind does with a quorum and without, and now,
// where refused, if not empty, says why nothing is taken.
func promise(state, kind, with, without, refused string) ContractEntry {
	e := ContractEntry{Kind: kind, WithQuorum: with, WithoutQuorum: without, Alone: without, Now: without, Why: refused}
	if state == stateWithQuorum {
		e.Now = with
	}
	if refused != "" {
		e.Now = doesRefused
	}
	return e
}

// refusal says why the node takes no operations, or nothing.
func refusal(s *Status) string {
	switch {
	case s.Alarm != "":
		return "The node has stopped: " + s.Alarm
	case s.DiskFull:
		return diskFull.title
	case s.Pool.Full >= 1:
		return "The pool of operations is full; try again later, or another node."
	}
	return ""
}
