package storage

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
)

func write(t *testing.T, s *Store, pairs ...string) {
	t.Helper()
	var b Batch
	for i := 0; i < len(pairs); i += 2 {
		b.Set([]byte(pairs[i]), []byte(pairs[i+1]))
	}
	if err := s.Write(&b); err != nil {
		t.Fatal(err)
	}
}

func keysOf(t *testing.T, s *Store, r Range, back bool) string {
	t.Helper()
	var keys []string
	for e, err := range s.scan(r, back) {
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, string(e.Key))
	}
	return strings.Join(keys, " ")
}

func TestScan(t *testing.T) {
	s := mustOpen(t, newTestFS())
	defer mustClose(t, s)
	write(t, s, "a", "1", "b/1", "2", "b/2", "3", "b/3", "4", "b\xff", "5", "c", "6", "\xff\xff", "7")
	for _, c := range []struct {
		r    Range
		want string
	}{
		{Range{}, "a b/1 b/2 b/3 b\xff c \xff\xff"},
		{Prefix([]byte("b/")), "b/1 b/2 b/3"},
		{Prefix([]byte("b")), "b/1 b/2 b/3 b\xff"},
		{Prefix([]byte("b\xff")), "b\xff"},
		{Prefix([]byte("\xff")), "\xff\xff"},
		{Prefix(nil), "a b/1 b/2 b/3 b\xff c \xff\xff"},
		{Range{From: []byte("b/2"), To: []byte("c")}, "b/2 b/3 b\xff"},
		{Range{From: []byte("b/2")}, "b/2 b/3 b\xff c \xff\xff"},
		{Range{To: []byte("b/2")}, "a b/1"},
		{Range{From: []byte("c"), To: []byte("b")}, ""},
		{Prefix([]byte("d")), ""},
		{Prefix([]byte{0}), ""}, // the store's own keys are not shown
		{Range{From: []byte{0}, To: []byte("b")}, "a"},
	} {
		if got := keysOf(t, s, c.r, false); got != c.want {
			t.Errorf("%q: got %q, want %q", c.r, got, c.want)
		}
		back := strings.Fields(c.want)
		slices.Reverse(back)
		if got := keysOf(t, s, c.r, true); got != strings.Join(back, " ") {
			t.Errorf("%q backwards: got %q", c.r, got)
		}
		first, last := "", ""
		if len(back) > 0 {
			first, last = back[len(back)-1], back[0]
		}
		if e, err := s.First(c.r); string(e.Key) != first || errors.Is(err, ErrNotFound) != (first == "") {
			t.Errorf("%q first: %q, %v", c.r, e.Key, err)
		}
		if e, err := s.Last(c.r); string(e.Key) != last || errors.Is(err, ErrNotFound) != (last == "") {
			t.Errorf("%q last: %q, %v", c.r, e.Key, err)
		}
	}
}

func TestScanSeesOneMoment(t *testing.T) {
	s := mustOpen(t, newTestFS())
	defer mustClose(t, s)
	write(t, s, "a", "1", "c", "1")
	seen := ""
	for e, err := range s.Scan(Range{}) {
		if err != nil {
			t.Fatal(err)
		}
		seen += string(e.Key) + string(e.Value)
		write(t, s, "b", "2", "c", "2") // and writing from inside a scan is allowed
	}
	if seen != "a1c1" {
		t.Errorf("saw %q", seen)
	}
}

