package storage

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/batchrepr"
	"github.com/cockroachdb/pebble/v2/record"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/wal"
)

// checkHistory proves that the store in dir, opened read-only as e, is made of
// every batch from 1 to last, and that every acknowledged batch is one of them:
//
//	flushed <= last, acked <= last, and flushed+1 ... last are all in the logs.
//
// It looks before the store is opened for writing, because that deletes what
// a damaged manifest no longer mentions. The error names the file.
func checkHistory(fs vfs.FS, dir string, e *engine, acked uint64) (last uint64, err error) {
	last, err = e.lastSeq()
	if err != nil {
		return 0, readError(dir, err)
	}
	flushed, err := e.flushedSeq()
	if err != nil {
		return 0, readError(dir, err)
	}
	logs, err := readLogs(fs, dir, flushed)
	if err != nil {
		return 0, err
	}
	switch {
	case logs.last < last:
		err = fmt.Errorf("batches %d to %d are in no log", logs.last+1, last)
	case last < acked:
		err = fmt.Errorf("batches %d to %d were acknowledged and are missing", last+1, acked)
	default:
		return last, nil
	}
	return 0, corruptError(suspects(fs, dir), err)
}

// logHistory is what the logs of a directory hold.
type logHistory struct {
	last    uint64   // batches are there without a gap up to this one
	damaged []string // logs that end in bytes that are no record
	newest  string   // the log with the highest number
}

// readLogs reads every log in order, every record through its checksum. A log
// that ends in rubbish is no error here: the end may be a write that a crash cut
// short, and the log may be one whose batches are all in tables. Whether
// batches are missing tells.
func readLogs(fs vfs.FS, dir string, flushed uint64) (logHistory, error) {
	h := logHistory{last: flushed}
	logs, err := wal.Scan(wal.Dir{FS: fs, Dirname: dir})
	if err != nil {
		return h, err
	}
	for _, l := range logs {
		_, h.newest = l.SegmentLocation(0)
		whole, err := h.read(l)
		if err != nil {
			return h, &Fault{Op: "read", File: h.newest, Err: err}
		}
		if !whole {
			h.damaged = append(h.damaged, h.newest)
		}
	}
	return h, nil
}

// read follows one log to its end, or to the first bytes that are no record.
func (h *logHistory) read(l wal.LogicalLog) (whole bool, err error) {
	r := l.OpenForRead()
	defer r.Close()
	for {
		rec, _, err := r.NextRecord()
		if err == io.EOF {
			return true, nil
		}
		if isDamage(err) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		repr, err := io.ReadAll(rec)
		if err != nil {
			return false, err
		}
		seq, err := seqOfRecord(repr)
		if err != nil {
			return false, nil
		}
		if seq <= h.last+1 {
			h.last = max(h.last, seq)
		} // else there is a gap, and last stays before it
	}
}

// isDamage tells bytes that are no record from a disk that cannot read.
func isDamage(err error) bool {
	return errors.Is(err, record.ErrInvalidChunk) || errors.Is(err, record.ErrZeroedChunk) ||
		errors.Is(err, record.ErrUnexpectedEOF) || pebble.IsCorruptionError(err)
}

// recordHead is what every record begins with: the batch's header, which is
// the engine's, and the first change, which is the batch's number: set, the
// length of the key, the key, the length of the value.
var recordHead = append(append([]byte{byte(pebble.InternalKeyKindSet), byte(len(seqKey))}, seqKey...), seqBytes)

// seqOfRecord is the number of the batch in a log record.
func seqOfRecord(repr []byte) (uint64, error) {
	if len(repr) < batchrepr.HeaderLen {
		return 0, errors.New("a batch without a header")
	}
	rest, ok := bytes.CutPrefix(repr[batchrepr.HeaderLen:], recordHead)
	if !ok || len(rest) < seqBytes {
		return 0, errors.New("a batch without its number")
	}
	return decodeSeq(rest[:seqBytes])
}

// suspects names the files that may have lost batches: those that end in
// rubbish, or else the newest log, whose end alone can be lost without a trace.
func suspects(fs vfs.FS, dir string) string {
	var names []string
	for _, check := range []func(vfs.FS, string) (string, error){checkManifest, checkOptions} {
		if name, err := check(fs, dir); err != nil {
			names = append(names, name)
		}
	}
	logs, err := readLogs(fs, dir, 0)
	var fault *Fault
	if errors.As(err, &fault) {
		names = append(names, fault.File)
	}
	names = append(names, logs.damaged...)
	if len(names) == 0 {
		names = append(names, cmp.Or(logs.newest, dir))
	}
	return strings.Join(names, ", ")
}

// checkManifest reads the manifest in use, every record through its checksum.
func checkManifest(fs vfs.FS, dir string) (name string, err error) {
	desc, err := pebble.Peek(dir, fs)
	if err != nil {
		return dir, err
	}
	f, err := fs.Open(desc.ManifestFilename)
	if err != nil {
		return desc.ManifestFilename, err
	}
	defer f.Close()
	r := record.NewReader(f, 0)
	for {
		rec, err := r.Next()
		if err == io.EOF {
			return desc.ManifestFilename, nil
		}
		if err == nil {
			_, err = io.Copy(io.Discard, rec)
		}
		if err != nil {
			return desc.ManifestFilename, err
		}
	}
}

// checkOptions reads the engine's options file, which it refuses to open without.
func checkOptions(fs vfs.FS, dir string) (name string, err error) {
	desc, err := pebble.Peek(dir, fs)
	if err != nil || desc.OptionsFilename == "" {
		return dir, err
	}
	f, err := fs.Open(desc.OptionsFilename)
	if err != nil {
		return desc.OptionsFilename, err
	}
	defer f.Close()
	text, err := io.ReadAll(f)
	if err != nil {
		return desc.OptionsFilename, err
	}
	opts := &pebble.Options{}
	opts.EnsureDefaults()
	return desc.OptionsFilename, opts.CheckCompatibility(dir, string(text))
}

// openError turns the engine's refusal to open dir into an error that names the file.
func openError(fs vfs.FS, dir string, err error) error {
	var fault *Fault
	if errors.As(err, &fault) {
		return fault
	}
	if info := pebble.ExtractDataCorruptionInfo(err); info != nil {
		return corruptError(info.Path, err)
	}
	return corruptError(suspects(fs, dir), err)
}

// readError tells damage from a disk that cannot read.
func readError(file string, err error) error {
	if info := pebble.ExtractDataCorruptionInfo(err); info != nil {
		return corruptError(info.Path, err)
	}
	if errors.Is(err, ErrMoved) {
		return fmt.Errorf("%w: the disk was full and has room again: scan anew", ErrMoved)
	}
	if pebble.IsCorruptionError(err) {
		return corruptError(file, err)
	}
	return &Fault{Op: "read", File: file, Err: err}
}
