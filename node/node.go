package node

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/holdfast-mesh/holdfast/node/ledger"
	"github.com/holdfast-mesh/holdfast/node/mesh"
	"github.com/holdfast-mesh/holdfast/node/replica"
	"github.com/holdfast-mesh/holdfast/p2p"
	"github.com/holdfast-mesh/holdfast/storage"
)

// Node is a running validator or observer. Open makes it listen, Run makes it
// work, Close ends it. The exported methods may be called from many goroutines,
// but Run once.
type Node struct {
	cfg     Config
	log     *slog.Logger
	bundle  *Bundle
	network ledger.Digest
	genesis []byte // its canonical bytes
	started time.Time

	store  *storage.Store
	host   *p2p.Host
	window window
	meter  *meter
	inbox  *inbox
	intake *intake
	index  *index
	blocks *streams

	mesh       atomic.Pointer[mesh.Mesh] // services by name; nil while opening
	forwarding forwarding
	askSlots   chan struct{}

	// mu guards the replica: the loop's steps write, everybody else reads between
	// them.
	mu      sync.RWMutex
	replica *replica.Replica

	// The loop's own.
	opened replica.Effects // what Open wants done first
	batch  storage.Batch
	loose  bool // the disk has a batch that is not durable yet
	alarm  replica.Alarm

	// What the loop publishes.
	standing    atomic.Pointer[standing]
	committedAt atomic.Int64  // our clock when a commit was executed last, Unix ns; 0: not in this life
	connected   atomic.Uint64 // weight of the validators in reach, ourselves included
	full        atomic.Bool   // the disk is full
	turns       atomic.Uint64 // of the loop; a full disk, which it waits for, turns it too

	// ctx ends with the node; work counts its goroutines.
	ctx    context.Context
	cancel context.CancelFunc
	work   sync.WaitGroup
}

// Open reads configuration, bundle, key and disk, and listens for peers. The
// caller must Close the node. What it can be refused for is said in the error,
// with what to do.
func Open(cfg Config, log *slog.Logger) (_ *Node, err error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("configuration:\n%w", err)
	}
	bundle, err := ReadBundle(cfg.BundlePath())
	if err != nil {
		return nil, fmt.Errorf("%w: get the network's bundle with `holdfast join`, or make a network with `holdfast network new`", err)
	}
	key, err := cfg.LoadKey()
	if err != nil {
		return nil, err
	}
	self := ledger.AccountOf(key)
	if cfg, err = cfg.WithBundle(bundle, self); err != nil {
		return nil, err
	}
	n := &Node{
		cfg: cfg, log: log, bundle: bundle, network: bundle.ID(), started: time.Now(),
		inbox: newInbox(), intake: newIntake(), askSlots: make(chan struct{}, askingMax),
	}
	n.blocks = &streams{n: n}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	defer func() {
		if err != nil {
			err = errors.Join(err, n.Close())
		}
	}()
	if n.genesis, err = bundle.Genesis().Encode(); err != nil {
		return nil, err
	}
	registry := prometheus.NewRegistry()
	n.meter = newMeter(n, registry)
	if err := n.openReplica(key); err != nil {
		return nil, err
	}
	if err := n.openHost(key, registry); err != nil {
		return nil, err
	}
	if err := n.openMesh(key, registry); err != nil {
		return nil, err
	}
	if err := n.openAPI(registry); err != nil {
		return nil, err
	}
	return n, nil
}

// openReplica opens the disk and what it holds.
func (n *Node) openReplica(key ed25519.PrivateKey) (err error) {
	if n.store, err = storage.Open(n.cfg.storePath(), n.cfg.storageOptions(n.log)); err != nil {
		return err
	}
	cfg := n.cfg.replicaConfig(n.bundle.Genesis(), key)
	if cfg, err = n.birth(cfg, key); err != nil {
		return err
	}
	began := time.Now()
	if n.replica, n.opened, err = replica.Open(cfg, began, disk{n.store}); err != nil {
		return err
	}
	executed, _ := n.replica.Executed()
	if n.index, err = openIndex(n.store, executed); err != nil {
		return fmt.Errorf("reading the index: %w", err)
	}
	if err := n.intake.open(n.store); err != nil {
		return fmt.Errorf("reading the journal of operations: %w", err)
	}
	n.log.Info("opened", "network", n.network, "commit", executed, "journalled", n.intake.size(), "took", time.Since(began))
	n.stand(&replica.Effects{})
	return nil
}

// birth decides whether this node may have signed blocks that its disk does not
// know of. A store that `holdfast init` made, and nothing else, says that it has never
// run. Otherwise an empty store of a validator is a lost disk, and that of any other node
// may be: governors can have made it a validator since the bundle. If it is one by
// the time it has caught up it recovers, and an observer is never kept from anything by it.
func (n *Node) birth(cfg replica.Config, key ed25519.PrivateKey) (replica.Config, error) {
	if cfg.Recover {
		return cfg, nil
	}
	for _, mark := range []string{keyUsed, keyBorn} {
		if _, err := n.store.Get([]byte(mark)); err == nil || !errors.Is(err, storage.ErrNotFound) {
			return cfg, err
		}
	}
	if _, validator := n.bundle.Validator(ledger.AccountOf(key)); validator {
		return cfg, fmt.Errorf("%w: %s", ErrLostDisk, n.cfg.storePath())
	}
	cfg.Recover = true
	return cfg, nil
}

