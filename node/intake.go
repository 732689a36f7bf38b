package node

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/holdfast-mesh/holdfast/node/api"
	"github.com/holdfast-mesh/holdfast/node/ledger"
	"github.com/holdfast-mesh/holdfast/node/replica"
	"github.com/holdfast-mesh/holdfast/storage"
)

// The journal's keys: intake/<digest> holds an acknowledged operation that has not
// ended, ended/<digest> how one ended that no commit has.
const (
	prefixIntake = "intake/"
	prefixEnded  = "ended/"
)

const (
	// heldMax bounds the operations acknowledged here that have not ended: some ten
	// seconds of the fastest network we know of. Above it clients are told to wait.
	heldMax = 1 << 18
	// heldBytesMax bounds their bytes.
	heldBytesMax = 256 << 20
	// resubmitAfter is how long an operation may be with the replica, or with a
	// validator it was forwarded to, before it is handed in again. It doubles
	// resubmitDoubled times, so that a network that is late is not given more to do.
	resubmitAfter   = time.Second
	resubmitDoubled = 3
	// busyFor is how long a client should wait when there is no room.
	busyFor = time.Second
)

// intake keeps the promise that an acknowledged operation survives this node's
// crash and ends (P4). It journals an operation before it is acknowledged, hands
// it to the replica, or to validators, again and again until it has ended, and
// finds it in the journal after a crash.
//
// Many goroutines may use it. What it wants written it collects for the loop's
// next batch.
type intake struct {
	mu      sync.Mutex
	held    map[ledger.Digest]*journalled
	order   []*journalled // of held, oldest first, with closed ones until the next sweep
	bytes   int
	writes  []replica.Record // for the next durable batch
	waiting map[ledger.Digest]*waiters
}

// waiters are the clients that wait for one operation to end.
type waiters struct {
	ended chan struct{}
	n     int
}

// journalled is an operation that was acknowledged here, or is about to be.
type journalled struct {
	op     *ledger.Op
	done   chan struct{} // closed when the journal is durable
	given  time.Time     // when it was handed in last
	times  int           // how often
	never  ledger.Reason // why it can never be executed, says our replica
	closed bool          // it has ended
}

// submission is a client's wish that operations be journalled.
type submission struct {
	*journalled
	fresh bool // journalled by this submission
}

func newIntake() *intake {
	return &intake{held: make(map[ledger.Digest]*journalled), waiting: make(map[ledger.Digest]*waiters)}
}

// open reads the journal after a restart.
func (t *intake) open(store *storage.Store) error {
	for entry, err := range store.Scan(storage.Prefix([]byte(prefixIntake))) {
		if err != nil {
			return err
		}
		op, err := ledger.TrustedOp(clone(entry.Value))
		if err != nil {
			return fmt.Errorf("the journalled operation %x: %w", entry.Key, err)
		}
		done := make(chan struct{})
		close(done)
		t.add(&journalled{op: op, done: done})
	}
	return nil
}

func (t *intake) add(j *journalled) {
	t.held[j.op.ID()] = j
	t.order = append(t.order, j)
	t.bytes += len(j.op.Bytes())
}

// accept takes verified operations for journalling. Those it holds already are
// returned as they are; a nil operation leaves its place nil. A *api.BusyError means
// that none was taken.
func (t *intake) accept(ops []*ledger.Op) ([]*submission, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.held)+len(ops) > heldMax || t.bytes > heldBytesMax {
		return nil, &api.BusyError{What: "the journal of operations that wait to be final", After: busyFor}
	}
	subs := make([]*submission, len(ops))
	for i, op := range ops {
		switch {
		case op == nil:
		case t.held[op.ID()] != nil:
			subs[i] = &submission{journalled: t.held[op.ID()]}
		default:
			j := &journalled{op: op, done: make(chan struct{})}
			t.add(j)
			subs[i] = &submission{journalled: j, fresh: true}
		}
	}
	return subs, nil
}

// record puts what the journal wants written into the loop's next batch: the fresh
// operations and what has ended since the last one. Deletions alone do not ask
// for a batch of their own: they may be lost.
func (t *intake) record(batch *storage.Batch, fresh []*submission) {
	if len(fresh) == 0 && batch.Len() == 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, r := range t.writes {
		put(batch, r)
	}
	t.writes = t.writes[:0]
	for _, s := range fresh {
		batch.Set(intakeKey(s.op.ID()), s.op.Bytes())
	}
}

// durable lets the clients of fresh operations know.
func (t *intake) durable(fresh []*submission) {
	for _, s := range fresh {
		close(s.done)
	}
}

// settle lets go of what a commit has executed and wakes who waits for it.
func (t *intake) settle(h *happened) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, id := range h.ops {
		if j := t.held[id]; j != nil {
			t.close(j)
		}
		t.wake(id)
	}
}

// close lets go of an operation that has ended.
func (t *intake) close(j *journalled) {
	j.closed = true
	delete(t.held, j.op.ID())
	t.bytes -= len(j.op.Bytes())
	t.writes = append(t.writes, replica.Record{Key: intakeKey(j.op.ID())})
}

