package testnet

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-mesh/holdfast/node/ledger"
)

// Load is what clients do, per second and all together. Clients are spread over the
// providers; half of each provider's trade, half pay.
type Load struct {
	Clients     int     `json:"clients" toml:"clients"` // per provider, at least two
	Orders      float64 `json:"orders" toml:"orders"`
	Cancels     float64 `json:"cancels" toml:"cancels"`
	Transfers   float64 `json:"transfers" toml:"transfers"`
	Deposits    float64 `json:"deposits" toml:"deposits"`
	Withdrawals float64 `json:"withdrawals" toml:"withdrawals"`
	Reads       float64 `json:"reads" toml:"reads"`
}

// Bounds of a load.
const (
	rateMax   = 5_000 // per second and kind
	flyingMax = 4_096 // operations of one provider's clients that have not ended: a minute cut off at full rate
	// orderWindowMs is how long an order may stay in flight: a partition must never
	// make a stale order trade by surprise.
	orderWindowMs = 20_000
	namesKept     = 128 // of a client's orders, to cancel
)

// validate lists what is wrong with a load.
func (l Load) validate() (faults []error) {
	if l.Clients < 2 || l.Clients > 64 {
		faults = append(faults, fmt.Errorf("clients is %d: choose 2 to 64 per provider", l.Clients))
	}
	for name, rate := range map[string]float64{
		"orders": l.Orders, "cancels": l.Cancels, "transfers": l.Transfers,
		"deposits": l.Deposits, "withdrawals": l.Withdrawals, "reads": l.Reads,
	} {
		if !(rate >= 0 && rate <= rateMax) {
			faults = append(faults, fmt.Errorf("%s is %v a second: choose 0 to %d", name, rate, rateMax))
		}
	}
	return faults
}

// scaled is the load at another rate.
func (l Load) scaled(by float64) Load {
	for _, rate := range []*float64{&l.Orders, &l.Cancels, &l.Transfers, &l.Deposits, &l.Withdrawals, &l.Reads} {
		*rate *= by
	}
	return l
}

// crowd is all clients of a run.
type crowd struct {
	load       Load
	seed       uint64
	providers  []*booth
	payers     []ledger.Account // of every provider: whom transfers go to
	custodians []*signer
	wake       *wake

	sent, skipped atomic.Int64
	flying        sync.WaitGroup
}

// booth is the clients at one provider.
type booth struct {
	provider string
	traders  []*dealer
	payers   []*client
	desk     *client // sends what custodians sign
	inFlight atomic.Int64
	tally    tally
}

// dealer is a client with orders.
type dealer struct {
	*client
	mu    sync.Mutex // guards what is below
	count int
	names []named
}

type named struct {
	market ledger.MarketID
	name   string
}

// newCrowd places the clients.
func newCrowd(n *Network, load Load, record *recorder) *crowd {
	c := &crowd{load: load, seed: n.config.Seed, wake: newWake()}
	for i := range councilMembers {
		c.custodians = append(c.custodians, newSigner(keyOf(n.config.Seed, "custodian", i), n.bundle.ID()))
	}
	number := 0
	for _, p := range n.config.Providers {
		b := &booth{provider: p.Name}
		asking := make(gate, askingMax)
		place := func(key *signer) *client {
			return &client{
				number: number, provider: p.Name, gateways: n.gateways(p.Name, number), apis: n.clients,
				record: record, wake: c.wake, tally: &b.tally, asking: asking, signer: key,
			}
		}
		for i := range load.Clients {
			one := place(newSigner(keyOf(n.config.Seed, "client", number), n.bundle.ID()))
			if i%2 == 0 {
				b.traders = append(b.traders, &dealer{client: one})
			} else {
				b.payers = append(b.payers, one)
				c.payers = append(c.payers, one.account)
			}
			number++
		}
		b.desk = place(nil)
		b.desk.signer = c.custodians[0] // replaced for each operation
		c.providers = append(c.providers, b)
	}
	return c
}

// gateways are the nodes a client at a provider asks, in order: its provider's,
// beginning with one of its own, then the others.
func (n *Network) gateways(provider string, client int) (order []int) {
	var near, far []int
	for i, p := range n.nodes {
		if p.Provider == provider {
			near = append(near, i)
		} else {
			far = append(far, i)
		}
	}
	for _, some := range [][]int{near, far} {
		for i := range some {
			order = append(order, some[(i+client)%len(some)])
		}
	}
	return order
}

