package testnet

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/holdfast-mesh/holdfast/node"
	"github.com/holdfast-mesh/holdfast/node/ledger"
)

// Manifest describes a network that is up, for those in other processes.
type Manifest struct {
	PID     int      `json:"pid"` // of the process that holds it up
	Driver  string   `json:"driver,omitempty"`
	Control string   `json:"control"`
	Network string   `json:"network"` // its id
	Bundle  string   `json:"bundle"`
	Seed    uint64   `json:"seed"`
	Nodes   []Member `json:"nodes"`
	Faucet  Wallet   `json:"faucet"`
}

// Member is a node of the network.
type Member struct {
	Spot
	Peer string `json:"peer"` // ip:port of its QUIC socket
	API  string `json:"api"`  // http://ip:port
	Dir  string `json:"dir"`
	Key  string `json:"key"` // public, hexadecimal
}

// peerID is the node's among its peers: its key says it.
func (m Member) peerID() peer.ID {
	key, err := ledger.ParseAccount(m.Key)
	if err != nil {
		return ""
	}
	return node.PeerIDOf(key)
}

// Wallet is an account with an opening balance, and the file of its key.
type Wallet struct {
	Account string `json:"account"`
	KeyFile string `json:"key_file"`
}

func manifestPath(dir string) string { return filepath.Join(dir, "testnet.json") }

// ErrNoNetwork says that no network is up in a directory.
var ErrNoNetwork = errors.New("testnet: no network is up")

// ReadManifest finds the network that is up in dir.
func ReadManifest(dir string) (m Manifest, err error) {
	err = readJSON(manifestPath(dir), &m)
	if errors.Is(err, os.ErrNotExist) {
		return m, fmt.Errorf("%w in %s: start one with: holdfast testnet up", ErrNoNetwork, dir)
	}
	if err == nil && !alive(m.PID) {
		return m, fmt.Errorf("%w in %s: the process %d that held it up has died, and its nodes with it; remove the directory and start again", ErrNoNetwork, dir, m.PID)
	}
	return m, err
}

// alive says whether there is a process with this id.
func alive(pid int) bool {
	p, err := os.FindProcess(pid)
	return err == nil && p.Signal(syscall.Signal(0)) == nil
}
