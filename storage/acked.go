package storage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// ackedName is the file that says up to which batch writes were acknowledged.
//
// A log alone cannot tell a batch that was never finished from one that was
// finished, acknowledged and then damaged: both look like an unreadable end.
// So every acknowledged batch's number is noted here, after its sync and before
// Write returns. The note itself is not synced: it survives the death of the
// process at once, and of the machine as soon as the kernel writes it back.
// It is thus never ahead of what is durable, and Open can say of a store that
// ends before it: acknowledged data is missing.
const ackedName = "ACKED"

const (
	// Two slots, written in turn, each in a block of its own, so that neither a
	// torn write nor one damaged block takes both.
	ackedSlotStride = 4096
	ackedSlots      = 2
	ackedSlotBytes  = 20 // magic, number, checksum
	ackedMagic      = "HFACKED1"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// ackedMark is the open file. Many goroutines may call it.
type ackedMark struct {
	mu   sync.Mutex
	file vfs.File
	name string
	seq  uint64
	turn int64
}

// openAcked opens dir's mark, or makes it, which initialise completes. With exists
// the store is there already, and so must be the mark; nothing is changed.
func openAcked(disk vfs.FS, dir string, exists bool) (*ackedMark, error) {
	name := disk.PathJoin(dir, ackedName)
	m := &ackedMark{name: name}
	seq, err := readAcked(disk, name)
	switch {
	case err == nil:
		m.seq = seq
	case exists && errors.Is(err, fs.ErrNotExist):
		return nil, corruptError(name, errors.New("the file is missing, so lost writes could not be noticed"))
	case exists || !(errors.Is(err, fs.ErrNotExist) || errors.Is(err, errNoSlot)):
		return nil, corruptError(name, err)
	}
	m.file, err = disk.OpenReadWrite(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return nil, &Fault{Op: "open", File: name, Err: err}
	}
	return m, nil
}

// initialise writes both slots anew and makes them and the name durable: before
// the store is made, or after its history was found whole.
func (m *ackedMark) initialise(fs vfs.FS, dir string) error {
	for range ackedSlots {
		if err := m.write(m.seq); err != nil {
			return err
		}
		// Between the slots too, so that one of them is whole at any moment.
		if err := m.file.Sync(); err != nil {
			return &Fault{Op: opSync, File: m.name, Err: err}
		}
	}
	return syncDir(fs, dir)
}

// note records that the batches up to seq are durable.
func (m *ackedMark) note(seq uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if seq <= m.seq {
		return nil
	}
	if err := m.write(seq); err != nil {
		return err
	}
	m.seq = seq
	return nil
}

func (m *ackedMark) noted() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.seq
}

func (m *ackedMark) write(seq uint64) error {
	slot := make([]byte, 0, ackedSlotBytes)
	slot = append(slot, ackedMagic...)
	slot = binary.BigEndian.AppendUint64(slot, seq)
	slot = binary.BigEndian.AppendUint32(slot, crc32.Checksum(slot, castagnoli))
	if _, err := m.file.WriteAt(slot, m.turn*ackedSlotStride); err != nil {
		return &Fault{Op: "write", File: m.name, Err: err}
	}
	m.turn = (m.turn + 1) % ackedSlots
	return nil
}

// close makes the mark durable and lets the file go.
func (m *ackedMark) close(sync bool) error {
	var err error
	if sync {
		if err = m.file.Sync(); err != nil {
			err = &Fault{Op: opSync, File: m.name, Err: err}
		}
	}
	return errors.Join(err, m.file.Close())
}

var errNoSlot = errors.New("no slot has a valid checksum")

func readAcked(fs vfs.FS, name string) (uint64, error) {
	f, err := fs.Open(name)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	seq, found := uint64(0), false
	for i := range int64(ackedSlots) {
		var slot [ackedSlotBytes]byte
		if _, err := f.ReadAt(slot[:], i*ackedSlotStride); err != nil && err != io.EOF {
			return 0, fmt.Errorf("read slot %d: %w", i, err)
		}
		if n, ok := decodeAckedSlot(slot[:]); ok {
			seq, found = max(seq, n), true
		}
	}
	if !found {
		return 0, errNoSlot
	}
	return seq, nil
}

func decodeAckedSlot(slot []byte) (seq uint64, ok bool) {
	if len(slot) != ackedSlotBytes || string(slot[:8]) != ackedMagic {
		return 0, false
	}
	if binary.BigEndian.Uint32(slot[16:]) != crc32.Checksum(slot[:16], castagnoli) {
		return 0, false
	}
	return binary.BigEndian.Uint64(slot[8:16]), true
}
