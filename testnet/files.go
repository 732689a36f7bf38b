package testnet

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/holdfast-mesh/holdfast/node"
	"github.com/holdfast-mesh/holdfast/node/ledger"
)

// Files says what files to make for a test network whose nodes somebody else starts.
type Files struct {
	// Dir is where they go: for each node a directory such as aws-1 and aws-2, with its key,
	// the bundle and an empty store; network.bundle; and faucet.key, the wallet that has
	// money.
	Dir string
	// Providers are the failure domains, in order; at most twelve of ten nodes.
	Providers []Provider
	// Subnets are the first two bytes of the nodes' addresses, such as 10.213; which node
	// has which is layout's rule.
	Subnets string
	// UID and GID, if not negative, are who will run the nodes.
	UID, GID int
}

// Make makes the files and returns the network's id. A directory that has a bundle is
// left as it is: the network is the same after everything was stopped.
func (f *Files) Make() (id string, err error) {
	path := filepath.Join(f.Dir, "network.bundle")
	if b, err := node.ReadBundle(path); err == nil {
		return b.ID().String(), nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	c := DefaultConfig()
	c.Dir, c.Providers = f.Dir, f.Providers
	if err := c.Validate(); err != nil {
		return "", err
	}
	l := layoutOf(c.spots())
	if err := l.validate(); err != nil {
		return "", err
	}
	n := &Network{config: c}
	n.manifest.Bundle = path
	if err := n.makeFaucet(); err != nil {
		return "", err
	}
	for _, s := range l.spots {
		dir := filepath.Join(f.Dir, l.name(s.Number))
		key, err := makeNodeDir(dir)
		if err != nil {
			return "", fmt.Errorf("testnet: node %d: %w", s.Number, err)
		}
		n.nodes = append(n.nodes, &process{Spot: s, dir: dir, placed: placed{peers: l.addresses(f.Subnets, s.Number)}})
		n.manifest.Nodes = append(n.manifest.Nodes, Member{Spot: s, Key: ledger.AccountOf(key).String()})
	}
	// The bundle is last: where it is, all is there.
	if err := n.makeBundle(); err != nil {
		return "", err
	}
	return n.manifest.Network, f.give()
}

// Lose removes the store of a node that does not run, as a lost disk does, but not its
// key, of which there was a copy.
func (f *Files) Lose(name string) error {
	path := storePath(filepath.Join(f.Dir, name))
	if _, err := os.Stat(path); err != nil {
		return fmt.Errorf("testnet: %s has no store to lose: %w", name, err)
	}
	return os.RemoveAll(path)
}

// give makes the files those of who will run the nodes.
func (f *Files) give() error {
	if f.UID < 0 && f.GID < 0 {
		return nil
	}
	return filepath.WalkDir(f.Dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return fmt.Errorf("testnet: %w", err)
		}
		return os.Lchown(path, f.UID, f.GID)
	})
}
