package ledger

import (
	"errors"
	"fmt"
	"math/big"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"
)

func TestParseAmount(t *testing.T) {
	btc := &Asset{"BTC", 8, Amount{}}
	for _, c := range []struct {
		text string
		want uint64
		err  error
	}{
		{"0", 0, nil},
		{"1", 1e8, nil},
		{"0.00000001", 1, nil},
		{"12.50", 1_250_000_000, nil},
		{"0.10000000", 1e7, nil},
		{"0.000000001", 0, ReasonBadPrecision},
		{"0.100000000", 0, ReasonBadPrecision},
		{"-1", 0, ReasonBadAmount},
		{"-0.5", 0, ReasonBadAmount},
		{"-", 0, ErrNumber},
		{"--1", 0, ErrNumber},
		{"", 0, ErrNumber},
		{".", 0, ErrNumber},
		{".5", 0, ErrNumber},
		{"5.", 0, ErrNumber},
		{"1.2.3", 0, ErrNumber},
		{"01", 0, ErrNumber},
		{"00.1", 0, ErrNumber},
		{"+1", 0, ErrNumber},
		{"1e3", 0, ErrNumber},
		{"1_000", 0, ErrNumber},
		{"1,5", 0, ErrNumber},
		{" 1", 0, ErrNumber},
		{"1\n", 0, ErrNumber},
		{"0x10", 0, ErrNumber},
		{"NaN", 0, ErrNumber},
		{"Inf", 0, ErrNumber},
		{"١", 0, ErrNumber},
		{strings.Repeat("9", 40), 0, ReasonOverflow},
		{strings.Repeat("9", 64), 0, ReasonOverflow},
		{strings.Repeat("9", 65), 0, ErrNumber},
	} {
		got, err := btc.ParseAmount(c.text)
		if !errors.Is(err, c.err) || got != Units(c.want) {
			t.Errorf("%q: got %v, %v; want %d, %v", c.text, got, err, c.want, c.err)
		}
	}
}

// TestAmountEdges: 10^12 tokens of 18 decimals, and the first unit that 128
// bits do not hold.
func TestAmountEdges(t *testing.T) {
	eth := &Asset{"ETH", 18, Amount{}}
	tokens, err := eth.ParseAmount("1000000000000")
	if err != nil || amountBig(tokens).String() != "1"+strings.Repeat("0", 30) {
		t.Errorf("10^12 tokens are %v units, %v", amountBig(tokens), err)
	}
	const most = "340282366920938463463.374607431768211455"
	if a, err := eth.ParseAmount(most); err != nil || a != MaxAmount || eth.FormatAmount(a) != most {
		t.Errorf("the most: %v, %v", a, err)
	}
	if _, err := eth.ParseAmount("340282366920938463463.374607431768211456"); !errors.Is(err, ReasonOverflow) {
		t.Errorf("one more: %v", err)
	}
	if _, err := eth.ParseAmount("340282366920938463464"); !errors.Is(err, ReasonOverflow) {
		t.Errorf("one token more: %v", err)
	}
}

// numberGrammar is the plain twin of parseNumber's syntax.
var numberGrammar = regexp.MustCompile(`^(0|[1-9][0-9]*)(\.[0-9]+)?$`)

// checkNumber holds parseNumber against a regular expression and math/big.
func checkNumber(t *testing.T, s string, decimals uint8) {
	got, err := parseNumber(s, decimals)
	if !numberGrammar.MatchString(s) || len(s) > numberBytesMax {
		if err == nil {
			t.Fatalf("%q is read as %v", s, amountBig(got))
		}
		return
	}
	r, _ := new(big.Rat).SetString(s)
	r.Mul(r, new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(decimals)), nil)))
	_, fraction, _ := strings.Cut(s, ".")
	want, fits := bigAmount(r.Num())
	switch {
	case len(fraction) > int(decimals):
		if !errors.Is(err, ReasonBadPrecision) {
			t.Fatalf("%q with %d decimals: %v", s, decimals, err)
		}
	case !fits:
		if !errors.Is(err, ReasonOverflow) {
			t.Fatalf("%q with %d decimals: %v", s, decimals, err)
		}
	case err != nil || got != want:
		t.Fatalf("%q with %d decimals: got %v, %v; want %v", s, decimals, amountBig(got), err, r)
	default:
		written := string(appendNumber(nil, got, decimals, 0))
		if back, err := parseNumber(written, decimals); err != nil || back != got || len(written) > len(s) {
			t.Fatalf("%q is written as %q, which is %v, %v", s, written, back, err)
		}
		if full := string(appendNumber(nil, got, decimals, decimals)); !strings.HasPrefix(full, written) || decimals > 0 && len(full)-strings.Index(full, ".")-1 != int(decimals) {
			t.Fatalf("%q is written in full as %q", s, full)
		}
	}
}

