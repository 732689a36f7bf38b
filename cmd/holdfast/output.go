package main

import (
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
)

// output prints an answer: as one JSON object with --json, else for people.
type output struct{ asJSON bool }

func (o *output) add(c *cobra.Command) {
	c.Flags().BoolVar(&o.asJSON, "json", false, "print JSON")
}

// print writes v as JSON, or calls text, which writes columns separated by tabs.
func (o *output) print(c *cobra.Command, v any, text func(w *tabwriter.Writer)) error {
	if o.asJSON {
		return printJSON(c.OutOrStdout(), v)
	}
	w := tabwriter.NewWriter(c.OutOrStdout(), 0, 0, 2, ' ', 0)
	text(w)
	return w.Flush()
}

func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// clock writes a time of the network for people; zero is no time.
func clock(ms int64) string {
	if ms == 0 {
		return "-"
	}
	return time.UnixMilli(ms).UTC().Format("2006-01-02 15:04:05.000")
}

// orDash shows that there is nothing.
func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// count writes a number and what is counted.
func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
