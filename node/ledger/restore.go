package ledger

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// Restorer makes a ledger from a snapshot's bytes as they arrive, in pieces of
// any size. It trusts nothing: bytes that are not exactly a snapshot of a sound
// state are an error. Whether it is the wanted state is for the caller to say,
// by comparing Root.
type Restorer struct {
	l      *Ledger
	head   Head
	buf    []byte // an incomplete record
	stage  uint8  // the record type expected, or a later one
	orders []uint32
	fault  error
}

// ErrSnapshot says that bytes are not a snapshot.
var ErrSnapshot = errors.New("ledger: this is not a snapshot of a sound state")

// recordBytesMax bounds a record: the rules with 256 validators and every
// market, or an account with as many open orders as it can have.
const recordBytesMax = 64 << 20

// NewRestorer returns a restorer that has seen nothing.
func NewRestorer() *Restorer { return &Restorer{l: empty(), stage: recordHead} }

// Restore makes a ledger from a whole snapshot.
func Restore(snapshot []byte) (*Ledger, error) {
	r := NewRestorer()
	if err := r.Add(snapshot); err != nil {
		return nil, err
	}
	return r.Finish()
}

// Add takes the next bytes. After an error the restorer is of no more use.
func (r *Restorer) Add(chunk []byte) error {
	if r.fault != nil {
		return r.fault
	}
	b := chunk
	if len(r.buf) > 0 {
		r.buf = append(r.buf, chunk...)
		b = r.buf
	}
	for r.fault == nil && len(b) >= 5 {
		n := int(binary.BigEndian.Uint32(b[1:5]))
		if n > recordBytesMax {
			r.fail(fmt.Errorf("a record of %d bytes", n))
			break
		}
		if len(b)-5 < n {
			break
		}
		if err := r.record(b[0], b[5:5+n]); err != nil {
			r.fail(err)
		}
		b = b[5+n:]
	}
	r.buf = append(r.buf[:0], b...)
	return r.fault
}

func (r *Restorer) fail(err error) { r.fault = fmt.Errorf("%w: %w", ErrSnapshot, err) }

// record takes one whole record.
func (r *Restorer) record(kind uint8, body []byte) error {
	in := reader{b: body}
	repeats := kind == recordAccount || kind == recordDeposit
	accounts, deposits := len(r.l.accounts)-1, len(r.l.deposits)-1
	if r.stage == recordAccount && accounts == int(r.head.Accounts) {
		r.stage = recordDeposit
	}
	if r.stage == recordDeposit && deposits == int(r.head.Deposits) {
		r.stage = recordEnd
	}
	if kind != r.stage {
		return fmt.Errorf("a record of type %d where %d should be", kind, r.stage)
	}
	if !repeats {
		r.stage++
	}
	switch kind {
	case recordHead:
		in.check(string(in.take(len(snapshotMagic))) == snapshotMagic, "the format is unknown")
		r.head = in.head()
		l, h := r.l, &r.head
		l.network, l.index, l.timeMs, l.digest = h.Network, h.Commit, h.TimeMs, h.CommitDigest
		l.lastID, l.lastWithdrawal, l.reopenUntilMs = h.LastOrder, h.LastWithdrawal, h.ReopenUntilMs
	case recordRules:
		if err := r.rules(&in); err != nil {
			return err
		}
	case recordSums:
		for i := range r.l.assets {
			a := &r.l.assets[i]
			a.deposited, a.withdrawn, a.fees = in.amount(), in.amount(), in.amount()
		}
		for _, b := range r.l.books {
			b.last = Ticks(in.u64())
			in.check(b.last <= TicksMax, "a last price is out of bounds")
		}
	case recordAccount:
		var a AccountState
		in.account(&a)
		if err := cmp.Or(in.fault, r.account(&a)); err != nil {
			return err
		}
	case recordDeposit:
		d := in.deposit()
		if err := cmp.Or(in.fault, r.deposit(&d)); err != nil {
			return err
		}
	}
	return in.end()
}

// rules takes listings, councils, parameters, proposals and refusals.
func (r *Restorer) rules(in *reader) error {
	l := r.l
	g, err := DecodeGenesis(in.take(in.list(1)))
	if err != nil {
		return err
	}
	if len(g.Balances) > 0 {
		return errors.New("the rules have opening balances")
	}
	l.name, l.params = g.Name, g.Params
	l.custodians, l.governors, l.committee = g.Custodians, g.Governors, g.Committee
	for i := range g.Assets {
		l.assets = append(l.assets, asset{Asset: g.Assets[i]})
	}
	for i := range g.Markets {
		if err := l.addMarket(g.Markets[i]); err != nil {
			return err
		}
	}
	for n := in.list(proposalBytes); n > 0; n-- {
		p := proposal{content: in.digest(), votes: in.u64(), opener: in.u8(), untilMs: in.i64()}
		in.check(int(p.opener) < len(g.Governors.Members), "a proposal of nobody")
		l.proposals = append(l.proposals, p)
	}
	for n := in.list(refusalBytes); n > 0; n-- {
		o := refusal{id: in.digest(), commit: in.u64(), reason: Reason(in.u8())}
		in.check(o.reason == ReasonUnknownAccount || o.reason == ReasonNonceWindow, "a refusal for another reason")
		l.addRefusal(o)
	}
	in.check(len(l.refusals) <= refusalsMax && len(l.refusals) == len(l.refusedBefore), "refusals are too many or there twice")
	return nil
}

