package node

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/holdfast-mesh/holdfast/node/api"
	"github.com/holdfast-mesh/holdfast/node/ledger"
)

// happened is an executed commit as it is kept for readers: which operations it
// had and what they did. It does not change.
type happened struct {
	index  uint64
	timeMs int64
	digest ledger.Digest
	ops    []ledger.Digest // by position in the commit
	events []ledger.Event
}

// errEventLog says that a stored record of a commit's events is not one.
var errEventLog = errors.New("node: a stored commit's events are damaged")

// eventLogVersion begins each record, so that a later form can be told apart.
const eventLogVersion = 1

// append writes the record kept under event/. Accounts are kept as ledger.AccountRef,
// which means the same on every node and for ever, and fields that are zero are left
// out: an event takes some thirty bytes.
func (h *happened) append(b []byte) []byte {
	b = append(b, eventLogVersion)
	b = binary.AppendUvarint(b, uint64(h.timeMs))
	b = append(b, h.digest[:]...)
	b = binary.AppendUvarint(b, uint64(len(h.ops)))
	for i := range h.ops {
		b = append(b, h.ops[i][:]...)
	}
	b = binary.AppendUvarint(b, uint64(len(h.events)))
	for i := range h.events {
		b = appendEvent(b, &h.events[i])
	}
	return b
}

// decodeHappened reads what append wrote for a commit.
func decodeHappened(index uint64, b []byte) (*happened, error) {
	r := eventReader{b: b}
	if r.byte() != eventLogVersion {
		return nil, fmt.Errorf("%w: commit %d: an unknown version", errEventLog, index)
	}
	h := &happened{index: index, timeMs: int64(r.uint())}
	copy(h.digest[:], r.take(len(h.digest)))
	n := r.count(len(ledger.Digest{}))
	h.ops = make([]ledger.Digest, n)
	for i := range h.ops {
		copy(h.ops[i][:], r.take(len(ledger.Digest{})))
	}
	n = r.count(1)
	h.events = make([]ledger.Event, n)
	for i := range h.events {
		r.event(&h.events[i])
	}
	if r.bad || len(r.b) > 0 {
		return nil, fmt.Errorf("%w: commit %d", errEventLog, index)
	}
	return h, nil
}

// The flags of an event.
const (
	flagOutcome = 1 << iota
	flagRebate
	flagMakerRebate
)

// numbers are the fields of an event in the order in which they are written.
func numbers(e *ledger.Event) [21]uint64 {
	flags := uint64(0)
	for bit, on := range [...]bool{e.Outcome, e.Rebate, e.MakerRebate} {
		if on {
			flags |= 1 << bit
		}
	}
	return [21]uint64{
		uint64(e.Reason), uint64(e.State), uint64(e.WithdrawalState), uint64(e.Side), uint64(e.Status),
		uint64(e.Action), uint64(e.Votes), flags, uint64(e.Market), uint64(e.Asset),
		uint64(e.Op + 1), // most events have one, and NoOp is the largest number
		uint64(e.Account), uint64(e.Counterparty), uint64(e.Order), uint64(e.Maker), uint64(e.Withdrawal),
		e.First, uint64(e.UntilMs), uint64(e.Price), uint64(e.Quantity), uint64(e.Executed),
	}
}

// eventAmounts come after the numbers; Remaining is the first.
const eventAmounts = 4

// appendEvent writes the kind, which fields are not zero, and these.
func appendEvent(b []byte, e *ledger.Event) []byte {
	all := numbers(e)
	amounts := [eventAmounts]ledger.Amount{ledger.Units(uint64(e.Remaining)), e.Amount, e.Fee, e.MakerFee}
	mask := uint64(0)
	for i, v := range all {
		if v != 0 {
			mask |= 1 << i
		}
	}
	for i, a := range amounts {
		if !a.IsZero() {
			mask |= 1 << (len(all) + i)
		}
	}
	b = append(b, byte(e.Kind))
	b = binary.AppendUvarint(b, mask)
	for _, v := range all {
		if v != 0 {
			b = binary.AppendUvarint(b, v)
		}
	}
	for _, a := range amounts {
		if !a.IsZero() {
			b = appendAmount(b, a)
		}
	}
	return b
}

