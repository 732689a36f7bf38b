package ledger

import (
	"math/rand/v2"
	"testing"
)

// TestRecencyAgainstMap compares the ring and what is behind it with a map: while it
// grows, while nearly all orders go soon and a few stay for ever, with ids that no order
// rests under, and after it was made for many at once, as a restored ledger does it.
func TestRecencyAgainstMap(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 9))
	l := empty()
	plain := map[OrderID]uint32{}
	var open []OrderID
	add := func(id OrderID) {
		at := l.orders.take()
		l.orders.records[at].id = id
		l.byID.add(&l.hash, id, at)
		plain[id] = at
		open = append(open, id)
	}
	remove := func(i int) {
		id := open[i]
		l.byID.remove(&l.hash, id, plain[id])
		l.orders.give(plain[id])
		delete(plain, id)
		open[i] = open[len(open)-1]
		open = open[:len(open)-1]
	}
	agree := func(newest OrderID) {
		t.Helper()
		if l.byID.open != len(plain) {
			t.Fatalf("at id %d: %d open, want %d", newest, l.byID.open, len(plain))
		}
		for id, at := range plain {
			if got := l.orderByID(id); got != at {
				t.Fatalf("at id %d: order %d is found as %d, want %d", newest, id, got, at)
			}
		}
		for range 100 {
			id := OrderID(rng.Uint64N(uint64(newest) + 100))
			if got := l.orderByID(id); got != plain[id] {
				t.Fatalf("at id %d: order %d is found as %d, want %d", newest, id, got, plain[id])
			}
		}
	}
	agree(0)
	id, target := OrderID(0), 300
	for step := range 60_000 {
		id += OrderID(1 + rng.IntN(3)/2)
		if rng.IntN(2_000) == 0 {
			id += 3_000 // none of them rests
		}
		add(id)
		if step == 30_000 {
			target = 2_000
		}
		for len(open) > target {
			i := len(open) - 1 - rng.IntN(min(len(open), 200)) // a recent one, mostly
			if rng.IntN(50) == 0 {
				i = rng.IntN(len(open))
			}
			remove(i)
		}
		if step%1_000 == 0 {
			agree(id)
		}
	}
	if l.byID.old.used == 0 || l.byID.old.used == len(plain) {
		t.Errorf("%d of %d orders are old: nothing was tested", l.byID.old.used, len(plain))
	}
	kept := plain
	l.orders, l.byID = slab[order]{}, newRecency()
	l.byID.reserve(len(kept), id+7)
	plain, open = map[OrderID]uint32{}, nil
	for id := range kept {
		add(id)
	}
	agree(id + 7)
	if size := len(l.byID.ring); size > 2*ringPerOrder*len(kept) {
		t.Errorf("a ring of %d for %d orders", size, len(kept))
	}
	for len(open) > 0 {
		remove(len(open) - 1)
	}
	agree(id + 7)
}