func TestNumberAgainstBigRat(t *testing.T) {
	rng := rand.New(rand.NewPCG(6, 6))
	for range 50_000 {
		a := Amount{rng.Uint64() >> rng.IntN(64), rng.Uint64() >> rng.IntN(64)}
		if rng.IntN(2) == 0 {
			a.hi = 0
		}
		s := amountBig(a).String()
		if rng.IntN(3) > 0 {
			at := rng.IntN(len(s) + 1)
			s = s[:at] + "." + s[at:]
		}
		if rng.IntN(8) == 0 {
			at := rng.IntN(len(s))
			s = s[:at] + string(" -+e0.19"[rng.IntN(8)]) + s[at:]
		}
		checkNumber(t, s, uint8(rng.IntN(20)))
	}
}

func FuzzParseAmount(f *testing.F) {
	for _, s := range []string{"0", "1.5", "-1", "340282366920938463463.374607431768211455", "00", "1e9", strings.Repeat("9", 70)} {
		f.Add(s, uint8(18))
	}
	f.Fuzz(func(t *testing.T, s string, decimals uint8) { checkNumber(t, s, decimals%20) })
}

func TestPricesAndQuantities(t *testing.T) {
	btc, usdt, shib := &Asset{"BTC", 8, Amount{}}, &Asset{"USDT", 6, Amount{}}, &Asset{"SHIB", 18, Amount{}}
	m := &Market{Tick: Decimal{1, 2}, Lot: 10_000}
	half := &Market{Tick: Decimal{5, 1}, Lot: 25_000_000}
	fine := &Market{Tick: Decimal{1, 8}, Lot: 1e18}
	for _, c := range []struct {
		got  string
		want string
	}{
		{price(m, usdt, "100.00"), "10000 100.00"},
		{price(m, usdt, "100.0000"), "10000 100.00"},
		{price(m, usdt, "0.00"), "0 0.00"},
		{price(m, usdt, "100.005"), "PRICE_FILTER"},
		{price(m, usdt, "100.0000000"), "BAD_PRECISION"},
		{price(m, usdt, "92233720368547758.07"), "9223372036854775807 92233720368547758.07"},
		{price(m, usdt, "92233720368547758.08"), "PRICE_FILTER"},
		{price(half, usdt, "7.5"), "15 7.5"},
		{price(half, usdt, "7"), "14 7.0"},
		{price(half, usdt, "7.3"), "PRICE_FILTER"},
		{price(fine, usdt, "0.00001234"), "1234 0.00001234"},
		{price(fine, usdt, "0.000012345"), "BAD_PRECISION"},
		{price(fine, usdt, "x"), "no number"},
		{quantity(m, btc, "0.1000"), "1000 0.1000"},
		{quantity(m, btc, "0.05000000"), "500 0.0500"},
		{quantity(m, btc, "0.10001"), "LOT_SIZE"},
		{quantity(m, btc, "0.000000001"), "BAD_PRECISION"},
		{price(m, usdt, "-1"), "PRICE_FILTER"},
		{quantity(m, btc, "-1"), "LOT_SIZE"},
		{quantity(half, btc, "0.75"), "3 0.75"},
		{quantity(half, btc, "0.8"), "LOT_SIZE"},
		{quantity(fine, shib, "5000000"), "5000000 5000000"},
		{quantity(fine, shib, "9223372036854775808"), "LOT_SIZE"},
	} {
		if c.got != c.want {
			t.Errorf("got %s, want %s", c.got, c.want)
		}
	}
}

func price(m *Market, quote *Asset, s string) string {
	p, err := m.ParsePrice(quote, s)
	return outcome(uint64(p), m.FormatPrice(p), err)
}

func quantity(m *Market, base *Asset, s string) string {
	q, err := m.ParseQuantity(base, s)
	return outcome(uint64(q), m.FormatQuantity(base, q), err)
}

func outcome(n uint64, text string, err error) string {
	var reason Reason
	switch {
	case errors.As(err, &reason):
		return reason.String()
	case err != nil:
		return "no number"
	}
	return fmt.Sprint(n, " ", text)
}
