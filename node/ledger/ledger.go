package ledger

import (
	"fmt"
	"slices"
)

// Ledger is the state machine. One goroutine may use it at a time; nothing in
// it reads a clock or does I/O, and all of its state is in memory.
type Ledger struct {
	network Digest
	name    string
	index   uint64 // of the last commit applied
	timeMs  int64  // its time
	digest  Digest // its digest

	assets []asset
	books  []*book
	params Params
	government
	reopenUntilMs int64

	accounts []account // by AccountRef; accounts[0] is nobody
	nonces   []nonces  // by AccountRef
	wallets  slab[wallet]
	seats    slab[seat]
	orders   slab[order]
	levels   slab[level]
	extras   slab[orderExtra]
	expiries []uint32
	lastID   OrderID // the last one given

	withdrawals    slab[withdrawal]
	lastWithdrawal WithdrawalID
	deposits       []deposit
	refusals       []refusal          // oldest first
	refusedBefore  map[Digest]refusal // the same, to find one at once

	hash         hasher
	byKey        index // accounts
	byID         recency
	byName       index // orders with a client id
	byOp         index // accounts, by the ids of their remembered ops
	byWithdrawal index
	byDeposit    index

	merkle  state
	touched []bool // by AccountRef: its leaf is out of date
	touches []AccountRef

	turns   turns
	events  []Event
	op      uint32 // what is being executed
	action  uint8
	account AccountRef
	warmed  OrderID // keeps warm's reads from being optimised away; means nothing
	bugs    bugs
}

// Batch is a commit: what agreement has ordered.
type Batch struct {
	Index  uint64 // 1 for the first, then without gaps
	TimeMs int64  // the commit's time in Unix milliseconds
	Digest Digest // the commit's; it decides ties among accounts
	Ops    []Op   // in committed order
}

// New returns the ledger a network starts with. It fails when the genesis is
// not valid, with all reasons.
func New(g *Genesis) (*Ledger, error) {
	if err := g.Validate(); err != nil {
		return nil, err
	}
	id, err := g.ID()
	if err != nil {
		return nil, err
	}
	l := empty()
	l.network, l.name, l.params = id, g.Name, g.Params
	l.government = government{custodians: g.Custodians, governors: g.Governors, committee: g.Committee}
	for i := range g.Assets {
		l.assets = append(l.assets, asset{Asset: g.Assets[i]})
	}
	for i := range g.Markets {
		if err := l.addMarket(g.Markets[i]); err != nil {
			return nil, fmt.Errorf("ledger: market %d: %w", i, err)
		}
	}
	for _, members := range [][]Account{g.Custodians.Members, g.Governors.Members} {
		for i := range members {
			l.needAccount(&members[i])
		}
	}
	for i := range g.Balances {
		b := &g.Balances[i]
		of := l.needAccount(&b.Account)
		if !l.assets[b.Asset].deposit(&l.wallets.records[l.needWallet(of, b.Asset)], b.Amount) {
			return nil, fmt.Errorf("ledger: the opening balances of %s sum to more than %d bits hold", g.Assets[b.Asset].Symbol, 8*AmountBytes)
		}
	}
	return l, nil
}

// empty is a ledger of nothing.
func empty() *Ledger {
	return &Ledger{hash: newHasher(), byID: newRecency(), accounts: make([]account, 1), nonces: make([]nonces, 1), touched: make([]bool, 1), deposits: make([]deposit, 1),
		refusedBefore: map[Digest]refusal{}, merkle: state{rules: true}}
}

// addMarket puts a market at work.
func (l *Ledger) addMarket(m Market) error {
	tickLot, err := m.TickLot(&l.assets[m.Base].Asset, &l.assets[m.Quote].Asset)
	if err != nil {
		return err
	}
	l.books = append(l.books, &book{Market: m, id: MarketID(len(l.books)), tickLot: tickLot, last: m.Reference})
	return nil
}

// Check says whether an op is worth pooling now: it returns the Reason it
// would be refused with as a whole, or nil. Its actions may still be refused
// one by one when they run. It reads only.
func (l *Ledger) Check(op Op) error {
	if op.network != l.network {
		return ReasonWrongNetwork
	}
	if r, before := l.refused(&op); before {
		return r.reason
	}
	of := l.accountOf(&op.account)
	if of == 0 {
		return ReasonUnknownAccount
	}
	if reason := l.nonces[of].admits(op.nonce, l.timeMs, int(l.params.NonceWindow)); reason != ReasonNone && l.index > 0 {
		return reason
	}
	// The commit it will be in is later than the last one, so only what is
	// over now is over for good.
	if l.timeMs-op.timeMs > op.windowMs {
		return ReasonTimestamp
	}
	return nil
}

