package ledger

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"
)

// TestSnapshotAtAnyPoint plays one flow on a ledger that is restored after each
// commit and on one that never is.
func TestSnapshotAtAnyPoint(t *testing.T) {
	whole, again := busyWorld(t), busyWorld(t)
	rng := rand.New(rand.NewPCG(7, 7))
	for range 200 {
		who := string("ABCDE"[rng.IntN(5)])
		a := limit(Side(rng.IntN(2)), Ticks(95+rng.IntN(10)), Lots(1+rng.IntN(5)))
		switch rng.IntN(5) {
		case 0:
			a = Action{Kind: KindCancel, Order: OrderID(1 + rng.IntN(50))}
		case 1:
			a.TIF, a.ExpireAtMs = GTD, whole.time+int64(rng.IntN(200))
		case 2:
			a.ClientID[0] = byte(1 + rng.IntN(3))
		}
		again.l = restored(t, again.l, 1+rng.IntN(300))
		var events [2][]Event
		for i, w := range []*world{whole, again} {
			w.time += 20
			events[i] = w.do(who, a)
		}
		if !equalEvents(events[0], events[1]) || whole.l.Root() != again.l.Root() {
			t.Fatalf("after a restore %+v, without %+v", events[1], events[0])
		}
	}
}

func equalEvents(a, b []Event) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// TestSnapshotChunks holds that chunks are about as long as they should be and
// together the snapshot.
func TestSnapshotChunks(t *testing.T) {
	w := newWorld(t, plainGenesis())
	for i := range 60_000 {
		w.l.addAccount(ptr(Account{1, byte(i), byte(i >> 8), byte(i >> 16)}))
	}
	var all []byte
	s, chunks := w.l.Snapshot(), 0
	for more := true; more; chunks++ {
		var chunk []byte
		chunk, more = s.AppendChunk(nil)
		if len(chunk) > SnapshotChunkBytes+1<<10 || more && len(chunk) < SnapshotChunkBytes {
			t.Fatalf("chunk %d has %d bytes", chunks, len(chunk))
		}
		all = append(all, chunk...)
	}
	if chunks < 3 || !bytes.Equal(all, w.l.AppendSnapshot(nil)) {
		t.Fatalf("%d chunks are not the snapshot", chunks)
	}
	restored(t, w.l, SnapshotChunkBytes)
}

// TestSnapshotRefusesAnyChange flips each bit of a snapshot and cuts it at each
// byte: none restores.
func TestSnapshotRefusesAnyChange(t *testing.T) {
	b := busyWorld(t).l.AppendSnapshot(nil)
	root := busyWorld(t).l.Root()
	for bit := range 8 * len(b) {
		b[bit/8] ^= 1 << (bit % 8)
		if l, err := Restore(b); err == nil && l.Root() == root {
			t.Fatalf("restored to the same root with bit %d of byte %d changed", bit%8, bit/8)
		} else if err != nil && !errors.Is(err, ErrSnapshot) {
			t.Fatalf("%v is not ErrSnapshot", err)
		}
		b[bit/8] ^= 1 << (bit % 8)
	}
	for n := range b {
		if _, err := Restore(b[:n]); err == nil {
			t.Fatalf("restored from %d of %d bytes", n, len(b))
		}
	}
	if _, err := Restore(append(bytes.Clone(b), 0)); err == nil {
		t.Fatal("restored with a byte left over")
	}
}

// FuzzRestore holds that no bytes make Restore panic, and that what it makes of
// them is sound and writes itself back as the same bytes.
func FuzzRestore(f *testing.F) {
	f.Add([]byte{})
	f.Add(busyWorld(f).l.AppendSnapshot(nil))
	f.Add(newWorld(f, plainGenesis()).l.AppendSnapshot(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := Restore(b)
		if err != nil {
			return
		}
		if !bytes.Equal(l.AppendSnapshot(nil), b) {
			t.Fatal("the snapshot of a restored ledger differs")
		}
		if err := l.CheckInvariants(); err != nil {
			t.Fatal(err)
		}
	})
}

// FuzzScript lets bytes drive a ledger: each few bytes are an action of one of
// five accounts. After each commit all invariants hold, and a restored copy
// has the same root.
func FuzzScript(f *testing.F) {
	f.Add([]byte("\x00\x01\x05\x03\x01\x02\x05\x03"))
	f.Add(bytes.Repeat([]byte{0, 7, 3, 9, 1, 3, 4, 1, 2, 9, 9, 9}, 20))
	f.Fuzz(func(t *testing.T, script []byte) {
		if len(script) > 1<<10 {
			script = script[:1<<10]
		}
		m := plainMarket()
		m.MakerPPM, m.TakerPPM, m.BandPPM, m.OpenOrdersMax = 100_000, 200_000, 300_000, 3
		w := newWorld(t, plainGenesis(m))
		for ; len(script) >= 4; script = script[4:] {
			who, a := scripted([4]byte(script), w.time)
			w.time += int64(script[0] >> 4)
			w.commit(w.sign(who, a))
		}
		restored(t, w.l, 1<<20)
	})
}

// scripted turns four bytes into an action.
func scripted(b [4]byte, now int64) (who string, a Action) {
	who = string("ABCDE"[b[0]%5])
	a = limit(Side(b[1]&1), Ticks(90+b[2]%20), Lots(b[3]))
	a.STP = STP(b[1]>>1&7) % (AllowSelf + 1)
	a.ClientID[0] = b[2] >> 6
	target := Action{Order: OrderID(b[2]), Quantity: Lots(b[3])}
	switch b[1] >> 4 {
	case 0:
		a.TIF = IOC
	case 1:
		a.TIF = FOK
	case 2:
		a.TIF, a.ExpireAtMs = GTD, now+int64(b[3])
	case 3:
		a.Type = PostOnly
	case 4:
		a.Type, a.Price = MarketOrder, 0
	case 5:
		a.Type, a.Price, a.Side, a.Quantity, a.Amount = MarketOrder, 0, Buy, 0, Units(uint64(b[3])<<4)
	case 6:
		a = target
		a.Kind = KindCancel
	case 7:
		a = target
		a.Kind = KindAmend
	case 8:
		a.Kind, a.Order = KindReplace, OrderID(b[2])
	case 9:
		a = Action{Kind: KindCancelAll, AllMarkets: true}
	case 10:
		a = Action{Kind: KindTransfer, Asset: AssetID(b[2] & 1), Amount: Units(uint64(b[3]) << 12), Detail: &Detail{Account: name(string("ABCDEFG"[b[2]%7]))}}
	case 11:
		a = Action{Kind: KindWithdraw, Asset: AssetID(b[2] & 1), Amount: Units(uint64(b[3])), Detail: &Detail{Reference: "x"}}
	case 12:
		who = []string{"k1", "k2", "k3"}[b[0]%3]
		a = Action{Kind: KindSignWithdrawal + Kind(b[2]%3), Withdrawal: WithdrawalID(b[3] % 8), Detail: &Detail{}}
	case 13:
		a = Action{Kind: KindCancelWithdrawal, Withdrawal: WithdrawalID(b[3] % 8)}
	case 14:
		who = []string{"k1", "k2", "k3"}[b[0]%3]
		a = Action{Kind: KindAttestDeposit, Asset: AssetID(b[2] & 1), Amount: Units(uint64(b[3] & 3)), Detail: &Detail{Account: name("F"), Reference: string('a' + rune(b[2]%8))}}
	}
	return who, a
}
