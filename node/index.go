package node

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/holdfast-mesh/holdfast/node/api"
	"github.com/holdfast-mesh/holdfast/node/ledger"
	"github.com/holdfast-mesh/holdfast/node/replica"
	"github.com/holdfast-mesh/holdfast/storage"
)

// The layout of what is kept for readers. Numbers in keys are big endian.
//
//	event/<commit 8>                       what a commit did; see happened
//	op/<digest, its first 12>              where an operation was executed
//	history/<account ref 4><commit 8><position 4>   an event of an account
//	trade/<market 2><commit 8><position 4>          a trade
//	candle/<market 2><interval 1><start 8>          a candle
//	meta/index                             the first commit of the index
//
// These records are in the batch of the commit they come from, so the index never
// lags behind it. An unsynced index beside the loop would save nothing: the batch is
// synced in any case, and a rebuild would be a second way to the same state.
const (
	prefixEvent   = "event/"
	prefixOp      = "op/"
	prefixHistory = "history/"
	prefixTrade   = "trade/"
	prefixCandle  = "candle/"
	keyIndex      = "meta/index"
)

// opKeyBytes is how much of an operation's digest is its key. The record it leads
// to has the whole digest, so a collision is found and only hides an old operation.
const opKeyBytes = 12

// recentEventsMax bounds the events kept in memory, of the newest commits; older
// ones are read from the disk. It is some 15 MB, and seconds of the fastest network.
const recentEventsMax = 1 << 16

// index keeps what commits did, for readers: on disk, and the newest in memory.
// Only the loop adds to it; many goroutines may read.
type index struct {
	store   *storage.Store
	candles *candles

	mu     sync.Mutex
	first  uint64        // the oldest commit in it; 0: none yet
	recent []*happened   // the newest, without gaps, oldest first
	events int           // in recent
	newest uint64        // the newest commit in it
	grown  chan struct{} // closed when newest grows
}

func openIndex(store *storage.Store, executed uint64) (*index, error) {
	x := &index{store: store, newest: executed, grown: make(chan struct{}), candles: newCandles(store)}
	raw, err := store.Get([]byte(keyIndex))
	switch {
	case errors.Is(err, storage.ErrNotFound):
	case err != nil:
		return nil, err
	case len(raw) != 8:
		return nil, fmt.Errorf("%s has %d bytes, not 8", keyIndex, len(raw))
	default:
		x.first = binary.BigEndian.Uint64(raw)
	}
	return x, nil
}

// happenedIn is what a commit did, for keeping.
func happenedIn(c *replica.Commit) *happened {
	h := &happened{index: c.Index, timeMs: c.TimeMs, digest: ledger.Digest(c.Digest), events: c.Events}
	h.ops = make([]ledger.Digest, len(c.Ops))
	for i := range c.Ops {
		h.ops[i] = c.Ops[i].ID()
	}
	return h
}

// record puts commits into the batch that makes them durable. After a state was
// taken over the index begins anew with the first commit since.
func (x *index) record(batch *storage.Batch, restored bool, all []*happened) error {
	if len(all) == 0 {
		return nil
	}
	if restored || x.first == 0 {
		batch.Set([]byte(keyIndex), binary.BigEndian.AppendUint64(nil, all[0].index))
	}
	for _, h := range all {
		batch.Set(eventKey(h.index), h.append(nil))
		h.recordOps(batch)
		h.recordParties(batch)
	}
	return x.candles.record(batch, all)
}

func (h *happened) recordOps(batch *storage.Batch) {
	again := make(map[uint32]bool)
	for i := range h.events {
		if h.events[i].Kind == ledger.EventDuplicate {
			again[h.events[i].Op] = true // it was executed before, and is found there
		}
	}
	for i := range h.ops {
		if !again[uint32(i)] {
			batch.Set(opKey(h.ops[i]), binary.AppendUvarint(binary.AppendUvarint(nil, h.index), uint64(i)))
		}
	}
}

func (h *happened) recordParties(batch *storage.Batch) {
	for i := range h.events {
		e := &h.events[i]
		if e.Account != 0 {
			batch.Set(historyKey(e.Account, h.index, uint32(i)), nil)
		}
		if e.Counterparty != 0 && e.Counterparty != e.Account {
			batch.Set(historyKey(e.Counterparty, h.index, uint32(i)), nil)
		}
		if e.Kind == ledger.EventTrade {
			batch.Set(tradeKey(e.Market, h.index, uint32(i)), nil)
		}
	}
}

