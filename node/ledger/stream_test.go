package ledger

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/big"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// streamActions is how many random actions TestTwin runs in each of its seeds;
// LEDGER_TWIN_ACTIONS asks for another number.
const streamActions = 260_000

var streamSeeds = []uint64{1, 2, 3, 4}

// neverInStreams are the reasons no stream can meet, and why.
var neverInStreams = map[Reason]string{
	ReasonBadPrecision:   "the grammar's: an op cannot say it; see TestParseAmount",
	ReasonMaxNumAccounts: "67 million accounts",
}

// TestTwin runs random actions of all kinds, over three markets (and those that
// governors list) and fifty accounts, through the ledger and its plain twin.
// After every commit their events are the same; now and then so are balances,
// books, nonces and totals, the ledger is snapshotted and restored, read from,
// and proofs of accounts are made and verified. Every reason must occur.
func TestTwin(t *testing.T) {
	actions := streamActions
	if s := os.Getenv("LEDGER_TWIN_ACTIONS"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 {
			t.Fatalf("LEDGER_TWIN_ACTIONS=%q is no number of actions", s)
		}
		actions = n
	}
	var mu sync.Mutex
	total := newTally()
	t.Run("seeds", func(t *testing.T) {
		t.Logf("seeds %d, %d actions each", streamSeeds, actions)
		for _, seed := range streamSeeds {
			t.Run(fmt.Sprint(seed), func(t *testing.T) {
				t.Parallel()
				s := newStream(t, seed, rand.NewPCG(seed, 77))
				for s.tally.actions < actions {
					s.commit()
				}
				s.compareState()
				s.compareRoots()
				mu.Lock()
				defer mu.Unlock()
				total.add(s.tally)
			})
		}
	})
	t.Log(total)
	if t.Failed() {
		return
	}
	if actions < streamActions {
		t.Logf("fewer actions than usual: what occurred is not looked at")
		return
	}
	for r := ReasonNone + 1; r < reasonEnd; r++ {
		if why, never := neverInStreams[r]; total.reasons[r] == 0 != never {
			t.Errorf("%s occurred %d times (%s)", r.String(), total.reasons[r], why)
		}
	}
	for k := EventKind(1); k < eventKindEnd; k++ {
		if total.events[k] == 0 {
			t.Errorf("no event %v", k)
		}
	}
	for k := KindPlace; k < kindEnd; k++ {
		if total.kinds[k][0] == 0 || total.kinds[k][1] == 0 && k != KindCancelAll {
			t.Errorf("%v: %d done, %d refused", k, total.kinds[k][0], total.kinds[k][1])
		}
	}
}

// tally counts what a stream has met.
type tally struct {
	commits, actions, restores, proofs int
	events                             [eventKindEnd]int
	kinds                              [kindEnd][2]int // done, refused
	reasons                            [reasonEnd]int
	faults                             map[string]int // by kind of action and reason
	states                             [orderStateEnd]int
}

func newTally() *tally { return &tally{faults: map[string]int{}} }

func (t *tally) add(o *tally) {
	t.commits, t.actions, t.restores, t.proofs = t.commits+o.commits, t.actions+o.actions, t.restores+o.restores, t.proofs+o.proofs
	for i := range t.events {
		t.events[i] += o.events[i]
	}
	for i := range t.kinds {
		t.kinds[i][0] += o.kinds[i][0]
		t.kinds[i][1] += o.kinds[i][1]
	}
	for i := range t.reasons {
		t.reasons[i] += o.reasons[i]
	}
	for i := range t.states {
		t.states[i] += o.states[i]
	}
	for k, n := range o.faults {
		t.faults[k] += n
	}
}

