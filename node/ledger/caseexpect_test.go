package ledger

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"slices"
)

// What a case expects of an op, and at its end.

// compare compares an op's answer with each expectation.
func (r *caseRun) compare(ans *answer, expect *bag) {
	for _, key := range expect.keys() {
		var want any
		if key == "trades" {
			trades, _ := expect.list(key)
			var these []Event
			for _, e := range ans.events {
				if e.Kind == EventTrade {
					these = append(these, e)
				}
			}
			r.compareTrades(expect.where, trades, these)
			continue
		}
		expect.take(key, &want)
		got, ok := r.answerTo(ans, key)
		if !ok {
			giveUp("%s: nobody knows what %s should be", expect.where, key)
		}
		if !sameValue(got, want) {
			giveUp("%s: %s is %v, not %v (reason %v, events %+v)", expect.where, key, got, want, ans.refused, ans.events)
		}
	}
}

// answerTo is the value of one field of an op's result.
func (r *caseRun) answerTo(ans *answer, key string) (value any, ok bool) {
	e := ans.outcome
	if ans.first != nil && key != "duplicate" {
		return r.answerTo(ans.first, key) // a duplicate's result is the first one's
	}
	switch key {
	case "result":
		if ans.refused != ReasonNone {
			return "REJECTED", true
		}
		return "ACCEPTED", true
	case "reason":
		return ans.refused.String(), true
	case "duplicate":
		return e != nil && e.Kind == EventDuplicate, true
	case "credited":
		return e != nil && e.Kind == EventDeposited, true
	case "cancel":
		return succeeded(ans.cancelled), true
	case "new":
		if ans.refused == ReasonCancelFailedNewNotAttempted {
			return "NOT_ATTEMPTED", true
		}
		return succeeded(e != nil && e.Kind == EventPlaced), true
	case "canceled", "cancelled", "expired", "orders":
		return ans.canceled, true
	case "count":
		return json.Number(fmt.Sprint(len(ans.canceled))), true
	case "status":
		return r.status(ans), true
	}
	if e == nil {
		return nil, false
	}
	m := &r.names.Markets[ans.market]
	switch key {
	case "executed":
		return json.Number(m.FormatQuantity(&r.names.Assets[m.Base], e.Executed)), true
	case "remaining":
		return json.Number(m.FormatQuantity(&r.names.Assets[m.Base], e.Remaining)), true
	case "quote":
		return json.Number(r.names.Assets[m.Quote].FormatAmount(e.Amount)), true
	}
	return nil, false
}

func succeeded(yes bool) string {
	if yes {
		return "SUCCESS"
	}
	return "FAILURE"
}

func (r *caseRun) status(ans *answer) string {
	switch e := ans.outcome; {
	case e == nil:
		return ""
	case ans.refused != ReasonNone:
		return "REJECTED"
	case e.Kind == EventWithdrawal:
		return e.WithdrawalState.String()
	case e.Kind == EventMarketStatus:
		return e.Status.String()
	default:
		return e.State.String()
	}
}

// sameValue compares numbers by value, whether written as numbers or as texts,
// and everything else as it is.
func sameValue(got, want any) bool {
	if number, ok := got.(json.Number); ok {
		g, _ := new(big.Rat).SetString(string(number))
		w, isNumber := new(big.Rat).SetString(fmt.Sprint(want))
		return isNumber && g.Cmp(w) == 0
	}
	if list, ok := got.([]string); ok {
		if count, ok := want.(float64); ok {
			return float64(len(list)) == count
		}
		wants, ok := want.([]any)
		if !ok || len(wants) != len(list) {
			return false
		}
		for i := range wants {
			if wants[i] != list[i] {
				return false
			}
		}
		return true
	}
	return got == want
}

