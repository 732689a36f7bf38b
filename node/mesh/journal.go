package mesh

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// journal keeps on disk what the store has taken, so that a node that starts with
// no peer still knows the last good sets (R6). It is one file to which entries are
// appended; now and then it is replaced, atomically, by one of what is held.
//
// No state of the file keeps a node from starting (R7). Each entry carries a
// marker, its length and a checksum, and each record its owner's signature: what
// is damaged is skipped, the next marker is looked for, and the file is written
// anew. If it cannot be written, the node goes on without and tries again.
//
// An entry that is appended survives a kill at any moment; a loss of power may
// take the last ones, except after Sync.
type journal struct {
	path    string
	create  func(path string) (journalFile, error) // a new file; tests fill the disk
	file    journalFile                            // nil while the disk does not work
	bytes   int                                    // in the file
	compact int                                    // of them after the last replacement
}

type journalFile interface {
	io.WriteCloser
	Sync() error
	Name() string
}

// entryKind says what an entry holds.
type entryKind byte

const (
	entryRecord entryKind = 1
	entryProof  entryKind = 2
)

const (
	journalName = "services.log"
	// journalMarker starts every entry: bytes that no text and no record has by chance.
	journalMarker   = "\xf5HFsvc1\n"
	entryHeadBytes  = len(journalMarker) + 1 + 4 + 4
	entryBytesMax   = 2*recordBytesMax + 16 // a proof is two records
	journalBytesMax = 256 << 20             // twice a full store; of a longer file only the end is read
	journalSlack    = 1 << 20               // a file twice as long as it need be, and this, is replaced
	journalMode     = 0o644
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// entryOut is an entry to be written.
type entryOut struct {
	kind    entryKind
	payload []byte
}

func recordEntry(r *Record) entryOut { return entryOut{entryRecord, r.raw} }
func proofEntry(p *Proof) entryOut   { return entryOut{entryProof, encode([][]byte{p.A.raw, p.B.raw})} }

func appendEntry(b []byte, e entryOut) []byte {
	b = append(b, journalMarker...)
	head := len(b)
	b = append(b, byte(e.kind))
	b = binary.BigEndian.AppendUint32(b, uint32(len(e.payload)))
	sum := crc32.Update(crc32.Checksum(b[head:], castagnoli), castagnoli, e.payload)
	b = binary.BigEndian.AppendUint32(b, sum)
	return append(b, e.payload...)
}

// scan calls each with every whole entry of data, in order, and returns how many
// bytes belong to none.
func scan(data []byte, each func(entryKind, []byte)) (damaged int) {
	for len(data) > 0 {
		kind, payload, ok := firstEntry(data)
		if ok {
			each(kind, payload)
			data = data[entryHeadBytes+len(payload):]
			continue
		}
		if off == ruleRepair {
			return len(data)
		}
		next := bytes.Index(data[1:], []byte(journalMarker))
		if next < 0 {
			return damaged + len(data)
		}
		damaged += next + 1
		data = data[next+1:]
	}
	return damaged
}

func firstEntry(data []byte) (entryKind, []byte, bool) {
	if len(data) < entryHeadBytes || string(data[:len(journalMarker)]) != journalMarker {
		return 0, nil, false
	}
	head := data[len(journalMarker):entryHeadBytes]
	n := int(binary.BigEndian.Uint32(head[1:]))
	if n > entryBytesMax || len(data)-entryHeadBytes < n {
		return 0, nil, false
	}
	payload := data[entryHeadBytes : entryHeadBytes+n]
	sum := crc32.Update(crc32.Checksum(head[:5], castagnoli), castagnoli, payload)
	return entryKind(head[0]), payload, sum == binary.BigEndian.Uint32(head[5:])
}

// trust makes a record of bytes, or says why not: Verify of one network.
type trust func(raw []byte) (*Record, error)

// load gives a store every record and proof in data that verifies. It returns how
// many bytes are of no use.
func load(data []byte, into func(*Record), proof func(*Proof), verify trust) (damaged int) {
	wrong := 0
	damaged = scan(data, func(kind entryKind, payload []byte) {
		if err := loadEntry(kind, payload, into, proof, verify); err != nil {
			wrong += entryHeadBytes + len(payload)
		}
	})
	return damaged + wrong
}

func loadEntry(kind entryKind, payload []byte, into func(*Record), proof func(*Proof), verify trust) error {
	switch kind {
	case entryRecord:
		r, err := verify(payload)
		if err == nil {
			into(r)
		}
		return err
	case entryProof:
		p, err := decodeProof(payload, verify)
		if err == nil {
			proof(p)
		}
		return err
	}
	return fmt.Errorf("an entry of kind %d", kind)
}

func decodeProof(payload []byte, verify trust) (*Proof, error) {
	var both [][]byte
	if err := decode(payload, &both); err != nil {
		return nil, err
	}
	if len(both) != 2 {
		return nil, errors.New("a proof is two records")
	}
	a, errA := verify(both[0])
	b, errB := verify(both[1])
	if err := errors.Join(errA, errB); err != nil {
		return nil, err
	}
	p, ok := NewProof(a, b)
	if !ok || p.A != a {
		return nil, errors.New("two records that prove nothing")
	}
	return p, nil
}

// openJournal reads the journal in dir and makes it ready for Append. Every error
// leaves a journal that works as far as the disk does, see Replace.
func openJournal(dir string) (j *journal, data []byte, err error) {
	j = &journal{path: filepath.Join(dir, journalName), create: createJournal}
	if off == ruleDisk {
		return j, nil, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return j, nil, fmt.Errorf("mesh: %w", err)
	}
	removeLeftovers(j.path)
	data, err = readEnd(j.path, journalBytesMax)
	if errors.Is(err, fs.ErrNotExist) {
		return j, nil, nil
	}
	return j, data, err
}

// readEnd reads the last max bytes of a file. What is no file is moved aside.
func readEnd(path string, max int64) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.Join(fmt.Errorf("mesh: %s is not a file", path), os.Rename(path, fmt.Sprintf("%s.damaged-%d", path, time.Now().UnixNano())))
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("mesh: %w", err)
	}
	defer f.Close()
	start := info.Size() - min(info.Size(), max)
	data := make([]byte, info.Size()-start)
	n, err := f.ReadAt(data, start)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return data[:n], err
}

