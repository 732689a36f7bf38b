package testnet

import (
	"crypto/sha256"
	"fmt"

	"github.com/fxamacker/cbor/v2"

	"github.com/holdfast-mesh/holdfast/node/ledger"
)

// replayed is what the recorded blocks come to when they are executed again, from
// the genesis and in their order, with every signature verified.
type replayed struct {
	states []ledgerState         // by commit; 0 is the genesis
	ops    map[string]executed   // by id, its first execution
	paid   map[uint64][]payment  // completed withdrawals, by id
	asked  map[string][]uint64   // withdrawals an operation has made, by the operation's id
	roots  map[uint64]string     // by commit, where a node told of one
	wrong  []string              // blocks that are not what they should be
	broken []string              // states in which money is not what it should be
	names  ledger.Names          // of assets and markets
	reads  map[string]accountLog // accounts' balances over time, by account
}

// ledgerState is a commit that was executed.
type ledgerState struct {
	commit string
	timeMs int64
	ops    int
}

// executed is where an operation was executed.
type executed struct {
	commit   uint64
	position uint32
	turn     int64 // among what the commit did: later operations have higher ones
	refused  bool  // it, or its one action
	reason   string
}

type payment struct {
	commit uint64
	op     string
}

// accountLog is an account's balances, after each commit that changed them.
type accountLog []accountAt

type accountAt struct {
	commit          uint64
	available, held []ledger.Amount // by asset
}

// at returns the balances as of a commit.
func (l accountLog) at(commit uint64) (a accountAt, ok bool) {
	for i := len(l) - 1; i >= 0; i-- {
		if l[i].commit <= commit {
			return l[i], true
		}
	}
	return a, false
}

// replay executes a history's blocks. What is wrong is in the result: the promises
// it breaks say so.
func replay(h *history) *replayed {
	r := &replayed{
		ops: make(map[string]executed), paid: make(map[uint64][]payment), asked: make(map[string][]uint64),
		roots: make(map[uint64]string), reads: make(map[string]accountLog),
	}
	g := h.bundle.Genesis()
	r.names = ledger.Names{Assets: g.Assets, Markets: g.Markets}
	l, err := ledger.New(g)
	if err != nil {
		r.fail("the genesis: %v", err)
		return r
	}
	wanted := make(map[uint64]bool)
	for _, root := range h.roots {
		wanted[root.Index] = true
	}
	verifier := ledger.NewVerifier(h.bundle.ID())
	r.states = append(r.states, ledgerState{commit: h.bundle.ID().String()})
	r.note(l)
	r.sum(l)
	for i := range h.blocks {
		if !r.step(l, verifier, &h.blocks[i]) {
			break
		}
		if at := h.blocks[i].Index; wanted[at] {
			root := l.Root()
			r.roots[at] = fmt.Sprintf("%x", root[:])
		}
	}
	return r
}

func (r *replayed) fail(format string, args ...any) {
	r.wrong = append(r.wrong, fmt.Sprintf(format, args...))
}

// step executes one commit.
func (r *replayed) step(l *ledger.Ledger, v *ledger.Verifier, b *BlocksRecord) bool {
	if want := uint64(len(r.states)); b.Index != want {
		r.fail("commit %d is recorded where commit %d should be", b.Index, want)
		return b.Index < want // heard twice is no harm
	}
	ops, ok := r.opsOf(v, b)
	if !ok {
		return false
	}
	digest, err := ledger.ParseDigest(b.Commit)
	if err != nil {
		r.fail("commit %d: %v", b.Index, err)
		return false
	}
	events := l.Apply(ledger.Batch{Index: b.Index, TimeMs: b.TimeMs, Digest: digest, Ops: ops})
	r.read(b, ops, events)
	r.states = append(r.states, ledgerState{commit: b.Commit, timeMs: b.TimeMs, ops: len(ops)})
	r.note(l)
	r.sum(l)
	return true
}

// block is what of a block a judge reads; the rest is for those who agree.
type block struct {
	Payload [][]byte `cbor:"payload"`
}