func (t *tally) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d actions in %d commits, %d restores, %d proofs\n", t.actions, t.commits, t.restores, t.proofs)
	for k := KindPlace; k < kindEnd; k++ {
		fmt.Fprintf(&b, "%-20v %8d done %8d refused:", k, t.kinds[k][0], t.kinds[k][1])
		for r := ReasonNone + 1; r < reasonEnd; r++ {
			if n := t.faults[k.String()+r.String()]; n > 0 {
				fmt.Fprintf(&b, " %s %d", r.String(), n)
			}
		}
		b.WriteByte('\n')
	}
	b.WriteString("whole ops refused:")
	for r := ReasonNone + 1; r < reasonEnd; r++ {
		if n := t.faults[r.String()]; n > 0 {
			fmt.Fprintf(&b, " %s %d", r.String(), n)
		}
	}
	b.WriteString("\nevents:")
	for k := EventKind(1); k < eventKindEnd; k++ {
		fmt.Fprintf(&b, " %v %d", k, t.events[k])
	}
	b.WriteString("\nplaced:")
	for s := OrderState(1); s < orderStateEnd; s++ {
		fmt.Fprintf(&b, " %v %d", s, t.states[s])
	}
	return b.String()
}

// count counts a commit's events.
func (t *tally) count(b *Batch, events []Event) {
	t.commits++
	for _, e := range events {
		t.events[e.Kind]++
		if e.Kind == EventPlaced {
			t.states[e.State]++
		}
		if !e.Outcome {
			continue
		}
		t.reasons[e.Reason]++
		if e.Action == NoAction {
			t.faults[e.Reason.String()]++
			continue
		}
		k := b.Ops[e.Op].actions[e.Action].Kind
		if e.Kind == EventRejected {
			t.kinds[k][1]++
			t.faults[k.String()+e.Reason.String()]++
		} else {
			t.kinds[k][0]++
		}
	}
}

const (
	streamTraders = 50
	streamStartMs = 1_700_000_000_000
)

type stream struct {
	t      testing.TB
	seed   uint64
	rng    *rand.Rand
	l      *Ledger // read from, snapshotted and restored on the way
	quiet  *Ledger // left alone; its root must be the same
	twin   *twin
	timeMs int64
	look   bool // compare states after this commit
	tally  *tally

	traders, custodians, governors, strangers []Account
	nonces                                    map[Account]uint64
	sent                                      []Op // the latest, to be sent again
	made                                      uint64
	mid                                       [8]int // where each market's prices are
}

func newStream(t testing.TB, seed uint64, from rand.Source) *stream {
	s := &stream{t: t, seed: seed, rng: rand.New(from), timeMs: streamStartMs, tally: newTally(), nonces: map[Account]uint64{}}
	keys := func(n int) (all []Account) {
		for range n {
			var a Account
			for i := range a {
				a[i] = byte(s.rng.Uint32())
			}
			all = append(all, a)
		}
		slices.SortFunc(all, func(a, b Account) int { return bytes.Compare(a[:], b[:]) })
		return all
	}
	s.traders, s.custodians, s.governors, s.strangers = keys(streamTraders), keys(3), keys(4), keys(400)
	g := &Genesis{
		Name: "stream",
		Assets: []Asset{
			{"BTC", 8, Units(10)}, {"USDT", 6, Amount{}}, {"ETH", 18, Units(1_000)},
		},
		Markets: []Market{
			{Base: 0, Quote: 1, Tick: Decimal{1, 2}, Lot: 10_000, MinNotional: Units(2_000), MakerPPM: 100, TakerPPM: 500, BandPPM: 20_000, Reference: 1_000, STP: ExpireMaker},
			{Base: 2, Quote: 1, Tick: Decimal{1, 3}, Lot: 1e15, MakerPPM: -100, TakerPPM: 300, FeeAsset: FeeQuote, STP: Decrement, OpenOrdersMax: 12},
			{Base: 2, Quote: 0, Tick: Decimal{1, 2}, Lot: 1e17, MakerPPM: 80, TakerPPM: -50, STP: AllowSelf},
		},
		Custodians: Council{2, s.custodians},
		Governors:  Council{2, s.governors},
		Params:     DefaultParams(),
	}
	g.Params.OpenOrdersMax, g.Params.NonceWindow = 15, 20
	for _, who := range s.traders {
		for asset, units := range []uint64{200_000 * 10_000, 2_000_000_000, 18e18} {
			if n := s.rng.Uint64N(units); s.rng.IntN(8) > 0 {
				g.Balances = append(g.Balances, Balance{who, AssetID(asset), Units(1 + n)})
			}
		}
	}
	for i := range s.mid {
		s.mid[i] = 1_000
	}
	var err error
	if s.l, err = New(g); err != nil {
		t.Fatal(err)
	}
	if s.quiet, err = New(g); err != nil {
		t.Fatal(err)
	}
	s.twin = newTwin(g)
	return s
}