func TestBatch(t *testing.T) {
	s := mustOpen(t, newTestFS())
	defer mustClose(t, s)
	write(t, s, "x", "old", "y", "1", "z", "1")
	key := []byte("x")
	var b Batch
	b.Set(key, []byte("new"))
	key[0] = '!' // the batch has its own copy
	b.DeleteRange([]byte("y"), []byte("zz"))
	b.Set([]byte("z"), nil) // later changes win
	b.Delete([]byte("never there"))
	if b.Len() != 4 {
		t.Errorf("%d changes", b.Len())
	}
	for range 2 { // a batch may be written again
		if err := s.Write(&b); err != nil {
			t.Fatal(err)
		}
		if got := keysOf(t, s, Range{}, false); got != "x z" {
			t.Errorf("keys %q", got)
		}
	}
	if v, err := s.Get([]byte("x")); err != nil || string(v) != "new" {
		t.Errorf("x is %q, %v", v, err)
	}
	if v, err := s.Get([]byte("z")); err != nil || v == nil || len(v) != 0 {
		t.Errorf("an empty value reads as %v, %v", v, err)
	}
	if _, err := s.Get([]byte("y")); !errors.Is(err, ErrNotFound) {
		t.Errorf("y: %v", err)
	}
	b.Reset()
	if err := s.Write(&b); err != nil || b.Len() != 0 || b.Size() != 0 {
		t.Errorf("an empty batch: %v, %d changes of %d bytes", err, b.Len(), b.Size())
	}
}

func TestBadBatchesAreRefusedWhole(t *testing.T) {
	s := mustOpen(t, newTestFS())
	defer mustClose(t, s)
	for name, c := range map[string]struct {
		change func(b *Batch)
		want   error
	}{
		"empty key":      {func(b *Batch) { b.Set(nil, nil) }, ErrBadKey},
		"reserved key":   {func(b *Batch) { b.Delete([]byte{0, 1}) }, ErrBadKey},
		"long key":       {func(b *Batch) { b.Set(make1(KeyBytesMax+1), nil) }, ErrTooLarge},
		"backward range": {func(b *Batch) { b.DeleteRange([]byte("b"), []byte("a")) }, ErrBadKey},
		"empty range":    {func(b *Batch) { b.DeleteRange([]byte("a"), []byte("a")) }, ErrBadKey},
		"large batch":    {func(b *Batch) { b.Set([]byte("k"), make1(int(s.opts.BatchBytesMax))) }, ErrTooLarge},
	} {
		var b Batch
		b.Set([]byte("good"), nil)
		c.change(&b)
		b.Set([]byte("good too"), nil)
		for _, write := range []func(*Batch) error{s.Write, s.WriteUnsynced} {
			if err := write(&b); !errors.Is(err, c.want) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if got := keysOf(t, s, Range{}, false); got != "" {
			t.Errorf("%s: kept %q", name, got)
		}
	}
	longest := make1(KeyBytesMax)
	write(t, s, string(longest), "v")
	if v, err := s.Get(longest); err != nil || string(v) != "v" {
		t.Errorf("the longest key: %q, %v", v, err)
	}
}

func make1(n int) []byte { return bytes.Repeat([]byte{1}, n) }

func TestClosed(t *testing.T) {
	s := mustOpen(t, newTestFS())
	write(t, s, "a", "1", "b", "2")
	inside, closed := make(chan bool), make(chan error)
	go func() { <-inside; closed <- s.Close() }()
	var last error
	for _, err := range s.Scan(Range{}) {
		if err != nil {
			last = err
			break
		}
		inside <- true
		for !s.closing.Load() {
		}
	}
	if !errors.Is(last, ErrClosed) {
		t.Errorf("a scan under Close: %v", last)
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("closed twice: %v", err)
	}
	var b Batch
	b.Set([]byte("a"), nil)
	_, getErr := s.Get([]byte("a"))
	_, firstErr := s.First(Range{})
	_, usageErr := s.Usage()
	_, verifyErr := s.Verify(t.Context())
	for i, err := range []error{s.Write(&b), s.WriteUnsynced(&b), getErr, firstErr, usageErr, verifyErr} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("call %d: %v", i, err)
		}
	}
}

