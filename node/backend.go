package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/holdfast-mesh/holdfast/node/api"
	"github.com/holdfast-mesh/holdfast/node/dag"
	"github.com/holdfast-mesh/holdfast/node/ledger"
	"github.com/holdfast-mesh/holdfast/node/replica"
)

// backend shows the node to the API; see api.Backend.
type backend struct{ n *Node }

// A node says that it sees a quorum only while commits arrive, the last of them at most
// quorumFresh ago: an idle network commits about every second, and three times that
// is more than a lost round. And what arrives must be new: a node that fetches what it
// has missed executes commits all the time, and they are as old as their time says.
const (
	quorumFresh = 3 * time.Second
	quorumAge   = 8 * time.Second // an idle network's newest is up to five old
)

// AsOf tells from which commit an answer is. A quorum is seen while validators of
// enough weight are connected and what they decide arrives: connections alone do
// not show that they can reach each other.
func (b backend) AsOf() api.AsOf {
	now := b.n.standing.Load()
	return b.asOf(now.executed, now.commitMs, now)
}

func (b backend) asOf(commit uint64, commitMs int64, now *standing) api.AsOf {
	at := b.n.committedAt.Load()
	fresh := at != 0 && time.Since(time.Unix(0, at)) < quorumFresh
	age := max(time.Now().UnixMilli()-commitMs, 0)
	return api.AsOf{
		Commit: commit,
		Time:   api.Stamp(commitMs),
		AgeMs:  age,
		Quorum: fresh && age < quorumAge.Milliseconds() && b.n.connected.Load() >= now.members.committee.Quorum(),
	}
}

// View shows the state of the newest executed commit, which a crash may still take
// back for the moment it takes to become durable; then it is executed again.
func (b backend) View(read func(*ledger.Ledger, api.AsOf)) {
	b.n.mu.RLock()
	defer b.n.mu.RUnlock()
	l := b.n.replica.Ledger()
	commit, ms := l.Commit()
	read(l, b.asOf(commit, ms, b.n.standing.Load()))
}

// Prove needs the loop to stand still: a root writes to the ledger's caches.
func (b backend) Prove(account ledger.Account) (api.Proven, bool) {
	b.n.mu.Lock()
	defer b.n.mu.Unlock()
	l := b.n.replica.Ledger()
	proof, ok := l.AppendProof(nil, account)
	if !ok {
		return api.Proven{}, false
	}
	commit, ms := l.Commit()
	return api.Proven{Root: l.Root(), Proof: proof, AsOf: b.asOf(commit, ms, b.n.standing.Load())}, true
}

// Submit verifies on the caller's goroutine, and waits for the one sync that all
// who wait share.
func (b backend) Submit(ctx context.Context, raw [][]byte) ([]api.OpStatus, error) {
	now := b.n.standing.Load()
	switch {
	case b.n.full.Load():
		return nil, api.ErrDiskFull
	case now.alarm != replica.AlarmNone || b.n.ctx.Err() != nil:
		return nil, api.ErrStopped
	}
	ops, errs := now.verifier.Ops(raw)
	result := make([]api.OpStatus, len(raw))
	for i, op := range ops {
		if op == nil {
			result[i] = unfit(errs[i])
			continue
		}
		result[i] = api.OpStatus{ID: op.ID(), State: api.OpPending, ExpiresMs: op.ExpiresMs(), Actions: len(op.Actions())}
	}
	if err := b.screen(ctx, ops, result); err != nil {
		return nil, err
	}
	subs, err := b.n.intake.accept(ops)
	if err != nil {
		return nil, err
	}
	fresh := make([]*submission, 0, len(subs))
	for _, s := range subs {
		if s != nil && s.fresh {
			fresh = append(fresh, s)
		}
	}
	if len(fresh) > 0 {
		b.n.inbox.submit(fresh)
	}
	if err := b.durable(ctx, subs); err != nil {
		return nil, err
	}
	return result, nil
}

// durable waits until all of them are journalled.
func (b backend) durable(ctx context.Context, subs []*submission) error {
	for _, s := range subs {
		if s == nil {
			continue
		}
		select {
		case <-s.done:
		case <-ctx.Done():
			return ctx.Err()
		case <-b.n.ctx.Done():
			return api.ErrStopped
		}
	}
	return nil
}

// unfit says why bytes are no operation.
func unfit(err error) api.OpStatus {
	s := api.OpStatus{State: api.OpRejected, Code: "BAD_FORMAT", Detail: err.Error()}
	switch {
	case errors.Is(err, ledger.ErrSignature):
		s.Code = "BAD_SIGNATURE"
	case errors.Is(err, ledger.ErrNetwork):
		s.Code, s.Reason = "", ledger.ReasonWrongNetwork
	}
	return s
}

