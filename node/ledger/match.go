package ledger

// taker is an incoming order while it trades.
type taker struct {
	book      *book
	side      Side
	stp       STP
	market    bool // no price of its own: it pays from pool
	byBudget  bool
	stop      stop
	id        OrderID
	seat      uint32
	base      uint32 // wallets
	quote     uint32
	price     Ticks // the worst it trades at
	remaining Lots  // unless byBudget
	executed  Lots
	budget    Amount // byBudget: what is left to spend
	pool      Amount // market: what is held and not yet paid
	traded    Amount // in quote
}

// stop is why an order stopped trading.
type stop uint8

const (
	stopBook      stop = iota // nothing is left that it trades with
	stopDone                  // nothing of it is left
	stopSelf                  // self-trade prevention
	stopFills                 // Params.FillsMax, with more that it would trade with
	stopBudget                // what is left pays for no further lot
	stopDecrement             // self-trade prevention took the last of it
)

// state is how the order stands after it has traded.
func (t *taker) state() OrderState {
	switch {
	case t.stop == stopSelf || t.stop == stopDecrement:
		return StateExpiredInMatch
	case t.stop == stopBudget && t.executed > 0, t.stop == stopDone:
		return StateFilled
	case t.executed > 0:
		return StatePartiallyFilled
	}
	return StateNew
}

// lots is how much of the order would trade at a price, at most most.
func (t *taker) lots(price Ticks, most Lots) Lots {
	if !t.byBudget {
		return min(t.remaining, most)
	}
	lot, ok := Notional(price, 1, t.book.tickLot)
	if !ok || t.budget.Less(lot) {
		return 0
	}
	if worth, ok := Notional(price, most, t.book.tickLot); ok && !t.budget.Less(worth) {
		return most
	}
	// budget / lot, which is below most: bisect, as lot may have 128 bits.
	lo, hi := Lots(1), most
	for lo+1 < hi {
		mid := lo + (hi-lo)/2
		if worth, ok := Notional(price, mid, t.book.tickLot); ok && !t.budget.Less(worth) {
			lo = mid
		} else {
			hi = mid
		}
	}
	return lo
}

// spend takes traded or decremented lots off the order.
func (t *taker) spend(q Lots, worth Amount) {
	if t.byBudget {
		t.budget = minus(t.budget, worth)
	} else {
		t.remaining -= q
	}
}

// done says whether nothing is left that could trade.
func (t *taker) done() bool {
	if t.byBudget {
		return t.budget.IsZero()
	}
	return t.remaining == 0
}

// match trades an order against the book, best price first and at each price
// first come first, at the resting orders' prices.
func (l *Ledger) match(t *taker) {
	b := t.book
	other := &b.sides[1-t.side]
	limit := levelKey(1-t.side, t.price)
	for fills := uint32(0); ; fills++ {
		if t.done() {
			if t.stop != stopDecrement {
				t.stop = stopDone
			}
			return
		}
		t.stop = stopBook
		if other.empty() {
			break
		}
		at, key := other.best()
		if key < limit {
			break
		}
		v := &l.levels.records[at]
		m := &l.orders.records[v.head]
		q := t.lots(m.price, m.remaining)
		if q == 0 {
			t.stop = stopBudget
			return
		}
		if fills == l.params.FillsMax {
			t.stop = stopFills
			return
		}
		if t.stp != AllowSelf && l.seats.records[m.seat].account == l.account {
			if l.preventSelf(t, v.head, q) {
				return
			}
			continue
		}
		l.trade(t, v.head, q)
	}
	// A budget's dust that pays for no lot at the last price is no rest.
	if t.byBudget && t.executed > 0 && t.lots(b.last, 1) == 0 {
		t.stop = stopBudget
	}
}

// trade fills q lots of a resting order.
func (l *Ledger) trade(t *taker, at uint32, q Lots) {
	b := t.book
	m := &l.orders.records[at]
	s := &l.seats.records[m.seat]
	price := m.price
	worth, base := b.worth(price, q), b.baseUnits(q)

	tq, tb := &l.wallets.records[t.quote], &l.wallets.records[t.base]
	mq, mb := &l.wallets.records[s.quote], &l.wallets.records[s.base]
	if t.side == Buy {
		payHeld(tq, mq, worth)
		payHeld(mb, tb, base)
		if t.market {
			t.pool = minus(t.pool, worth)
		} else if t.price != price {
			tq.release(minus(b.worth(t.price, q), worth))
		}
	} else {
		payHeld(mq, tq, worth)
		payHeld(tb, mb, base)
		if t.market {
			t.pool = minus(t.pool, base)
		}
	}
	t.spend(q, worth)
	t.executed += q
	t.traded = plus(t.traded, worth)
	b.last = price
	m.remaining -= q
	m.executed += q
	l.touch(s.account)

	e := l.emit(EventTrade)
	e.Market, e.Side, e.Price, e.Quantity, e.Amount = b.id, t.side, price, q, worth
	e.Order, e.Executed = t.id, t.executed
	e.Maker, e.Counterparty, e.Remaining = m.id, s.account, m.remaining
	if b.MakerPPM|b.TakerPPM != 0 {
		l.takeFees(b, e, tb, tq, mb, mq, base)
	}
	if m.remaining > 0 {
		e.State = StatePartiallyFilled
		l.levels.records[m.level].sub(q)
	} else {
		e.State = StateFilled
		l.levels.records[m.level].sub(q)
		l.leave(b, at)
	}
}

