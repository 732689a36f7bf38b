package ledger

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"fmt"
	"math/big"
	"slices"
)

// twin is the ledger once more, as plainly as its rules can be written down:
// sorted slices, maps, numbers without bounds, no index, no root. Where the
// ledger and the twin differ, one of them has misread the rules.
//
// What it shares with the ledger is what goes in and what comes out: Batch,
// Op, Action, Event, Reason and the named bounds.
type twin struct {
	network  Digest
	index    uint64
	timeMs   int64
	params   Params
	assets   []*twinAsset
	markets  []*twinMarket
	accounts []*twinAccount // by AccountRef; 0 is nobody
	refs     map[Account]AccountRef

	custodians, governors Council
	committee             Committee
	proposals             []*twinProposal
	deposits              map[string]*twinDeposit
	withdrawals           map[WithdrawalID]*twinWithdrawal
	refused               []twinRefusal
	reopenUntil           int64
	lastOrder             OrderID
	lastWithdrawal        WithdrawalID

	// Of the op and action being executed.
	op     uint32
	action uint8
	who    AccountRef
	events []Event
}

type twinRefusal struct {
	id     Digest
	commit uint64
	reason Reason
}

type twinAsset struct {
	Asset
	deposited, withdrawn, fees big.Int
}

type twinWallet struct{ available, held big.Int }

type twinAccount struct {
	key     Account
	wallets []*twinWallet // by asset
	orders  []*twinOrder  // open ones, by id
	kept    []Result      // by nonce
	floor   uint64        // the highest nonce no longer kept
}

type twinProposal struct {
	content string
	votes   map[Account]bool
	opener  Account
	until   int64
}

type twinDeposit struct {
	opener   Account
	votes    map[Account]string // what each custodian said
	credited bool
}

type twinWithdrawal struct {
	id          WithdrawalID
	owner       AccountRef
	asset       AssetID
	amount, fee Amount
	state       WithdrawalState
	signed      map[Account]bool
	completed   map[Account]bool
	failed      map[Account]bool
}

func newTwin(g *Genesis) *twin {
	id, err := g.ID()
	if err != nil {
		panic(err)
	}
	w := &twin{network: id, params: g.Params, custodians: g.Custodians, governors: g.Governors, committee: g.Committee,
		accounts: []*twinAccount{{}}, refs: map[Account]AccountRef{}, deposits: map[string]*twinDeposit{}, withdrawals: map[WithdrawalID]*twinWithdrawal{}}
	for i := range g.Assets {
		w.assets = append(w.assets, &twinAsset{Asset: g.Assets[i]})
	}
	for i := range g.Markets {
		w.list(g.Markets[i])
	}
	for _, key := range slices.Concat(g.Custodians.Members, g.Governors.Members) {
		w.need(key)
	}
	for _, b := range g.Balances {
		n := amountBig(b.Amount)
		w.assets[b.Asset].deposited.Add(&w.assets[b.Asset].deposited, n)
		free := &w.wallet(w.need(b.Account), b.Asset).available
		free.Add(free, n)
	}
	return w
}

func (w *twin) list(m Market) {
	tickLot, err := m.TickLot(&w.assets[m.Base].Asset, &w.assets[m.Quote].Asset)
	if err != nil {
		panic(err)
	}
	w.markets = append(w.markets, &twinMarket{Market: m, id: MarketID(len(w.markets)), last: m.Reference, tickLot: new(big.Int).SetUint64(tickLot)})
}

func (w *twin) need(key Account) AccountRef {
	if ref, ok := w.refs[key]; ok {
		return ref
	}
	w.accounts = append(w.accounts, &twinAccount{key: key})
	w.refs[key] = AccountRef(len(w.accounts) - 1)
	return w.refs[key]
}

func (w *twin) wallet(of AccountRef, id AssetID) *twinWallet {
	a := w.accounts[of]
	for len(a.wallets) <= int(id) {
		a.wallets = append(a.wallets, new(twinWallet))
	}
	return a.wallets[id]
}

