package ledger

import (
	"crypto/sha256"
	"math/bits"
)

// deposit is what custodians have said about something that arrived. It is
// remembered for ever, or the same money could be credited again.
type deposit struct {
	id       Digest // SHA-256 of the custodians' name for it
	credited bool
	touched  bool    // its leaf under the root is out of date
	opener   uint8   // the custodian who spoke first, by position
	claims   []claim // until credited: what custodians say, in order of appearance
}

// claim is one content of an attestation, and who says so.
type claim struct {
	account Account
	asset   AssetID
	amount  Amount
	votes   uint64 // custodians, by position
}

// depositsOpenMax is how many deposits a custodian may open that others have
// not yet confirmed: a custodian gone wild must not fill every node's memory.
const depositsOpenMax = 1024

// attestDeposit counts a custodian's word that funds have arrived. When as
// many as the threshold say the very same, it is credited, once.
func (l *Ledger) attestDeposit(a *Action) Reason {
	member, reason := l.member(&l.custodians)
	if reason != ReasonNone {
		return ReasonNotCustodian
	}
	if int(a.Asset) >= len(l.assets) {
		return ReasonUnknownAsset
	}
	if a.Amount.IsZero() {
		return ReasonBadAmount
	}
	id := Digest(sha256.Sum256([]byte(a.Detail.Reference)))
	at := l.depositOf(&id)
	switch {
	case at == 0 && l.openedBy(member) >= depositsOpenMax:
		return ReasonMaxNumDeposits
	case at != 0 && l.deposits[at].credited:
		return ReasonAlreadyCredited
	case at != 0 && l.deposits[at].voted()&member != 0:
		return ReasonDuplicateAttestation
	}
	said := claim{account: a.Detail.Account, asset: a.Asset, amount: a.Amount, votes: member}
	if at != 0 {
		said.votes |= l.deposits[at].votesFor(&said)
	}
	votes := bits.OnesCount64(said.votes)
	if votes < int(l.custodians.Threshold) {
		l.recordClaim(at, &id, said)
		e := l.emit(EventAttested)
		e.Asset, e.Amount, e.Votes, e.Outcome = a.Asset, a.Amount, uint8(votes), true
		return ReasonNone
	}
	if reason := l.credit(&said); reason != ReasonNone {
		return reason
	}
	at = l.recordClaim(at, &id, said)
	d := &l.deposits[at]
	d.credited, d.claims = true, nil
	l.opened[d.opener]--
	l.events[len(l.events)-1].Votes = uint8(votes)
	return ReasonNone
}

// credit brings the claimed amount in.
func (l *Ledger) credit(c *claim) Reason {
	asset := &l.assets[c.asset]
	if _, ok := asset.deposited.Add(c.amount); !ok {
		return ReasonOverflow
	}
	to := l.accountOf(&c.account)
	if to == 0 {
		if !l.room() {
			return ReasonMaxNumAccounts
		}
		to = l.addAccount(&c.account)
	}
	asset.deposit(&l.wallets.records[l.needWallet(to, c.asset)], c.amount)
	l.touch(to)
	e := l.emit(EventDeposited)
	e.Account, e.Asset, e.Amount, e.Outcome = to, c.asset, c.amount, true
	return ReasonNone
}

// recordClaim notes a claim under its deposit, which it opens if need be.
func (l *Ledger) recordClaim(at uint32, id *Digest, said claim) uint32 {
	if at == 0 {
		at = uint32(len(l.deposits))
		opener := uint8(bits.TrailingZeros64(said.votes))
		l.deposits = append(l.deposits, deposit{id: *id, opener: opener})
		l.opened[opener]++
		l.byDeposit.add(l.hash.digest(id), at)
	}
	d := &l.deposits[at]
	if !d.touched {
		d.touched = true
		l.merkle.touches = append(l.merkle.touches, at)
	}
	for i := range d.claims {
		if d.claims[i].says(&said) {
			d.claims[i].votes = said.votes
			return at
		}
	}
	d.claims = append(d.claims, said)
	return at
}

// openedBy is how many deposits the custodian has opened that wait for others.
func (l *Ledger) openedBy(member uint64) uint32 { return l.opened[bits.TrailingZeros64(member)] }

// depositOf returns the position of the deposit with this id, or 0.
func (l *Ledger) depositOf(id *Digest) uint32 {
	tag := l.hash.digest(id)
	for probe := l.byDeposit.home(tag); ; {
		at := l.byDeposit.next(tag, &probe)
		if at == 0 || l.deposits[at].id == *id {
			return at
		}
	}
}

// says is whether two claims have the same content.
func (c *claim) says(o *claim) bool {
	return c.account == o.account && c.asset == o.asset && c.amount == o.amount
}

// voted is who has spoken, whatever they said.
func (d *deposit) voted() (who uint64) {
	for i := range d.claims {
		who |= d.claims[i].votes
	}
	return who
}

func (d *deposit) votesFor(c *claim) uint64 {
	for i := range d.claims {
		if d.claims[i].says(c) {
			return d.claims[i].votes
		}
	}
	return 0
}
