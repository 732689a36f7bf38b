package storage

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"
)

const (
	// KeyBytesMax bounds a key. The longest of a node is under 200 bytes; long
	// keys would be repeated in every index block.
	KeyBytesMax = 1024

	memtablesMax     = 3        // also bounds the log files kept for reuse, at four
	memtableBytesMin = 64 << 10 // below, every batch of a block is a flush
	memtableBytesMax = 1 << 30  // above, replaying the log at Open takes too long
	batchBytesMin    = 4 << 10
	batchBytesLimit  = 1 << 30 // an engine batch addresses 4 GiB
	cacheBytesMax    = 64 << 30
	unsyncedBytesTop = 1 << 30
)

// Options of a store. The zero value is not valid; begin with DefaultOptions.
type Options struct {
	// FS is the file system; vfs.Default is the machine's.
	FS vfs.FS
	// MemtableBytes is how much is collected in memory, and in the log, before
	// it is written out in key order. Opening replays at most three times that.
	MemtableBytes int64
	// CacheBytes bounds the blocks kept in memory for reading.
	CacheBytes int64
	// BatchBytesMax bounds one batch, keys and values together.
	BatchBytesMax int64
	// UnsyncedBytesMax bounds what WriteUnsynced may leave unsynced, and so
	// what a crash can take; the call that would pass it syncs.
	UnsyncedBytesMax int64
	// ReserveBytes is free room that batches which set keys leave alone, beside
	// what writing out the memory may take: without both they are refused with
	// ErrFull. It is for compactions and for batches that only delete, which may
	// use most of it: a full store must be able to prune.
	ReserveBytes int64
	// Logger hears of full disks, damage and reopening. Nil is silence.
	Logger *slog.Logger
}

// DefaultOptions fit a node that appends blocks and commits in key order.
func DefaultOptions() Options {
	return Options{
		FS: vfs.Default,
		// 16 MiB: a replay stays under a fifth of a second, and files are
		// large enough that a million operations are a few dozen of them.
		MemtableBytes:    16 << 20,
		CacheBytes:       32 << 20,
		BatchBytesMax:    16 << 20,
		UnsyncedBytesMax: 4 << 20,
		ReserveBytes:     64 << 20,
	}
}

// Validate lists every fault at once; nil means the options can be used.
func (o Options) Validate() error {
	var faults []error
	if o.FS == nil {
		faults = append(faults, errors.New("FS is nil: use vfs.Default for the machine's file system"))
	}
	between := func(name string, v, lo, hi int64) {
		if v < lo || v > hi {
			faults = append(faults, fmt.Errorf("%s is %d: choose %d to %d bytes", name, v, lo, hi))
		}
	}
	between("MemtableBytes", o.MemtableBytes, memtableBytesMin, memtableBytesMax)
	between("CacheBytes", o.CacheBytes, 0, cacheBytesMax)
	between("BatchBytesMax", o.BatchBytesMax, batchBytesMin, batchBytesLimit)
	between("UnsyncedBytesMax", o.UnsyncedBytesMax, 0, unsyncedBytesTop)
	if o.ReserveBytes < 2*o.MemtableBytes {
		faults = append(faults, fmt.Errorf("ReserveBytes is %d: choose at least twice MemtableBytes, %d, or a compaction may not fit",
			o.ReserveBytes, 2*o.MemtableBytes))
	}
	return errors.Join(faults...)
}

// memoryBytesMax is how much may be in memory and in no table yet: the engine
// stalls writes while memtablesMax are full, and lets in one more, or one batch
// that is larger than any.
func (o Options) memoryBytesMax() int64 {
	return memtablesMax*o.MemtableBytes + max(o.MemtableBytes, o.BatchBytesMax)
}

// roomBytes is the free room below which batches that set keys are refused.
func (o Options) roomBytes() int64 { return o.ReserveBytes + o.memoryBytesMax() }

func (o Options) logger() *slog.Logger {
	if o.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return o.Logger
}

// engine are the options of the store underneath, fit for keys that are
// written once and in order: few rewrites, no compaction because of reads, and
// filters so that a block nobody has costs no read.
func (o Options) engine(fs vfs.FS, readOnly bool) *pebble.Options {
	p := &pebble.Options{
		FS:                          fs,
		ReadOnly:                    readOnly,
		FormatMajorVersion:          pebble.FormatNewest,
		Logger:                      engineLogger{o.logger()},
		CacheSize:                   max(o.CacheBytes, 1),
		MemTableSize:                uint64(o.MemtableBytes),
		MemTableStopWritesThreshold: memtablesMax,
		L0StopWritesThreshold:       40, // compactions may have to wait for room; writes that prune must not wait for them
		MaxOpenFiles:                500,
	}
	// Two, so that one which waits for room does not keep out one that makes it.
	p.CompactionConcurrencyRange = func() (int, int) { return 1, 2 }
	p.Experimental.ReadSamplingMultiplier = -1
	for i := range p.Levels {
		p.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	return p
}

// engineLogger passes on what is worth a line. The engine calls Fatalf where
// it cannot go on; file errors never lead there, since the guard keeps them
// from it, so what remains is a broken invariant.
type engineLogger struct{ log *slog.Logger }

func (l engineLogger) Infof(format string, args ...any) {}
func (l engineLogger) Errorf(format string, args ...any) {
	l.log.Warn("storage: " + fmt.Sprintf(format, args...))
}
func (l engineLogger) Fatalf(format string, args ...any) {
	panic("storage: the engine's invariant is broken: " + fmt.Sprintf(format, args...))
}
