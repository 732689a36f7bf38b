package sim

import (
	"crypto/ed25519"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/holdfast-mesh/holdfast/node/ledger"
)

// client is somebody who trades, keeps custody or governs. It signs on its own,
// posts to one gateway and goes to another when that one does not answer, and
// keeps asking until it knows what became of everything that was acknowledged.
type client struct {
	number  int
	role    role
	key     ed25519.PrivateKey
	account ledger.Account
	rnd     *random
	gateway int             // where it begins
	silent  []time.Duration // till when it passes over a gateway that did not answer
	nonce   uint64
	names   []ledger.ClientID // of orders it placed, newest last
	named   uint64
	open    []*submission // not ended yet
	seen    uint64        // newest commit any gateway has shown it
	next    time.Duration // not before then does it begin something new
	watched int           // custodians: how many withdrawals it has dealt with
	// attested and governed: the seconds, and periods, dealt with.
	attested, governed int
	voted              bool // governors: for the next committee
	unruly             bool
}

type role uint8

const (
	trader role = iota
	custodian
	governor
)

// submission is one operation on its way.
type submission struct {
	client    *client
	bytes     []byte
	id        ledger.Digest
	expiresMs int64
	begun     time.Duration // when it was posted first
	gateway   int           // that has it, or was asked last
	answered  bool          // that one has answered
	sentAt    time.Duration // when it was posted or asked about last
	acked     bool
	// everywhere: posted to all gateways at once.
	everywhere bool
	holders    []holder // gateways that acknowledged it
	end        ending
	told       uint64 // the commit that the end is from
}

// ending is how a submission ended, as its client was told.
type ending uint8

const (
	running ending = iota
	endFinal
	endRejected // by the order, or because it can never be ordered any more
	endExpired
	endRefused // no gateway took it
)

// Clients' patience, in virtual time.
const (
	postTimeout = 700 * time.Millisecond  // then to another gateway
	askAgain    = 400 * time.Millisecond  // how often one asks what became of an op
	patience    = 1200 * time.Millisecond // with one gateway, for one operation
	silentFor   = 1500 * time.Millisecond
	inFlightMax = 12 // of one client
)

// nextNonce is the simulated milliseconds, or one more than the last.
func (c *client) nextNonce(now time.Duration) uint64 {
	c.nonce = max(c.nonce+1, uint64(epoch.Add(now).UnixMilli()))
	return c.nonce
}

// sign makes a submission of these actions.
func (c *client) sign(w *world, now time.Duration, windowMs int64, actions ...ledger.Action) *submission {
	return c.signed(ledger.Draft{
		Network: w.network, Account: c.account, Nonce: c.nextNonce(now),
		TimeMs: epoch.Add(now).UnixMilli(), WindowMs: windowMs, Actions: actions,
	})
}

func (c *client) signed(d ledger.Draft) *submission {
	if d.WindowMs == 0 {
		d.WindowMs = ledger.DefaultWindowMs(d.Actions)
	}
	b, err := d.Sign(c.key)
	if err != nil {
		panic("sim: invariant broken: a client makes what cannot be signed: " + err.Error())
	}
	return &submission{client: c, bytes: b, id: ledger.Digest(digestOf(b)), expiresMs: d.TimeMs + d.WindowMs}
}

// think returns what the client wants to do now.
func (c *client) think(s *Sim) []*submission {
	switch c.role {
	case custodian:
		return c.keepCustody(s)
	case governor:
		return c.govern(s)
	default:
		return c.trade(s)
	}
}

// trade draws what a trader does. Prices cluster, so that books cross often.
func (c *client) trade(s *Sim) []*submission {
	r := c.rnd
	actions := []ledger.Action{c.draw(s)}
	for r.chance(percent(20)) && len(actions) < 5 {
		actions = append(actions, c.draw(s))
	}
	window := int64(0)
	if r.chance(percent(20)) {
		window = int64(r.between(300, 3_000))
	}
	first := c.sign(s.world, s.now, window, actions...)
	if !c.unruly {
		return []*submission{first}
	}
	switch r.below(4) {
	case 0: // one nonce, two operations
		s.tally.bite(Unruly)
		second := c.signed(ledger.Draft{Network: s.world.network, Account: c.account, Nonce: c.nonce,
			TimeMs: epoch.Add(s.now).UnixMilli() + 1, WindowMs: 60_000, Actions: []ledger.Action{c.draw(s)}})
		return []*submission{first, second}
	case 1: // from an hour ago
		s.tally.bite(Unruly)
		return []*submission{c.signed(ledger.Draft{Network: s.world.network, Account: c.account, Nonce: c.nextNonce(s.now),
			TimeMs: epoch.Add(s.now - time.Hour).UnixMilli(), WindowMs: 60_000, Actions: actions})}
	case 2: // to everybody at once
		s.tally.bite(Unruly)
		first.everywhere = true
	}
	return []*submission{first}
}

