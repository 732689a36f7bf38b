package storage

import (
	"errors"
	"io"
	"io/fs"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

const (
	opSync       = "sync"
	markerPrefix = "marker."
)

// guard stands between the engine and the file system. The first mutation
// that fails is kept as the fault; from then on nothing more reaches the
// file system and the engine is told that everything succeeds.
//
// Why it lies: after a failed write the engine ends the process, or panics with
// its locks held. Lied to, it runs on harmlessly in memory until it is closed,
// while the directory stands still as it was at the fault. A fault is so the
// same thing as a crash at that operation, and there is one way to recover from
// both. The store asks fault before it believes any success.
//
// Many goroutines may call it.
type guard struct {
	vfs.FS
	reserve int64 // ReserveBytes
	// memory tells how much the engine has in memory and in no table yet. It is
	// set once the engine is open.
	memory atomic.Pointer[func() int64]
	// promised is what compactions were granted, and what batches were, and have not
	// written yet.
	promised atomic.Int64
	batches  atomic.Int64 // that room was promised to, ever
	first    atomic.Pointer[Fault]
	// gone makes Open fail: another engine owns the directory, and a name may
	// by now mean another file.
	gone atomic.Bool
	// ghosts holds the names that exist, or have their content, only in the lie.
	ghosts sync.Map
	// real is held shared by mutations on their way to the file system, so that
	// still can wait for the last of them.
	real sync.RWMutex
}

func newGuard(opts Options) *guard { return &guard{FS: opts.FS, reserve: opts.ReserveBytes} }

func (g *guard) fault() *Fault { return g.first.Load() }

// still returns when no mutation is under way any more. Call after a fault.
func (g *guard) still() {
	g.real.Lock()
	defer g.real.Unlock() //nolint:staticcheck // passing through the lock is the point
}

// retire ends a guard whose engine lost the directory to another.
func (g *guard) retire() {
	g.first.CompareAndSwap(nil, &Fault{Op: "use", File: "retired engine", Err: fs.ErrClosed})
	g.gone.Store(true)
	g.still()
}

// mutate performs a mutation of file and says whether it really happened. Its
// error is one the engine handles itself: a missing or existing name.
func (g *guard) mutate(op, file string, do func() error) (bool, error) {
	g.real.RLock()
	defer g.real.RUnlock()
	if g.first.Load() == nil {
		err := do()
		switch {
		case err == nil:
			return true, nil
		case errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrExist):
			return true, err
		}
		g.first.CompareAndSwap(nil, &Fault{Op: op, File: file, Err: err})
	}
	g.ghosts.Store(file, nil)
	return false, nil
}

func (g *guard) isGhost(file string) bool {
	_, ghost := g.ghosts.Load(file)
	return ghost
}

// Lock does nothing: the store holds the directory's lock, across engines.
func (g *guard) Lock(string) (io.Closer, error) { return noLock{}, nil }

type noLock struct{}

func (noLock) Close() error { return nil }

func (g *guard) create(op, file string, do func() (vfs.File, error)) (vfs.File, error) {
	var f vfs.File
	happened, err := g.mutate(op, file, func() (err error) { f, err = do(); return err })
	if err != nil {
		return nil, err
	}
	if !happened {
		return &ghostFile{name: g.PathBase(file)}, nil
	}
	return &guardedFile{File: f, guard: g, name: file}, nil
}

// rewriting is the engine's word for files it writes in compactions.
const rewriting = vfs.DiskWriteCategory("pebble-compaction")

// spareFile is a table that a compaction writes. Nothing is lost without it, so
// it is refused when the disk is nearly full, which leaves the room to what is
// not yet written at all, and a disk that it finds full is not a fault: the
// engine removes it and tries again.
type spareFile struct {
	*guardedFile
	granted int64 // bytes it may yet write before it asks again
}

const (
	// An eighth of the reserve is not for compactions, nor is what writing out the
	// memory takes: that goes on, and so do batches that delete, while one is under
	// way. They may have the rest, because what they make of deleted keys is
	// little, and frees much.
	spareFloor = 8
	spareStep  = 64                     // the part of the reserve that a growing table asks for at once
	sparePause = 200 * time.Millisecond // between a refusal and the engine's next try
	spareTries = 8                      // looks at room that batches are taking meanwhile
)

