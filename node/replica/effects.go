package replica

import (
	"time"

	"github.com/holdfast-mesh/holdfast/node/dag"
	"github.com/holdfast-mesh/holdfast/node/ledger"
)

// Input is what happened since the last Step. The zero Input is a tick. Nothing
// in it changes afterwards; the replica keeps blocks and ops.
type Input struct {
	Ops       []*ledger.Op  // from clients, or forwarded by other nodes
	Blocks    []*dag.Block  // from streams and gossip, verified
	Later     bool          // a block of an epoch that is not known here has come: ErrEpoch
	Answers   []Answer      // to our requests
	Connected []Link        // changes only
	Rounds    []PeerRound   // the round of ours that a validator says it has
	Snapshot  *SnapshotDone // BuildSnapshot has ended
}

// Link says that the way to a validator is open, or not any more.
type Link struct {
	Peer dag.Author
	Up   bool
}

// PeerRound says that a validator has accepted our block of this round.
type PeerRound struct {
	Peer  dag.Author
	Round uint64
}

// SnapshotDone says how BuildSnapshot ended for the snapshot at Index. Failed
// ones are tried again at the next occasion.
type SnapshotDone struct {
	Index  uint64
	Failed bool
}

// Effects is what the caller does after a Step, in the order of the fields.
// Nothing below Persist is done before Persist is durable. If Persist fails the
// replica must not be used any more: open a new one from the disk.
type Effects struct {
	// Ask is questions to other validators. A question binds nobody, so it need not
	// wait for the disk: whoever catches up asks for more while it writes. Its authors are
	// those of Replica.Committee. A lost one is asked again.
	Ask []Request
	// Persist is one atomic, durable batch. It is empty when nothing must be kept.
	Persist []Record
	// Own says which of our blocks Serve may give out from now on.
	Own Own
	// Send is our own blocks, for every validator and, by gossip, for observers.
	Send []*dag.Block
	// Restored is set when the replica took over a certified state, because
	// others do not have the commits any more: everything up to it happened without
	// Commits here. It comes before Commits.
	Restored *Checkpoint
	// Commits were executed by this Step, in order. Each has its events.
	Commits []Commit
	// Refused is what became of ops that are not in the pool, or left it without
	// being executed.
	Refused []Refusal
	// Checkpoint is set when a newer checkpoint was certified.
	Checkpoint *Checkpoint
	// Evidence is blocks of one author for one slot: proof that it is faulty.
	Evidence []dag.Evidence
	// SnapshotDue asks for BuildSnapshot, beside the loop. There is one at a
	// time: the next comes after Input.Snapshot.
	SnapshotDue *SnapshotRequest
	// Verifier is set when another epoch can be verified from now on; see Replica.Verifier.
	Verifier *Verifier
	// Alarm says why the replica stopped proposing and taking operations for good.
	// It is repeated by every Step from then on.
	Alarm Alarm
	// WakeAt is when to call Step at the latest, with whatever there is.
	WakeAt time.Time
}

// Binds reports whether Persist must be durable before the step counts for anybody
// else: it says something in our name, or of commits or epochs. A step that only took in blocks
// of others binds nobody: its batch must be written, in order, but may become durable
// together with the next that does. A crash before takes back what nobody was told, and
// the blocks are had again from their authors.
func (e *Effects) Binds() bool {
	return len(e.Send) > 0 || len(e.Commits) > 0 || e.Restored != nil || e.Checkpoint != nil ||
		e.SnapshotDue != nil || e.Verifier != nil || len(e.Evidence) > 0 || e.Alarm != AlarmNone
}

// Commit is a commit the ledger has executed.
type Commit struct {
	Epoch  uint64
	Index  uint64
	Digest dag.Digest
	Leader dag.Ref
	TimeMs int64 // commit time, Unix milliseconds
	Ops    []ledger.Op
	// Events are what the ledger returned, in order: position i has the cursor
	// {Index, i}. Event.Op is a position in Ops.
	Events []ledger.Event
	// Root is the state's root after it; HasRoot tells whether it was computed:
	// at checkpoints, and always with Config.EveryRoot.
	Root    [32]byte
	HasRoot bool
}

// Refusal says why an operation is not in the pool. Code RefusedLedger means
// that the ledger refused it, for Reason.
type Refusal struct {
	Op     *ledger.Op
	Code   RefusalCode
	Reason ledger.Reason
}

// RefusalCode says why the pool does not hold an operation.
type RefusalCode uint8

const (
	RefusedNot         RefusalCode = iota // it was taken
	RefusedKnown                          // it is in the pool already: nothing to do
	RefusedLedger                         // the ledger would refuse it: see Refusal.Reason
	RefusedNonceTaken                     // the pool has another op of the account with this nonce
	RefusedAccountFull                    // the account has as much in the pool as one may have
	RefusedPoolFull                       // try another validator, or later
	RefusedDisplaced                      // it was in the pool and made room for accounts that had less there
	RefusedExpired                        // commit time has passed its window: it can never execute
	RefusedStale                          // our clock is well past its window; it may still be in a block of somebody
	RefusedObserver                       // we never propose: send it to a validator
	RefusedStopped                        // see Effects.Alarm
	RefusedRecovering                     // we may not propose yet: send it to another validator
	refusalEnd
)

// String is the code as programs see it.
func (c RefusalCode) String() string {
	return [...]string{"TAKEN", "KNOWN", "LEDGER", "NONCE_TAKEN", "ACCOUNT_FULL", "POOL_FULL", "DISPLACED",
		"EXPIRED", "STALE", "OBSERVER", "STOPPED", "RECOVERING"}[c%refusalEnd]
}

// Alarm is a reason to stop that no restart cures: a person has to look.
type Alarm string

const (
	AlarmNone Alarm = ""
	// AlarmRoot: validators of more than F weight signed another state for a commit
	// of ours. Ours, or theirs, is wrong; see Evidence on disk under checkpoint/.
	AlarmRoot Alarm = "more than F weight signed another state root for a checkpoint"
	// AlarmFork: the commit rule saw two committed blocks in one slot, or a quorum
	// certified another commit than ours: more than F weight is faulty.
	AlarmFork Alarm = "two orders are certified: more than F weight is faulty"
	// AlarmTwin: a block of ours arrived that we did not make: another process
	// has our key, or our disk was set back.
	AlarmTwin Alarm = "another process signs with this validator's key"
	// AlarmDisk: what was read back from the disk is not what was written.
	AlarmDisk Alarm = "the disk returns damaged records"
)
