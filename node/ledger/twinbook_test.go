package ledger

import (
	"cmp"
	"math/big"
	"slices"
)

// The twin's order books.

type twinMarket struct {
	Market
	id      MarketID
	tickLot *big.Int
	last    Ticks
	sides   [2][]*twinOrder // best first: by price, then by id
}

type twinOrder struct {
	id                  OrderID
	owner               AccountRef
	market              *twinMarket
	side                Side
	price               Ticks
	remaining, executed Lots
	name                ClientID
	expireAt            int64
}

func (o *twinOrder) state() OrderState {
	if o.executed > 0 {
		return StatePartiallyFilled
	}
	return StateNew
}

// worth is price x q in quote units.
func (m *twinMarket) worth(price Ticks, q Lots) *big.Int {
	n := new(big.Int).SetUint64(uint64(price))
	n.Mul(n, new(big.Int).SetUint64(uint64(q)))
	return n.Mul(n, m.tickLot)
}

// base is q in base units.
func (m *twinMarket) base(q Lots) *big.Int {
	n := new(big.Int).SetUint64(uint64(q))
	return n.Mul(n, new(big.Int).SetUint64(m.Lot))
}

// pays is the asset an order of a side pays with, and how much.
func (m *twinMarket) pays(side Side, price Ticks, q Lots) (AssetID, *big.Int) {
	if side == Buy {
		return m.Quote, m.worth(price, q)
	}
	return m.Base, m.base(q)
}

// better orders a side of the book.
func better(a, b *twinOrder) int {
	byPrice := cmp.Compare(a.price, b.price)
	if a.side == Buy {
		byPrice = -byPrice
	}
	return cmp.Or(byPrice, cmp.Compare(a.id, b.id))
}

func (w *twin) enter(o *twinOrder) {
	side := &o.market.sides[o.side]
	at, _ := slices.BinarySearchFunc(*side, o, better)
	*side = slices.Insert(*side, at, o)
	owner := w.accounts[o.owner]
	owner.orders = append(owner.orders, o)
}

// drop takes an order out of the book; what it holds is not touched.
func (w *twin) drop(o *twinOrder) {
	is := func(x *twinOrder) bool { return x == o }
	o.market.sides[o.side] = slices.DeleteFunc(o.market.sides[o.side], is)
	w.accounts[o.owner].orders = slices.DeleteFunc(w.accounts[o.owner].orders, is)
}

// release frees what q lots of an order at a price hold.
func (w *twin) release(m *twinMarket, of AccountRef, side Side, price Ticks, q Lots) {
	id, n := m.pays(side, price, q)
	x := w.wallet(of, id)
	x.held.Sub(&x.held, n)
	x.available.Add(&x.available, n)
}

// leave takes an order out, frees what it holds and says so.
func (w *twin) leave(o *twinOrder, kind EventKind, state OrderState, outcome bool) {
	w.drop(o)
	w.release(o.market, o.owner, o.side, o.price, o.remaining)
	w.emit(Event{Kind: kind, Account: o.owner, Market: o.market.id, Side: o.side, Order: o.id, Price: o.price,
		Executed: o.executed, Remaining: o.remaining, State: state, Outcome: outcome})
}

// shrink takes q lots off an order that keeps its place.
func (w *twin) shrink(o *twinOrder, q Lots, outcome bool) {
	o.remaining -= q
	w.release(o.market, o.owner, o.side, o.price, q)
	w.emit(Event{Kind: EventReduced, Account: o.owner, Market: o.market.id, Side: o.side, Order: o.id, Price: o.price,
		Quantity: q, Executed: o.executed, Remaining: o.remaining, State: o.state(), Outcome: outcome})
}

// mine is the account's open order an action names, or nil.
func (w *twin) mine(a *Action) *twinOrder {
	for _, o := range w.accounts[w.who].orders {
		if a.Target != (ClientID{}) && o.name == a.Target || a.Target == (ClientID{}) && o.id == a.Order {
			return o
		}
	}
	return nil
}

