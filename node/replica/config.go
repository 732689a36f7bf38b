package replica

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"time"

	"github.com/holdfast-mesh/holdfast/node/ledger"
)

// Config says which validator a replica is and how it behaves. All validators
// of a network must have the same Genesis, CheckpointEvery and SnapshotEvery;
// the rest may differ.
type Config struct {
	Genesis *ledger.Genesis

	// Key signs our blocks. An observer has none: it follows, verifies and
	// never proposes. So does a validator whose key is not in the committee.
	Key ed25519.PrivateKey

	// Recover says that this validator may have run before with a disk that is
	// lost. It then asks the others what it said and proposes nothing until
	// enough of them have answered (the amnesia rule). Obeyed whenever it is set;
	// a restart continues what was begun even if it is not set any more.
	Recover bool

	// MinRound is the least time between two blocks of ours, IdleRound the
	// longest; LeaderTimeout is how long a round waits for its leader.
	MinRound, IdleRound, LeaderTimeout time.Duration

	// AskTimeout is how long a request may take before another validator is asked; up to
	// four times as long where answers come later.
	AskTimeout time.Duration

	// CheckpointEvery is the number of commits from one checkpoint to the next,
	// SnapshotEvery that between snapshots, a multiple of it.
	CheckpointEvery, SnapshotEvery uint64

	// Retain is how many commits stay on disk, at the least, for those behind
	// us; what a restart needs stays in any case.
	Retain uint64

	// EveryRoot computes the ledger's root at every commit, for simulation and
	// debugging: Effects.Commits have it then. It costs hashing.
	EveryRoot bool
}

// DefaultConfig fits a validator on a WAN. Genesis and Key are still missing.
func DefaultConfig() Config {
	return Config{
		MinRound:        50 * time.Millisecond,
		IdleRound:       time.Second,
		LeaderTimeout:   300 * time.Millisecond,
		AskTimeout:      500 * time.Millisecond,
		CheckpointEvery: 100,
		SnapshotEvery:   5_000,
		Retain:          20_000,
	}
}

// Validate lists every fault at once.
func (c *Config) Validate() error {
	var faults []error
	if c.Genesis == nil {
		faults = append(faults, errors.New("no Genesis: it says which network this is"))
	}
	if len(c.Key) != 0 && len(c.Key) != ed25519.PrivateKeySize {
		faults = append(faults, fmt.Errorf("a Key of %d bytes: an Ed25519 private key has %d, an observer none", len(c.Key), ed25519.PrivateKeySize))
	}
	if c.Recover && len(c.Key) == 0 {
		faults = append(faults, errors.New("no Key, but Recover: an observer has said nothing it could forget"))
	}
	between := func(name string, v, lo, hi time.Duration) {
		if v < lo || v > hi {
			faults = append(faults, fmt.Errorf("%s is %v: choose %v to %v", name, v, lo, hi))
		}
	}
	between("MinRound", c.MinRound, time.Millisecond, time.Minute)
	between("IdleRound", c.IdleRound, max(c.MinRound, time.Millisecond), time.Minute)
	between("LeaderTimeout", c.LeaderTimeout, time.Millisecond, time.Minute)
	between("AskTimeout", c.AskTimeout, time.Millisecond, time.Minute)
	if c.CheckpointEvery < 1 {
		faults = append(faults, errors.New("a CheckpointEvery of 0: it counts commits and is at least 1"))
	} else if c.SnapshotEvery < 1 || c.SnapshotEvery%c.CheckpointEvery != 0 {
		faults = append(faults, fmt.Errorf("a SnapshotEvery of %d: choose a multiple of CheckpointEvery, %d", c.SnapshotEvery, c.CheckpointEvery))
	}
	return errors.Join(faults...)
}
