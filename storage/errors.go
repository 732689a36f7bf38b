package storage

import (
	"errors"
	"fmt"
	"syscall"
)

// What a caller may ask for with errors.Is. The text of an error that wraps
// one of them names the file or directory and what to do.
var (
	// ErrNotFound says the key is not in the store.
	ErrNotFound = errors.New("key not found")
	// ErrClosed says the store was closed.
	ErrClosed = errors.New("store is closed")
	// ErrLocked says another store, in this process or another, has the directory.
	ErrLocked = errors.New("directory is in use")
	// ErrFull says the disk is full. Nothing of the refused batch was kept;
	// reading goes on, and writing too once there is room.
	ErrFull = errors.New("disk is full")
	// ErrFailed says a write or a sync failed earlier, for another reason than
	// a full disk. What the disk holds is unknown until the store is opened
	// again, so the store reads and writes no more.
	ErrFailed = errors.New("disk failed")
	// ErrCorrupt says bytes on disk are not the bytes once written, or
	// acknowledged ones are missing.
	ErrCorrupt = errors.New("data is damaged")
	// ErrMoved says a scan outlived the engine it began on, which happens when
	// a full disk has room again. Scan again.
	ErrMoved = errors.New("scan was cut off")
	// ErrTooLarge says a batch or key is above its bound.
	ErrTooLarge = errors.New("too large")
	// ErrBadKey says a key is empty or begins with the reserved byte 0.
	ErrBadKey = errors.New("bad key")
)

// Fault is the first operation on a file that went wrong.
type Fault struct {
	Op   string // "write", "sync", "create", ...
	File string
	Err  error
}

func (f *Fault) Error() string { return fmt.Sprintf("%s %s: %v", f.Op, f.File, f.Err) }
func (f *Fault) Unwrap() error { return f.Err }

// full says whether the fault is a lack of room. A sync that reports a lack of
// room is not: bytes the kernel had taken are gone, as with any failed sync.
func (f *Fault) full() bool {
	if f.Op == opSync {
		return false
	}
	return errors.Is(f.Err, syscall.ENOSPC) || errors.Is(f.Err, syscall.EDQUOT)
}

func failedError(f *Fault) error {
	return fmt.Errorf("%w: %w: this store reads and writes no more; check the disk, then open it again", ErrFailed, f)
}

func corruptError(file string, err error) error {
	return fmt.Errorf("%w: %s: %w: keep the directory for inspection and rebuild this node's store from its peers",
		ErrCorrupt, file, err)
}