// ErrLostDisk says that a validator's store is missing although it may have run.
var ErrLostDisk = errors.New("the store of this validator is empty, and nothing says that it has never run: " +
	"if its disk was lost start it with --recover, and it will ask the others what it said; a new one is made by `holdfast init`")

const (
	keyUsed = "meta/network" // written by the first start of a replica
	keyBorn = "meta/born"    // the store was made together with its key
)

// InitStore makes the store of a node whose key was made just now. It must not be
// called for a key that may have been used: such a node starts with
// Config.Recover.
func InitStore(cfg Config) error {
	store, err := storage.Open(cfg.storePath(), cfg.storageOptions(nil))
	if err != nil {
		return err
	}
	var batch storage.Batch
	batch.Set([]byte(keyBorn), []byte{1})
	return errors.Join(store.Write(&batch), store.Close())
}

func (n *Node) openHost(key ed25519.PrivateKey, registry prometheus.Registerer) (err error) {
	c := n.cfg.p2pConfig(n.network.String(), key)
	c.Committee, c.Bundle = n.committee(n.standing.Load().members), n.bundle.BootstrapPeers()
	c.Blocks, c.Server = n.blocks, server{n}
	c.Logger, c.Registerer = n.log, registry
	if n.host, err = p2p.Open(c); err != nil {
		return err
	}
	if !n.cfg.Gossip {
		return nil
	}
	var topic p2p.Topic // a validator has every block by streams, and only gives its own
	if _, validator := n.standing.Load().members.authors[n.host.ID()]; !validator {
		topic = n.blocks.topic()
	}
	return n.host.Join(p2p.TopicBlocks, topic)
}

// committee is the running committee as p2p wants it: where the bundle says each
// may be found, or the operation that made it a validator.
func (n *Node) committee(m *members) []p2p.Peer {
	known := n.bundle.Committee()
	if now, err := ValidatorsOf(ptr(n.replica.Ledger().Committee())); err == nil {
		for _, v := range now {
			known = append(known, v.Peer())
		}
	}
	peers := make([]p2p.Peer, len(m.peers))
	for a, id := range m.peers {
		peers[a].ID = id
		for _, k := range known {
			if k.ID == id {
				peers[a] = k
			}
		}
	}
	return peers
}

func ptr[T any](v T) *T { return &v }

// publish gives a new block of ours to gossip, which promises nothing.
func (n *Node) publish(raw []byte) {
	if !n.cfg.Gossip {
		return
	}
	if err := n.host.Publish(n.ctx, p2p.TopicBlocks, raw); err != nil && n.ctx.Err() == nil {
		n.log.Debug("gossip did not take a block", "err", err)
	}
}

// Run takes part until ctx ends, and then answers for a few seconds more those who
// wait for operations to become final. An error says what made the node stop.
func (n *Node) Run(ctx context.Context) error {
	inner, stop := context.WithCancel(n.ctx)
	defer stop()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	parts := []func(context.Context) error{n.loop, n.host.Run, n.resubmit, n.watchLinks, n.serveServices}
	failed := make(chan error, len(parts)+1)
	var work sync.WaitGroup
	for _, part := range parts {
		work.Go(func() {
			if err := part(inner); err != nil && inner.Err() == nil {
				failed <- err
				cancel()
			}
		})
	}
	left := make(chan struct{})
	go func() { n.leaveServices(ctx); close(left) }()
	// The API goes first, and all else works on while it drains.
	if err := n.serveAPI(ctx); err != nil {
		failed <- err
	}
	cancel()
	<-left
	stop()
	work.Wait()
	select {
	case err := <-failed:
		return err
	default:
		return nil
	}
}

// Close ends the node and waits for all it has started. It is safe to call twice.
func (n *Node) Close() error {
	n.cancel()
	var errs []error
	if n.window.listen != nil {
		n.window.listen.Close() // closed already if Run has served it
	}
	errs = append(errs, n.closeMesh())
	if n.host != nil {
		errs = append(errs, n.host.Close())
	}
	n.work.Wait()
	if n.store != nil {
		if err := n.store.Close(); !errors.Is(err, storage.ErrClosed) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// spawn runs a job that ends with the node.
func (n *Node) spawn(job func(context.Context)) {
	n.work.Go(func() { job(n.ctx) })
}

// Addrs are the multiaddrs peers can reach the node under.
func (n *Node) Addrs() []string {
	addrs := make([]string, 0, 4)
	for _, a := range n.host.Addrs() {
		addrs = append(addrs, a.String())
	}
	return addrs
}
