package node

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"time"

	"github.com/holdfast-mesh/holdfast/node/ledger"
	"github.com/holdfast-mesh/holdfast/node/replica"
	"github.com/holdfast-mesh/holdfast/p2p"
	"github.com/holdfast-mesh/holdfast/storage"
)

// A snapshot file is a network's state in one file: all that a validator would answer
// to a node that is behind its log. It is written by putting the questions of such a
// node and keeping the answers, and read by giving these answers to one, so it is
// checked as what peers send is: by the votes of a quorum. Numbers are big endian:
//
//	snapshotMagic
//	the network's id, 32 bytes
//	for each question: its length and that of the answer, 4 bytes each, then both
//	8 bytes of zero
//	the SHA-256 of all that
//
// The checksum finds damage, the votes find forgery.
const snapshotMagic = "holdfast snapshot 1\n"

// snapshotQuestionsMax bounds the questions of a file: a chunk each, and the commits.
const snapshotQuestionsMax = 1 << 17

var (
	// ErrSnapshotFile says that a file is no snapshot, or not as it was written.
	ErrSnapshotFile = errors.New("not a sound snapshot file")
	// ErrForged says that a snapshot is not what a quorum of the network signed.
	ErrForged = errors.New("the network's validators have not signed this snapshot")
	// ErrNoSnapshot says that there is no certified snapshot to export.
	ErrNoSnapshot = errors.New("there is no snapshot that a quorum has signed")
	// ErrNotFresh says that a node has run already and needs no snapshot.
	ErrNotFresh = errors.New("this node has run already")
)

// Snapshot is what was exported or imported.
type Snapshot struct {
	Network ledger.Digest
	Commit  uint64 // the state is that after it
	Root    [32]byte
	Bytes   int64 // of the file
	// MustRecover says that the key of the imported node may have signed blocks: if it is
	// a validator it asks the others what it said before it says more. Only a store that
	// was made with its key says that it has not.
	MustRecover bool
}

// ExportSnapshot writes the newest certified snapshot to a new file: that of the
// stopped node of cfg or, if from is not empty, that of the running node with this
// multiaddr. What is written has been checked as an import does. No file is left if
// it fails.
func ExportSnapshot(ctx context.Context, cfg Config, from, path string) (s Snapshot, err error) {
	bundle, err := ReadBundle(cfg.BundlePath())
	if err != nil {
		return s, err
	}
	source, closeSource, err := snapshotSource(ctx, cfg, bundle, from)
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, closeSource()) }()
	if _, err := os.Lstat(path); err == nil {
		return s, fmt.Errorf("%s is there already: it is left as it is; choose another name", path)
	}
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".new-*")
	if err != nil {
		return s, fmt.Errorf("snapshot: %w", err)
	}
	defer os.Remove(f.Name()) // gone by then if all went well
	w := newSnapshotWriter(f, bundle.ID())
	at, err := takeOver(cfg, bundle, nowhereStore{}, func(q replica.Request) (replica.Reply, error) {
		reply, err := source(q)
		if err == nil && q.Kind == replica.AskCheckpoint && len(reply.Certificate) == 0 {
			err = fmt.Errorf("%w yet: the first comes with commit %d", ErrNoSnapshot, cfg.SnapshotEvery)
		}
		if err == nil {
			err = w.add(q, reply)
		}
		return reply, err
	}, func([]replica.Record) error { return ctx.Err() })
	if err == nil {
		s = Snapshot{Network: bundle.ID(), Commit: at.Index, Root: at.Root}
		s.Bytes, err = w.end()
	}
	if err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close()); err != nil {
		return Snapshot{}, fmt.Errorf("exporting a snapshot: %w", err)
	}
	if err := os.Link(f.Name(), path); err != nil {
		return Snapshot{}, fmt.Errorf("snapshot: %w", err)
	}
	return s, syncDir(filepath.Dir(path))
}

// takeOver has an observer that is nobody take over a state. What is wrong with the
// answers is an ErrForged.
func takeOver(cfg Config, bundle *Bundle, st replica.Store, ask func(replica.Request) (replica.Reply, error), keep func([]replica.Record) error) (replica.Checkpoint, error) {
	key, err := identityOf(nil).Raw()
	if err != nil {
		return replica.Checkpoint{}, err
	}
	c := cfg.replicaConfig(bundle.Genesis(), key)
	c.Recover = false
	at, err := replica.TakeOver(c, time.Now(), st, ask, keep)
	if errors.Is(err, replica.ErrNotTaken) {
		err = fmt.Errorf("%w: %w", ErrForged, err)
	}
	return at, err
}

