package testnet

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-mesh/holdfast/node/api"
	"github.com/holdfast-mesh/holdfast/node/ledger"
)

// Bounds of a client's patience.
const (
	submitMax = 3 * time.Second // for a node to promise, before another is asked
	waitMax   = 3 * time.Second // for an end to be told at once, before it is asked for now and then
	askFirst  = 200 * time.Millisecond
	askLast   = 4 * time.Second
)

// client is somebody at a provider who sends operations and reads, and writes down
// what it was told. It prefers its provider's nodes and goes to others only when
// none of these takes its call.
type client struct {
	number   int
	provider string
	gateways []int // nodes by preference
	apis     []*api.Client
	record   *recorder
	wake     *wake // tells those who ask now and then to ask now
	tally    *tally
	asking   gate // of the provider's clients, who would else all ask at once after a cut

	*signer
}

// send submits an operation until a node promises, waits for its end, and records
// it. ctx is the run: when it ends, what is known then is recorded.
func (c *client) send(ctx context.Context, raw []byte, id ledger.Digest, r *OpRecord) {
	r.Op, r.Client, r.Provider, r.Status = id.String(), c.number, c.provider, api.OpUnknown
	if r.Account == "" {
		r.Account = c.account.String()
	}
	c.tally.sent.Add(1)
	defer c.tally.end(r)
	if first := c.submit(ctx, raw, r); first != nil {
		c.tally.acked.Add(1)
		c.note(r, *first)
		if !r.Status.Ended() {
			c.await(ctx, raw, id, r)
		}
	}
	c.record.add(fileOps, r)
}

// submit asks gateways in turn until one promises, or ctx ends. The bytes are the
// same each time, so that the operation executes at most once.
func (c *client) submit(ctx context.Context, raw []byte, r *OpRecord) *api.Op {
	pause := askFirst
	for {
		for _, node := range c.gateways {
			answer, err := c.submitTo(ctx, node, raw)
			r.Node = node
			if err == nil {
				r.Acked = time.Now().UnixNano()
				return answer
			}
			r.Error = err.Error()
			if refusal := new(api.Problem); errors.As(err, &refusal) && refusal.Status < http.StatusInternalServerError &&
				refusal.Status != http.StatusTooManyRequests {
				r.Status, r.Reason, r.Ended = api.OpRejected, refusal.Code, time.Now().UnixNano()
				return nil // it said why, for ever
			}
			if ctx.Err() != nil {
				return nil
			}
		}
		if !c.wake.sleep(ctx, pause) {
			return nil
		}
		pause = min(2*pause, askLast)
	}
}

func (c *client) submitTo(ctx context.Context, node int, raw []byte) (*api.Op, error) {
	ctx, cancel := context.WithTimeout(ctx, submitMax)
	defer cancel()
	answer, err := c.apis[node].Submit(ctx, raw)
	if err != nil {
		return nil, err
	}
	if len(answer.Ops) != 1 {
		return nil, fmt.Errorf("testnet: %d answers to one operation", len(answer.Ops))
	}
	return &answer.Ops[0], nil
}

// await waits for the end: first with the node that promised, then now and then with
// any. One that has never heard of the operation gets it again.
func (c *client) await(ctx context.Context, raw []byte, id ledger.Digest, r *OpRecord) {
	soon, cancel := context.WithTimeout(ctx, waitMax)
	answer, err := c.apis[r.Node].WaitOp(soon, id)
	cancel()
	if err == nil {
		c.note(r, answer)
	}
	for pause := askFirst; !r.Status.Ended(); pause = min(2*pause, askLast) {
		if !c.wake.sleep(ctx, pause) {
			return
		}
		if !c.asking.enter(ctx) {
			return
		}
		c.ask(ctx, raw, id, r)
		c.asking.leave()
	}
}

// ask asks the gateways in turn how an operation stands, until one answers.
func (c *client) ask(ctx context.Context, raw []byte, id ledger.Digest, r *OpRecord) {
	for _, node := range c.gateways {
		if !c.askOne(ctx, node, raw, id, r) {
			continue
		}
		return
	}
}

