package api

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/holdfast-mesh/holdfast/node/ledger"
)

// Bounds that a Backend and the server agree on.
const (
	// OpsMax is how many operations one request may submit: two blocks' worth of
	// small ones, and one batch of signatures.
	OpsMax = 512
	// PageMax is how many entries of a list one answer has at most.
	PageMax = 1000
)

// Backend is what a node provides. All methods may be called by many goroutines
// at once, and what they return is the caller's to read and nobody's to change,
// unless a comment says otherwise.
//
// A method that takes no context answers from memory at once; one that does may
// read the disk or wait, and returns soon with the context's error when it ends
// first: a server that shuts down waits for it.
// Errors are those below, or failures of the disk: they are logged and shown as
// an internal error without their text.
type Backend interface {
	// View calls read with the ledger as of the newest executed commit, under a
	// read lock that holds the node's loop up: read is short, keeps nothing of the
	// ledger, and calls neither Root, Head, AppendProof, Snapshot nor Apply, which
	// write to it.
	View(read func(l *ledger.Ledger, asOf AsOf))

	// Prove returns a proof of an account's state under the root of the newest
	// executed commit; ok is false when there is no such account. It holds the
	// loop up for as long as a root takes, so the server asks for few at a time.
	Prove(account ledger.Account) (p Proven, ok bool)

	// AsOf says what View would say, without the ledger.
	AsOf() AsOf

	// Status describes the node; the server fills in AsOf. Peers are those it
	// knows of, validators first; Committee is that of the running epoch.
	Status() Status
	Peers() []Peer
	Committee() Committee

	// Submit takes up to OpsMax operations, each in canonical bytes, which the
	// backend keeps. It verifies them, makes those it takes durable, all in one
	// sync, and returns what became of each, in order: OpPending for one that is
	// durable now (P4), OpRejected for one that is malformed, badly signed or that
	// the ledger would refuse as a whole, or the status of one it knows already.
	// With an error none was taken: *BusyError, ErrDiskFull or ErrStopped.
	Submit(ctx context.Context, ops [][]byte) ([]OpStatus, error)

	// Op says how an operation stands, OpUnknown if this node has never seen it.
	// Wait returns when it has ended, or when ctx ends, with its present status and
	// no error.
	Op(ctx context.Context, id ledger.Digest) (OpStatus, error)
	Wait(ctx context.Context, id ledger.Digest) (OpStatus, error)

	// Next waits for the commit after the one with this index to be executed and
	// returns it: the stream of all that happens. View shows it by then. The newest
	// thousand or so are kept; of an older one the error is *TooOldError. One value
	// serves all callers.
	Next(ctx context.Context, after uint64) (*Executed, error)

	// Commit returns a commit, Block the DAG-CBOR bytes of a block, Checkpoint
	// the newest certified checkpoint. ErrNotFound: there is none (yet);
	// *TooOldError: it is pruned.
	Commit(ctx context.Context, index uint64) (Commit, error)
	Block(ctx context.Context, id ledger.Digest) ([]byte, error)
	Checkpoint(ctx context.Context) (Checkpoint, error)

	// Trades returns the newest trades of a market before a cursor, newest first,
	// at most most: records of the kind ledger.EventTrade. History returns an
	// account's records in the same way, those in which it is a party. The zero
	// cursor stands for the end. Both have all that View showed before the call.
	Trades(ctx context.Context, market ledger.MarketID, before Cursor, most int) ([]Record, error)
	History(ctx context.Context, account ledger.Account, before Cursor, most int) ([]Record, error)

	// Candles returns a market's candles that begin at or after fromMs, oldest
	// first, at most most. Intervals without a trade have none.
	Candles(ctx context.Context, market ledger.MarketID, interval Interval, fromMs int64, most int) ([]Bar, error)
}