// takeFees settles both sides' fees of a trade and writes them into its event.
func (l *Ledger) takeFees(b *book, e *Event, tb, tq, mb, mq *wallet, base Amount) {
	taker := side{wallet: tb, asset: b.Base, of: base, cap: base}
	maker := side{wallet: mq, asset: b.Quote, of: e.Amount, cap: e.Amount}
	if e.Side == Sell {
		taker = side{wallet: tq, asset: b.Quote, of: e.Amount, cap: e.Amount}
		maker = side{wallet: mb, asset: b.Base, of: base, cap: base}
	}
	if b.FeeAsset == FeeQuote {
		// Who buys receives no quote: its fee comes from what is available,
		// which affords has made sure of but for the rounding of each fill.
		buyer := &taker
		if e.Side == Sell {
			buyer = &maker
		}
		*buyer = side{asset: b.Quote, of: e.Amount}
		if e.Side == Buy {
			buyer.wallet, buyer.cap = tq, tq.available
		} else {
			buyer.wallet, buyer.cap = mq, mq.available
		}
	}
	// Fees first, so that a rebate is paid from this trade's fee if it must.
	e.Fee = l.fee(&taker, b.TakerPPM)
	e.MakerFee = l.fee(&maker, b.MakerPPM)
	if b.TakerPPM < 0 {
		e.Fee, e.Rebate = l.rebate(&taker, b.TakerPPM), true
	}
	if b.MakerPPM < 0 {
		e.MakerFee, e.MakerRebate = l.rebate(&maker, b.MakerPPM), true
	}
}

// side is who pays a fee of a trade: where from, on what, and at most what.
type side struct {
	wallet *wallet
	asset  AssetID
	of     Amount
	cap    Amount
}

// fee takes a fee, rounded up to a unit and capped.
func (l *Ledger) fee(s *side, ppm int32) Amount {
	if ppm <= 0 {
		return Amount{}
	}
	fee := s.of.PPMCeil(uint32(ppm))
	if s.cap.Less(fee) {
		fee = s.cap
	}
	l.assets[s.asset].charge(s.wallet, fee)
	return fee
}

// rebate pays one, rounded down, and never more than the house has earned in
// that asset: where the two sides' fees are in different assets, the taker's
// fee cannot pay for it.
func (l *Ledger) rebate(s *side, ppm int32) Amount {
	rebate := s.of.PPMFloor(uint32(-ppm))
	if fees := l.assets[s.asset].fees; fees.Less(rebate) {
		rebate = fees
	}
	l.assets[s.asset].rebate(s.wallet, rebate)
	return rebate
}

// preventSelf handles a resting order of the taker's own account, of which q
// lots would have traded. It says whether the taker stops.
func (l *Ledger) preventSelf(t *taker, at uint32, q Lots) (stops bool) {
	switch t.stp {
	case ExpireTaker:
		t.stop = stopSelf
		return true
	case ExpireBoth:
		l.remove(at, EventExpired, StateExpiredInMatch)
		t.stop = stopSelf
		return true
	case Decrement:
		l.decrement(t, at, q)
		return false
	}
	l.remove(at, EventExpired, StateExpiredInMatch)
	return false
}

// decrement shrinks both orders by q, without a trade and without a fee.
func (l *Ledger) decrement(t *taker, at uint32, q Lots) {
	b := t.book
	m := &l.orders.records[at]
	worth := b.worth(m.price, q)
	if !t.market {
		freed, _ := b.pays(t.side, t.price, q)
		l.payer(t).release(freed)
	}
	t.spend(q, worth)
	if t.done() {
		t.stop = stopDecrement
	}
	if q == m.remaining {
		l.remove(at, EventExpired, StateExpiredInMatch)
		return
	}
	l.reduce(at, q)
}

// foreseen is what an order would trade.
type foreseen struct {
	lots     Lots
	quote    Amount
	overflow bool // the quote does not fit
}

// foresee tells what an order by quantity would trade, without trading: the
// same walk as match, changing nothing.
func (l *Ledger) foresee(t *taker) (f foreseen) {
	b := t.book
	limit := levelKey(1-t.side, t.price)
	left, fills := t.remaining, uint32(0)
	b.sides[1-t.side].walk(func(level uint32, key uint64) bool {
		if key < limit {
			return false
		}
		for at := l.levels.records[level].head; at != 0; at = l.orders.records[at].next {
			if left == 0 || fills == l.params.FillsMax {
				return false
			}
			fills++
			m := &l.orders.records[at]
			q := min(left, m.remaining)
			if l.seats.records[m.seat].account == l.account {
				switch t.stp {
				case ExpireTaker, ExpireBoth:
					return false
				case Decrement:
					left -= q
					continue
				case ExpireMaker:
					continue
				}
			}
			left -= q
			f.lots += q
			sum, ok := f.quote.Add(b.worth(m.price, q))
			if !ok {
				f.overflow = true
				return false
			}
			f.quote = sum
		}
		return true
	})
	return f
}