// account takes the next account.
func (r *Restorer) account(a *AccountState) error {
	l := r.l
	if l.accountOf(&a.Key) != 0 || !l.room() {
		return errors.New("an account is there twice, or too many are")
	}
	of := l.addAccount(&a.Key)
	for i := range a.Balances {
		b := &a.Balances[i]
		if int(b.Asset) >= len(l.assets) || i > 0 && a.Balances[i-1].Asset >= b.Asset {
			return errors.New("balances are not in order of assets that are listed")
		}
		w := &l.wallets.records[l.needWallet(of, b.Asset)]
		w.available, w.held = b.Available, b.Held
	}
	n := &l.nonces[of]
	n.floor, n.all = a.NonceFloor, a.Results
	if last := len(n.all); last > 0 {
		n.top = n.all[last-1].Nonce
	}
	for i := range a.Results {
		o := &a.Results[i]
		if i > 0 && a.Results[i-1].Nonce >= o.Nonce || o.Reason >= reasonEnd || len(a.Results) > nonceWindowMax {
			return errors.New("nonces are too many or not in order")
		}
		l.byOp.add(l.hash.digest(&o.ID), uint32(of))
	}
	for i := range a.Orders {
		if err := r.order(of, &a.Orders[i]); err != nil {
			return err
		}
	}
	for i := range a.Withdrawals {
		if err := r.withdrawal(of, &a.Withdrawals[i]); err != nil {
			return err
		}
	}
	return nil
}

// order takes an open order. It enters its book when all are there, in the
// order of their ids.
func (r *Restorer) order(of AccountRef, o *OpenOrder) error {
	l := r.l
	if o.ID == 0 || o.ID > l.lastID || int(o.Market) >= len(l.books) || o.Side > Sell || o.Price == 0 || o.Price > TicksMax ||
		o.Remaining == 0 || o.Remaining > LotsMax || o.Executed > LotsMax-o.Remaining || o.ExpireAtMs < 0 {
		return errors.New("an order is out of bounds")
	}
	b := l.books[o.Market]
	if _, ok := Notional(o.Price, o.Executed+o.Remaining, b.tickLot); !ok {
		return errors.New("an order's worth overflows")
	}
	if l.walletOf(of, b.Base) == 0 || l.walletOf(of, b.Quote) == 0 {
		return errors.New("an order has no wallets")
	}
	if o.ClientID != (ClientID{}) && l.orderByName(of, &o.ClientID) != 0 {
		return errors.New("two orders have one name")
	}
	at := l.orders.take()
	l.orders.records[at] = order{id: o.ID, price: o.Price, remaining: o.Remaining, executed: o.Executed, side: o.Side, seat: l.needSeat(of, b)}
	l.setExtra(of, at, o.ClientID, o.ExpireAtMs)
	r.orders = append(r.orders, at)
	return nil
}

func (r *Restorer) withdrawal(of AccountRef, o *WithdrawalNow) error {
	l := r.l
	if _, fits := o.Amount.Add(o.Fee); !fits || o.ID == 0 || o.ID > l.lastWithdrawal || l.walletOf(of, o.Asset) == 0 ||
		o.State != WithdrawalPending && o.State != WithdrawalBroadcast || len(o.Address) > ReferenceMax {
		return errors.New("a withdrawal is out of bounds")
	}
	if at, _ := l.openWithdrawal(o.ID); at != 0 {
		return errors.New("a withdrawal is there twice")
	}
	if n := l.accounts[of].withdrawals; n >= withdrawalsMax {
		return errors.New("too many withdrawals")
	}
	at := l.withdrawals.take()
	l.withdrawals.records[at] = withdrawal{id: o.ID, amount: o.Amount, fee: o.Fee, account: of, asset: o.Asset, state: o.State, votes: o.Votes, address: o.Address}
	l.enterWithdrawal(at)
	return nil
}

func (r *Restorer) deposit(d *deposit) error {
	l := r.l
	if l.depositOf(&d.id) != 0 || int(d.opener) >= CouncilMax || d.credited && len(d.claims) > 0 || len(d.claims) > CouncilMax {
		return errors.New("a deposit is out of bounds or there twice")
	}
	at := uint32(len(l.deposits))
	d.touched = true
	l.merkle.touches = append(l.merkle.touches, at)
	l.deposits = append(l.deposits, *d)
	l.byDeposit.add(l.hash.digest(&d.id), at)
	if !d.credited {
		l.opened[d.opener]++
	}
	return nil
}

// Finish returns the ledger, when all of the snapshot is there and sound.
func (r *Restorer) Finish() (*Ledger, error) {
	l := r.l
	if r.fault == nil && (r.stage != recordEnd+1 || len(r.buf) > 0) {
		r.fail(errors.New("bytes are missing or left over"))
	}
	if r.fault != nil {
		return nil, r.fault
	}
	byID := func(a, b uint32) int { return cmp.Compare(l.orders.records[a].id, l.orders.records[b].id) }
	slices.SortFunc(r.orders, byID)
	l.byID.reserve(len(r.orders), l.lastID)
	for i, at := range r.orders {
		if i > 0 && byID(r.orders[i-1], at) == 0 {
			r.fail(errors.New("two orders have one id"))
			return nil, r.fault
		}
		l.enter(l.books[l.seats.records[l.orders.records[at].seat].market], at)
	}
	if err := l.CheckInvariants(); err != nil {
		r.fail(err)
		return nil, r.fault
	}
	want, got := writer{}, writer{}
	now := l.Head()
	want.head(&r.head)
	got.head(&now)
	if !bytes.Equal(want.b, got.b) {
		r.fail(errors.New("the state is not the one its head describes"))
		return nil, r.fault
	}
	l.bugs = restoredBugs()
	return l, nil
}