func (t *intake) wake(id ledger.Digest) {
	if w := t.waiting[id]; w != nil {
		close(w.ended)
		delete(t.waiting, id)
	}
}

// wait returns a channel that is closed when the operation ends. Whoever is done
// with it calls leave.
func (t *intake) wait(id ledger.Digest) (ended <-chan struct{}, leave func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	w := t.waiting[id]
	if w == nil {
		w = &waiters{ended: make(chan struct{})}
		t.waiting[id] = w
	}
	w.n++
	return w.ended, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if w.n--; w.n == 0 && t.waiting[id] == w {
			delete(t.waiting, id)
		}
	}
}

// status says how an operation stands that is held here; ok is false for others.
func (t *intake) status(id ledger.Digest) (s api.OpStatus, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	j := t.held[id]
	if j == nil {
		return api.OpStatus{}, false
	}
	s = api.OpStatus{ID: id, State: api.OpPending, ExpiresMs: j.op.ExpiresMs(), Actions: len(j.op.Actions())}
	if j.never != ledger.ReasonNone {
		s.State, s.Reason = api.OpRejected, j.never
	}
	return s, true
}

// refused hears what the replica did not take. What can never be executed ends;
// all else is handed in again.
func (t *intake) refused(r replica.Refusal) {
	if r.Code != replica.RefusedLedger || !forever(r.Reason) {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if j := t.held[r.Op.ID()]; j != nil && j.never == ledger.ReasonNone {
		j.never = r.Reason
	}
}

// forever reports whether an operation that is refused for this reason can never
// be executed: its nonce is gone.
func forever(r ledger.Reason) bool {
	return r == ledger.ReasonNonceUsed || r == ledger.ReasonNonceTooLow
}

// fate is what the ledger says of an operation that seems to have ended.
type fate int

const (
	fateNot     fate = iota // it was not executed
	fateDone                // it was
	fateSkipped             // it may have been, in commits this node has passed over
)

// due returns the operations to hand in now, and ends those whose time is over at
// commit time nowMs, or that can never be executed. Before it does so it asks for
// the fate of one: a node that took over a state was not told of all commits.
func (t *intake) due(now time.Time, nowMs int64, ask func(*ledger.Op) fate) []*ledger.Op {
	t.mu.Lock()
	defer t.mu.Unlock()
	var due []*ledger.Op
	keep := t.order[:0]
	for _, j := range t.order {
		if j.closed || t.over(j, nowMs, ask) {
			continue
		}
		keep = append(keep, j)
		if isClosed(j.done) && now.Sub(j.given) >= resubmitAfter<<min(j.times, resubmitDoubled) {
			due = append(due, j.op)
			j.given = now
			j.times++
		}
	}
	clear(t.order[len(keep):])
	t.order = keep
	return due
}

// over ends an operation whose time is over, or that can never be executed.
func (t *intake) over(j *journalled, nowMs int64, ask func(*ledger.Op) fate) bool {
	e := ending{state: api.OpExpired}
	switch {
	case j.never != ledger.ReasonNone:
		e = ending{state: api.OpRejected, reason: j.never}
	case nowMs <= j.op.ExpiresMs():
		return false
	}
	switch ask(j.op) {
	case fateNot:
		t.end(j, e)
	case fateSkipped:
		t.end(j, ending{state: api.OpUnknown})
	case fateDone:
		t.close(j)
		t.wake(j.op.ID())
	}
	return true
}

// gave notes that fresh operations were handed in.
func (t *intake) gave(subs []*submission, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range subs {
		s.given, s.times = now, s.times+1
	}
}

// end keeps how an operation ended that no commit has, for whoever asks later.
func (t *intake) end(j *journalled, e ending) {
	id := j.op.ID()
	t.close(j)
	t.writes = append(t.writes, replica.Record{Key: endedKey(id), Value: e.append(nil)})
	t.wake(id)
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// size is how many operations are held.
func (t *intake) size() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.held)
}

// ending is how an operation ended without a commit.
type ending struct {
	state  api.OpState
	reason ledger.Reason
}

// endings are the states an operation can end in without a commit of ours; their
// positions are on disk.
var endings = [...]api.OpState{api.OpRejected, api.OpExpired, api.OpUnknown}

func (e ending) append(b []byte) []byte {
	return append(b, byte(slices.Index(endings[:], e.state)), byte(e.reason))
}

// outcome reads how an operation ended without a commit.
func outcome(store *storage.Store, id ledger.Digest) (e ending, ok bool, err error) {
	raw, err := store.Get(endedKey(id))
	if errors.Is(err, storage.ErrNotFound) {
		return ending{}, false, nil
	}
	if err != nil || len(raw) != 2 || int(raw[0]) >= len(endings) {
		return ending{}, false, errors.Join(err, fmt.Errorf("%w: the ending of %v", errEventLog, id))
	}
	return ending{state: endings[raw[0]], reason: ledger.Reason(raw[1])}, true, nil
}

func intakeKey(id ledger.Digest) []byte { return append([]byte(prefixIntake), id[:]...) }
func endedKey(id ledger.Digest) []byte  { return append([]byte(prefixEnded), id[:]...) }
