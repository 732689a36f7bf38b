package ledger

import "math/bits"

// order is an open order. Its record is one cache line; links are positions
// in slabs, and 0 is none.
type order struct {
	id        OrderID
	price     Ticks
	remaining Lots
	executed  Lots // the order's quantity is executed + remaining
	next      uint32
	prev      uint32 // the neighbours in its level: prev came before
	level     uint32
	seat      uint32
	later     uint32 // the account's next order by id, of all its markets
	earlier   uint32
	extra     uint32 // its orderExtra, if it has a client id or an expiry
	side      Side
}

// state of an order that is open.
func (o *order) state() OrderState {
	if o.executed > 0 {
		return StatePartiallyFilled
	}
	return StateNew
}

// orderExtra is what few orders have.
type orderExtra struct {
	name       ClientID
	expireAtMs int64 // 0: never
	queued     int32 // position in the expiry queue
	order      uint32
}

// level is the orders of one price, first come first.
type level struct {
	price  Ticks
	lots   uint64 // the sum of what remains, with lotsHi
	lotsHi uint32
	head   uint32
	tail   uint32
	orders uint32
}

func (v *level) add(n Lots) {
	sum, carry := bits.Add64(v.lots, uint64(n), 0)
	v.lots = sum
	v.lotsHi += uint32(carry)
}

func (v *level) sub(n Lots) {
	rest, borrow := bits.Sub64(v.lots, uint64(n), 0)
	v.lots = rest
	v.lotsHi -= uint32(borrow)
}

// seat is an account's place at a market: its two wallets and how many orders
// it has open there. It is made with the first order and stays.
type seat struct {
	account AccountRef
	base    uint32 // wallets
	quote   uint32
	next    uint32 // the account's seat at another market
	open    uint32
	market  MarketID
}

// book is a market at work.
type book struct {
	Market           // its Status is the present one
	id      MarketID // in Ledger.books
	tickLot uint64   // what a lot at a tick is worth, in quote units
	last    Ticks    // the last trade's price, or Market.Reference until then
	sides   [2]ladder
}

// pays returns what an order of this market and side holds, in the asset it
// pays with. ok is false when that does not fit.
func (b *book) pays(side Side, price Ticks, q Lots) (Amount, bool) {
	if side == Sell {
		return b.baseUnits(q), true
	}
	return Notional(price, q, b.tickLot)
}

// baseUnits returns q lots in units of the base asset. It always fits.
func (b *book) baseUnits(q Lots) Amount {
	hi, lo := bits.Mul64(uint64(q), b.Lot)
	return Amount{hi, lo}
}

// worth is the notional of a part of an order whose whole notional fits.
func (b *book) worth(price Ticks, q Lots) Amount {
	hi, lo := bits.Mul64(uint64(price), uint64(q))
	if hi == 0 {
		hi, lo = bits.Mul64(lo, b.tickLot)
		return Amount{hi, lo}
	}
	w, ok := Amount{hi, lo}.Mul(b.tickLot)
	if !ok {
		panic("ledger: invariant broken: part of an order is worth more than fits")
	}
	return w
}

// crosses says whether an order of this side and price trades against what
// rests.
func (b *book) crosses(side Side, price Ticks) bool {
	other := &b.sides[1-side]
	if other.empty() {
		return false
	}
	_, key := other.best()
	// An ask p trades against the bid key k when k >= p; a bid p against the ask
	// key ^k when ^k <= p, which is k >= ^p.
	return key >= levelKey(1-side, price)
}

// enter puts an order at the end of its level. Its id, price, remaining and
// executed are set, and it is the account's newest.
func (l *Ledger) enter(b *book, at uint32) {
	o := &l.orders.records[at]
	o.level = l.levelAt(&b.sides[o.side], o.side, o.price)
	v := &l.levels.records[o.level]
	if v.tail != 0 {
		o.prev = v.tail
		l.orders.records[v.tail].next = at
	} else {
		v.head = at
	}
	v.tail = at
	v.orders++
	v.add(o.remaining)
	l.byID.add(&l.hash, o.id, at)

	s := &l.seats.records[o.seat]
	s.open++
	acct := &l.accounts[s.account]
	o.earlier = acct.lastOrder
	if acct.lastOrder != 0 {
		l.orders.records[acct.lastOrder].later = at
	} else {
		acct.firstOrder = at
	}
	acct.lastOrder = at
}