// fits is a number as an Amount; ok is false when it does not fit.
func fits(n *big.Int) bool { return n.BitLen() <= 128 }

func asAmount(n *big.Int) Amount {
	a, ok := bigAmount(n)
	if !ok {
		panic(fmt.Sprintf("twin: %v is no amount", n))
	}
	return a
}

func (w *twin) emit(e Event) {
	e.Op, e.Action = w.op, w.action
	if e.Account == 0 {
		e.Account = w.who
	}
	w.events = append(w.events, e)
}

// apply executes a commit.
func (w *twin) apply(b Batch) []Event {
	w.events = nil
	w.op, w.action, w.who = NoOp, NoAction, 0
	first := w.index == 0
	gap := b.TimeMs - w.timeMs
	w.index = b.Index
	if b.TimeMs > w.timeMs {
		w.timeMs = b.TimeMs
	}
	if !first && gap > w.params.ReopenGapMs && w.params.ReopenMs > 0 {
		w.reopenUntil = w.timeMs + w.params.ReopenMs
		w.emit(Event{Kind: EventReopening, UntilMs: w.reopenUntil})
	}
	w.proposals = slices.DeleteFunc(w.proposals, func(p *twinProposal) bool { return p.until < w.timeMs })
	w.expire()
	for _, at := range turnsOf(b) {
		w.execute(uint32(at), &b.Ops[at])
	}
	return w.events
}

// expire takes out what is due, by (expire_at, order id).
func (w *twin) expire() {
	var due []*twinOrder
	for _, a := range w.accounts {
		for _, o := range a.orders {
			if o.expireAt != 0 && o.expireAt <= w.timeMs {
				due = append(due, o)
			}
		}
	}
	slices.SortFunc(due, func(a, b *twinOrder) int {
		return cmp.Or(cmp.Compare(a.expireAt, b.expireAt), cmp.Compare(a.id, b.id))
	})
	for _, o := range due {
		w.leave(o, EventExpired, StateExpired, false)
	}
}

// turnsOf is the order of a commit's ops, by trying all heads each time.
func turnsOf(b Batch) (order []int) {
	type line struct {
		ops    []int
		served int
		lot    Digest
	}
	lines := map[Account]*line{}
	for i := range b.Ops {
		who := b.Ops[i].account
		if lines[who] == nil {
			lines[who] = &line{lot: sha256.Sum256(slices.Concat(b.Digest[:], who[:]))}
		}
		lines[who].ops = append(lines[who].ops, i)
	}
	waiting := make([]*line, 0, len(lines))
	for _, v := range lines {
		slices.SortStableFunc(v.ops, func(x, y int) int { return cmp.Compare(b.Ops[x].nonce, b.Ops[y].nonce) })
		waiting = append(waiting, v)
	}
	for len(waiting) > 0 {
		next := slices.MinFunc(waiting, func(x, y *line) int {
			return cmp.Or(cmp.Compare(urgency(&b.Ops[x.ops[0]]), urgency(&b.Ops[y.ops[0]])),
				cmp.Compare(x.served, y.served), bytes.Compare(x.lot[:], y.lot[:]))
		})
		order = append(order, next.ops[0])
		next.served++
		if next.ops = next.ops[1:]; len(next.ops) == 0 {
			waiting = slices.DeleteFunc(waiting, func(v *line) bool { return v == next })
		}
	}
	return order
}

// urgency is 0 of pure cancels, 1 of what else cannot take, 2 of the rest.
func urgency(op *Op) int {
	worst := 0
	for _, a := range op.actions {
		switch a.Kind {
		case KindCancel, KindCancelAll:
		case KindAmend:
			worst = max(worst, 1)
		case KindPlace, KindReplace:
			if a.Type == PostOnly {
				worst = max(worst, 1)
			} else {
				worst = 2
			}
		default:
			worst = 2
		}
	}
	return worst
}

