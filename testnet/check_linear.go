package testnet

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/holdfast-mesh/holdfast/node/api"
	"github.com/holdfast-mesh/holdfast/node/ledger"
)

// linearMax bounds the search for an order of one account's or market's operations.
// What is not decided then is inconclusive.
const linearMax = 30 * time.Second

// checkLinear: what clients were told of each account and of each market is what
// some order of the operations gives, in which each takes effect between its call
// and its return. A read's is the time it says it is of.
func checkLinear(ctx context.Context, h *history, r *replayed) []Promise {
	w := windowsOf(h, r)
	return []Promise{
		checkEach(ctx, h.patience, "linearizable accounts", "accounts", accountHistories(h, r, w)),
		checkEach(ctx, h.patience, "linearizable markets", "markets", marketHistories(h, r, w)),
	}
}

// subject is one account's or market's history.
type subject struct {
	name  string
	model porcupine.Model
	ops   []porcupine.Operation
	turns []turn   // of the operations
	early []string // operations that took effect outside of their call and return
	open  []string // operations nobody knows the outcome of
}

func checkEach(ctx context.Context, patience time.Duration, name, unit string, subjects map[string]*subject) Promise {
	var f findings
	judged := 0
	for _, key := range slices.Sorted(maps.Keys(subjects)) {
		s := subjects[key]
		for _, why := range s.early {
			f.broke("%s: %s", s.name, why)
		}
		for _, why := range s.open {
			f.lacks("%s: %s", s.name, why)
		}
		if len(s.early)+len(s.open) > 0 || len(s.ops) == 0 {
			continue
		}
		judged++
		s.order()
		if ctx.Err() != nil {
			f.lacks("%s: %v", s.name, ctx.Err())
			continue
		}
		switch porcupine.CheckOperationsTimeout(s.model, s.ops, patience) {
		case porcupine.Illegal:
			f.broke("%s: no order of its %d operations gives what clients were told", s.name, len(s.ops))
		case porcupine.Unknown:
			if !s.witnessed() {
				f.broke("%s: the order that was executed does not give what clients were told, and no other was found within %v", s.name, patience)
				continue
			}
			f.lacks("%s: not decided within %v", s.name, patience)
		}
	}
	if judged == 0 && f.count == 0 {
		f.lacks("there was nothing to judge")
	}
	return f.none(name, unit+" that are not")
}

// add puts one operation into a subject, with the window of its effect and its turn.
func (s *subject) add(client int, input, output any, from, to int64, at turn, what string) {
	if from > to {
		s.early = append(s.early, fmt.Sprintf("%s took effect %v outside of its call and return", what, time.Duration(from-to)))
		return
	}
	s.ops = append(s.ops, porcupine.Operation{ClientId: client, Input: input, Output: output, Call: from, Return: to})
	s.turns = append(s.turns, at)
}

// order narrows the windows so that their beginnings come in the order of the turns,
// where they can. The search tries operations by the beginnings of their windows, so
// it tries first what executing the blocks again has shown. Whether that order gives
// what clients were told is for the search to find out; a narrower window can only
// make it stricter.
func (s *subject) order() {
	index := make([]int, len(s.ops))
	for i := range index {
		index[i] = i
	}
	slices.SortStableFunc(index, func(a, b int) int { return s.turns[a].compare(s.turns[b]) })
	ordered := make([]porcupine.Operation, 0, len(s.ops))
	var before int64
	for _, i := range index {
		op := s.ops[i]
		if before < op.Return {
			op.Call = max(op.Call, before+1)
		}
		before = max(before, op.Call)
		ordered = append(ordered, op)
	}
	s.ops = ordered
}

// witnessed says whether the order of the turns alone gives what clients were told.
func (s *subject) witnessed() bool {
	state := s.model.Init()
	for _, op := range s.ops {
		ok, next := s.model.Step(state, op.Input, op.Output)
		if !ok {
			return false
		}
		state = next
	}
	return true
}

// step is what happens to a payer's money.
type step struct {
	available, held int64 // what is added, in units
	refused         bool  // for want of money: then it was not there
	read            bool  // the sums are what was read
}

// money is a payer's state.
type money struct{ available, held int64 }

// accountModel is an account with one asset.
func accountModel(opening money) porcupine.Model {
	return porcupine.Model{
		Init: func() any { return opening },
		Step: func(state, input, _ any) (bool, any) {
			have, s := state.(money), input.(step)
			if s.read {
				return have == money{s.available, s.held}, have
			}
			next := money{have.available + s.available, have.held + s.held}
			if s.refused {
				return next.available < 0, have
			}
			return next.available >= 0 && next.held >= 0, next
		},
	}
}

