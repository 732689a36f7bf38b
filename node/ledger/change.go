package ledger

// What owners do with open orders.

// target returns the account's open order an action names, or 0.
func (l *Ledger) target(a *Action) uint32 {
	if a.Target != (ClientID{}) {
		return l.orderByName(l.account, &a.Target)
	}
	at := l.orderByID(a.Order)
	if at == 0 || l.seats.records[l.orders.records[at].seat].account != l.account {
		return 0
	}
	return at
}

// remove takes an order out of the book, releases what it holds and reports
// why it left.
func (l *Ledger) remove(at uint32, kind EventKind, state OrderState) *Event {
	o := &l.orders.records[at]
	s := &l.seats.records[o.seat]
	b := l.books[s.market]
	w := l.holder(o, s)
	held, _ := b.pays(o.side, o.price, o.remaining)
	w.release(held)
	if l.bugs.releaseTwice() {
		w.available, _ = w.available.Add(held)
	}
	l.touch(s.account)
	e := l.emit(kind)
	e.Account, e.Market, e.Side, e.Order, e.Price = s.account, b.id, o.side, o.id, o.price
	e.Executed, e.Remaining, e.State = o.executed, o.remaining, state
	l.leave(b, at)
	return e
}

// holder is the wallet an open order holds in.
func (l *Ledger) holder(o *order, s *seat) *wallet {
	if o.side == Buy {
		return &l.wallets.records[s.quote]
	}
	return &l.wallets.records[s.base]
}

// reduce takes q lots, fewer than remain, off an order, which keeps its place.
func (l *Ledger) reduce(at uint32, q Lots) *Event {
	o := &l.orders.records[at]
	s := &l.seats.records[o.seat]
	b := l.books[s.market]
	freed, _ := b.pays(o.side, o.price, q)
	l.holder(o, s).release(freed)
	o.remaining -= q
	l.levels.records[o.level].sub(q)
	l.touch(s.account)
	e := l.emit(EventReduced)
	e.Account, e.Market, e.Side, e.Order, e.Price = s.account, b.id, o.side, o.id, o.price
	e.Quantity, e.Executed, e.Remaining, e.State = q, o.executed, o.remaining, o.state()
	return e
}

func (l *Ledger) cancel(a *Action) Reason {
	at := l.target(a)
	if at == 0 {
		return ReasonUnknownOrder
	}
	l.remove(at, EventCanceled, StateCanceled).Outcome = true
	return ReasonNone
}

// cancelAll cancels an account's orders in a market, or all, in order-id order.
func (l *Ledger) cancelAll(a *Action) Reason {
	if !a.AllMarkets && int(a.Market) >= len(l.books) {
		return ReasonUnknownMarket
	}
	count := Lots(0)
	for at := l.accounts[l.account].firstOrder; at != 0; {
		o := &l.orders.records[at]
		later := o.later
		if a.AllMarkets || l.seats.records[o.seat].market == a.Market {
			l.remove(at, EventCanceled, StateCanceled)
			count++
		}
		at = later
	}
	e := l.emit(EventAllCanceled)
	e.Quantity, e.Outcome = count, true
	return ReasonNone
}

// amend reduces an order to a quantity that includes what is executed.
func (l *Ledger) amend(a *Action) Reason {
	at := l.target(a)
	if at == 0 {
		return ReasonUnknownOrder
	}
	o := &l.orders.records[at]
	b := l.books[l.seats.records[o.seat].market]
	switch total := o.executed + o.remaining; {
	case a.Quantity <= o.executed:
		return ReasonAmendBelowExecuted
	case a.Quantity >= total:
		return ReasonAmendNotSmaller
	case b.worth(o.price, a.Quantity).Less(b.MinNotional):
		return ReasonNotional
	default:
		l.reduce(at, total-a.Quantity).Outcome = true
	}
	return ReasonNone
}

// replace cancels an order and places another, which can use what the first
// held. If the new one is refused, the cancel stands.
func (l *Ledger) replace(a *Action) Reason {
	if at := l.target(a); at != 0 {
		l.remove(at, EventCanceled, StateCanceled)
	} else {
		if !a.ContinueOnFailure {
			return ReasonCancelFailedNewNotAttempted
		}
		l.emit(EventCancelFailed).Reason = ReasonUnknownOrder
	}
	return l.placeOrder(a)
}

// warm reads what an op's cancels will touch: the order and its neighbours,
// each anywhere in memory. Read one after the other while cancelling, each would
// be waited for; read here, where none depends on another, they come together.
// It changes nothing.
func (l *Ledger) warm(actions []Action) {
	var found [ActionsMax]uint32
	n := 0
	for i := range actions {
		if a := &actions[i]; a.Kind == KindCancel && a.Order != 0 && n < ActionsMax {
			found[n] = l.orderByID(a.Order)
			n++
		}
	}
	if n < 2 {
		return
	}
	orders := l.orders.records
	sum := OrderID(0)
	for _, at := range found[:n] {
		if at != 0 {
			o := &orders[at]
			sum += orders[o.next].id + orders[o.prev].id + orders[o.later].id + orders[o.earlier].id
		}
	}
	l.warmed = sum
}
