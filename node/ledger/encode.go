package ledger

import (
	"encoding/binary"
	"errors"
	"slices"
)

// The state's own encoding: numbers are big endian and of fixed width, lists
// begin with their length. An account is encoded in one way, which is what
// the root's leaf, a proof and a snapshot hold.

type writer struct{ b []byte }

func (w *writer) u8(n uint8)      { w.b = append(w.b, n) }
func (w *writer) u16(n uint16)    { w.b = binary.BigEndian.AppendUint16(w.b, n) }
func (w *writer) u32(n uint32)    { w.b = binary.BigEndian.AppendUint32(w.b, n) }
func (w *writer) u64(n uint64)    { w.b = binary.BigEndian.AppendUint64(w.b, n) }
func (w *writer) i64(n int64)     { w.u64(uint64(n)) }
func (w *writer) raw(b []byte)    { w.b = append(w.b, b...) }
func (w *writer) amount(a Amount) { w.b = a.AppendBytes(w.b) }
func (w *writer) text(s string)   { w.u8(uint8(len(s))); w.b = append(w.b, s...) }

// reader reads what a writer wrote. After the first fault it returns zeros.
type reader struct {
	b     []byte
	fault error
}

var errShort = errors.New("the bytes end too early")

func (r *reader) take(n int) []byte {
	if r.fault == nil && n > len(r.b) {
		r.fault = errShort
	}
	if r.fault != nil {
		return make([]byte, n) // n is a field's width, or checked by list
	}
	b := r.b[:n]
	r.b = r.b[n:]
	return b
}

func (r *reader) u8() uint8      { return r.take(1)[0] }
func (r *reader) u16() uint16    { return binary.BigEndian.Uint16(r.take(2)) }
func (r *reader) u32() uint32    { return binary.BigEndian.Uint32(r.take(4)) }
func (r *reader) u64() uint64    { return binary.BigEndian.Uint64(r.take(8)) }
func (r *reader) i64() int64     { return int64(r.u64()) }
func (r *reader) digest() Digest { return Digest(r.take(32)) }
func (r *reader) text() string   { return string(r.take(int(r.u8()))) }
func (r *reader) amount() Amount { return AmountFromBytes([AmountBytes]byte(r.take(AmountBytes))) }

// list reads a length whose entries take at least width bytes each, so that a
// length costs nothing that bytes do not back.
func (r *reader) list(width int) int {
	n := int(r.u32())
	if r.fault == nil && n > len(r.b)/width {
		r.fault = errShort
	}
	if r.fault != nil {
		return 0
	}
	return n
}

// check notes a fault unless what must be, is.
func (r *reader) check(must bool, otherwise string) {
	if r.fault == nil && !must {
		r.fault = errors.New(otherwise)
	}
}

// end refuses trailing bytes.
func (r *reader) end() error {
	r.check(len(r.b) == 0, "bytes follow the end")
	return r.fault
}

// Widths of what accounts are encoded of.
const (
	balanceBytes    = 2 + 2*AmountBytes
	resultBytes     = 32 + 8 + 8 + 4 + 1 + 8
	orderBytes      = 8 + 2 + 1 + 8 + 8 + 8 + 16 + 8
	withdrawalBytes = 8 + 2 + 1 + 2*AmountBytes + 3*8 + 1
)

// AccountState is all there is to know about an account.
type AccountState struct {
	Key         Account
	NonceFloor  uint64          // at or below it no nonce is accepted
	Balances    []WalletState   // by asset
	Results     []Result        // of the ops whose nonces are remembered, by nonce
	Orders      []OpenOrder     // by id
	Withdrawals []WithdrawalNow // those open, by id
}

// WalletState is what an account has of an asset.
type WalletState struct {
	Asset     AssetID
	Available Amount
	Held      Amount // for open orders and withdrawals
}

