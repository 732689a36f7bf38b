package ledger

// Reason says why something was refused. The list is closed: a client may
// switch on it, and the numbers are part of the snapshot format, so that new
// reasons are added at the end and none is ever reused.
//
// A Reason other than ReasonNone is an error, with a sentence for people.
type Reason uint8

const (
	ReasonNone Reason = iota // nothing was refused

	// The operation as a whole.
	ReasonWrongNetwork
	ReasonUnknownAccount
	ReasonTimestamp
	ReasonNonceUsed
	ReasonNonceTooLow
	ReasonNonceWindow
	ReasonBadFormat

	// Numbers.
	ReasonBadPrecision
	ReasonBadAmount
	ReasonOverflow

	// Orders.
	ReasonUnknownMarket
	ReasonMarketClosed
	ReasonPriceFilter
	ReasonLotSize
	ReasonNotional
	ReasonMaxNumOrders
	ReasonExpired
	ReasonDuplicateClientID
	ReasonInsufficientBalance
	ReasonWouldTake
	ReasonFOKKilled
	ReasonNoLiquidity
	ReasonUnknownOrder
	ReasonAmendBelowExecuted
	ReasonAmendNotSmaller
	ReasonCancelFailedNewNotAttempted

	// Wallets.
	ReasonUnknownAsset
	ReasonUnknownWithdrawal
	ReasonBadState
	ReasonFeeTooLow
	ReasonMaxNumWithdrawals
	ReasonMaxNumAccounts
	ReasonNotCustodian
	ReasonDuplicateAttestation
	ReasonAlreadyCredited
	ReasonMaxNumDeposits

	// Governance.
	ReasonNotGovernor
	ReasonDuplicateVote
	ReasonMaxNumProposals
	ReasonBadProposal

	reasonEnd
)

