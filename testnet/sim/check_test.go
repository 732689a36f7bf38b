package sim

import (
	"strings"
	"testing"
	"time"

	"github.com/holdfast-mesh/holdfast/node/dag"
	"github.com/holdfast-mesh/holdfast/node/ledger"
	"github.com/holdfast-mesh/holdfast/node/replica"
)

// TestHistoryBites plants one disagreement of each kind into two reports of the
// same commits.
func TestHistoryBites(t *testing.T) {
	good := func() []committed {
		return []committed{
			{index: 1, digest: [32]byte{1}, root: [32]byte{9}, timeMs: 5},
			{index: 2, digest: [32]byte{2}, root: [32]byte{8}, timeMs: 5, events: []ledger.Event{{Kind: ledger.EventTrade, Price: 3}}},
		}
	}
	for _, tc := range []struct {
		name  string
		plant func(c []committed)
		want  string
	}{
		{"nothing", func([]committed) {}, ""},
		{"another order", func(c []committed) { c[1].digest[0]++ }, "two orders"},
		{"another state", func(c []committed) { c[1].root[31]++ }, "two states"},
		{"another time", func(c []committed) { c[1].timeMs++ }, "of 5 ms and of 6 ms"},
		{"another event", func(c []committed) { c[1].events[0].Price++ }, "two histories"},
		{"an event less", func(c []committed) { c[1].events = nil }, "two histories"},
		{"a gap", func(c []committed) { c[1].index = 4 }, "nobody has executed commit 3"},
		{"time going back", func(c []committed) { c[1].index, c[1].timeMs = 3, 4 }, "the one before of 5 ms"},
	} {
		h := newHistory()
		for _, c := range good() {
			if err := h.add(c, nil); err != nil {
				t.Fatal(err)
			}
		}
		second := good()
		tc.plant(second)
		got := ""
		for _, c := range second {
			if err := h.add(c, nil); err != nil {
				got = err.Error()
				break
			}
		}
		if tc.want == "" && got != "" || !strings.Contains(got, tc.want) {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
	}
}

func TestHistoryPaysOnce(t *testing.T) {
	paid := ledger.Event{Kind: ledger.EventWithdrawal, Withdrawal: 4, WithdrawalState: ledger.WithdrawalCompleted, Op: ledger.NoOp}
	h := newHistory()
	if err := h.add(committed{index: 1, events: []ledger.Event{paid}}, nil); err != nil {
		t.Fatal(err)
	}
	if err := h.add(committed{index: 2, events: []ledger.Event{paid}}, nil); err == nil || !strings.Contains(err.Error(), "paid twice") {
		t.Errorf("a second payment: %v", err)
	}
}

// TestObserverMustNotSpeak plants what only a validator does into an observer's effects.
func TestObserverMustNotSpeak(t *testing.T) {
	for _, e := range []replica.Effects{
		{Send: make([]*dag.Block, 1)},
		{Own: replica.Own{Validator: true, Author: 4}},
	} {
		s := New(Config{Seed: 1, Weights: []int{1, 1, 1, 1}, Plan: &Plan{Chaos: time.Second, Observers: 1}})
		if s.nodes[4].checkObserver(&replica.Effects{}) != true || s.nodes[3].checkObserver(&e) != true {
			t.Error("a sound node is stopped")
		}
		if s.nodes[4].checkObserver(&e) || s.violation == nil {
			t.Errorf("an observer may say %+v", e)
		}
	}
}
