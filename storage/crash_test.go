package storage

import (
	"errors"
	"fmt"
	"sync"
	"testing"
)

// crashKinds are the disks one power failure may leave: nothing unsynced, all
// of it, and any part of it block by block.
var crashKinds = []int{0, 100, 50}

// crashAlways recovers, at every change of fs until it is taken off, from every
// kind of crash just before that change, and returns how many it has tried.
func crashAlways(t *testing.T, fs *testFS, kinds []int, recover func(crashed *testFS, acked int64, what string), p *progress) (tried func() int) {
	var mu sync.Mutex
	n := 0
	fs.hook(func(op int, name, file string) error {
		if op%stride != 0 {
			return nil
		}
		for _, percent := range kinds {
			acked := p.acked.Load() // before the clone: a later one may not be in it
			crashed := fs.crashed(percent, uint64(op))
			mu.Lock()
			n++
			recover(crashed, acked, fmt.Sprintf("crash before operation %d, %s %s, with %d%% of unsynced blocks", op, name, file, percent))
			mu.Unlock()
		}
		return nil
	})
	return func() int { mu.Lock(); defer mu.Unlock(); return n }
}

// TestCrashAtEveryOperation takes the power away before every change to the
// file system that a run makes, from opening to closing twice, and reopens.
func TestCrashAtEveryOperation(t *testing.T) {
	const batches = 90
	w := newWorkload(2, batches)
	fs := newTestFS()
	var p progress
	tried := crashAlways(t, fs, crashKinds, func(crashed *testFS, acked int64, what string) {
		s, err := Open(testDir, smallOptions(crashed))
		if err != nil {
			t.Errorf("%s: %v", what, err)
			return
		}
		if _, err := w.check(s, acked, p.issued.Load()); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if err := s.Close(); err != nil {
			t.Errorf("%s: close: %v", what, err)
		}
	}, &p)
	for from := 0; from < batches; from += batches / 2 {
		s := mustOpen(t, fs)
		if err := w.run(s, &p, from, from+batches/2); err != nil {
			t.Fatal(err)
		}
		mustClose(t, s)
	}
	t.Logf("%d operations, %d crashes", fs.count(), tried())
	if fs.count() < batches {
		t.Fatalf("only %d operations were seen", fs.count())
	}
}

// TestCrashDuringRecovery takes the power away a second time, before every
// change that reopening after a first crash makes.
func TestCrashDuringRecovery(t *testing.T) {
	const batches = 60
	w := newWorkload(3, batches)
	disk := newTestFS()
	var p progress
	s := mustOpen(t, disk)
	if err := w.run(s, &p, 0, batches); err != nil {
		t.Fatal(err)
	}
	first := disk.crashed(50, 3)
	mustClose(t, s)

	var lowest int64
	tried := crashAlways(t, first, crashKinds, func(crashed *testFS, _ int64, what string) {
		s, err := Open(testDir, smallOptions(crashed))
		if err != nil {
			t.Errorf("%s: %v", what, err)
			return
		}
		n, err := w.check(s, p.acked.Load(), batches)
		if err != nil || n < lowest {
			t.Errorf("%s: %d batches, earlier %d: %v", what, n, lowest, err)
		}
		if err := s.Close(); err != nil {
			t.Errorf("%s: close: %v", what, err)
		}
	}, &p)
	s = mustOpen(t, first)
	n, err := w.check(s, p.acked.Load(), batches)
	if err != nil {
		t.Fatal(err)
	}
	lowest = n // what has been readable once stays
	mustClose(t, s)
	if tried() < 3*10/stride {
		t.Fatalf("only %d crashes were tried", tried())
	}
}

// TestVerifyAfterCrash: a crash leaves no damage behind.
func TestVerifyAfterCrash(t *testing.T) {
	w := newWorkload(4, 60)
	disk := newTestFS()
	var p progress
	s := mustOpen(t, disk)
	if err := w.run(s, &p, 0, 60); err != nil {
		t.Fatal(err)
	}
	for seed := range uint64(20) {
		s := mustOpen(t, disk.crashed(50, seed))
		report, err := s.Verify(t.Context())
		if err := errors.Join(err, damageError(report)); err != nil {
			t.Errorf("seed %d: %v", seed, err)
		}
		mustClose(t, s)
	}
	mustClose(t, s)
}

func damageError(r Report) error {
	var errs []error
	for _, d := range r.Damage {
		errs = append(errs, fmt.Errorf("%s: %w", d.File, d.Err))
	}
	return errors.Join(errs...)
}
