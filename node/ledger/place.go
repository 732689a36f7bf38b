package ledger

// placeOrder takes a new order: all that can be refused is refused before
// anything changes; then it trades what it can, and what is left rests or
// leaves.
func (l *Ledger) placeOrder(a *Action) Reason {
	if int(a.Market) >= len(l.books) {
		return ReasonUnknownMarket
	}
	b := l.books[a.Market]
	if reason := l.takes(b, a); reason != ReasonNone {
		return reason
	}
	if a.ClientID != (ClientID{}) && l.orderByName(l.account, &a.ClientID) != 0 {
		return ReasonDuplicateClientID
	}
	if a.Type == MarketOrder {
		return l.placeMarket(b, a)
	}
	return l.placeLimit(b, a)
}

// status is what a market takes now.
func (l *Ledger) status(b *book) Status {
	if b.Status == StatusTrading && l.timeMs < l.reopenUntilMs {
		return StatusPostOnly
	}
	return b.Status
}

// takes says why the market, as it is, takes no such order.
func (l *Ledger) takes(b *book, a *Action) Reason {
	switch l.status(b) {
	case StatusTrading:
		return ReasonNone
	case StatusPostOnly:
		if a.Type == PostOnly {
			return ReasonNone
		}
	}
	return ReasonMarketClosed
}

// openOrdersMax is how many orders an account may have open at a market.
func (l *Ledger) openOrdersMax(b *book) uint32 {
	if b.OpenOrdersMax != 0 {
		return b.OpenOrdersMax
	}
	return l.params.OpenOrdersMax
}

// placeLimit takes a limit or post-only order.
func (l *Ledger) placeLimit(b *book, a *Action) Reason {
	if a.Price == 0 || a.Price > TicksMax {
		return ReasonPriceFilter
	}
	if a.Quantity == 0 || a.Quantity > LotsMax {
		return ReasonLotSize
	}
	worth, ok := Notional(a.Price, a.Quantity, b.tickLot)
	if !ok {
		return ReasonOverflow
	}
	if worth.Less(b.MinNotional) {
		return ReasonNotional
	}
	if a.TIF == GTD && a.ExpireAtMs <= l.timeMs {
		return ReasonExpired
	}
	rests := a.TIF == GTC || a.TIF == GTD
	seat := l.seatOf(l.account, b.id)
	if rests && seat != 0 && l.seats.records[seat].open >= l.openOrdersMax(b) {
		return ReasonMaxNumOrders
	}
	crosses := b.crosses(a.Side, a.Price)
	if crosses && a.Type == PostOnly {
		return ReasonWouldTake
	}
	pays := worth
	if a.Side == Sell {
		pays = b.baseUnits(a.Quantity)
	}
	if !l.affords(b, a.Side, seat, pays, crosses) {
		return ReasonInsufficientBalance
	}
	if !crosses {
		return l.placeQuiet(b, a, seat, pays, rests)
	}
	t := taker{book: b, side: a.Side, price: a.Price, remaining: a.Quantity, stp: l.stpOf(b, a)}
	if a.TIF == FOK && !l.fillable(t) {
		return ReasonFOKKilled
	}

	l.start(&t, seat, pays)
	l.match(&t)
	state := t.state()
	if state.Open() {
		if !rests || t.stop == stopFills {
			state = StateExpired
		} else {
			l.rest(b, a, t.seat, t.id, t.remaining, t.executed)
		}
	}
	if !state.Open() && t.remaining > 0 {
		rest, _ := b.pays(t.side, t.price, t.remaining)
		l.payer(&t).release(rest)
		t.remaining = 0
	}
	l.placed(&t, a, state)
	return ReasonNone
}

// placeQuiet takes a limit order that trades with nothing, as most do.
func (l *Ledger) placeQuiet(b *book, a *Action, seat uint32, pays Amount, rests bool) Reason {
	if a.TIF == FOK {
		return ReasonFOKKilled
	}
	if seat == 0 {
		seat = l.needSeat(l.account, b)
	}
	l.lastID++
	e := l.emit(EventPlaced)
	e.Outcome = true
	e.Market, e.Side, e.Order, e.Price = b.id, a.Side, l.lastID, a.Price
	e.Quantity, e.State = a.Quantity, StateExpired
	if rests {
		e.Remaining, e.State = a.Quantity, StateNew
		s := &l.seats.records[seat]
		if a.Side == Buy {
			l.wallets.records[s.quote].hold(pays)
		} else {
			l.wallets.records[s.base].hold(pays)
		}
		l.rest(b, a, seat, l.lastID, a.Quantity, 0)
	}
	return ReasonNone
}