// appendAmount writes an amount without its leading zero bytes.
func appendAmount(b []byte, a ledger.Amount) []byte {
	if n, ok := a.Uint64(); ok {
		b = append(b, 8)
		return binary.BigEndian.AppendUint64(b, n)
	}
	b = append(b, ledger.AmountBytes)
	return a.AppendBytes(b)
}

// eventReader reads a record; bad says that it is not one.
type eventReader struct {
	b   []byte
	bad bool
}

func (r *eventReader) take(n int) []byte {
	if r.bad || n > len(r.b) {
		r.bad = true
		return nil
	}
	head := r.b[:n]
	r.b = r.b[n:]
	return head
}

func (r *eventReader) byte() byte {
	b := r.take(1)
	if b == nil {
		return 0
	}
	return b[0]
}

func (r *eventReader) uint() uint64 {
	v, n := binary.Uvarint(r.b)
	if r.bad || n <= 0 {
		r.bad = true
		return 0
	}
	r.b = r.b[n:]
	return v
}

// count reads how many things of at least so many bytes follow.
func (r *eventReader) count(size int) uint64 {
	n := r.uint()
	if n > uint64(len(r.b)/size) {
		r.bad = true
		return 0
	}
	return n
}

func (r *eventReader) event(e *ledger.Event) {
	e.Kind = ledger.EventKind(r.byte())
	mask := r.uint()
	var all [21]uint64
	for i := range all {
		if mask&(1<<i) != 0 {
			all[i] = r.uint()
		}
	}
	var amounts [eventAmounts]ledger.Amount
	for i := range amounts {
		if mask&(1<<(len(all)+i)) != 0 {
			amounts[i] = r.amount()
		}
	}
	if mask >= 1<<(len(all)+eventAmounts) {
		r.bad = true
	}
	e.Reason, e.State = ledger.Reason(all[0]), ledger.OrderState(all[1])
	e.WithdrawalState, e.Side, e.Status = ledger.WithdrawalState(all[2]), ledger.Side(all[3]), ledger.Status(all[4])
	e.Action, e.Votes = uint8(all[5]), uint8(all[6])
	e.Outcome, e.Rebate, e.MakerRebate = all[7]&flagOutcome != 0, all[7]&flagRebate != 0, all[7]&flagMakerRebate != 0
	e.Market, e.Asset, e.Op = ledger.MarketID(all[8]), ledger.AssetID(all[9]), uint32(all[10])-1
	e.Account, e.Counterparty = ledger.AccountRef(all[11]), ledger.AccountRef(all[12])
	e.Order, e.Maker, e.Withdrawal = ledger.OrderID(all[13]), ledger.OrderID(all[14]), ledger.WithdrawalID(all[15])
	e.First, e.UntilMs = all[16], int64(all[17])
	e.Price, e.Quantity, e.Executed = ledger.Ticks(all[18]), ledger.Lots(all[19]), ledger.Lots(all[20])
	remaining, _ := amounts[0].Uint64()
	e.Remaining, e.Amount, e.Fee, e.MakerFee = ledger.Lots(remaining), amounts[1], amounts[2], amounts[3]
}

func (r *eventReader) amount() ledger.Amount {
	var wide [ledger.AmountBytes]byte
	size := int(r.byte())
	if size != 8 && size != ledger.AmountBytes {
		r.bad = true
		return ledger.Amount{}
	}
	copy(wide[ledger.AmountBytes-size:], r.take(size))
	return ledger.AmountFromBytes(wide)
}

// records are the events from first up to, but not with, end, as they are shown.
// l is any later state of the ledger they come from: it knows the accounts.
func (h *happened) records(l *ledger.Ledger, first, end int) []api.Record {
	records := make([]api.Record, 0, end-first)
	for i := first; i < end; i++ {
		e := &h.events[i]
		var op ledger.Digest
		if e.Op != ledger.NoOp && int(e.Op) < len(h.ops) {
			op = h.ops[e.Op]
		}
		records = append(records, api.RecordOf(l, api.Cursor{Commit: h.index, Position: uint32(i)}, h.timeMs, op, e))
	}
	return records
}
