package storage

import (
	"bytes"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// reservedByte begins the store's own keys; a caller's keys may not.
const reservedByte = 0x00

// Batch is a list of changes that become visible and durable together or not
// at all. The zero value is empty and ready. Keys and values are copied, so the
// caller keeps its slices. A batch may be written again, and reused after Reset.
// One goroutine at a time; do not copy it.
//
// Keys are 1 to KeyBytesMax bytes and do not begin with byte 0; Write reports
// the first that is not so.
type Batch struct {
	ops  pebble.Batch
	sets int
	err  error
}

// Set makes value the value of key.
func (b *Batch) Set(key, value []byte) {
	if b.accept(key) {
		b.keep(b.ops.Set(key, value, nil))
		b.sets++
	}
}

// Delete removes key, if it is there.
func (b *Batch) Delete(key []byte) {
	if b.accept(key) {
		b.keep(b.ops.Delete(key, nil))
	}
}

// DeleteRange removes every key from <= key < to. An empty range is a mistake
// that Write reports.
func (b *Batch) DeleteRange(from, to []byte) {
	if !b.accept(from) || !b.accept(to) {
		return
	}
	if bytes.Compare(from, to) >= 0 {
		b.keep(fmt.Errorf("%w: range from %q is not before its end %q", ErrBadKey, from, to))
		return
	}
	b.keep(b.ops.DeleteRange(from, to, nil))
}

// Len is the number of changes.
func (b *Batch) Len() int { return int(b.ops.Count()) }

// Size is the number of bytes the batch takes in the log.
func (b *Batch) Size() int64 {
	if b.ops.Empty() {
		return 0
	}
	return int64(b.ops.Len())
}

// roomBytes is what the batch takes of the disk: once in the log, once in a table.
func (b *Batch) roomBytes() int64 { return 2 * b.Size() }

// Reset empties the batch and keeps its memory.
func (b *Batch) Reset() {
	b.ops.Reset()
	b.sets, b.err = 0, nil
}

func (b *Batch) accept(key []byte) bool {
	switch {
	case b.err != nil:
		return false
	case len(key) == 0:
		b.err = fmt.Errorf("%w: it is empty", ErrBadKey)
	case key[0] == reservedByte:
		b.err = fmt.Errorf("%w: %q begins with the reserved byte 0", ErrBadKey, key)
	case len(key) > KeyBytesMax:
		b.err = fmt.Errorf("%w: a key of %d bytes; the bound is %d", ErrTooLarge, len(key), KeyBytesMax)
	}
	return b.err == nil
}

func (b *Batch) keep(err error) {
	if b.err == nil {
		b.err = err
	}
}
