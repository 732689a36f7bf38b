package api

import (
	"net/http"
	"sync"

	"github.com/holdfast-mesh/holdfast/node/ledger"
)

// Levels of a book's side that an answer has.
const (
	levelsDefault = 50
	levelsMax     = 1000
)

var marketParam = param{name: "market", about: "Such as BTC-USDT.", value: paramText}

// marketEndpoints tell about the markets.
var marketEndpoints = []endpoint{
	{
		name: "markets", method: http.MethodGet, path: "/v1/markets", answer: Markets{},
		about: "All markets and how they stand.",
		serve: (*Server).markets,
	},
	{
		name: "book", method: http.MethodGet, path: "/v1/markets/{market}/book", answer: Book{},
		about:  "The best levels of a market's sides.",
		params: []param{marketParam, {name: "levels", about: "How many of a side: 1 to 1000, 50 unless told.", value: paramInteger}},
		says:   []*problemKind{unknownMarket},
		serve:  (*Server).book,
	},
	{
		name: "trades", method: http.MethodGet, path: "/v1/markets/{market}/trades", answer: Trades{},
		about:  "A market's trades, newest first.",
		params: append([]param{marketParam}, pageParams...),
		says:   []*problemKind{unknownMarket, tooOld, internal},
		serve:  (*Server).trades,
	},
	{
		name: "candles", method: http.MethodGet, path: "/v1/markets/{market}/candles", answer: Candles{},
		about: "A market's trades summed up by intervals of commit time, oldest first.",
		params: []param{
			marketParam,
			{name: "interval", about: "How long each is; 1m unless told.", value: paramText, enum: []string{"1m", "5m", "1h", "1d"}},
			{name: "from_ms", about: "Only those that begin then or later; unless told, the newest.", value: paramInteger},
			{name: "limit", about: "How many at most: 1 to 1000, 100 unless told.", value: paramInteger},
		},
		says:  []*problemKind{unknownMarket, internal},
		serve: (*Server).candles,
	},
}

func (s *Server) markets(*call) (any, error) {
	a := &Markets{}
	s.view(func(l *ledger.Ledger, n *listing, asOf AsOf) {
		a.AsOf = asOf
		markets, otherwise := l.Markets(), l.Params().OpenOrdersMax
		a.Markets = make([]Market, len(markets))
		for i := range markets {
			a.Markets[i] = n.marketNow(ledger.MarketID(i), &markets[i], otherwise)
		}
	})
	return a, nil
}

// marketNow writes a market; ordersMax is what holds where it says nothing.
func (n *listing) marketNow(id ledger.MarketID, m *ledger.MarketNow, ordersMax uint32) Market {
	a := Market{
		Market: n.symbol(id), ID: uint16(id), Base: n.asset(m.Base).Symbol, Quote: n.asset(m.Quote).Symbol,
		Tick: m.FormatPrice(1), Lot: n.quantity(id, 1), MinNotional: n.worth(id, m.MinNotional),
		MakerPPM: m.MakerPPM, TakerPPM: m.TakerPPM, FeeAsset: "received", BandPPM: m.BandPPM, STP: m.STP.String(),
		OpenOrdersMax: m.OpenOrdersMax, Status: m.Now.String(), StatusSet: m.Status.String(),
	}
	if m.FeeAsset == ledger.FeeQuote {
		a.FeeAsset = "quote"
	}
	if a.OpenOrdersMax == 0 {
		a.OpenOrdersMax = ordersMax
	}
	if m.Last != 0 {
		a.Last = m.FormatPrice(m.Last)
	}
	return a
}

// marketOf returns the market a name names, with the newest listing.
func (s *Server) marketOf(name string) (id ledger.MarketID, n *listing, asOf AsOf, err error) {
	n, asOf = s.now()
	if id, err = n.names.Market(name); err != nil {
		return 0, nil, asOf, unknownMarket.of("There is no market %q.", shorten(name))
	}
	return id, n, asOf, nil
}

func (s *Server) book(c *call) (any, error) {
	levels, err := c.number("levels", 1, levelsMax, levelsDefault)
	if err != nil {
		return nil, err
	}
	id, n, _, err := s.marketOf(c.r.PathValue("market"))
	if err != nil {
		return nil, err
	}
	b, asOf := s.bookOf(id)
	bids, asks := b.best(int(levels))
	return &Book{AsOf: asOf, Market: n.symbol(id), Bids: bids, Asks: asks}, nil
}

