package node

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/holdfast-mesh/holdfast/node/ledger"
	"github.com/holdfast-mesh/holdfast/node/replica"
	"github.com/holdfast-mesh/holdfast/storage"
)

// oftenSnapshots has a snapshot every ten commits, and commits all the time.
func oftenSnapshots(c *Config) {
	c.CheckpointEvery, c.SnapshotEvery, c.IdleRound = 5, 10, 20*time.Millisecond
}

// frames are the questions and answers of a snapshot file.
func frames(t *testing.T, file []byte) (all [][2][]byte) {
	t.Helper()
	rest := file[len(snapshotMagic)+32:]
	for {
		q, a := binary.BigEndian.Uint32(rest), binary.BigEndian.Uint32(rest[4:])
		if q == 0 {
			return all
		}
		all = append(all, [2][]byte{rest[8 : 8+q], rest[8+q : 8+q+a]})
		rest = rest[8+q+a:]
	}
}

// forge writes a file with other answers and a right checksum.
func forge(t *testing.T, file []byte, change func(q replica.Request, r *replica.Reply)) []byte {
	t.Helper()
	out := bytes.Clone(file[:len(snapshotMagic)+32])
	for _, f := range frames(t, file) {
		q, err := replica.DecodeRequest(f[0])
		if err != nil {
			t.Fatal(err)
		}
		r, err := replica.DecodeReply(bytes.Clone(f[1]))
		if err != nil {
			t.Fatal(err)
		}
		change(q, &r)
		answer := r.Bytes()
		out = binary.BigEndian.AppendUint32(out, uint32(len(f[0])))
		out = binary.BigEndian.AppendUint32(out, uint32(len(answer)))
		out = append(append(out, f[0]...), answer...)
	}
	out = append(out, make([]byte, 8)...)
	sum := sha256.Sum256(out)
	return append(out, sum[:]...)
}

// TestSnapshotFile: a state leaves a running network in a file and makes a new node,
// which follows from there; what is damaged or forged leaves nothing behind.
func TestSnapshotFile(t *testing.T) {
	c := newCluster(t, 4, oftenSnapshots)
	c.untilQuorum()
	c.final(0, c.transfer(0))
	dir := t.TempDir()
	good := filepath.Join(dir, "good")
	observer := c.config(4)
	if err := c.bundle.WriteBundle(observer.BundlePath()); err != nil {
		t.Fatal(err)
	}
	var exported Snapshot
	c.eventually("a snapshot is exported from a running node", func() (done bool) {
		var err error
		exported, err = ExportSnapshot(t.Context(), observer, c.nodes[1].Addrs()[0], good)
		if err != nil && !errors.Is(err, ErrNoSnapshot) && !errors.Is(err, ErrForged) { // it may be pruned meanwhile
			t.Fatal(err)
		}
		return err == nil
	})
	file, err := os.ReadFile(good)
	if err != nil || int64(len(file)) != exported.Bytes || exported.Commit == 0 {
		t.Fatalf("%v: %+v", err, exported)
	}
	if _, err := ExportSnapshot(t.Context(), observer, c.nodes[1].Addrs()[0], good); err == nil {
		t.Error("a file was overwritten")
	}
	if _, err := ExportSnapshot(t.Context(), c.nodes[0].cfg, "", filepath.Join(dir, "x")); !errors.Is(err, storage.ErrLocked) {
		t.Errorf("from a running node's disk: %v", err)
	}

	observer.Listen = []string{"/ip4/127.0.0.1/udp/0/quic-v1"}
	if _, err := ImportSnapshot(t.Context(), observer, good); err == nil {
		t.Error("a node without a key imports")
	}
	if _, err := CreateKey(observer.KeyPath(), Lock{Plain: true}); err != nil {
		t.Fatal(err)
	}
	if err := InitStore(observer); err != nil {
		t.Fatal(err)
	}
	refusesSnapshots(t, observer, file)
	imported, err := ImportSnapshot(t.Context(), observer, good)
	if err != nil || imported != exported || imported.MustRecover {
		t.Fatalf("%v: imported %+v, exported %+v", err, imported, exported)
	}
	found, err := VerifyDisk(t.Context(), observer)
	// The votes are in blocks that may decide some commits more, and certify the next
	// checkpoint.
	if err != nil || len(found.Damage) != 0 || found.Certified < exported.Commit || found.Commit < exported.Commit || found.Commit == exported.Commit && found.Root != exported.Root {
		t.Errorf("%v: the disk holds %+v", err, found)
	}
	if _, err := ImportSnapshot(t.Context(), observer, good); !errors.Is(err, ErrNotFresh) {
		t.Errorf("a second time: %v", err)
	}
	c.nodes = append(c.nodes, &member{cfg: observer})
	c.start(4)
	c.eventually("the imported node is ready", func() bool { return (backend{c.nodes[4].Node}).Status().Ready })
	c.agreed(c.final(4, c.transfer(1)).Commit)

	importsValidator(t, c, good)
	c.halt(0, false)
	again, err := ExportSnapshot(t.Context(), c.nodes[0].cfg, "", filepath.Join(dir, "stopped"))
	if err != nil || again.Commit < exported.Commit {
		t.Errorf("from the stopped node's disk: %v: %+v", err, again)
	}
}