func (w *twin) reject(reason Reason) {
	w.emit(Event{Kind: EventRejected, Reason: reason, Outcome: true})
}

// refuseForNow refuses what might be let through another time.
func (w *twin) refuseForNow(op *Op, reason Reason) {
	w.refused = append(w.refused, twinRefusal{op.id, w.index, reason})
	w.refused = w.refused[max(0, len(w.refused)-refusalsMax):]
	w.reject(reason)
}

// execute runs one op.
func (w *twin) execute(at uint32, op *Op) {
	w.op, w.action, w.who = at, NoAction, w.refs[op.account]
	if op.network != w.network {
		w.reject(ReasonWrongNetwork)
		return
	}
	for _, r := range w.refused {
		if r.id == op.id {
			w.emit(Event{Kind: EventDuplicate, First: r.commit, Reason: r.reason, Outcome: true})
			return
		}
	}
	if w.who == 0 {
		w.refuseForNow(op, ReasonUnknownAccount)
		return
	}
	a := w.accounts[w.who]
	for _, r := range a.kept {
		if r.ID == op.id {
			w.emit(Event{Kind: EventDuplicate, First: r.Commit, Reason: r.Reason, Outcome: true})
			return
		}
	}
	if reason := w.nonceRefusal(a, op.nonce); reason == ReasonNonceWindow && int64(op.nonce) > w.timeMs {
		w.refuseForNow(op, reason) // its time may come
		return
	} else if reason != ReasonNone {
		w.reject(reason)
		return
	}
	result := Result{ID: op.id, Nonce: op.nonce, Commit: w.index, Op: at}
	if !(op.timeMs < w.timeMs+1000 && w.timeMs-op.timeMs <= op.windowMs) {
		result.Reason = ReasonTimestamp
		w.keep(a, result)
		w.reject(ReasonTimestamp)
		return
	}
	// The nonces are counted by the parameters before the op: it may change them.
	w.keep(a, result)
	for i := range op.actions {
		w.action = uint8(i)
		if reason := w.run(&op.actions[i]); reason != ReasonNone {
			w.reject(reason)
			result.Refused |= 1 << i
		}
	}
	for i := range a.kept {
		if a.kept[i].Nonce == op.nonce {
			a.kept[i] = result
		}
	}
}

func (w *twin) nonceRefusal(a *twinAccount, nonce uint64) Reason {
	const day = 24 * 3600 * 1000
	for _, r := range a.kept {
		if r.Nonce == nonce {
			return ReasonNonceUsed
		}
	}
	switch n := int64(nonce); {
	case n <= w.timeMs-2*day || n >= w.timeMs+day:
		return ReasonNonceWindow
	case a.floor != 0 && nonce <= a.floor:
		return ReasonNonceTooLow
	case len(a.kept) >= int(w.params.NonceWindow) && nonce < a.kept[0].Nonce:
		return ReasonNonceTooLow
	}
	return ReasonNone
}

// keep remembers a nonce, and of all only the highest.
func (w *twin) keep(a *twinAccount, r Result) {
	a.kept = append(a.kept, r)
	slices.SortFunc(a.kept, func(x, y Result) int { return cmp.Compare(x.Nonce, y.Nonce) })
	for len(a.kept) > int(w.params.NonceWindow) {
		a.floor = max(a.floor, a.kept[0].Nonce)
		a.kept = a.kept[1:]
	}
}

func (w *twin) run(a *Action) Reason {
	switch a.Kind {
	case KindPlace:
		return w.place(a)
	case KindAmend:
		return w.amend(a)
	case KindCancel:
		o := w.mine(a)
		if o == nil {
			return ReasonUnknownOrder
		}
		w.leave(o, EventCanceled, StateCanceled, true)
	case KindCancelAll:
		return w.cancelAll(a)
	case KindReplace:
		if o := w.mine(a); o != nil {
			w.leave(o, EventCanceled, StateCanceled, false)
		} else if !a.ContinueOnFailure {
			return ReasonCancelFailedNewNotAttempted
		} else {
			w.emit(Event{Kind: EventCancelFailed, Reason: ReasonUnknownOrder})
		}
		return w.place(a)
	case KindTransfer:
		return w.transfer(a)
	case KindWithdraw:
		return w.withdraw(a)
	case KindCancelWithdrawal:
		d, reason := w.withdrawal(a.Withdrawal)
		switch {
		case reason != ReasonNone:
			return reason
		case d.owner != w.who:
			return ReasonUnknownWithdrawal
		case d.state != WithdrawalPending:
			return ReasonBadState
		}
		w.endWithdrawal(d, WithdrawalCanceled)
	case KindAttestDeposit:
		return w.attest(a)
	case KindSignWithdrawal, KindCompleteWithdrawal, KindFailWithdrawal:
		return w.settle(a)
	case KindListAsset, KindListMarket, KindSetMarketStatus, KindSetCommittee, KindSetParams:
		return w.govern(a)
	default:
		return ReasonBadFormat
	}
	return ReasonNone
}

func (w *twin) transfer(a *Action) Reason {
	n := amountBig(a.Amount)
	switch {
	case int(a.Asset) >= len(w.assets):
		return ReasonUnknownAsset
	case n.Sign() == 0:
		return ReasonBadAmount
	case w.wallet(w.who, a.Asset).available.Cmp(n) < 0:
		return ReasonInsufficientBalance
	}
	to := w.need(a.Detail.Account)
	from, into := &w.wallet(w.who, a.Asset).available, &w.wallet(to, a.Asset).available
	from.Sub(from, n)
	into.Add(into, n)
	w.emit(Event{Kind: EventTransferred, Counterparty: to, Asset: a.Asset, Amount: a.Amount, Outcome: true})
	return ReasonNone
}

func (w *twin) withdraw(a *Action) Reason {
	if int(a.Asset) >= len(w.assets) {
		return ReasonUnknownAsset
	}
	total := new(big.Int).Add(amountBig(a.Amount), amountBig(a.Detail.Fee))
	open := 0
	for _, d := range w.withdrawals {
		if d.owner == w.who {
			open++
		}
	}
	mine := w.wallet(w.who, a.Asset)
	switch {
	case a.Amount.IsZero():
		return ReasonBadAmount
	case amountBig(a.Detail.Fee).Cmp(amountBig(w.assets[a.Asset].WithdrawalFeeMin)) < 0:
		return ReasonFeeTooLow
	case !fits(total):
		return ReasonOverflow
	case mine.available.Cmp(total) < 0:
		return ReasonInsufficientBalance
	case open >= withdrawalsMax:
		return ReasonMaxNumWithdrawals
	}
	mine.available.Sub(&mine.available, total)
	mine.held.Add(&mine.held, total)
	w.lastWithdrawal++
	d := &twinWithdrawal{id: w.lastWithdrawal, owner: w.who, asset: a.Asset, amount: a.Amount, fee: a.Detail.Fee, state: WithdrawalPending,
		signed: map[Account]bool{}, completed: map[Account]bool{}, failed: map[Account]bool{}}
	w.withdrawals[d.id] = d
	w.report(d, 0)
	return ReasonNone
}

func (w *twin) report(d *twinWithdrawal, votes int) {
	w.emit(Event{Kind: EventWithdrawal, Account: d.owner, Withdrawal: d.id, Asset: d.asset, Amount: d.amount, Fee: d.fee,
		WithdrawalState: d.state, Votes: uint8(votes), Outcome: true})
}

// withdrawal finds an open one. Ids are given in order: one that was given
// and is not open has ended.
func (w *twin) withdrawal(id WithdrawalID) (*twinWithdrawal, Reason) {
	if d := w.withdrawals[id]; d != nil {
		return d, ReasonNone
	}
	if id == 0 || id > w.lastWithdrawal {
		return nil, ReasonUnknownWithdrawal
	}
	return nil, ReasonBadState
}