// What a Backend says no with.
var (
	// ErrNotFound: what was asked for does not exist here.
	ErrNotFound = errors.New("api: there is no such thing here")
	// ErrDiskFull: operations cannot be made durable, so none is taken. Reads work.
	ErrDiskFull = errors.New("api: the node's disk is full")
	// ErrStopped: the node is shutting down, or an alarm keeps it from taking
	// operations; see Status.Alarm.
	ErrStopped = errors.New("api: the node takes no operations")
)

// BusyError says that there is no room now and when to try again.
type BusyError struct {
	What  string // what is full, such as "the pool of operations"
	After time.Duration
}

func (e *BusyError) Error() string {
	return fmt.Sprintf("api: %s is full, try again in %v", e.What, e.After)
}

// TooOldError says that the node does not keep what was asked for any more.
type TooOldError struct {
	Oldest uint64 // index of the oldest commit it does keep
}

func (e *TooOldError) Error() string {
	return fmt.Sprintf("api: nothing before commit %d is kept here", e.Oldest)
}

// OpState is where an operation is in its life:
//
//	unknown -> pending -> included -> final | rejected
//	           pending ----------------------> rejected | expired
//
// Final, rejected and expired are for ever.
type OpState string

const (
	OpUnknown  OpState = "unknown"  // this node has never seen it
	OpPending  OpState = "pending"  // durable here, and on its way
	OpIncluded OpState = "included" // in a block that is not committed yet
	OpFinal    OpState = "final"    // committed and executed; actions may be refused one by one
	OpRejected OpState = "rejected" // refused as a whole, by this node or in a commit
	OpExpired  OpState = "expired"  // its window is over: it can never execute
)

// Codes of an operation that never got to the ledger. One for another network
// is ledger.ReasonWrongNetwork.
const (
	CodeBadFormat    = "BAD_FORMAT" // it is not exactly one operation in canonical bytes
	CodeBadSignature = "BAD_SIGNATURE"
)

// Ended says whether the state will never change.
func (s OpState) Ended() bool { return s == OpFinal || s == OpRejected || s == OpExpired }

// OpStatus is how an operation stands.
type OpStatus struct {
	ID    ledger.Digest
	State OpState
	// Reason says why the whole op is rejected, if it is one of the ledger's. Else
	// Code is CodeBadFormat or CodeBadSignature. Detail is a sentence to show
	// instead of the reason's own.
	Reason       ledger.Reason
	Code, Detail string
	// ExpiresMs is the last commit time at which it can execute; 0: not known.
	ExpiresMs int64
	// Commit and Position say where it was executed, if State is OpFinal, or
	// OpRejected by a commit; Position is among the commit's operations.
	Commit   uint64
	Position uint32
	TimeMs   int64 // the commit's time
	// Actions is how many it has; bit i of Refused is set when action i was
	// refused. Records are what it did, in order, if the node still knows.
	Actions int
	Refused uint64
	Records []Record
}

// Executed is a commit that was executed, with all that happened in it.
type Executed struct {
	Index   uint64
	TimeMs  int64
	Digest  ledger.Digest
	Ops     int
	Records []Record // record i has the cursor {Index, i}
}

// Proven is a proof of one account's state.
type Proven struct {
	Root  ledger.Digest // what the proof verifies against
	Proof []byte        // see ledger.VerifyProof
	AsOf  AsOf
}

// Interval is how long a candle is.
type Interval string

// Intervals are those a node keeps candles of.
var Intervals = []Interval{"1m", "5m", "1h", "1d"}

// Ms returns the interval's length in milliseconds, 0 if there is no such one.
func (i Interval) Ms() int64 {
	switch i {
	case "1m":
		return 60_000
	case "5m":
		return 300_000
	case "1h":
		return 3600_000
	case "1d":
		return 24 * 3600_000
	}
	return 0
}

// Bar is a candle in the market's own units.
type Bar struct {
	StartMs                int64 // a multiple of the interval since 1970, in commit time
	Open, High, Low, Close ledger.Ticks
	Lots                   ledger.Amount // a sum may exceed what one order can say
	Worth                  ledger.Amount // in the quote asset's units
	Trades                 uint64
}