// run has every client act until until ends; what is under way then goes on until
// ctx ends. It returns when all has ended.
func (c *crowd) run(ctx, until context.Context) {
	var all sync.WaitGroup
	share := 1 / float64(len(c.providers))
	for i, b := range c.providers {
		for kind, act := range []struct {
			rate float64
			do   func(context.Context, *booth, *rand.Rand, time.Time)
		}{
			{c.load.Orders, c.order}, {c.load.Cancels, c.cancel}, {c.load.Transfers, c.transfer},
			{c.load.Deposits, c.deposit}, {c.load.Withdrawals, c.withdraw}, {c.load.Reads, c.readAny},
		} {
			chance := rand.New(rand.NewPCG(c.seed, uint64(i<<8|kind)))
			all.Go(func() { c.at(ctx, until, b, act.rate*share, chance, act.do) })
		}
	}
	all.Wait()
	c.flying.Wait()
}

// at begins an act at a fixed rate, whatever became of those before (open loop).
// The intended time is what latency is counted from.
func (c *crowd) at(ctx, until context.Context, b *booth, rate float64, chance *rand.Rand, act func(context.Context, *booth, *rand.Rand, time.Time)) {
	if rate <= 0 {
		return
	}
	gap := time.Duration(float64(time.Second) / rate)
	next := time.Now().Add(time.Duration(chance.Int64N(int64(gap) + 1)))
	timer := time.NewTimer(time.Until(next))
	defer timer.Stop()
	for {
		select {
		case <-until.Done():
			return
		case <-timer.C:
		}
		intended, seed := next, chance.Uint64()
		if b.inFlight.Add(1) > flyingMax {
			b.inFlight.Add(-1)
			c.skipped.Add(1)
		} else {
			c.sent.Add(1)
			c.flying.Go(func() {
				defer b.inFlight.Add(-1)
				act(ctx, b, rand.New(rand.NewPCG(seed, 0)), intended)
			})
		}
		next = next.Add(gap)
		timer.Reset(time.Until(next))
	}
}

// order places a limit order near the reference price; a quarter of them cross it.
func (c *crowd) order(ctx context.Context, b *booth, chance *rand.Rand, intended time.Time) {
	t := b.traders[chance.IntN(len(b.traders))]
	market := ledger.MarketID(chance.IntN(2))
	reference := markets()[market].Reference
	step := reference / 2000 // 0.05 %
	side := ledger.Side(chance.IntN(2))
	away := ledger.Ticks(chance.Uint64N(20)) * step / 4
	price := reference - step - away
	crosses := chance.IntN(4) == 0
	if (side == ledger.Sell) != crosses {
		price = reference + step + away
	}
	a := ledger.Action{
		Kind: ledger.KindPlace, Market: market, Side: side, Price: price, Quantity: ledger.Lots(1 + chance.Uint64N(20)),
	}
	if crosses {
		a.TIF = ledger.IOC
	}
	name := t.newName(market)
	a.ClientID, _ = ledger.ClientIDOf(name) // short and plain
	raw, id, err := t.sign(a, orderWindowMs)
	if err != nil {
		panic("testnet: invariant broken: an order of ours can be signed: " + err.Error())
	}
	t.send(ctx, raw, id, &OpRecord{
		Kind: "place", Invoked: intended.UnixNano(), Market: symbolOf(market), Name: name,
		Sell: side == ledger.Sell, Price: uint64(price), Lots: uint64(a.Quantity), Group: a.TIF.String(),
	})
}

// symbolOf is a market's name as the API has it.
func symbolOf(m ledger.MarketID) string {
	all := assets()
	return all[markets()[m].Base].Symbol + "-" + all[markets()[m].Quote].Symbol
}

// newName names the next order and remembers it for a cancel.
func (t *dealer) newName(m ledger.MarketID) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.count++
	name := orderName(t.number, t.count)
	if len(t.names) == namesKept {
		t.names = t.names[1:]
	}
	t.names = append(t.names, named{m, name})
	return name
}

// oldName takes one of the remembered orders.
func (t *dealer) oldName(chance *rand.Rand) (n named, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.names) == 0 {
		return n, false
	}
	at := chance.IntN(len(t.names))
	n = t.names[at]
	t.names = append(t.names[:at:at], t.names[at+1:]...)
	return n, true
}

func (c *crowd) cancel(ctx context.Context, b *booth, chance *rand.Rand, intended time.Time) {
	t := b.traders[chance.IntN(len(b.traders))]
	n, ok := t.oldName(chance)
	if !ok {
		return
	}
	a := ledger.Action{Kind: ledger.KindCancel}
	a.Target, _ = ledger.ClientIDOf(n.name)
	raw, id, err := t.sign(a, 0)
	if err != nil {
		panic("testnet: invariant broken: a cancel of ours can be signed: " + err.Error())
	}
	t.send(ctx, raw, id, &OpRecord{Kind: "cancel", Invoked: intended.UnixNano(), Market: symbolOf(n.market), Name: n.name})
}

func (c *crowd) payer(b *booth, chance *rand.Rand) *client {
	return b.payers[chance.IntN(len(b.payers))]
}

