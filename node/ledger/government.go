package ledger

import (
	"bytes"
	"crypto/sha256"
	"math/bits"
	"slices"
)

// government is who decides what accounts cannot, and what is being decided.
type government struct {
	custodians Council
	governors  Council
	committee  Committee
	proposals  []proposal // in order of opening
	opened     [CouncilMax]uint32
}

// proposal is content that some governors want, and not yet enough.
type proposal struct {
	content Digest // SHA-256 of the action's canonical bytes
	votes   uint64 // governors, by position
	opener  uint8
	untilMs int64
}

const (
	// proposalMs is how long a proposal waits for votes. A vote that came after
	// the others had decided opens one of its own, and must not count months
	// later.
	proposalMs = 24 * 3600_000
	// proposalsOpenMax is how many of those a governor has opened may wait.
	proposalsOpenMax = 16
)

// member returns the acting account's bit in a council.
func (l *Ledger) member(c *Council) (bit uint64, reason Reason) {
	key := &l.accounts[l.account].key
	at, found := slices.BinarySearchFunc(c.Members, key, func(m Account, k *Account) int { return bytes.Compare(m[:], k[:]) })
	if !found {
		return 0, ReasonNotGovernor
	}
	return 1 << at, ReasonNone
}

// vote counts a governor's vote; the one that makes the threshold enacts what
// was voted for.
func (l *Ledger) vote(a *Action) Reason {
	member, reason := l.member(&l.governors)
	if reason != ReasonNone {
		return reason
	}
	if reason := l.enactable(a); reason != ReasonNone {
		return reason
	}
	c := codec{writing: true}
	c.action(a)
	content := Digest(sha256.Sum256(c.buf))
	at := slices.IndexFunc(l.proposals, func(p proposal) bool { return p.content == content })
	votes := member
	if at >= 0 {
		if l.proposals[at].votes&member != 0 {
			return ReasonDuplicateVote
		}
		votes |= l.proposals[at].votes
	}
	if bits.OnesCount64(votes) >= int(l.governors.Threshold) {
		if at >= 0 {
			l.proposals = slices.Delete(l.proposals, at, at+1)
		}
		l.merkle.rules = true
		l.enact(a)
		return ReasonNone
	}
	if at < 0 {
		opener := uint8(bits.TrailingZeros64(member))
		if l.proposalsBy(opener) >= proposalsOpenMax {
			return ReasonMaxNumProposals
		}
		at = len(l.proposals)
		l.proposals = append(l.proposals, proposal{content: content, opener: opener, untilMs: l.timeMs + proposalMs})
	}
	l.proposals[at].votes = votes
	l.merkle.rules = true
	e := l.emit(EventVoted)
	e.Votes, e.Outcome = uint8(bits.OnesCount64(votes)), true
	return ReasonNone
}

func (l *Ledger) proposalsBy(opener uint8) (n int) {
	for i := range l.proposals {
		if l.proposals[i].opener == opener {
			n++
		}
	}
	return n
}

// dropProposals forgets those whose time is over.
func (l *Ledger) dropProposals() {
	before := len(l.proposals)
	l.proposals = slices.DeleteFunc(l.proposals, func(p proposal) bool { return p.untilMs < l.timeMs })
	if len(l.proposals) != before {
		l.merkle.rules = true
	}
}

// enactable says why something could not be enacted now.
func (l *Ledger) enactable(a *Action) Reason {
	fine := false
	switch a.Kind {
	case KindListAsset:
		n := a.Detail.NewAsset
		fine = len(l.assets) < AssetsMax && len(n.faults()) == 0 &&
			!slices.ContainsFunc(l.assets, func(s asset) bool { return s.Symbol == n.Symbol })
	case KindListMarket:
		fine = l.listable(a.Detail.NewMarket)
	case KindSetMarketStatus:
		if int(a.Market) >= len(l.books) {
			return ReasonUnknownMarket
		}
		fine = a.Status <= StatusHalt
	case KindSetCommittee:
		n := a.Detail.NewCommittee
		fine = len(n.Validators) > 0 && len(n.faults()) == 0
	case KindSetParams:
		fine = len(a.Detail.NewParams.faults()) == 0
	}
	if !fine {
		return ReasonBadProposal
	}
	return ReasonNone
}

// listable says whether a market can be added.
func (l *Ledger) listable(m *Market) bool {
	if len(l.books) >= MarketsMax || len(m.faults()) > 0 || int(m.Base) >= len(l.assets) || int(m.Quote) >= len(l.assets) {
		return false
	}
	if slices.ContainsFunc(l.books, func(b *book) bool { return b.Base == m.Base && b.Quote == m.Quote }) {
		return false
	}
	_, err := m.TickLot(&l.assets[m.Base].Asset, &l.assets[m.Quote].Asset)
	return err == nil
}

// enact puts in force what enactable has let through.
func (l *Ledger) enact(a *Action) {
	var e *Event
	switch a.Kind {
	case KindListAsset:
		l.assets = append(l.assets, asset{Asset: *a.Detail.NewAsset})
		e = l.emit(EventAssetListed)
		e.Asset = AssetID(len(l.assets) - 1)
	case KindListMarket:
		if err := l.addMarket(*a.Detail.NewMarket); err != nil {
			panic("ledger: invariant broken: a listable market cannot be listed: " + err.Error())
		}
		e = l.emit(EventMarketListed)
		e.Market = MarketID(len(l.books) - 1)
	case KindSetMarketStatus:
		l.books[a.Market].Status = a.Status
		e = l.emit(EventMarketStatus)
		e.Market, e.Status = a.Market, a.Status
	case KindSetCommittee:
		l.committee = *a.Detail.NewCommittee
		e = l.emit(EventCommitteeSet)
	case KindSetParams:
		l.params = *a.Detail.NewParams
		e = l.emit(EventParamsSet)
	}
	e.Outcome = true
}
