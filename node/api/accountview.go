package api

import (
	"cmp"
	"encoding/hex"
	"math/bits"
	"net/http"
	"slices"

	"github.com/holdfast-mesh/holdfast/node/ledger"
)

var accountParam = param{name: "account", about: "The account's public key: 64 hexadecimal digits.", value: paramText}

// accountEndpoints tell about accounts.
var accountEndpoints = []endpoint{
	{
		name: "account", method: http.MethodGet, path: "/v1/accounts/{account}", answer: Account{},
		about:  "An account's balances and open withdrawals, with ?proof also a proof of its whole state.",
		params: []param{accountParam, {name: "proof", about: "Add a proof.", value: paramText, enum: []string{"", "true", "false", "1", "0"}}},
		says:   []*problemKind{unknownAccount, busy},
		serve:  (*Server).account,
	},
	{
		name: "orders", method: http.MethodGet, path: "/v1/accounts/{account}/orders", answer: Orders{},
		about: "An account's open orders, oldest first.",
		params: []param{
			accountParam,
			{name: "after", about: "An order's id: only those after it; the next of an earlier answer.", value: paramInteger},
			{name: "limit", about: "How many at most: 1 to 1000, 1000 unless told.", value: paramInteger},
		},
		says:  []*problemKind{unknownAccount},
		serve: (*Server).orders,
	},
	{
		name: "history", method: http.MethodGet, path: "/v1/accounts/{account}/history", answer: History{},
		about:  "What has happened to an account, newest first.",
		params: append([]param{accountParam}, pageParams...),
		says:   []*problemKind{unknownAccount, tooOld, internal},
		serve:  (*Server).history,
	},
	{
		name: "withdrawals", method: http.MethodGet, path: "/v1/withdrawals", answer: Withdrawals{},
		about: "All open withdrawals, oldest first: what custodians have to work through.",
		params: []param{
			{name: "after", about: "A withdrawal's id: only those after it; the next of an earlier answer.", value: paramInteger},
			{name: "limit", about: "How many at most: 1 to 1000, 1000 unless told.", value: paramInteger},
		},
		serve: (*Server).withdrawals,
	},
}

func (c *call) account() (ledger.Account, error) {
	a, err := ledger.ParseAccount(c.r.PathValue("account"))
	if err != nil {
		return a, badParameter.of("The account must be 64 hexadecimal digits.")
	}
	return a, nil
}

func noAccount(a ledger.Account) error { return unknownAccount.of("There is no account %v.", a) }

func (s *Server) account(c *call) (any, error) {
	key, err := c.account()
	if err != nil {
		return nil, err
	}
	proof, err := c.flag("proof")
	if err != nil {
		return nil, err
	}
	var state ledger.AccountState
	var known bool
	var n *listing
	var asOf AsOf
	s.view(func(l *ledger.Ledger, newest *listing, at AsOf) {
		n, asOf = newest, at
		state, known = l.State(key)
	})
	if !known {
		return nil, noAccount(key)
	}
	a := n.account(&state, asOf)
	if proof {
		a.Proof, err = s.prove(key)
	}
	return a, err
}

// prove makes a proof, unless others are being made.
func (s *Server) prove(key ledger.Account) (*Proof, error) {
	select {
	case s.proving <- struct{}{}:
		defer func() { <-s.proving }()
	default:
		return nil, &BusyError{What: "the making of proofs", After: retryDefault}
	}
	p, ok := s.backend.Prove(key)
	if !ok {
		return nil, noAccount(key)
	}
	return &Proof{AsOf: p.AsOf, Root: hex.EncodeToString(p.Root[:]), Bytes: p.Proof}, nil
}

// account writes an account's state.
func (n *listing) account(state *ledger.AccountState, asOf AsOf) *Account {
	a := &Account{
		AsOf: asOf, Account: state.Key.String(), OpenOrders: len(state.Orders), NonceFloor: state.NonceFloor,
		Balances: make([]Balance, len(state.Balances)), Withdrawals: make([]Withdrawal, len(state.Withdrawals)),
	}
	for i := range state.Results {
		a.NonceLast = max(a.NonceLast, state.Results[i].Nonce)
	}
	for i := range state.Balances {
		b := &state.Balances[i]
		a.Balances[i] = Balance{Asset: n.asset(b.Asset).Symbol, Available: n.amount(b.Asset, b.Available), Held: n.amount(b.Asset, b.Held)}
	}
	for i := range state.Withdrawals {
		a.Withdrawals[i] = n.withdrawal(&state.Withdrawals[i], state.Key)
	}
	return a
}

