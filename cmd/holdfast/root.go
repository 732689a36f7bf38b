package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

// newRoot is the program's command line: the help, the groups and every subcommand.
func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "holdfast",
		Short: "An exchange's orders and wallets, on a mesh no single cloud can stop",
		Long: `Holdfast nodes, spread over several cloud providers, form a peer-to-peer mesh
that keeps an exchange's wallets and orders alive when a whole provider goes
dark. There is no leader, no primary and no name server to lose.

Exit codes: 0 done, 1 failed (the error says why), 2 a wrong command line.`,
		SilenceUsage:               true,
		SilenceErrors:              true,
		SuggestionsMinimumDistance: 2,
		Args:                       noArgs,
		RunE:                       func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	addGroup(root, "A node", newInit(), newJoin(), newRun(), newConfig(), newStatus(), newPeers(), newHealthy(), newDoctor(), newSnapshot())
	addGroup(root, "A network", newNetwork())
	addGroup(root, "Services", newSvc())
	addGroup(root, "Money and orders", newWallet(), newOrder(), newMarket(), newOp(), newFaucet())
	addGroup(root, "Proof", newTestnet(), newBench(), newSim())
	root.AddCommand(newVersion())
	return root
}

// addGroup adds commands under a title of the help.
func addGroup(root *cobra.Command, title string, commands ...*cobra.Command) {
	root.AddGroup(&cobra.Group{ID: title, Title: title + ":"})
	for _, c := range commands {
		c.GroupID = title
		root.AddCommand(c)
	}
}

// noArgs refuses arguments, naming the first and, for the program itself, what
// may have been meant.
func noArgs(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if c.HasParent() {
		return usageError{fmt.Errorf("%s takes no argument, but got %q", c.CommandPath(), args[0])}
	}
	err := fmt.Errorf("there is no command %q", args[0])
	if near := c.SuggestionsFor(args[0]); len(near) > 0 {
		err = fmt.Errorf("%w; did you mean %q?", err, near[0])
	}
	return usageError{err}
}