// createJournal makes a new file beside path, under a name of its own.
func createJournal(path string) (journalFile, error) {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+newSuffix)
	if err != nil {
		return nil, err
	}
	return f, f.Chmod(journalMode)
}

const newSuffix = ".new-*"

// removeLeftovers removes new files that a crash has kept from their place.
func removeLeftovers(path string) {
	left, _ := filepath.Glob(path + newSuffix) // the pattern is well formed
	for _, name := range left {
		os.Remove(name)
	}
}

// Append writes entries behind the others. After an error the file is to be
// replaced.
func (j *journal) Append(entries []entryOut) error {
	if j.file == nil {
		return fmt.Errorf("mesh: %s cannot be written", j.path)
	}
	var b []byte
	for _, e := range entries {
		b = appendEntry(b, e)
	}
	n, err := j.file.Write(b)
	j.bytes += n
	if err != nil {
		j.fail()
		return fmt.Errorf("mesh: %w", err)
	}
	return nil
}

// Sync makes what was appended survive a loss of power.
func (j *journal) Sync() error {
	if j.file == nil {
		return fmt.Errorf("mesh: %s cannot be written", j.path)
	}
	if err := j.file.Sync(); err != nil {
		j.fail()
		return fmt.Errorf("mesh: %w", err)
	}
	return nil
}

// Due reports whether the file should be replaced: it has failed, or is mostly old.
func (j *journal) Due() bool { return j.file == nil || j.bytes > 2*j.compact+journalSlack }

// Replace puts a new file with these entries in the place of the old one, which
// stays whole until then.
func (j *journal) Replace(entries []entryOut) error {
	if off == ruleDisk {
		return nil
	}
	if err := j.replace(entries); err != nil {
		return fmt.Errorf("mesh: replacing the journal: %w", err)
	}
	return nil
}

func (j *journal) replace(entries []entryOut) error {
	f, err := j.create(j.path)
	if err != nil {
		return err
	}
	var b []byte
	for _, e := range entries {
		b = appendEntry(b, e)
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync()); err == nil {
		err = os.Rename(f.Name(), j.path)
	}
	if err != nil {
		return errors.Join(err, f.Close(), os.Remove(f.Name()))
	}
	j.fail()
	j.file, j.bytes, j.compact = f, len(b), len(b)
	return syncDir(filepath.Dir(j.path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// fail lets go of the file.
func (j *journal) fail() {
	if j.file != nil {
		j.file.Close() // what is in it is read again with every doubt
		j.file = nil
	}
}

// Close syncs and closes the file.
func (j *journal) Close() error {
	if j.file == nil {
		return nil
	}
	err := errors.Join(j.file.Sync(), j.file.Close())
	j.file = nil
	return err
}

// entries is everything a store holds, as a journal's entries.
func (s *Store) entries() []entryOut {
	var out []entryOut
	for _, name := range s.Names() {
		for _, h := range s.Set(name) {
			out = append(out, recordEntry(h.Record))
			if h.Proof != nil {
				out = append(out, proofEntry(h.Proof))
			}
		}
	}
	return out
}
