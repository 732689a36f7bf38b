package ledger

import (
	"errors"
	"fmt"
	"math/bits"
	"strconv"
)

// numberBytesMax bounds a written number: more digits than any Amount has,
// a point and DecimalsMax more.
const numberBytesMax = 64

// ErrNumber says that a text is no number of ours: digits without needless
// leading zeros, then, where wanted, a point and more digits. There is no
// sign, no exponent, no grouping and no space.
var ErrNumber = errors.New("a number is digits, then maybe a point and more digits, such as 12.50")

// parseNumber reads a number as a count of 10^-decimals. A number below zero is
// ReasonBadAmount, one of more decimals ReasonBadPrecision (also if they are
// zeros: who writes them believes in a precision the asset does not have), one
// too large ReasonOverflow, and anything else that is no number ErrNumber.
func parseNumber(s string, decimals uint8) (Amount, error) {
	fail := func(why error) (Amount, error) {
		if len(s) > numberBytesMax {
			s = s[:numberBytesMax] + "..."
		}
		return Amount{}, fmt.Errorf("%q: %w", s, why)
	}
	if len(s) > 1 && s[0] == '-' {
		if _, err := parseNumber(s[1:], decimals); err == nil {
			return fail(ReasonBadAmount)
		}
		return fail(ErrNumber)
	}
	var n Amount
	point, digits := -1, 0
	if len(s) > numberBytesMax {
		return fail(ErrNumber)
	}
	large := false
	for i := range len(s) {
		switch c := s[i]; {
		case c == '.' && point < 0 && i > 0 && i < len(s)-1:
			point = i
		case c < '0' || c > '9' || i == 1 && s[0] == '0' && point < 0:
			return fail(ErrNumber)
		default:
			digits++
			var fits, sums bool
			n, fits = n.Mul(10)
			n, sums = n.Add(Units(uint64(c - '0')))
			large = large || !fits || !sums
		}
	}
	if digits == 0 {
		return fail(ErrNumber)
	}
	fraction := 0
	if point >= 0 {
		fraction = len(s) - point - 1
	}
	if fraction > int(decimals) {
		return fail(ReasonBadPrecision)
	}
	for range int(decimals) - fraction {
		var fits bool
		n, fits = n.Mul(10)
		large = large || !fits
	}
	if large {
		return fail(ReasonOverflow)
	}
	return n, nil
}

// appendNumber appends n counts of 10^-decimals, with at least least decimals
// and otherwise no zeros at the end.
func appendNumber(b []byte, n Amount, decimals, least uint8) []byte {
	// 10^19 is the largest power of ten in 64 bits: at most three parts.
	const part = 1e19
	var digits [60]byte
	at := len(digits)
	for {
		var low uint64
		n, low = n.Div(part)
		text := strconv.AppendUint(nil, low, 10)
		at -= len(text)
		copy(digits[at:], text)
		if n.IsZero() {
			break
		}
		for range 19 - len(text) {
			at--
			digits[at] = '0'
		}
	}
	for len(digits)-at <= int(decimals) {
		at--
		digits[at] = '0'
	}
	whole := digits[at : len(digits)-int(decimals)]
	fraction := digits[len(digits)-int(decimals):]
	for len(fraction) > int(least) && fraction[len(fraction)-1] == '0' {
		fraction = fraction[:len(fraction)-1]
	}
	b = append(b, whole...)
	if len(fraction) > 0 {
		b = append(append(b, '.'), fraction...)
	}
	return b
}

// ParseAmount reads an amount of the asset written in whole tokens, such as
// "0.25". More decimals than the asset has are ReasonBadPrecision; nothing is
// ever rounded. Zero is an amount.
func (a *Asset) ParseAmount(s string) (Amount, error) { return parseNumber(s, a.Decimals) }

// FormatAmount writes an amount in whole tokens, as short as it can be.
func (a *Asset) FormatAmount(n Amount) string {
	return string(appendNumber(nil, n, a.Decimals, 0))
}

// ParsePrice reads a price: quote tokens per base token. One that is not a
// whole number of ticks is ReasonPriceFilter, one with more decimals than both
// the quote asset and the tick have ReasonBadPrecision.
func (m *Market) ParsePrice(quote *Asset, s string) (Ticks, error) {
	decimals := max(quote.Decimals, m.Tick.Decimals)
	n, err := parseNumber(s, decimals)
	if errors.Is(err, ReasonBadAmount) {
		return 0, fmt.Errorf("%q: %w", s, ReasonPriceFilter)
	}
	if err != nil {
		return 0, err
	}
	rest := uint64(0)
	for d := m.Tick.Decimals; d < decimals && rest == 0; d++ {
		n, rest = n.Div(10)
	}
	if rest == 0 {
		n, rest = n.Div(m.Tick.Units)
	}
	ticks, ok := n.Uint64()
	if rest != 0 || !ok || Ticks(ticks) > TicksMax {
		return 0, fmt.Errorf("%q: %w One step is %s", s, ReasonPriceFilter, m.FormatPrice(1))
	}
	return Ticks(ticks), nil
}

// FormatPrice writes a price with the decimals of the tick.
func (m *Market) FormatPrice(p Ticks) string {
	hi, lo := bits.Mul64(uint64(p), m.Tick.Units)
	return string(appendNumber(nil, Amount{hi, lo}, m.Tick.Decimals, m.Tick.Decimals))
}

// ParseQuantity reads a quantity in base tokens. One that is not a whole number
// of lots is ReasonLotSize, one with more decimals than the base asset has
// ReasonBadPrecision.
func (m *Market) ParseQuantity(base *Asset, s string) (Lots, error) {
	n, err := parseNumber(s, base.Decimals)
	if errors.Is(err, ReasonBadAmount) {
		return 0, fmt.Errorf("%q: %w", s, ReasonLotSize)
	}
	if err != nil {
		return 0, err
	}
	n, rest := n.Div(m.Lot)
	lots, ok := n.Uint64()
	if rest != 0 || !ok || Lots(lots) > LotsMax {
		return 0, fmt.Errorf("%q: %w One lot is %s", s, ReasonLotSize, m.FormatQuantity(base, 1))
	}
	return Lots(lots), nil
}

// FormatQuantity writes a quantity in base tokens, with the decimals of a lot.
func (m *Market) FormatQuantity(base *Asset, q Lots) string {
	least := base.Decimals
	for lot := m.Lot; least > 0 && lot%10 == 0; lot /= 10 {
		least--
	}
	hi, lo := bits.Mul64(uint64(q), m.Lot)
	return string(appendNumber(nil, Amount{hi, lo}, base.Decimals, least))
}
