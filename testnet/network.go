package testnet

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-mesh/holdfast/node"
	"github.com/holdfast-mesh/holdfast/node/api"
	"github.com/holdfast-mesh/holdfast/node/ledger"
	"github.com/holdfast-mesh/holdfast/node/mesh"
	"github.com/holdfast-mesh/holdfast/testnet/faults"
)

// readyMax bounds how long nodes may take to be ready once they are started: a loaded
// laptop has sixty processes ready in a quarter of it.
const readyMax = 2 * time.Minute

// Network is a network that is up. Any number of goroutines may use it.
type Network struct {
	config   Config
	manifest Manifest
	bundle   *node.Bundle
	nodes    []*process
	clients  []*api.Client // by node
	desks    []*mesh.Client
	keeper   *keeper
	control  *control
	driver   driver // nil before Up has it
	sockets  string // a directory with a short name, for the control socket
	ours     bool   // Dir was empty: what is in it now is this network's
	down     sync.Once

	mu      sync.Mutex // guards what is below, and the pushing of rules
	weather *weather
	faults  []*inForce
	count   int // of faults, for their names
	changes int // how often one began or ended
	alarms  []AlarmRecord
	deeds   []ServiceRecord
}

// Up makes a network and waits until every node is ready. When it fails, or ctx
// ends before, nothing is left.
func Up(ctx context.Context, c Config) (n *Network, err error) {
	if err := errors.Join(c.Validate(), refuses(&c, nil, false)); err != nil {
		return nil, err
	}
	n = &Network{config: c, keeper: newKeeper()}
	defer func() {
		if err != nil {
			err = errors.Join(err, n.Down())
		}
	}()
	if err := n.makeFiles(ctx); err != nil {
		return n, err
	}
	if err := n.startAll(ctx); err != nil {
		return n, err
	}
	if n.control, err = listenControl(n, n.manifest.Control); err != nil {
		return n, err
	}
	return n, writeJSON(manifestPath(c.Dir), n.manifest)
}

// makeFiles makes directories, keys and the bundle.
func (n *Network) makeFiles(ctx context.Context) (err error) {
	if err := makeEmptyDir(n.config.Dir); err != nil {
		return err
	}
	n.ours = true
	if n.sockets, err = os.MkdirTemp("", "hf"); err != nil {
		return fmt.Errorf("testnet: a directory for the control socket: %w", err)
	}
	if n.driver, err = newDriver(ctx, &n.config); err != nil {
		return err
	}
	n.manifest = Manifest{
		PID: os.Getpid(), Driver: n.config.Driver, Seed: n.config.Seed,
		Control: filepath.Join(n.sockets, "control"), Bundle: filepath.Join(n.config.Dir, "network.bundle"),
	}
	if err := n.makeFaucet(); err != nil {
		return err
	}
	if err := n.makeNodes(); err != nil {
		return err
	}
	return n.makeBundle()
}

// makeEmptyDir makes a directory, or takes one that is empty.
func makeEmptyDir(dir string) error {
	entries, err := os.ReadDir(dir)
	if err == nil && len(entries) > 0 {
		if _, err := ReadManifest(dir); err == nil {
			return fmt.Errorf("testnet: a network is up in %s already: take it down with: holdfast testnet down", dir)
		}
		return fmt.Errorf("testnet: %s is not empty: name another directory, or remove what a network that died has left there", dir)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("testnet: %w", err)
	}
	return nil
}

func (n *Network) makeFaucet() error {
	path := filepath.Join(n.config.Dir, "faucet.key")
	key, err := node.CreateKey(path, node.Lock{Plain: true})
	if err != nil {
		return fmt.Errorf("testnet: the faucet: %w", err)
	}
	n.manifest.Faucet = Wallet{Account: ledger.AccountOf(key).String(), KeyFile: path}
	return nil
}

// makeNodes places the nodes: directory, key, ports.
func (n *Network) makeNodes() error {
	for _, p := range n.config.Providers {
		for i := range p.Nodes {
			spot := Spot{Number: len(n.nodes), Provider: p.Name, Zone: string(rune('a' + i%p.Zones))}
			if err := n.makeNode(spot); err != nil {
				return fmt.Errorf("testnet: node %d: %w", spot.Number, err)
			}
		}
	}
	n.weather = newWeather(len(n.nodes))
	for _, l := range n.config.Links {
		if err := n.link(l); err != nil {
			return err
		}
	}
	return nil
}

func (n *Network) makeNode(spot Spot) error {
	dir := filepath.Join(n.config.Dir, fmt.Sprintf("node-%d", spot.Number))
	key, err := makeNodeDir(dir)
	if err != nil {
		return err
	}
	place, err := n.driver.place(spot, dir)
	if err != nil {
		return err
	}
	n.nodes = append(n.nodes, &process{Spot: spot, placed: place, dir: dir, keeper: n.keeper})
	n.manifest.Nodes = append(n.manifest.Nodes, Member{
		Spot: spot, Peer: place.peers[0], API: "http://" + place.api, Dir: dir, Key: ledger.AccountOf(key).String(),
	})
	config := node.DefaultConfig()
	config.DataDir = dir
	n.desks = append(n.desks, mesh.NewClient(config.DeskPath()))
	return n.addClient(place.api)
}

// makeNodeDir makes what a node begins with, but for its bundle: a key and a store that
// has never been used.
func makeNodeDir(dir string) (ed25519.PrivateKey, error) {
	key, err := node.CreateKey(filepath.Join(dir, "node.key"), node.Lock{Plain: true})
	if err != nil {
		return nil, err
	}
	config := node.DefaultConfig()
	config.DataDir = dir
	return key, node.InitStore(config)
}

