package main

import (
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-mesh/holdfast/testnet"
)

func newTestnetExpect() *cobra.Command {
	var e testnet.Expecting
	var o output
	c := &cobra.Command{
		Use:   "expect WHAT",
		Short: "Say by the exit code whether nodes are as expected, for experiments",
		Long: `Asks nodes that somebody else runs, such as containers, and judges by their answers:

  quorum      within --within each is ready and sees a quorum
  no-quorum   within --within each says that it sees no quorum
  silence     within --within none answers
  commits     for --for they are never without a new commit for longer than --within
  no-commits  for --for none has a new commit
  together    within --within each sees a quorum and has gone past the furthest
  same        the newest commit all have is one and the same, and so is the state after
              the newest checkpoint, once there is one

Exit codes: 0 it is as expected, 1 it is not, or could not be found out, 2 a wrong
command line.`,
		Example: `  holdfast testnet expect quorum --api http://127.0.0.1:8081,http://127.0.0.1:8082 --within 30s
  holdfast testnet expect commits --api http://127.0.0.1:8081 --for 20s --within 2s
  holdfast testnet expect same --api http://127.0.0.1:8081,http://127.0.0.1:8082 --json`,
		Args: oneArg("what is expected: see --help"),
		RunE: func(c *cobra.Command, args []string) error {
			e.What = testnet.Expectation(args[0])
			if err := e.Validate(); err != nil {
				return usageError{err}
			}
			x, err := testnet.Expect(c.Context(), e)
			if err != nil {
				return err
			}
			if err := o.print(c, x, func(w *tabwriter.Writer) { fmt.Fprintln(w, x.Saw) }); err != nil || x.Met {
				return err
			}
			return errors.New("not as expected: " + args[0])
		},
	}
	c.Flags().StringSliceVar(&e.APIs, "api", nil, "base addresses of the nodes' APIs")
	c.Flags().DurationVar(&e.For, "for", 10*time.Second, "how long to look for commits")
	c.Flags().DurationVar(&e.Within, "within", 30*time.Second, "how long it may take; of commits, the longest time without one")
	o.add(c)
	return c
}
