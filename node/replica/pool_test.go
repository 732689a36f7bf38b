package replica

import (
	"bytes"
	"fmt"
	"math/rand"
	"slices"
	"testing"

	"github.com/holdfast-mesh/holdfast/node/dag"
	"github.com/holdfast-mesh/holdfast/node/ledger"
)

// opMaker signs operations of made-up clients; size is set by padding.
type opMaker struct {
	t       testing.TB
	genesis *ledger.Genesis
}

func newOpMaker(t testing.TB) *opMaker { return &opMaker{t, testGenesis(4)} }

// op is an operation of about size bytes. expires is its last moment.
func (m *opMaker) op(client int, nonce uint64, expires int64, size int) *ledger.Op {
	m.t.Helper()
	actions := make([]ledger.Action, 0, 64)
	for range max(1, size/140) {
		actions = append(actions, ledger.Action{Kind: ledger.KindWithdraw, Amount: ledger.Units(1), Detail: &ledger.Detail{
			Reference: string(bytes.Repeat([]byte("a"), 100)),
		}})
	}
	return signOp(m.t, m.genesis, testKey(clientKeys+client), nonce, expires-60_000, actions...)
}

const never = int64(1_800_000_000_000)

func takeAll(p *pool, bytesMax int) []*ledger.Op {
	return p.take(bytesMax, func(*ledger.Op) verdict { return goes })
}

func mustAdd(t testing.TB, p *pool, ops ...*ledger.Op) {
	t.Helper()
	for _, op := range ops {
		if why, _ := p.add(op); why != RefusedNot {
			t.Fatalf("nonce %d: %v", op.Nonce(), why)
		}
	}
}

func nonces(ops []*ledger.Op) (n []string) {
	names := map[ledger.Account]int{}
	for c := range 16 {
		names[ledger.AccountOf(testKey(clientKeys+c))] = c
	}
	for _, op := range ops {
		n = append(n, fmt.Sprintf("%d:%d", names[op.Account()], op.Nonce()))
	}
	return n
}

func TestPoolTakesInTurnAndByNonce(t *testing.T) {
	m, p := newOpMaker(t), newPool()
	mustAdd(t, p, m.op(0, 3, never, 0), m.op(0, 1, never, 0), m.op(0, 2, never, 0), m.op(1, 9, never, 0), m.op(2, 5, never, 0), m.op(2, 4, never, 0))
	got := takeAll(p, 1<<20)
	if want := []string{"0:1", "1:9", "2:4", "0:2", "2:5", "0:3"}; !slices.Equal(nonces(got), want) {
		t.Errorf("took %v, want %v", nonces(got), want)
	}
	if again := takeAll(p, 1<<20); len(again) != 6 {
		t.Errorf("a block that was not made took %d ops away", 6-len(again))
	}
	p.accepted(got)
	if p.waits() || len(takeAll(p, 1<<20)) != 0 {
		t.Error("ops in flight are taken again")
	}
	p.landed(got[:2]) // their block was dropped
	if again := takeAll(p, 1<<20); !slices.Equal(nonces(again), []string{"0:1", "1:9"}) {
		t.Errorf("took %v after the drop", nonces(again))
	}
	p.executed(got)
	p.landed(got[2:])
	if len(p.entries) != 0 || p.cost != 0 || len(p.flying) != 0 || len(p.accounts) != 0 || p.waits() {
		t.Errorf("%d entries, cost %d, %d flying are left", len(p.entries), p.cost, len(p.flying))
	}
}

// TestPoolOneAccountCannotFillABlock: whoever has much waits for those who have little.
func TestPoolOneAccountCannotFillABlock(t *testing.T) {
	m, p := newOpMaker(t), newPool()
	for i := range 100 {
		mustAdd(t, p, m.op(0, uint64(i), never, 0))
	}
	for i := range 5 {
		mustAdd(t, p, m.op(1, uint64(i), never, 0), m.op(2, uint64(i), never, 0))
	}
	size := len(m.op(0, 0, never, 0).Bytes())
	got := takeAll(p, 15*(size+2))
	if len(got) < 14 {
		t.Fatalf("took %d ops", len(got))
	}
	by := map[ledger.Account]int{}
	for _, op := range got {
		by[op.Account()]++
	}
	for c := 1; c <= 2; c++ {
		if n := by[ledger.AccountOf(testKey(clientKeys+c))]; n < 4 {
			t.Errorf("account %d got %d of %d places", c, n, len(got))
		}
	}
}

