package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-mesh/holdfast/testnet"
)

// runsDir is where runs are kept unless --out says otherwise.
const runsDir = "testnet-runs"

// runFlags are how scenarios are run.
type runFlags struct {
	seed  uint64
	out   string
	scale float64
	rate  float64
	nodes int

	driver, image string
	output
}

func (f *runFlags) addTo(c *cobra.Command) {
	c.Flags().Uint64Var(&f.seed, "seed", 1, "feeds keys, clients' choices and the chance of losing packets")
	c.Flags().StringVar(&f.out, "out", runsDir, "the directory runs are written below")
	c.Flags().Float64Var(&f.scale, "time-scale", 1, "multiplies every time of the scenario")
	c.Flags().Float64Var(&f.rate, "rate", 1, "multiplies what clients do per second")
	c.Flags().IntVar(&f.nodes, "nodes", 0, "nodes of each provider (default: as the scenario has it)")
	addDriver(c, &f.driver, &f.image)
	f.add(c)
}

func newTestnetRun() *cobra.Command {
	var f runFlags
	c := &cobra.Command{
		Use:   "run SCENARIO|FILE|all",
		Short: "Run a scenario under load and judge it",
		Long: `Starts the scenario's network and clients, does its faults at their times, measures
that each bit, takes the network down, and judges what was recorded. What is left is
a directory with everything that was recorded, the verdict, and report.html.

Exit codes: 0 every promise held, 1 a promise was broken, 2 inconclusive, 3 the
network could not be started.`,
		Example: `  holdfast testnet run cloud-cut
  holdfast testnet run all --seed 7
  holdfast testnet run my-scenario.toml --json
  holdfast testnet run even-split --driver docker`,
		Args: oneArg("a scenario, a file, or all"),
		RunE: func(c *cobra.Command, args []string) error {
			names := args
			if args[0] == "all" {
				names = testnet.ScenarioNames()
			}
			var all []testnet.Scenario
			for _, name := range names {
				s, err := testnet.LoadScenario(name)
				if err != nil {
					return usageError{err}
				}
				all = append(all, s)
			}
			return f.run(c, all)
		},
	}
	f.addTo(c)
	return c
}

// run runs scenarios one after the other, and ends with the worst outcome.
func (f *runFlags) run(c *cobra.Command, all []testnet.Scenario) error {
	if f.driver != testnet.DriverProc && f.driver != testnet.DriverDocker {
		return usageError{fmt.Errorf("there is no driver %q: choose %s or %s", f.driver, testnet.DriverProc, testnet.DriverDocker)}
	}
	for i := range all {
		if err := f.change(&all[i]); err != nil {
			return usageError{err}
		}
	}
	var worst error
	var verdicts []*testnet.Verdict
	for _, s := range all {
		v, err := f.runOne(c, s)
		if err == nil {
			verdicts = append(verdicts, v)
			err = judged(v)
		}
		if worse(err, worst) {
			worst = err
		}
		if c.Context().Err() != nil {
			break
		}
	}
	if f.asJSON {
		if err := printVerdicts(c.OutOrStdout(), verdicts, len(all) == 1); err != nil {
			return err
		}
	}
	return worst
}

// change makes of a scenario what the flags say.
func (f *runFlags) change(s *testnet.Scenario) error {
	if f.scale <= 0 || f.rate <= 0 {
		return fmt.Errorf("--time-scale is %v and --rate %v: give numbers above 0", f.scale, f.rate)
	}
	*s = s.Scaled(f.scale, f.rate)
	s.Seed = f.seed
	if f.nodes != 0 {
		s.SetNodes(f.nodes)
	}
	return s.Validate()
}

func printVerdicts(w io.Writer, all []*testnet.Verdict, single bool) error {
	if single && len(all) == 1 {
		return printJSON(w, all[0])
	}
	return printJSON(w, all)
}

func (f *runFlags) runOne(c *cobra.Command, s testnet.Scenario) (*testnet.Verdict, error) {
	dir, err := runDir(f.out, s)
	if err != nil {
		return nil, err
	}
	to := c.ErrOrStderr()
	fmt.Fprintf(to, "%s: %s\n", s.Name, s.Title)
	v, err := testnet.Run(c.Context(), s, testnet.Options{Dir: dir, Driver: f.driver, Image: f.image, Progress: func(p testnet.Progress) { printProgress(to, p) }})
	if errors.Is(err, testnet.ErrNotStarted) {
		return nil, exitError{err, exitNotStarted}
	}
	if err != nil {
		return nil, err
	}
	if !f.asJSON {
		err = v.Print(c.OutOrStdout())
	}
	return v, err
}

// runDir makes the run's own directory.
func runDir(out string, s testnet.Scenario) (string, error) {
	dir := filepath.Join(out, fmt.Sprintf("%s-%d-%s", s.Name, s.Seed, time.Now().UTC().Format("20060102-150405")))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	return filepath.Abs(dir)
}