// TestUnsyncedBound: what a crash can take never passes the bound, and a
// durable write leaves nothing for it.
func TestUnsyncedBound(t *testing.T) {
	fs := newTestFS()
	s := mustOpen(t, fs)
	defer mustClose(t, s)
	value := make1(1000)
	var written, lost int64
	for i := range 200 {
		var b Batch
		b.Set(fmt.Appendf(nil, "index/%03d", i), value)
		if err := s.WriteUnsynced(&b); err != nil {
			t.Fatal(err)
		}
		written += b.Size()
		lost = max(lost, written-durableBytes(t, fs, b.Size()))
	}
	if lost == 0 || lost > s.opts.UnsyncedBytesMax {
		t.Errorf("a crash could take %d bytes, the bound is %d", lost, s.opts.UnsyncedBytesMax)
	}
	write(t, s, "durable", "1")
	after := mustOpen(t, fs.crashed(0, 0))
	defer mustClose(t, after)
	if u, err := after.Usage(); err != nil || u.Batches != 201 {
		t.Errorf("after a durable write and a crash: %d batches, %v", u.Batches, err)
	}
}

func durableBytes(t *testing.T, fs *testFS, each int64) int64 {
	t.Helper()
	s := mustOpen(t, fs.crashed(0, 0))
	defer mustClose(t, s)
	u, err := s.Usage()
	if err != nil {
		t.Fatal(err)
	}
	return int64(u.Batches) * each
}

// TestManyWritersOnAFullingDisk: writers, readers and scans at once, while the
// disk is full now and then. Each writer's batches are all there, and whole.
func TestManyWritersOnAFullingDisk(t *testing.T) {
	const writers, each = 6, 60
	fs := newTestFS()
	s := mustOpen(t, fs)
	var fulls atomic.Int64
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				var b Batch
				b.Set(fmt.Appendf(nil, "a/%d/%03d", w, i), make1(1500))
				b.Set(fmt.Appendf(nil, "b/%d/%03d", w, i), []byte{byte(i)})
				if w == 0 && i%10 == 5 {
					fs.setRoom(fs.used() + 700)
				}
				for err := s.Write(&b); err != nil; err = s.Write(&b) {
					if !errors.Is(err, ErrFull) || !errors.Is(err, syscall.ENOSPC) {
						t.Errorf("writer %d: %v", w, err)
						return
					}
					fulls.Add(1)
					if _, err := s.Get(fmt.Appendf(nil, "a/%d/%03d", w, 0)); i > 0 && err != nil {
						t.Errorf("reading while full: %v", err)
					}
					fs.setRoom(0)
				}
			}
		})
		wg.Go(func() {
			for range each {
				n := 0
				for _, err := range s.Scan(Prefix(fmt.Appendf(nil, "a/%d/", w))) {
					if err != nil && !errors.Is(err, ErrMoved) {
						t.Errorf("scan: %v", err)
					}
					n++
				}
			}
		})
	}
	wg.Wait()
	if fulls.Load() == 0 {
		t.Error("no write met a full disk")
	}
	for range 2 {
		for _, prefix := range []string{"a/", "b/"} {
			if n := len(strings.Fields(keysOf(t, s, Prefix([]byte(prefix)), false))); n != writers*each {
				t.Errorf("%d of %d keys with %s", n, writers*each, prefix)
			}
		}
		mustClose(t, s)
		s = mustOpen(t, fs)
	}
	mustClose(t, s)
}

func TestUsage(t *testing.T) {
	fs := newTestFS()
	s := mustOpen(t, fs)
	defer mustClose(t, s)
	before, err := s.Usage()
	if err != nil {
		t.Fatal(err)
	}
	write(t, s, "k", strings.Repeat("v", 10_000))
	fs.setRoom(fs.used() + 12345)
	u, err := s.Usage()
	if err != nil {
		t.Fatal(err)
	}
	if u.Batches != before.Batches+1 || u.Acked != u.Batches || u.Full || u.FreeBytes != 12345 {
		t.Errorf("%+v after %+v", u, before)
	}
	if u.GivenBytes < before.GivenBytes+10_000 || u.WrittenBytes < u.GivenBytes || u.DiskBytes < 10_000 {
		t.Errorf("%+v after %+v", u, before)
	}
}