func TestPoolHoldsBack(t *testing.T) {
	m, p := newOpMaker(t), newPool()
	mustAdd(t, p, m.op(0, 1, never, 0), m.op(0, 2, never, 0), m.op(1, 7, never, 0), m.op(2, 9, never, 0))
	judge := func(op *ledger.Op) verdict {
		switch op.Nonce() {
		case 1:
			return stays
		case 7:
			return leaves
		}
		return goes
	}
	if !p.ready(judge) {
		t.Error("not ready although an op may go")
	}
	if got := p.take(1<<20, judge); !slices.Equal(nonces(got), []string{"2:9"}) {
		t.Errorf("took %v: an op that stays keeps the account's later ones", nonces(got))
	}
	if got := takeAll(p, 1<<20); !slices.Equal(nonces(got), []string{"0:1", "2:9", "0:2"}) {
		t.Errorf("then took %v", nonces(got))
	}
	p.accepted(takeAll(p, 1<<20)[1:2])
	if p.ready(judge) {
		t.Error("ready although all that wait stay")
	}
}

// TestPoolReadyLooksFurther: many accounts that hold back do not hide one that does not.
func TestPoolReadyLooksFurther(t *testing.T) {
	m, p := newOpMaker(t), newPool()
	for i := range 2 * readyMax {
		mustAdd(t, p, m.op(i, 1, never, 0))
	}
	mustAdd(t, p, m.op(2*readyMax, 2, never, 0))
	judge := func(op *ledger.Op) verdict {
		if op.Nonce() == 1 {
			return stays
		}
		return goes
	}
	calls := 1
	for ; !p.ready(judge); calls++ {
		if calls > 3 {
			t.Fatal("never ready")
		}
	}
	if got := p.take(1<<20, judge); len(got) != 1 {
		t.Errorf("took %d ops", len(got))
	}
}

func TestPoolPayloadIsBounded(t *testing.T) {
	m, p := newOpMaker(t), newPool()
	for i := range 200 {
		mustAdd(t, p, m.op(i%8, uint64(i), never, 7000))
	}
	size := 0
	got := takeAll(p, dag.PayloadBytesMax)
	for _, op := range got {
		size += len(op.Bytes())
	}
	if size > dag.PayloadBytesMax || size < dag.PayloadBytesMax-ledger.OpBytesMax {
		t.Errorf("a payload of %d bytes", size)
	}
}

func TestPoolRefuses(t *testing.T) {
	m, p := newOpMaker(t), newPool()
	a := m.op(0, 1, never, 0)
	mustAdd(t, p, a)
	if why, _ := p.add(a); why != RefusedKnown {
		t.Errorf("the same op: %v", why)
	}
	if why, _ := p.add(m.op(0, 1, never, 500)); why != RefusedNonceTaken {
		t.Errorf("the same nonce: %v", why)
	}
}

// TestPoolFull fills the pool with few accounts, then lets others in.
func TestPoolFull(t *testing.T) {
	m, p := newOpMaker(t), newPool()
	p.costMax, p.accountMax = poolCostMax/64, accountCostMax/64
	fill := func(client int) (n int, why RefusalCode) {
		for n = 0; ; n++ {
			op := m.op(client, uint64(n), never, 1500)
			if why, _ = p.add(op); why != RefusedNot {
				return n, why
			}
		}
	}
	mine, why := fill(0)
	if why != RefusedAccountFull || p.accounts[ledger.AccountOf(testKey(clientKeys))].cost > p.accountMax {
		t.Fatalf("one account put %d ops in: %v", mine, why)
	}
	for c := 1; c < 8; c++ {
		fill(c)
	}
	if p.cost > p.costMax || p.cost < p.costMax*9/10 {
		t.Fatalf("the pool's cost is %d of %d", p.cost, p.costMax)
	}
	for i := range 40 {
		op := m.op(9, uint64(i), never, 1500)
		why, displaced := p.add(op)
		if why != RefusedNot || i > 10 && len(displaced) == 0 {
			t.Fatalf("a newcomer's op %d: %v, displaced %d", i, why, len(displaced))
		}
		for _, gone := range displaced {
			if p.entries[gone.ID()] != nil || gone.Account() == op.Account() {
				t.Error("the displaced op is still there, or the newcomer's own")
			}
		}
	}
	if p.cost > p.costMax {
		t.Errorf("the pool's cost is %d of %d", p.cost, p.costMax)
	}
}