// script is a source of choices that bytes make, and chance once they end.
type script struct {
	left []byte
	then *rand.PCG
}

func (s *script) Uint64() uint64 {
	if len(s.left) < 8 {
		return s.then.Uint64()
	}
	n := binary.LittleEndian.Uint64(s.left)
	s.left = s.left[8:]
	return n
}

// FuzzTwin lets bytes drive the ledger and its twin.
func FuzzTwin(f *testing.F) {
	f.Add([]byte("0123456789abcdef"))
	rng := rand.NewPCG(11, 11)
	var b []byte
	for range 1_000 {
		b = binary.LittleEndian.AppendUint64(b, rng.Uint64())
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		from := &script{left: b, then: rand.NewPCG(uint64(len(b)), 5)}
		s := newStream(t, 0, from)
		for s.tally.commits < 3 || len(from.left) >= 8 && s.tally.commits < 200 {
			s.commit()
			if err := cmp.Or(s.l.CheckInvariants(), checkFromOutside(s.l)); err != nil {
				t.Fatal(err)
			}
		}
		s.compareState()
	})
}

func (s *stream) chance(of int) bool { return s.rng.IntN(of) == 0 }

func oneOf[T any](s *stream, all ...T) T { return all[s.rng.IntN(len(all))] }

// commit makes a commit, gives it to both and compares.
func (s *stream) commit() {
	switch n := s.rng.IntN(10_000); {
	case n < 8_500:
		s.timeMs += 1 + s.rng.Int64N(300)
	case n < 9_800:
	case n < 9_900:
		s.timeMs += s.rng.Int64N(20_000)
	case n < 9_980:
		s.timeMs += 30_000 + s.rng.Int64N(2)
	case n < 9_990:
		s.timeMs += s.rng.Int64N(3 * 3600_000)
	default:
		if all := s.twin.proposals; len(all) > 0 { // to where the first of them ends, or just past it
			s.timeMs = max(s.timeMs, all[0].until+s.rng.Int64N(2))
			s.look = true
		}
	}
	b := Batch{Index: s.l.index + 1, TimeMs: s.timeMs}
	if s.chance(50) {
		b.TimeMs -= s.rng.Int64N(5_000) // a commit's time may claim to go back
	}
	binary.LittleEndian.PutUint64(b.Digest[:], s.rng.Uint64())
	for range 1 + s.rng.IntN(30) {
		b.Ops = append(b.Ops, s.op())
	}
	if s.chance(300) {
		b.Ops = nil
	}
	for i := range b.Ops {
		s.tally.actions += len(b.Ops[i].actions)
	}
	want := s.twin.apply(b)
	got := s.l.Apply(b)
	s.tally.count(&b, got)
	if !slices.Equal(got, want) {
		s.differ(&b, got, want)
	}
	s.quiet.Apply(b)
	s.around()
}

// differ shows the first event on which the two disagree.
func (s *stream) differ(b *Batch, got, want []Event) {
	s.t.Helper()
	for i := range max(len(got), len(want)) {
		var g, w Event
		if i < len(got) {
			g = got[i]
		}
		if i < len(want) {
			w = want[i]
		}
		if g == w {
			continue
		}
		text := "no op"
		if e := cmp.Or(g, w); e.Op != NoOp {
			op := &b.Ops[e.Op]
			text = fmt.Sprintf("op %d of %v, nonce %d, time %d, window %d at %d", e.Op, op.account, op.nonce, op.timeMs, op.windowMs, s.timeMs)
			if int(e.Action) < len(op.actions) {
				text += fmt.Sprintf("\n%+v", op.actions[e.Action])
			}
		}
		s.t.Fatalf("seed %d, commit %d, event %d: %s\nledger %v %+v\ntwin   %v %+v", s.seed, b.Index, i, text, g.Kind, g, w.Kind, w)
	}
}