func (w *twin) cancelAll(a *Action) Reason {
	if !a.AllMarkets && int(a.Market) >= len(w.markets) {
		return ReasonUnknownMarket
	}
	count := Lots(0)
	for _, o := range slices.Clone(w.accounts[w.who].orders) {
		if a.AllMarkets || o.market.id == a.Market {
			w.leave(o, EventCanceled, StateCanceled, false)
			count++
		}
	}
	w.emit(Event{Kind: EventAllCanceled, Quantity: count, Outcome: true})
	return ReasonNone
}

func (w *twin) amend(a *Action) Reason {
	o := w.mine(a)
	switch {
	case o == nil:
		return ReasonUnknownOrder
	case a.Quantity <= o.executed:
		return ReasonAmendBelowExecuted
	case a.Quantity >= o.executed+o.remaining:
		return ReasonAmendNotSmaller
	case o.market.worth(o.price, a.Quantity).Cmp(amountBig(o.market.MinNotional)) < 0:
		return ReasonNotional
	}
	w.shrink(o, o.executed+o.remaining-a.Quantity, true)
	return ReasonNone
}

// step is one thing that happens to a resting order when a taker meets it.
type step struct {
	maker *twinOrder
	q     Lots
	self  bool // by self-trade prevention, not a trade
	whole bool // the maker leaves
}

// plan is what an incoming order will do, decided before anything is done.
type plan struct {
	steps []step
	lots  Lots     // traded
	quote *big.Int // traded
	left  Lots     // not traded, not decremented
	purse *big.Int // of a budget, likewise
	end   planEnd
}

type planEnd int

const (
	endBook   planEnd = iota // nothing more to meet
	endDone                  // nothing of it is left, by trading
	endSelf                  // self-trade prevention stopped it, or took its last
	endFills                 // as many fills as an action may have
	endBudget                // what is left buys no lot
)

// plans works out what an order meets, at the worst price limit. budget is nil
// for an order by quantity.
func (w *twin) plans(m *twinMarket, side Side, limit Ticks, quantity Lots, budget *big.Int, stp STP) plan {
	p := plan{quote: new(big.Int), left: quantity}
	if budget != nil {
		p.purse = new(big.Int).Set(budget)
	}
	lastWasSelf := false
	lastPrice := m.last
	for _, o := range m.sides[1-side] {
		if budget == nil && p.left == 0 || budget != nil && p.purse.Sign() == 0 {
			break
		}
		if side == Buy && o.price > limit || side == Sell && o.price < limit {
			break
		}
		q := min(o.remaining, p.left)
		if budget != nil {
			q = o.remaining
			if buys := new(big.Int).Div(p.purse, m.worth(o.price, 1)); buys.IsUint64() && Lots(buys.Uint64()) < q {
				q = Lots(buys.Uint64())
			}
			if q == 0 {
				p.end = endBudget
				return p
			}
		}
		if len(p.steps) == int(w.params.FillsMax) {
			p.end = endFills
			return p
		}
		if lastWasSelf = o.owner == w.who && stp != AllowSelf; lastWasSelf {
			switch stp {
			case ExpireMaker:
				p.steps = append(p.steps, step{o, 0, true, true})
				continue
			case ExpireTaker:
				p.end = endSelf
				return p
			case ExpireBoth:
				p.steps = append(p.steps, step{o, 0, true, true})
				p.end = endSelf
				return p
			}
			p.steps = append(p.steps, step{o, q, true, q == o.remaining})
		} else {
			p.steps = append(p.steps, step{o, q, false, q == o.remaining})
			p.lots += q
			p.quote.Add(p.quote, m.worth(o.price, q))
			lastPrice = o.price
		}
		if budget != nil {
			p.purse.Sub(p.purse, m.worth(o.price, q))
		} else {
			p.left -= q
		}
	}
	switch {
	case budget == nil && p.left == 0 || budget != nil && p.purse.Sign() == 0:
		p.end = endDone
		if lastWasSelf {
			p.end = endSelf
		}
	case budget != nil && p.lots > 0 && p.purse.Cmp(m.worth(lastPrice, 1)) < 0:
		p.end = endBudget
	}
	return p
}

