package main

import (
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/holdfast-mesh/holdfast/node"
)

// build says what this binary was made of.
type build struct {
	Version  string `json:"version"`
	Revision string `json:"revision"` // of the source; "unknown" when built outside a checkout
	Modified bool   `json:"modified"` // the source had changes that were not committed
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

// revision is the source revision where the build does not see the checkout, as in a
// container; -ldflags "-X main.revision=..." sets it.
var revision string

func newVersion() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "version",
		Short: "Print the version, the source revision and the platform of this binary",
		Example: `  holdfast version
  holdfast version --json`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return printBuild(c.OutOrStdout(), readBuild(), asJSON)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return c
}

func readBuild() build {
	b := build{
		Version: node.Version, Revision: "unknown",
		Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH,
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Revision = s.Value
		case "vcs.modified":
			b.Modified = s.Value == "true"
		}
	}
	if revision != "" && b.Revision == "unknown" {
		b.Revision = revision
	}
	return b
}

func printBuild(w io.Writer, b build, asJSON bool) error {
	if asJSON {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(b)
	}
	modified := ""
	if b.Modified {
		modified = ", modified"
	}
	_, err := fmt.Fprintf(w, "holdfast %s (revision %s%s), %s, %s\n", b.Version, b.Revision, modified, b.Go, b.Platform)
	return err
}
