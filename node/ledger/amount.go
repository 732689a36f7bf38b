package ledger

import (
	"cmp"
	"encoding/binary"
	"math/bits"
)

// AmountBytes is the width of an Amount written out: 128 bits, big endian.
const AmountBytes = 16

// Amount counts an asset's smallest unit, as an unsigned number of 128 bits.
//
// A balance of 10^12 tokens of 18 decimals is 10^30 units, which no 64-bit
// number holds and 128 bits hold a hundred million times over. Sums and
// products that do not fit are refused, never wrapped: every operation that
// can overflow says whether it did.
//
// The zero value is zero. Amounts are compared with == and Cmp.
type Amount struct {
	hi, lo uint64
}

// MaxAmount is the largest amount, 2^128 - 1 units.
var MaxAmount = Amount{hi: ^uint64(0), lo: ^uint64(0)}

// Units returns n of an asset's smallest units.
func Units(n uint64) Amount { return Amount{lo: n} }

// IsZero says whether a is zero.
func (a Amount) IsZero() bool { return a.hi|a.lo == 0 }

// Uint64 returns a when it fits 64 bits; ok is false when it does not.
func (a Amount) Uint64() (n uint64, ok bool) { return a.lo, a.hi == 0 }

// Cmp returns -1, 0 or +1 as a is below, equal to or above b.
func (a Amount) Cmp(b Amount) int {
	if a.hi != b.hi {
		return cmp.Compare(a.hi, b.hi)
	}
	return cmp.Compare(a.lo, b.lo)
}

// Less says whether a is below b.
func (a Amount) Less(b Amount) bool {
	_, borrow := bits.Sub64(a.lo, b.lo, 0)
	_, borrow = bits.Sub64(a.hi, b.hi, borrow)
	return borrow != 0
}

// Add returns a + b; ok is false when the sum does not fit.
func (a Amount) Add(b Amount) (sum Amount, ok bool) {
	lo, carry := bits.Add64(a.lo, b.lo, 0)
	hi, carry := bits.Add64(a.hi, b.hi, carry)
	return Amount{hi, lo}, carry == 0
}

// Sub returns a - b; ok is false when b is above a.
func (a Amount) Sub(b Amount) (difference Amount, ok bool) {
	lo, borrow := bits.Sub64(a.lo, b.lo, 0)
	hi, borrow := bits.Sub64(a.hi, b.hi, borrow)
	return Amount{hi, lo}, borrow == 0
}

// Mul returns a x n; ok is false when the product does not fit.
func (a Amount) Mul(n uint64) (product Amount, ok bool) {
	carry, lo := bits.Mul64(a.lo, n)
	over, mid := bits.Mul64(a.hi, n)
	hi, c := bits.Add64(mid, carry, 0)
	return Amount{hi, lo}, over|c == 0
}

// Div returns a / n and the remainder. It panics when n is zero, as Go's own
// division does: the divisors here are lots and ticks, which are never zero.
func (a Amount) Div(n uint64) (quotient Amount, remainder uint64) {
	hi, r := a.hi/n, a.hi%n
	lo, r := bits.Div64(r, a.lo, n)
	return Amount{hi, lo}, r
}

// PerMillion is the denominator of fees, rebates and bands.
const PerMillion = 1_000_000

// PPMFloor returns a x ppm / 10^6 rounded down. ppm is at most PerMillion, so
// the result is at most a and cannot overflow.
func (a Amount) PPMFloor(ppm uint32) Amount {
	q, _ := a.ppm(ppm)
	return q
}

// PPMCeil returns a x ppm / 10^6 rounded up to a unit. ppm is at most
// PerMillion, so the result is at most a and cannot overflow.
func (a Amount) PPMCeil(ppm uint32) Amount {
	q, r := a.ppm(ppm)
	if r != 0 {
		q, _ = q.Add(Amount{lo: 1}) // q < a when something was left over
	}
	return q
}

// ppm divides the product, of up to 192 bits, limb by limb.
func (a Amount) ppm(ppm uint32) (Amount, uint64) {
	if ppm > PerMillion {
		panic("ledger: invariant broken: a rate above 1 000 000 ppm")
	}
	c0, p0 := bits.Mul64(a.lo, uint64(ppm))
	c1, p1 := bits.Mul64(a.hi, uint64(ppm))
	p1, carry := bits.Add64(p1, c0, 0)
	p2 := c1 + carry // below ppm, so the quotient has no third limb
	if p2 == 0 && p1 == 0 {
		return Amount{lo: p0 / PerMillion}, p0 % PerMillion
	}
	hi, r := bits.Div64(p2, p1, PerMillion)
	lo, r := bits.Div64(r, p0, PerMillion)
	return Amount{hi, lo}, r
}

// AppendBytes appends the AmountBytes big-endian bytes of a to b.
func (a Amount) AppendBytes(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, a.hi)
	return binary.BigEndian.AppendUint64(b, a.lo)
}

// AmountFromBytes is the inverse of AppendBytes.
func AmountFromBytes(b [AmountBytes]byte) Amount {
	return Amount{hi: binary.BigEndian.Uint64(b[:8]), lo: binary.BigEndian.Uint64(b[8:])}
}

// Ticks is a price: a count of its market's price steps.
type Ticks uint64

// Lots is a quantity: a count of its market's smallest tradable quantity of
// the base asset.
type Lots uint64

// TicksMax and LotsMax bound what one order may say. They are what a signed
// 64-bit number holds, so that programs in languages without unsigned numbers
// can read every price and quantity.
const (
	TicksMax Ticks = 1<<63 - 1
	LotsMax  Lots  = 1<<63 - 1
)

// Notional returns the exact worth of q lots at price p in the quote asset's
// units, where tickLot is the worth of one lot at one tick. ok is false when
// it does not fit.
func Notional(p Ticks, q Lots, tickLot uint64) (worth Amount, ok bool) {
	hi, lo := bits.Mul64(uint64(p), uint64(q))
	return Amount{hi, lo}.Mul(tickLot)
}
