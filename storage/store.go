package storage

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// reopenPause is the shortest time between two attempts to write again after a
// full disk. An attempt replays the log; a quota that free space does not
// show would otherwise have every refused write pay for one.
const reopenPause = time.Second

// Store is an open directory. Many goroutines may call every method.
//
// Invariants, where seq numbers batches from 1:
//
//  1. acked <= durable <= seq
//  2. what is read is the effect of batches 1 to n for one n, acked <= n <= seq
//  3. after the first fault no byte of the directory changes until another
//     engine has read it as after a crash
type Store struct {
	dir   string
	opts  Options
	log   *slog.Logger
	lock  io.Closer
	acked *ackedMark

	// order gives one batch at a time its number and its place in the log. It
	// is taken before mu and never held while a sync is waited for.
	order         sync.Mutex
	seq           atomic.Uint64   // changed under order only
	unsynced      []unsyncedBatch // oldest first
	unsyncedBytes int64

	// mu guards which engine is current. It is held over I/O only to exchange
	// the engine, when every call has to wait for the new one anyway.
	mu      sync.Mutex
	changed sync.Cond // refs fell or an engine was closed
	current *engine
	open    map[*engine]bool
	closing atomic.Bool // set once, under mu; scans look at it without
	failed  error
	retryAt time.Time
}

// unsyncedBatch is kept until a sync covers it, to be written again if a full
// disk took it: what WriteUnsynced has accepted is lost by a crash only.
type unsyncedBatch struct {
	seq  uint64
	repr []byte
}

// Open opens dir, or makes it if it is not there, and checks that everything
// acknowledged is in it. The errors are ErrLocked, ErrCorrupt and ErrFull, or
// they name the file that could not be written or read. On ErrCorrupt nothing
// in dir has been changed.
func Open(dir string, opts Options) (_ *Store, err error) {
	if err := opts.Validate(); err != nil {
		return nil, fmt.Errorf("storage options: %w", err)
	}
	s := &Store{dir: dir, opts: opts, log: opts.logger(), open: map[*engine]bool{}}
	s.changed.L = &s.mu
	if err := makeDir(opts.FS, dir); err != nil {
		return nil, s.startError(err)
	}
	if s.lock, err = lockDir(dir, opts); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.lock.Close())
		}
	}()
	last, err := s.look()
	if err != nil {
		return nil, err
	}
	if err := s.start(last); err != nil {
		return nil, errors.Join(s.startError(err), s.acked.close(false))
	}
	return s, nil
}

func lockDir(dir string, opts Options) (io.Closer, error) {
	lock, err := opts.FS.Lock(opts.FS.PathJoin(dir, "LOCK"))
	if err == nil {
		return lock, nil
	}
	// Only the kernel's two words for a lock held elsewhere, and the word of
	// this process, mean that; anything else is a directory that cannot be locked.
	var errno syscall.Errno
	if errors.As(err, &errno) && (isPathError(err) || errno != syscall.EAGAIN && errno != syscall.EACCES) {
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	return nil, fmt.Errorf("%w: %s: another store has it open (%w): stop that process or choose another directory",
		ErrLocked, dir, err)
}

func isPathError(err error) bool {
	var p *fs.PathError
	return errors.As(err, &p)
}

// makeDir makes dir and every directory above it that is missing, durably.
func makeDir(fs vfs.FS, dir string) error {
	var fresh []string // directories that get a new entry
	for d := dir; ; {
		if _, err := fs.Stat(d); err == nil {
			break
		}
		parent := fs.PathDir(d)
		fresh = append(fresh, parent)
		if parent == d {
			break
		}
		d = parent
	}
	if err := fs.MkdirAll(dir, 0o755); err != nil {
		return &Fault{Op: "make directory", File: dir, Err: err}
	}
	// Even one that is there may have been made by a run that died before this
	// sync, so the parent is always among them.
	for _, d := range append(fresh, fs.PathDir(dir)) {
		if err := syncDir(fs, d); err != nil {
			return err
		}
	}
	return nil
}

func syncDir(fs vfs.FS, dir string) error {
	d, err := fs.OpenDir(dir)
	if err != nil {
		return err
	}
	if err := d.Sync(); err != nil {
		return errors.Join(&Fault{Op: opSync, File: dir, Err: err}, d.Close())
	}
	return d.Close()
}

// look opens the mark, and the store read-only to check its history. It
// returns the number of the last batch.
func (s *Store) look() (last uint64, err error) {
	desc, err := pebble.Peek(s.dir, s.opts.FS)
	if err != nil {
		return 0, fmt.Errorf("look into %s: %w", s.dir, err)
	}
	if s.acked, err = openAcked(s.opts.FS, s.dir, desc.Exists); err != nil {
		return 0, s.startError(err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.acked.close(false))
		}
	}()
	acked := s.acked.noted()
	if !desc.Exists {
		if acked > 0 {
			return 0, corruptError(s.dir, fmt.Errorf("%d batches were acknowledged and there is no manifest", acked))
		}
		return 0, nil
	}
	e, err := openEngine(s.dir, s.opts, true)
	if err != nil {
		return 0, openError(s.opts.FS, s.dir, err)
	}
	defer func() { err = errors.Join(err, e.close()) }()
	return checkHistory(s.opts.FS, s.dir, e, acked)
}

