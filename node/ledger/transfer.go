package ledger

// needAccount returns the account with this key, and makes it if there is none.
func (l *Ledger) needAccount(key *Account) AccountRef {
	if of := l.accountOf(key); of != 0 {
		return of
	}
	return l.addAccount(key)
}

// transfer moves available funds to another account, which it may make. A
// transfer to oneself changes nothing.
func (l *Ledger) transfer(a *Action) Reason {
	if int(a.Asset) >= len(l.assets) {
		return ReasonUnknownAsset
	}
	if a.Amount.IsZero() {
		return ReasonBadAmount
	}
	if l.available(l.account, a.Asset).Less(a.Amount) {
		return ReasonInsufficientBalance
	}
	to := l.accountOf(&a.Detail.Account)
	if to == 0 {
		if !l.room() {
			return ReasonMaxNumAccounts
		}
		to = l.addAccount(&a.Detail.Account)
	}
	payee := l.needWallet(to, a.Asset)
	payer := l.walletOf(l.account, a.Asset)
	pay(&l.wallets.records[payer], &l.wallets.records[payee], a.Amount)
	l.touch(l.account)
	l.touch(to)
	e := l.emit(EventTransferred)
	e.Counterparty, e.Asset, e.Amount, e.Outcome = to, a.Asset, a.Amount, true
	return ReasonNone
}
