package replica

import (
	"cmp"
	"container/heap"
	"slices"

	"github.com/holdfast-mesh/holdfast/node/ledger"
)

// Bounds of the pool. What an op costs is its bytes and opOverhead, so that one
// number bounds both the bytes and the count.
const (
	opOverhead = 512 // about what an entry and its places in the pool's indexes take

	// poolCostMax is some seven seconds of the fastest network we know of, and
	// a memory every machine has. More would only be older.
	poolCostMax = 64 << 20
	// accountCostMax lets a market maker have thousands of ops in flight, and
	// leaves seven eighths of the pool to others even before they displace.
	accountCostMax = poolCostMax / 8
	// blockOpsMax bounds the ops of one block, so that checking and executing one
	// stays within milliseconds however small they are: rounds of 50 ms carry 20 000 a
	// second of each validator all the same, and under a load that is too much a round
	// stays short, so that the network is slow and not silent.
	blockOpsMax = 1024
)

// pool holds the operations that wait for a block of ours, and those that are
// in blocks which are not committed yet.
//
//  1. The costs of all entries sum up to at most poolCostMax, of one account's
//     to at most accountCostMax.
//  2. An entry waits if and only if no accepted, uncommitted block has its op.
//  3. An account has at most one entry per nonce.
//  4. A full pool takes an op of an account with little from the one with most.
type pool struct {
	entries  map[ledger.Digest]*entry
	accounts map[ledger.Account]*queue
	flying   map[ledger.Digest]int32 // accepted, uncommitted blocks that carry the op
	line     line                    // accounts with waiting entries, whose turn is next first
	largest  byCost
	expiring byExpiry
	cost     int

	costMax, accountMax int // poolCostMax and accountCostMax, less in tests
}

// entry is an op in the pool.
type entry struct {
	op      *ledger.Op
	queue   *queue
	waiting bool
	expiry  int // position in pool.expiring
}

func (e *entry) cost() int { return len(e.op.Bytes()) + opOverhead }

// queue is the entries of one account, by nonce.
type queue struct {
	account    ledger.Account
	entries    []*entry // ascending nonces; those in flight as well
	waiting    int
	first      int // no entry before this position waits
	cost       int
	largest    int // position in pool.largest
	next, prev *queue
}

func newPool() *pool {
	return &pool{
		entries:  make(map[ledger.Digest]*entry),
		accounts: make(map[ledger.Account]*queue),
		flying:   make(map[ledger.Digest]int32),
		costMax:  poolCostMax, accountMax: accountCostMax,
	}
}

// add takes an op that the ledger would take. It returns why not, or
// RefusedNot and, when the pool was full, the ops that had to leave for it.
func (p *pool) add(op *ledger.Op) (why RefusalCode, displaced []*ledger.Op) {
	if p.entries[op.ID()] != nil {
		return RefusedKnown, nil
	}
	e := &entry{op: op}
	q := p.accounts[op.Account()]
	at := 0
	if q != nil {
		var taken bool
		if at, taken = q.find(op.Nonce()); taken {
			return RefusedNonceTaken, nil
		}
		if q.cost+e.cost() > p.accountMax {
			return RefusedAccountFull, nil
		}
	}
	own := 0
	if q != nil {
		own = q.cost
	}
	for p.cost+e.cost() > p.costMax {
		most := p.largest[0]
		if most == q || most.cost <= own+e.cost() {
			for _, op := range displaced { // it was not enough: put them back
				p.insert(op)
			}
			return RefusedPoolFull, nil
		}
		last := most.entries[len(most.entries)-1]
		displaced = append(displaced, last.op)
		p.remove(last)
	}
	if q == nil {
		q = &queue{account: op.Account()}
		p.accounts[q.account] = q
		heap.Push(&p.largest, q)
	}
	p.place(e, q, at)
	return RefusedNot, displaced
}