// OpenOrder is an order in the book.
type OpenOrder struct {
	ID         OrderID
	Market     MarketID
	Side       Side
	Price      Ticks
	Remaining  Lots
	Executed   Lots
	ClientID   ClientID
	ExpireAtMs int64 // 0: never
}

// WithdrawalNow is an open withdrawal.
type WithdrawalNow struct {
	ID      WithdrawalID
	Asset   AssetID
	State   WithdrawalState
	Amount  Amount
	Fee     Amount
	Votes   [3]uint64 // custodians, by position, for: sign, complete, fail
	Address string
}

func (w *writer) account(a *AccountState) {
	w.raw(a.Key[:])
	w.u64(a.NonceFloor)
	w.u32(uint32(len(a.Balances)))
	for i := range a.Balances {
		b := &a.Balances[i]
		w.u16(uint16(b.Asset))
		w.amount(b.Available)
		w.amount(b.Held)
	}
	w.u32(uint32(len(a.Results)))
	for i := range a.Results {
		r := &a.Results[i]
		w.raw(r.ID[:])
		w.u64(r.Nonce)
		w.u64(r.Commit)
		w.u32(r.Op)
		w.u8(uint8(r.Reason))
		w.u64(r.Refused)
	}
	w.u32(uint32(len(a.Orders)))
	for i := range a.Orders {
		o := &a.Orders[i]
		w.u64(uint64(o.ID))
		w.u16(uint16(o.Market))
		w.u8(uint8(o.Side))
		w.u64(uint64(o.Price))
		w.u64(uint64(o.Remaining))
		w.u64(uint64(o.Executed))
		w.raw(o.ClientID[:])
		w.i64(o.ExpireAtMs)
	}
	w.u32(uint32(len(a.Withdrawals)))
	for i := range a.Withdrawals {
		o := &a.Withdrawals[i]
		w.u64(uint64(o.ID))
		w.u16(uint16(o.Asset))
		w.u8(uint8(o.State))
		w.amount(o.Amount)
		w.amount(o.Fee)
		for _, v := range o.Votes {
			w.u64(v)
		}
		w.text(o.Address)
	}
}

func (r *reader) account(a *AccountState) {
	a.Key = Account(r.take(32))
	a.NonceFloor = r.u64()
	for n := r.list(balanceBytes); n > 0; n-- {
		a.Balances = append(a.Balances, WalletState{Asset: AssetID(r.u16()), Available: r.amount(), Held: r.amount()})
	}
	for n := r.list(resultBytes); n > 0; n-- {
		a.Results = append(a.Results, Result{ID: r.digest(), Nonce: r.u64(), Commit: r.u64(), Op: r.u32(), Reason: Reason(r.u8()), Refused: r.u64()})
	}
	for n := r.list(orderBytes); n > 0; n-- {
		a.Orders = append(a.Orders, OpenOrder{ID: OrderID(r.u64()), Market: MarketID(r.u16()), Side: Side(r.u8()),
			Price: Ticks(r.u64()), Remaining: Lots(r.u64()), Executed: Lots(r.u64()),
			ClientID: ClientID(r.take(16)), ExpireAtMs: r.i64()})
	}
	for n := r.list(withdrawalBytes); n > 0; n-- {
		a.Withdrawals = append(a.Withdrawals, WithdrawalNow{ID: WithdrawalID(r.u64()), Asset: AssetID(r.u16()),
			State: WithdrawalState(r.u8()), Amount: r.amount(), Fee: r.amount(),
			Votes: [3]uint64{r.u64(), r.u64(), r.u64()}, Address: r.text()})
	}
}

