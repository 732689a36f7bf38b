package main

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/holdfast-mesh/holdfast/testnet"
)

var twoBytes = regexp.MustCompile(`^(\d|[1-9]\d|1\d\d|2[0-4]\d|25[0-5])\.(\d|[1-9]\d|1\d\d|2[0-4]\d|25[0-5])$`)

func newTestnetFiles() *cobra.Command {
	f := testnet.Files{UID: -1, GID: -1}
	var providers, owner, lose string
	var o output
	c := &cobra.Command{
		Use:   "files",
		Short: "Make keys and bundle of a test network whose nodes you start yourself",
		Long: `Makes what the nodes of a test network begin with, for containers: in --dir a
directory for each, such as aws-1 and aws-2, with its key, an empty store and the bundle;
the bundle; and faucet.key, the wallet that has money. Keys are not encrypted. If the
bundle is there already, nothing is changed.

Two nodes reach each other on the network of their two providers. With n providers, that
of the ith and the jth is SUBNETS.(n i + j).0/24, i not above j, both from 0; on each,
the first node of the ith provider has the address that ends in 10 (i + 1), the next the
one after. Nodes listen on UDP port 4001.`,
		Example: `  holdfast testnet files --dir network --subnets 10.213
  holdfast testnet files --dir network --providers aws:2,gcp:2,azure:2,hetzner:2 --owner 65532:65532`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) (err error) {
			if f.Providers, err = testnet.ParseProviders(providers); err != nil {
				return usageError{err}
			}
			if !twoBytes.MatchString(f.Subnets) {
				return usageError{fmt.Errorf("--subnets is %q: give the first two bytes of the addresses, such as 10.213", f.Subnets)}
			}
			if owner != "" {
				if f.UID, f.GID, err = parseOwner(owner); err != nil {
					return usageError{err}
				}
			}
			if lose != "" {
				return f.Lose(lose)
			}
			id, err := f.Make()
			if err != nil {
				return err
			}
			return o.print(c, map[string]string{"network": id, "dir": f.Dir}, func(w *tabwriter.Writer) {
				fmt.Fprintf(w, "network\t%s\nfiles\t%s\n", id, f.Dir)
			})
		},
	}
	c.Flags().StringVar(&f.Dir, "dir", "network", "where the files go")
	c.Flags().StringVar(&providers, "providers", "aws:1,gcp:1,azure:1,hetzner:1", "name:nodes or name:nodes:zones, separated by commas")
	c.Flags().StringVar(&f.Subnets, "subnets", "10.213", "the first two bytes of the nodes' addresses")
	c.Flags().StringVar(&lose, "lose", "", "remove the store of this node instead, such as aws-1, as a lost disk does")
	c.Flags().StringVar(&owner, "owner", "", "user:group, as numbers, that shall own the files")
	o.add(c)
	return c
}

func parseOwner(text string) (uid, gid int, err error) {
	u, g, ok := strings.Cut(text, ":")
	uid, wrongU := strconv.Atoi(u)
	gid, wrongG := strconv.Atoi(g)
	if !ok || wrongU != nil || wrongG != nil || uid < 0 || gid < 0 {
		return 0, 0, fmt.Errorf("--owner is %q: give two numbers, such as 65532:65532", text)
	}
	return uid, gid, nil
}