func (c *client) askOne(ctx context.Context, node int, raw []byte, id ledger.Digest, r *OpRecord) bool {
	ctx, cancel := context.WithTimeout(ctx, submitMax)
	defer cancel()
	answer, err := c.apis[node].Op(ctx, id)
	if err != nil {
		r.Error = err.Error()
		return false
	}
	if answer.Status == api.OpUnknown && node != r.Node {
		// Another node may not have heard of it yet; whoever promised is away.
		if again, err := c.submitTo(ctx, node, raw); err == nil {
			answer = *again
		}
	}
	c.note(r, answer)
	return true
}

// note takes what a node says into the record.
func (c *client) note(r *OpRecord, a api.Op) {
	r.Status, r.Error = a.Status, ""
	if !a.Status.Ended() {
		return
	}
	r.Ended, r.Reason = time.Now().UnixNano(), a.Reason
	r.Commit = a.Commit
	if a.Position != nil {
		r.Position = *a.Position
	}
	if len(a.Actions) != 1 {
		return
	}
	did := a.Actions[0]
	r.Refused, r.OrderState = did.Refused, did.State
	if did.Refused {
		r.Reason = did.Reason
	}
	for _, e := range did.Events {
		if e.Withdrawal != 0 {
			r.Withdrawal = e.Withdrawal
		}
		if e.Executed != "" {
			r.Executed = e.Executed
		}
	}
}

// read asks for an account and records the answer.
func (c *client) read(ctx context.Context, account ledger.Account) {
	r := ReadRecord{Client: c.number, Provider: c.provider, Account: account.String(), Invoked: time.Now().UnixNano()}
	for _, node := range c.gateways {
		r.Node = node
		if c.readFrom(ctx, node, account, &r) {
			c.tally.reads.Add(1)
			break
		}
	}
	c.record.add(fileReads, r)
}

func (c *client) readFrom(ctx context.Context, node int, account ledger.Account, r *ReadRecord) bool {
	ctx, cancel := context.WithTimeout(ctx, submitMax)
	defer cancel()
	answer, err := c.apis[node].Account(ctx, account)
	r.Answered = time.Now().UnixNano()
	if err != nil {
		r.Error = err.Error()
		return api.CodeOf(err) != ""
	}
	r.Error = ""
	r.Commit, r.TimeMs, r.AgeMs, r.Quorum = answer.AsOf.Commit, int64(answer.AsOf.Time), answer.AsOf.AgeMs, answer.AsOf.Quorum
	r.Balances = slices.Clone(answer.Balances)
	return true
}

// tally counts what became of the operations of one provider's clients, for those
// who watch.
type tally struct{ sent, acked, final, other, reads atomic.Int64 }

func (t *tally) end(r *OpRecord) {
	switch {
	case r.Status == api.OpFinal:
		t.final.Add(1)
	case r.Status.Ended():
		t.other.Add(1)
	}
}

// gate lets a few in at a time.
type gate chan struct{}

// askingMax is how many of a provider's clients ask how an operation stands at the
// same time.
const askingMax = 8

func (g gate) enter(ctx context.Context) bool {
	select {
	case g <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

func (g gate) leave() { <-g }

// wake lets many wait for a time or for a call that comes earlier.
type wake struct {
	mu sync.Mutex // guards ch
	ch chan struct{}
}

func newWake() *wake { return &wake{ch: make(chan struct{})} }

// call ends every sleep.
func (w *wake) call() {
	w.mu.Lock()
	defer w.mu.Unlock()
	close(w.ch)
	w.ch = make(chan struct{})
}

// sleep returns after a time or a call; false when ctx has ended.
func (w *wake) sleep(ctx context.Context, d time.Duration) bool {
	w.mu.Lock()
	called := w.ch
	w.mu.Unlock()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-called:
	case <-timer.C:
	}
	return true
}