func (s *Server) trades(c *call) (any, error) {
	before, most, err := c.page()
	if err != nil {
		return nil, err
	}
	id, _, asOf, err := s.marketOf(c.r.PathValue("market"))
	if err != nil {
		return nil, err
	}
	records, err := s.backend.Trades(c.r.Context(), id, before, most)
	if err != nil {
		return nil, err
	}
	n, _ := s.now()
	a := &Trades{AsOf: asOf, Market: n.symbol(id), Trades: make([]Trade, len(records))}
	for i := range records {
		a.Trades[i] = n.trade(&records[i])
	}
	a.Next = next(records, most)
	return a, nil
}

// next is where a list goes on, if it was as long as it could be.
func next(records []Record, most int) string {
	if len(records) < most {
		return ""
	}
	return records[len(records)-1].Cursor.String()
}

func (s *Server) candles(c *call) (any, error) {
	interval := Interval("1m")
	if c.q.Has("interval") {
		interval = Interval(c.q.Get("interval"))
	}
	if interval.Ms() == 0 {
		return nil, badParameter.of("interval must be one of %v.", Intervals)
	}
	most, err := c.number("limit", 1, PageMax, 100)
	if err != nil {
		return nil, err
	}
	id, n, asOf, err := s.marketOf(c.r.PathValue("market"))
	if err != nil {
		return nil, err
	}
	newest := int64(asOf.Time) - most*interval.Ms()
	from, err := c.number("from_ms", 0, ledger.TimeMsMax, max(0, newest+interval.Ms()-newest%interval.Ms()))
	if err != nil {
		return nil, err
	}
	bars, err := s.backend.Candles(c.r.Context(), id, interval, from, int(most))
	if err != nil {
		return nil, err
	}
	a := &Candles{AsOf: asOf, Market: n.symbol(id), Interval: interval, Candles: make([]Candle, len(bars))}
	for i := range bars {
		b := &bars[i]
		a.Candles[i] = Candle{
			StartMs: b.StartMs, Open: n.price(id, b.Open), High: n.price(id, b.High), Low: n.price(id, b.Low), Close: n.price(id, b.Close),
			Quantity: n.lots(id, b.Lots), Amount: n.worth(id, b.Worth), Trades: b.Trades,
		}
	}
	return a, nil
}

// bookNow is a market's book after a commit, written out once for all who ask.
// It does not change.
type bookNow struct {
	commit     uint64
	bids, asks []Level
}

// best returns the best levels of both sides.
func (b *bookNow) best(levels int) (bids, asks []Level) {
	return b.bids[:min(levels, len(b.bids))], b.asks[:min(levels, len(b.asks))]
}

// books keeps the newest book of each market that somebody has asked for.
type books struct {
	mu sync.Mutex
	of map[ledger.MarketID]*bookNow
}

// bookOf returns a market's book and what it is as of: the newest commit. It is
// read and written out once for each commit, not once for each reader.
func (s *Server) bookOf(id ledger.MarketID) (*bookNow, AsOf) {
	s.books.mu.Lock()
	defer s.books.mu.Unlock()
	asOf := s.backend.AsOf()
	if kept := s.books.of[id]; kept != nil && kept.commit == asOf.Commit {
		return kept, asOf
	}
	var n *listing
	var sides [2][]ledger.Level
	s.view(func(l *ledger.Ledger, newest *listing, at AsOf) {
		n, asOf = newest, at
		for side := range sides {
			sides[side] = l.Depth(nil, id, ledger.Side(side), levelsMax)
		}
	})
	b := &bookNow{commit: asOf.Commit, bids: n.levels(id, sides[ledger.Buy]), asks: n.levels(id, sides[ledger.Sell])}
	if s.books.of == nil {
		s.books.of = make(map[ledger.MarketID]*bookNow)
	}
	s.books.of[id] = b
	return b, asOf
}

func (n *listing) levels(id ledger.MarketID, of []ledger.Level) []Level {
	all := make([]Level, len(of))
	for i := range of {
		all[i] = Level{Price: n.price(id, of[i].Price), Quantity: n.lots(id, of[i].Lots), Orders: of[i].Orders}
	}
	return all
}
