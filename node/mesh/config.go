package mesh

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/holdfast-mesh/holdfast/p2p"
)

// Config says what a mesh is and how it behaves. Take DefaultConfig and fill in
// Host, Key and Network.
type Config struct {
	// Host carries everything. It must have been opened with Rules in its Records,
	// and its Server must give Mesh.Answer the questions that begin with QuestionTag.
	Host *p2p.Host
	// Key is the host's identity; it signs what we say of our own instances.
	Key crypto.PrivKey
	// Network is the id of the network, as the host has it.
	Network string
	// Provider, Region and Zone are where this node is.
	Provider, Region, Zone string
	// Dir keeps the last good sets and our own services over a restart. Empty: in
	// memory only.
	Dir string
	// Beat is how often our instances say that they live; TTL how long they are
	// believed without, at least four beats.
	Beat, TTL time.Duration
	// CheckEvery is how often our own instances are checked.
	CheckEvery time.Duration
	// SyncEvery is how often a peer is asked what gossip may have missed.
	SyncEvery time.Duration
	// DrainMax is how long a draining instance's connections may last.
	DrainMax time.Duration
	// Bounds are those of the store.
	Bounds Bounds
	// Roles names the roles of a peer for authorization, such as validator. Nil: none.
	Roles func(peer.ID) []string
	// Logger and Registerer may be nil: silence, and no metrics.
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// DefaultConfig returns a configuration that lacks only Host, Key and Network.
func DefaultConfig() Config {
	return Config{
		Beat:       10 * time.Second,
		TTL:        time.Minute,
		CheckEvery: time.Second,
		SyncEvery:  time.Minute,
		DrainMax:   30 * time.Second,
		Bounds:     DefaultBounds(),
	}
}

// Validate lists every fault at once, or returns nil.
func (c Config) Validate() error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if c.Host == nil {
		fault("Host is missing: open one with p2p.Open")
	}
	if c.Key == nil {
		fault("Key is missing: it is the host's identity")
	}
	if c.Host != nil && c.Key != nil {
		if id, err := peer.IDFromPrivateKey(c.Key); err != nil || id != c.Host.ID() {
			fault("Key is of %s, and the host is %s", id, c.Host.ID())
		}
	}
	if c.Network == "" || len(c.Network) > networkBytesMax {
		fault("Network %q must have 1 to %d bytes", c.Network, networkBytesMax)
	}
	for name, label := range map[string]string{"Provider": c.Provider, "Region": c.Region, "Zone": c.Zone} {
		if len(label) > labelBytesMax {
			fault("%s has %d bytes: at most %d", name, len(label), labelBytesMax)
		}
	}
	if c.Beat < BeatMin || c.TTL > TTLMax || c.TTL < beatsPerTTL*c.Beat {
		fault("Beat %v and TTL %v: a beat is at least %v, a ttl at most %v and at least %d beats", c.Beat, c.TTL, BeatMin, TTLMax, beatsPerTTL)
	}
	between := func(name string, v, low, high time.Duration) {
		if v < low || v > high {
			fault("%s is %v: it must be between %v and %v", name, v, low, high)
		}
	}
	between("CheckEvery", c.CheckEvery, 10*time.Millisecond, time.Minute)
	between("SyncEvery", c.SyncEvery, 100*time.Millisecond, time.Hour)
	between("DrainMax", c.DrainMax, 0, 10*time.Minute)
	b := c.Bounds
	if b.Names < 1 || b.Instances < 1 || b.InstancesName < 1 || b.NamesOfOwner < 1 || b.BurstOfOwner < 1 || b.SecondsOfOwner <= 0 {
		fault("Bounds %+v: all must be above nothing", b)
	}
	return errors.Join(faults...)
}
