package node

import (
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-mesh/holdfast/node/ledger"
	"github.com/holdfast-mesh/holdfast/node/mesh"
	"github.com/holdfast-mesh/holdfast/node/replica"
	"github.com/holdfast-mesh/holdfast/p2p"
	"github.com/holdfast-mesh/holdfast/storage"
)

// Config is everything a node needs. Take DefaultConfig, say where its directory
// is, change what you like, and let Open check it. Whether it is a validator or
// an observer is not configured: it validates when its key is in the committee.
//
// Where a field has the name of one of p2p.Config, replica.Config or
// storage.Options, it is the same thing.
type Config struct {
	// DataDir is the node's directory: its store, address book and, if the next
	// three do not say otherwise, its key and bundle. One process at a time.
	DataDir string
	// KeyFile is the node's Ed25519 key, see LoadKey; empty: node.key in DataDir.
	KeyFile string
	// BundleFile is the network's bundle; empty: network.bundle in DataDir.
	BundleFile string

	// IdentityFile, an age identity file, or PassphraseFile, one line, opens an
	// encrypted key. At most one of them; neither: Passphrase is asked.
	IdentityFile, PassphraseFile string
	// Passphrase asks a person, or the environment; it may be nil. Not from files.
	Passphrase func(fresh bool) (string, error)

	// Provider is the failure domain the node is in. A validator's is in the
	// bundle, and this must be empty or the same.
	Provider string
	// Listen holds multiaddrs to listen on for peers, QUIC first.
	Listen []string
	// Announce, if not empty, replaces the listened addresses in what peers are
	// told. Empty, a validator announces what the bundle says of it.
	Announce []string
	// ListenUDP makes the socket under QUIC, for test networks that put faults
	// under it. Nil is the machine's. Not from files.
	ListenUDP func(network string, addr *net.UDPAddr) (net.PacketConn, error)
	// Gossip, DHT, MDNS and NAT turn on these ways of travelling and of finding.
	Gossip, DHT, MDNS, NAT bool
	// Reach says whether peers can reach this node: public, private, or empty to
	// let it find out.
	Reach p2p.Reach
	// PeersWanted is the number of peers below which the address book is dialled,
	// PeersMax the number above which the least useful connections are closed.
	PeersWanted, PeersMax int

	// APIListen is the TCP address of the API. The API lets anybody read and send
	// signed operations; beyond loopback, put TLS in front.
	APIListen string
	// APIConnections bounds the API's open connections, APIStreams its WebSockets.
	APIConnections, APIStreams int
	// APIRequests and APIOps are what one address may ask for and submit per second.
	APIRequests, APIOps float64

	// MinRound is the least time between two blocks of ours: 10 ms on a LAN, 50 on
	// a WAN. IdleRound is the longest, LeaderTimeout how long a round waits for
	// its leader, AskTimeout how long a request may take before another validator
	// is asked.
	MinRound, IdleRound, LeaderTimeout, AskTimeout time.Duration
	// Recover says that this validator may have run before with a disk that is
	// lost. It then asks the others what it said before it says more.
	Recover bool
	// CheckpointEvery and SnapshotEvery are in commits. All validators of a network
	// must have the same, so they are not from files: only a test network that
	// makes all of its nodes sets them.
	CheckpointEvery, SnapshotEvery uint64
	// Retain is how many commits stay on disk, at the least, for those behind us.
	Retain uint64

	// CacheBytes bounds the blocks kept in memory for reading.
	CacheBytes int64
	// ReserveBytes is the free room on disk below which new operations are refused.
	ReserveBytes int64

	// LogLevel is debug, info, warn or error; LogFormat is text or json.
	LogLevel, LogFormat string
}

// Names of files in DataDir.
const (
	keyName    = "node.key"
	bundleName = "network.bundle"
	bookName   = "peers"
	storeName  = "store"
)

// Bounds of what a configuration may ask for, where no other room has them.
const (
	apiRateMax        = 1_000_000 // no bound in effect
	apiConnectionsMax = 100_000   // the machine has no more to give
)