// printProgress writes a line about once in five seconds, and one for every fault.
func printProgress(w io.Writer, p testnet.Progress) {
	if p.Phase != "running" && p.Phase != "draining" {
		fmt.Fprintf(w, "%s %s\n", p.Phase, p.Note)
		return
	}
	if p.Note == "" && int(p.Elapsed.Seconds())%5 != 0 {
		return
	}
	var sides []string
	for _, s := range p.Providers {
		sides = append(sides, fmt.Sprintf("%s %d/%d", s.Provider, s.Final, s.Sent))
	}
	note := ""
	if p.Note != "" {
		note = "   <- " + p.Note
	}
	fmt.Fprintf(w, "%3.0f s of %.0f  final/sent: %s  commit %d%s\n", p.Elapsed.Seconds(), p.Total.Seconds(), strings.Join(sides, "  "), slices.Max(append(p.Commits, 0)), note)
}

// judged makes a verdict an exit code.
func judged(v *testnet.Verdict) error {
	switch v.Verdict {
	case testnet.Held:
		return nil
	case testnet.Broken:
		return exitError{fmt.Errorf("%s, seed %d: a promise was broken; see %s", v.Scenario, v.Seed, v.Report), exitBroken}
	}
	return exitError{fmt.Errorf("%s, seed %d: inconclusive; see %s", v.Scenario, v.Seed, v.Report), exitInconclusive}
}

// worse says whether one outcome is worse than another: broken, then not started,
// then inconclusive.
func worse(a, b error) bool { return badness(a) > badness(b) }

func badness(err error) int {
	if err == nil {
		return 0
	}
	if coded := (exitError{}); errors.As(err, &coded) {
		return map[int]int{exitInconclusive: 1, exitNotStarted: 2, exitBroken: 3}[coded.code]
	}
	return 4
}

func newTestnetCheck() *cobra.Command {
	var o output
	c := &cobra.Command{
		Use:   "check DIR",
		Short: "Judge the record of a run again",
		Example: `  holdfast testnet check testnet-runs/cloud-cut-1-20260101-120000
  holdfast testnet check testnet-runs/cloud-cut-1-20260101-120000 --json`,
		Args: oneArg("the directory of a run"),
		RunE: func(c *cobra.Command, args []string) error {
			v, err := judgeAgain(c.Context(), args[0])
			if err != nil {
				return err
			}
			if o.asJSON {
				err = printJSON(c.OutOrStdout(), v)
			} else {
				err = v.Print(c.OutOrStdout())
			}
			return errors.Join(err, judged(v))
		},
	}
	o.add(c)
	return c
}

func judgeAgain(ctx context.Context, dir string) (*testnet.Verdict, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	return testnet.Judge(ctx, dir)
}

func newTestnetReport() *cobra.Command {
	var o output
	c := &cobra.Command{
		Use:   "report DIR",
		Short: "Write the report of a run again and print where it is",
		Example: `  holdfast testnet report testnet-runs/cloud-cut-1-20260101-120000
  holdfast testnet report testnet-runs/cloud-cut-1-20260101-120000 --json`,
		Args: oneArg("the directory of a run"),
		RunE: func(c *cobra.Command, args []string) error {
			v, err := judgeAgain(c.Context(), args[0])
			if err != nil {
				return err
			}
			return o.print(c, map[string]string{"report": v.Report}, func(w *tabwriter.Writer) { fmt.Fprintln(w, v.Report) })
		},
	}
	o.add(c)
	return c
}

func newTestnetScenarios() *cobra.Command {
	var o output
	c := &cobra.Command{
		Use:   "scenarios",
		Short: "List the scenarios in this binary",
		Example: `  holdfast testnet scenarios
  holdfast testnet scenarios --json`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			var all []testnet.Scenario
			for _, name := range testnet.ScenarioNames() {
				s, err := testnet.LoadScenario(name)
				if err != nil {
					return err
				}
				all = append(all, s)
			}
			return o.print(c, all, func(w *tabwriter.Writer) {
				for _, s := range all {
					fmt.Fprintf(w, "%s\t%.0f s\t%s\n", s.Name, s.Seconds, s.Title)
				}
			})
		},
	}
	o.add(c)
	return c
}

func newTestnetGenerate() *cobra.Command {
	var f runFlags
	var n int
	var dry bool
	c := &cobra.Command{
		Use:   "generate",
		Short: "Make random scenarios from a seed, and run them",
		Long: `Draws scenarios with overlapping faults from --seed, and runs each. The same seed
gives the same schedules. With --dry-run it only writes them, as files that
"testnet run" takes.`,
		Example: `  holdfast testnet generate -n 20 --seed 7
  holdfast testnet generate -n 3 --seed 7 --dry-run`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if n < 1 || n > testnet.GenerateMax {
				return usageError{fmt.Errorf("-n is %d: choose 1 to %d", n, testnet.GenerateMax)}
			}
			all := testnet.Generate(f.seed, n)
			if !dry {
				return f.run(c, all)
			}
			if f.asJSON {
				return printJSON(c.OutOrStdout(), all)
			}
			return writeScenarios(f.out, all, c.OutOrStdout())
		},
	}
	c.Flags().IntVarP(&n, "number", "n", 20, "how many")
	c.Flags().BoolVar(&dry, "dry-run", false, "write the scenarios and run none")
	f.addTo(c)
	return c
}

func writeScenarios(dir string, all []testnet.Scenario, to io.Writer) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, s := range all {
		path := filepath.Join(dir, s.Name+".toml")
		f, err := os.Create(path)
		if err != nil {
			return err
		}
		if err := errors.Join(s.Write(f), f.Close()); err != nil {
			return err
		}
		fmt.Fprintln(to, path)
	}
	return nil
}