// accountHistories are those of the payers, in the asset they pay with.
func accountHistories(h *history, r *replayed, w windows) map[string]*subject {
	all := make(map[string]*subject)
	for i := range h.ops {
		if o := &h.ops[i]; o.Kind == "transfer" || o.Kind == "withdraw" {
			openAccount(all, r, o.Account)
		}
	}
	groups := make(map[string][]*OpRecord)
	for i := range h.ops {
		o := &h.ops[i]
		switch o.Kind {
		case "transfer":
			addTransfer(all, w, o)
		case "withdraw":
			if s := all[o.Account]; s != nil && s.ended(o) {
				s.pay(w, o, step{available: -int64(o.Amount + o.Fee), held: int64(o.Amount + o.Fee)})
			}
		case "attest", "complete":
			groups[o.Kind+o.Group] = append(groups[o.Kind+o.Group], o)
		}
	}
	for _, group := range groups { // order: each group is its own; subjects are put in order later
		addGroup(all, r, w, group)
	}
	addReads(h, all, r, w)
	return all
}

func openAccount(all map[string]*subject, r *replayed, account string) {
	if all[account] != nil || len(r.reads[account]) == 0 {
		return
	}
	first := r.reads[account][0]
	available, _ := first.available[USDT].Uint64()
	held, _ := first.held[USDT].Uint64()
	all[account] = &subject{name: "account " + account[:16], model: accountModel(money{int64(available), int64(held)})}
}

// ended says whether an operation's outcome is known; if not the subject cannot be
// judged.
func (s *subject) ended(o *OpRecord) bool {
	if o.Acked != 0 && !o.Status.Ended() {
		s.open = append(s.open, "operation "+o.Op+" has no outcome")
	}
	return o.Status == api.OpFinal
}

// pay adds an operation's own effect, or that it was refused for want of money.
func (s *subject) pay(w windows, o *OpRecord, does step) {
	if o.Refused {
		if o.Reason != ledger.ReasonInsufficientBalance.String() {
			return
		}
		does.refused = true
	}
	if from, to, ok := w.of(o); ok {
		s.add(o.Client, does, nil, from, to, w.turn(o), o.Kind+" "+o.Op)
	}
}

func addTransfer(all map[string]*subject, w windows, o *OpRecord) {
	from, to := all[o.Account], all[o.To]
	if o.Account == o.To {
		return // changes nothing
	}
	if from != nil && from.ended(o) {
		from.pay(w, o, step{available: -int64(o.Amount)})
	}
	if to != nil && to.ended(o) && !o.Refused {
		to.pay(w, o, step{available: int64(o.Amount)})
	}
}

// addGroup adds what custodians do together: it takes effect with the vote that
// makes enough.
func addGroup(all map[string]*subject, r *replayed, w windows, group []*OpRecord) {
	s := all[group[0].To]
	if s == nil {
		return
	}
	var counted []*OpRecord
	for _, o := range group {
		if s.ended(o) && !o.Refused {
			counted = append(counted, o)
		}
	}
	if len(counted) < councilThreshold {
		return
	}
	slices.SortFunc(counted, func(a, b *OpRecord) int {
		if a.Commit != b.Commit {
			return int(int64(a.Commit) - int64(b.Commit))
		}
		return int(a.Position) - int(b.Position)
	})
	last := counted[councilThreshold-1]
	does := step{available: int64(last.Amount)}
	if last.Kind == "complete" {
		does = step{held: -int64(last.Amount + last.Fee)}
	}
	s.pay(w, last, does)
}

func addReads(h *history, all map[string]*subject, r *replayed, w windows) {
	for i := range h.reads {
		read := &h.reads[i]
		s := all[read.Account]
		if s == nil || read.Error != "" {
			continue
		}
		from, to, ok := w.asOf(read.Commit, read.Answered)
		if !ok {
			continue
		}
		var m money
		for _, b := range read.Balances {
			if b.Asset == "USDT" {
				m = money{unitsOf(b.Available), unitsOf(b.Held)}
			}
		}
		s.add(read.Client, step{available: m.available, held: m.held, read: true}, nil, from, to, lastTurn(read.Commit),
			fmt.Sprintf("a read as of commit %d", read.Commit))
	}
}

// unitsOf reads an amount of the asset payers pay with; -1 if it is none.
func unitsOf(text string) int64 {
	asset := assets()[USDT]
	a, err := asset.ParseAmount(text)
	if err != nil {
		return -1
	}
	n, ok := a.Uint64()
	if !ok {
		return -1
	}
	return int64(n)
}
