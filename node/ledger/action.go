package ledger

// Kind says what an action does.
type Kind uint8

// The kinds of action. Who may use one stands beside it; a person is any account.
const (
	_                      Kind = iota
	KindPlace                   // put an order into a market
	KindAmend                   // reduce an open order's quantity, keeping its priority
	KindCancel                  // withdraw an open order
	KindCancelAll               // withdraw all open orders, of a market or of every market
	KindReplace                 // cancel, then place
	KindTransfer                // move available funds to another account
	KindWithdraw                // ask the custodians to pay out
	KindCancelWithdrawal        // take back a withdrawal nobody has signed
	KindAttestDeposit           // custodians: funds have arrived
	KindSignWithdrawal          // custodians: the payment is signed and on its way
	KindCompleteWithdrawal      // custodians: the payment has arrived
	KindFailWithdrawal          // custodians: the payment will never arrive
	KindListAsset               // governors
	KindListMarket              // governors
	KindSetMarketStatus         // governors
	KindSetCommittee            // governors
	KindSetParams               // governors
	kindEnd
)

// Side of an order.
type Side uint8

const (
	Buy Side = iota
	Sell
)

// OrderType says how an order meets the book.
type OrderType uint8

const (
	Limit       OrderType = iota
	PostOnly              // a limit order that is refused rather than take
	MarketOrder           // no price; by base quantity, or for a buy by quote budget
)

// TimeInForce says how long a limit order stands.
type TimeInForce uint8

const (
	GTC TimeInForce = iota // until cancelled
	IOC                    // what does not trade at once expires
	FOK                    // all at once or nothing
	GTD                    // until ExpireAtMs
)

// STP is what happens when an account's order would trade with its own.
type STP uint8

const (
	STPDefault  STP = iota // the market's mode
	ExpireMaker            // the resting order leaves
	ExpireTaker            // the incoming order's rest leaves
	ExpireBoth
	Decrement // both shrink by the smaller, without trade or fee
	AllowSelf // they trade like strangers
)

// Action is one step of an operation. It is one flat record for all kinds, so
// that a batch of orders is read in order and allocates nothing; what only
// rare kinds need stands behind Detail. The comment of each field says which
// kinds use it; in all others it is zero, and DecodeOp refuses anything else.
type Action struct {
	Kind Kind
	Side Side        // Place, Replace
	Type OrderType   // Place, Replace
	TIF  TimeInForce // Place, Replace: for Limit and PostOnly
	STP  STP         // Place, Replace
	// ContinueOnFailure: Replace places even if there is nothing to cancel.
	// The default is to stop.
	ContinueOnFailure bool
	// AllMarkets: CancelAll takes every market, and Market is zero.
	AllMarkets bool
	Status     Status   // SetMarketStatus
	Market     MarketID // Place, Replace, CancelAll, SetMarketStatus
	Asset      AssetID  // Transfer, Withdraw, AttestDeposit

	Price      Ticks // Place, Replace: zero for a MarketOrder
	Quantity   Lots  // Place, Replace: zero when Budget counts; Amend: the new quantity, executed part included
	ExpireAtMs int64 // Place, Replace: for GTD

	// Order is the order of Amend, Cancel, Replace, or zero when Target names
	// it; Withdrawal is the withdrawal of the kinds that act on one.
	Order      OrderID
	Withdrawal WithdrawalID
	Target     ClientID // Amend, Cancel, Replace: by the account's own name
	ClientID   ClientID // Place, Replace: the new order's name

	// Amount is what Transfer, Withdraw and AttestDeposit move, in units of
	// Asset; for Place and Replace it is the budget of a market buy by quote
	// quantity, in the quote asset's units.
	Amount Amount
	Detail *Detail
}

// Detail holds what only some kinds need, so that orders stay small. It is
// immutable once decoded.
type Detail struct {
	Account   Account // Transfer: to whom; AttestDeposit: for whom
	Fee       Amount  // Withdraw: what the account pays on top
	Reference string  // AttestDeposit: the deposit's id; Withdraw: the address; CompleteWithdrawal: the transaction

	NewAsset     *Asset     // ListAsset
	NewMarket    *Market    // ListMarket
	NewCommittee *Committee // SetCommittee
	NewParams    *Params    // SetParams
}