// reasonTexts holds, for each reason, its code and its sentence. A sentence
// says what is the matter and, where there is something to do, what.
var reasonTexts = [reasonEnd][2]string{
	ReasonNone:           {"", "Nothing was refused."},
	ReasonWrongNetwork:   {"WRONG_NETWORK", "The operation is signed for another network."},
	ReasonUnknownAccount: {"UNKNOWN_ACCOUNT", "The account has never received anything on this network; deposit or transfer to it first."},
	ReasonTimestamp:      {"TIMESTAMP", "The operation's time is a second or more ahead of the commit's, or its window is over; sign it again with the current time."},
	ReasonNonceUsed:      {"NONCE_USED", "The account has used this nonce; sign again with a new one."},
	ReasonNonceTooLow:    {"NONCE_TOO_LOW", "The nonce is not above the lowest of those remembered; use the current time in milliseconds."},
	ReasonNonceWindow:    {"NONCE_WINDOW", "The nonce, read as milliseconds, is not within two days before and one day after the commit's time."},
	ReasonBadFormat:      {"BAD_FORMAT", "The operation is not well-formed for this network."},

	ReasonBadPrecision: {"BAD_PRECISION", "The number has more decimals than the asset."},
	ReasonBadAmount:    {"BAD_AMOUNT", "The amount must be above zero."},
	ReasonOverflow:     {"OVERFLOW", "The numbers are too large to be multiplied or summed up."},

	ReasonUnknownMarket:               {"UNKNOWN_MARKET", "There is no such market."},
	ReasonMarketClosed:                {"MARKET_CLOSED", "The market takes no such orders now; cancels, transfers and withdrawals work."},
	ReasonPriceFilter:                 {"PRICE_FILTER", "The price must be above zero and a whole number of the market's price steps."},
	ReasonLotSize:                     {"LOT_SIZE", "The quantity must be above zero and a whole number of the market's lots."},
	ReasonNotional:                    {"NOTIONAL", "The order is worth less than the market's minimum."},
	ReasonMaxNumOrders:                {"MAX_NUM_ORDERS", "The account has as many open orders as the market allows; cancel some first."},
	ReasonExpired:                     {"EXPIRED", "The order's time to expire has already passed."},
	ReasonDuplicateClientID:           {"DUPLICATE_CLIENT_ID", "An open order of the account has this client id."},
	ReasonInsufficientBalance:         {"INSUFFICIENT_BALANCE", "The account's available balance does not cover it."},
	ReasonWouldTake:                   {"WOULD_TAKE", "The post-only order would trade at once."},
	ReasonFOKKilled:                   {"FOK_KILLED", "The order cannot be filled completely at once."},
	ReasonNoLiquidity:                 {"NO_LIQUIDITY", "There is no order to trade with."},
	ReasonUnknownOrder:                {"UNKNOWN_ORDER", "The account has no such open order; it may have been filled, cancelled or expired."},
	ReasonAmendBelowExecuted:          {"AMEND_BELOW_EXECUTED", "The new quantity is not above what has been executed; cancel the order instead."},
	ReasonAmendNotSmaller:             {"AMEND_NOT_SMALLER", "The new quantity is not below the order's; only a reduction keeps its place, replace it instead."},
	ReasonCancelFailedNewNotAttempted: {"CANCEL_FAILED_NEW_NOT_ATTEMPTED", "There was no such open order to replace, so the new one was not placed."},

	ReasonUnknownAsset:         {"UNKNOWN_ASSET", "There is no such asset."},
	ReasonUnknownWithdrawal:    {"UNKNOWN_WITHDRAWAL", "The account has no such withdrawal."},
	ReasonBadState:             {"BAD_STATE", "The withdrawal's state does not allow it."},
	ReasonFeeTooLow:            {"FEE_TOO_LOW", "The fee is below the asset's minimum withdrawal fee."},
	ReasonMaxNumWithdrawals:    {"MAX_NUM_WITHDRAWALS", "The account has as many open withdrawals as are allowed; wait for one to complete."},
	ReasonMaxNumAccounts:       {"MAX_NUM_ACCOUNTS", "The network holds as many accounts as it can; no new one can receive."},
	ReasonNotCustodian:         {"NOT_CUSTODIAN", "Only a custodian of this network may do that."},
	ReasonDuplicateAttestation: {"DUPLICATE_ATTESTATION", "The custodian has already spoken on this deposit or withdrawal."},
	ReasonAlreadyCredited:      {"ALREADY_CREDITED", "The deposit has been credited."},
	ReasonMaxNumDeposits:       {"MAX_NUM_DEPOSITS", "The custodian has begun as many deposits as may wait for others; let some be credited first."},

	ReasonNotGovernor:     {"NOT_GOVERNOR", "Only a governor of this network may do that."},
	ReasonDuplicateVote:   {"DUPLICATE_VOTE", "The governor has already voted for this."},
	ReasonMaxNumProposals: {"MAX_NUM_PROPOSALS", "The governor has opened as many proposals as may wait for votes; let some pass or expire first."},
	ReasonBadProposal:     {"BAD_PROPOSAL", "What is proposed breaks a rule of the network's values, or is there already."},
}

// String returns the code, as programs see it: PRICE_FILTER. It is empty for
// ReasonNone.
func (r Reason) String() string {
	if r >= reasonEnd {
		return "UNKNOWN_REASON"
	}
	return reasonTexts[r][0]
}

// Sentence returns what a person should read.
func (r Reason) Sentence() string {
	if r >= reasonEnd {
		return "The reason is unknown to this version."
	}
	return reasonTexts[r][1]
}

// Error returns the code and the sentence.
func (r Reason) Error() string { return r.String() + ": " + r.Sentence() }

// ParseReason returns the reason with this code.
func ParseReason(code string) (r Reason, ok bool) {
	for r = ReasonNone + 1; r < reasonEnd; r++ {
		if reasonTexts[r][0] == code {
			return r, true
		}
	}
	return ReasonNone, false
}