// DefaultConfig is a validator or observer on a WAN. DataDir is missing.
func DefaultConfig() Config {
	r, h, s := replica.DefaultConfig(), p2p.DefaultConfig(), storage.DefaultOptions()
	return Config{
		Listen:          h.Listen,
		Gossip:          h.Gossip,
		DHT:             h.DHT,
		MDNS:            h.MDNS,
		NAT:             h.NAT,
		PeersWanted:     h.PeersWanted,
		PeersMax:        h.PeersMax,
		APIListen:       "127.0.0.1:8080",
		APIConnections:  4096,
		APIStreams:      1024,
		APIRequests:     20_000,
		APIOps:          100_000,
		MinRound:        r.MinRound,
		IdleRound:       r.IdleRound,
		LeaderTimeout:   r.LeaderTimeout,
		AskTimeout:      r.AskTimeout,
		CheckpointEvery: r.CheckpointEvery,
		SnapshotEvery:   r.SnapshotEvery,
		Retain:          r.Retain,
		CacheBytes:      s.CacheBytes,
		ReserveBytes:    s.ReserveBytes,
		LogLevel:        "info",
		LogFormat:       "text",
	}
}

// Validate lists every fault at once, or returns nil. It reads no file.
func (c Config) Validate() error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if c.DataDir == "" {
		fault("DataDir is missing: say where the node keeps its data")
	}
	if c.IdentityFile != "" && c.PassphraseFile != "" {
		fault("IdentityFile and PassphraseFile are both given: a key has one lock")
	}
	if c.Provider != "" {
		faults = append(faults, validLabel("Provider", c.Provider))
	}
	if _, _, err := net.SplitHostPort(c.APIListen); err != nil {
		fault("APIListen is %q: give an address and a port, such as 127.0.0.1:8080", c.APIListen)
	}
	within := func(name string, v, high float64) {
		if !(v >= 1 && v <= high) {
			fault("%s is %v: choose 1 to %.0f", name, v, high)
		}
	}
	within("APIConnections", float64(c.APIConnections), apiConnectionsMax)
	within("APIStreams", float64(c.APIStreams), apiConnectionsMax)
	within("APIRequests", c.APIRequests, apiRateMax)
	within("APIOps", c.APIOps, apiRateMax)
	if !slices.Contains(logLevels, c.LogLevel) {
		fault("LogLevel is %q: choose one of %s", c.LogLevel, strings.Join(logLevels, ", "))
	}
	if !slices.Contains(logFormats, c.LogFormat) {
		fault("LogFormat is %q: choose one of %s", c.LogFormat, strings.Join(logFormats, ", "))
	}
	// The other rooms judge what is theirs; they get in place of what comes from
	// files what lets them pass.
	r := c.replicaConfig(&ledger.Genesis{}, make([]byte, ed25519.PrivateKeySize))
	faults = append(faults, r.Validate(), c.p2pConfig(nowhere, nil).Validate(), c.storageOptions(nil).Validate())
	return errors.Join(faults...)
}

// nowhere is a network to check a configuration with.
const nowhere = "nowhere"

var (
	logLevels  = []string{"debug", "info", "warn", "error"}
	logFormats = []string{"text", "json"}
)

// KeyPath is where the node's key is.
func (c Config) KeyPath() string { return c.inData(c.KeyFile, keyName) }

// BundlePath is where the network's bundle is.
func (c Config) BundlePath() string { return c.inData(c.BundleFile, bundleName) }

func (c Config) bookPath() string  { return filepath.Join(c.DataDir, bookName) }
func (c Config) storePath() string { return filepath.Join(c.DataDir, storeName) }

func (c Config) inData(path, name string) string {
	if path != "" {
		return path
	}
	return filepath.Join(c.DataDir, name)
}

