package storage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"
)

// seqKey holds the number of the last batch in the store. Every batch sets it,
// so the state on disk says which batches it is made of: exactly 1 to that.
var seqKey = []byte{reservedByte, 's', 'e', 'q'}

const seqBytes = 8

// engine is one life of the store underneath. The store exchanges it for
// another when the disk was full.
type engine struct {
	db       *pebble.DB
	guard    *guard
	readOnly bool
	// landed is the last batch that reached the disk. It is set when the engine
	// settles: when a fault has stopped it and the directory was read again.
	landed  uint64
	settled bool
	refs    int // calls that use it, and one for being current
}

func openEngine(dir string, opts Options, readOnly bool) (e *engine, err error) {
	g := newGuard(opts)
	// The engine replays its log with assertions that damaged bytes can trip.
	defer func() {
		if r := recover(); r != nil {
			g.retire()
			e, err = nil, fmt.Errorf("the engine gave up: %v", r)
		}
	}()
	o := opts.engine(g, readOnly)
	// The engine's own answer to damage is to end the process; ours is an
	// error to whoever reads it. Both events are only told here, and after a
	// fault not even that: work on files that exist only in the guard's lie fails.
	log := opts.logger()
	o.EventListener = &pebble.EventListener{
		BackgroundError: func(err error) {
			if g.fault() == nil {
				log.Warn("storage: background work failed", "err", err)
			}
		},
		DataCorruption: func(i pebble.DataCorruptionInfo) { log.Error("storage: damaged file", "file", i.Path) },
	}
	db, err := pebble.Open(dir, o)
	if f := g.fault(); f != nil {
		if db != nil {
			_ = db.Close() // in a lie; there is nothing to lose
		}
		return nil, f
	}
	if err != nil {
		return nil, err
	}
	memory := func() int64 { return int64(db.Metrics().MemTable.Size) }
	g.memory.Store(&memory)
	return &engine{db: db, guard: g, readOnly: readOnly, refs: 1}, nil
}

// tables are the names of the tables that the engine's state is made of.
func (e *engine) tables() ([]string, error) {
	levels, err := e.db.SSTables()
	if err != nil {
		return nil, err
	}
	var names []string
	for _, level := range levels {
		for _, table := range level {
			names = append(names, fmt.Sprintf("%s.sst", table.BackingSSTNum))
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// close releases the engine and returns what went wrong in writing.
func (e *engine) close() error {
	err := e.db.Close()
	if f := e.guard.fault(); f != nil {
		return f
	}
	return err
}

// lastSeq is the number of the last batch the engine knows.
func (e *engine) lastSeq() (uint64, error) {
	v, closer, err := e.db.Get(seqKey)
	if errors.Is(err, pebble.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer closer.Close()
	return decodeSeq(v)
}

// flushedSeq is the number of the last batch that is in the tables, without the log.
func (e *engine) flushedSeq() (seq uint64, err error) {
	it, err := e.db.NewIter(&pebble.IterOptions{OnlyReadGuaranteedDurable: true, UpperBound: []byte{reservedByte + 1}})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	if !it.SeekGE(seqKey) {
		return 0, it.Error()
	}
	return decodeSeq(it.Value())
}

func encodeSeq(seq uint64) []byte { return binary.BigEndian.AppendUint64(nil, seq) }

func decodeSeq(v []byte) (uint64, error) {
	if len(v) != seqBytes {
		return 0, fmt.Errorf("the batch number has %d bytes, not %d", len(v), seqBytes)
	}
	return binary.BigEndian.Uint64(v), nil
}
