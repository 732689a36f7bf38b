package ledger

import (
	"cmp"
	"slices"
)

// What readers ask of a ledger. All of it reads only, and what is returned is
// the caller's unless it says otherwise.

// Network returns the id of the network: the digest of its genesis.
func (l *Ledger) Network() Digest { return l.network }

// Commit returns the index of the last commit applied, 0 for none, and its
// time in Unix milliseconds, clamped so that it never went back.
func (l *Ledger) Commit() (index uint64, timeMs int64) { return l.index, l.timeMs }

// Account returns an account's key.
func (l *Ledger) Account(of AccountRef) Account { return l.accounts[of].key }

// Lookup returns an account by its key; ok is false when there is none.
func (l *Ledger) Lookup(key Account) (of AccountRef, ok bool) {
	of = l.accountOf(&key)
	return of, of != 0
}

// Accounts returns how many accounts there are: their refs are 1 to that.
func (l *Ledger) Accounts() int { return len(l.accounts) - 1 }

// State returns all there is to know about an account.
func (l *Ledger) State(key Account) (a AccountState, ok bool) {
	of := l.accountOf(&key)
	if of == 0 {
		return AccountState{}, false
	}
	l.readAccount(of, &a)
	a.Results = append([]Result(nil), a.Results...)
	return a, true
}

// Balance returns what an account has of an asset.
func (l *Ledger) Balance(key Account, id AssetID) (available, held Amount) {
	of := l.accountOf(&key)
	if of == 0 {
		return Amount{}, Amount{}
	}
	if at := l.walletOf(of, id); at != 0 {
		return l.wallets.records[at].available, l.wallets.records[at].held
	}
	return Amount{}, Amount{}
}

// Order returns an open order and whose it is.
func (l *Ledger) Order(id OrderID) (o OpenOrder, of Account, ok bool) {
	at := l.orderByID(id)
	if at == 0 {
		return OpenOrder{}, Account{}, false
	}
	r := &l.orders.records[at]
	return l.openOrder(r), l.accounts[l.seats.records[r.seat].account].key, true
}

// WithdrawalByID returns an open withdrawal and whose it is.
func (l *Ledger) WithdrawalByID(id WithdrawalID) (w WithdrawalNow, of Account, ok bool) {
	at, _ := l.openWithdrawal(id)
	if at == 0 {
		return WithdrawalNow{}, Account{}, false
	}
	r := &l.withdrawals.records[at]
	return r.now(), l.accounts[r.account].key, true
}

// Withdrawals returns all open withdrawals, for custodians, by id. It looks at
// them alone, not at accounts.
func (l *Ledger) Withdrawals() (all []WithdrawalNow) {
	for at := range l.withdrawals.records {
		if r := &l.withdrawals.records[at]; r.id != 0 {
			all = append(all, r.now())
		}
	}
	slices.SortFunc(all, func(a, b WithdrawalNow) int { return cmp.Compare(a.ID, b.ID) })
	return all
}

// now is the withdrawal as readers see it.
func (w *withdrawal) now() WithdrawalNow {
	return WithdrawalNow{w.id, w.asset, w.state, w.amount, w.fee, w.votes, w.address}
}

// AssetTotals is an asset and the ledger's own accounts in it.
type AssetTotals struct {
	Asset
	Deposited Amount // all that ever came in
	Withdrawn Amount // all that ever left
	Fees      Amount // what the house has earned
}

// Assets returns what can be held; an AssetID is the position.
func (l *Ledger) Assets() []AssetTotals {
	all := make([]AssetTotals, len(l.assets))
	for i := range l.assets {
		a := &l.assets[i]
		all[i] = AssetTotals{a.Asset, a.deposited, a.withdrawn, a.fees}
	}
	return all
}

// MarketNow is a market and how it stands.
type MarketNow struct {
	Market         // its Status is the one governors have set
	Now     Status // what it takes now: post-only for a while after a gap
	TickLot uint64 // what a lot at a tick is worth, in units of the quote asset
	Last    Ticks  // the last trade's price, or Market.Reference before any
}

// Markets returns all markets; a MarketID is the position.
func (l *Ledger) Markets() []MarketNow {
	all := make([]MarketNow, len(l.books))
	for i, b := range l.books {
		all[i] = MarketNow{b.Market, l.status(b), b.tickLot, b.last}
	}
	return all
}

// Params returns the parameters in force.
func (l *Ledger) Params() Params { return l.params }

// Committee returns the committee last set. It is shared: read only.
func (l *Ledger) Committee() Committee { return l.committee }

// Councils returns custodians and governors. They are shared: read only.
func (l *Ledger) Councils() (custodians, governors Council) { return l.custodians, l.governors }

// Level is the orders of one price, summed up.
type Level struct {
	Price  Ticks
	Lots   Amount // the sum of what remains; it may exceed what one order can
	Orders int
}

// Depth appends the best levels of a side to levels, best first, at most most
// and at most Params.LevelsShown.
func (l *Ledger) Depth(levels []Level, m MarketID, side Side, most int) []Level {
	if int(m) >= len(l.books) || side > Sell {
		return levels
	}
	left := min(most, int(l.params.LevelsShown))
	if left <= 0 {
		return levels
	}
	l.books[m].sides[side].walk(func(at uint32, _ uint64) bool {
		v := &l.levels.records[at]
		levels = append(levels, Level{Price: v.price, Lots: Amount{uint64(v.lotsHi), v.lots}, Orders: int(v.orders)})
		left--
		return left > 0
	})
	return levels
}

// Book calls visit with each open order of a side, best price first and at each
// price first come first, until it returns false.
func (l *Ledger) Book(m MarketID, side Side, visit func(OpenOrder, AccountRef) bool) {
	if int(m) >= len(l.books) || side > Sell {
		return
	}
	l.books[m].sides[side].walk(func(level uint32, _ uint64) bool {
		for at := l.levels.records[level].head; at != 0; {
			o := &l.orders.records[at]
			at = o.next
			if !visit(l.openOrder(o), l.seats.records[o.seat].account) {
				return false
			}
		}
		return true
	})
}
