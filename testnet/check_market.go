package testnet

import (
	"slices"

	"github.com/anishathalye/porcupine"

	"github.com/holdfast-mesh/holdfast/node/ledger"
)

// marketCall is an operation on a market.
type marketCall struct {
	cancel  bool
	account string
	name    string
	sell    bool
	rests   bool // what does not trade at once stays in the book
	price   uint64
	lots    uint64
}

// marketAnswer is what its client was told.
type marketAnswer struct {
	refused  bool
	executed uint64 // lots that traded at once
}

// resting is an order in the book.
type resting struct {
	account, name string
	price, lots   uint64
}

// plainBook is a market as simple as it can be: two lists, the best order first. It
// is a value: a step makes a new one.
type plainBook struct{ bids, asks []resting }

// marketModel is price-time priority with the market's rule against trading with
// oneself: the resting order leaves.
func marketModel() porcupine.Model {
	return porcupine.Model{
		Init: func() any { return plainBook{} },
		Step: func(state, input, output any) (bool, any) {
			book, call, told := state.(plainBook), input.(marketCall), output.(marketAnswer)
			if call.cancel {
				next, found := book.cancel(call)
				return found != told.refused, next
			}
			next, executed := book.place(call)
			return executed == told.executed, next
		},
		Equal: func(a, b any) bool {
			x, y := a.(plainBook), b.(plainBook)
			return slices.Equal(x.bids, y.bids) && slices.Equal(x.asks, y.asks)
		},
	}
}

// cancel takes an order out. One that is not there leaves the book as it was.
func (b plainBook) cancel(c marketCall) (plainBook, bool) {
	is := func(o resting) bool { return o.account == c.account && o.name == c.name }
	for _, side := range []*[]resting{&b.bids, &b.asks} {
		if at := slices.IndexFunc(*side, is); at >= 0 {
			*side = slices.Delete(slices.Clone(*side), at, at+1)
			return b, true
		}
	}
	return b, false
}

// place trades with the best orders of the other side, and puts the rest, if it is to
// stay, behind all of its price.
func (b plainBook) place(c marketCall) (plainBook, uint64) {
	own, other := &b.bids, &b.asks
	if c.sell {
		own, other = &b.asks, &b.bids
	}
	left := c.lots
	theirs := slices.Clone(*other)
	for left > 0 && len(theirs) > 0 && crosses(c, theirs[0].price) {
		best := &theirs[0]
		if best.account == c.account {
			theirs = theirs[1:]
			continue
		}
		traded := min(left, best.lots)
		left -= traded
		if best.lots -= traded; best.lots == 0 {
			theirs = theirs[1:]
		}
	}
	*other = theirs
	if left > 0 && c.rests {
		at := slices.IndexFunc(*own, func(o resting) bool { return c.sell && o.price > c.price || !c.sell && o.price < c.price })
		if at < 0 {
			at = len(*own)
		}
		*own = slices.Insert(slices.Clone(*own), at, resting{c.account, c.name, c.price, left})
	}
	return b, c.lots - left
}

func crosses(c marketCall, price uint64) bool {
	if c.sell {
		return price >= c.price
	}
	return price <= c.price
}

// marketHistories are the traders' operations, by market. Refused orders change
// nothing, whatever the reason; refused cancels say that the order is not there.
func marketHistories(h *history, r *replayed, w windows) map[string]*subject {
	all := make(map[string]*subject)
	for i := range h.ops {
		o := &h.ops[i]
		if o.Kind != "place" && o.Kind != "cancel" {
			continue
		}
		s := all[o.Market]
		if s == nil {
			s = &subject{name: "market " + o.Market, model: marketModel()}
			all[o.Market] = s
		}
		if !s.ended(o) || o.Refused && o.Kind == "place" || o.Refused && o.Reason != ledger.ReasonUnknownOrder.String() {
			continue
		}
		from, to, ok := w.of(o)
		if !ok {
			continue
		}
		s.add(o.Client, marketCall{
			cancel: o.Kind == "cancel", account: o.Account, name: o.Name, sell: o.Sell,
			rests: o.Group != ledger.IOC.String(), price: o.Price, lots: o.Lots,
		}, marketAnswer{refused: o.Refused, executed: lotsOf(o.Market, o.Executed)}, from, to, w.turn(o), o.Kind+" "+o.Op)
	}
	return all
}

// lotsOf reads a quantity of a market's base asset, in lots; nothing is 0.
func lotsOf(symbol, quantity string) uint64 {
	if quantity == "" {
		return 0
	}
	all := assets()
	for id, m := range markets() {
		if symbolOf(ledger.MarketID(id)) != symbol {
			continue
		}
		a, err := all[m.Base].ParseAmount(quantity)
		if err != nil {
			return ^uint64(0)
		}
		lots, rest := a.Div(m.Lot)
		n, ok := lots.Uint64()
		if !ok || rest != 0 {
			return ^uint64(0)
		}
		return n
	}
	return ^uint64(0)
}