// screen takes out of ops what the ledger would refuse as a whole, and what has
// ended or is known, and says so in result.
func (b backend) screen(ctx context.Context, ops []*ledger.Op, result []api.OpStatus) error {
	refused := make([]ledger.Reason, len(ops))
	b.n.mu.RLock()
	for i, op := range ops {
		if op != nil {
			refused[i] = refusal(b.n.replica.Ledger(), op)
		}
	}
	b.n.mu.RUnlock()
	for i, op := range ops {
		if op == nil || refused[i] == ledger.ReasonNone {
			continue
		}
		// Its nonce may be used by itself: then it is known, or will be in a moment.
		known, err := b.Op(ctx, op.ID())
		if err != nil {
			return err
		}
		if known.State == api.OpUnknown {
			known = result[i]
			if refused[i] != executing {
				known.State, known.Reason = api.OpRejected, refused[i]
			}
		}
		result[i], ops[i] = known, nil
	}
	return nil
}

// executing is no refusal: the ledger has executed the operation, in a commit that
// readers may not see yet because its batch is being synced.
const executing = ^ledger.Reason(0)

// refusal says why the ledger would refuse an operation as a whole, or executing.
func refusal(l *ledger.Ledger, op *ledger.Op) ledger.Reason {
	err := l.Check(*op)
	if err == nil {
		return ledger.ReasonNone
	}
	if _, done := l.Result(op.ID()); done {
		return executing
	}
	var reason ledger.Reason
	if !errors.As(err, &reason) {
		return ledger.ReasonBadFormat
	}
	return reason
}

// Op finds an operation where it may be: executed, ended without a commit, or on
// its way.
func (b backend) Op(_ context.Context, id ledger.Digest) (api.OpStatus, error) {
	h, position, err := b.n.index.op(id)
	if err == nil {
		return b.executedOp(h, position), nil
	}
	if !errors.Is(err, api.ErrNotFound) {
		return api.OpStatus{}, err
	}
	if s, ok := b.n.intake.status(id); ok {
		if s.State == api.OpPending && b.included(id) {
			s.State = api.OpIncluded
		}
		return s, nil
	}
	e, ok, err := outcome(b.n.store, id)
	switch {
	case err != nil:
		return api.OpStatus{}, err
	case ok:
		s := api.OpStatus{ID: id, State: e.state, Reason: e.reason}
		if e.state == api.OpUnknown {
			s.Code, s.Detail = "SKIPPED", "this node took over a state while the operation was on its way, and was not told of all commits before: ask another node"
		}
		return s, nil
	}
	s := api.OpStatus{ID: id, State: api.OpUnknown}
	if b.included(id) {
		s.State = api.OpIncluded
	}
	return s, nil
}

func (b backend) included(id ledger.Digest) bool {
	b.n.mu.RLock()
	defer b.n.mu.RUnlock()
	return b.n.replica.Included(id)
}

// executedOp tells how an operation ended in a commit.
func (b backend) executedOp(h *happened, position uint32) api.OpStatus {
	s := api.OpStatus{ID: h.ops[position], State: api.OpFinal, Commit: h.index, Position: position, TimeMs: h.timeMs}
	first, last := -1, -1
	for i := range h.events {
		if e := &h.events[i]; e.Op == position {
			if last = i + 1; first < 0 {
				first = i
			}
		}
	}
	if first < 0 {
		return s
	}
	b.n.mu.RLock()
	records := h.records(b.n.replica.Ledger(), first, last)
	b.n.mu.RUnlock()
	for _, r := range records {
		if r.Op == s.ID {
			tell(&s, r)
		}
	}
	return s
}

// tell adds what an event says about the operation that caused it. An operation
// that came into the order after its window has expired, whatever else.
func tell(s *api.OpStatus, r api.Record) {
	s.Records = append(s.Records, r)
	switch {
	case r.Kind == ledger.EventRejected && r.Action == ledger.NoAction:
		s.State, s.Reason = api.OpRejected, r.Reason
		if r.Reason == ledger.ReasonTimestamp {
			s.State = api.OpExpired
		}
	case r.Kind == ledger.EventRejected && r.Action < ledger.ActionsMax:
		s.Refused |= 1 << r.Action
	}
	if r.Outcome && r.Action != ledger.NoAction {
		s.Actions++
	}
}

// Wait waits for an operation to end.
func (b backend) Wait(ctx context.Context, id ledger.Digest) (api.OpStatus, error) {
	for {
		ended, leave := b.n.intake.wait(id)
		s, err := b.Op(ctx, id)
		if err != nil || s.State.Ended() {
			leave()
			return s, err
		}
		select {
		case <-ended:
			leave()
		case <-ctx.Done():
			leave()
			return s, nil
		}
	}
}

