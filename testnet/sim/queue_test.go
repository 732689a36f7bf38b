package sim

import (
	"cmp"
	"slices"
	"testing"
	"time"
)

// TestQueueAgainstASort compares the heap with a stable sort of everything pending.
func TestQueueAgainstASort(t *testing.T) {
	r := newRandom(3, "queue", 0)
	var q queue
	var plain []event
	pop := func() {
		slices.SortStableFunc(plain, func(a, b event) int { return cmp.Compare(a.at, b.at) })
		got, ok := q.pop()
		if !ok || got.at != plain[0].at || got.node != plain[0].node {
			t.Fatalf("got node %d at %v, want %d at %v", got.node, got.at, plain[0].node, plain[0].at)
		}
		plain = plain[1:]
	}
	for i := range int32(20_000) {
		e := event{at: time.Duration(r.below(40)), node: i}
		q.push(e)
		plain = append(plain, e)
		if r.chance(percent(60)) {
			pop()
		}
		if len(plain) > 60 {
			for len(plain) > 3 {
				pop()
			}
		}
	}
	for len(plain) > 0 {
		pop()
	}
	if _, ok := q.pop(); ok {
		t.Error("something happens after the end")
	}
}
