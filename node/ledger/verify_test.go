package ledger

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/oasisprotocol/curve25519-voi/curve"
	"github.com/oasisprotocol/curve25519-voi/curve/scalar"
)

// smallOrder are the encodings that decode to one of the eight points of small
// order: eight canonical ones, and six that are not.
var smallOrder = []string{
	"0100000000000000000000000000000000000000000000000000000000000000",
	"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"0000000000000000000000000000000000000000000000000000000000000000",
	"0000000000000000000000000000000000000000000000000000000000000080",
	"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
	"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
	"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
	"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
	"0100000000000000000000000000000000000000000000000000000000000080",
	"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
	"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
	"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
}

// suspect is an operation with the answer ZIP-215 gives about it.
type suspect struct {
	what string
	op   *Unverified
	good bool
}

// unverified puts an op together as a stranger could, with any key and signature.
func unverified(t testing.TB, account Account, n uint64, signature [SignatureBytes]byte) *Unverified {
	t.Helper()
	d := Draft{Network: testNetwork, Account: account, Nonce: 1 + n, TimeMs: 1, WindowMs: 1, Actions: []Action{{Kind: KindCancel, Order: 1}}}
	u, err := d.encode(&signature)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// signWith signs by hand, as r and a say, with a torsion point added to R and
// to A. The cofactored equation holds; the cofactorless one does not unless
// the torsion happens to cancel.
func signWith(t testing.TB, n uint64, torsionR, torsionA *curve.EdwardsPoint) *Unverified {
	t.Helper()
	secret := func(what string) *scalar.Scalar {
		h := sha512.Sum512(fmt.Append(nil, what, n))
		s, err := scalar.NewFromBytesModOrderWide(h[:])
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	point := func(s *scalar.Scalar, torsion *curve.EdwardsPoint) (b [32]byte) {
		p := curve.NewEdwardsPoint().MulBasepoint(curve.ED25519_BASEPOINT_TABLE, s)
		p.Add(p, torsion)
		var c curve.CompressedEdwardsY
		copy(b[:], c.SetEdwardsPoint(p)[:])
		return b
	}
	a, r := secret("a"), secret("r")
	A, R := point(a, torsionA), point(r, torsionR)
	placeholder := [SignatureBytes]byte{1}
	message := unverified(t, A, n, placeholder).appendMessage(nil)
	h := sha512.New()
	h.Write(R[:])
	h.Write(A[:])
	h.Write(message)
	k, err := scalar.NewFromBytesModOrderWide(h.Sum(nil))
	if err != nil {
		t.Fatal(err)
	}
	s := scalar.New().Mul(k, a)
	s.Add(s, r)
	var signature [SignatureBytes]byte
	copy(signature[:32], R[:])
	if err := s.ToBytes(signature[32:]); err != nil {
		t.Fatal(err)
	}
	return unverified(t, A, n, signature)
}

// groupOrder is L, little endian: S and S + L are the same scalar.
var groupOrder, _ = hex.DecodeString("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010")

// suspects are operations of every sort that implementations disagree about.
func suspects(t testing.TB) (all []suspect) {
	add := func(good bool, op *Unverified, format string, args ...any) {
		all = append(all, suspect{fmt.Sprintf(format, args...), op, good})
	}
	sign := func(n uint64) *Unverified {
		d := Draft{Network: testNetwork, Account: AccountOf(keyOf(int(n % 20))), Nonce: 1 + n, TimeMs: 1, WindowMs: 1, Actions: []Action{{Kind: KindCancel, Order: 1}}}
		b, err := d.Sign(keyOf(int(n % 20)))
		if err != nil {
			t.Fatal(err)
		}
		u, err := DecodeOp(b)
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	for n := range uint64(200) {
		add(true, sign(n), "honest %d", n)
	}
	for i, a := range smallOrder {
		for j, r := range smallOrder {
			var account Account
			var signature [SignatureBytes]byte
			hex.Decode(account[:], []byte(a))
			hex.Decode(signature[:], []byte(r))
			if account == (Account{}) || signature == ([SignatureBytes]byte{}) {
				continue // not an op: DecodeOp refuses it as missing
			}
			add(true, unverified(t, account, 0, signature), "small A %d, small R %d, S = 0", i, j)
			signature[32] = 1
			add(false, unverified(t, account, 0, signature), "small A %d, small R %d, S = 1", i, j)
		}
	}
	for i := range 8 {
		for j := range 8 {
			op := signWith(t, uint64(8*i+j), curve.EIGHT_TORSION[i], curve.EIGHT_TORSION[j])
			add(true, op, "torsion %d in R, %d in A", i, j)
		}
	}
	for n := range uint64(4) {
		u := sign(n)
		s := u.Signature
		carry := 0
		for i, l := range groupOrder {
			carry += int(s[32+i]) + int(l)
			s[32+i] = byte(carry)
			carry >>= 8
		}
		add(false, unverified(t, u.Account, n, s), "S + L %d", n)
		for _, bit := range []int{0, 77, 255, 256, 300, 511} {
			s := u.Signature
			s[bit/8] ^= 1 << (bit % 8)
			add(false, unverified(t, u.Account, n, s), "honest %d with bit %d flipped", n, bit)
		}
		add(false, unverified(t, u.Account, n+1, u.Signature), "signature %d over another nonce", n)
		add(false, unverified(t, AccountOf(keyOf(99)), n, u.Signature), "signature %d of another account", n)
	}
	var offCurve Account
	for y := byte(2); ; y++ {
		offCurve[0] = y
		if _, err := curve.NewEdwardsPoint().SetCompressedY((*curve.CompressedEdwardsY)(&offCurve)); err != nil {
			break
		}
	}
	add(false, unverified(t, offCurve, 0, sign(0).Signature), "a key that is no point")
	badR := sign(0).Signature
	copy(badR[:32], offCurve[:])
	add(false, unverified(t, AccountOf(keyOf(0)), 0, badR), "an R that is no point")
	return all
}

// TestVerifyAgrees: single and batched give ZIP-215's answer for every
// suspect, whatever company it is in.
func TestVerifyAgrees(t *testing.T) {
	all := suspects(t)
	v := NewVerifier(testNetwork)
	stdlib := 0
	for _, s := range all {
		op, err := v.Verify(s.op)
		if (err == nil) != s.good || (op != nil) != s.good || err != nil && !errors.Is(err, ErrSignature) {
			t.Errorf("single: %s: %v", s.what, err)
		}
		if ed25519.Verify(s.op.Account[:], s.op.appendMessage(nil), s.op.Signature[:]) == s.good {
			stdlib++
		}
	}
	if stdlib == len(all) {
		t.Error("the standard library's rule gives the same answers: the suspects are too easy")
	}
	const seed = 4
	t.Logf("seed %d; %d suspects, %d of which the cofactorless rule judges alike", seed, len(all), stdlib)
	rng := rand.New(rand.NewPCG(seed, 0))
	batch := func(company []suspect) {
		t.Helper()
		us := make([]*Unverified, len(company))
		bad := false
		for i, s := range company {
			us[i] = s.op
			bad = bad || !s.good
		}
		ops, err := v.VerifyBatch(us)
		if (err != nil) != bad {
			t.Fatalf("a batch of %d with a bad one: %v; it says %v", len(us), bad, err)
		}
		for i, s := range company {
			if (ops[i] != nil) != s.good {
				t.Fatalf("batch of %d: %s: %v", len(us), s.what, ops[i] != nil)
			}
			if ops[i] != nil && (ops[i].ID() != s.op.ID() || !bytes.Equal(ops[i].Bytes(), s.op.Bytes())) {
				t.Fatalf("batch of %d: %s: another op came back", len(us), s.what)
			}
		}
	}
	var good []suspect
	for _, s := range all {
		batch([]suspect{s})
		if s.good {
			good = append(good, s)
		}
	}
	for _, size := range []int{2, 3, 10, 94, 95, 96, 256} { // the library changes its algorithm at 95
		for range 5 {
			company := make([]suspect, size)
			for i := range company {
				company[i] = good[rng.IntN(len(good))]
			}
			batch(company)
			company[rng.IntN(size)] = all[rng.IntN(len(all))]
			batch(company)
			for i := range company {
				company[i] = all[rng.IntN(len(all))]
			}
			batch(company)
		}
	}
	if ops, err := v.VerifyBatch(nil); len(ops) != 0 || err != nil {
		t.Errorf("an empty batch: %v, %v", ops, err)
	}
}

// TestVerifyNetwork: an op for another network is refused by name, and a
// signature moved to another network or purpose is worth nothing.
func TestVerifyNetwork(t *testing.T) {
	d := Draft{Network: testNetwork, Account: AccountOf(keyOf(1)), Nonce: 1, TimeMs: 1, Actions: []Action{{Kind: KindCancel, Order: 1}}}
	b, err := d.Sign(keyOf(1))
	if err != nil {
		t.Fatal(err)
	}
	u, err := DecodeOp(b)
	if err != nil {
		t.Fatal(err)
	}
	other := NewVerifier(Digest{1})
	if _, err := other.Verify(u); !errors.Is(err, ErrNetwork) {
		t.Errorf("single: %v", err)
	}
	if ops, err := other.VerifyBatch([]*Unverified{u, u}); !errors.Is(err, ErrNetwork) || ops[0] != nil || ops[1] != nil {
		t.Errorf("batch: %v, %v", ops, err)
	}
	d.Network = Digest{1}
	moved, err := d.encode(&u.Signature)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Verify(moved); !errors.Is(err, ErrSignature) {
		t.Errorf("a signature moved to another network: %v", err)
	}
	bare, err := u.Draft.encode(nil)
	if err != nil {
		t.Fatal(err)
	}
	untagged := unverified(t, u.Account, 0, [SignatureBytes]byte(ed25519.Sign(keyOf(1), bare.raw)))
	if _, err := NewVerifier(testNetwork).Verify(untagged); !errors.Is(err, ErrSignature) {
		t.Errorf("a signature without the domain tag: %v", err)
	}
	if op, err := NewVerifier(testNetwork).Verify(u); err != nil || op.Account() != u.Account || op.Nonce() != 1 || op.TimeMs() != 1 ||
		op.WindowMs() != WindowMsPatient || op.ExpiresMs() != 1+WindowMsPatient || op.Network() != testNetwork || len(op.Actions()) != 1 {
		t.Errorf("the op itself: %+v, %v", op, err)
	}
	if op, err := TrustedOp(b); err != nil || op.ID() != u.ID() {
		t.Errorf("from our own log: %v, %v", op, err)
	}
	if _, err := TrustedOp(b[1:]); err == nil {
		t.Error("a damaged log is trusted")
	}
}

// BenchmarkVerify measures decoded ops of 64 accounts, whose keys are cached.
func BenchmarkVerify(b *testing.B) {
	us := make([]*Unverified, 256)
	for i := range us {
		d := Draft{Network: testNetwork, Account: AccountOf(keyOf(i % 64)), Nonce: uint64(1 + i), TimeMs: 1, Actions: []Action{{Kind: KindPlace, Price: 1, Quantity: Lots(1 + i)}}}
		raw, err := d.Sign(keyOf(i % 64))
		if err != nil {
			b.Fatal(err)
		}
		if us[i], err = DecodeOp(raw); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("single", func(b *testing.B) {
		v, n := NewVerifier(testNetwork), 0
		for b.Loop() {
			if _, err := v.Verify(us[n%len(us)]); err != nil {
				b.Fatal(err)
			}
			n++
		}
		b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "sigs/s")
	})
	b.Run("batch256", func(b *testing.B) {
		v, n := NewVerifier(testNetwork), 0
		for b.Loop() {
			if _, err := v.VerifyBatch(us); err != nil {
				b.Fatal(err)
			}
			n += len(us)
		}
		b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "sigs/s")
	})
}

// BenchmarkDecodeOp measures one op with one order.
func BenchmarkDecodeOp(b *testing.B) {
	d := Draft{Network: testNetwork, Account: AccountOf(keyOf(1)), Nonce: 1_700_000_000_000, TimeMs: 1_700_000_000_000, Actions: []Action{{Kind: KindPlace, Side: Sell, Price: 1234, Quantity: 500}}}
	raw, err := d.Sign(keyOf(1))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(len(raw)), "B/op-encoded")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := DecodeOp(raw); err != nil {
			b.Fatal(err)
		}
	}
}