// Next waits for a commit.
func (b backend) Next(ctx context.Context, after uint64) (*api.Executed, error) {
	h, err := b.n.index.next(ctx, after)
	if err != nil {
		return nil, err
	}
	b.n.mu.RLock()
	defer b.n.mu.RUnlock()
	return &api.Executed{
		Index: h.index, TimeMs: h.timeMs, Digest: h.digest, Ops: len(h.ops),
		Records: h.records(b.n.replica.Ledger(), 0, len(h.events)),
	}, nil
}

// cidText is a digest of a block or commit as programs and people see it.
func cidText(d dag.Digest) string { return ledger.Digest(d).String() }

// Commit reads a commit from the disk.
func (b backend) Commit(_ context.Context, index uint64) (api.Commit, error) {
	c, ok, err := replica.CommitAt(disk{b.n.store}, index)
	if err != nil {
		return api.Commit{}, err
	}
	if !ok {
		if now := b.n.standing.Load(); index > 0 && index <= now.executed {
			return api.Commit{}, &api.TooOldError{Oldest: b.oldest(now.executed)}
		}
		return api.Commit{}, api.ErrNotFound
	}
	out := api.Commit{
		Index: c.Index, Commit: cidText(c.Digest), Previous: cidText(c.Previous), Epoch: c.Epoch,
		Round: c.Leader.Round, Leader: int(c.Leader.Author), TimeMs: int64(c.TimeMs),
	}
	for _, ref := range c.Refs {
		out.Blocks = append(out.Blocks, cidText(ref.Digest))
	}
	h, err := b.n.index.commit(index)
	if tooOld := (*api.TooOldError)(nil); err != nil && !errors.As(err, &tooOld) {
		return api.Commit{}, err
	}
	if h != nil {
		for _, id := range h.ops {
			out.Ops = append(out.Ops, id.String())
		}
	}
	return out, nil
}

// oldest is the oldest commit on disk.
func (b backend) oldest(executed uint64) uint64 {
	low, high := uint64(1), executed
	for low < high {
		middle := low + (high-low)/2
		if _, ok, err := replica.CommitAt(disk{b.n.store}, middle); ok || err != nil {
			high = middle
		} else {
			low = middle + 1
		}
	}
	return low
}

// Block reads a block from the disk.
func (b backend) Block(_ context.Context, id ledger.Digest) ([]byte, error) {
	return b.n.block(dag.Digest(id))
}

// Checkpoint reads the newest certified checkpoint.
func (b backend) Checkpoint(context.Context) (api.Checkpoint, error) {
	c, ok, err := replica.NewestCertificate(disk{b.n.store})
	if err != nil {
		return api.Checkpoint{}, err
	}
	if !ok {
		return api.Checkpoint{}, api.ErrNotFound
	}
	out := api.Checkpoint{
		Index: c.Index, Commit: cidText(c.Commit), Root: fmt.Sprintf("%x", c.Root), Epoch: c.Epoch, Certificate: c.Bytes(),
	}
	for _, ref := range c.Votes {
		out.Votes = append(out.Votes, cidText(ref.Digest))
	}
	return out, nil
}

// Trades reads a market's trades.
func (b backend) Trades(ctx context.Context, market ledger.MarketID, before api.Cursor, most int) ([]api.Record, error) {
	return b.records(ctx, tradePrefix(market), before, most)
}

// History reads an account's events.
func (b backend) History(ctx context.Context, account ledger.Account, before api.Cursor, most int) ([]api.Record, error) {
	b.n.mu.RLock()
	ref, ok := b.n.replica.Ledger().Lookup(account)
	b.n.mu.RUnlock()
	if !ok {
		return nil, nil
	}
	return b.records(ctx, historyPrefix(ref), before, most)
}

// records reads the events that the keys under a prefix lead to, newest first.
func (b backend) records(ctx context.Context, prefix []byte, before api.Cursor, most int) ([]api.Record, error) {
	var records []api.Record
	var h *happened
	err := b.n.index.before(ctx, prefix, before, most, func(at api.Cursor) (err error) {
		if h == nil || h.index != at.Commit {
			if h, err = b.n.index.commit(at.Commit); err != nil {
				return err
			}
		}
		if int(at.Position) >= len(h.events) {
			return fmt.Errorf("%w: commit %d has no event %d", errEventLog, at.Commit, at.Position)
		}
		b.n.mu.RLock()
		defer b.n.mu.RUnlock()
		records = append(records, h.records(b.n.replica.Ledger(), int(at.Position), int(at.Position)+1)...)
		return nil
	})
	return records, err
}

// Candles reads a market's candles.
func (b backend) Candles(ctx context.Context, market ledger.MarketID, interval api.Interval, fromMs int64, most int) ([]api.Bar, error) {
	return b.n.index.candles.read(ctx, market, interval, fromMs, most)
}