// around does now and then what may happen between commits.
func (s *stream) around() {
	if s.chance(40) || s.look {
		s.look = false
		s.compareState()
	}
	if s.chance(100) {
		if err := cmp.Or(s.l.CheckInvariants(), checkFromOutside(s.l)); err != nil {
			s.t.Fatalf("seed %d, commit %d: %v", s.seed, s.l.index, err)
		}
	}
	if s.chance(150) {
		s.restore()
	}
	if s.chance(60) {
		s.prove()
	}
	if s.chance(10) {
		s.l.Root() // at some commits and not at others: the root may not care
	}
	if s.chance(400) {
		s.compareRoots()
	}
}

// compareRoots compares with the ledger that nobody has read or restored.
func (s *stream) compareRoots() {
	s.t.Helper()
	if s.l.Root() != s.quiet.Root() {
		s.t.Fatalf("seed %d, commit %d: reads, proofs and restores have changed the root", s.seed, s.l.index)
	}
}

// restore goes on with a ledger restored from a snapshot in odd pieces.
func (s *stream) restore() {
	s.tally.restores++
	b := s.l.AppendSnapshot(nil)
	r := NewRestorer()
	for chunk := range slices.Chunk(b, 1+s.rng.IntN(len(b))) {
		if err := r.Add(chunk); err != nil {
			s.t.Fatalf("seed %d, commit %d: %v", s.seed, s.l.index, err)
		}
	}
	again, err := r.Finish()
	if err != nil {
		s.t.Fatalf("seed %d, commit %d: %v", s.seed, s.l.index, err)
	}
	if again.Root() != s.l.Root() || !bytes.Equal(again.AppendSnapshot(nil), b) {
		s.t.Fatalf("seed %d, commit %d: the restored ledger has another root or snapshot", s.seed, s.l.index)
	}
	s.l = again
}

// prove proves one account and checks what the proof says against the twin.
func (s *stream) prove() {
	s.tally.proofs++
	ref := 1 + s.rng.IntN(len(s.twin.accounts)-1)
	a := s.twin.accounts[ref]
	root := s.l.Root()
	proof, ok := s.l.AppendProof(nil, a.key)
	if !ok {
		s.t.Fatalf("seed %d: no proof of account %d", s.seed, ref)
	}
	state, head, err := VerifyProof(root, a.key, proof)
	if err != nil || head.Commit != s.l.index {
		s.t.Fatalf("seed %d: proof of account %d at %d: %v", s.seed, ref, head.Commit, err)
	}
	for _, b := range state.Balances {
		if x := s.twin.wallet(AccountRef(ref), b.Asset); asAmount(&x.available) != b.Available || asAmount(&x.held) != b.Held {
			s.t.Fatalf("seed %d: account %d is proved to have %+v, the twin has %v, %v", s.seed, ref, b, &x.available, &x.held)
		}
	}
	if len(state.Orders) != len(a.orders) {
		s.t.Fatalf("seed %d: account %d is proved to have %d orders, not %d", s.seed, ref, len(state.Orders), len(a.orders))
	}
	proof[s.rng.IntN(len(proof))] ^= 1 << s.rng.IntN(8)
	if _, _, err := VerifyProof(root, a.key, proof); err == nil {
		s.t.Fatalf("seed %d: an altered proof of account %d verifies", s.seed, ref)
	}
}

