package main

import (
	"context"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-mesh/holdfast/node"
)

// Exit code of doctor beside the common ones.
const exitIll = 3 // something keeps the node from its work

func newDoctor() *cobra.Command {
	var f configFlags
	var o output
	var timeout time.Duration
	c := &cobra.Command{
		Use:   "doctor",
		Short: "Look at all a node needs, and say what to do about what is amiss",
		Long: `Looks at version, key, bundle, placement, the running node, ports, the clock against
the validators', how long the disk takes for a sync, its room, file descriptors, and
whether the validators and bootstrap peers are reached. It changes nothing, and may be
run beside a node or without one.

Exit codes: 0 nothing keeps the node from its work (there may be warnings), 1 it could
not look, 2 a wrong command line, 3 something does.`,
		Example: `  holdfast doctor
  holdfast doctor --data-dir /var/lib/holdfast --json`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			l := f.load()
			if err := l.err(); err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(c.Context(), timeout)
			defer cancel()
			found := node.Examine(ctx, l.config)
			if err := o.print(c, found, func(w *tabwriter.Writer) { writeFindings(w, found) }); err != nil {
				return err
			}
			ills := 0
			for _, x := range found {
				if x.Verdict == node.Failed {
					ills++
				}
			}
			if ills > 0 {
				return exitError{fmt.Errorf("%s to see to", count(ills, "failure")), exitIll}
			}
			return nil
		},
	}
	f.add(c.Flags())
	c.Flags().DurationVar(&timeout, "timeout", 20*time.Second, "how long it may take")
	o.add(c)
	return c
}

func writeFindings(w *tabwriter.Writer, found []node.Finding) {
	for _, x := range found {
		fmt.Fprintf(w, "%s\t%s\t%s\n", x.Verdict, x.Check, x.Detail)
		if x.Remedy != "" {
			fmt.Fprintf(w, "\t\t%s\n", x.Remedy)
		}
	}
}