func (n *Network) addClient(addr string) error {
	c, err := api.NewClient("http://" + addr)
	if err != nil {
		return err
	}
	c.HTTP = newHTTP()
	n.clients = append(n.clients, c)
	return nil
}

// makeBundle writes the network's bundle and gives every node a copy.
func (n *Network) makeBundle() error {
	var validators []ledger.Validator
	for _, m := range n.manifest.Nodes {
		var addrs []string
		for _, peer := range n.nodes[m.Number].peers {
			host, port, _ := strings.Cut(peer, ":")
			addrs = append(addrs, "/ip4/"+host+"/udp/"+port+"/quic-v1")
		}
		about, err := node.About{
			Provider: m.Provider, Region: m.Provider + "-1", Zone: m.Zone, Operator: m.Provider,
			Addrs: addrs,
		}.Encode()
		if err != nil {
			return fmt.Errorf("testnet: node %d: %w", m.Number, err)
		}
		key, err := ledger.ParseAccount(m.Key)
		if err != nil {
			return fmt.Errorf("testnet: node %d: %w", m.Number, err)
		}
		validators = append(validators, ledger.Validator{Key: key, Weight: 1, About: about})
	}
	faucet, err := ledger.ParseAccount(n.manifest.Faucet.Account)
	if err != nil {
		return fmt.Errorf("testnet: the faucet: %w", err)
	}
	g, err := genesis(n.config, faucet, validators)
	if err != nil {
		return err
	}
	if n.bundle, err = node.NewBundle(g, nil, keyOf(n.config.Seed, "signer", 0)); err != nil {
		return fmt.Errorf("testnet: %w", err)
	}
	n.manifest.Network = n.bundle.ID().String()
	for _, path := range slices.Backward(n.bundlePaths()) { // the network's own is last
		if err := n.bundle.WriteBundle(path); err != nil {
			return fmt.Errorf("testnet: %w", err)
		}
	}
	return nil
}

func (n *Network) bundlePaths() []string {
	paths := []string{n.manifest.Bundle}
	for _, p := range n.nodes {
		paths = append(paths, filepath.Join(p.dir, "network.bundle"))
	}
	return paths
}

// startAll starts every node and waits for all. Containers take a while to be made, so
// all are at once.
func (n *Network) startAll(ctx context.Context) error {
	wrong := make([]error, len(n.nodes))
	var all sync.WaitGroup
	for i := range n.nodes {
		all.Go(func() { wrong[i] = n.startNode(i) })
	}
	all.Wait()
	if err := errors.Join(wrong...); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, readyMax)
	defer cancel()
	for i := range n.nodes {
		if err := n.awaitReady(ctx, i); err != nil {
			return err
		}
	}
	return nil
}

// startNode starts a node under the rules that hold now.
func (n *Network) startNode(i int, more ...string) error {
	n.mu.Lock()
	begin := faults.Start{Seed: n.config.Seed<<8 | uint64(i), Rules: n.weather.table(i, n.peers(i))}
	n.mu.Unlock()
	return n.nodes[i].start(begin, more...)
}

// peers are the QUIC sockets of all nodes as one of them sees them. Its own is nobody's.
func (n *Network) peers(seenBy int) []string {
	addrs := make([]string, len(n.nodes))
	for i := range n.nodes {
		if i != seenBy {
			addrs[i] = n.driver.address(i, seenBy)
		}
	}
	return addrs
}

// readyEvery is the time between two questions whether a node is ready.
const readyEvery = 50 * time.Millisecond

// awaitReady waits until a node says that it is ready.
func (n *Network) awaitReady(ctx context.Context, i int) error {
	var last error
	for {
		state, died := n.nodes[i].now()
		if died != nil {
			return died
		}
		if state == Dead {
			return fmt.Errorf("testnet: node %d is dead", i)
		}
		status, err := n.clients[i].Status(ctx)
		if err == nil && status.Ready {
			return nil
		}
		if err != nil && ctx.Err() == nil {
			last = err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("testnet: node %d is not ready: %w (its last answer: %w); its log is %s", i, ctx.Err(), cmpNil(last), n.nodes[i].logPath())
		case <-time.After(readyEvery):
		}
	}
}

var errNotReady = errors.New("it runs, and is not ready")

func cmpNil(err error) error {
	if err == nil {
		return errNotReady
	}
	return err
}

// Manifest describes the network.
func (n *Network) Manifest() Manifest { return n.manifest }

// Down ends every node and removes what Up made, the directory too unless it is to
// be kept. It returns when nothing is left. Later calls do nothing.
func (n *Network) Down() (err error) {
	n.down.Do(func() { err = n.takeDown() })
	return err
}

func (n *Network) takeDown() error {
	var faults []error
	if n.control != nil {
		faults = append(faults, n.control.close())
	}
	n.stopFaults()
	ends := make([]error, len(n.nodes))
	var all sync.WaitGroup
	for i, p := range n.nodes {
		all.Go(func() { ends[i] = p.stop() })
	}
	all.Wait()
	n.keeper.close()
	faults = append(faults, ends...)
	if n.driver != nil {
		faults = append(faults, n.driver.clear())
	}
	if n.sockets != "" {
		faults = append(faults, os.RemoveAll(n.sockets))
	}
	switch {
	case !n.ours:
	case n.config.Keep:
		faults = append(faults, removeIfThere(manifestPath(n.config.Dir)))
	default:
		faults = append(faults, os.RemoveAll(n.config.Dir))
	}
	return errors.Join(faults...)
}

func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
