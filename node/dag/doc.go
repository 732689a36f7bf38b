// Package dag gives opaque payloads one order, by a Byzantine fault tolerant DAG.
//
// Every validator proposes a block in every round; a block is named by its CID
// and points to the blocks it builds on; the order is a pure function of the
// DAG. There is no leader to fail over: a missing leader is a skipped slot.
//
// The core is a value. Inputs go in, effects come out, and the caller performs
// the effects in field order, so nothing is sent before it is durable:
//
//	block, err := rules.Verify(bytes) // anywhere, in parallel
//	...
//	e := core.Receive(now, block)
//	for {
//		store(e.Persist) // durable before anything below
//		send(e.Send)
//		fetch(e.Fetch)
//		apply(e.Commits) // and store their Bytes
//		...
//		if !core.ProposalDue(now, pool.Len() > 0) {
//			break
//		}
//		e = core.Propose(now, pool.Take())
//	}
//	wake(e.WakeAt) // call core.Tick then
//
// After a restart, Open on what was stored gives the same core again. Nothing
// here reads a clock, starts a goroutine or does I/O.
//
// The vocabulary: a committee of validators has weights, of which less than a
// third (F) may be faulty and more than two thirds (Q) decide. A slot is an
// author's place in a round. A leader is the author whose block of a round the
// commit rule decides: commit, skip or undecided yet. A commit is a decided
// leader with all its ancestors that no earlier commit has. Rounds at or below
// the collected round are forgotten.
package dag
