package api

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/holdfast-mesh/holdfast/node/ledger"
)

// Cursor names an event for ever, as ledger.Cursor does. As text, and so in
// JSON and in addresses, it is commit-position, such as 1234-5. The zero Cursor
// is before everything.
type Cursor ledger.Cursor

// String returns the cursor as text.
func (c Cursor) String() string {
	return strconv.FormatUint(c.Commit, 10) + "-" + strconv.FormatUint(uint64(c.Position), 10)
}

// ParseCursor is the inverse of String.
func ParseCursor(s string) (c Cursor, err error) {
	commit, position, ok := strings.Cut(s, "-")
	if ok {
		c.Commit, err = strconv.ParseUint(commit, 10, 53)
	}
	if ok && err == nil {
		var n uint64
		n, err = strconv.ParseUint(position, 10, 32)
		c.Position = uint32(n)
	}
	if !ok || err != nil || c.String() != s {
		return Cursor{}, fmt.Errorf("%q is no cursor: one is a commit and a position, such as 1234-5", s)
	}
	return c, nil
}

// MarshalText writes the cursor as String does.
func (c Cursor) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (c *Cursor) UnmarshalText(b []byte) (err error) {
	*c, err = ParseCursor(string(b))
	return err
}

// Less says whether c comes before d.
func (c Cursor) Less(d Cursor) bool {
	return c.Commit < d.Commit || c.Commit == d.Commit && c.Position < d.Position
}

// Record is an event of the ledger that stands by itself: it names accounts by
// their keys and the operation by its id, so that it can be read back from a
// disk without the ledger it came from. What the fields mean for each kind,
// ledger.EventKind says.
type Record struct {
	Cursor Cursor
	TimeMs int64         // the commit's
	Op     ledger.Digest // zero: no operation caused it

	Kind            ledger.EventKind
	Reason          ledger.Reason
	State           ledger.OrderState
	WithdrawalState ledger.WithdrawalState
	Side            ledger.Side
	Status          ledger.Status
	Action          uint8 // ledger.NoAction: none
	Votes           uint8
	Outcome         bool
	Rebate          bool
	MakerRebate     bool

	Market       ledger.MarketID
	Asset        ledger.AssetID
	Account      ledger.Account // zero: nobody's
	Counterparty ledger.Account // zero: none

	Order      ledger.OrderID
	Maker      ledger.OrderID
	Withdrawal ledger.WithdrawalID
	First      uint64
	UntilMs    int64
	Price      ledger.Ticks
	Quantity   ledger.Lots
	Executed   ledger.Lots
	Remaining  ledger.Lots
	Amount     ledger.Amount
	Fee        ledger.Amount
	MakerFee   ledger.Amount
}

// AppendRecords appends a record for each event of a commit, in order. l is the
// ledger that returned them and ops are the commit's; both are read only.
func AppendRecords(to []Record, l *ledger.Ledger, index uint64, timeMs int64, ops []ledger.Op, events []ledger.Event) []Record {
	for i := range events {
		var op ledger.Digest
		if events[i].Op != ledger.NoOp {
			op = ops[events[i].Op].ID()
		}
		to = append(to, RecordOf(l, Cursor{index, uint32(i)}, timeMs, op, &events[i]))
	}
	return to
}

// RecordOf is the record of an event: at its cursor, of a commit at a time, caused
// by an operation, or by none if op is zero. l is the ledger that returned it, or a
// later state of it.
func RecordOf(l *ledger.Ledger, at Cursor, timeMs int64, op ledger.Digest, e *ledger.Event) Record {
	r := Record{
		Cursor: at, TimeMs: timeMs, Op: op,
		Kind: e.Kind, Reason: e.Reason, State: e.State, WithdrawalState: e.WithdrawalState, Side: e.Side,
		Status: e.Status, Action: e.Action, Votes: e.Votes, Outcome: e.Outcome, Rebate: e.Rebate, MakerRebate: e.MakerRebate,
		Market: e.Market, Asset: e.Asset, Order: e.Order, Maker: e.Maker, Withdrawal: e.Withdrawal, First: e.First,
		UntilMs: e.UntilMs, Price: e.Price, Quantity: e.Quantity, Executed: e.Executed, Remaining: e.Remaining,
		Amount: e.Amount, Fee: e.Fee, MakerFee: e.MakerFee,
	}
	if e.Account != 0 {
		r.Account = l.Account(e.Account)
	}
	if e.Counterparty != 0 {
		r.Counterparty = l.Account(e.Counterparty)
	}
	return r
}

// Parties returns the accounts whose history the record belongs to: none, one
// or two different ones.
func (r *Record) Parties() []ledger.Account {
	both := r.parties()
	return slices.DeleteFunc(both[:], func(a ledger.Account) bool { return a == ledger.Account{} })
}

// parties is Parties without an allocation: a zero account is none.
func (r *Record) parties() (both [2]ledger.Account) {
	both[0] = r.Account
	if r.Counterparty != r.Account {
		both[1] = r.Counterparty
	}
	return both
}

// Concerns says whether the account is a party to the record.
func (r *Record) Concerns(a ledger.Account) bool { return r.Account == a || r.Counterparty == a }