// placeMarket takes a market order, by quantity or by budget. It pays for
// what would trade, or nothing happens at all.
func (l *Ledger) placeMarket(b *book, a *Action) Reason {
	t := taker{book: b, side: a.Side, remaining: a.Quantity, stp: l.stpOf(b, a)}
	t.byBudget = !a.Amount.IsZero()
	switch {
	case t.byBudget && a.Side == Sell:
		return ReasonBadFormat
	case t.byBudget && a.Amount.Less(b.MinNotional):
		return ReasonNotional
	case !t.byBudget && (a.Quantity == 0 || a.Quantity > LotsMax):
		return ReasonLotSize
	case b.sides[1-a.Side].empty():
		return ReasonNoLiquidity
	}
	t.price, t.budget = l.bandLimit(b, a.Side), a.Amount
	pays := a.Amount
	if !t.byBudget {
		f := l.foresee(&t)
		if f.overflow {
			return ReasonOverflow
		}
		pays = f.quote
		if a.Side == Sell {
			pays = b.baseUnits(f.lots)
		}
	}
	seat := l.seatOf(l.account, b.id)
	if !l.affords(b, a.Side, seat, pays, true) {
		return ReasonInsufficientBalance
	}

	t.market = true
	t.pool = pays
	l.start(&t, seat, pays)
	l.match(&t)
	l.payer(&t).release(t.pool)
	state := t.state()
	if state.Open() {
		state = StateExpired
	}
	t.remaining = 0
	l.placed(&t, a, state)
	return ReasonNone
}

// fillable says whether others' orders fill the whole order at once.
func (l *Ledger) fillable(t taker) bool {
	if t.stp == AllowSelf {
		t.stp = ExpireMaker // own orders do not count, in any mode
	}
	return l.foresee(&t).lots == t.remaining
}

// affords says whether the account has what an order pays, and, where a buyer's
// taker fee comes on top because it is in the quote asset, that as well.
func (l *Ledger) affords(b *book, side Side, seat uint32, pays Amount, takes bool) bool {
	var have Amount
	switch {
	case seat == 0 && side == Buy:
		have = l.available(l.account, b.Quote)
	case seat == 0:
		have = l.available(l.account, b.Base)
	case side == Buy:
		have = l.wallets.records[l.seats.records[seat].quote].available
	default:
		have = l.wallets.records[l.seats.records[seat].base].available
	}
	if have.Less(pays) {
		return false
	}
	if takes && side == Buy && b.FeeAsset == FeeQuote && b.TakerPPM > 0 {
		have, _ = have.Sub(pays)
		return !have.Less(pays.PPMCeil(uint32(b.TakerPPM)))
	}
	return true
}

func (l *Ledger) stpOf(b *book, a *Action) STP {
	if a.STP == STPDefault {
		return b.STP
	}
	return a.STP
}

// bandLimit is the last price a market order of this side may trade at: within
// the market's band around the last trade, inclusive.
func (l *Ledger) bandLimit(b *book, side Side) Ticks {
	if b.BandPPM != 0 && b.last != 0 {
		ref := Units(uint64(b.last))
		if side == Sell {
			below, _ := ref.PPMFloor(b.BandPPM).Uint64()
			return max(1, b.last-Ticks(below))
		}
		above, _ := ref.PPMFloor(b.BandPPM).Uint64()
		return min(TicksMax, b.last+Ticks(above))
	}
	if side == Sell {
		return 1
	}
	return TicksMax
}

// start gives the order its id and its seat, and holds what it pays.
func (l *Ledger) start(t *taker, seat uint32, pays Amount) {
	if seat == 0 {
		seat = l.needSeat(l.account, t.book)
	}
	l.lastID++
	t.id, t.seat = l.lastID, seat
	s := &l.seats.records[seat]
	t.base, t.quote = s.base, s.quote
	l.payer(t).hold(pays)
}

// payer is the wallet an order pays from.
func (l *Ledger) payer(t *taker) *wallet {
	if t.side == Buy {
		return &l.wallets.records[t.quote]
	}
	return &l.wallets.records[t.base]
}

// rest puts what is left of an order into the book. It is held already.
func (l *Ledger) rest(b *book, a *Action, seat uint32, id OrderID, remaining, executed Lots) {
	at := l.orders.take()
	o := &l.orders.records[at]
	o.id, o.price, o.remaining, o.executed = id, a.Price, remaining, executed
	o.seat, o.side = seat, a.Side
	l.enter(b, at)
	expireAtMs := int64(0)
	if a.TIF == GTD {
		expireAtMs = a.ExpireAtMs
	}
	l.setExtra(l.account, at, a.ClientID, expireAtMs)
}

// placed reports the order's outcome.
func (l *Ledger) placed(t *taker, a *Action, state OrderState) {
	e := l.emit(EventPlaced)
	e.Outcome = true
	e.Market, e.Side, e.Order, e.Price = t.book.id, t.side, t.id, a.Price
	e.Quantity, e.Executed, e.Remaining = a.Quantity, t.executed, t.remaining
	e.Amount, e.State = t.traded, state
}
