package node

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/holdfast-mesh/holdfast/node/dag"
	"github.com/holdfast-mesh/holdfast/node/ledger"
	"github.com/holdfast-mesh/holdfast/node/replica"
	"github.com/holdfast-mesh/holdfast/storage"
)

// Found is what VerifyDisk found.
type Found struct {
	Files, Keys int      // read from the first to the last byte
	Damage      []string // each names a file, or what cannot be restored from it
	// Commit is the newest commit that the disk leads to, CommitDigest its digest
	// and Root the ledger's root after it. Zero when Damage keeps it from being said.
	Commit       uint64
	CommitDigest ledger.Digest
	Root         [32]byte
	// Certified is the newest commit whose root a quorum has signed, 0 for none.
	Certified uint64
}

// ErrNoStore says that there is nothing to verify.
var ErrNoStore = errors.New("there is no store")

// VerifyDisk reads all of a stopped node's store and does what a start would do:
// it restores the newest snapshot, executes the commits since and compares with
// what a quorum has signed. It keeps nothing of that and signs nothing. The error
// is for when it could not do its work, such as with a node that is running.
func VerifyDisk(ctx context.Context, cfg Config) (found Found, err error) {
	bundle, err := ReadBundle(cfg.BundlePath())
	if err != nil {
		return found, err
	}
	if _, err := os.Stat(cfg.storePath()); errors.Is(err, fs.ErrNotExist) {
		return found, fmt.Errorf("%w at %s: nothing has run there", ErrNoStore, cfg.storePath())
	}
	store, err := storage.Open(cfg.storePath(), cfg.storageOptions(nil))
	if errors.Is(err, storage.ErrCorrupt) {
		found.Damage = append(found.Damage, err.Error())
		return found, nil
	}
	if err != nil {
		return found, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	report, err := store.Verify(ctx)
	found.Files, found.Keys = report.Files, report.Keys
	for _, d := range report.Damage {
		found.Damage = append(found.Damage, fmt.Sprintf("%s: %v", d.File, d.Err))
	}
	if err != nil || len(found.Damage) > 0 {
		return found, err
	}
	found.replay(cfg.replicaConfig(bundle.Genesis(), ed25519.PrivateKey(nil)), store)
	return found, nil
}

// replay opens the store as an observer would. The effects are not performed: the
// disk stays as it is.
func (f *Found) replay(cfg replica.Config, store *storage.Store) {
	cfg.Recover = false
	r, _, err := replica.Open(cfg, time.Now(), disk{store})
	if err != nil {
		f.Damage = append(f.Damage, err.Error())
		return
	}
	var digest dag.Digest
	f.Commit, digest = r.Executed()
	f.CommitDigest, f.Root = ledger.Digest(digest), r.Ledger().Root()
	f.Certified = r.Certified().Index
}
