// Package replica is a validator without a body: dag, ledger and pool behind one Step.
//
// Its caller owns the network, the disk and the clock. It feeds verified
// operations and blocks in and performs the effects in field order:
//
//	r, e, err := replica.Open(config, now, store)
//	for {
//		ask(e.Ask)             // each once, to Request.To; a lost one is asked again
//		store.Write(e.Persist) // one batch; if e.Binds, durable before anything below
//		own = e.Own            // what Serve may give out of ours from now on
//		send(e.Send)           // to every validator, and by gossip
//		publish(e.Commits)
//		...
//		e = r.Step(now, input) // at e.WakeAt at the latest
//	}
//
// Step reads the disk too, so one Step's batch is written before the next Step.
// Requests of others are answered by Serve from the disk alone; what comes from
// others is turned into values by a Verifier. Both run beside the loop. The same
// inputs give the same effects, byte for byte: the simulator runs this very code.
//
// # What is durable, and why that is enough
//
//  1. One Step is one batch. Blocks it accepted, the records of commits they
//     decided, certificates and marks are on disk together or not at all, and
//     batches become durable in their order. What a step without Binds accepted
//     may be lost with a crash: nobody was told that we have it.
//  2. A block of ours is durable before its first byte leaves, by Send or by
//     Serve (see Own). A crash between Persist and Send loses nothing: Open
//     sends our newest block again, and peers ask for those before it.
//  3. So we never sign two blocks for one round: what left is on the disk, what
//     is on the disk is in the core that Open makes, and that core goes on
//     above it. If the disk is lost, Config.Recover keeps us silent until
//     a round is found that we cannot have filled; a mark on the new disk says so
//     over restarts, until a commit has a block that we made since.
//  4. The ledger is a function of the commits: executed = the commits on disk,
//     in order, once each, from the genesis or from a snapshot whose root a quorum
//     signed. It runs ahead of the disk by the Step under way at most, and
//     nobody hears of that before the batch is durable: Commits stands below
//     Persist. So applied <= committed <= durable for whoever is told.
//  5. Opening gives the state of the last durable batch: the newest snapshot that
//     is complete and whose chunks and root are right, or the one before; the
//     commits after it; the blocks no commit has. What the snapshot, the commits
//     and the blocks need of each other is written in the same batch or before.
//  6. Pruning keeps the last two snapshots, all commits since the older one, the
//     commits before it that a core opens on, and Config.Retain commits.
//  7. A replica that takes over a state keeps nothing of it in use before the root
//     is the one a quorum signed, and all of it becomes ours in one batch. Blocks
//     of our own that are on disk are in the core it then makes: see 3.
//  8. An epoch's committee is the genesis', or what the epoch before handed over: its
//     record is never deleted, so every replica can show the way from the genesis to now.
package replica