// final compares the state at the end of a case.
func (r *caseRun) final(f *bag) {
	f.where = "final"
	if balances := f.bag("balances"); balances != nil {
		r.finalBalances(balances)
	}
	assets := r.l.Assets()
	totals := func(key string, of func(AssetTotals) Amount) {
		b := f.bag(key)
		if b == nil {
			return
		}
		none := len(b.left) == 0 // {}: nothing at all
		for id := range assets {
			got := json.Number(assets[id].FormatAmount(of(assets[id])))
			var want any
			if b.take(assets[id].Symbol, &want); want == nil && none && assets[id].Symbol != seed {
				want = "0"
			}
			if want != nil && !sameValue(got, want) {
				giveUp("final: %s of %s are %v, not %v", key, assets[id].Symbol, got, want)
			}
		}
		b.empty()
	}
	totals("fees", func(a AssetTotals) Amount { return a.Fees })
	totals("external_out", func(a AssetTotals) Amount { return a.Withdrawn })
	totals("external_in", func(a AssetTotals) Amount { return a.Deposited })
	if books := f.bag("book"); books != nil {
		for _, market := range books.keys() {
			book := books.bag(market)
			id, err := r.names.Market(market)
			if err != nil {
				giveUp("final: %v", err)
			}
			r.finalBook(id, Buy, "buy", book)
			r.finalBook(id, Sell, "sell", book)
			book.empty()
		}
	}
	if trades, there := f.list("trades"); there {
		r.compareTrades("final", trades, r.trades)
	}
	f.empty()
}

// finalBalances compares all balances of everybody: what is not said is zero.
func (r *caseRun) finalBalances(all *bag) {
	for _, who := range r.people {
		of := all.bag(who)
		for id := range r.names.Assets {
			symbol := r.names.Assets[id].Symbol
			if symbol == seed {
				continue
			}
			wantAvailable, wantHeld := "0", "0"
			if of != nil {
				if b := of.bag(symbol); b != nil {
					wantAvailable, wantHeld = b.text("available", "0"), b.text("held", "0")
					b.empty()
				}
			}
			available, held := r.l.Balance(r.account(who), AssetID(id))
			if available != r.amount(AssetID(id), wantAvailable) || held != r.amount(AssetID(id), wantHeld) {
				a := &r.names.Assets[id]
				giveUp("final: %s has %s available and %s held of %s, not %s and %s", who, a.FormatAmount(available), a.FormatAmount(held), symbol, wantAvailable, wantHeld)
			}
		}
		if of != nil {
			of.empty()
		}
	}
	all.empty()
}

// finalBook compares a side of a book, best first.
func (r *caseRun) finalBook(id MarketID, side Side, key string, book *bag) {
	want, there := book.list(key)
	if !there {
		return
	}
	m := &r.names.Markets[id]
	var got []OpenOrder
	var owners []AccountRef
	r.l.Book(id, side, func(o OpenOrder, of AccountRef) bool {
		got, owners = append(got, o), append(owners, of)
		return true
	})
	if len(got) != len(want) {
		giveUp("final: %d orders to %s in market %d, not %d", len(got), key, id, len(want))
	}
	for i, w := range want {
		for _, field := range w.keys() {
			var value, is any
			w.take(field, &value)
			base := &r.names.Assets[m.Base]
			switch field {
			case "id":
				is = r.orderName[got[i].ID]
			case "price":
				is = json.Number(m.FormatPrice(got[i].Price))
			case "remaining":
				is = json.Number(m.FormatQuantity(base, got[i].Remaining))
			case "executed":
				is = json.Number(m.FormatQuantity(base, got[i].Executed))
			case "qty":
				is = json.Number(m.FormatQuantity(base, got[i].Executed+got[i].Remaining))
			case "user":
				is = r.nameOf(owners[i])
			default:
				giveUp("final: nobody knows the field %s of an order", field)
			}
			if !sameValue(is, value) {
				giveUp("final: %s of order %d to %s is %v, not %v", field, i, key, is, value)
			}
		}
	}
}

func (r *caseRun) nameOf(of AccountRef) string {
	key := r.l.Account(of)
	for _, who := range slices.Sorted(maps.Keys(r.keys)) {
		if r.account(who) == key {
			return who
		}
	}
	return ""
}

