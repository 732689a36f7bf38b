//go:build holdfast_bugs && !holdfast_audit

package ledger

import "testing"

// TestBugsBite: each deliberate fault is one that a watcher can see.
func TestBugsBite(t *testing.T) {
	defer SetBugs(Bugs{})
	SetBugs(Bugs{ReleaseTwice: true})
	w := newWorld(t, plainGenesis())
	w.do("A", limit(Buy, 1, 1))
	w.l.Apply(Batch{Index: 2, TimeMs: w.time, Ops: []Op{w.sign("A", Action{Kind: KindCancel, Order: 1})}})
	if w.l.CheckInvariants() == nil {
		t.Error("money appears, and nobody notices")
	}

	SetBugs(Bugs{SkipNoncesAfterRestore: true})
	w = newWorld(t, plainGenesis())
	w.do("A", limit(Buy, 1, 1))
	again := restored(t, w.l, 1<<20)
	reused := w.signAt("A", w.nonce, limit(Buy, 2, 1))
	batch := Batch{Index: 2, TimeMs: w.time, Ops: []Op{reused}}
	if w.l.Apply(batch)[0].Reason != ReasonNonceUsed {
		t.Error("a ledger that was not restored skips the check")
	}
	if again.Apply(batch)[0].Kind != EventPlaced || again.Root() == w.l.Root() {
		t.Error("the restored ledger checks the nonce")
	}
}