// postponed is what a compaction is told that finds no room: the engine's own
// word for one to be tried again. On any other error it would leave the keys
// alone for half a minute, and then until something else happened to be written.
type postponed struct{ *Fault }

func (p postponed) Is(err error) bool { return err == pebble.ErrCancelledCompaction }
func (p postponed) Unwrap() error     { return p.Fault }

// spare grants n bytes to a compaction if the free room allows.
func (g *guard) spare(file string, n int64) error {
	g.promised.Add(n)
	for range spareTries {
		batches := g.batches.Load()
		floor := g.reserve/spareFloor + g.promised.Load()
		if memory := g.memory.Load(); memory != nil {
			floor += (*memory)()
		}
		// What was claimed before can only have become less of the free room since; but
		// with a new batch one of the two is out of date.
		usage, err := g.FS.GetDiskUsage(g.PathDir(file))
		if err != nil || g.fault() != nil {
			return nil
		}
		if g.batches.Load() == batches {
			if usage.AvailBytes >= uint64(floor) {
				return nil
			}
			break
		}
	}
	g.promised.Add(-n)
	time.Sleep(sparePause)
	return postponed{&Fault{Op: "write", File: file, Err: syscall.ENOSPC}}
}

func (f *spareFile) Write(p []byte) (int, error) {
	size := int64(len(p))
	if f.granted < size {
		more := max(size-f.granted, f.guard.reserve/spareStep)
		if err := f.guard.spare(f.name, more); err != nil {
			return 0, err
		}
		f.granted += more
	}
	var full *Fault
	_, err := f.guard.mutate("write", f.name, func() error {
		_, err := f.File.Write(p)
		if fault := (&Fault{Op: "write", File: f.name, Err: err}); err != nil && fault.full() {
			full, err = fault, nil
		}
		return err
	})
	f.granted -= size
	f.guard.promised.Add(-size)
	if full != nil {
		time.Sleep(sparePause)
		return 0, postponed{full}
	}
	return len(p), err
}

func (f *spareFile) Close() error {
	f.guard.promised.Add(-f.granted)
	f.granted = 0
	return f.guardedFile.Close()
}

// Create makes the names before it durable first, if name is a marker. A marker
// says by its own name which manifest is in use, and the engine syncs both
// names with one sync of the directory, after which a file system may have
// kept the marker and lost the manifest.
func (g *guard) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if strings.HasPrefix(g.PathBase(name), markerPrefix) {
		dir := g.PathDir(name)
		if _, err := g.mutate(opSync, dir, func() error { return syncDir(g.FS, dir) }); err != nil {
			return nil, err
		}
	}
	if c == rewriting {
		if err := g.spare(name, 0); err != nil {
			return nil, err
		}
	}
	f, err := g.create("create", name, func() (vfs.File, error) { return g.FS.Create(name, c) })
	if real, ok := f.(*guardedFile); ok && c == rewriting {
		return &spareFile{guardedFile: real}, nil
	}
	return f, err
}

func (g *guard) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	return g.create("open", name, func() (vfs.File, error) { return g.FS.OpenReadWrite(name, c, opts...) })
}

func (g *guard) ReuseForWrite(oldname, newname string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return g.create("reuse", newname, func() (vfs.File, error) { return g.FS.ReuseForWrite(oldname, newname, c) })
}

func (g *guard) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	if g.gone.Load() || g.isGhost(name) {
		return nil, &fs.PathError{Op: "open", Path: name, Err: ErrMoved}
	}
	return g.FS.Open(name, opts...)
}

func (g *guard) OpenDir(name string) (vfs.File, error) {
	f, err := g.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return &guardedFile{File: f, guard: g, name: name}, nil
}

func (g *guard) Stat(name string) (vfs.FileInfo, error) {
	info, err := g.FS.Stat(name)
	if err != nil && g.isGhost(name) {
		return ghostInfo{name: g.PathBase(name)}, nil
	}
	return info, err
}

func (g *guard) Link(oldname, newname string) error {
	_, err := g.mutate("link", newname, func() error { return g.FS.Link(oldname, newname) })
	return err
}