// state of an order after its plan.
func (p *plan) state() OrderState {
	switch {
	case p.end == endSelf:
		return StateExpiredInMatch
	case p.end == endDone || p.end == endBudget && p.lots > 0:
		return StateFilled
	case p.lots > 0:
		return StatePartiallyFilled
	}
	return StateNew
}

func (w *twin) place(a *Action) Reason {
	if int(a.Market) >= len(w.markets) {
		return ReasonUnknownMarket
	}
	m := w.markets[a.Market]
	status := m.Status
	if status == StatusTrading && w.timeMs < w.reopenUntil {
		status = StatusPostOnly
	}
	if status != StatusTrading && !(status == StatusPostOnly && a.Type == PostOnly) {
		return ReasonMarketClosed
	}
	mine := w.accounts[w.who].orders
	if a.ClientID != (ClientID{}) && slices.ContainsFunc(mine, func(o *twinOrder) bool { return o.name == a.ClientID }) {
		return ReasonDuplicateClientID
	}
	stp := a.STP
	if stp == STPDefault {
		stp = m.STP
	}
	if a.Type == MarketOrder {
		return w.placeMarket(m, a, stp)
	}
	return w.placeLimit(m, a, stp)
}

// canPay says whether the account has what an order pays, with the taker's fee
// where that comes on top.
func (w *twin) canPay(m *twinMarket, side Side, n *big.Int, takes bool) bool {
	id, need := m.Base, new(big.Int).Set(n)
	if side == Buy {
		id = m.Quote
		if takes && m.FeeAsset == FeeQuote && m.TakerPPM > 0 {
			need.Add(need, ceilPPM(n, m.TakerPPM))
		}
	}
	return w.wallet(w.who, id).available.Cmp(need) >= 0
}

func ceilPPM(n *big.Int, ppm int32) *big.Int {
	x := new(big.Int).Mul(n, big.NewInt(int64(ppm)))
	x.Add(x, big.NewInt(PerMillion-1))
	return x.Div(x, big.NewInt(PerMillion))
}

func (w *twin) placeLimit(m *twinMarket, a *Action, stp STP) Reason {
	if a.Price == 0 || a.Price > TicksMax {
		return ReasonPriceFilter
	}
	if a.Quantity == 0 || a.Quantity > LotsMax {
		return ReasonLotSize
	}
	worth := m.worth(a.Price, a.Quantity)
	if !fits(worth) {
		return ReasonOverflow
	}
	if worth.Cmp(amountBig(m.MinNotional)) < 0 {
		return ReasonNotional
	}
	if a.TIF == GTD && a.ExpireAtMs <= w.timeMs {
		return ReasonExpired
	}
	rests := a.TIF == GTC || a.TIF == GTD
	most := cmp.Or(m.OpenOrdersMax, w.params.OpenOrdersMax)
	open := 0
	for _, o := range w.accounts[w.who].orders {
		if o.market == m {
			open++
		}
	}
	if rests && open >= int(most) {
		return ReasonMaxNumOrders
	}
	crosses := false
	if other := m.sides[1-a.Side]; len(other) > 0 {
		crosses = a.Side == Buy && other[0].price <= a.Price || a.Side == Sell && other[0].price >= a.Price
	}
	if crosses && a.Type == PostOnly {
		return ReasonWouldTake
	}
	_, pays := m.pays(a.Side, a.Price, a.Quantity)
	if !w.canPay(m, a.Side, pays, crosses) {
		return ReasonInsufficientBalance
	}
	if a.TIF == FOK {
		without := stp
		if without == AllowSelf {
			without = ExpireMaker
		}
		if w.plans(m, a.Side, a.Price, a.Quantity, nil, without).lots != a.Quantity {
			return ReasonFOKKilled
		}
	}
	p := w.plans(m, a.Side, a.Price, a.Quantity, nil, stp)
	id := w.carryOut(m, a, &p, pays)
	state := p.state()
	if state == StateNew || state == StatePartiallyFilled {
		if rests && p.end != endFills {
			w.enter(&twinOrder{id: id, owner: w.who, market: m, side: a.Side, price: a.Price, remaining: p.left, executed: p.lots, name: a.ClientID, expireAt: a.ExpireAtMs})
		} else {
			state = StateExpired
		}
	}
	if state != StateNew && state != StatePartiallyFilled {
		w.release(m, w.who, a.Side, a.Price, p.left)
		p.left = 0
	}
	w.placed(m, a, &p, id, state)
	return ReasonNone
}