// Apply executes a commit and returns what happened, in order. The slice is
// the ledger's and valid until the next Apply.
//
// It never fails: an op that cannot execute is an EventRejected. It panics
// when the commit is not the one after the last, which would be a fork.
func (l *Ledger) Apply(b Batch) []Event {
	if b.Index != l.index+1 {
		panic(fmt.Sprintf("ledger: invariant broken: commit %d applied after commit %d", b.Index, l.index))
	}
	l.events = l.events[:0]
	l.op, l.action, l.account = NoOp, NoAction, 0
	l.tick(&b)
	l.turns.begin(&b, &l.hash)
	l.bugs.disorder(&l.turns)
	for {
		at, ok := l.turns.next()
		if !ok {
			break
		}
		l.execute(at, &b.Ops[at])
	}
	l.turns.ops = nil
	l.audit()
	return l.events
}

// tick moves time on and does what time does, before the commit's ops.
func (l *Ledger) tick(b *Batch) {
	before, first := l.timeMs, l.index == 0
	l.index, l.digest = b.Index, b.Digest
	l.timeMs = max(l.timeMs, l.bugs.commitTime(b.TimeMs))
	if !first && l.timeMs-before > l.params.ReopenGapMs && l.params.ReopenMs > 0 {
		l.reopenUntilMs = l.timeMs + l.params.ReopenMs
		l.emit(EventReopening).UntilMs = l.reopenUntilMs
	}
	l.dropProposals()
	l.expire()
}

// execute runs one op: as a whole it is known, refused, or runs its actions.
func (l *Ledger) execute(at uint32, op *Op) {
	l.op, l.action = at, NoAction
	of := l.accountOf(&op.account)
	l.account = of
	if op.network != l.network {
		l.refuse(ReasonWrongNetwork)
		return
	}
	if r, before := l.refused(op); before {
		l.duplicate(r.commit, r.reason)
		return
	}
	if of == 0 {
		l.refuseForNow(op, ReasonUnknownAccount)
		return
	}
	n := &l.nonces[of]
	if i, found := n.find(op.nonce); found && n.kept()[i].ID == op.id {
		l.duplicate(n.kept()[i].Commit, n.kept()[i].Reason)
		return
	}
	switch reason := n.admits(op.nonce, l.timeMs, int(l.params.NonceWindow)); {
	case reason == ReasonNone || l.bugs.skipNonces():
	case reason == ReasonNonceWindow && int64(op.nonce) > l.timeMs:
		l.refuseForNow(op, reason)
		return
	default:
		l.refuse(reason)
		return
	}
	l.touch(of)
	l.useNonce(of, op)
	if op.timeMs-l.timeMs >= timeAheadMs || l.timeMs-op.timeMs > op.windowMs {
		l.nonces[of].result(op.nonce).Reason = ReasonTimestamp
		l.refuse(ReasonTimestamp)
		return
	}
	l.warm(op.actions)
	var refused uint64
	for i := range op.actions {
		l.action = uint8(i)
		if reason := l.run(&op.actions[i]); reason != ReasonNone {
			l.refuse(reason)
			refused |= 1 << i
		}
	}
	if refused != 0 {
		l.nonces[of].result(op.nonce).Refused = refused
	}
}

// timeAheadMs is how far a signer's clock may be ahead of the commit's time.
const timeAheadMs = 1000

// run executes one action of l.account. It returns why it was refused, and has
// then changed nothing (but that a replace may have cancelled); or it has
// emitted its outcome.
func (l *Ledger) run(a *Action) Reason {
	switch a.Kind {
	case KindPlace:
		return l.placeOrder(a)
	case KindAmend:
		return l.amend(a)
	case KindCancel:
		return l.cancel(a)
	case KindCancelAll:
		return l.cancelAll(a)
	case KindReplace:
		return l.replace(a)
	case KindTransfer:
		return l.transfer(a)
	case KindWithdraw:
		return l.withdraw(a)
	case KindCancelWithdrawal:
		return l.cancelWithdrawal(a)
	case KindAttestDeposit:
		return l.attestDeposit(a)
	case KindSignWithdrawal, KindCompleteWithdrawal, KindFailWithdrawal:
		return l.custodianActs(a)
	case KindListAsset, KindListMarket, KindSetMarketStatus, KindSetCommittee, KindSetParams:
		return l.vote(a)
	}
	return ReasonBadFormat
}

// emit appends an event of what is being executed. It is written in place:
// events are most of what Apply writes.
func (l *Ledger) emit(kind EventKind) *Event {
	n := len(l.events)
	if n == cap(l.events) {
		l.events = slices.Grow(l.events, max(256, n))
	}
	l.events = l.events[:n+1]
	e := &l.events[n]
	*e = Event{}
	e.Kind, e.Op, e.Action, e.Account = kind, l.op, l.action, l.account
	return e
}

// refuse reports that the op, or its action, was refused.
func (l *Ledger) refuse(reason Reason) {
	e := l.emit(EventRejected)
	e.Reason, e.Outcome = reason, true
}

// duplicate reports that an op has been executed before.
func (l *Ledger) duplicate(first uint64, reason Reason) {
	e := l.emit(EventDuplicate)
	e.First, e.Reason, e.Outcome = first, reason, true
}
