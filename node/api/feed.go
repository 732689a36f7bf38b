package api

import (
	"sync"

	"github.com/holdfast-mesh/holdfast/node/ledger"
)

// preparedMax is how many commits are kept ready for streams: those that read
// along need the newest, and one that catches up prepares its own again.
const preparedMax = 16

// prepared is a commit as streams want it: looked through and written out once,
// not once for each stream. It does not change.
type prepared struct {
	*Executed
	n       *listing
	trades  map[ledger.MarketID][]Trade
	books   map[ledger.MarketID]bool // those that changed
	parties map[ledger.Account][]*Record
}

// feed keeps the newest prepared commits.
type feed struct {
	mu   sync.Mutex
	kept [preparedMax]*prepared // by index, modulo
}

// prepare returns a commit ready for streams.
func (s *Server) prepare(e *Executed) *prepared {
	s.feed.mu.Lock()
	defer s.feed.mu.Unlock()
	at := &s.feed.kept[e.Index%preparedMax]
	if *at != nil && (*at).Executed == e {
		return *at
	}
	n, _ := s.now()
	p := newPrepared(e, n)
	if *at == nil || (*at).Index < e.Index {
		*at = p
	}
	return p
}

func newPrepared(e *Executed, n *listing) *prepared {
	p := &prepared{
		Executed: e, n: n, trades: make(map[ledger.MarketID][]Trade),
		books: make(map[ledger.MarketID]bool), parties: make(map[ledger.Account][]*Record),
	}
	for i := range e.Records {
		r := &e.Records[i]
		switch r.Kind {
		case ledger.EventTrade:
			p.trades[r.Market] = append(p.trades[r.Market], n.trade(r))
			p.books[r.Market] = true
		case ledger.EventPlaced, ledger.EventReduced, ledger.EventCanceled, ledger.EventExpired:
			p.books[r.Market] = true
		}
		for _, party := range r.parties() {
			if party != (ledger.Account{}) {
				p.parties[party] = append(p.parties[party], r)
			}
		}
	}
	return p
}

// events writes what concerns an account after a cursor.
func (p *prepared) events(a ledger.Account, after Cursor) (all []Event) {
	for _, r := range p.parties[a] {
		if after.Less(r.Cursor) {
			all = append(all, p.n.event(r))
		}
	}
	return all
}

// tradesAfter returns a market's trades after a cursor.
func (p *prepared) tradesAfter(m ledger.MarketID, after Cursor) []Trade {
	all := p.trades[m]
	for len(all) > 0 && !after.Less(all[0].Cursor) {
		all = all[1:]
	}
	return all
}

// changed returns the levels of now that before has not, and, with quantity 0,
// those that only before has.
func changed(before, now []Level) (all []Level) {
	was := make(map[string]Level, len(before))
	for _, l := range before {
		was[l.Price] = l
	}
	for _, l := range now {
		if was[l.Price] != l {
			all = append(all, l)
		}
		delete(was, l.Price)
	}
	for _, l := range before {
		if _, gone := was[l.Price]; gone {
			all = append(all, Level{Price: l.Price, Quantity: "0"})
		}
	}
	return all
}