func (w *twin) placeMarket(m *twinMarket, a *Action, stp STP) Reason {
	var budget *big.Int
	if !a.Amount.IsZero() {
		budget = amountBig(a.Amount)
	}
	switch {
	case budget != nil && a.Side == Sell:
		return ReasonBadFormat
	case budget != nil && budget.Cmp(amountBig(m.MinNotional)) < 0:
		return ReasonNotional
	case budget == nil && (a.Quantity == 0 || a.Quantity > LotsMax):
		return ReasonLotSize
	case len(m.sides[1-a.Side]) == 0:
		return ReasonNoLiquidity
	}
	p := w.plans(m, a.Side, w.band(m, a.Side), a.Quantity, budget, stp)
	pays := budget
	if budget == nil {
		if !fits(p.quote) {
			return ReasonOverflow
		}
		if pays = p.quote; a.Side == Sell {
			pays = m.base(p.lots)
		}
	}
	if !w.canPay(m, a.Side, pays, true) {
		return ReasonInsufficientBalance
	}
	id := w.carryOut(m, a, &p, pays)
	state := p.state()
	if state == StateNew || state == StatePartiallyFilled {
		state = StateExpired
	}
	p.left = 0
	w.placed(m, a, &p, id, state)
	return ReasonNone
}

// band is the worst price of a market order: 10^6 times it is within
// last x (10^6 +- ppm).
func (w *twin) band(m *twinMarket, side Side) Ticks {
	worst := TicksMax
	if side == Sell {
		worst = 1
	}
	if m.BandPPM == 0 || m.last == 0 {
		return worst
	}
	million := big.NewInt(PerMillion)
	n := new(big.Int).SetUint64(uint64(m.last))
	if side == Buy {
		n.Mul(n, big.NewInt(PerMillion+int64(m.BandPPM)))
		n.Div(n, million)
		if n.IsUint64() {
			return min(TicksMax, Ticks(n.Uint64()))
		}
		return worst
	}
	n.Mul(n, big.NewInt(PerMillion-int64(m.BandPPM)))
	n.Add(n, big.NewInt(PerMillion-1))
	return max(1, Ticks(n.Div(n, million).Uint64()))
}

func (w *twin) placed(m *twinMarket, a *Action, p *plan, id OrderID, state OrderState) {
	w.emit(Event{Kind: EventPlaced, Market: m.id, Side: a.Side, Order: id, Price: a.Price, Quantity: a.Quantity,
		Executed: p.lots, Remaining: p.left, Amount: asAmount(p.quote), State: state, Outcome: true})
}

// carryOut does what is planned. A limit order then holds what its rest pays; a
// market order's hold is over.
func (w *twin) carryOut(m *twinMarket, a *Action, p *plan, pays *big.Int) OrderID {
	w.lastOrder++
	id := w.lastOrder
	paid, _ := m.pays(a.Side, 1, 1)
	purse := w.wallet(w.who, paid)
	limit := a.Type != MarketOrder
	if limit {
		purse.available.Sub(&purse.available, pays)
		purse.held.Add(&purse.held, pays)
	} else {
		// Held and paid out of at once, so that nothing shows but the fees, which
		// see what the order holds as not available.
		purse.available.Sub(&purse.available, pays)
		defer func(rest *big.Int) { purse.available.Add(&purse.available, rest) }(w.unspent(m, a, p, pays))
	}
	executed := Lots(0)
	for _, s := range p.steps {
		switch {
		case s.self && s.whole:
			if limit && s.q > 0 {
				w.release(m, w.who, a.Side, a.Price, s.q)
			}
			w.leave(s.maker, EventExpired, StateExpiredInMatch, false)
		case s.self:
			if limit {
				w.release(m, w.who, a.Side, a.Price, s.q)
			}
			w.shrink(s.maker, s.q, false)
		default:
			executed += s.q
			w.trade(m, a, id, s, executed)
		}
	}
	return id
}