// compareTrades compares all trades in order.
func (r *caseRun) compareTrades(where string, want []*bag, got []Event) {
	if len(got) != len(want) {
		giveUp("%s: %d trades, not %d", where, len(got), len(want))
	}
	for i, w := range want {
		e := &got[i]
		m := &r.names.Markets[e.Market]
		quote, base := &r.names.Assets[m.Quote], &r.names.Assets[m.Base]
		takerPays, makerPays := base, quote
		if e.Side == Sell {
			takerPays, makerPays = quote, base
		}
		if m.FeeAsset == FeeQuote {
			takerPays, makerPays = quote, quote
		}
		buyer, seller := e.Account, e.Counterparty
		if e.Side == Sell {
			buyer, seller = seller, buyer
		}
		for _, field := range w.keys() {
			var value, is any
			w.take(field, &value)
			switch field {
			case "price":
				is = json.Number(m.FormatPrice(e.Price))
			case "qty":
				is = json.Number(m.FormatQuantity(base, e.Quantity))
			case "quote":
				is = json.Number(quote.FormatAmount(e.Amount))
			case "maker", "maker_order":
				is = r.orderName[e.Maker]
			case "taker", "taker_order":
				is = r.orderName[e.Order]
			case "market":
				is = r.names.Symbol(e.Market)
			case "side", "taker_side":
				is = map[Side]string{Buy: "BUY", Sell: "SELL"}[e.Side]
			case "maker_user":
				is = r.nameOf(e.Counterparty)
			case "taker_user":
				is = r.nameOf(e.Account)
			case "buyer":
				is = r.nameOf(buyer)
			case "seller":
				is = r.nameOf(seller)
			case "maker_fee":
				is = signedFee(makerPays, e.MakerFee, e.MakerRebate)
			case "taker_fee":
				is = signedFee(takerPays, e.Fee, e.Rebate)
			default:
				giveUp("%s: nobody knows the field %s of a trade", where, field)
			}
			if !sameValue(is, value) {
				giveUp("%s: %s of trade %d is %v, not %v", where, field, i, is, value)
			}
		}
	}
}

func signedFee(a *Asset, fee Amount, rebate bool) json.Number {
	text := a.FormatAmount(fee)
	if rebate {
		text = "-" + text
	}
	return json.Number(text)
}

// checkFromOutside checks the cases' invariants by what any reader can see,
// with big numbers, and knows nothing of how the ledger keeps them.
func checkFromOutside(l *Ledger) error {
	assets, markets := l.Assets(), l.Markets()
	sums := make([]*big.Int, len(assets))
	for i := range assets {
		sums[i] = amountBig(assets[i].Fees)
	}
	for of := AccountRef(1); int(of) <= l.Accounts(); of++ {
		state, ok := l.State(l.Account(of))
		if !ok {
			return fmt.Errorf("account %d is not there", of)
		}
		holds := make([]*big.Int, len(assets))
		for i := range holds {
			holds[i] = new(big.Int)
		}
		for _, o := range state.Orders {
			m := markets[o.Market]
			n := new(big.Int).SetUint64(uint64(o.Remaining))
			if o.Side == Buy {
				n.Mul(n, new(big.Int).SetUint64(uint64(o.Price)))
				n.Mul(n, new(big.Int).SetUint64(m.TickLot))
				holds[m.Quote].Add(holds[m.Quote], n)
			} else {
				n.Mul(n, new(big.Int).SetUint64(m.Lot))
				holds[m.Base].Add(holds[m.Base], n)
			}
		}
		for _, w := range state.Withdrawals {
			holds[w.Asset].Add(holds[w.Asset], amountBig(w.Amount))
			holds[w.Asset].Add(holds[w.Asset], amountBig(w.Fee))
		}
		for _, b := range state.Balances {
			sums[b.Asset].Add(sums[b.Asset], amountBig(b.Available))
			sums[b.Asset].Add(sums[b.Asset], amountBig(b.Held))
			holds[b.Asset].Sub(holds[b.Asset], amountBig(b.Held))
		}
		for i := range holds {
			if holds[i].Sign() != 0 {
				return fmt.Errorf("account %d: open orders and withdrawals need %v units of %s more than are held", of, holds[i], assets[i].Symbol)
			}
		}
	}
	for i := range assets {
		in := amountBig(assets[i].Deposited)
		if in.Sub(in, amountBig(assets[i].Withdrawn)).Cmp(sums[i]) != 0 {
			return fmt.Errorf("of %s, %v came in and stayed, %v are there", assets[i].Symbol, in, sums[i])
		}
	}
	for id := range markets {
		bid, ask := l.Depth(nil, MarketID(id), Buy, 1), l.Depth(nil, MarketID(id), Sell, 1)
		if len(bid) > 0 && len(ask) > 0 && bid[0].Price >= ask[0].Price {
			return fmt.Errorf("market %d is crossed: %d bid, %d asked", id, bid[0].Price, ask[0].Price)
		}
	}
	return nil
}