func TestPoolExpires(t *testing.T) {
	m, p := newOpMaker(t), newPool()
	mustAdd(t, p, m.op(0, 1, never+5, 0), m.op(1, 1, never+1, 0), m.op(2, 1, never+3, 0))
	p.accepted([]*ledger.Op{p.accounts[ledger.AccountOf(testKey(clientKeys+1))].entries[0].op})
	if gone := p.expire(never + 1); len(gone) != 0 {
		t.Errorf("%v left at their last moment", nonces(gone))
	}
	if gone := p.expire(never + 4); !slices.Equal(nonces(gone), []string{"1:1", "2:1"}) {
		t.Errorf("%v left", nonces(gone))
	}
}

// TestPoolAgainstAPlainTwin drives the pool at random and checks it against its
// invariants, counted in the slow and obvious way.
func TestPoolAgainstAPlainTwin(t *testing.T) {
	m := newOpMaker(t)
	var made []*ledger.Op
	for i := range 120 {
		made = append(made, m.op(i%6, uint64(i/6), never+int64(i%17), 0))
	}
	for seed := int64(1); seed <= 20; seed++ {
		random := rand.New(rand.NewSource(seed))
		p := newPool()
		in := map[ledger.Digest]bool{}
		flying := map[ledger.Digest]int{}
		var blocks [][]*ledger.Op
		for step := range 2000 {
			op := made[random.Intn(len(made))]
			switch random.Intn(6) {
			case 0, 1:
				why, _ := p.add(op)
				if (why == RefusedNot) == in[op.ID()] {
					t.Fatalf("seed %d step %d: add: %v, in the pool: %v", seed, step, why, in[op.ID()])
				}
				in[op.ID()] = true
			case 2:
				block := takeAll(p, 2000)
				for _, op := range block {
					if !in[op.ID()] || flying[op.ID()] > 0 {
						t.Fatalf("seed %d step %d: took an op that does not wait", seed, step)
					}
				}
				if random.Intn(3) == 0 {
					block = append(block, op) // somebody else's block
				}
				p.accepted(block)
				for _, op := range block {
					flying[op.ID()]++
				}
				blocks = append(blocks, block)
			case 3, 4:
				if len(blocks) == 0 {
					continue
				}
				b := blocks[0]
				blocks = blocks[1:]
				committed := random.Intn(2) == 0
				if committed {
					p.executed(b)
				}
				p.landed(b)
				for _, op := range b {
					flying[op.ID()]--
					if committed {
						delete(in, op.ID())
					}
				}
			case 5:
				if random.Intn(20) == 0 {
					for _, op := range p.expire(never + int64(random.Intn(4))) {
						delete(in, op.ID())
					}
				}
			}
			cost, waiting := 0, 0
			for _, op := range made {
				e := p.entries[op.ID()]
				if (e != nil) != in[op.ID()] {
					t.Fatalf("seed %d step %d: in the pool: %v, want %v", seed, step, e != nil, in[op.ID()])
				}
				if e == nil {
					continue
				}
				cost += e.cost()
				if e.waiting != (flying[op.ID()] == 0) {
					t.Fatalf("seed %d step %d: waits: %v, flying %d", seed, step, e.waiting, flying[op.ID()])
				}
				if e.waiting {
					waiting++
				}
			}
			if got := len(takeAll(p, 1<<20)); cost != p.cost || got != waiting || p.waits() != (waiting > 0) {
				t.Fatalf("seed %d step %d: cost %d, want %d; %d wait, want %d", seed, step, p.cost, cost, got, waiting)
			}
		}
	}
}

func BenchmarkPool(b *testing.B) {
	m, p := newOpMaker(b), newPool()
	var ops []*ledger.Op
	for i := range 4096 {
		ops = append(ops, m.op(i%8, uint64(i), never, 0))
	}
	b.ReportAllocs()
	for b.Loop() {
		for _, op := range ops {
			p.add(op)
		}
		for p.waits() {
			taken := takeAll(p, dag.PayloadBytesMax)
			p.accepted(taken)
			p.executed(taken)
			p.landed(taken)
		}
	}
	b.ReportMetric(float64(b.N*len(ops))/b.Elapsed().Seconds(), "ops/s")
}
