package storage

import (
	"errors"
	"strings"
	"testing"
)

func TestDefaultOptionsAreValid(t *testing.T) {
	if err := DefaultOptions().Validate(); err != nil {
		t.Error(err)
	}
}

func TestValidateListsEveryFault(t *testing.T) {
	bad := Options{MemtableBytes: 1, CacheBytes: -1, BatchBytesMax: 1, UnsyncedBytesMax: -1, ReserveBytes: 1}
	err := bad.Validate()
	_, openErr := Open(testDir, bad)
	for _, name := range []string{"FS", "MemtableBytes", "CacheBytes", "BatchBytesMax", "UnsyncedBytesMax", "ReserveBytes"} {
		if err == nil || !strings.Contains(err.Error(), name) || !strings.Contains(openErr.Error(), name) {
			t.Errorf("no word of %s in %v", name, err)
		}
	}
}

// TestEveryOptionMatters changes each option and sees a difference.
func TestEveryOptionMatters(t *testing.T) {
	fs := newTestFS()
	base := smallOptions(fs).engine(fs, false)
	o := smallOptions(fs)
	o.MemtableBytes *= 2
	o.CacheBytes *= 2
	changed := o.engine(fs, false)
	if changed.MemTableSize == base.MemTableSize || changed.CacheSize == base.CacheSize {
		t.Error("MemtableBytes or CacheBytes does not reach the engine")
	}

	o = smallOptions(fs)
	o.BatchBytesMax = batchBytesMin
	o.UnsyncedBytesMax = 0
	s, err := Open(testDir, o)
	if err != nil {
		t.Fatal(err)
	}
	defer mustClose(t, s)
	var b Batch
	b.Set([]byte("k"), make1(batchBytesMin))
	if err := s.Write(&b); !errors.Is(err, ErrTooLarge) {
		t.Errorf("BatchBytesMax: %v", err)
	}
	b.Reset()
	b.Set([]byte("k"), nil)
	if err := s.WriteUnsynced(&b); err != nil {
		t.Fatal(err)
	}
	if u, err := s.Usage(); err != nil || u.Acked != 1 {
		t.Errorf("UnsyncedBytesMax 0: %d acknowledged, %v", u.Acked, err)
	}
	fs.setRoom(fs.used() + o.roomBytes() - 1)
	if err := s.Write(&b); !errors.Is(err, ErrFull) {
		t.Errorf("ReserveBytes: %v", err)
	}
	fs.setRoom(fs.used() + o.roomBytes() + 2*b.Size() + 1)
	if err := s.Write(&b); err != nil {
		t.Errorf("ReserveBytes: %v", err)
	}
}