// opsOf checks each block against its CID, and each operation's signature.
func (r *replayed) opsOf(v *ledger.Verifier, b *BlocksRecord) (ops []ledger.Op, ok bool) {
	if len(b.Blocks) != len(b.CIDs) {
		r.fail("commit %d has %d blocks, %d are recorded", b.Index, len(b.CIDs), len(b.Blocks))
		return nil, false
	}
	for i, raw := range b.Blocks {
		if got := ledger.Digest(sha256.Sum256(raw)).String(); got != b.CIDs[i] {
			r.fail("commit %d: a block named %s has the bytes of %s", b.Index, b.CIDs[i], got)
			return nil, false
		}
		var read block
		if err := cbor.Unmarshal(raw, &read); err != nil {
			r.fail("commit %d: block %s: %v", b.Index, b.CIDs[i], err)
			return nil, false
		}
		for _, op := range read.Payload {
			u, err := ledger.DecodeOp(op)
			if err != nil {
				r.fail("commit %d: block %s: %v", b.Index, b.CIDs[i], err)
				return nil, false
			}
			verified, err := v.Verify(u)
			if err != nil {
				r.fail("commit %d: operation %s: %v", b.Index, u.ID(), err)
				return nil, false
			}
			ops = append(ops, *verified)
		}
	}
	return ops, true
}

// read notes what a commit's events say of operations and withdrawals.
func (r *replayed) read(b *BlocksRecord, ops []ledger.Op, events []ledger.Event) {
	for i := range events {
		e := &events[i]
		if e.Op == ledger.NoOp {
			continue
		}
		id := ops[e.Op].ID().String()
		if _, known := r.ops[id]; !known && e.Kind != ledger.EventDuplicate {
			r.ops[id] = executed{commit: b.Index, position: e.Op, turn: int64(i)}
		}
		switch e.Kind {
		case ledger.EventRejected:
			if x := r.ops[id]; x.commit == b.Index {
				x.refused, x.reason = true, e.Reason.String()
				r.ops[id] = x
			}
		case ledger.EventWithdrawal:
			r.withdrawal(b.Index, id, &ops[e.Op], e)
		}
	}
}

func (r *replayed) withdrawal(commit uint64, id string, op *ledger.Op, e *ledger.Event) {
	switch {
	case e.WithdrawalState == ledger.WithdrawalPending && op.Actions()[0].Kind == ledger.KindWithdraw:
		r.asked[id] = append(r.asked[id], uint64(e.Withdrawal))
	case e.WithdrawalState == ledger.WithdrawalCompleted:
		r.paid[uint64(e.Withdrawal)] = append(r.paid[uint64(e.Withdrawal)], payment{commit, id})
	}
}

// note remembers every account's balances that changed.
func (r *replayed) note(l *ledger.Ledger) {
	commit, _ := l.Commit()
	for of := 1; of <= l.Accounts(); of++ {
		key := l.Account(ledger.AccountRef(of))
		now := accountAt{commit: commit}
		for asset := range r.names.Assets {
			available, held := l.Balance(key, ledger.AssetID(asset))
			now.available, now.held = append(now.available, available), append(now.held, held)
		}
		log := r.reads[key.String()]
		if len(log) > 0 && sameBalances(log[len(log)-1], now) {
			continue
		}
		r.reads[key.String()] = append(log, now)
	}
}

func sameBalances(a, b accountAt) bool {
	for i := range a.available {
		if a.available[i] != b.available[i] || a.held[i] != b.held[i] {
			return false
		}
	}
	return true
}

// sum holds P2 after a commit, summed up here from the accounts.
func (r *replayed) sum(l *ledger.Ledger) {
	commit, _ := l.Commit()
	for id, asset := range l.Assets() {
		var parts []ledger.Amount
		for of := 1; of <= l.Accounts(); of++ {
			available, held := l.Balance(l.Account(ledger.AccountRef(of)), ledger.AssetID(id))
			parts = append(parts, available, held)
		}
		if err := addsUp(asset, parts); err != nil {
			r.broken = append(r.broken, fmt.Sprintf("commit %d: %v", commit, err))
		}
	}
}

// addsUp says whether available + held + fees = deposits - completed withdrawals.
func addsUp(asset ledger.AssetTotals, parts []ledger.Amount) error {
	have := asset.Fees
	for _, part := range parts {
		var ok bool
		if have, ok = have.Add(part); !ok {
			return fmt.Errorf("there is more %s than can be counted", asset.Symbol)
		}
	}
	want, ok := asset.Deposited.Sub(asset.Withdrawn)
	if !ok || have != want {
		return fmt.Errorf("accounts and fees come to %s %s, deposits less withdrawals to %s",
			asset.FormatAmount(have), asset.Symbol, asset.FormatAmount(want))
	}
	return nil
}