// insert adds an op that is known to fit.
func (p *pool) insert(op *ledger.Op) {
	q := p.accounts[op.Account()]
	if q == nil {
		q = &queue{account: op.Account()}
		p.accounts[q.account] = q
		heap.Push(&p.largest, q)
	}
	at, _ := q.find(op.Nonce())
	p.place(&entry{op: op}, q, at)
}

func (p *pool) place(e *entry, q *queue, at int) {
	e.queue = q
	q.entries = slices.Insert(q.entries, at, e)
	if at < q.first {
		q.first++
	}
	q.cost += e.cost()
	p.cost += e.cost()
	heap.Fix(&p.largest, q.largest)
	p.entries[e.op.ID()] = e
	heap.Push(&p.expiring, e)
	if p.flying[e.op.ID()] == 0 {
		p.await(e)
	}
}

func (p *pool) await(e *entry) {
	q := e.queue
	e.waiting = true
	at, _ := q.find(e.op.Nonce())
	q.first = min(q.first, at)
	if q.waiting++; q.waiting == 1 {
		p.line.push(q)
	}
}

func (p *pool) stopWaiting(e *entry) {
	if !e.waiting {
		return
	}
	e.waiting = false
	if e.queue.waiting--; e.queue.waiting == 0 {
		p.line.remove(e.queue)
	}
}

func (p *pool) remove(e *entry) {
	p.stopWaiting(e)
	q := e.queue
	at, _ := q.find(e.op.Nonce())
	q.entries = slices.Delete(q.entries, at, at+1)
	if at < q.first {
		q.first--
	}
	q.cost -= e.cost()
	p.cost -= e.cost()
	delete(p.entries, e.op.ID())
	heap.Remove(&p.expiring, e.expiry)
	if len(q.entries) == 0 {
		heap.Remove(&p.largest, q.largest)
		delete(p.accounts, q.account)
		return
	}
	heap.Fix(&p.largest, q.largest)
}

// waits says whether there is an op for the next block.
func (p *pool) waits() bool { return p.line.first != nil }

// verdict is what becomes of an op when its turn has come.
type verdict uint8

const (
	goes  verdict = iota // into the block
	stays                // and with it the account's later ones: not yet
	leaves
)

// readyMax bounds how many accounts ready looks at. Those that hold back go to
// the end of the line, so the next call looks at others.
const readyMax = 64

// ready reports whether take would find an op.
func (p *pool) ready(judge func(*ledger.Op) verdict) bool {
	for range min(readyMax, len(p.accounts)) {
		q := p.line.first
		if q == nil {
			return false
		}
		if judge(q.firstWaiting().op) != stays {
			return true
		}
		p.line.remove(q)
		p.line.push(q)
	}
	return false
}

// take returns the ops of our next block, of at most bytesMax bytes together:
// one op of each account in turn, an account's own by nonce. The turn goes on
// where the last block ended. They stay in the pool, in flight, once accepted
// is told of the block. An op that judge lets leave is gone; judge has told of it.
func (p *pool) take(bytesMax int, judge func(*ledger.Op) verdict) []*ledger.Op {
	var ops []*ledger.Op
	var taken []*entry // out of the line for now, so that each is taken once
	var idle []*queue  // out of the line for now, because their first op stays
	size := 0
	for p.line.first != nil && len(ops) < blockOpsMax {
		q := p.line.first
		e := q.firstWaiting()
		if size+len(e.op.Bytes()) > bytesMax {
			break
		}
		switch judge(e.op) {
		case leaves:
			p.remove(e)
			continue
		case stays:
			p.line.remove(q)
			idle = append(idle, q)
			continue
		}
		size += len(e.op.Bytes())
		ops = append(ops, e.op)
		taken = append(taken, e)
		p.stopWaiting(e)
		if q.waiting > 0 {
			p.line.remove(q)
			p.line.push(q)
		}
	}
	for _, q := range idle {
		p.line.push(q)
	}
	for _, e := range taken {
		p.await(e)
	}
	return ops
}

// accepted notes that an uncommitted block carries these ops: they wait no more.
func (p *pool) accepted(ops []*ledger.Op) {
	for _, op := range ops {
		p.flying[op.ID()]++
		if e := p.entries[op.ID()]; e != nil {
			p.stopWaiting(e)
		}
	}
}

