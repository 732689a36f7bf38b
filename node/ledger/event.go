package ledger

import "math"

// OrderState is where an order is in its life.
type OrderState uint8

const (
	_                    OrderState = iota
	StateNew                        // open, nothing executed
	StatePartiallyFilled            // open, something executed
	StateFilled
	StateCanceled
	StateExpired        // the rest of an IOC or market order, or a passed ExpireAtMs
	StateExpiredInMatch // by self-trade prevention
	orderStateEnd
)

// String returns the state as programs see it: PARTIALLY_FILLED.
func (s OrderState) String() string {
	return [...]string{"", "NEW", "PARTIALLY_FILLED", "FILLED", "CANCELED", "EXPIRED", "EXPIRED_IN_MATCH"}[s%orderStateEnd]
}

// Open says whether an order in this state stands in the book.
func (s OrderState) Open() bool { return s == StateNew || s == StatePartiallyFilled }

// WithdrawalState is where a withdrawal is in its life:
//
//	PENDING -> BROADCAST -> COMPLETED
//	PENDING -> CANCELED
//	PENDING or BROADCAST -> FAILED
type WithdrawalState uint8

const (
	_                   WithdrawalState = iota
	WithdrawalPending                   // amount and fee are held; the account can cancel
	WithdrawalBroadcast                 // custodians have signed the payment
	WithdrawalCompleted                 // the amount has left, the fee is taken
	WithdrawalFailed                    // all is available again
	WithdrawalCanceled                  // all is available again
	withdrawalStateEnd
)

// String returns the state as programs see it: BROADCAST.
func (s WithdrawalState) String() string {
	return [...]string{"", "PENDING", "BROADCAST", "COMPLETED", "FAILED", "CANCELED"}[s%withdrawalStateEnd]
}

// EventKind says what happened, and so which fields of an Event count. Kind,
// Op, Action and Outcome always do; a field that no comment names is zero.
type EventKind uint8

const (
	_ EventKind = iota

	// EventRejected: Reason. The action changed nothing; with Action == NoAction
	// the whole op changed nothing but its nonce. Account.
	EventRejected
	// EventDuplicate: the same bytes were ordered before, in commit First, and
	// nothing happens now. Account; Reason is what the op as a whole ended
	// with then. Ledger.Result tells more.
	EventDuplicate

	// EventPlaced: an order was taken and has traded what it could. Account,
	// Market, Side, Order, Price (zero for a market order), Quantity as asked (zero
	// if by budget), Executed, Amount (what it traded for, in quote), Remaining
	// (what rests in the book now) and State.
	EventPlaced
	// EventTrade: a fill, before the EventPlaced of its taker. Account, Order, Side
	// and Fee are the taker's, Counterparty, Maker and MakerFee the resting
	// order's. Market, Price, Quantity, Amount (in quote); State and Remaining are
	// the resting order's after it, Executed is the taker's so far. Which asset a
	// fee is in follows from the market's FeeAsset and the side.
	EventTrade
	// EventReduced: an open order shrank by Quantity to Remaining and kept its
	// place, by an amendment (the outcome) or by Decrement. Account, Market, Side,
	// Order, Price, Executed, State.
	EventReduced
	// EventCanceled: an open order left the book at its owner's wish. Account,
	// Market, Side, Order, Price, Executed, Remaining (what left), State.
	EventCanceled
	// EventExpired: as EventCanceled, but by time (Op == NoOp) or by the owner's
	// taker's self-trade prevention.
	EventExpired
	// EventCancelFailed: Reason. A replace found nothing to cancel and goes on. Account.
	EventCancelFailed
	// EventAllCanceled: ends a cancel_all, after an EventCanceled for each order in
	// order-id order; Quantity is how many. Account.
	EventAllCanceled

	// EventTransferred: Account to Counterparty, Asset, Amount.
	EventTransferred
	// EventAttested: a custodian's word was counted, more are needed. Account is
	// the custodian, Counterparty is not set; Asset, Amount, Votes.
	EventAttested
	// EventDeposited: Account was credited. Asset, Amount, Votes.
	EventDeposited
	// EventWithdrawal: a withdrawal was made, changed its state, or (Votes above
	// zero and Withdrawal unchanged) a custodian's word on it was counted. Account
	// is who withdraws; Withdrawal, Asset, Amount, Fee, WithdrawalState, Votes.
	EventWithdrawal

	// EventVoted: a governor's vote was counted, more are needed. Account, Votes.
	EventVoted
	// EventAssetListed: Asset.
	EventAssetListed
	// EventMarketListed: Market.
	EventMarketListed
	// EventMarketStatus: Market, Status.
	EventMarketStatus
	// EventCommitteeSet: the committee in the action's Detail is the one to change
	// to; Ledger.Committee returns it from now on.
	EventCommitteeSet
	// EventParamsSet: the parameters in the action's Detail are in force.
	EventParamsSet
	// EventReopening: commits had paused; until commit time UntilMs all trading
	// markets take post-only orders alone. Op == NoOp.
	EventReopening
	eventKindEnd
)

// String returns the kind in lower case, for logs and texts.
func (k EventKind) String() string {
	return [...]string{"", "rejected", "duplicate", "placed", "trade", "reduced", "canceled", "expired",
		"cancel-failed", "all-canceled", "transferred", "attested", "deposited", "withdrawal", "voted",
		"asset-listed", "market-listed", "market-status", "committee-set", "params-set", "reopening"}[k%eventKindEnd]
}

// AccountRef is an account's position in the order of first appearance in the
// ledger, the same on every node and for ever. Ledger.Account tells its key.
type AccountRef uint32

const (
	// NoOp is the Op of an event that no operation caused.
	NoOp = math.MaxUint32
	// NoAction is the Action of an event about a whole operation, or none.
	NoAction = math.MaxUint8
)

// Event is something that happened to the ledger. It is a flat record: what
// fields mean, EventKind says. An op's bytes and an action's details are found
// at Batch.Ops[Op] and there at Actions()[Action].
//
// An event's cursor is the commit's index and the event's position in what
// Apply returned; see Cursor.
type Event struct {
	Kind            EventKind
	Reason          Reason
	State           OrderState
	WithdrawalState WithdrawalState
	Side            Side
	Status          Status
	Action          uint8
	Votes           uint8
	// Outcome: the last event of its action, or of an op that no action of ran.
	// Every action of an op that ran has exactly one, in order.
	Outcome bool
	// Rebate and MakerRebate: Fee and MakerFee were paid to the order's account,
	// not by it.
	Rebate, MakerRebate bool

	Market       MarketID
	Asset        AssetID
	Op           uint32 // position in Batch.Ops
	Account      AccountRef
	Counterparty AccountRef

	Order      OrderID
	Maker      OrderID
	Withdrawal WithdrawalID
	First      uint64 // index of a commit
	UntilMs    int64
	Price      Ticks
	Quantity   Lots
	Executed   Lots
	Remaining  Lots
	Amount     Amount
	Fee        Amount
	MakerFee   Amount
}

// Cursor names an event for ever: the Position-th event of the commit with
// this index. Cursors are ordered by Commit, then Position.
type Cursor struct {
	Commit   uint64
	Position uint32
}

// Result is how an operation ended, as the ledger keeps it for as long as it
// keeps the op's nonce. The events of the commit tell everything.
type Result struct {
	ID      Digest
	Nonce   uint64
	Commit  uint64 // the commit that executed it
	Op      uint32 // its position in that commit's Batch.Ops
	Reason  Reason // why the whole op was refused, or ReasonNone
	Refused uint64 // bit i is set when action i was refused
}
