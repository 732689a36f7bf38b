package node

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/holdfast-mesh/holdfast/node/ledger"
	"github.com/holdfast-mesh/holdfast/p2p"
)

// fetchEvery is how often a peer that could not be reached yet is asked again.
const fetchEvery = 250 * time.Millisecond

// What keeps FetchBundle from getting a bundle.
var (
	// ErrUnreachable says that no node answers at an address.
	ErrUnreachable = errors.New("no node of the network answers there")
	// ErrOtherNetwork says that a node, a bundle or a directory is of another network
	// than the one meant.
	ErrOtherNetwork = errors.New("another network")
)

// FetchBundle gets a network's bundle from its id and the multiaddr of one of its
// nodes. The genesis is checked against the id, so the node is not believed; the
// bundle names it as where to begin, and is signed by key, which should be the
// joining node's own. ctx bounds how long it tries. The error wraps ErrUnreachable
// or ErrOtherNetwork where it is one.
func FetchBundle(ctx context.Context, network ledger.Digest, addr string, key ed25519.PrivateKey) (*Bundle, error) {
	from, err := parseDialable(addr)
	if err != nil {
		return nil, err
	}
	host, err := openStranger(network, from)
	if err != nil {
		return nil, err
	}
	defer host.Close()
	raw, err := fetchGenesis(ctx, host, network, from)
	switch {
	case errors.Is(err, p2p.ErrForeign):
		return nil, fmt.Errorf("%w: the node at %s is up, but it is not of network %v: compare the id with the one the network's makers publish, or take an address of that network", ErrOtherNetwork, addr, network)
	case err != nil:
		return nil, fmt.Errorf("%w: %s: is the node up, is its port open for UDP, and does the address end in its own peer id? Try another of the network's addresses: %w", ErrUnreachable, addr, err)
	}
	genesis, err := ledger.DecodeGenesis(raw)
	if err != nil {
		return nil, fmt.Errorf("%w: %v is no network: %w", ErrBundle, network, err)
	}
	return NewBundle(genesis, []string{addr}, key)
}

// openStranger makes a host that listens nowhere and is nobody, to speak with a
// network's nodes for a moment. The caller must Close it.
func openStranger(network ledger.Digest, known ...p2p.Peer) (*p2p.Host, error) {
	config := p2p.DefaultConfig()
	config.Identity, config.Network = identityOf(nil), network.String()
	config.Listen, config.Bundle = nil, known
	config.Gossip, config.DHT, config.MDNS, config.NAT = false, false, false, false
	return p2p.Open(config)
}

// fetchGenesis asks until the node answers or ctx ends. A node of another network
// will not change its mind.
func fetchGenesis(ctx context.Context, host *p2p.Host, network ledger.Digest, from p2p.Peer) ([]byte, error) {
	again := time.NewTicker(fetchEvery)
	defer again.Stop()
	for {
		err := host.Reach(ctx, from)
		var items []p2p.Item
		if err == nil {
			items, err = host.Fetch(ctx, from.ID, []cid.Cid{network.CID()})
		}
		if err == nil {
			return items[0].Data, nil
		}
		if errors.Is(err, p2p.ErrForeign) {
			return nil, err
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return nil, err
		}
	}
}