func (w *twin) endWithdrawal(d *twinWithdrawal, state WithdrawalState) {
	mine, asset := w.wallet(d.owner, d.asset), w.assets[d.asset]
	amount, fee := amountBig(d.amount), amountBig(d.fee)
	mine.held.Sub(&mine.held, amount)
	mine.held.Sub(&mine.held, fee)
	if state == WithdrawalCompleted {
		asset.withdrawn.Add(&asset.withdrawn, amount)
		asset.fees.Add(&asset.fees, fee)
	} else {
		mine.available.Add(&mine.available, amount)
		mine.available.Add(&mine.available, fee)
	}
	d.state = state
	delete(w.withdrawals, d.id)
	w.report(d, 0)
}

// settle counts a custodian's word on a withdrawal.
func (w *twin) settle(a *Action) Reason {
	me := w.accounts[w.who].key
	if !slices.Contains(w.custodians.Members, me) {
		return ReasonNotCustodian
	}
	d, reason := w.withdrawal(a.Withdrawal)
	if reason != ReasonNone {
		return reason
	}
	votes, to := d.signed, WithdrawalBroadcast
	switch a.Kind {
	case KindSignWithdrawal:
		if d.state != WithdrawalPending {
			return ReasonBadState
		}
		if d.signed[me] {
			return ReasonDuplicateAttestation
		}
	default:
		votes, to = d.failed, WithdrawalFailed
		if a.Kind == KindCompleteWithdrawal {
			votes, to = d.completed, WithdrawalCompleted
			if d.state != WithdrawalBroadcast {
				return ReasonBadState
			}
		}
		if d.completed[me] || d.failed[me] {
			return ReasonDuplicateAttestation
		}
	}
	votes[me] = true
	switch {
	case len(votes) < int(w.custodians.Threshold):
		w.report(d, len(votes))
	case to == WithdrawalBroadcast:
		d.state = to
		w.report(d, 0)
	default:
		w.endWithdrawal(d, to)
	}
	return ReasonNone
}

func (w *twin) attest(a *Action) Reason {
	me := w.accounts[w.who].key
	if !slices.Contains(w.custodians.Members, me) {
		return ReasonNotCustodian
	}
	if int(a.Asset) >= len(w.assets) {
		return ReasonUnknownAsset
	}
	n := amountBig(a.Amount)
	if n.Sign() == 0 {
		return ReasonBadAmount
	}
	id := a.Detail.Reference
	d, known := w.deposits[id]
	if !known {
		opened := 0
		for _, d := range w.deposits {
			if d.opener == me && !d.credited {
				opened++
			}
		}
		if opened >= depositsOpenMax {
			return ReasonMaxNumDeposits
		}
		d = &twinDeposit{opener: me, votes: map[Account]string{}}
	}
	if d.credited {
		return ReasonAlreadyCredited
	}
	if _, spoke := d.votes[me]; spoke {
		return ReasonDuplicateAttestation
	}
	said := fmt.Sprint(a.Detail.Account, a.Asset, a.Amount)
	votes := 1
	for _, other := range d.votes {
		if other == said {
			votes++
		}
	}
	if votes >= int(w.custodians.Threshold) {
		asset := w.assets[a.Asset]
		if !fits(new(big.Int).Add(&asset.deposited, n)) {
			return ReasonOverflow
		}
		asset.deposited.Add(&asset.deposited, n)
		to := w.need(a.Detail.Account)
		free := &w.wallet(to, a.Asset).available
		free.Add(free, n)
		d.credited = true
		w.emit(Event{Kind: EventDeposited, Account: to, Asset: a.Asset, Amount: a.Amount, Votes: uint8(votes), Outcome: true})
	} else {
		w.emit(Event{Kind: EventAttested, Asset: a.Asset, Amount: a.Amount, Votes: uint8(votes), Outcome: true})
	}
	d.votes[me] = said
	w.deposits[id] = d
	return ReasonNone
}