// readAccount fills a with what there is to know about an account. It reuses
// a's slices; Results aliases the ledger.
func (l *Ledger) readAccount(of AccountRef, a *AccountState) {
	acct := &l.accounts[of]
	a.Key, a.NonceFloor = acct.key, l.nonces[of].floor
	a.Results = l.nonces[of].kept()
	a.Balances = a.Balances[:0]
	for at := acct.firstWallet; at != 0; {
		w := &l.wallets.records[at]
		a.Balances = append(a.Balances, WalletState{w.asset, w.available, w.held})
		at = w.next
	}
	open := 0
	for at := acct.firstSeat; at != 0; at = l.seats.records[at].next {
		open += int(l.seats.records[at].open)
	}
	a.Orders = slices.Grow(a.Orders[:0], open)
	for at := acct.firstOrder; at != 0; {
		o := &l.orders.records[at]
		a.Orders = append(a.Orders, l.openOrder(o))
		at = o.later
	}
	a.Withdrawals = a.Withdrawals[:0]
	for at := acct.firstWithdrawal; at != 0; {
		w := &l.withdrawals.records[at]
		a.Withdrawals = append(a.Withdrawals, w.now())
		at = w.next
	}
}

func (l *Ledger) openOrder(o *order) OpenOrder {
	n := OpenOrder{ID: o.id, Market: l.seats.records[o.seat].market, Side: o.side, Price: o.price, Remaining: o.remaining, Executed: o.executed}
	if o.extra != 0 {
		n.ClientID, n.ExpireAtMs = l.extras.records[o.extra].name, l.extras.records[o.extra].expireAtMs
	}
	return n
}

// rules encodes what rarely changes: listings, councils, parameters, and what
// is being decided.
func (w *writer) rules(l *Ledger) {
	g := Genesis{Name: l.name, Custodians: l.custodians, Governors: l.governors, Params: l.params, Committee: l.committee}
	for i := range l.assets {
		g.Assets = append(g.Assets, l.assets[i].Asset)
	}
	for _, b := range l.books {
		g.Markets = append(g.Markets, b.Market)
	}
	c := codec{writing: true}
	c.genesis(&g)
	w.u32(uint32(len(c.buf)))
	w.raw(c.buf)
	w.u32(uint32(len(l.proposals)))
	for i := range l.proposals {
		p := &l.proposals[i]
		w.raw(p.content[:])
		w.u64(p.votes)
		w.u8(p.opener)
		w.i64(p.untilMs)
	}
	w.u32(uint32(len(l.refusals)))
	for i := range l.refusals {
		r := &l.refusals[i]
		w.raw(r.id[:])
		w.u64(r.commit)
		w.u8(uint8(r.reason))
	}
}

const (
	proposalBytes = 32 + 8 + 1 + 8
	refusalBytes  = 32 + 8 + 1
)

// sums encodes what nearly every commit changes: each asset's totals and each
// market's last price.
func (w *writer) sums(l *Ledger) {
	for i := range l.assets {
		w.amount(l.assets[i].deposited)
		w.amount(l.assets[i].withdrawn)
		w.amount(l.assets[i].fees)
	}
	for _, b := range l.books {
		w.u64(uint64(b.last))
	}
}

// deposit encodes one deposit.
func (w *writer) deposit(d *deposit) {
	w.raw(d.id[:])
	w.u8(uint8(b2u(d.credited)))
	w.u8(d.opener)
	w.u32(uint32(len(d.claims)))
	for i := range d.claims {
		c := &d.claims[i]
		w.raw(c.account[:])
		w.u16(uint16(c.asset))
		w.amount(c.amount)
		w.u64(c.votes)
	}
}

const claimBytes = 32 + 2 + AmountBytes + 8

func (r *reader) deposit() (d deposit) {
	d.id = r.digest()
	credited := r.u8()
	r.check(credited <= 1, "a flag is neither 0 nor 1")
	d.credited, d.opener = credited == 1, r.u8()
	for n := r.list(claimBytes); n > 0; n-- {
		d.claims = append(d.claims, claim{account: Account(r.take(32)), asset: AssetID(r.u16()), amount: r.amount(), votes: r.u64()})
	}
	return d
}

func b2u(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}
