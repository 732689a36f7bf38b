package storage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable"
)

// verifyTries is how often a file that the store writes to meanwhile is read
// again before its end is called damaged.
const verifyTries = 3

// Report is what Verify found.
type Report struct {
	Files  int // read from the first to the last byte
	Keys   int // read back through the store
	Damage []Damage
}

// Damage is a file that is not what was once written.
type Damage struct {
	File string
	Err  error
}

// Verify reads everything from disk: every block of every table, every record
// of the logs and the manifest through its checksum, the mark of
// acknowledgement, and then every key in order. It names each damaged file,
// and goes on after it. The error is for when it could not do its work. Writes
// may go on meanwhile.
func (s *Store) Verify(ctx context.Context) (Report, error) {
	e, err := s.acquire()
	if err != nil {
		return Report{}, err
	}
	defer s.release(e)
	v := verifier{store: s, engine: e, acked: s.acked.noted()}
	for _, step := range []func(context.Context) error{v.tables, v.logs, v.manifest, v.options, v.mark, v.keys} {
		if err := errors.Join(step(ctx), ctx.Err()); err != nil {
			return v.report, err
		}
	}
	return v.report, nil
}

type verifier struct {
	store  *Store
	engine *engine
	acked  uint64
	report Report
}

func (v *verifier) damaged(file string, err error) {
	v.report.Damage = append(v.report.Damage, Damage{File: file, Err: err})
}

func (v *verifier) tables(ctx context.Context) error {
	names, err := v.tableNames()
	if err != nil {
		return readError(v.store.dir, err)
	}
	for _, name := range names {
		if ctx.Err() != nil {
			return nil
		}
		err := verifyTable(ctx, v.store, name)
		if errors.Is(err, fs.ErrNotExist) {
			// A compaction may have replaced it since the list was made.
			now, listErr := v.tableNames()
			if listErr == nil && !slices.Contains(now, name) {
				continue
			}
		}
		v.report.Files++
		if err != nil {
			v.damaged(name, err)
		}
	}
	return nil
}

func (v *verifier) tableNames() ([]string, error) {
	names, err := v.engine.tables()
	for i, name := range names {
		names[i] = v.path(name)
	}
	return names, err
}

func (v *verifier) path(name string) string { return v.store.opts.FS.PathJoin(v.store.dir, name) }

// verifyTable reads a table without the cache, which may hold good blocks of a
// file that is damaged by now.
func verifyTable(ctx context.Context, s *Store, name string) (err error) {
	f, err := s.opts.FS.Open(name)
	if err != nil {
		return err
	}
	readable, err := sstable.NewSimpleReadable(f)
	if err != nil {
		return errors.Join(err, f.Close())
	}
	opts := s.opts.engine(s.opts.FS, true)
	opts.EnsureDefaults()
	r, err := sstable.NewReader(ctx, readable, opts.MakeReaderOptions())
	if err != nil {
		return errors.Join(err, readable.Close())
	}
	return errors.Join(r.ValidateBlockChecksums(), r.Close())
}

// settled repeats check while what it finds may be a write under way.
func settled(check func() (string, error)) (name string, err error) {
	for range verifyTries {
		if name, err = check(); err == nil {
			break
		}
	}
	return name, err
}

func (v *verifier) logs(context.Context) error {
	flushed, err := v.engine.flushedSeq()
	if err != nil {
		// A damaged table, named already, hides what is flushed: take every
		// log as it comes.
		flushed = v.acked
	}
	var h logHistory
	name, err := settled(func() (string, error) {
		var err error
		h, err = readLogs(v.store.opts.FS, v.store.dir, flushed)
		if errors.Is(err, fs.ErrNotExist) { // flushed and removed since it was listed
			return h.newest, nil
		}
		if err == nil && h.last < v.acked {
			err = fmt.Errorf("batches %d to %d were acknowledged and are in no log", h.last+1, v.acked)
			return suspects(v.store.opts.FS, v.store.dir), err
		}
		return h.newest, err
	})
	v.report.Files++
	if err != nil {
		v.damaged(name, err)
	}
	return nil
}

func (v *verifier) manifest(context.Context) error {
	name, err := settled(func() (string, error) { return checkManifest(v.store.opts.FS, v.store.dir) })
	v.report.Files++
	if err != nil {
		v.damaged(name, err)
	}
	return nil
}

func (v *verifier) options(context.Context) error {
	name, err := checkOptions(v.store.opts.FS, v.store.dir)
	v.report.Files++
	if err != nil {
		v.damaged(name, err)
	}
	return nil
}

func (v *verifier) mark(context.Context) error {
	name := v.store.acked.name
	seq, err := readAcked(v.store.opts.FS, name)
	v.report.Files++
	if err != nil {
		v.damaged(name, err)
	} else if seq < v.acked {
		v.damaged(name, fmt.Errorf("it says %d batches were acknowledged; there were %d", seq, v.acked))
	}
	return nil
}

// keys reads every key and value in order, and checks that they are in order.
func (v *verifier) keys(ctx context.Context) error {
	var last []byte
	for entry, err := range v.store.Scan(Range{}) {
		if err != nil {
			if errors.Is(err, ErrCorrupt) {
				v.damagedOnce(err)
				return nil
			}
			return err
		}
		if ctx.Err() != nil {
			return nil
		}
		if bytes.Compare(last, entry.Key) >= 0 {
			v.damaged(v.store.dir, fmt.Errorf("key %q comes after %q", entry.Key, last))
			return nil
		}
		last = append(last[:0], entry.Key...)
		v.report.Keys++
	}
	return nil
}

// damagedOnce adds what reading met, unless its file is named already.
func (v *verifier) damagedOnce(err error) {
	file := v.store.dir
	if info := pebble.ExtractDataCorruptionInfo(err); info != nil {
		file = info.Path
	}
	for _, d := range v.report.Damage {
		if d.File == file {
			return
		}
	}
	v.damaged(file, err)
}
