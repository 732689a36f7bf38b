package ledger

// wallet is what an account has of one asset. What an account has at all is in
// its wallets; they are made with the first movement and stay.
type wallet struct {
	available Amount
	held      Amount // for open orders and withdrawals
	account   AccountRef
	next      uint32 // the account's wallet of the next higher asset it has
	asset     AssetID
}

// asset is an Asset and the ledger's own accounts in it. For each asset
//
//	the sum of all wallets + fees == deposited - withdrawn
//
// and deposited never exceeds MaxAmount, so no sum of balances overflows.
type asset struct {
	Asset
	deposited Amount // all that ever came in
	withdrawn Amount // all that ever left
	fees      Amount // what the house has earned
}

// The movements. Each takes from one account what it gives to another, and
// panics when there is less than it moves: whoever asks has checked before.

// plus and minus are sums of amounts that are known to fit.
func plus(a, b Amount) Amount {
	sum, ok := a.Add(b)
	if !ok {
		panic("ledger: invariant broken: more of an asset than was deposited")
	}
	return sum
}

func minus(a, b Amount) Amount {
	rest, ok := a.Sub(b)
	if !ok {
		panic("ledger: invariant broken: a movement of more than there is")
	}
	return rest
}

// hold moves from available to held.
func (w *wallet) hold(a Amount) {
	w.available = minus(w.available, a)
	w.held = plus(w.held, a)
}

// release moves from held to available.
func (w *wallet) release(a Amount) {
	w.held = minus(w.held, a)
	w.available = plus(w.available, a)
}

// payHeld moves from one account's held to another's available. They may be
// the same.
func payHeld(from, to *wallet, a Amount) {
	from.held = minus(from.held, a)
	to.available = plus(to.available, a)
}

// pay moves from one account's available to another's.
func pay(from, to *wallet, a Amount) {
	from.available = minus(from.available, a)
	to.available = plus(to.available, a)
}

// charge moves from available to the house's fees.
func (s *asset) charge(w *wallet, a Amount) {
	w.available = minus(w.available, a)
	s.fees = plus(s.fees, a)
}

// rebate moves from the house's fees to available.
func (s *asset) rebate(w *wallet, a Amount) {
	s.fees = minus(s.fees, a)
	w.available = plus(w.available, a)
}

// deposit brings in from outside. ok is false, and nothing happens, when more
// would ever have come in than fits.
func (s *asset) deposit(w *wallet, a Amount) (ok bool) {
	sum, ok := s.deposited.Add(a)
	if !ok {
		return false
	}
	s.deposited = sum
	w.available = plus(w.available, a)
	return true
}

// payOut sends held funds outside, and takes the fee.
func (s *asset) payOut(w *wallet, a, fee Amount) {
	w.held = minus(minus(w.held, a), fee)
	s.withdrawn = plus(s.withdrawn, a)
	s.fees = plus(s.fees, fee)
}

// walletOf returns the position of an account's wallet of an asset, or 0.
func (l *Ledger) walletOf(of AccountRef, id AssetID) uint32 {
	at := l.accounts[of].firstWallet
	for at != 0 && l.wallets.records[at].asset < id {
		at = l.wallets.records[at].next
	}
	if at != 0 && l.wallets.records[at].asset != id {
		return 0
	}
	return at
}

// needWallet returns the position of an account's wallet of an asset, and
// makes it if there is none.
func (l *Ledger) needWallet(of AccountRef, id AssetID) uint32 {
	before, at := uint32(0), l.accounts[of].firstWallet
	for at != 0 && l.wallets.records[at].asset < id {
		before, at = at, l.wallets.records[at].next
	}
	if at != 0 && l.wallets.records[at].asset == id {
		return at
	}
	made := l.wallets.take()
	l.wallets.records[made] = wallet{account: of, next: at, asset: id}
	if before == 0 {
		l.accounts[of].firstWallet = made
	} else {
		l.wallets.records[before].next = made
	}
	return made
}

// available returns what an account can spend of an asset.
func (l *Ledger) available(of AccountRef, id AssetID) Amount {
	if at := l.walletOf(of, id); at != 0 {
		return l.wallets.records[at].available
	}
	return Amount{}
}
