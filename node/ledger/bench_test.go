package ledger

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"
)

// mix makes the flow of the speed bar: of ten actions six are limit orders near
// the touch, three cancel a random live order and one is a marketable order that
// eats about four makers. It is recorded once, against a ledger of its own, and
// then played.
type mix struct {
	rng      *rand.Rand
	l        *Ledger
	accounts []Account
	nonces   []uint64
	live     []map[OrderID]int // by account: position in ids
	ids      [][]OrderID
	named    bool
	start    []byte // a snapshot
	batches  []Batch
	actions  int
	counts   [eventKindEnd]int // of the events recorded
}

const (
	mixAccounts     = 1_000
	mixFirst        = 7   // the ref of the first: the councils' members come before
	mixSpread       = 500 // ticks on each side of the middle on which orders rest
	mixMiddle       = 1_000_000
	mixBatchActions = 1024
	mixActions      = 1 << 18 // recorded
)

// newMix records a flow over a book of this many orders, in ops of this many
// actions each.
func newMix(b *testing.B, resting, perOp int) *mix {
	g := plainGenesis(Market{Base: 0, Quote: 1, Tick: Decimal{1, 0}, Lot: 1, MakerPPM: 100, TakerPPM: 500, STP: ExpireMaker, OpenOrdersMax: 100_000})
	g.Balances = nil
	m := &mix{rng: rand.New(rand.NewPCG(1, uint64(resting)))}
	for i := range mixAccounts {
		a := name(fmt.Sprintf("%07d", i))
		m.accounts = append(m.accounts, a)
		m.nonces = append(m.nonces, startMs)
		m.live = append(m.live, map[OrderID]int{})
		for asset := range AssetID(2) {
			g.Balances = append(g.Balances, Balance{a, asset, Amount{1 << 10, 0}})
		}
	}
	m.ids = make([][]OrderID, mixAccounts)
	m.l = newWorld(b, g).l
	for m.l.orders.live() < resting {
		m.apply(m.batch(perOp, func(of int) Action { return m.add() }))
	}
	// Trade for a while, so that memory is as untidy as it gets.
	for range 4 * resting / mixBatchActions {
		m.apply(m.batch(perOp, m.mixed))
	}
	m.start = m.l.AppendSnapshot(nil)
	m.counts = [eventKindEnd]int{}
	for m.actions = 0; m.actions < mixActions; m.actions += mixBatchActions {
		batch := m.batch(perOp, m.mixed)
		m.batches = append(m.batches, batch)
		m.apply(batch)
	}
	return m
}

// batch makes a commit of mixBatchActions actions.
func (m *mix) batch(perOp int, action func(of int) Action) Batch {
	b := Batch{Index: m.l.index + 1, TimeMs: startMs}
	binary.BigEndian.PutUint64(b.Digest[:], m.rng.Uint64())
	for range mixBatchActions / perOp {
		of := m.rng.IntN(mixAccounts)
		m.nonces[of]++
		op := Op{network: m.l.network, account: m.accounts[of], nonce: m.nonces[of], timeMs: startMs, windowMs: 60_000}
		binary.BigEndian.PutUint64(op.id[:], m.rng.Uint64())
		for range perOp {
			op.actions = append(op.actions, action(of))
		}
		b.Ops = append(b.Ops, op)
	}
	return b
}

func (m *mix) mixed(of int) Action {
	switch roll := m.rng.IntN(10); {
	case roll < 3 && len(m.ids[of]) > 0:
		id := m.ids[of][m.rng.IntN(len(m.ids[of]))]
		m.forget(of, id)
		return Action{Kind: KindCancel, Order: id}
	case roll == 9:
		a := Action{Kind: KindPlace, TIF: IOC, Side: Side(m.rng.IntN(2)), Price: mixMiddle + 10*mixSpread, Quantity: 151}
		if a.Side == Sell {
			a.Price = mixMiddle - 10*mixSpread
		}
		return a
	}
	return m.add()
}

// add is a limit order that rests.
func (m *mix) add() Action {
	side, away := Side(m.rng.IntN(2)), Ticks(1+m.rng.IntN(mixSpread))
	price := mixMiddle - away
	if side == Sell {
		price = mixMiddle + away
	}
	a := limit(side, price, Lots(1+m.rng.IntN(100)))
	if m.named {
		binary.BigEndian.PutUint64(a.ClientID[:], m.rng.Uint64())
	}
	return a
}

// apply follows who has which orders open.
func (m *mix) apply(b Batch) {
	for _, e := range m.l.Apply(b) {
		m.counts[e.Kind]++
		switch {
		case e.Kind == EventPlaced && e.Remaining > 0:
			of := int(e.Account) - mixFirst
			m.live[of][e.Order] = len(m.ids[of])
			m.ids[of] = append(m.ids[of], e.Order)
		case e.Kind == EventTrade && e.Remaining == 0:
			m.forget(int(e.Counterparty)-mixFirst, e.Maker)
		case e.Kind == EventExpired:
			m.forget(int(e.Account)-mixFirst, e.Order)
		}
	}
}

func (m *mix) forget(of int, id OrderID) {
	at, ok := m.live[of][id]
	if !ok {
		return
	}
	last := len(m.ids[of]) - 1
	moved := m.ids[of][last]
	m.ids[of][at] = moved
	m.live[of][moved] = at
	m.ids[of] = m.ids[of][:last]
	delete(m.live[of], id)
}

// BenchmarkMix plays the mix: an iteration is one action. It reports actions/s,
// and how much of the flow did what, so that a figure cannot come from a flow
// that does nothing.
func BenchmarkMix(b *testing.B) {
	for _, c := range []struct {
		name           string
		resting, perOp int
	}{
		{"20k", 20_000, 16}, {"200k", 200_000, 16},
		{"20k-single", 20_000, 1}, {"200k-single", 200_000, 1},
	} {
		b.Run(c.name, func(b *testing.B) { m := newMix(b, c.resting, c.perOp); b.ResetTimer(); m.play(b) })
	}
}

func (m *mix) play(b *testing.B) {
	b.ReportAllocs()
	var l *Ledger
	done, next := 0, 0
	cpu := cpuSeconds()
	for ; done < b.N; done += mixBatchActions {
		if next == 0 {
			b.StopTimer()
			before := cpuSeconds()
			var err error
			if l, err = Restore(m.start); err != nil {
				b.Fatal(err)
			}
			l.Apply(Batch{Index: l.index + 1, TimeMs: startMs}) // and the first slice of events
			cpu += cpuSeconds() - before
			b.StartTimer()
		}
		batch := m.batches[next]
		batch.Index = l.index + 1
		l.Apply(batch)
		next = (next + 1) % len(m.batches)
	}
	b.StopTimer()
	b.ReportMetric(float64(done)/b.Elapsed().Seconds(), "actions/s")
	b.ReportMetric(float64(done)/(cpuSeconds()-cpu), "actions/cpu-s")
	for kind, name := range map[EventKind]string{EventTrade: "trades", EventCanceled: "cancels", EventRejected: "refused"} {
		b.ReportMetric(float64(m.counts[kind])/float64(m.actions), name+"/action")
	}
}

// cpuSeconds is the processor time this process has used. On a machine that is
// busy with other work it tells more than the clock.
func cpuSeconds() float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return float64(u.Utime.Sec+u.Stime.Sec) + float64(u.Utime.Usec+u.Stime.Usec)/1e6
}