// snapshotSource answers from the stopped node's disk, or asks a running node.
func snapshotSource(ctx context.Context, cfg Config, bundle *Bundle, from string) (ask func(replica.Request) (replica.Reply, error), end func() error, err error) {
	if from == "" {
		if _, err := os.Stat(cfg.storePath()); errors.Is(err, fs.ErrNotExist) {
			return nil, nil, fmt.Errorf("%w at %s: nothing has run there", ErrNoStore, cfg.storePath())
		}
		store, err := storage.Open(cfg.storePath(), cfg.storageOptions(nil))
		if err != nil {
			return nil, nil, err
		}
		return func(q replica.Request) (replica.Reply, error) { return replica.ServeAll(disk{store}, q) }, store.Close, nil
	}
	to, err := parseDialable(from)
	if err != nil {
		return nil, nil, err
	}
	host, err := openStranger(bundle.ID(), to)
	if err != nil {
		return nil, nil, err
	}
	if err := host.Reach(ctx, to); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("%w: %s: %w", ErrUnreachable, from, err), host.Close())
	}
	return func(q replica.Request) (replica.Reply, error) {
		raw, err := host.Ask(ctx, to.ID, append([]byte{questionReplica}, q.Bytes()...))
		if errors.Is(err, p2p.ErrForeign) {
			err = fmt.Errorf("%w: the node at %s is not of network %v", ErrOtherNetwork, from, bundle.ID())
		}
		if err != nil {
			return replica.Reply{}, err
		}
		return replica.DecodeReply(raw)
	}, host.Close, nil
}

// ImportSnapshot fills the store of a node that has never run from a snapshot file,
// after it has checked that a quorum of the network signed the state, of its first
// committee or of one that this has handed over to. An error leaves everything as it was.
func ImportSnapshot(ctx context.Context, cfg Config, path string) (s Snapshot, err error) {
	bundle, err := ReadBundle(cfg.BundlePath())
	if err != nil {
		return s, err
	}
	if _, err := InspectKey(cfg.KeyPath()); err != nil {
		return s, fmt.Errorf("%w: make the node first, with holdfast init", err)
	}
	file, err := openSnapshotFile(path, bundle.ID())
	if err != nil {
		return s, err
	}
	defer file.f.Close()
	born, err := untouched(cfg)
	if err != nil {
		return s, err
	}
	fresh := cfg.storePath() + ".import"
	if err := os.RemoveAll(fresh); err != nil { // of an import that was killed
		return s, fmt.Errorf("importing a snapshot: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("importing %s: %w", path, err), os.RemoveAll(fresh))
		}
	}()
	s, err = fillStore(ctx, cfg, bundle, born, file, fresh)
	if err != nil {
		return Snapshot{}, err
	}
	s.Bytes = file.size
	// The old store holds nothing but that it is new.
	if err := os.RemoveAll(cfg.storePath()); err != nil {
		return Snapshot{}, err
	}
	if err := os.Rename(fresh, cfg.storePath()); err != nil {
		return Snapshot{}, err
	}
	return s, syncDir(cfg.DataDir)
}

// fillStore makes a store in a directory and takes the file's state over into it.
func fillStore(ctx context.Context, cfg Config, bundle *Bundle, born bool, file *snapshotFile, dir string) (s Snapshot, err error) {
	store, err := storage.Open(dir, cfg.storageOptions(nil))
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	keep := func(records []replica.Record) error {
		if err := ctx.Err(); err != nil || len(records) == 0 {
			return err
		}
		var batch storage.Batch
		for _, r := range records {
			put(&batch, r)
			recordCID(&batch, r)
		}
		return store.Write(&batch)
	}
	at, err := takeOver(cfg, bundle, disk{store}, file.answer, keep)
	if err != nil {
		return s, err
	}
	s = Snapshot{Network: bundle.ID(), Commit: at.Index, Root: at.Root}
	if !born {
		s.MustRecover = true
		return s, keep([]replica.Record{replica.RecoverMark()})
	}
	return s, nil
}

// untouched refuses a store in which a node has run. born reports whether the store says
// that its key never has.
func untouched(cfg Config) (born bool, err error) {
	if _, err := os.Stat(cfg.storePath()); errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	store, err := storage.Open(cfg.storePath(), cfg.storageOptions(nil))
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	switch _, err := store.Get([]byte(keyUsed)); {
	case err == nil:
		return false, fmt.Errorf("%w: %s holds what it knows; a snapshot is for a new one, so choose another --data-dir, or move the store away", ErrNotFresh, cfg.storePath())
	case !errors.Is(err, storage.ErrNotFound):
		return false, err
	}
	switch _, err := store.Get([]byte(keyBorn)); {
	case err == nil:
		return true, nil
	case !errors.Is(err, storage.ErrNotFound):
		return false, err
	}
	return false, nil
}

// nowhereStore is the disk of a replica that keeps nothing.
type nowhereStore struct{}

func (nowhereStore) Get([]byte) ([]byte, bool, error) { return nil, false, nil }

func (nowhereStore) Scan(_, _ []byte) iter.Seq2[replica.Record, error] {
	return func(func(replica.Record, error) bool) {}
}

// questionOf is a question as it stands in a file: without what differs each time.
func questionOf(q replica.Request) []byte {
	q.ID, q.To = 0, 0
	return q.Bytes()
}

