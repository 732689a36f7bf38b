package storage

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// deleteFloor is the part of ReserveBytes that batches which only delete leave
// alone. It is less than spareFloor: a compaction that is under way must not take
// the room of what is deleted meanwhile.
const deleteFloor = 16

// acquire returns the engine to read from. Release it.
func (s *Store) acquire() (*engine, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(); err != nil {
		return nil, err
	}
	s.current.refs++
	return s.current, nil
}

// usable settles a fault of the current engine, if it has one, and says whether
// the store can at least read. The caller holds mu.
func (s *Store) usable() error {
	if s.closing.Load() {
		return fmt.Errorf("%w: %s", ErrClosed, s.dir)
	}
	if s.failed == nil && s.current.guard.fault() != nil {
		s.settle(s.current)
	}
	return s.failed
}

// release ends a call's use of e, which may be nil.
func (s *Store) release(e *engine) {
	if e == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop(e)
}

// drop gives up one reference to e. Another goroutine closes an engine that
// nobody uses any more, since it may have a compaction to see to its end;
// Close waits for it. The caller holds mu.
func (s *Store) drop(e *engine) {
	e.refs--
	s.changed.Broadcast()
	if e.refs > 0 {
		return
	}
	go func() {
		if err := e.close(); err != nil {
			s.log.Debug("storage: closed an engine that a full disk had stopped", "err", err)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.open, e)
		s.changed.Broadcast()
	}()
}

// settle finds out, once, what became of an engine that met a fault: another
// than a full disk fails the store; after a full disk the directory is read
// again as after a crash, and serves reads. The caller holds mu.
func (s *Store) settle(e *engine) {
	if e.settled || s.failed != nil {
		return
	}
	e.settled = true
	e.guard.still()
	fault := e.guard.fault()
	if fault == nil || !fault.full() {
		s.fail(fault)
		return
	}
	s.log.Warn("storage: disk is full, reading only", "dir", s.dir, "err", fault)
	reader, err := s.openReader()
	if err != nil {
		s.fail(err)
		return
	}
	e.landed = reader.landed
	s.exchange(reader)
}

// openReader makes durable what the directory holds and opens it read-only.
func (s *Store) openReader() (*engine, error) {
	if err := s.syncLogs(); err != nil {
		return nil, err
	}
	e, err := openEngine(s.dir, s.opts, true)
	if err != nil {
		return nil, openError(s.opts.FS, s.dir, err)
	}
	e.landed, err = checkHistory(s.opts.FS, s.dir, e, s.acked.noted())
	if err == nil {
		err = s.acked.note(e.landed)
	}
	if err == nil {
		err = s.removeDebris(e)
	}
	if err != nil {
		return nil, errors.Join(err, e.close())
	}
	return e, nil
}

// removeDebris removes the tables that e, and so the disk, does not count as the
// store's: what flushes and compactions had begun when the disk filled up. They
// are often what filled it.
func (s *Store) removeDebris(e *engine) error {
	tables, err := e.tables()
	if err != nil {
		return readError(s.dir, err)
	}
	names, err := s.opts.FS.List(s.dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if !strings.HasSuffix(name, ".sst") || slices.Contains(tables, name) {
			continue
		}
		name = s.opts.FS.PathJoin(s.dir, name)
		if err := s.opts.FS.Remove(name); err != nil {
			return &Fault{Op: "remove", File: name, Err: err}
		}
	}
	return nil
}

// syncLogs makes durable the batches that were written and not yet synced when
// the disk was found full. No sync has failed, so this one can be believed.
func (s *Store) syncLogs() error {
	names, err := s.opts.FS.List(s.dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if !strings.HasSuffix(name, ".log") {
			continue
		}
		name = s.opts.FS.PathJoin(s.dir, name)
		f, err := s.opts.FS.Open(name)
		if err != nil {
			return err
		}
		if err := f.Sync(); err != nil {
			return errors.Join(&Fault{Op: opSync, File: name, Err: err}, f.Close())
		}
		if err := f.Close(); err != nil {
			return err
		}
	}
	return syncDir(s.opts.FS, s.dir)
}

// exchange makes e current. The caller holds mu.
func (s *Store) exchange(e *engine) {
	old := s.current
	s.current, s.open[e] = e, true
	s.drop(old)
}

// writer returns the engine to write b to. Release it, and the batch's room with
// written, when b is in the log. The caller holds order.
func (s *Store) writer(b *Batch) (*engine, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(); err != nil {
		return nil, err
	}
	e := s.current
	e.promise(b)
	err := s.room(b)
	if err == nil && e.readOnly {
		e.written(b)
		if err = s.resume(); err != nil {
			return nil, err
		}
		e = s.current
		e.promise(b)
	}
	if err != nil {
		e.written(b)
		return nil, err
	}
	e.refs++
	return e, nil
}

