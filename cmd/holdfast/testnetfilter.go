package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	"github.com/spf13/cobra"

	"github.com/holdfast-mesh/holdfast/testnet/faults"
)

// newTestnetFilter is for the driver docker, which runs it in a node's container: it
// joins its input and output to the socket of the node's packet filter, so that none
// has to be shared with the machine outside.
func newTestnetFilter() *cobra.Command {
	return &cobra.Command{
		Use:     "filter",
		Short:   "Pass commands on to the packet filter of the node beside",
		Example: `  docker exec --interactive CONTAINER /holdfast testnet filter`,
		Hidden:  true,
		Args:    noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			path := os.Getenv(faults.Environment)
			if path == "" {
				return fmt.Errorf("%s is missing: only a node that a testnet has started has a packet filter", faults.Environment)
			}
			conn, err := net.Dial("unix", path)
			if err != nil {
				return err
			}
			defer conn.Close()
			heard := make(chan error, 1)
			go func() {
				_, err := io.Copy(c.OutOrStdout(), conn)
				heard <- err
				// Whoever waits for more has to hear that there is none.
				_ = os.Stdin.Close()
			}()
			_, said := io.Copy(conn, c.InOrStdin())
			conn.Close()
			if err := <-heard; err != nil && !errors.Is(err, net.ErrClosed) {
				return err
			}
			if errors.Is(said, os.ErrClosed) {
				return nil
			}
			return said
		},
	}
}
