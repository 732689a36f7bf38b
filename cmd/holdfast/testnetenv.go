package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/holdfast-mesh/holdfast/testnet"
)

// testnetEnv is what a shell needs to talk to a network that is up.
type testnetEnv struct {
	Wallets string   `json:"wallets"` // the directory the faucet's wallet is in
	Bundle  string   `json:"bundle"`
	Nodes   []string `json:"nodes"` // addresses of their APIs
}

func newTestnetEnv() *cobra.Command {
	var f testnetFlags
	c := &cobra.Command{
		Use:   "env",
		Short: "Print what a shell needs to talk to the network that is up",
		Long: `Prints variables for a shell: HOLDFAST_API, HOLDFAST_WALLETS and HOLDFAST_BUNDLE, by which
wallet, order and market commands find the network, and NODE0, NODE1, ..., the address
of each node's API.`,
		Example: `  eval "$(holdfast testnet env)"
  holdfast testnet env --json`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			m, err := testnet.ReadManifest(f.dir)
			if err != nil {
				return err
			}
			e := testnetEnv{Wallets: filepath.Dir(m.Faucet.KeyFile), Bundle: m.Bundle}
			for _, n := range m.Nodes {
				e.Nodes = append(e.Nodes, n.API)
			}
			return f.print(c, e, func(w *tabwriter.Writer) {
				fmt.Fprintf(w, "export %sAPI='%s'\n", envPrefix, strings.Join(e.Nodes, ","))
				fmt.Fprintf(w, "export %sWALLETS='%s'\n", envPrefix, e.Wallets)
				fmt.Fprintf(w, "export %sBUNDLE='%s'\n", envPrefix, e.Bundle)
				for i, api := range e.Nodes {
					fmt.Fprintf(w, "export NODE%d='%s'\n", i, api)
				}
			})
		},
	}
	f.addTo(c)
	return c
}
