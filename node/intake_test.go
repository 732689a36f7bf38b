package node

import (
	"crypto/ed25519"
	"testing"
	"time"

	"github.com/holdfast-mesh/holdfast/node/api"
	"github.com/holdfast-mesh/holdfast/node/ledger"
	"github.com/holdfast-mesh/holdfast/node/replica"
	"github.com/holdfast-mesh/holdfast/storage"
)

// journal is an intake on a store of its own, and a clock.
type journal struct {
	*intake
	t     *testing.T
	store *storage.Store
	now   time.Time
}

func newJournal(t *testing.T) *journal {
	store, err := storage.Open(t.TempDir(), storage.DefaultOptions())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	return &journal{newIntake(), t, store, time.UnixMilli(1_700_000_000_000)}
}

// op is an operation of now, with the default window of a minute.
func (j *journal) op(nonce uint64) *ledger.Op {
	key := ed25519.NewKeyFromSeed(make([]byte, 32))
	raw, err := ledger.Draft{
		Network: ledger.Digest{1}, Account: ledger.AccountOf(key), Nonce: nonce, TimeMs: j.now.UnixMilli(),
		Actions: []ledger.Action{{Kind: ledger.KindTransfer, Amount: ledger.Units(1), Detail: &ledger.Detail{Account: ledger.Account{1}}}},
	}.Sign(key)
	if err != nil {
		j.t.Fatal(err)
	}
	op, err := ledger.TrustedOp(raw)
	if err != nil {
		j.t.Fatal(err)
	}
	return op
}

// take journals an operation as the loop does, and hands it in.
func (j *journal) take(op *ledger.Op) *submission {
	subs, err := j.accept([]*ledger.Op{op})
	if err != nil {
		j.t.Fatal(err)
	}
	if subs[0].fresh {
		j.write(subs)
		j.durable(subs)
		j.gave(subs, j.now)
	}
	return subs[0]
}

func (j *journal) write(fresh []*submission) {
	var batch storage.Batch
	batch.Set([]byte("meta/step"), nil) // a step that has something to write
	j.record(&batch, fresh)
	if err := j.store.Write(&batch); err != nil {
		j.t.Fatal(err)
	}
}

// reopened is the journal after a restart.
func (j *journal) reopened() *intake {
	again := newIntake()
	if err := again.open(j.store); err != nil {
		j.t.Fatal(err)
	}
	return again
}

func never(*ledger.Op) fate { return fateNot }

func TestIntakeJournalsOnce(t *testing.T) {
	j := newJournal(t)
	op := j.op(1)
	first, second := j.take(op), j.take(op)
	if !first.fresh || second.fresh || !isClosed(second.done) {
		t.Errorf("first %+v, second %+v", first, second)
	}
	if again := j.reopened(); again.size() != 1 {
		t.Errorf("a restart finds %d operations", again.size())
	}
	j.settle(&happened{ops: []ledger.Digest{op.ID()}})
	j.write(nil)
	if again := j.reopened(); again.size() != 0 || j.size() != 0 {
		t.Errorf("after it is final a restart finds %d", again.size())
	}
}

// What is late is handed in again, less often the longer it takes.
func TestIntakeHandsInAgain(t *testing.T) {
	j := newJournal(t)
	j.take(j.op(1))
	var after []time.Duration
	began := j.now
	for j.now.Sub(began) < 30*time.Second {
		if len(j.due(j.now, 0, never)) > 0 {
			after = append(after, j.now.Sub(began))
		}
		j.now = j.now.Add(100 * time.Millisecond)
	}
	want := []time.Duration{2 * time.Second, 6 * time.Second, 14 * time.Second, 22 * time.Second}
	if len(after) != len(want) {
		t.Fatalf("handed in again after %v, want %v", after, want)
	}
	for i := range want {
		if after[i] != want[i] {
			t.Errorf("handed in again after %v, want %v", after, want)
		}
	}
}

// An operation whose time is over, or that can never be executed, ends with what
// the ledger says of it, and a restart says the same.
func TestIntakeEnds(t *testing.T) {
	for _, c := range []struct {
		name    string
		refused bool
		fate    fate
		want    api.OpState
	}{
		{"expired", false, fateNot, api.OpExpired},
		{"its nonce is gone", true, fateNot, api.OpRejected},
		{"in commits that were passed over", false, fateSkipped, api.OpUnknown},
		{"its nonce is gone, maybe by itself", true, fateSkipped, api.OpUnknown},
		{"executed", true, fateDone, ""},
	} {
		j := newJournal(t)
		op := j.op(1)
		j.take(op)
		ended, leave := j.wait(op.ID())
		late := op.ExpiresMs() + 1
		if c.refused {
			late = 0
			j.refused(replica.Refusal{Op: op, Code: replica.RefusedLedger, Reason: ledger.ReasonNonceUsed})
		} else if j.due(j.now, op.ExpiresMs(), func(*ledger.Op) fate { return c.fate }); isClosed(ended) {
			t.Errorf("%s: ended at the last moment of its window", c.name)
		}
		j.due(j.now, late, func(*ledger.Op) fate { return c.fate })
		if !isClosed(ended) || j.size() != 0 {
			t.Errorf("%s: it has not ended", c.name)
		}
		leave()
		j.write(nil)
		e, ok, err := outcome(j.store, op.ID())
		if err != nil || e.state != c.want || ok != (c.want != "") {
			t.Errorf("%s: %+v %v %v, want %q", c.name, e, ok, err, c.want)
		}
		if again := j.reopened(); again.size() != 0 {
			t.Errorf("%s: a restart finds it in the journal", c.name)
		}
	}
}

// A client that gives up leaves nothing behind.
func TestIntakeForgetsWhoGaveUp(t *testing.T) {
	j := newJournal(t)
	_, leaveFirst := j.wait(ledger.Digest{1})
	_, leaveSecond := j.wait(ledger.Digest{1})
	leaveFirst()
	if len(j.waiting) != 1 {
		t.Error("the second does not wait any more")
	}
	leaveSecond()
	if len(j.waiting) != 0 {
		t.Error("a place is kept for nobody")
	}
}