// importsValidator: a validator's key with a disk from elsewhere must ask what it said.
func importsValidator(t *testing.T, c *cluster, good string) {
	cfg := c.config(5)
	key, err := os.ReadFile(c.nodes[2].cfg.KeyPath())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(cfg.KeyPath(), key, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := c.bundle.WriteBundle(cfg.BundlePath()); err != nil {
		t.Fatal(err)
	}
	s, err := ImportSnapshot(t.Context(), cfg, good)
	if err != nil || !s.MustRecover {
		t.Fatalf("%v: %+v", err, s)
	}
	store, err := storage.Open(cfg.storePath(), cfg.storageOptions(nil))
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	if _, err := store.Get(replica.RecoverMark().Key); err != nil {
		t.Errorf("the mark is missing: %v", err)
	}
}

// refusesSnapshots tries every bad file on a fresh node and looks that it stays fresh.
func refusesSnapshots(t *testing.T, fresh Config, file []byte) {
	path := filepath.Join(t.TempDir(), "bad")
	flip := func(at int) []byte {
		b := bytes.Clone(file)
		b[at] ^= 1
		return b
	}
	otherNetwork := flip(len(snapshotMagic))
	for _, tc := range []struct {
		name string
		file []byte
		want error
	}{
		{"empty", nil, ErrSnapshotFile},
		{"another kind", []byte("hello, this is no snapshot"), ErrSnapshotFile},
		{"cut in the head", file[:len(snapshotMagic)+5], ErrSnapshotFile},
		{"cut in the middle", file[:len(file)/2], ErrSnapshotFile},
		{"cut before the checksum", file[:len(file)-40], ErrSnapshotFile},
		{"cut in the checksum", file[:len(file)-1], ErrSnapshotFile},
		{"a byte more", append(bytes.Clone(file), 0), ErrSnapshotFile},
		{"a flipped bit", flip(len(file) / 2), ErrSnapshotFile},
		{"a flipped bit of the checksum", flip(len(file) - 1), ErrSnapshotFile},
		{"another network", otherNetwork, ErrOtherNetwork},
		{"another state", forge(t, file, func(q replica.Request, r *replica.Reply) {
			if q.Kind == replica.AskChunk {
				r.Chunk[len(r.Chunk)/2] ^= 1
			}
		}), ErrForged},
		{"another state, and its manifest", forge(t, file, func(q replica.Request, r *replica.Reply) {
			if q.Kind == replica.AskManifest {
				m, err := replica.DecodeManifest(r.Manifest)
				if err != nil {
					t.Fatal(err)
				}
				m.Chunks[0] = sha256.Sum256([]byte("another"))
				r.Manifest = m.Bytes()
			}
			if q.Kind == replica.AskChunk && q.Chunk == 0 {
				r.Chunk = []byte("another")
			}
		}), ErrForged},
		{"another root", forge(t, file, func(q replica.Request, r *replica.Reply) {
			if q.Kind == replica.AskCheckpoint {
				cert, err := replica.DecodeCertificate(r.Certificate)
				if err != nil {
					t.Fatal(err)
				}
				cert.Root[0] ^= 1
				r.Certificate = cert.Bytes()
			}
		}), ErrForged},
		{"a vote less", forge(t, file, func(q replica.Request, r *replica.Reply) {
			if q.Kind == replica.AskCheckpoint {
				cert, err := replica.DecodeCertificate(r.Certificate)
				if err != nil {
					t.Fatal(err)
				}
				cert.Votes, r.Blocks = cert.Votes[:2], r.Blocks[:2]
				r.Certificate = cert.Bytes()
			}
		}), ErrForged},
		{"no certificate", forge(t, file, func(q replica.Request, r *replica.Reply) { r.Certificate = nil }), ErrForged},
		{"other commits", forge(t, file, func(q replica.Request, r *replica.Reply) {
			if q.Kind == replica.AskCommits && len(r.Commits) > 1 {
				r.Commits = r.Commits[:len(r.Commits)-1]
			}
		}), ErrForged},
	} {
		if err := os.WriteFile(path, tc.file, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := ImportSnapshot(t.Context(), fresh, path); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, want %v", tc.name, err, tc.want)
		}
		if _, err := os.Stat(fresh.storePath() + ".import"); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: something is left behind: %v", tc.name, err)
		}
	}
	if _, err := untouched(fresh); err != nil {
		t.Errorf("the store is touched: %v", err)
	}
}

func FuzzSnapshotFile(f *testing.F) {
	network := ledger.Digest{1}
	var whole bytes.Buffer
	w := newSnapshotWriter(&whole, network)
	w.add(replica.Request{Kind: replica.AskManifest, From: 7}, replica.Reply{Kind: replica.AskManifest, Manifest: []byte("m")})
	if _, err := w.end(); err != nil {
		f.Fatal(err)
	}
	f.Add(whole.Bytes())
	f.Add(whole.Bytes()[:40])
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, b []byte) {
		path := filepath.Join(dir, fmt.Sprint(os.Getpid()))
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := openSnapshotFile(path, network)
		if err != nil {
			return
		}
		defer s.f.Close()
		if s.size != int64(len(b)) {
			t.Fatalf("%d of %d bytes were read", s.size, len(b))
		}
		for q := range s.at { // order: each is looked up by itself
			if r, err := replica.DecodeRequest([]byte(q)); err == nil {
				s.answer(r)
			}
		}
	})
}