// start opens the store for writing at batch last.
func (s *Store) start(last uint64) error {
	if err := s.acked.initialise(s.opts.FS, s.dir); err != nil {
		return err
	}
	e, err := openEngine(s.dir, s.opts, false)
	if err != nil {
		return openError(s.opts.FS, s.dir, err)
	}
	// Opening made everything it found durable.
	err = s.acked.note(last)
	if err == nil {
		err = renewManifest(s.opts, s.dir, e)
	}
	if err != nil {
		return errors.Join(err, e.close())
	}
	s.seq.Store(last)
	s.current, s.open[e] = e, true
	return nil
}

// renewManifest replaces a manifest that a crash left with a torn end, so that
// Verify may call any such end damage. An empty flush makes the engine begin a
// new one.
func renewManifest(opts Options, dir string, e *engine) error {
	if _, err := checkManifest(opts.FS, dir); err == nil {
		return nil
	}
	if err := e.db.Flush(); err != nil {
		return err
	}
	if f := e.guard.fault(); f != nil {
		return f
	}
	return nil
}

func (s *Store) startError(err error) error {
	var f *Fault
	if errors.As(err, &f) && f.full() {
		return fmt.Errorf("%w: %w: make room, then open the store again", ErrFull, f)
	}
	return err
}

// Write makes b visible and durable, all of it or nothing, and returns nil when
// it is. Calls that wait at the same time share a sync. Others may read b's
// effect before Write returns.
//
// ErrFull, ErrTooLarge and ErrBadKey mean that nothing of b was kept. After
// ErrFailed b may be found, whole, when the store is opened again.
func (s *Store) Write(b *Batch) error {
	if err := s.admit(b); err != nil {
		return err
	}
	s.order.Lock()
	e, err := s.writer(b)
	if err != nil {
		s.order.Unlock()
		return err
	}
	defer s.release(e)
	defer e.written(b)
	if b.Len() == 0 {
		s.order.Unlock()
		return nil
	}
	wb, seq := s.enqueue(e, &b.ops, true)
	s.order.Unlock()
	err = s.conclude(e, seq, wb.SyncWait())
	if err == nil {
		s.reclaim(e, b)
	}
	return err
}

// WriteUnsynced makes b visible and returns without waiting for the disk. It
// is for what can be rebuilt, such as an index.
//
// The contract: batches, of both kinds, become durable in the order they were
// written, so a crash loses only the last ones, and a durable Write makes all
// before it durable too. At most UnsyncedBytesMax bytes are in danger. An index
// that stores its position in the same batch finds after a crash where to go on.
// While the disk is full the last of them may be unreadable; they return.
func (s *Store) WriteUnsynced(b *Batch) error {
	if err := s.admit(b); err != nil {
		return err
	}
	s.order.Lock()
	s.forgetSynced()
	if s.unsyncedBytes+b.Size() > s.opts.UnsyncedBytesMax {
		s.order.Unlock()
		return s.Write(b)
	}
	defer s.order.Unlock()
	e, err := s.writer(b)
	if err != nil {
		return err
	}
	defer s.release(e)
	defer e.written(b)
	if b.Len() == 0 {
		return nil
	}
	_, seq := s.enqueue(e, &b.ops, false)
	s.unsynced = append(s.unsynced, unsyncedBatch{seq, append([]byte(nil), b.ops.Repr()...)})
	s.unsyncedBytes += b.Size()
	return nil
}