// snapshotWriter writes a snapshot file.
type snapshotWriter struct {
	w     *bufio.Writer
	sum   hash.Hash
	bytes int64
	err   error
}

func newSnapshotWriter(f io.Writer, network ledger.Digest) *snapshotWriter {
	w := &snapshotWriter{sum: sha256.New()}
	w.w = bufio.NewWriter(io.MultiWriter(f, w.sum))
	w.write([]byte(snapshotMagic), network[:])
	return w
}

func (w *snapshotWriter) write(parts ...[]byte) {
	for _, p := range parts {
		if w.err == nil {
			var n int
			n, w.err = w.w.Write(p)
			w.bytes += int64(n)
		}
	}
}

// add writes one question and its answer.
func (w *snapshotWriter) add(q replica.Request, reply replica.Reply) error {
	reply.ID = 0
	question, answer := questionOf(q), reply.Bytes()
	lengths := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, uint32(len(question))), uint32(len(answer)))
	w.write(lengths, question, answer)
	return w.err
}

// end completes the file and returns its length.
func (w *snapshotWriter) end() (int64, error) {
	w.write(make([]byte, 8))
	if w.err == nil {
		w.err = w.w.Flush()
	}
	w.write(w.sum.Sum(nil))
	if w.err == nil {
		w.err = w.w.Flush()
	}
	return w.bytes, w.err
}

// snapshotFile is a file that is as it was written. Who wrote it is not known.
type snapshotFile struct {
	f    *os.File
	size int64
	at   map[string]answerAt // by question
}

type answerAt struct {
	offset int64
	bytes  int
}

// openSnapshotFile reads a file to its end, checks its form and checksum, and notes
// where each answer is. The caller closes it.
func openSnapshotFile(path string, network ledger.Digest) (_ *snapshotFile, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("snapshot: %w", err)
	}
	s := &snapshotFile{f: f, at: make(map[string]answerAt)}
	if err := s.index(network); err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return s, nil
}

func (s *snapshotFile) index(network ledger.Digest) error {
	sum := sha256.New()
	r := bufio.NewReaderSize(s.f, 1<<20)
	take := func(n int) ([]byte, error) {
		b := make([]byte, n)
		if _, err := io.ReadFull(r, b); err != nil {
			if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
				err = fmt.Errorf("%w: it was cut short after %d bytes: copy it again", ErrSnapshotFile, s.size)
			}
			return nil, err
		}
		s.size += int64(n)
		return b, nil
	}
	summed := func(n int) ([]byte, error) {
		b, err := take(n)
		sum.Write(b)
		return b, err
	}
	magic, err := summed(len(snapshotMagic))
	if err != nil || string(magic) != snapshotMagic {
		return fmt.Errorf("%w: it does not begin as one; is it of another version, or another kind of file?", ErrSnapshotFile)
	}
	of, err := summed(len(network))
	if err != nil {
		return err
	}
	if ledger.Digest(of) != network {
		return fmt.Errorf("%w: it is a snapshot of %v, this node is of %v", ErrOtherNetwork, ledger.Digest(of), network)
	}
	for {
		lengths, err := summed(8)
		if err != nil {
			return err
		}
		question, answer := binary.BigEndian.Uint32(lengths), binary.BigEndian.Uint32(lengths[4:])
		if question == 0 && answer == 0 {
			break
		}
		if question > replica.RequestBytesMax || answer > replica.ReplyBytesMax || len(s.at) == snapshotQuestionsMax {
			return fmt.Errorf("%w: it is damaged after %d bytes: copy it again", ErrSnapshotFile, s.size)
		}
		q, err := summed(int(question))
		if err != nil {
			return err
		}
		s.at[string(q)] = answerAt{s.size, int(answer)}
		if _, err := summed(int(answer)); err != nil {
			return err
		}
	}
	told, err := take(sha256.Size)
	if err != nil {
		return err
	}
	if _, err := r.ReadByte(); !bytes.Equal(told, sum.Sum(nil)) || !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: its checksum is wrong: it was damaged on its way; copy it again", ErrSnapshotFile)
	}
	return nil
}

// answer gives a replica what the file says to its question.
func (s *snapshotFile) answer(q replica.Request) (replica.Reply, error) {
	at, ok := s.at[string(questionOf(q))]
	if !ok {
		return replica.Reply{}, fmt.Errorf("%w: it has no answer to a question that has to be put (%v)", ErrForged, q.Kind)
	}
	b := make([]byte, at.bytes)
	if _, err := s.f.ReadAt(b, at.offset); err != nil {
		return replica.Reply{}, fmt.Errorf("snapshot: %w", err)
	}
	reply, err := replica.DecodeReply(b)
	if err == nil && reply.Kind != q.Kind {
		err = errors.New("an answer to another question")
	}
	if err != nil {
		return reply, fmt.Errorf("%w: %w", ErrForged, err)
	}
	return reply, nil
}