// recorded tells readers of commits whose batch is durable.
func (x *index) recorded(restored bool, all []*happened) {
	if len(all) == 0 {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if restored || x.first == 0 {
		x.first, x.recent, x.events = all[0].index, nil, 0
	}
	for _, h := range all {
		x.recent = append(x.recent, h)
		x.events += len(h.events)
	}
	for x.events > recentEventsMax && len(x.recent) > 1 || len(x.recent) > recentEventsMax {
		x.events -= len(x.recent[0].events)
		x.recent[0] = nil
		x.recent = x.recent[1:]
	}
	x.newest = all[len(all)-1].index
	close(x.grown)
	x.grown = make(chan struct{})
}

// commit returns what a commit did, api.ErrNotFound before it is executed, or
// *api.TooOldError.
func (x *index) commit(n uint64) (*happened, error) {
	x.mu.Lock()
	first, newest := x.first, x.newest
	if len(x.recent) > 0 && n >= x.recent[0].index && n <= newest {
		h := x.recent[n-x.recent[0].index]
		x.mu.Unlock()
		return h, nil
	}
	x.mu.Unlock()
	if n > newest || n == 0 {
		return nil, api.ErrNotFound
	}
	if first == 0 || n < first {
		return nil, &api.TooOldError{Oldest: max(first, 1)}
	}
	raw, err := x.store.Get(eventKey(n))
	if errors.Is(err, storage.ErrNotFound) {
		return nil, &api.TooOldError{Oldest: newest}
	}
	if err != nil {
		return nil, err
	}
	return decodeHappened(n, raw)
}

// next waits for the commit after one.
func (x *index) next(ctx context.Context, after uint64) (*happened, error) {
	for {
		x.mu.Lock()
		newest, grown := x.newest, x.grown
		x.mu.Unlock()
		if newest > after {
			return x.commit(after + 1)
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// op finds where an operation was executed; api.ErrNotFound if it was not, or
// before the index begins.
func (x *index) op(id ledger.Digest) (h *happened, position uint32, err error) {
	raw, err := x.store.Get(opKey(id))
	if errors.Is(err, storage.ErrNotFound) {
		return nil, 0, api.ErrNotFound
	}
	if err != nil {
		return nil, 0, err
	}
	r := eventReader{b: raw}
	commit, at := r.uint(), r.uint()
	if h, err = x.commit(commit); err != nil {
		return nil, 0, err
	}
	if r.bad || at >= uint64(len(h.ops)) || h.ops[at] != id {
		return nil, 0, api.ErrNotFound
	}
	return h, uint32(at), nil
}

// skipped says whether an operation of this time may have been executed in commits
// before the index begins.
func (x *index) skipped(timeMs int64) bool {
	x.mu.Lock()
	first := x.first
	x.mu.Unlock()
	if first <= 1 {
		return false
	}
	h, err := x.commit(first)
	return err != nil || timeMs <= h.timeMs+aheadMs
}

// aheadMs is how far an operation's time may be ahead of the commit that executes
// it; see the ledger's rules of the window.
const aheadMs = 1000

// before visits the cursors under a prefix from the newest before one down.
func (x *index) before(ctx context.Context, prefix []byte, before api.Cursor, most int, visit func(api.Cursor) error) error {
	keys := storage.Prefix(prefix)
	if before != (api.Cursor{}) {
		keys.To = appendCursor(prefix, before.Commit, before.Position)
	}
	n := 0
	for entry, err := range x.store.ScanBack(keys) {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		at := entry.Key[len(prefix):]
		if len(at) != 12 {
			return fmt.Errorf("%w: the key %x", errEventLog, entry.Key)
		}
		if n++; n > most {
			return nil
		}
		if err := visit(api.Cursor{Commit: binary.BigEndian.Uint64(at), Position: binary.BigEndian.Uint32(at[8:])}); err != nil {
			return err
		}
	}
	return nil
}

func eventKey(commit uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte(prefixEvent), commit)
}

func opKey(id ledger.Digest) []byte { return append([]byte(prefixOp), id[:opKeyBytes]...) }

func historyPrefix(of ledger.AccountRef) []byte {
	return binary.BigEndian.AppendUint32([]byte(prefixHistory), uint32(of))
}

func historyKey(of ledger.AccountRef, commit uint64, position uint32) []byte {
	return appendCursor(historyPrefix(of), commit, position)
}

func tradePrefix(market ledger.MarketID) []byte {
	return binary.BigEndian.AppendUint16([]byte(prefixTrade), uint16(market))
}

func tradeKey(market ledger.MarketID, commit uint64, position uint32) []byte {
	return appendCursor(tradePrefix(market), commit, position)
}

// appendCursor appends a cursor to a copy of a key.
func appendCursor(key []byte, commit uint64, position uint32) []byte {
	b := binary.BigEndian.AppendUint64(key[:len(key):len(key)], commit)
	return binary.BigEndian.AppendUint32(b, position)
}