// draw draws one action.
func (c *client) draw(s *Sim) ledger.Action {
	r := c.rnd
	n := r.below(100)
	target, known := c.anyOrder()
	switch {
	case n < 45 || n < 75 && !known:
		return c.order(ledger.KindPlace, s)
	case n < 60:
		return ledger.Action{Kind: ledger.KindCancel, Target: target}
	case n < 66:
		return ledger.Action{Kind: ledger.KindAmend, Target: target, Quantity: ledger.Lots(r.between(1, 400))}
	case n < 75:
		a := c.order(ledger.KindReplace, s)
		a.Target = target
		a.ContinueOnFailure = r.chance(percent(50))
		return a
	case n < 77:
		return ledger.Action{Kind: ledger.KindCancelAll, AllMarkets: true}
	case n < 87:
		return ledger.Action{Kind: ledger.KindTransfer, Asset: usdt, Amount: ledger.Units(uint64(r.between(1, 5_000_000_000))),
			Detail: &ledger.Detail{Account: s.anyTrader(r)}}
	case n < 95:
		return ledger.Action{Kind: ledger.KindWithdraw, Asset: btc, Amount: ledger.Units(uint64(r.between(1, 4_000_000))),
			Detail: &ledger.Detail{Reference: "somewhere", Fee: ledger.Units(uint64(r.between(900, 2_000)))}}
	default:
		id := ledger.WithdrawalID(1)
		if w := s.history.withdrawals; len(w) > 0 {
			id = w[r.below(len(w))].id
		}
		return ledger.Action{Kind: ledger.KindCancelWithdrawal, Withdrawal: id}
	}
}

func (c *client) anyOrder() (ledger.ClientID, bool) {
	if len(c.names) == 0 {
		return ledger.ClientID{}, false
	}
	return c.names[c.rnd.below(len(c.names))], true
}

// order draws an order for either market.
func (c *client) order(kind ledger.Kind, s *Sim) ledger.Action {
	r := c.rnd
	a := ledger.Action{Kind: kind, Market: ledger.MarketID(r.below(2)), Side: ledger.Side(r.below(2))}
	if r.chance(percent(10)) {
		a.Type = ledger.MarketOrder
		if a.Side == ledger.Buy && r.chance(percent(50)) {
			a.Amount = ledger.Units(uint64(r.between(1_000_000, 2_000_000_000)))
		} else {
			a.Quantity = ledger.Lots(r.between(1, 800))
		}
	} else {
		a.Price = ledger.Ticks(6_000_000 + 500*r.between(-20, 20))
		if a.Market == 1 {
			a.Price = ledger.Ticks(300_000 + 25*r.between(-20, 20))
		}
		a.Quantity = ledger.Lots(r.between(1, 800))
		switch r.below(10) {
		case 0:
			a.Type = ledger.PostOnly
		case 1:
			a.TIF = ledger.IOC
		case 2:
			a.TIF = ledger.FOK
		case 3:
			a.TIF = ledger.GTD
			a.ExpireAtMs = epoch.Add(s.now).UnixMilli() + int64(r.between(-100, 4_000))
		}
		a.STP = ledger.STP(r.below(int(ledger.AllowSelf) + 1))
	}
	c.named++
	binary.BigEndian.PutUint64(a.ClientID[:], c.named)
	c.names = append(c.names, a.ClientID)
	if len(c.names) > 30 {
		c.names = slices.Delete(c.names, 0, 10)
	}
	return a
}

// keepCustody signs, completes or fails the withdrawals its gateway shows, and
// now and then attests a deposit that the others attest too.
func (c *client) keepCustody(s *Sim) (out []*submission) {
	all := s.history.withdrawals
	for c.watched < len(all) && all[c.watched].commit <= c.seen {
		id := all[c.watched].id
		c.watched++
		sign := ledger.Action{Kind: ledger.KindSignWithdrawal, Withdrawal: id}
		if id%5 == 0 {
			out = append(out, c.sign(s.world, s.now, 0, ledger.Action{Kind: ledger.KindFailWithdrawal, Withdrawal: id}))
			continue
		}
		out = append(out, c.sign(s.world, s.now, 0, sign, ledger.Action{Kind: ledger.KindCompleteWithdrawal, Withdrawal: id,
			Detail: &ledger.Detail{Reference: fmt.Sprintf("transaction %d", id)}}))
	}
	// Each second has one deposit, so that the custodians attest the same.
	second := int(s.now / time.Second)
	if second < c.attested {
		return out
	}
	c.attested = second + 1
	return append(out, c.sign(s.world, s.now, 0, ledger.Action{
		Kind: ledger.KindAttestDeposit, Asset: usdt, Amount: ledger.Units(uint64(second+1) * 1_000_000),
		Detail: &ledger.Detail{Reference: fmt.Sprintf("deposit %d", second), Account: s.traderNumber(second)},
	}))
}

// govern closes the second market for some seconds and opens it again; governors
// come to the same content by the time.
func (c *client) govern(s *Sim) []*submission {
	if s.plan.Next != nil && !c.voted && s.now >= changeAt {
		c.voted = true
		next := &ledger.Committee{}
		for i, v := range s.world.genesis.Committee.Validators {
			next.Validators = append(next.Validators, ledger.Validator{Key: v.Key, Weight: uint64(s.plan.Next[i])})
		}
		return []*submission{c.sign(s.world, s.now, 0, ledger.Action{Kind: ledger.KindSetCommittee, Detail: &ledger.Detail{NewCommittee: next}})}
	}
	period := int(s.now / (3 * time.Second))
	if period < c.governed {
		return nil
	}
	c.governed = period + 1
	status := [...]ledger.Status{ledger.StatusTrading, ledger.StatusTrading, ledger.StatusPostOnly, ledger.StatusTrading, ledger.StatusHalt}[period%5]
	return []*submission{c.sign(s.world, s.now, 0, ledger.Action{Kind: ledger.KindSetMarketStatus, Market: 1, Status: status})}
}