// compareState compares all there is.
func (s *stream) compareState() {
	s.t.Helper()
	fail := func(format string, args ...any) {
		s.t.Helper()
		s.t.Fatalf("seed %d, commit %d: %s", s.seed, s.l.index, fmt.Sprintf(format, args...))
	}
	if s.l.Accounts() != len(s.twin.accounts)-1 {
		fail("%d accounts, the twin has %d", s.l.Accounts(), len(s.twin.accounts)-1)
	}
	for i, a := range s.l.Assets() {
		x := s.twin.assets[i]
		for _, pair := range []struct {
			what string
			got  Amount
			want *big.Int
		}{{"deposited", a.Deposited, &x.deposited}, {"withdrawn", a.Withdrawn, &x.withdrawn}, {"fees", a.Fees, &x.fees}} {
			if amountBig(pair.got).Cmp(pair.want) != 0 {
				fail("%s %s: %v, the twin has %v", pair.what, a.Symbol, pair.got, pair.want)
			}
		}
	}
	for ref := 1; ref < len(s.twin.accounts); ref++ {
		a := s.twin.accounts[ref]
		state, ok := s.l.State(a.key)
		if !ok || !slices.Equal(state.Results, a.kept) || state.NonceFloor != a.floor {
			fail("account %d: nonces from %d, %+v; the twin has from %d, %+v", ref, state.NonceFloor, state.Results, a.floor, a.kept)
		}
		for id := range s.twin.assets {
			available, held := s.l.Balance(a.key, AssetID(id))
			x := s.twin.wallet(AccountRef(ref), AssetID(id))
			if amountBig(available).Cmp(&x.available) != 0 || amountBig(held).Cmp(&x.held) != 0 {
				fail("account %d, asset %d: %v, %v held; the twin has %v, %v", ref, id, available, held, &x.available, &x.held)
			}
		}
		if len(state.Withdrawals) > 0 {
			for _, w := range state.Withdrawals {
				if d := s.twin.withdrawals[w.ID]; d == nil || d.state != w.State || d.owner != AccountRef(ref) || d.amount != w.Amount || d.fee != w.Fee {
					fail("account %d: withdrawal %+v; the twin has %+v", ref, w, d)
				}
			}
		}
	}
	markets := s.l.Markets()
	if len(markets) != len(s.twin.markets) || len(s.l.Withdrawals()) != len(s.twin.withdrawals) || s.l.Params() != s.twin.params ||
		len(s.l.proposals) != len(s.twin.proposals) {
		fail("markets, withdrawals, parameters or proposals differ")
	}
	for id, m := range s.twin.markets {
		if markets[id].Last != m.last || markets[id].Status != m.Status {
			fail("market %d: %+v", id, markets[id])
		}
		for side := Buy; side <= Sell; side++ {
			rest := m.sides[side]
			s.l.Book(MarketID(id), side, func(o OpenOrder, of AccountRef) bool {
				if len(rest) == 0 {
					fail("market %d: order %+v is not in the twin's book", id, o)
				}
				x := rest[0]
				if want := (OpenOrder{x.id, m.id, side, x.price, x.remaining, x.executed, x.name, x.expireAt}); o != want || of != x.owner {
					fail("market %d: order %+v of %d, the twin has %+v of %d", id, o, of, want, x.owner)
				}
				rest = rest[1:]
				return true
			})
			if len(rest) > 0 {
				fail("market %d: %d orders more in the twin's book", id, len(rest))
			}
		}
	}
}

// op makes an operation, most often a sensible one.
func (s *stream) op() Op {
	if len(s.sent) > 0 && s.chance(60) {
		return oneOf(s, s.sent...) // ordered once more
	}
	op := Op{network: s.twin.network, windowMs: oneOf[int64](s, 60_000, 60_000, 60_000, 5_000, 0, WindowMsMax)}
	make := s.traderAction
	switch n := s.rng.IntN(1_000); {
	case n < 80:
		op.account, make = oneOf(s, s.custodians...), s.custodianAction
	case n < 95:
		op.account, make = oneOf(s, s.governors...), s.governorAction
	case n < 120:
		op.account = oneOf(s, s.strangers...)
	case n < 124:
		op.account, make = oneOf(s, s.traders...), s.custodianAction
	case n < 128:
		op.account, make = oneOf(s, s.traders...), s.governorAction
	case n < 130:
		op.account, op.network = oneOf(s, s.traders...), Digest{9}
	default:
		op.account = s.traders[s.rng.IntN(len(s.traders))]
		if s.chance(200) {
			op.account, make = s.traders[0], s.hoarderAction
		}
	}
	for range 1 + s.rng.IntN(3) {
		op.actions = append(op.actions, make(op.account))
	}
	s.stamp(&op)
	s.made++
	id := binary.LittleEndian.AppendUint64(nil, s.made)
	op.id = sha256.Sum256(append(id, byte(s.seed)))
	if len(s.sent) < 200 {
		s.sent = append(s.sent, op)
	} else {
		s.sent[s.rng.IntN(len(s.sent))] = op
	}
	return op
}