func (c *crowd) transfer(ctx context.Context, b *booth, chance *rand.Rand, intended time.Time) {
	from := c.payer(b, chance)
	to := c.payers[chance.IntN(len(c.payers))]
	amount := 1 + chance.Uint64N(1_000_000_000) // up to 1000 USDT
	raw, id, err := from.sign(ledger.Action{
		Kind: ledger.KindTransfer, Asset: USDT, Amount: ledger.Units(amount), Detail: &ledger.Detail{Account: to},
	}, orderWindowMs)
	if err != nil {
		panic("testnet: invariant broken: a transfer of ours can be signed: " + err.Error())
	}
	from.send(ctx, raw, id, &OpRecord{Kind: "transfer", Invoked: intended.UnixNano(), Asset: "USDT", Amount: amount, To: to.String()})
}

// deposit has two of the three custodians attest a deposit.
func (c *crowd) deposit(ctx context.Context, b *booth, chance *rand.Rand, intended time.Time) {
	to := c.payer(b, chance).account
	amount := 1 + chance.Uint64N(1_000_000_000)
	reference := "deposit-" + strconv.FormatUint(chance.Uint64(), 36)
	c.byCouncil(b, chance, func(desk *client) {
		raw, id, err := desk.sign(ledger.Action{
			Kind: ledger.KindAttestDeposit, Asset: USDT, Amount: ledger.Units(amount),
			Detail: &ledger.Detail{Account: to, Reference: reference},
		}, ledger.WindowMsPatient)
		if err != nil {
			panic("testnet: invariant broken: an attestation of ours can be signed: " + err.Error())
		}
		desk.send(ctx, raw, id, &OpRecord{
			Kind: "attest", Invoked: intended.UnixNano(), Asset: "USDT", Amount: amount, To: to.String(), Group: reference,
		})
	})
}

// byCouncil has as many custodians as decide act at the same time, and waits for all.
func (c *crowd) byCouncil(b *booth, chance *rand.Rand, act func(*client)) {
	first := chance.IntN(len(c.custodians))
	var all sync.WaitGroup
	for i := range councilThreshold {
		desk := *b.desk
		desk.signer = c.custodians[(first+i)%len(c.custodians)]
		all.Go(func() { act(&desk) })
	}
	all.Wait()
}

// withdraw asks for a payment and, when the network has agreed, has the custodians
// sign it and say that it has arrived.
func (c *crowd) withdraw(ctx context.Context, b *booth, chance *rand.Rand, intended time.Time) {
	from := c.payer(b, chance)
	amount, fee := 1+chance.Uint64N(100_000_000), uint64(1_000_000)
	raw, id, err := from.sign(ledger.Action{
		Kind: ledger.KindWithdraw, Asset: USDT, Amount: ledger.Units(amount),
		Detail: &ledger.Detail{Fee: ledger.Units(fee), Reference: "address-" + strconv.Itoa(from.number)},
	}, 0)
	if err != nil {
		panic("testnet: invariant broken: a withdrawal of ours can be signed: " + err.Error())
	}
	asked := &OpRecord{Kind: "withdraw", Invoked: intended.UnixNano(), Asset: "USDT", Amount: amount, Fee: fee}
	from.send(ctx, raw, id, asked)
	if asked.Withdrawal == 0 || asked.Refused {
		return
	}
	for _, kind := range []ledger.Kind{ledger.KindSignWithdrawal, ledger.KindCompleteWithdrawal} {
		c.pay(ctx, b, chance, kind, asked)
	}
}

func (c *crowd) pay(ctx context.Context, b *booth, chance *rand.Rand, kind ledger.Kind, asked *OpRecord) {
	a := ledger.Action{Kind: kind, Withdrawal: ledger.WithdrawalID(asked.Withdrawal)}
	name := "sign"
	if kind == ledger.KindCompleteWithdrawal {
		name, a.Detail = "complete", &ledger.Detail{Reference: "payment-" + strconv.FormatUint(asked.Withdrawal, 10)}
	}
	invoked := time.Now()
	c.byCouncil(b, chance, func(desk *client) {
		raw, id, err := desk.sign(a, ledger.WindowMsPatient)
		if err != nil {
			panic("testnet: invariant broken: a payment of ours can be signed: " + err.Error())
		}
		desk.send(ctx, raw, id, &OpRecord{
			Kind: name, Invoked: invoked.UnixNano(), To: asked.Account, Amount: asked.Amount, Fee: asked.Fee,
			Withdrawal: asked.Withdrawal, Group: strconv.FormatUint(asked.Withdrawal, 10),
		})
	})
}

func (c *crowd) readAny(ctx context.Context, b *booth, chance *rand.Rand, _ time.Time) {
	reader := c.payer(b, chance)
	reader.read(ctx, reader.account)
}
