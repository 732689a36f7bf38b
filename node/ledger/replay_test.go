package ledger

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"testing"
)

// TestReplay replays a real order flow in LOBSTER's format through the ledger,
// each message a commit, and compares the touch with the book file after each.
// It takes the small pair in testdata, which a program of its own has made, or
// LEDGER_REPLAY=messages.csv,book.csv. How many rows agree is printed; of our
// own pair all must.
//
// A message is "time, type, order id, size, price, direction": seconds after
// midnight, prices in 1/10000 dollar, direction 1 for a resting buy and -1 for
// a resting sell. A book row is the state after the message of its line: ask
// price 1, ask size 1, bid price 1, bid size 1, ask price 2 and so on.
func TestReplay(t *testing.T) {
	files, own := "testdata/replay-messages.csv,testdata/replay-book.csv", true
	if s := os.Getenv("LEDGER_REPLAY"); s != "" {
		files, own = s, false
	}
	messages, book, ok := strings.Cut(files, ",")
	if !ok {
		t.Fatalf("LEDGER_REPLAY=%q: want messages.csv,book.csv", files)
	}
	m, err := os.Open(messages)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	b, err := os.Open(book)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	r, err := replay(m, b)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s: the touch agrees with the book file in %d of %d rows (%.2f %%)\n%s", messages, r.agree, r.rows, 100*float64(r.agree)/float64(r.rows), r)
	if r.agree == 0 || own && r.agree != r.rows {
		t.Errorf("%d of %d rows agree; the first that does not is row %d: %s", r.agree, r.rows, r.firstBad, r.firstWhy)
	}
}

// TestReplayRefuses: lines that are not of the format stop the replay, and a
// book that is not the messages' is seen.
func TestReplayRefuses(t *testing.T) {
	const message, row = "34200.1,1,7,10,1000000,1\n", "1000100,5,1000000,10\n"
	for _, c := range []struct{ messages, book, want string }{
		{"", "", "no messages"},
		{message, "", "ends before"},
		{message, row + row, "goes on after"},
		{message + "34200.2,9,7,10,1000000,1\n", row + row, "type 9"},
		{message + "34200.2,1,7,10,1000000\n", row + row, "5 fields"},
		{message + "34200.2,1,7,ten,1000000,1\n", row + row, "ten"},
		{message + "34200.2,1,8,10,-5,1\n", row + row, "price"},
		{message + "34200.2,1,8,10,1000000,2\n", row + row, "direction"},
		{message, "1000100,5,1000000\n", "3 fields"},
		{message + "later,1,8,10,1000000,1\n", row + row, "time"},
	} {
		if _, err := replay(strings.NewReader(c.messages), strings.NewReader(c.book)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q, %q: got %v, want ...%s", c.messages, c.book, err, c.want)
		}
	}
	r, err := replay(strings.NewReader(message+"34200.2,1,8,10,1000000,1\n"), strings.NewReader(row+row))
	if err != nil || r.rows != 2 || r.agree != 1 || r.firstBad != 2 {
		t.Errorf("a book that misses an order: %+v, %v", r, err)
	}
}

// LOBSTER's message types.
const (
	lobsterSubmit  = 1
	lobsterReduce  = 2
	lobsterDelete  = 3
	lobsterExecute = 4
	lobsterHidden  = 5 // an execution against an order nobody sees
	lobsterCross   = 6 // an auction's trade
	lobsterHalt    = 7 // price -1: halt; 0: quoting again; 1: trading again
	lobsterTypes   = 8
)

type lobsterMessage struct {
	timeMs int64
	kind   int
	id     int64
	size   Lots
	price  int64
	side   Side // of the resting order
}

// replayed is a replay under way, and its result.
type replayed struct {
	l     *Ledger
	time  int64
	nonce uint64
	// orders are the open orders by the file's id; level is what of the first
	// row belongs to nobody we know, by side and price.
	orders map[int64]OrderID
	level  map[[2]int64]OrderID

	rows, agree, firstBad int
	firstWhy              string
	kinds                 [lobsterTypes]int
	unknown               int // messages about orders that were never in view
	short                 int // executions of more than rests at their price
}

func (r *replayed) String() string {
	return fmt.Sprintf("submitted %d, reduced %d, deleted %d, executed %d, hidden %d, auctions %d, halts %d; never in view %d, executed beyond the book %d",
		r.kinds[1], r.kinds[2], r.kinds[3], r.kinds[4], r.kinds[5], r.kinds[6], r.kinds[7], r.unknown, r.short)
}