// stamp gives an op its nonce and time.
func (s *stream) stamp(op *Op) {
	op.timeMs = s.timeMs - min(s.rng.Int64N(op.windowMs+1), 50_000) + oneOf[int64](s, 0, 0, 0, 999)
	if s.chance(80) {
		op.timeMs = s.timeMs + oneOf(s, int64(1_000), 1_001, -op.windowMs-1, -op.windowMs-100_000)
	}
	last := s.nonces[op.account]
	op.nonce = max(last+1, uint64(s.timeMs))
	if s.chance(10) {
		op.nonce += s.rng.Uint64N(50)
	}
	const day = 24 * 3600_000
	switch s.rng.IntN(160) {
	case 0, 1:
		op.nonce = last
	case 2, 3, 4:
		op.nonce = last - s.rng.Uint64N(30)
	case 5:
		op.nonce = uint64(s.timeMs - oneOf[int64](s, 2*day-1, 2*day, 2*day+1))
	case 6:
		op.nonce = uint64(s.timeMs + oneOf[int64](s, day, day+1))
		return
	}
	s.nonces[op.account] = max(last, op.nonce)
}

func (s *stream) market() MarketID {
	if s.chance(200) {
		return MarketID(len(s.twin.markets) + s.rng.IntN(2))
	}
	if s.chance(10) {
		return MarketID(s.rng.IntN(len(s.twin.markets)))
	}
	return MarketID(s.rng.IntN(3))
}

func (s *stream) asset() AssetID {
	if s.chance(100) {
		return AssetID(len(s.twin.assets))
	}
	return AssetID(s.rng.IntN(len(s.twin.assets)))
}

func (s *stream) client() ClientID {
	if s.chance(2) {
		return ClientID{}
	}
	return ClientID{1 + byte(s.rng.IntN(12))}
}

// target names an order, most often an open one of the account's.
func (s *stream) target(a *Action, who Account) {
	mine := s.twin.accounts[s.twin.refs[who]].orders
	switch {
	case len(mine) > 0 && !s.chance(8):
		o := oneOf(s, mine...)
		if o.name != (ClientID{}) && s.chance(2) {
			a.Target = o.name
		} else {
			a.Order = o.id
		}
		a.Quantity = o.executed + o.remaining
	case s.chance(2):
		a.Target = ClientID{1 + byte(s.rng.IntN(20))}
	default:
		a.Order = OrderID(1 + s.rng.Uint64N(uint64(s.twin.lastOrder)+5))
	}
}

func (s *stream) traderAction(who Account) (a Action) {
	switch n := s.rng.IntN(100); {
	case n < 52:
		a.Kind = KindPlace
		s.order(&a)
	case n < 66:
		a.Kind = KindCancel
		s.target(&a, who)
		a.Quantity = 0
	case n < 73:
		a.Kind = KindAmend
		s.target(&a, who)
		a.Quantity = Lots(s.rng.Uint64N(uint64(a.Quantity) + 3))
	case n < 74:
		a = Action{Kind: KindCancelAll, AllMarkets: s.chance(2)}
		if !a.AllMarkets {
			a.Market = s.market()
		}
	case n < 84:
		a.Kind = KindReplace
		s.target(&a, who)
		s.order(&a)
		a.ContinueOnFailure = s.chance(2)
	case n < 91:
		a = Action{Kind: KindTransfer, Asset: s.asset(), Amount: s.amount(who), Detail: &Detail{Account: oneOf(s, s.traders...)}}
		if s.chance(100) {
			a.Detail.Account = oneOf(s, s.strangers...)
		} else if s.chance(20) {
			a.Detail.Account = who
		}
	case n < 97:
		a = Action{Kind: KindWithdraw, Asset: s.asset(), Amount: s.amount(who), Detail: &Detail{Fee: Units(s.rng.Uint64N(2_000)), Reference: "out"}}
		if !s.chance(20) {
			a.Amount = Units(s.rng.Uint64N(50)) // small, so that one account comes to have many open
		}
		if s.chance(100) {
			a.Amount, a.Detail.Fee = MaxAmount, MaxAmount
		}
	default:
		a = Action{Kind: KindCancelWithdrawal, Withdrawal: s.payout()}
		for _, id := range s.open() {
			if s.twin.withdrawals[id].owner == s.twin.refs[who] && s.chance(2) {
				a.Withdrawal = id
			}
		}
	}
	return a
}

