package storage

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"
	"time"
)

// operations counts what a run of w over a fresh disk does, open to close.
func operations(t *testing.T, w *workload) int {
	t.Helper()
	fs := newTestFS()
	var p progress
	s := mustOpen(t, fs)
	if err := w.run(s, &p, 0, len(w.steps)); err != nil {
		t.Fatal(err)
	}
	mustClose(t, s)
	return fs.count()
}

// TestFailedOperationStopsTheStore fails every operation of a run in turn, once.
// From then on every call fails with that first cause and its file, although
// the disk would work again; and all that was acknowledged is there at the
// next opening.
func TestFailedOperationStopsTheStore(t *testing.T) {
	w := newWorkload(5, 50)
	seen := map[string]int{}
	n := operations(t, w)
	for k := 0; k < n; k += stride {
		t.Run(fmt.Sprint(k), func(t *testing.T) { failOperation(t, w, k, seen) })
	}
	t.Logf("%d operations failed: %v", n, seen)
	for _, op := range []string{"write", "sync", "create", "rename", "remove"} {
		if seen[op] == 0 && stride == 1 {
			t.Errorf("no %s was among them", op)
		}
	}
}

func failOperation(t *testing.T, w *workload, k int, seen map[string]int) {
	fs := newTestFS()
	var p progress
	failed := ""
	fs.hook(func(n int, op, file string) error {
		if n != k {
			return nil
		}
		failed = file // before any call returns the error
		seen[op]++
		return syscall.EIO
	})
	names := func(err error) {
		t.Helper()
		if !errors.Is(err, syscall.EIO) || !strings.Contains(err.Error(), failed) {
			t.Fatalf("want an error with its cause and %s, got: %v", failed, err)
		}
	}
	s, err := Open(testDir, smallOptions(fs))
	if err != nil {
		names(err)
	} else {
		err = w.run(s, &p, 0, len(w.steps))
		if err != nil {
			if !errors.Is(err, ErrFailed) {
				t.Fatalf("want ErrFailed, got: %v", err)
			}
			names(err)
			for range 3 {
				names(s.Write(&w.steps[0].batch))
				names(s.WriteUnsynced(&w.steps[4].batch))
			}
			if _, err := s.Get([]byte("meta/position")); !errors.Is(err, ErrFailed) {
				t.Fatalf("a read after the fault: %v", err)
			}
		}
		if closeErr := s.Close(); closeErr != nil {
			names(closeErr)
		}
	}
	fs.hook(nil)
	// The power may fail right after, too.
	for _, disk := range []*testFS{fs.crashed(0, 0), fs} {
		s := mustOpen(t, disk)
		if _, err := w.check(s, p.acked.Load(), p.issued.Load()); err != nil {
			t.Fatal(err)
		}
		mustClose(t, s)
	}
}

// TestFullDiskAtEveryOperation fills the disk before every operation of a run
// in turn. The batch that does not fit is refused with ErrFull, reading goes
// on, and after room is made the run goes on to its end with nothing lost,
// nothing doubled and nothing of a refused batch.
func TestFullDiskAtEveryOperation(t *testing.T) {
	w := newWorkload(6, 40)
	n := operations(t, w)
	refused := 0
	for k := 0; k < n; k += stride {
		t.Run(fmt.Sprint(k), func(t *testing.T) { refused += fillDisk(t, w, k) })
	}
	t.Logf("%d operations, %d batches refused", n, refused)
	if refused < n/4/stride {
		t.Errorf("only %d of %d runs met a full disk", refused, n)
	}
}

func fillDisk(t *testing.T, w *workload, k int) (refused int) {
	fs := newTestFS()
	fs.silent = true // as a quota is: only writing tells
	fs.hook(func(n int, _, _ string) error {
		if n == k {
			fs.setRoom(max(1, fs.used()))
		}
		return nil
	})
	s, err := Open(testDir, smallOptions(fs))
	if err != nil {
		if !errors.Is(err, ErrFull) {
			t.Fatalf("open: want ErrFull, got: %v", err)
		}
		fs.setRoom(0)
		s = mustOpen(t, fs)
	}
	var p progress
	for i := range w.steps {
		err := w.run(s, &p, i, i+1)
		if err == nil {
			continue
		}
		refused++
		if !errors.Is(err, ErrFull) || !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("batch %d: want ErrFull, got: %v", i+1, err)
		}
		if _, err := w.check(s, p.acked.Load(), int64(i)); err != nil {
			t.Fatalf("reading while full: %v", err)
		}
		after := mustOpen(t, fs.crashed(0, 0)) // the power may fail as well
		if _, err := w.check(after, p.acked.Load(), int64(i)); err != nil {
			t.Fatalf("a crash while full: %v", err)
		}
		mustClose(t, after)
		fs.setRoom(fs.used()) // whatever the store has removed since is taken by another
		if err := s.Write(&w.steps[i].batch); !errors.Is(err, ErrFull) {
			t.Fatalf("the disk is still full, and a write says: %v", err)
		}
		fs.setRoom(0)
		s.retryAt = s.retryAt.Add(-reopenPause)
		if err := w.run(s, &p, i, i+1); err != nil {
			t.Fatalf("there is room again: %v", err)
		}
		if _, err := w.check(s, int64(i+1), int64(i+1)); err != nil {
			t.Fatalf("after room was made: %v", err)
		}
	}
	if err := s.Close(); err != nil && !errors.Is(err, ErrFull) {
		t.Fatal(err)
	}
	fs.hook(nil)
	fs.setRoom(0)
	s = mustOpen(t, fs)
	defer mustClose(t, s)
	if _, err := w.check(s, p.acked.Load(), int64(len(w.steps))); err != nil {
		t.Fatal(err)
	}
	return refused
}

