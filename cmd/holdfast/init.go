package main

import (
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/holdfast-mesh/holdfast/node"
	"github.com/holdfast-mesh/holdfast/node/ledger"
)

// identity says who a node is.
type identity struct {
	Peer    string `json:"peer"`
	Key     string `json:"key"` // public
	KeyFile string `json:"key_file"`
	DataDir string `json:"data_dir"`
}

func newInit() *cobra.Command {
	var f configFlags
	var secret secretFlags
	var o output
	c := &cobra.Command{
		Use:   "init",
		Short: "Make a node's directory and its key, and print its peer id",
		Long: `Makes the data directory and an Ed25519 key in it, encrypted by age to a
passphrase or to an age identity file. The key is who the node is to its peers
and, if the network's bundle names it, what it signs blocks with. It is never
overwritten. Keep a copy of it: a validator that loses its key is another node.`,
		Example: `  holdfast init
  holdfast init --data-dir /var/lib/holdfast --identity-file /etc/holdfast.age
  holdfast init --plain --json`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			l := f.load()
			if err := l.err(); err != nil {
				return err
			}
			who, err := makeNode(c, l.config, secret)
			if err != nil {
				return err
			}
			return o.print(c, who, func(w *tabwriter.Writer) {
				fmt.Fprintf(w, "peer id\t%s\nkey\t%s\nin\t%s\n", who.Peer, who.Key, who.KeyFile)
				fmt.Fprintf(w, "\nGive peer id or key to whoever makes the network, or join one:\n  holdfast join BUNDLE\n  holdfast run\n")
			})
		},
	}
	f.add(c.Flags(), "data_dir", "key_file", "identity_file", "passphrase_file")
	secret.addPlain(c)
	o.add(c)
	return c
}

func makeNode(c *cobra.Command, config node.Config, secret secretFlags) (identity, error) {
	config.Passphrase = asker(c)
	lock := config.Lock()
	if lock.Plain = secret.plain; lock.Plain && config.IdentityFile+config.PassphraseFile != "" {
		return identity{}, usageError{fmt.Errorf("--plain makes a key without a lock, but identity_file or passphrase_file gives one: leave one of them out")}
	}
	if err := config.MakeDataDir(); err != nil {
		return identity{}, err
	}
	key, err := node.CreateKey(config.KeyPath(), lock)
	if err != nil {
		return identity{}, err
	}
	if err := node.InitStore(config); err != nil {
		return identity{}, err
	}
	account := ledger.AccountOf(key)
	return identity{node.PeerIDOf(account).String(), account.String(), config.KeyPath(), config.DataDir}, nil
}