// landed notes that an accepted block was committed or dropped. What was only
// in a dropped block waits again, if it is still in the pool.
func (p *pool) landed(ops []*ledger.Op) {
	for _, op := range ops {
		id := op.ID()
		if p.flying[id]--; p.flying[id] > 0 {
			continue
		}
		delete(p.flying, id)
		if e := p.entries[id]; e != nil && !e.waiting {
			p.await(e)
		}
	}
}

// executed removes the ops of a commit. What waits with a nonce that one of
// them used up is found by the check when its turn comes.
func (p *pool) executed(ops []*ledger.Op) {
	for _, op := range ops {
		if e := p.entries[op.ID()]; e != nil {
			p.remove(e)
		}
	}
}

// expire removes and returns the ops whose last moment is before timeMs.
func (p *pool) expire(timeMs int64) []*ledger.Op {
	var gone []*ledger.Op
	for len(p.expiring) > 0 && p.expiring[0].op.ExpiresMs() < timeMs {
		e := p.expiring[0]
		p.remove(e)
		gone = append(gone, e.op)
	}
	return gone
}

// find returns where the entry with this nonce is, or would be.
func (q *queue) find(nonce uint64) (at int, found bool) {
	return slices.BinarySearchFunc(q.entries, nonce, func(e *entry, n uint64) int {
		return cmp.Compare(e.op.Nonce(), n)
	})
}

func (q *queue) firstWaiting() *entry {
	for ; q.first < len(q.entries); q.first++ {
		if e := q.entries[q.first]; e.waiting {
			return e
		}
	}
	panic("replica: invariant broken: an account in the pool's line has no waiting op")
}

// line is a list of queues through their own links.
type line struct{ first, last *queue }

func (l *line) push(q *queue) {
	q.prev, q.next = l.last, nil
	if l.last == nil {
		l.first = q
	} else {
		l.last.next = q
	}
	l.last = q
}

func (l *line) remove(q *queue) {
	if q.prev == nil {
		l.first = q.next
	} else {
		q.prev.next = q.next
	}
	if q.next == nil {
		l.last = q.prev
	} else {
		q.next.prev = q.prev
	}
	q.next, q.prev = nil, nil
}

// byCost is a heap with the costliest account first; equals by account, so that
// the same inputs displace the same op.
type byCost []*queue

func (h byCost) Len() int { return len(h) }
func (h byCost) Less(i, j int) bool {
	if h[i].cost != h[j].cost {
		return h[i].cost > h[j].cost
	}
	return slices.Compare(h[i].account[:], h[j].account[:]) < 0
}
func (h byCost) Swap(i, j int) { h[i], h[j] = h[j], h[i]; h[i].largest, h[j].largest = i, j }
func (h *byCost) Push(x any)   { q := x.(*queue); q.largest = len(*h); *h = append(*h, q) }
func (h *byCost) Pop() any {
	q := (*h)[len(*h)-1]
	(*h)[len(*h)-1] = nil
	*h = (*h)[:len(*h)-1]
	return q
}

// byExpiry is a heap with the op that expires first on top; equals by id.
type byExpiry []*entry

func (h byExpiry) Len() int { return len(h) }
func (h byExpiry) Less(i, j int) bool {
	if a, b := h[i].op.ExpiresMs(), h[j].op.ExpiresMs(); a != b {
		return a < b
	}
	a, b := h[i].op.ID(), h[j].op.ID()
	return slices.Compare(a[:], b[:]) < 0
}
func (h byExpiry) Swap(i, j int) { h[i], h[j] = h[j], h[i]; h[i].expiry, h[j].expiry = i, j }
func (h *byExpiry) Push(x any)   { e := x.(*entry); e.expiry = len(*h); *h = append(*h, e) }
func (h *byExpiry) Pop() any {
	e := (*h)[len(*h)-1]
	(*h)[len(*h)-1] = nil
	*h = (*h)[:len(*h)-1]
	return e
}