// unspent is what a market order holds and does not pay.
func (w *twin) unspent(m *twinMarket, a *Action, p *plan, pays *big.Int) *big.Int {
	if a.Side == Buy {
		return new(big.Int).Sub(pays, p.quote)
	}
	return new(big.Int).Sub(pays, m.base(p.lots))
}

// trade fills q lots of a resting order at its price.
func (w *twin) trade(m *twinMarket, a *Action, id OrderID, s step, executed Lots) {
	o := s.maker
	worth, base := m.worth(o.price, s.q), m.base(s.q)
	taker, maker := w.who, o.owner
	if a.Type != MarketOrder {
		_, held := m.pays(a.Side, a.Price, s.q)
		paid, _ := m.pays(a.Side, 1, 1)
		x := w.wallet(taker, paid)
		x.held.Sub(&x.held, held)
		if a.Side == Buy { // the better price is free at once
			x.available.Add(&x.available, held)
			x.available.Sub(&x.available, worth)
		}
	}
	paid, n := m.pays(o.side, o.price, s.q)
	x := w.wallet(maker, paid)
	x.held.Sub(&x.held, n)
	buyer, seller := taker, maker
	if a.Side == Sell {
		buyer, seller = maker, taker
	}
	got := &w.wallet(buyer, m.Base).available
	got.Add(got, base)
	got = &w.wallet(seller, m.Quote).available
	got.Add(got, worth)
	o.remaining -= s.q
	o.executed += s.q
	m.last = o.price

	e := Event{Kind: EventTrade, Market: m.id, Side: a.Side, Price: o.price, Quantity: s.q, Amount: asAmount(worth), Order: id, Executed: executed,
		Maker: o.id, Counterparty: maker, Remaining: o.remaining, State: StatePartiallyFilled}
	if o.remaining == 0 {
		e.State = StateFilled
		w.drop(o)
	}
	w.fees(m, &e, buyer, seller, base, worth)
	w.emit(e)
}

// fees takes both sides' fees, then pays both sides' rebates.
func (w *twin) fees(m *twinMarket, e *Event, buyer, seller AccountRef, base, worth *big.Int) {
	type payer struct {
		who  AccountRef
		id   AssetID
		of   *big.Int
		most *big.Int
	}
	b, s := payer{buyer, m.Base, base, base}, payer{seller, m.Quote, worth, worth}
	if m.FeeAsset == FeeQuote {
		b = payer{buyer, m.Quote, worth, new(big.Int).Set(&w.wallet(buyer, m.Quote).available)}
	}
	taker, maker := b, s
	if e.Side == Sell {
		taker, maker = s, b
	}
	fee := func(p payer, ppm int32) Amount {
		if ppm <= 0 {
			return Amount{}
		}
		n := ceilPPM(p.of, ppm)
		if n.Cmp(p.most) > 0 {
			n = p.most
		}
		free := &w.wallet(p.who, p.id).available
		free.Sub(free, n)
		w.assets[p.id].fees.Add(&w.assets[p.id].fees, n)
		return asAmount(n)
	}
	rebate := func(p payer, ppm int32) Amount {
		n := new(big.Int).Mul(p.of, big.NewInt(-int64(ppm)))
		n.Div(n, big.NewInt(PerMillion))
		if house := &w.assets[p.id].fees; n.Cmp(house) > 0 {
			n.Set(house)
		}
		free := &w.wallet(p.who, p.id).available
		free.Add(free, n)
		w.assets[p.id].fees.Sub(&w.assets[p.id].fees, n)
		return asAmount(n)
	}
	e.Fee = fee(taker, m.TakerPPM)
	e.MakerFee = fee(maker, m.MakerPPM)
	if m.TakerPPM < 0 {
		e.Fee, e.Rebate = rebate(taker, m.TakerPPM), true
	}
	if m.MakerPPM < 0 {
		e.MakerFee, e.MakerRebate = rebate(maker, m.MakerPPM), true
	}
}
