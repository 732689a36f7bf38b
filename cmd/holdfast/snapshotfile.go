package main

import (
	"context"
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-mesh/holdfast/node"
	"github.com/holdfast-mesh/holdfast/storage"
)

// Exit codes of snapshot import and export beside the common ones and those of join.
const exitForged = 8 // the network's validators have not signed it

// snapshotView is a snapshot that was exported or imported.
type snapshotView struct {
	Network     string `json:"network"`
	Commit      uint64 `json:"commit"`
	Root        string `json:"root"`
	Bytes       int64  `json:"bytes"`
	File        string `json:"file"`
	MustRecover bool   `json:"must_recover,omitempty"`
}

func viewSnapshot(s node.Snapshot, file string) snapshotView {
	return snapshotView{Network: s.Network.String(), Commit: s.Commit, Root: fmt.Sprintf("%x", s.Root), Bytes: s.Bytes, File: file, MustRecover: s.MustRecover}
}

func (v snapshotView) text(w *tabwriter.Writer) {
	fmt.Fprintf(w, "network\t%s\ncommit\t%d\nroot\t%s\nfile\t%s, %d bytes\n", v.Network, v.Commit, v.Root, v.File, v.Bytes)
}

// snapshotError gives what went wrong its exit code.
func snapshotError(err error) error {
	switch {
	case errors.Is(err, node.ErrOtherNetwork):
		return exitError{err, exitOtherNetwork}
	case errors.Is(err, node.ErrSnapshotFile):
		return exitError{err, exitDamaged}
	case errors.Is(err, node.ErrForged):
		return exitError{err, exitForged}
	case errors.Is(err, node.ErrUnreachable):
		return exitError{err, exitUnreachable}
	case errors.Is(err, storage.ErrLocked):
		return fmt.Errorf("%w: the node runs; give its address with --from, such as /ip4/127.0.0.1/udp/4001/quic-v1/p2p/PEER, or stop it", err)
	}
	return err
}

func newSnapshotExport() *cobra.Command {
	var f configFlags
	var o output
	var from string
	var timeout time.Duration
	c := &cobra.Command{
		Use:   "export FILE",
		Short: "Write the newest state that a quorum has signed to a file",
		Long: `Writes the newest snapshot whose root a quorum of validators has signed, with what
proves it, to a new file: that of the stopped node here, or with --from that of any
running node of the network, which does not stop for it. The file is public: it holds
no key. What is written has been checked.

Exit codes: 0 written, 1 failed, 2 a wrong command line, 5 the node is of another
network, 7 no node answers at --from, 8 what it says is not what a quorum signed.`,
		Example: `  holdfast snapshot export state.snapshot
  holdfast snapshot export state.snapshot --from /ip4/192.0.2.1/udp/4001/quic-v1/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN`,
		Args: oneArg("the name of a new file"),
		RunE: func(c *cobra.Command, args []string) error {
			l := f.load()
			if err := l.err(); err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(c.Context(), timeout)
			defer cancel()
			s, err := node.ExportSnapshot(ctx, l.config, from, args[0])
			if err != nil {
				return snapshotError(err)
			}
			v := viewSnapshot(s, args[0])
			return o.print(c, v, v.text)
		},
	}
	f.add(c.Flags(), "data_dir", "bundle_file")
	c.Flags().StringVar(&from, "from", "", "multiaddr of a running node, with /p2p/ and its peer id")
	c.Flags().DurationVar(&timeout, "timeout", 10*time.Minute, "how long it may take")
	o.add(c)
	return c
}

func newSnapshotImport() *cobra.Command {
	var f configFlags
	var o output
	c := &cobra.Command{
		Use:   "import FILE",
		Short: "Let a new node begin with the state in a file",
		Long: `Fills the store of a node that was made by holdfast init, has joined a network and has
never run. The state is used only if a quorum of the network's first committee signed
it, whoever made the file; else everything is left as it was. The node then fetches
from its peers what has happened since. A validator also asks the others what it said
before it says more, as with a lost disk.

Exit codes: 0 done, 1 failed, 2 a wrong command line, 3 the file is damaged or cut
short, 5 it is of another network, 8 the network's validators have not signed it.`,
		Example: `  holdfast snapshot import state.snapshot
  holdfast snapshot import state.snapshot --data-dir /var/lib/holdfast --json`,
		Args: oneArg("a snapshot's file"),
		RunE: func(c *cobra.Command, args []string) error {
			l := f.load()
			if err := l.err(); err != nil {
				return err
			}
			s, err := node.ImportSnapshot(c.Context(), l.config, args[0])
			if err != nil {
				return snapshotError(err)
			}
			v := viewSnapshot(s, args[0])
			return o.print(c, v, func(w *tabwriter.Writer) {
				v.text(w)
				fmt.Fprintf(w, "\nStart the node with holdfast run\n")
			})
		},
	}
	f.add(c.Flags(), "data_dir", "key_file", "bundle_file")
	o.add(c)
	return c
}