const replayStartMs = 1_700_000_000_000

var (
	replayMaker  = Account{1}
	replayTaker  = Account{2}
	replayRegent = Account{3} // who halts
)

// newReplay is a ledger of one share and dollars in 1/10000, whose two traders
// have more of both than any file can use.
func newReplay() (*replayed, error) {
	g := &Genesis{
		Name:      "replay",
		Assets:    []Asset{{Symbol: "SHARE"}, {Symbol: "USD", Decimals: 4}},
		Markets:   []Market{{Base: 0, Quote: 1, Tick: Decimal{1, 4}, Lot: 1, STP: AllowSelf}},
		Governors: Council{1, []Account{replayRegent}},
		Params:    DefaultParams(),
	}
	g.Params.OpenOrdersMax, g.Params.ReopenMs, g.Params.FillsMax = openOrdersMaxMax, 0, fillsMaxMax
	for _, who := range []Account{replayMaker, replayTaker} {
		for asset := range AssetID(2) {
			g.Balances = append(g.Balances, Balance{who, asset, Amount{hi: 1}})
		}
	}
	l, err := New(g)
	return &replayed{l: l, nonce: replayStartMs, orders: map[int64]OrderID{}, level: map[[2]int64]OrderID{}}, err
}

func replay(messages, book io.Reader) (*replayed, error) {
	r, err := newReplay()
	if err != nil {
		return nil, err
	}
	m, b := bufio.NewScanner(messages), bufio.NewScanner(book)
	for m.Scan() {
		line := r.rows + 1
		msg, err := parseLobster(m.Text())
		if err != nil {
			return nil, fmt.Errorf("message %d: %w", line, err)
		}
		if !b.Scan() {
			return nil, fmt.Errorf("the book file ends before message %d (%v)", line, b.Err())
		}
		row, err := parseRow(b.Text())
		if err != nil {
			return nil, fmt.Errorf("book row %d: %w", line, err)
		}
		r.time = replayStartMs + msg.timeMs
		r.kinds[msg.kind]++
		if line == 1 {
			err = r.open(&msg, row)
		} else {
			err = r.step(&msg)
		}
		if err != nil {
			return nil, fmt.Errorf("message %d: %w", line, err)
		}
		r.compare(row)
	}
	if err := m.Err(); err != nil {
		return nil, err
	}
	if r.rows == 0 {
		return nil, fmt.Errorf("there are no messages")
	}
	if b.Scan() {
		return nil, fmt.Errorf("the book file goes on after the last message")
	}
	return r, r.l.CheckInvariants()
}

func parseLobster(line string) (m lobsterMessage, err error) {
	f := strings.Split(line, ",")
	if len(f) != 6 {
		return m, fmt.Errorf("%d fields, not 6", len(f))
	}
	seconds, err := strconv.ParseFloat(f[0], 64)
	if err != nil || seconds < 0 || seconds > 1e6 {
		return m, fmt.Errorf("the time %q", f[0])
	}
	m.timeMs = int64(seconds * 1000)
	var n [5]int64
	for i := range n {
		if n[i], err = strconv.ParseInt(strings.TrimSpace(f[i+1]), 10, 64); err != nil {
			return m, err
		}
	}
	m.kind, m.id, m.size, m.price = int(n[0]), n[1], Lots(n[2]), n[3]
	switch {
	case m.kind < lobsterSubmit || m.kind >= lobsterTypes:
		return m, fmt.Errorf("type %d", n[0])
	case m.kind == lobsterHalt:
		return m, nil
	case m.price <= 0 || n[2] <= 0:
		return m, fmt.Errorf("price %d and size %d must be above zero", m.price, n[2])
	case n[4] == -1:
		m.side = Sell
	case n[4] != 1:
		return m, fmt.Errorf("direction %d", n[4])
	}
	return m, nil
}

// lobsterLevel is a price of a book row; size 0 is LOBSTER's dummy of none.
type lobsterLevel struct {
	price int64
	size  Lots
}

func parseRow(line string) (sides [2][]lobsterLevel, err error) {
	f := strings.Split(line, ",")
	if len(f) == 0 || len(f)%4 != 0 {
		return sides, fmt.Errorf("%d fields, not four for each level", len(f))
	}
	for i := 0; i < len(f); i += 2 {
		price, err := strconv.ParseInt(strings.TrimSpace(f[i]), 10, 64)
		if err != nil {
			return sides, err
		}
		size, err := strconv.ParseUint(strings.TrimSpace(f[i+1]), 10, 62)
		if err != nil {
			return sides, err
		}
		if price == 9_999_999_999 || price == -9_999_999_999 {
			size = 0
		}
		side := Sell
		if i%4 == 2 {
			side = Buy
		}
		sides[side] = append(sides[side], lobsterLevel{price, Lots(size)})
	}
	return sides, nil
}