// govern counts a governor's vote.
func (w *twin) govern(a *Action) Reason {
	me := w.accounts[w.who].key
	if !slices.Contains(w.governors.Members, me) {
		return ReasonNotGovernor
	}
	if reason := w.possible(a); reason != ReasonNone {
		return reason
	}
	content := fmt.Sprint(a.Kind, a.Market, a.Status)
	if d := a.Detail; d != nil {
		content += fmt.Sprintf(" %+v %+v %+v %+v", d.NewAsset, d.NewMarket, d.NewCommittee, d.NewParams)
	}
	at := slices.IndexFunc(w.proposals, func(p *twinProposal) bool { return p.content == content })
	if at < 0 {
		opened := 0
		for _, p := range w.proposals {
			if p.opener == me {
				opened++
			}
		}
		if w.governors.Threshold > 1 && opened >= proposalsOpenMax {
			return ReasonMaxNumProposals
		}
		w.proposals = append(w.proposals, &twinProposal{content: content, votes: map[Account]bool{}, opener: me, until: w.timeMs + proposalMs})
		at = len(w.proposals) - 1
	}
	p := w.proposals[at]
	if p.votes[me] {
		return ReasonDuplicateVote
	}
	p.votes[me] = true
	if len(p.votes) < int(w.governors.Threshold) {
		w.emit(Event{Kind: EventVoted, Votes: uint8(len(p.votes)), Outcome: true})
		return ReasonNone
	}
	w.proposals = slices.Delete(w.proposals, at, at+1)
	switch a.Kind {
	case KindListAsset:
		w.assets = append(w.assets, &twinAsset{Asset: *a.Detail.NewAsset})
		w.emit(Event{Kind: EventAssetListed, Asset: AssetID(len(w.assets) - 1), Outcome: true})
	case KindListMarket:
		w.list(*a.Detail.NewMarket)
		w.emit(Event{Kind: EventMarketListed, Market: MarketID(len(w.markets) - 1), Outcome: true})
	case KindSetMarketStatus:
		w.markets[a.Market].Status = a.Status
		w.emit(Event{Kind: EventMarketStatus, Market: a.Market, Status: a.Status, Outcome: true})
	case KindSetCommittee:
		w.committee = *a.Detail.NewCommittee
		w.emit(Event{Kind: EventCommitteeSet, Outcome: true})
	case KindSetParams:
		w.params = *a.Detail.NewParams
		w.emit(Event{Kind: EventParamsSet, Outcome: true})
	}
	return ReasonNone
}

// possible says why something could not be enacted now.
func (w *twin) possible(a *Action) Reason {
	bad := false
	switch a.Kind {
	case KindListAsset:
		n := a.Detail.NewAsset
		bad = len(n.faults()) > 0 || slices.ContainsFunc(w.assets, func(s *twinAsset) bool { return s.Symbol == n.Symbol })
	case KindListMarket:
		n := a.Detail.NewMarket
		if bad = len(n.faults()) > 0 || int(n.Base) >= len(w.assets) || int(n.Quote) >= len(w.assets); !bad {
			_, err := n.TickLot(&w.assets[n.Base].Asset, &w.assets[n.Quote].Asset)
			bad = err != nil || slices.ContainsFunc(w.markets, func(m *twinMarket) bool { return m.Base == n.Base && m.Quote == n.Quote })
		}
	case KindSetMarketStatus:
		if int(a.Market) >= len(w.markets) {
			return ReasonUnknownMarket
		}
	case KindSetCommittee:
		bad = len(a.Detail.NewCommittee.Validators) == 0 || len(a.Detail.NewCommittee.faults()) > 0
	case KindSetParams:
		bad = len(a.Detail.NewParams.faults()) > 0
	}
	if bad {
		return ReasonBadProposal
	}
	return ReasonNone
}
