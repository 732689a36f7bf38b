package main

import (
	"fmt"

	"github.com/holdfast-mesh/holdfast/node/api"
)

// eventLine writes an event for people.
func eventLine(e *api.Event) string {
	switch e.Kind {
	case "placed":
		return fmt.Sprintf("order %d: %s %s on %s, %s: %s of it traded, %s rests", e.Order, e.Side, orDash(e.Quantity), e.Market, e.State, orZero(e.Executed), orZero(e.Remaining))
	case "trade":
		return fmt.Sprintf("traded %s at %s on %s: order %d (%s) with order %d", e.Quantity, e.Price, e.Market, e.Order, e.Side, e.Maker)
	case "reduced":
		return fmt.Sprintf("order %d reduced to %s", e.Order, orZero(e.Remaining))
	case "canceled":
		return fmt.Sprintf("order %d canceled, %s was left", e.Order, orZero(e.Remaining))
	case "expired":
		return fmt.Sprintf("order %d expired, %s was left", e.Order, orZero(e.Remaining))
	case "cancel-failed":
		return "nothing to cancel: " + reasonText(e.Reason, e.Detail)
	case "all-canceled":
		return fmt.Sprintf("%d orders canceled", e.Count)
	case "transferred":
		return fmt.Sprintf("%s %s from %s to %s", e.Amount, e.Asset, short(e.Account), short(e.Counterparty))
	case "attested":
		return fmt.Sprintf("%s %s attested by %d so far", e.Amount, e.Asset, e.Votes)
	case "deposited":
		return fmt.Sprintf("%s %s deposited to %s", e.Amount, e.Asset, short(e.Account))
	case "withdrawal":
		return fmt.Sprintf("withdrawal %d of %s %s, fee %s: %s", e.Withdrawal, e.Amount, e.Asset, orZero(e.Fee), e.WithdrawalState)
	case "rejected":
		return "refused: " + reasonText(e.Reason, e.Detail)
	case "duplicate":
		return fmt.Sprintf("the same operation was executed in commit %d", e.First)
	case "voted":
		return fmt.Sprintf("%d governors have voted for it so far", e.Votes)
	case "committee-set":
		return "enough governors have voted for it: the committee changes"
	case "market-status":
		return fmt.Sprintf("%s is %s now", e.Market, e.Status)
	}
	return e.Kind
}

func orZero(number string) string {
	if number == "" {
		return "0"
	}
	return number
}

// short is enough of an account to recognise it by.
func short(account string) string {
	if len(account) <= 16 {
		return orDash(account)
	}
	return account[:12] + ".."
}