// levelAt returns a side's level at a price, and makes it if there is none.
func (l *Ledger) levelAt(d *ladder, side Side, price Ticks) uint32 {
	tag := l.hash.number(uint64(price))
	for probe := d.byPrice.home(tag); ; {
		at := d.byPrice.next(tag, &probe)
		if at == 0 {
			break
		}
		if l.levels.records[at].price == price {
			return at
		}
	}
	at := l.levels.take()
	l.levels.records[at].price = price
	key := levelKey(side, price)
	p, _ := d.find(key)
	d.insert(p, key, at)
	d.byPrice.add(tag, at)
	return at
}

// leave takes an order out of its level, its account and the indexes, and
// frees its record. What it held is the caller's to release.
func (l *Ledger) leave(b *book, at uint32) {
	orders := l.orders.records
	o := &orders[at]
	v := &l.levels.records[o.level]
	v.sub(o.remaining)
	if v.orders--; v.orders == 0 {
		l.dropLevel(b, o.side, o.level, v.price)
	} else {
		if o.prev != 0 {
			orders[o.prev].next = o.next
		} else {
			v.head = o.next
		}
		if o.next != 0 {
			orders[o.next].prev = o.prev
		} else {
			v.tail = o.prev
		}
	}

	s := &l.seats.records[o.seat]
	s.open--
	acct := &l.accounts[s.account]
	if o.earlier != 0 {
		orders[o.earlier].later = o.later
	} else {
		acct.firstOrder = o.later
	}
	if o.later != 0 {
		orders[o.later].earlier = o.earlier
	} else {
		acct.lastOrder = o.earlier
	}

	if o.extra != 0 {
		l.dropExtra(s.account, o)
	}
	l.byID.remove(&l.hash, o.id, at)
	l.orders.give(at)
}

func (l *Ledger) dropLevel(b *book, side Side, at uint32, price Ticks) {
	d := &b.sides[side]
	if best, _ := d.best(); best == at {
		d.removeBest()
	} else {
		p, found := d.find(levelKey(side, price))
		if !found {
			panic("ledger: invariant broken: a level is missing in its ladder")
		}
		d.remove(p)
	}
	d.byPrice.remove(l.hash.number(uint64(price)), at)
	l.levels.give(at)
}

// setExtra gives an order its name and its expiry, if it has either.
func (l *Ledger) setExtra(of AccountRef, at uint32, name ClientID, expireAtMs int64) {
	if name == (ClientID{}) && expireAtMs == 0 {
		return
	}
	x := l.extras.take()
	l.orders.records[at].extra = x
	l.extras.records[x] = orderExtra{name: name, expireAtMs: expireAtMs, order: at}
	if name != (ClientID{}) {
		l.byName.add(l.hash.name(of, &name), at)
	}
	if expireAtMs != 0 {
		l.expiryPush(x)
	}
}

func (l *Ledger) dropExtra(of AccountRef, o *order) {
	x := &l.extras.records[o.extra]
	if x.name != (ClientID{}) {
		l.byName.remove(l.hash.name(of, &x.name), x.order)
	}
	if x.expireAtMs != 0 {
		l.expiryRemove(o.extra)
	}
	l.extras.give(o.extra)
}

// orderByName returns the account's open order of this name, or 0.
func (l *Ledger) orderByName(of AccountRef, name *ClientID) uint32 {
	tag := l.hash.name(of, name)
	for at := l.byName.home(tag); ; {
		ref := l.byName.next(tag, &at)
		if ref == 0 {
			return 0
		}
		o := &l.orders.records[ref]
		if l.seats.records[o.seat].account == of && o.extra != 0 && l.extras.records[o.extra].name == *name {
			return ref
		}
	}
}