// open puts the first row into the book: an order for each level, but what the
// first message itself has submitted under its id.
func (r *replayed) open(m *lobsterMessage, row [2][]lobsterLevel) error {
	for side, levels := range row {
		for _, v := range levels {
			if v.size == 0 {
				continue
			}
			if m.kind == lobsterSubmit && m.side == Side(side) && m.price == v.price && m.size <= v.size {
				v.size -= m.size
			}
			if v.size > 0 {
				id, err := r.rest(Side(side), v.price, v.size)
				if err != nil {
					return err
				}
				r.level[[2]int64{int64(side), v.price}] = id
			}
		}
	}
	if m.kind == lobsterSubmit {
		return r.step(m)
	}
	return nil
}

// do commits one action and returns its outcome.
func (r *replayed) do(who Account, a Action) Event {
	r.nonce++
	op := Op{network: r.l.network, account: who, nonce: r.nonce, timeMs: r.time, windowMs: WindowMsDefault, actions: []Action{a}}
	binary.BigEndian.PutUint64(op.id[:], r.nonce)
	index, _ := r.l.Commit()
	events := r.l.Apply(Batch{Index: index + 1, TimeMs: r.time, Ops: []Op{op}})
	return events[len(events)-1]
}

// rest submits a limit order.
func (r *replayed) rest(side Side, price int64, size Lots) (OrderID, error) {
	e := r.do(replayMaker, Action{Kind: KindPlace, Side: side, Price: Ticks(price), Quantity: size})
	if e.Kind != EventPlaced {
		return 0, fmt.Errorf("an order of %d at %d is refused: %w", size, price, e.Reason)
	}
	return e.Order, nil
}

// step does what a message says.
func (r *replayed) step(m *lobsterMessage) (err error) {
	switch m.kind {
	case lobsterSubmit:
		r.orders[m.id], err = r.rest(m.side, m.price, m.size)
	case lobsterReduce, lobsterDelete:
		r.reduce(m)
	case lobsterExecute:
		e := r.do(replayTaker, Action{Kind: KindPlace, Side: 1 - m.side, TIF: IOC, Price: Ticks(m.price), Quantity: m.size})
		if e.Kind != EventPlaced || e.Executed != m.size {
			r.short++
		}
	case lobsterHalt:
		status := StatusTrading
		if m.price < 0 {
			status = StatusHalt
		}
		if e := r.do(replayRegent, Action{Kind: KindSetMarketStatus, Status: status}); e.Kind != EventMarketStatus {
			return fmt.Errorf("a halt is refused: %w", e.Reason)
		}
	}
	return err
}

// reduce takes a message's size off an order, of which a deletion takes all.
func (r *replayed) reduce(m *lobsterMessage) {
	id, known := r.orders[m.id]
	if !known {
		id = r.level[[2]int64{int64(m.side), m.price}]
	}
	o, _, open := r.l.Order(id)
	if !open {
		r.unknown++
		return
	}
	if known && m.kind == lobsterDelete || o.Remaining <= m.size {
		r.do(replayMaker, Action{Kind: KindCancel, Order: id})
		delete(r.orders, m.id)
		return
	}
	r.do(replayMaker, Action{Kind: KindAmend, Order: id, Quantity: o.Executed + o.Remaining - m.size})
}

// compare compares the touch with a book row.
func (r *replayed) compare(row [2][]lobsterLevel) {
	r.rows++
	for side, levels := range row {
		var want, got lobsterLevel
		if len(levels) > 0 && levels[0].size > 0 {
			want = levels[0]
		}
		if best := r.l.Depth(nil, 0, Side(side), 1); len(best) > 0 {
			n, _ := best[0].Lots.Uint64()
			got = lobsterLevel{int64(best[0].Price), Lots(n)}
		}
		if got != want {
			if r.firstBad == 0 {
				r.firstBad, r.firstWhy = r.rows, fmt.Sprintf("best %v %d x %d, the file has %d x %d", Side(side), got.price, got.size, want.price, want.size)
			}
			return
		}
	}
	r.agree++
}
