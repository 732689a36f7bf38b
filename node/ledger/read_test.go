package ledger

import (
	"fmt"
	"slices"
	"testing"
)

// busyAccounts is a ledger of this many accounts, of which the first hundred
// are as busy as accounts get: 100 nonces remembered and 200 orders open, on
// both sides, over 1000 levels each.
func busyAccounts(t testing.TB, accounts int) (l *Ledger, busy []Account) {
	g := plainGenesis()
	g.Balances = nil
	for i := range accounts {
		for asset := range AssetID(2) {
			g.Balances = append(g.Balances, Balance{name(fmt.Sprintf("%08d", i)), asset, Units(1 << 40)})
		}
	}
	w := newWorld(t, g)
	const each = 100
	for i := range each {
		who := fmt.Sprintf("%08d", i)
		busy = append(busy, name(who))
		for n := range each {
			level := Ticks(10*i + n%10)
			w.l.Apply(Batch{Index: w.l.index + 1, TimeMs: w.time, Ops: []Op{w.sign(who, limit(Buy, 10_000-level, 1), limit(Sell, 10_001+level, 1))}})
		}
	}
	w.l.Root()
	return w.l, busy
}

// TestWithdrawalsAreListedById: those who work through the list see the oldest first.
func TestWithdrawalsAreListedById(t *testing.T) {
	w := newWorld(t, plainGenesis())
	for _, who := range []string{"E", "A", "C", "A", "E"} {
		w.wantReason(w.one(who, Action{Kind: KindWithdraw, Amount: Units(3), Detail: &Detail{Reference: who}}), ReasonNone)
	}
	w.wantReason(w.one("C", Action{Kind: KindCancelWithdrawal, Withdrawal: 3}), ReasonNone)
	w.wantReason(w.one("B", Action{Kind: KindWithdraw, Amount: Units(3), Detail: &Detail{Reference: "B"}}), ReasonNone)
	for _, l := range []*Ledger{w.l, restored(t, w.l, 1<<20)} {
		var got []string
		for _, o := range l.Withdrawals() {
			got = append(got, fmt.Sprint(o.ID, o.Address))
		}
		if want := []string{"1E", "2A", "4A", "5E", "6B"}; !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	}
}

// BenchmarkRead measures what a node asks of a ledger of 100 000 accounts
// while its loop is held: the busiest accounts, a hundred levels, the lists.
// Only a proof depends on what has happened since the last root: it settles it.
func BenchmarkRead(b *testing.B) {
	l, busy := busyAccounts(b, 100_000)
	one := func(i int) Account { return busy[i%len(busy)] }
	var buf []byte
	var levels []Level
	for _, read := range []struct {
		name string
		do   func(i int)
	}{
		{"balance", func(i int) { l.Balance(one(i), 0) }},
		{"account", func(i int) { l.State(one(i)) }},
		{"depth100", func(int) { levels = l.Depth(levels[:0], 0, Buy, 100) }},
		{"markets", func(int) { l.Markets() }},
		{"withdrawals", func(int) { l.Withdrawals() }},
		{"proof", func(i int) { buf, _ = l.AppendProof(buf[:0], one(i)) }},
		{"proof-after-1000-changes", func(i int) {
			for n := range 1000 {
				l.touch(AccountRef(1 + (7919*(1000*i+n))%l.Accounts()))
			}
			buf, _ = l.AppendProof(buf[:0], one(i))
		}},
	} {
		b.Run(read.name, func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				read.do(i)
			}
		})
	}
}
