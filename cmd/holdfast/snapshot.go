package main

import (
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/holdfast-mesh/holdfast/node"
)

// Exit code of snapshot verify beside the common ones.
const exitDamaged = 3 // the disk does not hold what was once written to it

func newSnapshot() *cobra.Command {
	c := &cobra.Command{
		Use:   "snapshot",
		Short: "Check what a node has on disk, carry a state from one to another",
		Args:  noArgs,
		RunE:  func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newSnapshotExport(), newSnapshotImport(), newSnapshotVerify())
	return c
}

// verified is the answer of snapshot verify.
type verified struct {
	Store     string   `json:"store"`
	Files     int      `json:"files"`
	Keys      int      `json:"keys"`
	Commit    uint64   `json:"commit"`
	Digest    string   `json:"digest,omitempty"`
	Root      string   `json:"root,omitempty"`
	Certified uint64   `json:"certified"`
	Damage    []string `json:"damage"`
}

func newSnapshotVerify() *cobra.Command {
	var f configFlags
	var o output
	c := &cobra.Command{
		Use:   "verify",
		Short: "Read all of a stopped node's disk and execute what it holds again",
		Long: `Reads every byte of the node's store through its checksums, restores the newest
snapshot, whose root a quorum has signed, executes the commits since, and prints
the commit and the root that they lead to: all nodes have the same root after the
same commit. It changes nothing. The node must not be running.

Exit codes: 0 all is as it was written, 1 it could not be done, 2 a wrong command
line, 3 something is damaged. A node with a damaged disk is rebuilt from its peers:
move the store away and start it with holdfast run --recover.`,
		Example: `  holdfast snapshot verify
  holdfast snapshot verify --data-dir /var/lib/holdfast --json`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			l := f.load()
			if err := l.err(); err != nil {
				return err
			}
			found, err := node.VerifyDisk(c.Context(), l.config)
			if err != nil {
				return err
			}
			v := verified{Store: l.config.DataDir, Files: found.Files, Keys: found.Keys, Commit: found.Commit, Certified: found.Certified, Damage: append([]string{}, found.Damage...)}
			if len(found.Damage) == 0 {
				v.Digest, v.Root = found.CommitDigest.String(), fmt.Sprintf("%x", found.Root)
			}
			if err := o.print(c, v, v.text); err != nil {
				return err
			}
			if len(v.Damage) > 0 {
				return exitError{fmt.Errorf("the disk is damaged:\n%s", strings.Join(v.Damage, "\n")), exitDamaged}
			}
			return nil
		},
	}
	f.add(c.Flags(), "data_dir", "bundle_file")
	o.add(c)
	return c
}

func (v verified) text(w *tabwriter.Writer) {
	fmt.Fprintf(w, "read\t%d files, %d keys\n", v.Files, v.Keys)
	if len(v.Damage) > 0 {
		return
	}
	fmt.Fprintf(w, "commit\t%d, %s\nroot\t%s\n", v.Commit, v.Digest, v.Root)
	fmt.Fprintf(w, "certified\t%d\n", v.Certified)
}
