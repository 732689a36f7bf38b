package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-mesh/holdfast/node"
	"github.com/holdfast-mesh/holdfast/node/ledger"
	"github.com/holdfast-mesh/holdfast/p2p"
)

// Exit codes of join beside the common ones and exitRefused.
const (
	exitNoBundle     = 4 // the file is no bundle, or was changed after it was signed
	exitOtherNetwork = 5 // it is of another network than the one meant
	exitOldBundle    = 6 // its signer has signed a newer one, which is there
	exitUnreachable  = 7 // no node answers at the address
)

// joinFlags are what join is told.
type joinFlags struct {
	config  configFlags
	o       output
	network string
	timeout time.Duration
}

func newJoin() *cobra.Command {
	var f joinFlags
	c := &cobra.Command{
		Use:   "join BUNDLE | NETWORK ADDRESS",
		Short: "Tell a node which network it is of",
		Long: `Checks a network's bundle and puts it where holdfast run finds it. Without the
file, the network's id and the address of any of its nodes are enough: what the
node sends is checked against the id, so that it cannot lie.

A bundle of the same network with other addresses replaces the one that is there,
unless the same signer has signed it earlier; one of another network is refused: a
data directory is of one network for ever. Nothing is changed by what is refused.

Exit codes: 0 joined, 1 failed, 2 a wrong command line, 3 a provider or region could
halt the network, or it has too few validators, 4 the file is no bundle or was
changed, 5 it is of another network, 6 a newer bundle is there, 7 no node answers at
ADDRESS.`,
		Example: `  holdfast join network.bundle
  holdfast join network.bundle --network bafyreigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi
  holdfast join network.bundle --data-dir /var/lib/holdfast --json
  holdfast join bafyreigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi /ip4/192.0.2.1/udp/4001/quic-v1/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN`,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) != 1 && len(args) != 2 {
				return usageError{fmt.Errorf("%s takes a network's bundle, or its id and the address of one of its nodes, but got %s", c.CommandPath(), count(len(args), "argument"))}
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error { return f.run(c, args) },
	}
	f.config.add(c.Flags(), "data_dir", "bundle_file", "key_file", "identity_file", "passphrase_file")
	c.Flags().StringVar(&f.network, "network", "", "the network's id, as its makers publish it: refuse a bundle of any other")
	c.Flags().DurationVar(&f.timeout, "timeout", 30*time.Second, "how long to try to reach ADDRESS")
	f.o.add(c)
	return c
}

func (f *joinFlags) run(c *cobra.Command, args []string) error {
	l := f.config.load()
	if err := l.err(); err != nil {
		return err
	}
	bundle, err := f.get(c, l, args)
	if err == nil {
		err = keepBundle(l, bundle)
	}
	if err != nil {
		return joinError(err)
	}
	v := viewBundle(bundle)
	return f.o.print(c, v, func(w *tabwriter.Writer) {
		v.text(w)
		fmt.Fprintf(w, "\nThe bundle is in %s; start the node with holdfast run\n", l.config.BundlePath())
	})
}

// errOldBundle says that the bundle that is there is newer.
var errOldBundle = errors.New("an old bundle")

// joinError gives what went wrong its exit code.
func joinError(err error) error {
	for _, known := range []struct {
		is   error
		code int
	}{
		{node.ErrPlacement, exitRefused}, // which is an ErrBundle too
		{node.ErrBundle, exitNoBundle},
		{node.ErrOtherNetwork, exitOtherNetwork},
		{errOldBundle, exitOldBundle},
		{node.ErrUnreachable, exitUnreachable},
	} {
		if errors.Is(err, known.is) {
			return exitError{err, known.code}
		}
	}
	return err
}

// get reads the bundle, or fetches it and signs it with the node's own key.
func (f *joinFlags) get(c *cobra.Command, l *layered, args []string) (*node.Bundle, error) {
	id := f.network
	if len(args) == 2 {
		if id != "" {
			return nil, usageError{errors.New("--network is for a bundle: the id is the first argument already")}
		}
		id = args[0]
	}
	var network ledger.Digest
	if id != "" {
		var err error
		if network, err = ledger.ParseDigest(id); err != nil {
			return nil, usageError{err}
		}
	}
	if len(args) == 2 {
		return f.fetch(c, l, network, args[1])
	}
	b, err := node.ReadBundle(args[0])
	if err == nil && id != "" && b.ID() != network {
		err = fmt.Errorf("%w: %s is of network %s, not of %s: get the bundle from where its id is published", node.ErrOtherNetwork, args[0], b.ID(), network)
	}
	return b, err
}

func (f *joinFlags) fetch(c *cobra.Command, l *layered, network ledger.Digest, addr string) (*node.Bundle, error) {
	if _, err := p2p.ParsePeer(addr); err != nil {
		return nil, usageError{err}
	}
	l.config.Passphrase = asker(c)
	key, err := l.config.LoadKey()
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("there is no key at %s: run holdfast init first", l.config.KeyPath())
	}
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(c.Context(), f.timeout)
	defer cancel()
	return node.FetchBundle(ctx, network, addr, key)
}

// keepBundle puts the bundle into the data directory.
func keepBundle(l *layered, b *node.Bundle) error {
	path := l.config.BundlePath()
	there, err := node.ReadBundle(path)
	switch {
	case err == nil && there.ID() != b.ID():
		return fmt.Errorf("%w: %s is of network %s, the new bundle of %s: choose another --data-dir, one is of one network for ever", node.ErrOtherNetwork, path, there.ID(), b.ID())
	case err == nil && b.OlderThan(there):
		return fmt.Errorf("%w: it was signed at %s, and the same signer signed the one in %s at %s: get the newest, or delete that file if you mean it",
			errOldBundle, clock(b.Issued().UnixMilli()), path, clock(there.Issued().UnixMilli()))
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if err := l.config.MakeDataDir(); err != nil {
		return err
	}
	return b.WriteBundle(path)
}