// TestReserve: where the file system can tell its room, a store that fills the
// disk alone is refused while there is still enough to write out what is in
// memory, and pruning is not refused: not before the memory is written out, and
// not after, when the log files it frees are kept.
func TestReserve(t *testing.T) {
	for name, settle := range map[string]func(*Store) error{
		"at once":     func(*Store) error { return nil },
		"written out": func(s *Store) error { return s.current.db.Flush() },
	} {
		t.Run(name, func(t *testing.T) { fillAlone(t, settle) })
	}
}

func fillAlone(t *testing.T, settle func(*Store) error) {
	const steps = 30
	w := newWorkload(7, steps)
	fs := newTestFS()
	s := mustOpen(t, fs)
	defer mustClose(t, s)
	var p progress
	if err := w.run(s, &p, 0, steps); err != nil {
		t.Fatal(err)
	}
	fs.setRoom(fs.used() + s.opts.roomBytes())
	if err := s.Write(&w.steps[0].batch); !errors.Is(err, ErrFull) {
		t.Fatalf("want ErrFull, got: %v", err)
	}
	if _, err := w.check(s, steps, steps); err != nil {
		t.Fatal(err)
	}
	if err := settle(s); err != nil {
		t.Fatal(err)
	}
	var prune Batch
	prune.DeleteRange([]byte("block/"), []byte("block0"))
	if err := s.Write(&prune); err != nil {
		t.Fatalf("pruning a nearly full disk: %v", err)
	}
	if _, err := s.First(Prefix([]byte("block/"))); !errors.Is(err, ErrNotFound) {
		t.Fatalf("after pruning: %v", err)
	}
	// The deletion reaches a table without more writes, from where compactions
	// can drop what it covers.
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		if flushed, err := s.current.flushedSeq(); err != nil || flushed == steps+1 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the deletion stays in the log")
		}
	}
	fs.setRoom(0)
	if err := s.Write(&w.steps[2].batch); err != nil {
		t.Fatal(err)
	}
}

// TestFullStorePrunes: a store that fills its disk alone, over and over, is
// refused in time, can prune at once each time, and has room again from that
// alone; it never meets the disk's own end.
func TestFullStorePrunes(t *testing.T) {
	const disk, times = 8 << 20, 5
	fs := newTestFS()
	fs.setRoom(disk)
	o := smallOptions(fs)
	o.ReserveBytes = 1 << 20 // some of the largest batches here, as by default
	s, err := Open(testDir, o)
	if err != nil {
		t.Fatal(err)
	}
	defer mustClose(t, s)
	first := s.current
	random := rand.New(rand.NewPCG(8, 0))
	key := func(i int) []byte { return fmt.Appendf(nil, "block/%08d", i) }
	keys, pruned, prunings, bytes := 0, 0, 0, int64(0)
	for deadline := time.Now().Add(2 * time.Minute); bytes < times*disk; {
		var set Batch
		set.Set(key(keys), randomValue(random, random.IntN(200<<10)))
		err := s.Write(&set)
		if err == nil {
			keys++
			bytes += set.Size()
			continue
		}
		if !errors.Is(err, ErrFull) {
			t.Fatal(err)
		}
		if pruned == keys { // what was deleted takes its time to leave the disk
			if time.Now().After(deadline) {
				t.Fatalf("pruning has made no room: %v\n%s", err, s.current.db.Metrics())
			}
			time.Sleep(time.Millisecond) // between two looks
			continue
		}
		var prune Batch
		prune.DeleteRange(key(pruned), key(keys))
		if err := s.Write(&prune); err != nil {
			t.Fatalf("pruning a full disk: %v", err)
		}
		pruned, prunings = keys, prunings+1
	}
	if s.current != first {
		t.Errorf("the disk was filled to its end: %v", first.guard.fault())
	}
	if prunings < times {
		t.Errorf("only %d prunings were needed", prunings)
	}
}

func randomValue(r *rand.Rand, n int) []byte {
	v := make([]byte, n)
	for i := range v {
		v[i] = byte(r.Uint32())
	}
	return v
}
