package node

import (
	"context"
	"sync"

	"github.com/holdfast-mesh/holdfast/node/dag"
	"github.com/holdfast-mesh/holdfast/node/ledger"
	"github.com/holdfast-mesh/holdfast/node/replica"
)

// inboxBytesMax bounds the verified blocks that wait for the loop: two of the
// largest from each of sixteen validators. Who has more waits, and so does the
// stream it came on.
const inboxBytesMax = 32 * dag.BlockBytesMax

// inbox collects what happened until the loop's next step takes it. Many
// goroutines may put things in.
type inbox struct {
	wake chan struct{} // something is in

	mu    sync.Mutex
	room  sync.Cond
	in    replica.Input
	fresh []*submission // operations to be journalled with the next batch
	bytes int           // of in.Blocks
}

func newInbox() *inbox {
	b := &inbox{wake: make(chan struct{}, 1)}
	b.room.L = &b.mu
	return b
}

// add changes the waiting input and wakes the loop.
func (b *inbox) add(change func(in *replica.Input)) {
	b.mu.Lock()
	change(&b.in)
	b.mu.Unlock()
	b.signal()
}

// inboxOpsMax bounds the operations of other nodes that wait for the loop: what a
// pool takes in a second of the fastest network.
const inboxOpsMax = 1 << 15

// addOps puts in operations that another node answers for; false means that there
// is no room, and it should try another validator.
func (b *inbox) addOps(ops []*ledger.Op) bool {
	b.mu.Lock()
	room := len(b.in.Ops)+len(ops) <= inboxOpsMax
	if room {
		b.in.Ops = append(b.in.Ops, ops...)
	}
	b.mu.Unlock()
	b.signal()
	return room
}

// submit puts in an operation that a client waits for.
func (b *inbox) submit(subs []*submission) {
	b.mu.Lock()
	b.fresh = append(b.fresh, subs...)
	b.mu.Unlock()
	b.signal()
}

// addBlock puts in a verified block. It waits while too much is in; false means
// that ctx ended before there was room.
func (b *inbox) addBlock(ctx context.Context, block *dag.Block) bool {
	b.mu.Lock()
	if b.bytes > inboxBytesMax && !b.waitForRoom(ctx) {
		b.mu.Unlock()
		return false
	}
	b.in.Blocks = append(b.in.Blocks, block)
	b.bytes += len(block.Bytes())
	b.mu.Unlock()
	b.signal()
	return true
}

// waitForRoom is called with mu held, which it lets go while it waits.
func (b *inbox) waitForRoom(ctx context.Context) bool {
	defer context.AfterFunc(ctx, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.room.Broadcast()
	})()
	for b.bytes > inboxBytesMax && ctx.Err() == nil {
		b.room.Wait()
	}
	return ctx.Err() == nil
}

// take empties the inbox.
func (b *inbox) take() (in replica.Input, fresh []*submission) {
	b.mu.Lock()
	defer b.mu.Unlock()
	in, fresh = b.in, b.fresh
	b.in, b.fresh, b.bytes = replica.Input{}, nil, 0
	b.room.Broadcast()
	return in, fresh
}

func (b *inbox) signal() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}
