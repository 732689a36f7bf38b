package ledger

import (
	"math/big"
	"math/rand/v2"
	"testing"
)

// amountBig is the plain twin's view of an amount.
func amountBig(a Amount) *big.Int {
	b := a.AppendBytes(nil)
	return new(big.Int).SetBytes(b)
}

// bigAmount is its inverse; ok is false outside of 0 .. 2^128-1.
func bigAmount(n *big.Int) (Amount, bool) {
	if n.Sign() < 0 || n.BitLen() > 128 {
		return Amount{}, false
	}
	var b [AmountBytes]byte
	n.FillBytes(b[:])
	return AmountFromBytes(b), true
}

// edges are the numbers at which 64-bit limbs carry, borrow and overflow.
func edges() []Amount {
	var all []Amount
	for _, hi := range []uint64{0, 1, 1<<63 - 1, 1 << 63, ^uint64(0) - 1, ^uint64(0)} {
		for _, lo := range []uint64{0, 1, 999_999, 1_000_000, 1<<32 - 1, 1 << 32, 1<<63 - 1, 1 << 63, ^uint64(0) - 1, ^uint64(0)} {
			all = append(all, Amount{hi, lo})
		}
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for range 100 {
		all = append(all, Amount{rng.Uint64() >> rng.IntN(64), rng.Uint64() >> rng.IntN(64)})
	}
	return all
}

// TestAmountAgainstBigInt compares every operation with math/big, at the edges
// and at random, in value and in whether it fits.
func TestAmountAgainstBigInt(t *testing.T) {
	all := edges()
	check := func(op string, got Amount, ok bool, want *big.Int, args ...any) {
		t.Helper()
		w, fits := bigAmount(want)
		if ok != fits || ok && got != w {
			t.Fatalf("%s%v = %v, %v; want %v, %v", op, args, amountBig(got), ok, want, fits)
		}
	}
	for _, a := range all {
		A := amountBig(a)
		if back, _ := bigAmount(A); back != a {
			t.Fatalf("bytes of %v come back as %v", a, back)
		}
		for _, b := range all {
			B := amountBig(b)
			sum, ok := a.Add(b)
			check("Add", sum, ok, new(big.Int).Add(A, B), a, b)
			diff, ok := a.Sub(b)
			check("Sub", diff, ok, new(big.Int).Sub(A, B), a, b)
			if a.Cmp(b) != A.Cmp(B) || a.Less(b) != (A.Cmp(B) < 0) {
				t.Fatalf("Cmp(%v, %v) = %d, Less %v", a, b, a.Cmp(b), a.Less(b))
			}
			n := new(big.Int).SetUint64(b.lo)
			prod, ok := a.Mul(b.lo)
			check("Mul", prod, ok, new(big.Int).Mul(A, n), a, b.lo)
			worth, ok := Notional(Ticks(a.lo), Lots(b.lo), b.hi)
			w := new(big.Int).SetUint64(a.lo)
			check("Notional", worth, ok, w.Mul(w, n).Mul(w, new(big.Int).SetUint64(b.hi)), a.lo, b.lo, b.hi)
			if b.lo != 0 {
				q, r := a.Div(b.lo)
				Q, R := new(big.Int).QuoRem(A, n, new(big.Int))
				check("Div", q, true, Q, a, b.lo)
				if R.Uint64() != r {
					t.Fatalf("Div(%v, %d) leaves %d, want %v", a, b.lo, r, R)
				}
			}
		}
		for _, ppm := range []uint32{0, 1, 999, 1_000, 333_333, 999_999, PerMillion} {
			P := new(big.Int).Mul(A, big.NewInt(int64(ppm)))
			check("PPMFloor", a.PPMFloor(ppm), true, new(big.Int).Div(P, big.NewInt(PerMillion)), a, ppm)
			P.Add(P, big.NewInt(PerMillion-1))
			check("PPMCeil", a.PPMCeil(ppm), true, P.Div(P, big.NewInt(PerMillion)), a, ppm)
		}
	}
}