// hoarderAction is of an account that keeps asking to be paid out.
func (s *stream) hoarderAction(Account) Action {
	return Action{Kind: KindWithdraw, Asset: AssetID(s.rng.IntN(3)), Amount: Units(1), Detail: &Detail{Fee: Units(1_000), Reference: "out"}}
}

// open are the last withdrawals, those that are open still.
func (s *stream) open() (all []WithdrawalID) {
	for id := s.twin.lastWithdrawal; id > 0 && id+40 > s.twin.lastWithdrawal; id-- {
		if s.twin.withdrawals[id] != nil {
			all = append(all, id)
		}
	}
	return all
}

func (s *stream) payout() WithdrawalID {
	if all := s.open(); len(all) > 0 && !s.chance(6) {
		return oneOf(s, all...)
	}
	return WithdrawalID(s.rng.Uint64N(uint64(s.twin.lastWithdrawal) + 5))
}

// amount is of the order of what an account has.
func (s *stream) amount(who Account) Amount {
	switch s.rng.IntN(40) {
	case 0:
		return Amount{}
	case 1:
		return MaxAmount
	case 2:
		return Units(^uint64(0))
	}
	w := s.twin.wallet(s.twin.refs[who], AssetID(s.rng.IntN(3)))
	n, _ := asAmount(&w.available).Uint64()
	return Units(s.rng.Uint64N(n/4 + 100))
}

// order fills in what an order says.
func (s *stream) order(a *Action) {
	a.Market, a.Side, a.ClientID = s.market(), Side(s.rng.IntN(2)), s.client()
	a.STP = oneOf(s, STPDefault, STPDefault, STPDefault, ExpireMaker, ExpireTaker, ExpireBoth, Decrement, AllowSelf)
	a.Quantity = Lots(1 + s.rng.IntN(60))
	if s.chance(8) {
		a.Quantity *= 10 // eats several, and rests with what is left
	}
	a.Type = oneOf(s, Limit, Limit, Limit, Limit, Limit, Limit, PostOnly, PostOnly, MarketOrder)
	if a.Type == MarketOrder {
		switch s.rng.IntN(5) {
		case 0, 1:
			if a.Side == Buy || s.chance(20) {
				a.Quantity, a.Amount = 0, Units(s.rng.Uint64N(60_000*s.scale(a.Market)))
			}
		case 2:
			a.Quantity *= 10
		}
		if s.chance(100) {
			a.Quantity = oneOf(s, 0, LotsMax+1, LotsMax)
		}
		return
	}
	mid := &s.mid[min(int(a.Market), len(s.mid)-1)]
	if *mid += s.rng.IntN(5) - 2; *mid < 500 || *mid > 1_500 {
		*mid = 1_000
	}
	away := s.rng.IntN(32) - 8
	if a.Side == Buy {
		away = -away
	}
	a.Price = Ticks(*mid + away)
	a.TIF = oneOf(s, GTC, GTC, GTC, GTC, GTD, IOC, FOK)
	if a.Type == PostOnly && a.TIF != GTD {
		a.TIF = GTC
	}
	if a.TIF == GTD {
		a.ExpireAtMs = s.timeMs + oneOf[int64](s, 200, 1_000, 5_000, 60_000, 0) - s.rng.Int64N(50)
	}
	switch s.rng.IntN(400) {
	case 0:
		a.Price = 0
	case 1:
		a.Quantity = 0
	case 2:
		a.Price, a.Quantity = TicksMax, LotsMax
	case 3:
		a.Price, a.Quantity = oneOf(s, TicksMax, TicksMax+1, 1), 1
	case 4:
		a.Price, a.Quantity = 1, oneOf(s, LotsMax, LotsMax+1)
	}
}

// scale is the worth of a lot at a tick.
func (s *stream) scale(id MarketID) uint64 {
	if int(id) >= len(s.twin.markets) {
		return 1
	}
	return s.twin.markets[id].tickLot.Uint64()
}

