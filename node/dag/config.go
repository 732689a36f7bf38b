package dag

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"time"
)

// Timing of the rounds; see Config.
const (
	leaderTimeoutDefault = 300 * time.Millisecond
	minRoundDefault      = 10 * time.Millisecond
	idleRoundDefault     = time.Second
)

// Config is what a core is opened with. Nothing in it changes while it runs.
type Config struct {
	// Rules judge the epoch's blocks; the same value verifies them. The core
	// itself does not call CheckPayload.
	Rules Rules
	// Key signs our blocks. Without one, or with one outside the committee, the
	// core follows and never proposes.
	Key ed25519.PrivateKey
	// GenesisMs is the network's first time, in Unix milliseconds: the time of
	// the (implicit) blocks at round 0 of epoch 0. No commit is earlier.
	GenesisMs uint64

	// LeaderTimeout is how long a proposal waits for the leader of the round
	// before when that leader is connected.
	LeaderTimeout time.Duration
	// MinRound is the least time between two of our blocks: 10 ms on a LAN, 50
	// on a WAN. More makes fewer blocks, and later commits.
	MinRound time.Duration
	// IdleRound is the time between two of our blocks when there is nothing to
	// order.
	IdleRound time.Duration

	// Recovering says that this validator's key was used before and its store is
	// lost. The core then asks the others how far it had come (see Newest) and
	// proposes nothing until it cannot fill a slot twice. The caller must keep
	// saying so, over restarts, until this validator's Status is neither
	// Recovering nor Recovered, and that step is durable.
	Recovering bool
}

// DefaultConfig has the timing of a local network and no key.
func DefaultConfig(rules Rules) Config {
	return Config{
		Rules:         rules,
		LeaderTimeout: leaderTimeoutDefault,
		MinRound:      minRoundDefault,
		IdleRound:     idleRoundDefault,
	}
}

// Validate lists every fault of the configuration at once.
func (c Config) Validate() error {
	var errs []error
	if c.Rules.Committee == nil {
		errs = append(errs, errors.New("dag: the rules name no committee"))
	}
	if err := c.Rules.Limits.Validate(); err != nil {
		errs = append(errs, err)
	}
	if len(c.Key) != 0 && len(c.Key) != ed25519.PrivateKeySize {
		errs = append(errs, fmt.Errorf("dag: a key of %d bytes, Ed25519 has %d", len(c.Key), ed25519.PrivateKeySize))
	}
	if c.GenesisMs > timeMsMax {
		errs = append(errs, fmt.Errorf("dag: the genesis time %d ms is beyond any clock", c.GenesisMs))
	}
	for _, d := range []struct {
		name  string
		value time.Duration
	}{{"leader timeout", c.LeaderTimeout}, {"shortest round", c.MinRound}, {"idle round", c.IdleRound}} {
		if d.value <= 0 || d.value > time.Minute {
			errs = append(errs, fmt.Errorf("dag: a %s of %v; it must be above zero and at most a minute", d.name, d.value))
		}
	}
	if c.IdleRound < c.MinRound {
		errs = append(errs, fmt.Errorf("dag: an idle round of %v is shorter than the shortest of %v", c.IdleRound, c.MinRound))
	}
	return errors.Join(errs...)
}
