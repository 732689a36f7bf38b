// Package node gives a replica its network, its disk, its clock and its windows.
//
// A node is opened on a directory that holds its key, the network's bundle and its
// store, and runs until it is told to end:
//
//	n, err := node.Open(config, log)
//	if err != nil {
//		return err // says what is missing, and what to do
//	}
//	defer n.Close()
//	return n.Run(ctx)
//
// # One loop
//
// One goroutine owns the replica: it takes what came in, makes one step, and
// performs the effects in their order (loop.go). Everything else runs beside it:
//
//	streams, gossip  verify blocks where they arrive, and put them in the inbox
//	questions        are answered from the disk, see replica.Serve
//	links            who can be reached, and what they have of ours
//	intake           the journal of operations that clients were promised
//	index            what commits did, for readers
//	snapshots        are made from the disk alone
//
// What they may know of the replica the loop publishes after each durable batch
// (standing.go). Readers of the ledger itself share a lock with the steps.
//
// # Invariants
//
//  1. A step's batch holds the replica's records, the journal's and the index's
//     together, so what is on disk is always the state after some step.
//  2. Nothing that follows from a step leaves the machine before its batch is durable.
//  3. An acknowledged operation is in the journal until it has ended, so it ends as
//     final, rejected or expired, over any crash that leaves the disk.
//  4. A validator whose disk may be lost says nothing before the others have told it
//     what it said (see ErrLostDisk).
package node