func (s *stream) custodianAction(who Account) Action {
	if s.chance(6) && who == s.custodians[0] { // one that cries deposit all day
		s.made++
		return Action{Kind: KindAttestDeposit, Amount: Units(1), Detail: &Detail{Reference: fmt.Sprint("nobody else's ", s.made), Account: s.traders[0]}}
	}
	switch s.rng.IntN(5) {
	case 0, 1:
		// Content follows from the id, so that custodians agree, but for one in ten.
		n := uint64(s.tally.commits)/3*4 + s.rng.Uint64N(6)
		a := Action{Kind: KindAttestDeposit, Asset: AssetID(n % 3), Amount: Units(1 + n*7_919%900_000), Detail: &Detail{
			Reference: fmt.Sprint("tx", n), Account: s.traders[n%streamTraders]}}
		switch s.rng.IntN(60) {
		case 0, 1, 2:
			a.Amount = Units(5)
		case 3:
			a.Amount = Amount{}
		case 4:
			a.Asset = s.asset()
		case 5:
			a.Detail.Account = oneOf(s, s.strangers...)
		}
		if n%97 == 0 {
			a.Amount = MaxAmount // never fits: one vote waits, the next is refused
		}
		return a
	case 2, 3:
		return Action{Kind: oneOf(s, KindSignWithdrawal, KindSignWithdrawal, KindCompleteWithdrawal, KindCompleteWithdrawal, KindFailWithdrawal), Withdrawal: s.payout(), Detail: &Detail{}}
	}
	a := s.traderAction(who)
	return a
}

func (s *stream) governorAction(Account) Action {
	switch n := s.rng.IntN(24); {
	case n < 14:
		status := StatusTrading
		if s.chance(12) {
			status = oneOf(s, StatusPostOnly, StatusCancelOnly, StatusHalt)
		}
		return Action{Kind: KindSetMarketStatus, Market: s.market(), Status: status}
	case n < 16:
		a := Asset{Symbol: fmt.Sprint("X", s.rng.IntN(4)), Decimals: uint8(s.rng.IntN(3) * 9)}
		return Action{Kind: KindListAsset, Detail: &Detail{NewAsset: &a}}
	case n < 18:
		m := Market{Base: AssetID(s.rng.IntN(5)), Quote: AssetID(s.rng.IntN(5)), Tick: Decimal{1, 0}, Lot: oneOf[uint64](s, 1, 1e9), TakerPPM: 10, STP: ExpireTaker}
		if len(s.twin.markets) >= len(s.mid) {
			m.Quote = m.Base // enough of them
		}
		return Action{Kind: KindListMarket, Detail: &Detail{NewMarket: &m}}
	case n < 20:
		c := Committee{Validators: []Validator{{Key: oneOf(s, s.traders[:4]...), Weight: 1}}}
		if s.chance(6) {
			c.Validators = nil
		}
		return Action{Kind: KindSetCommittee, Detail: &Detail{NewCommittee: &c}}
	case n < 23:
		p := s.twin.params
		switch s.rng.IntN(5) {
		case 0:
			p.NonceWindow = oneOf[uint32](s, 3, 20, 60)
		case 1:
			p.FillsMax = oneOf[uint32](s, 1, 3, 8, 512)
		case 2:
			p.OpenOrdersMax = oneOf[uint32](s, 4, 15, 30)
		case 3:
			p.ReopenGapMs, p.ReopenMs = oneOf[int64](s, 30_000, 10_000), oneOf[int64](s, 0, 5_000, 1_000)
		default:
			p.FillsMax = 0
		}
		return Action{Kind: KindSetParams, Detail: &Detail{NewParams: &p}}
	case !s.chance(4):
		return Action{Kind: KindSetMarketStatus, Market: MarketID(s.rng.IntN(3)), Status: StatusTrading}
	default:
		p := s.twin.params
		p.LevelsShown = 1 + uint32(s.rng.IntN(levelsShownMax)) // a wish of nobody else
		return Action{Kind: KindSetParams, Detail: &Detail{NewParams: &p}}
	}
}