func (n *listing) withdrawal(w *ledger.WithdrawalNow, of ledger.Account) Withdrawal {
	return Withdrawal{
		Withdrawal: uint64(w.ID), Account: of.String(), Asset: n.asset(w.Asset).Symbol, Amount: n.amount(w.Asset, w.Amount),
		Fee: n.amount(w.Asset, w.Fee), Address: w.Address, State: w.State.String(),
		Signed: bits.OnesCount64(w.Votes[0]), Completed: bits.OnesCount64(w.Votes[1]), Failed: bits.OnesCount64(w.Votes[2]),
	}
}

// withdrawals lists what custodians have to work through.
func (s *Server) withdrawals(c *call) (any, error) {
	after, err := c.number("after", 0, ledger.TimeMsMax, 0)
	if err != nil {
		return nil, err
	}
	most, err := c.number("limit", 1, PageMax, PageMax)
	if err != nil {
		return nil, err
	}
	a := &Withdrawals{Withdrawals: []Withdrawal{}}
	s.view(func(l *ledger.Ledger, n *listing, asOf AsOf) {
		a.AsOf = asOf
		open := slices.DeleteFunc(l.Withdrawals(), func(w ledger.WithdrawalNow) bool { return int64(w.ID) <= after })
		slices.SortFunc(open, func(a, b ledger.WithdrawalNow) int { return cmp.Compare(a.ID, b.ID) })
		for i := range open[:min(int(most), len(open))] {
			_, of, _ := l.WithdrawalByID(open[i].ID)
			a.Withdrawals = append(a.Withdrawals, n.withdrawal(&open[i], of))
		}
		if len(open) > int(most) {
			a.Next = a.Withdrawals[most-1].Withdrawal
		}
	})
	return a, nil
}

func (s *Server) orders(c *call) (any, error) {
	key, err := c.account()
	if err != nil {
		return nil, err
	}
	after, err := c.number("after", 0, ledger.TimeMsMax, 0)
	if err != nil {
		return nil, err
	}
	most, err := c.number("limit", 1, PageMax, PageMax)
	if err != nil {
		return nil, err
	}
	a := &Orders{Account: key.String()}
	var state ledger.AccountState
	var known bool
	var n *listing
	s.view(func(l *ledger.Ledger, newest *listing, at AsOf) {
		n, a.AsOf = newest, at
		state, known = l.State(key)
	})
	if !known {
		return nil, noAccount(key)
	}
	a.Orders, a.Next = n.orders(state.Orders, ledger.OrderID(after), int(most))
	return a, nil
}

// orders writes the first open orders after one, at most most, and where the
// rest begins: 0 if there is none.
func (n *listing) orders(of []ledger.OpenOrder, after ledger.OrderID, most int) (all []Order, next uint64) {
	all = []Order{}
	for i := range of {
		o := &of[i]
		if o.ID <= after {
			continue
		}
		if len(all) == most {
			return all, all[most-1].Order
		}
		all = append(all, n.openOrder(o))
	}
	return all, 0
}

func (n *listing) openOrder(o *ledger.OpenOrder) Order {
	a := Order{
		Order: uint64(o.ID), Market: n.symbol(o.Market), Side: o.Side.String(), Price: n.price(o.Market, o.Price),
		Remaining: n.quantity(o.Market, o.Remaining), Executed: n.quantity(o.Market, o.Executed), ExpireAtMs: o.ExpireAtMs,
	}
	if o.ClientID != (ledger.ClientID{}) {
		a.ClientID = o.ClientID.String()
	}
	return a
}

func (s *Server) history(c *call) (any, error) {
	key, err := c.account()
	if err != nil {
		return nil, err
	}
	before, most, err := c.page()
	if err != nil {
		return nil, err
	}
	var asOf AsOf
	var known bool
	s.view(func(l *ledger.Ledger, _ *listing, at AsOf) {
		asOf = at
		_, known = l.Lookup(key)
	})
	if !known {
		return nil, noAccount(key)
	}
	records, err := s.backend.History(c.r.Context(), key, before, most)
	if err != nil {
		return nil, err
	}
	n, _ := s.now()
	a := &History{AsOf: asOf, Account: key.String(), Events: make([]Event, len(records)), Next: next(records, most)}
	for i := range records {
		a.Events[i] = n.event(&records[i])
	}
	return a, nil
}
