package ledger

// account is who has something here. Its position is its AccountRef, given in
// the order of first appearance and never again.
type account struct {
	key             Account
	firstWallet     uint32 // by asset
	firstSeat       uint32
	firstOrder      uint32 // by id
	lastOrder       uint32
	firstWithdrawal uint32 // by id
	withdrawals     uint32 // how many are open
}

// accountsMax bounds how many accounts there are: a node holds them in memory,
// at about 200 bytes each. An account costs whoever makes it a transfer.
const accountsMax = 1 << 26

// accountOf returns the account with this key, or 0.
func (l *Ledger) accountOf(key *Account) AccountRef {
	tag := l.hash.key(key)
	for at := l.byKey.home(tag); ; {
		ref := l.byKey.next(tag, &at)
		if ref == 0 || l.accounts[ref].key == *key {
			return AccountRef(ref)
		}
	}
}

// addAccount makes an account. Its key is not there yet.
func (l *Ledger) addAccount(key *Account) AccountRef {
	ref := AccountRef(len(l.accounts))
	l.accounts = append(l.accounts, account{key: *key})
	l.nonces = append(l.nonces, nonces{})
	l.touched = append(l.touched, false)
	l.byKey.add(l.hash.key(key), uint32(ref))
	l.touch(ref)
	return ref
}

// room says whether an account may still be made.
func (l *Ledger) room() bool { return len(l.accounts) <= accountsMax }

// touch notes that the account's leaf under the root is out of date.
func (l *Ledger) touch(of AccountRef) {
	if !l.touched[of] {
		l.touched[of] = true
		l.touches = append(l.touches, of)
	}
}

// seatOf returns the account's seat at a market, or 0.
func (l *Ledger) seatOf(of AccountRef, m MarketID) uint32 {
	at := l.accounts[of].firstSeat
	for at != 0 && l.seats.records[at].market != m {
		at = l.seats.records[at].next
	}
	return at
}

// needSeat returns the account's seat at a market, and makes it if there is
// none.
func (l *Ledger) needSeat(of AccountRef, b *book) uint32 {
	if at := l.seatOf(of, b.id); at != 0 {
		return at
	}
	base, quote := l.needWallet(of, b.Base), l.needWallet(of, b.Quote)
	at := l.seats.take()
	l.seats.records[at] = seat{account: of, base: base, quote: quote, next: l.accounts[of].firstSeat, market: b.id}
	l.accounts[of].firstSeat = at
	return at
}
