package storage

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/batchrepr"
)

// TestAckedLossIsReported takes the last acknowledged batch away, as a disk that
// lied about a sync would, and the mark itself.
func TestAckedLossIsReported(t *testing.T) {
	fs := newTestFS()
	s := mustOpen(t, fs)
	write(t, s, "a", "1")
	before := fs.crashed(100, 0)
	write(t, s, "b", "2")
	after := fs.crashed(100, 0)
	mustClose(t, s)

	writeFile(t, before, testDir+"/"+ackedName, readAll(t, after, testDir+"/"+ackedName))
	_, err := Open(testDir, smallOptions(before))
	if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "2 to 2") || !strings.Contains(err.Error(), ".log") {
		t.Errorf("the last batch is missing: %v", err)
	}
	if err := after.MemFS.Remove(testDir + "/" + ackedName); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(testDir, smallOptions(after)); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), ackedName) {
		t.Errorf("the mark is missing: %v", err)
	}
}

func TestAckedSlotsFail(t *testing.T) {
	fs := newTestFS()
	s := mustOpen(t, fs)
	write(t, s, "a", "1")
	mustClose(t, s)
	name := testDir + "/" + ackedName
	whole := readAll(t, fs, name)
	for slot := range ackedSlots {
		bad := append([]byte(nil), whole...)
		bad[slot*ackedSlotStride+9] ^= 1
		writeFile(t, fs, name, bad)
		mustClose(t, mustOpen(t, fs)) // healed from the other slot
		if _, err := readAcked(fs, name); err != nil {
			t.Errorf("slot %d: %v", slot, err)
		}
	}
	writeFile(t, fs, name, make([]byte, len(whole)))
	if _, err := Open(testDir, smallOptions(fs)); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), name) {
		t.Errorf("both slots are gone: %v", err)
	}
}

func FuzzAckedSlot(f *testing.F) {
	slot := append([]byte(ackedMagic), 0, 0, 0, 0, 0, 0, 0, 7)
	slot = binary.BigEndian.AppendUint32(slot, crc32.Checksum(slot, castagnoli))
	f.Add(slot)
	f.Add(slot[:19])
	f.Add(make([]byte, ackedSlotBytes))
	f.Fuzz(func(t *testing.T, b []byte) {
		seq, ok := decodeAckedSlot(b)
		if !ok {
			return
		}
		again := append([]byte(ackedMagic), encodeSeq(seq)...)
		again = binary.BigEndian.AppendUint32(again, crc32.Checksum(again, castagnoli))
		if string(again) != string(b) {
			t.Errorf("%x decodes to %d, which encodes to %x", b, seq, again)
		}
	})
}

func FuzzLogRecord(f *testing.F) {
	whole := append(make([]byte, batchrepr.HeaderLen), recordHead...)
	whole = append(whole, encodeSeq(9)...)
	f.Add(whole)
	f.Add(whole[:len(whole)-1])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		seq, err := seqOfRecord(b)
		if err != nil {
			return
		}
		head := string(b[batchrepr.HeaderLen : batchrepr.HeaderLen+len(recordHead)+seqBytes])
		if head != string(recordHead)+string(encodeSeq(seq)) {
			t.Errorf("%x decodes to %d", b, seq)
		}
	})
}