func (g *guard) Rename(oldname, newname string) error {
	_, err := g.mutate("rename", newname, func() error { return g.FS.Rename(oldname, newname) })
	return err
}

func (g *guard) Remove(name string) error {
	_, err := g.mutate("remove", name, func() error { return g.FS.Remove(name) })
	return err
}

func (g *guard) RemoveAll(name string) error {
	_, err := g.mutate("remove", name, func() error { return g.FS.RemoveAll(name) })
	return err
}

func (g *guard) MkdirAll(dir string, perm fs.FileMode) error {
	_, err := g.mutate("make directory", dir, func() error { return g.FS.MkdirAll(dir, perm) })
	return err
}

func (g *guard) Unwrap() vfs.FS { return g.FS }

// guardedFile is an open file whose mutations the guard watches.
type guardedFile struct {
	vfs.File
	guard *guard
	name  string
}

func (f *guardedFile) Write(p []byte) (int, error) {
	size := len(p)
	_, err := f.guard.mutate("write", f.name, func() error { _, err := f.File.Write(p); return err })
	return size, err
}

func (f *guardedFile) WriteAt(p []byte, off int64) (int, error) {
	size := len(p)
	_, err := f.guard.mutate("write", f.name, func() error { _, err := f.File.WriteAt(p, off); return err })
	return size, err
}

func (f *guardedFile) Sync() error {
	_, err := f.guard.mutate(opSync, f.name, f.File.Sync)
	return err
}

func (f *guardedFile) SyncData() error {
	_, err := f.guard.mutate(opSync, f.name, f.File.SyncData)
	return err
}

func (f *guardedFile) SyncTo(length int64) (full bool, err error) {
	_, err = f.guard.mutate(opSync, f.name, func() (err error) { full, err = f.File.SyncTo(length); return err })
	return full, err
}

// Preallocate is advice; a file system may refuse it and still take the bytes.
func (f *guardedFile) Preallocate(off, length int64) error {
	f.guard.real.RLock()
	defer f.guard.real.RUnlock()
	if f.guard.fault() == nil {
		_ = f.File.Preallocate(off, length)
	}
	return nil
}

// Close always closes; a close that fails may have lost written bytes.
func (f *guardedFile) Close() error {
	err := f.File.Close()
	_, err = f.guard.mutate("close", f.name, func() error { return err })
	return err
}

// ghostFile is a file that was made after the fault: it takes everything,
// keeps nothing and cannot be read.
type ghostFile struct {
	name string
	size atomic.Int64
}

func (f *ghostFile) Write(p []byte) (int, error) {
	f.size.Add(int64(len(p)))
	return len(p), nil
}
func (f *ghostFile) WriteAt(p []byte, _ int64) (int, error) { return len(p), nil }
func (f *ghostFile) Read([]byte) (int, error)               { return 0, ErrMoved }
func (f *ghostFile) ReadAt([]byte, int64) (int, error)      { return 0, ErrMoved }
func (f *ghostFile) Close() error                           { return nil }
func (f *ghostFile) Preallocate(int64, int64) error         { return nil }
func (f *ghostFile) Sync() error                            { return nil }
func (f *ghostFile) SyncTo(int64) (bool, error)             { return false, nil }
func (f *ghostFile) SyncData() error                        { return nil }
func (f *ghostFile) Prefetch(int64, int64) error            { return nil }
func (f *ghostFile) Fd() uintptr                            { return vfs.InvalidFd }
func (f *ghostFile) Stat() (vfs.FileInfo, error) {
	return ghostInfo{name: f.name, size: f.size.Load()}, nil
}

type ghostInfo struct {
	name string
	size int64
}

func (i ghostInfo) Name() string           { return i.name }
func (i ghostInfo) Size() int64            { return i.size }
func (i ghostInfo) Mode() fs.FileMode      { return 0o644 }
func (i ghostInfo) ModTime() time.Time     { return time.Time{} }
func (i ghostInfo) IsDir() bool            { return false }
func (i ghostInfo) Sys() any               { return nil }
func (i ghostInfo) DeviceID() vfs.DeviceID { return vfs.DeviceID{} }
