package api

import (
	"github.com/holdfast-mesh/holdfast/node/ledger"
)

// event writes a record as programs and people see it: the fields its kind has,
// and no others.
func (n *listing) event(r *Record) Event {
	e := Event{Cursor: r.Cursor, TimeMs: r.TimeMs, Kind: r.Kind.String(), Account: accountText(r.Account), Counterparty: accountText(r.Counterparty)}
	if r.Op != (ledger.Digest{}) {
		e.Op = r.Op.String()
		if r.Action != ledger.NoAction {
			action := int(r.Action)
			e.Action = &action
		}
	}
	if r.Reason != ledger.ReasonNone {
		e.Reason, e.Detail = r.Reason.String(), r.Reason.Sentence()
	}
	switch r.Kind {
	case ledger.EventDuplicate:
		e.First = r.First
	case ledger.EventPlaced, ledger.EventTrade, ledger.EventReduced, ledger.EventCanceled, ledger.EventExpired:
		n.order(&e, r)
	case ledger.EventAllCanceled:
		e.Count = uint64(r.Quantity)
	case ledger.EventTransferred, ledger.EventAttested, ledger.EventDeposited:
		e.Asset, e.Amount, e.Votes = n.asset(r.Asset).Symbol, n.amount(r.Asset, r.Amount), int(r.Votes)
	case ledger.EventWithdrawal:
		e.Asset, e.Amount, e.Votes = n.asset(r.Asset).Symbol, n.amount(r.Asset, r.Amount), int(r.Votes)
		e.Fee, e.FeeAsset = n.amount(r.Asset, r.Fee), n.asset(r.Asset).Symbol
		e.Withdrawal, e.WithdrawalState = uint64(r.Withdrawal), r.WithdrawalState.String()
	case ledger.EventVoted:
		e.Votes = int(r.Votes)
	case ledger.EventAssetListed:
		e.Asset = n.asset(r.Asset).Symbol
	case ledger.EventMarketListed:
		e.Market = n.symbol(r.Market)
	case ledger.EventMarketStatus:
		e.Market, e.Status = n.symbol(r.Market), r.Status.String()
	}
	return e
}

// order writes what is about an order in a market.
func (n *listing) order(e *Event, r *Record) {
	m := r.Market
	e.Market, e.Side, e.Order, e.State = n.symbol(m), r.Side.String(), uint64(r.Order), r.State.String()
	e.Executed = n.quantity(m, r.Executed)
	if r.Price != 0 {
		e.Price = n.price(m, r.Price)
	}
	if r.Quantity != 0 {
		e.Quantity = n.quantity(m, r.Quantity)
	}
	if r.Kind != ledger.EventTrade {
		e.Remaining = n.quantity(m, r.Remaining)
	}
	switch r.Kind {
	case ledger.EventPlaced:
		e.Amount = n.worth(m, r.Amount)
	case ledger.EventTrade:
		e.Amount, e.Remaining, e.Maker = n.worth(m, r.Amount), n.quantity(m, r.Remaining), uint64(r.Maker)
		e.Fee, e.FeeAsset = n.fee(m, r.Side, r.Fee, r.Rebate)
		e.MakerFee, e.MakerFeeAsset = n.fee(m, r.Side^1, r.MakerFee, r.MakerRebate)
	}
}

// fee writes what a side of a trade has paid, and in which asset.
func (n *listing) fee(m ledger.MarketID, side ledger.Side, fee ledger.Amount, rebate bool) (text, asset string) {
	market := n.market(m)
	in := market.Quote
	if market.FeeAsset == ledger.FeeReceived && side == ledger.Buy {
		in = market.Base
	}
	text = n.amount(in, fee)
	if rebate && !fee.IsZero() {
		text = "-" + text
	}
	return text, n.asset(in).Symbol
}

// trade writes a record of a trade for those who watch the market.
func (n *listing) trade(r *Record) Trade {
	return Trade{
		Cursor: r.Cursor, TimeMs: r.TimeMs, Side: r.Side.String(), TakerOrder: uint64(r.Order), MakerOrder: uint64(r.Maker), Op: r.Op.String(),
		Price: n.price(r.Market, r.Price), Quantity: n.quantity(r.Market, r.Quantity), Amount: n.worth(r.Market, r.Amount),
	}
}

// op writes how an operation stands.
func (n *listing) op(s *OpStatus) Op {
	o := Op{Op: s.ID.String(), Status: s.State, ExpiresMs: s.ExpiresMs}
	o.Reason, o.Detail = s.why()
	if s.Commit != 0 {
		position := s.Position
		o.Commit, o.Position, o.TimeMs = s.Commit, &position, s.TimeMs
	}
	if s.State == OpFinal {
		o.Actions = n.results(s)
	}
	return o
}

// why returns the code and the sentence of a rejection.
func (s *OpStatus) why() (code, detail string) {
	code, detail = s.Code, s.Detail
	if s.Reason != ledger.ReasonNone {
		code = s.Reason.String()
		if detail == "" {
			detail = s.Reason.Sentence()
		}
	}
	return code, detail
}

// results writes what became of an operation's actions.
func (n *listing) results(s *OpStatus) []ActionResult {
	all := make([]ActionResult, s.Actions)
	for i := range all {
		all[i].Refused = s.Refused>>i&1 == 1
	}
	for i := range s.Records {
		r := &s.Records[i]
		if int(r.Action) >= len(all) {
			continue
		}
		a, e := &all[r.Action], n.event(r)
		a.Events = append(a.Events, e)
		if r.Outcome {
			a.Reason, a.Detail, a.Order, a.State = e.Reason, e.Detail, e.Order, e.State
		}
	}
	return all
}

// accountText is an account's text, or nothing for the zero one.
func accountText(a ledger.Account) string {
	if a == (ledger.Account{}) {
		return ""
	}
	return a.String()
}
