package main

import (
	"crypto/ed25519"
	"fmt"
	"os"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/holdfast-mesh/holdfast/node"
	"github.com/holdfast-mesh/holdfast/testnet"
)

func newBench() *cobra.Command {
	config := testnet.DefaultBench()
	var dir, file string
	var o output
	c := &cobra.Command{
		Use:   "bench",
		Short: "Put a load on a network and measure how fast operations become final",
		Long: `Sends signed operations at a fixed rate, whether or not earlier ones have ended,
and measures from the moment each was due until a client sees it final. Most place
and cancel orders near the touch, one in ten trades. All are signed ahead of time; half
of the wallet's money goes to the accounts that trade.

Without --api it takes the network of holdfast testnet up, and its faucet.`,
		Example: `  holdfast bench --rate 10000 --for 30s
  holdfast bench --rate 50 --batch 1 --json
  holdfast bench --api http://127.0.0.1:8080 --key-file faucet.key --rate 1000`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := fromTestnet(&config, dir, &file); err != nil {
				return err
			}
			var err error
			if config.Wallet, err = walletKey(c, file); err != nil {
				return err
			}
			if err := config.Validate(); err != nil {
				return usageError{err}
			}
			config.Progress = func(s testnet.BenchSecond) {
				fmt.Fprintf(c.ErrOrStderr(), "%3d s  sent %6d  final %6d  p99 %8.1f ms  on their way %d\n", s.Second, s.Sent, s.Final, s.P99Ms, s.Pending)
			}
			r, err := testnet.Bench(c.Context(), config)
			if err != nil {
				return err
			}
			return o.print(c, r, func(w *tabwriter.Writer) {
				fmt.Fprintf(w, "rate\t%.0f/s asked for\nsent\t%d\nfinal\t%d\t%.1f/s\nrefused\t%d\nnot ended\t%d\n", r.Rate, r.Sent, r.Final, r.FinalPerS, r.Refused, r.Unended)
				fmt.Fprintf(w, "submit to final\tp50 %.1f ms\tp99 %.1f ms\tmax %.1f ms\n", r.P50Ms, r.P99Ms, r.MaxMs)
				fmt.Fprintf(w, "longest gap\t%.1f ms\ngenerator\t%.2f CPUs\tlate by %.1f ms at p99\n", r.MaxGapMs, r.CPUs, r.LateMs)
			})
		},
	}
	flags := c.Flags()
	flags.StringSliceVar(&config.APIs, "api", nil, "base addresses of nodes; accounts are spread over them")
	flags.StringVar(&dir, "dir", testnet.DefaultDir(), "the directory of a testnet that is up")
	flags.StringVar(&file, "key-file", "", "the key of the wallet that pays")
	flags.Float64Var(&config.Rate, "rate", config.Rate, "operations a second")
	flags.DurationVar(&config.For, "for", config.For, "how long to send")
	flags.IntVar(&config.Batch, "batch", config.Batch, "operations in a request at most")
	flags.DurationVar(&config.BatchEvery, "batch-every", config.BatchEvery, "what falls due within this goes together")
	flags.IntVar(&config.Traders, "traders", config.Traders, "accounts that act")
	flags.DurationVar(&config.Settle, "settle", config.Settle, "how long operations may take to end after the last is sent")
	o.add(c)
	return c
}

// fromTestnet fills in the nodes and the faucet of a testnet that is up.
func fromTestnet(config *testnet.BenchConfig, dir string, file *string) error {
	if len(config.APIs) > 0 {
		return nil
	}
	m, err := testnet.ReadManifest(dir)
	if err != nil {
		return err
	}
	for _, n := range m.Nodes {
		config.APIs = append(config.APIs, n.API)
	}
	if *file == "" {
		*file = m.Faucet.KeyFile
	}
	return nil
}

// walletKey opens the key of the wallet that pays.
func walletKey(c *cobra.Command, file string) (ed25519.PrivateKey, error) {
	if file == "" {
		return nil, usageError{fmt.Errorf("--key-file is missing: it says whose money the load trades with")}
	}
	if _, err := os.Stat(file); err != nil {
		return nil, err
	}
	return node.LoadKey(file, node.Lock{Passphrase: asker(c)})
}
