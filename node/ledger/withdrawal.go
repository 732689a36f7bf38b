package ledger

import "math/bits"

// withdrawal is an open one, PENDING or BROADCAST. One that has ended is
// forgotten: ids are given in order, so an id that was given and is not open
// has ended, and nobody can end it twice.
type withdrawal struct {
	id      WithdrawalID
	amount  Amount
	fee     Amount
	account AccountRef
	next    uint32 // the account's, by id
	asset   AssetID
	state   WithdrawalState
	votes   [3]uint64 // custodians, by position: for sign, complete, fail
	address string
}

// withdrawalsMax is how many withdrawals an account may have open: each waits
// for custodians, and one account must not fill their desk.
const withdrawalsMax = 32

// withdraw holds amount and fee until the custodians have paid, or cannot.
func (l *Ledger) withdraw(a *Action) Reason {
	if int(a.Asset) >= len(l.assets) {
		return ReasonUnknownAsset
	}
	if a.Amount.IsZero() {
		return ReasonBadAmount
	}
	if a.Detail.Fee.Less(l.assets[a.Asset].WithdrawalFeeMin) {
		return ReasonFeeTooLow
	}
	total, ok := a.Amount.Add(a.Detail.Fee)
	if !ok {
		return ReasonOverflow
	}
	if l.available(l.account, a.Asset).Less(total) {
		return ReasonInsufficientBalance
	}
	if l.accounts[l.account].withdrawals >= withdrawalsMax {
		return ReasonMaxNumWithdrawals
	}
	l.wallets.records[l.walletOf(l.account, a.Asset)].hold(total)
	l.lastWithdrawal++
	at := l.withdrawals.take()
	w := &l.withdrawals.records[at]
	*w = withdrawal{id: l.lastWithdrawal, amount: a.Amount, fee: a.Detail.Fee, account: l.account,
		asset: a.Asset, state: WithdrawalPending, address: a.Detail.Reference}
	l.enterWithdrawal(at)
	l.reportWithdrawal(w)
	return ReasonNone
}

// enterWithdrawal links an account's newest withdrawal.
func (l *Ledger) enterWithdrawal(at uint32) {
	w := &l.withdrawals.records[at]
	link := &l.accounts[w.account].firstWithdrawal
	for *link != 0 {
		link = &l.withdrawals.records[*link].next
	}
	*link = at
	l.accounts[w.account].withdrawals++
	l.byWithdrawal.add(l.hash.number(uint64(w.id)), at)
	l.touch(w.account)
}

// leaveWithdrawal forgets one that has ended.
func (l *Ledger) leaveWithdrawal(at uint32) {
	w := &l.withdrawals.records[at]
	link := &l.accounts[w.account].firstWithdrawal
	for *link != at {
		link = &l.withdrawals.records[*link].next
	}
	*link = w.next
	l.accounts[w.account].withdrawals--
	l.byWithdrawal.remove(l.hash.number(uint64(w.id)), at)
	l.withdrawals.give(at)
}

// openWithdrawal returns the open withdrawal with this id, or why there is none.
func (l *Ledger) openWithdrawal(id WithdrawalID) (at uint32, reason Reason) {
	tag := l.hash.number(uint64(id))
	for probe := l.byWithdrawal.home(tag); ; {
		at = l.byWithdrawal.next(tag, &probe)
		switch {
		case at != 0 && l.withdrawals.records[at].id == id:
			return at, ReasonNone
		case at == 0 && (id == 0 || id > l.lastWithdrawal):
			return 0, ReasonUnknownWithdrawal
		case at == 0:
			return 0, ReasonBadState
		}
	}
}

// cancelWithdrawal takes back a withdrawal that nobody has signed.
func (l *Ledger) cancelWithdrawal(a *Action) Reason {
	at, reason := l.openWithdrawal(a.Withdrawal)
	if reason != ReasonNone {
		return reason
	}
	w := &l.withdrawals.records[at]
	if w.account != l.account {
		return ReasonUnknownWithdrawal
	}
	if w.state != WithdrawalPending {
		return ReasonBadState
	}
	l.endWithdrawal(at, WithdrawalCanceled)
	return ReasonNone
}

// custodianActs counts a custodian's word on a withdrawal; the one that makes
// the council's threshold moves it on.
func (l *Ledger) custodianActs(a *Action) Reason {
	member, reason := l.member(&l.custodians)
	if reason != ReasonNone {
		return ReasonNotCustodian
	}
	at, reason := l.openWithdrawal(a.Withdrawal)
	if reason != ReasonNone {
		return reason
	}
	w := &l.withdrawals.records[at]
	word, to := 0, WithdrawalBroadcast
	switch a.Kind {
	case KindSignWithdrawal:
		if w.state != WithdrawalPending {
			return ReasonBadState
		}
	case KindCompleteWithdrawal:
		word, to = 1, WithdrawalCompleted
		if w.state != WithdrawalBroadcast {
			return ReasonBadState
		}
	case KindFailWithdrawal:
		word, to = 2, WithdrawalFailed
	}
	said := w.votes[word]
	if word != 0 {
		said = w.votes[1] | w.votes[2] // who has said how it ended has said it
	}
	if said&member != 0 {
		return ReasonDuplicateAttestation
	}
	w.votes[word] |= member
	l.touch(w.account)
	switch {
	case bits.OnesCount64(w.votes[word]) < int(l.custodians.Threshold):
		l.reportWithdrawal(w).Votes = uint8(bits.OnesCount64(w.votes[word]))
	case to == WithdrawalBroadcast:
		w.state = to
		l.reportWithdrawal(w)
	default:
		l.endWithdrawal(at, to)
	}
	return ReasonNone
}

// endWithdrawal pays out what is held, or releases it, once.
func (l *Ledger) endWithdrawal(at uint32, state WithdrawalState) {
	w := &l.withdrawals.records[at]
	from := &l.wallets.records[l.walletOf(w.account, w.asset)]
	if state == WithdrawalCompleted {
		l.assets[w.asset].payOut(from, w.amount, w.fee)
	} else {
		from.release(plus(w.amount, w.fee))
	}
	w.state = state
	l.touch(w.account)
	l.reportWithdrawal(w)
	l.leaveWithdrawal(at)
}

func (l *Ledger) reportWithdrawal(w *withdrawal) *Event {
	e := l.emit(EventWithdrawal)
	e.Account, e.Withdrawal, e.Asset, e.Amount, e.Fee = w.account, w.id, w.asset, w.amount, w.fee
	e.WithdrawalState, e.Outcome = w.state, true
	return e
}