// promise keeps compactions from the room b will take, from before it is looked for: a
// compaction does so too, and both would take the same.
func (e *engine) promise(b *Batch) {
	e.guard.promised.Add(b.roomBytes())
	e.guard.batches.Add(1)
}

// written gives up what was promised to b: it is in the log, and counts as memory, or
// it is refused.
func (e *engine) written(b *Batch) { e.guard.promised.Add(-b.roomBytes()) }

// room refuses b when the disk could not take it. What sets keys leaves room for
// all that may be in memory by then, apart from ReserveBytes: writing it out takes
// room and makes none, because the log files it frees are kept for reuse. A file
// system that cannot tell its free room is asked by writing.
//
// Who may take the free room, and what they leave of it:
//
//	batches that set   ReserveBytes + memoryBytesMax
//	flushes            ReserveBytes, if only this store fills the disk
//	compactions        ReserveBytes / spareFloor and what is in memory; they give back what they take
//	batches that delete  ReserveBytes / deleteFloor
func (s *Store) room(b *Batch) error {
	usage, err := s.opts.FS.GetDiskUsage(s.dir)
	if err != nil {
		return nil
	}
	floor := s.opts.roomBytes()
	if b.sets == 0 {
		floor = s.opts.ReserveBytes / deleteFloor
	}
	need := uint64(floor + b.roomBytes())
	if usage.AvailBytes >= need {
		return nil
	}
	return s.fullError(&Fault{Op: "write", File: s.dir,
		Err: fmt.Errorf("%w: %d bytes are free and %d are needed", syscall.ENOSPC, usage.AvailBytes, need)})
}

// reclaim has b's deletions take effect on the disk now, if b is nothing else and
// room is short: tables that hold only what is deleted are dropped once the
// deletion is in a table itself, which would else wait for more writes.
func (s *Store) reclaim(e *engine, b *Batch) {
	usage, err := s.opts.FS.GetDiskUsage(s.dir)
	if b.sets > 0 || err != nil || usage.AvailBytes >= uint64(s.opts.roomBytes()) {
		return
	}
	// Its fault, if it meets one, is the guard's to keep.
	_, _ = e.db.AsyncFlush()
}

// resume opens the directory for writing again and writes what a full disk took
// from WriteUnsynced. The caller holds order and mu.
func (s *Store) resume() error {
	if time.Now().Before(s.retryAt) {
		return s.fullError(&Fault{Op: "write", File: s.dir, Err: fmt.Errorf("%w a moment ago", syscall.ENOSPC)})
	}
	landed := s.current.landed
	for e := range s.open { // order: each is only told to stop
		e.guard.retire()
	}
	e, err := openEngine(s.dir, s.opts, false)
	if err != nil {
		return s.stayReading(err)
	}
	last, err := e.lastSeq()
	if err == nil && last != landed {
		err = corruptError(s.dir, fmt.Errorf("it holds %d batches, a moment ago %d", last, landed))
	}
	if err != nil {
		s.fail(errors.Join(err, e.close()))
		return s.failed
	}
	s.exchange(e)
	s.rewriteUnsynced(e, landed)
	s.log.Info("storage: there is room again, writing", "dir", s.dir)
	return nil
}

// rewriteUnsynced gives new numbers to the batches of WriteUnsynced that did
// not land, in their order.
func (s *Store) rewriteUnsynced(e *engine, landed uint64) {
	s.seq.Store(landed)
	s.forgetSynced()
	lost := s.unsynced
	s.unsynced = slices.Clip(lost[:0:0])
	for _, u := range lost {
		var ops pebble.Batch
		if err := ops.SetRepr(u.repr); err != nil {
			panic(fmt.Sprintf("storage: a batch kept in memory is not one: %v", err))
		}
		_, u.seq = s.enqueue(e, &ops, false)
		s.unsynced = append(s.unsynced, u)
	}
}

// stayReading goes back to reading after err kept the directory from opening.
func (s *Store) stayReading(err error) error {
	var fault *Fault
	if !errors.As(err, &fault) || !fault.full() {
		s.fail(openError(s.opts.FS, s.dir, err))
		return s.failed
	}
	s.retryAt = time.Now().Add(reopenPause)
	reader, err := s.openReader()
	if err != nil {
		s.fail(err)
		return s.failed
	}
	s.exchange(reader)
	return s.fullError(fault)
}