func (s *Store) admit(b *Batch) error {
	if b.err != nil {
		return b.err
	}
	if b.Size() > s.opts.BatchBytesMax {
		return fmt.Errorf("%w: a batch of %d bytes; BatchBytesMax is %d: write it in parts", ErrTooLarge, b.Size(), s.opts.BatchBytesMax)
	}
	return nil
}

// forgetSynced drops the unsynced batches that a sync has covered since.
func (s *Store) forgetSynced() {
	acked, n := s.acked.noted(), 0
	for n < len(s.unsynced) && s.unsynced[n].seq <= acked {
		s.unsyncedBytes -= int64(len(s.unsynced[n].repr))
		s.unsynced[n].repr = nil
		n++
	}
	s.unsynced = s.unsynced[n:]
}

// enqueue gives ops the next number and hands them to e. The caller holds order.
func (s *Store) enqueue(e *engine, ops *pebble.Batch, sync bool) (*pebble.Batch, uint64) {
	seq := s.seq.Load() + 1
	wb := e.db.NewBatchWithSize(ops.Len() + 64)
	err := wb.Set(seqKey, encodeSeq(seq), nil)
	if err == nil {
		err = wb.Apply(ops, nil)
	}
	if err == nil && sync {
		err = e.db.ApplyNoSyncWait(wb, pebble.Sync)
	} else if err == nil {
		err = e.db.Apply(wb, pebble.NoSync)
	}
	if err != nil {
		// The batch was checked, the engine is open for writing, and file
		// errors do not reach it.
		panic(fmt.Sprintf("storage: the engine refused a valid batch: %v", err))
	}
	s.seq.Store(seq)
	return wb, seq
}

// conclude says what became of batch seq once e has returned from its sync.
func (s *Store) conclude(e *engine, seq uint64, err error) error {
	if err == nil && e.guard.fault() == nil {
		if err = s.acked.note(seq); err == nil {
			return nil
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if e.guard.fault() == nil {
		s.fail(err)
	}
	s.settle(e)
	switch {
	case s.failed != nil:
		return s.failed
	case seq <= e.landed:
		return nil // it was whole before the disk filled up, and is synced now
	}
	return s.fullError(e.guard.fault())
}

// fail stops the store for good and lets its engine go. The caller holds mu.
func (s *Store) fail(err error) {
	if s.failed != nil {
		return
	}
	var f *Fault
	if !errors.As(err, &f) {
		f = &Fault{Op: "use", File: s.dir, Err: err}
	}
	s.failed = failedError(f)
	s.log.Error("storage: stopped", "dir", s.dir, "err", f)
	s.drop(s.current)
}

func (s *Store) fullError(f *Fault) error {
	return fmt.Errorf("%w: %w: the batch was refused and reading goes on; make room on the disk of %s, or delete, and write again",
		ErrFull, f, s.dir)
}

// Close waits for calls that are under way, makes everything written durable
// and releases the directory. A running scan ends with ErrClosed at its next
// step, so do not close from inside one. Closing twice is harmless.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closing.Swap(true) {
		s.mu.Unlock()
		return nil
	}
	for !s.quiet() {
		s.changed.Wait()
	}
	e, failed := s.current, s.failed
	s.mu.Unlock()

	if failed != nil { // as the call that met it has been told
		return errors.Join(s.acked.close(false), s.lock.Close())
	}
	err := s.closeError(e.close())
	whole := err == nil && !e.readOnly // all that was written is durable now
	if whole {
		err = s.acked.note(s.seq.Load())
	}
	return errors.Join(err, s.acked.close(whole), s.lock.Close())
}

// quiet says whether no call is under way and no engine is open, but for the
// current one of a store that works. The caller holds mu.
func (s *Store) quiet() bool {
	if s.failed != nil {
		return len(s.open) == 0
	}
	return len(s.open) == 1 && s.current.refs == 1
}

func (s *Store) closeError(err error) error {
	var f *Fault
	switch {
	case !errors.As(err, &f):
		return err
	case f.full():
		return fmt.Errorf("%w: %w: the last unsynced batches may be lost; make room, then open the store again", ErrFull, f)
	}
	return failedError(f)
}
