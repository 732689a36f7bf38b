package storage

import (
	"math/rand/v2"
	"os"
	"sync"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

const testDir = "node/store"

// testFS is a file system in memory that can be made to lose power, fail or
// fill up at any operation that changes it.
type testFS struct {
	*vfs.MemFS
	mu  sync.Mutex
	ops int
	// before is asked ahead of every change; its error is the operation's. It
	// may take a crash clone.
	before func(n int, op, name string) error
	room   int64 // bytes the disk holds; 0 is no bound
	silent bool  // GetDiskUsage cannot tell
}

func newTestFS() *testFS { return &testFS{MemFS: vfs.NewCrashableMem()} }

// crashed is the disk after the power failed now: what was synced, and of the
// rest each block and each directory entry with a chance of percent.
func (t *testFS) crashed(percent int, seed uint64) *testFS {
	return &testFS{MemFS: t.CrashClone(vfs.CrashCloneCfg{
		UnsyncedDataPercent: percent, RNG: rand.New(rand.NewPCG(seed, 0))})}
}

func (t *testFS) change(op, name string) error {
	t.mu.Lock()
	n, before := t.ops, t.before
	t.ops++
	t.mu.Unlock()
	if before == nil {
		return nil
	}
	return before(n, op, name)
}

func (t *testFS) hook(before func(n int, op, name string) error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.before = before
}

func (t *testFS) setRoom(room int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.room = room
}

func (t *testFS) count() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.ops
}

func (t *testFS) used() int64 {
	names, err := t.MemFS.List(testDir)
	if err != nil {
		return 0
	}
	var sum int64
	for _, name := range names {
		if info, err := t.MemFS.Stat(testDir + "/" + name); err == nil {
			sum += info.Size()
		}
	}
	return sum
}

// free is what is left, or -1 without a bound.
func (t *testFS) free() int64 {
	t.mu.Lock()
	room := t.room
	t.mu.Unlock()
	if room == 0 {
		return -1
	}
	return max(0, room-t.used())
}

func (t *testFS) GetDiskUsage(string) (vfs.DiskUsage, error) {
	if t.silent {
		return vfs.DiskUsage{}, vfs.ErrUnsupported
	}
	free := t.free()
	if free < 0 {
		free = 1 << 40
	}
	return vfs.DiskUsage{AvailBytes: uint64(free)}, nil
}

func (t *testFS) wrap(name string, f vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return &testFile{File: f, fs: t, name: name}, nil
}

func (t *testFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if err := t.change("create", name); err != nil {
		return nil, err
	}
	if t.free() == 0 {
		return nil, syscall.ENOSPC
	}
	f, err := t.MemFS.Create(name, c)
	return t.wrap(name, f, err)
}

func (t *testFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	if err := t.change("open", name); err != nil {
		return nil, err
	}
	f, err := t.MemFS.OpenReadWrite(name, c, o...)
	return t.wrap(name, f, err)
}

func (t *testFS) ReuseForWrite(oldname, newname string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if err := t.change("reuse", newname); err != nil {
		return nil, err
	}
	f, err := t.MemFS.ReuseForWrite(oldname, newname, c)
	return t.wrap(newname, f, err)
}

func (t *testFS) Open(name string, o ...vfs.OpenOption) (vfs.File, error) {
	f, err := t.MemFS.Open(name, o...)
	return t.wrap(name, f, err)
}

func (t *testFS) OpenDir(name string) (vfs.File, error) {
	f, err := t.MemFS.OpenDir(name)
	return t.wrap(name, f, err)
}

func (t *testFS) Link(oldname, newname string) error {
	if err := t.change("link", newname); err != nil {
		return err
	}
	return t.MemFS.Link(oldname, newname)
}

func (t *testFS) Rename(oldname, newname string) error {
	if err := t.change("rename", newname); err != nil {
		return err
	}
	return t.MemFS.Rename(oldname, newname)
}

func (t *testFS) Remove(name string) error {
	if err := t.change("remove", name); err != nil {
		return err
	}
	return t.MemFS.Remove(name)
}

func (t *testFS) MkdirAll(dir string, perm os.FileMode) error {
	if err := t.change("mkdir", dir); err != nil {
		return err
	}
	return t.MemFS.MkdirAll(dir, perm)
}

type testFile struct {
	vfs.File
	fs   *testFS
	name string
}

// Write takes what fits and then says that the disk is full, as the kernel does.
func (f *testFile) Write(p []byte) (int, error) {
	if err := f.fs.change("write", f.name); err != nil {
		return 0, err
	}
	if free := f.fs.free(); free >= 0 && int64(len(p)) > free {
		n, err := f.File.Write(p[:free])
		if err == nil {
			err = syscall.ENOSPC
		}
		return n, err
	}
	return f.File.Write(p)
}

func (f *testFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.fs.change("write", f.name); err != nil {
		return 0, err
	}
	return f.File.WriteAt(p, off)
}

func (f *testFile) Sync() error {
	if err := f.fs.change("sync", f.name); err != nil {
		return err
	}
	return f.File.Sync()
}

func (f *testFile) SyncData() error {
	if err := f.fs.change("sync", f.name); err != nil {
		return err
	}
	return f.File.SyncData()
}

// smallOptions make a store flush and compact within a hundred batches.
func smallOptions(fs vfs.FS) Options {
	o := DefaultOptions()
	o.FS = fs
	o.MemtableBytes = memtableBytesMin
	o.CacheBytes = 256 << 10
	o.BatchBytesMax = 1 << 20
	o.UnsyncedBytesMax = 32 << 10
	o.ReserveBytes = 2 * memtableBytesMin
	return o
}

func mustOpen(t *testing.T, fs vfs.FS) *Store {
	t.Helper()
	s, err := Open(testDir, smallOptions(fs))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func mustClose(t *testing.T, s *Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
