package api

import (
	"github.com/holdfast-mesh/holdfast/node/ledger"
)

// listing writes numbers as people read them. It is of one commit and does not
// change, so it outlives the look at the ledger it was made in.
type listing struct {
	commit uint64
	names  ledger.Names
}

func newListing(l *ledger.Ledger, commit uint64) *listing {
	assets, markets := l.Assets(), l.Markets()
	n := &listing{commit: commit, names: ledger.Names{Assets: make([]ledger.Asset, len(assets)), Markets: make([]ledger.Market, len(markets))}}
	for i := range assets {
		n.names.Assets[i] = assets[i].Asset
	}
	for i := range markets {
		n.names.Markets[i] = markets[i].Market
	}
	return n
}

// view is Backend.View with what it takes to write numbers. A listing is made
// once for each commit that somebody looks at.
func (s *Server) view(read func(l *ledger.Ledger, n *listing, asOf AsOf)) {
	s.backend.View(func(l *ledger.Ledger, asOf AsOf) {
		n := s.listed.Load()
		if commit, _ := l.Commit(); n == nil || n.commit != commit {
			n = newListing(l, commit)
			s.listed.Store(n)
		}
		read(l, n, asOf)
	})
}

// now returns the newest listing and what it is as of.
func (s *Server) now() (n *listing, asOf AsOf) {
	s.view(func(_ *ledger.Ledger, newest *listing, at AsOf) { n, asOf = newest, at })
	return n, asOf
}

func (n *listing) symbol(m ledger.MarketID) string { return n.names.Symbol(m) }

// asset and market return what a record names. What the listing does not have
// was listed after it, which its callers exclude by taking the newest.
func (n *listing) asset(id ledger.AssetID) *ledger.Asset    { return &n.names.Assets[id] }
func (n *listing) market(id ledger.MarketID) *ledger.Market { return &n.names.Markets[id] }

func (n *listing) price(m ledger.MarketID, p ledger.Ticks) string {
	return n.market(m).FormatPrice(p)
}

func (n *listing) quantity(m ledger.MarketID, q ledger.Lots) string {
	market := n.market(m)
	return market.FormatQuantity(n.asset(market.Base), q)
}

// lots writes a sum of lots, which may exceed what one order can say.
func (n *listing) lots(m ledger.MarketID, sum ledger.Amount) string {
	if q, ok := sum.Uint64(); ok && ledger.Lots(q) <= ledger.LotsMax {
		return n.quantity(m, ledger.Lots(q))
	}
	market := n.market(m)
	units, ok := sum.Mul(market.Lot)
	if !ok {
		units = ledger.MaxAmount // no sum of what people hold gets here
	}
	return n.asset(market.Base).FormatAmount(units)
}

// worth writes an amount of a market's quote asset.
func (n *listing) worth(m ledger.MarketID, a ledger.Amount) string {
	return n.asset(n.market(m).Quote).FormatAmount(a)
}

func (n *listing) amount(id ledger.AssetID, a ledger.Amount) string {
	return n.asset(id).FormatAmount(a)
}
