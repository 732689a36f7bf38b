package ledger

import (
	"errors"
	"fmt"
	"math/bits"
)

// CheckInvariants looks at the whole state and returns what is wrong with it,
// or nil. It reads only and takes time in proportion to the state; tests, the
// simulator and a build with the tag holdfast_audit call it after every commit.
//
//	per asset, the sum of all wallets + fees == deposited - withdrawn
//	per wallet, held == what open orders and withdrawals hold
//	per market, best bid < best ask
//	and each order is in exactly one level, at its price, by id
func (l *Ledger) CheckInvariants() error {
	held := make([]Amount, len(l.wallets.records))
	fits := true
	hold := func(wallet uint32, a Amount) {
		sum, ok := held[wallet].Add(a)
		held[wallet], fits = sum, fits && ok
	}
	inLevels := 0
	for _, b := range l.books {
		n, err := l.checkBook(b, hold)
		if err != nil {
			return err
		}
		inLevels += n
	}
	if inLevels != l.orders.live() || inLevels != l.byID.open {
		return fmt.Errorf("ledger: %d orders in levels, %d in the slab, %d in the index", inLevels, l.orders.live(), l.byID.open)
	}
	for of := 1; of < len(l.accounts); of++ {
		if err := l.checkAccount(AccountRef(of), hold); err != nil {
			return err
		}
	}
	if !fits {
		return errors.New("ledger: what a wallet holds overflows")
	}
	return l.checkSums(held)
}

// checkSums compares wallets with what should be held, and with the totals.
func (l *Ledger) checkSums(held []Amount) error {
	totals := make([]Amount, len(l.assets))
	for of := 1; of < len(l.accounts); of++ {
		for at := l.accounts[of].firstWallet; at != 0; at = l.wallets.records[at].next {
			w := &l.wallets.records[at]
			if w.held != held[at] {
				return fmt.Errorf("ledger: account %d holds %v of asset %d, its orders and withdrawals %v", of, w.held, w.asset, held[at])
			}
			sum, ok := totals[w.asset].Add(w.available)
			if ok {
				sum, ok = sum.Add(w.held)
			}
			if !ok {
				return fmt.Errorf("ledger: the balances of asset %d overflow", w.asset)
			}
			totals[w.asset] = sum
		}
	}
	for i := range l.assets {
		a := &l.assets[i]
		sum, ok := totals[i].Add(a.fees)
		if ok {
			sum, ok = sum.Add(a.withdrawn)
		}
		if !ok || sum != a.deposited {
			return fmt.Errorf("ledger: of %s, wallets %v + fees %v + withdrawn %v are not deposited %v", a.Symbol, totals[i], a.fees, a.withdrawn, a.deposited)
		}
	}
	return nil
}

// checkBook checks a market's levels and counts its orders.
func (l *Ledger) checkBook(b *book, hold func(uint32, Amount)) (count int, err error) {
	for side := Buy; side <= Sell; side++ {
		last := ^uint64(0)
		b.sides[side].walk(func(at uint32, key uint64) bool {
			v := &l.levels.records[at]
			if key != levelKey(side, v.price) || key == last || key > last {
				err = fmt.Errorf("ledger: market %d: level %d is out of order", b.id, v.price)
				return false
			}
			last = key
			n, e := l.checkLevel(b, side, at, hold)
			count, err = count+n, e
			return err == nil
		})
		if err != nil {
			return count, err
		}
	}
	if !b.sides[Buy].empty() && !b.sides[Sell].empty() {
		_, bid := b.sides[Buy].best()
		_, ask := b.sides[Sell].best()
		if bid >= ^ask {
			return count, fmt.Errorf("ledger: market %d is crossed: bid %d, ask %d", b.id, bid, ^ask)
		}
	}
	return count, nil
}

func (l *Ledger) checkLevel(b *book, side Side, at uint32, hold func(uint32, Amount)) (count int, err error) {
	v := &l.levels.records[at]
	var lots, lotsHi uint64
	prev := uint32(0)
	for i := v.head; i != 0; i = l.orders.records[i].next {
		o := &l.orders.records[i]
		if o.price != v.price || o.side != side || o.level != at || o.prev != prev || o.remaining == 0 || l.orderByID(o.id) != i ||
			prev != 0 && l.orders.records[prev].id >= o.id || l.books[l.seats.records[o.seat].market] != b {
			return count, fmt.Errorf("ledger: market %d: order %d is misplaced in level %d", b.id, o.id, v.price)
		}
		sum, carry := bits.Add64(lots, uint64(o.remaining), 0)
		lots, lotsHi = sum, lotsHi+carry
		amount, _ := b.pays(side, o.price, o.remaining)
		s := &l.seats.records[o.seat]
		if side == Buy {
			hold(s.quote, amount)
		} else {
			hold(s.base, amount)
		}
		count++
		prev = i
	}
	if prev != v.tail || count != int(v.orders) || count == 0 || lots != v.lots || lotsHi != uint64(v.lotsHi) {
		return count, fmt.Errorf("ledger: market %d: level %d counts wrong", b.id, v.price)
	}
	return count, nil
}

// checkAccount checks an account's lists.
func (l *Ledger) checkAccount(of AccountRef, hold func(uint32, Amount)) error {
	acct := &l.accounts[of]
	open := make(map[uint32]uint32)
	prev := uint32(0)
	for at := acct.firstOrder; at != 0; at = l.orders.records[at].later {
		o := &l.orders.records[at]
		if l.seats.records[o.seat].account != of || o.earlier != prev || prev != 0 && l.orders.records[prev].id >= o.id {
			return fmt.Errorf("ledger: account %d: order %d is not in its list", of, o.id)
		}
		open[o.seat]++
		prev = at
	}
	if prev != acct.lastOrder {
		return fmt.Errorf("ledger: account %d: its list of orders ends early", of)
	}
	for at := acct.firstSeat; at != 0; at = l.seats.records[at].next {
		if l.seats.records[at].open != open[at] {
			return fmt.Errorf("ledger: account %d: %d orders counted, %d open", of, l.seats.records[at].open, open[at])
		}
	}
	n := uint32(0)
	for at := acct.firstWithdrawal; at != 0; at = l.withdrawals.records[at].next {
		w := &l.withdrawals.records[at]
		at := l.walletOf(of, w.asset)
		hold(at, w.amount)
		hold(at, w.fee)
		n++
	}
	if n != acct.withdrawals {
		return fmt.Errorf("ledger: account %d: %d withdrawals counted, %d open", of, acct.withdrawals, n)
	}
	return nil
}