// Lock is how the node's key is opened.
func (c Config) Lock() Lock {
	l := Lock{IdentityFile: c.IdentityFile, Passphrase: c.Passphrase}
	if c.PassphraseFile != "" {
		l.Passphrase = func(bool) (string, error) { return ReadPassphrase(c.PassphraseFile) }
	}
	return l
}

// LoadKey reads the node's key.
func (c Config) LoadKey() (ed25519.PrivateKey, error) { return LoadKey(c.KeyPath(), c.Lock()) }

// WithBundle fills in what the bundle says about the node with this key, where
// the configuration says nothing. A validator whose provider is configured as
// another than the committee counts it in is refused: the placement check would
// be about a network that is not.
func (c Config) WithBundle(b *Bundle, self ledger.Account) (Config, error) {
	v, ok := b.Validator(self)
	if !ok {
		return c, nil
	}
	if c.Provider != "" && c.Provider != v.Provider {
		return c, fmt.Errorf("the provider is configured as %q, but the network's bundle counts this validator in %q: leave it out, or have the committee changed", c.Provider, v.Provider)
	}
	c.Provider = v.Provider
	if len(c.Announce) == 0 {
		c.Announce = slices.Clone(v.Addrs)
	}
	return c, nil
}

// Logger writes as the configuration says.
func (c Config) Logger(w io.Writer) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.LogLevel)); err != nil {
		level = slog.LevelInfo // Validate has refused it
	}
	options := &slog.HandlerOptions{Level: level}
	if c.LogFormat == "json" {
		options.ReplaceAttr = asText
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// asText has JSON logs say what people read: the text of whatever has one, such as a
// digest, and no array of its bytes.
func asText(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() != slog.KindAny {
		return a
	}
	switch v := a.Value.Any().(type) {
	case json.Marshaler, error:
	case fmt.Stringer:
		a.Value = slog.StringValue(v.String())
	}
	return a
}

// Loopback says whether the API can be called from this machine alone.
func (c Config) Loopback() bool {
	host, _, err := net.SplitHostPort(c.APIListen)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// replicaConfig is what the replica is opened with.
func (c Config) replicaConfig(genesis *ledger.Genesis, key ed25519.PrivateKey) replica.Config {
	r := replica.DefaultConfig()
	r.Genesis, r.Key, r.Recover = genesis, key, c.Recover
	r.MinRound, r.IdleRound = c.MinRound, c.IdleRound
	r.LeaderTimeout, r.AskTimeout = c.LeaderTimeout, c.AskTimeout
	r.CheckpointEvery, r.SnapshotEvery = c.CheckpointEvery, c.SnapshotEvery
	r.Retain = c.Retain
	return r
}

// p2pConfig is what the host is opened with, but for committee, bundle peers,
// handlers, logger and metrics. A nil key is a fresh one.
func (c Config) p2pConfig(network string, key ed25519.PrivateKey) p2p.Config {
	h := p2p.DefaultConfig()
	h.Identity, h.Network, h.Provider = identityOf(key), network, c.Provider
	h.Listen, h.Announce, h.ListenUDP = c.Listen, c.Announce, c.ListenUDP
	h.BookPath = c.bookPath()
	h.Gossip, h.DHT, h.MDNS, h.NAT, h.Reach = c.Gossip, c.DHT, c.MDNS, c.NAT, c.Reach
	h.PeersWanted, h.PeersMax = c.PeersWanted, c.PeersMax
	h.Records = map[string]p2p.RecordRules{mesh.Namespace: mesh.Rules(network)}
	return h
}

// storageOptions is what the store is opened with.
func (c Config) storageOptions(log *slog.Logger) storage.Options {
	o := storage.DefaultOptions()
	o.CacheBytes, o.ReserveBytes, o.Logger = c.CacheBytes, c.ReserveBytes, log
	return o
}

// MakeDataDir makes the node's directory for its owner alone, if it is missing.
func (c Config) MakeDataDir() error {
	if err := os.MkdirAll(c.DataDir, 0o700); err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	return nil
}
