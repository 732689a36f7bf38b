package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// call runs the program in this process.
func call(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), args, &out, &errs)
	return out.String(), errs.String(), code
}

func TestHelp(t *testing.T) {
	for _, args := range [][]string{{}, {"--help"}, {"help"}} {
		stdout, stderr, code := call(t, args...)
		if code != exitOK || stderr != "" {
			t.Errorf("%q: exit %d, stderr %q", args, code, stderr)
		}
		for _, want := range []string{"Usage:", "version", "Exit codes:"} {
			if !strings.Contains(stdout, want) {
				t.Errorf("%q: the help does not say %q:\n%s", args, want, stdout)
			}
		}
	}
}

// TestEveryCommandIsDocumented holds each subcommand to what a user needs: a
// summary, an example and, where it prints data, --json. A node logs, and has a
// setting for the format of that; a hidden command serves programs.
func TestEveryCommandIsDocumented(t *testing.T) {
	var visit func(c *cobra.Command)
	visit = func(c *cobra.Command) {
		if c.Short == "" {
			t.Errorf("%s has no summary", c.CommandPath())
		}
		if c.HasParent() && c.Runnable() && !c.HasSubCommands() {
			if !strings.Contains(c.Example, c.CommandPath()) {
				t.Errorf("%s has no example of itself", c.CommandPath())
			}
			if c.Name() != "run" && !c.Hidden && c.Flags().Lookup("json") == nil {
				t.Errorf("%s has no --json", c.CommandPath())
			}
		}
		for _, sub := range c.Commands() {
			visit(sub)
		}
	}
	visit(newRoot())
}

func TestWrongCommandLine(t *testing.T) {
	for _, tc := range []struct {
		args []string
		want string
	}{
		{[]string{"versoin"}, `there is no command "versoin"; did you mean "version"?`},
		{[]string{"--frobnicate"}, "unknown flag: --frobnicate"},
		{[]string{"version", "now"}, `holdfast version takes no argument, but got "now"`},
		{[]string{"version", "--jsn"}, "unknown flag: --jsn"},
	} {
		stdout, stderr, code := call(t, tc.args...)
		if code != exitUsage || stdout != "" {
			t.Errorf("%q: exit %d, stdout %q", tc.args, code, stdout)
		}
		if !strings.Contains(stderr, tc.want) || !strings.Contains(stderr, "--help") {
			t.Errorf("%q: stderr %q does not say %q and where the help is", tc.args, stderr, tc.want)
		}
	}
}

func TestVersion(t *testing.T) {
	stdout, _, code := call(t, "version", "--json")
	if code != exitOK {
		t.Fatalf("exit %d", code)
	}
	var b build
	d := json.NewDecoder(strings.NewReader(stdout))
	d.DisallowUnknownFields()
	if err := d.Decode(&b); err != nil {
		t.Fatal(err)
	}
	if b != readBuild() {
		t.Errorf("got %+v, want %+v", b, readBuild())
	}
	stdout, _, _ = call(t, "version")
	for _, want := range []string{b.Version, b.Revision, b.Go, b.Platform} {
		if want == "" || !strings.Contains(stdout, want) {
			t.Errorf("%q does not name %q", stdout, want)
		}
	}
}

func TestVersionCannotPrint(t *testing.T) {
	full := errors.New("no space left on device")
	err := printBuild(writerFunc(func([]byte) (int, error) { return 0, full }), build{}, false)
	if !errors.Is(err, full) {
		t.Errorf("got %v, want %v", err, full)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }
