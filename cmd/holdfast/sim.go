package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-mesh/holdfast/testnet/sim"
)

// Exit codes of sim beside the common ones.
const exitPromiseBroken = 3 // a run broke a promise: the seed and how to replay it are printed

// seedsMax bounds one call: some months of one core.
const seedsMax = 100_000_000

// simFlags are what the command line says.
type simFlags struct {
	seed     uint64
	seeds    string
	replicas int
	load     int
	only     string
	shrink   bool
	verbose  bool
	asJSON   bool
	jobs     int
}

func newSim() *cobra.Command {
	var f simFlags
	c := &cobra.Command{
		Use:   "sim",
		Short: "Run many replicas in virtual time, with everything going wrong, from one seed",
		Long: `Runs the product's own agreement, ledger and recovery on simulated networks,
disks and clocks, with lying validators, crashing gateways and unruly clients,
and checks the promises after every event. A seed replays to the byte.

Exit codes: 0 every promise held, 1 it could not run, 2 a wrong command line,
3 a promise broke (the output says which, and how to replay it).`,
		Example: `  holdfast sim --seed 7
  holdfast sim --seed 7 -v | less
  holdfast sim --seeds 1..2000
  holdfast sim --seed 7 --shrink
  holdfast sim --seed 7 --only 2,5 -v`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return f.run(c.Context(), c.Flags().Changed("seed"), c.OutOrStdout(), c.ErrOrStderr())
		},
	}
	c.Flags().Uint64Var(&f.seed, "seed", 1, "the seed of a single run")
	c.Flags().StringVar(&f.seeds, "seeds", "", "a range of seeds, as 1..2000: prints the tally by class of fault")
	c.Flags().IntVar(&f.replicas, "replicas", 0, fmt.Sprintf("validators, %d to %d (default: as the seed has it)", sim.ReplicasMin, sim.ReplicasMax))
	c.Flags().IntVar(&f.load, "load", 0, fmt.Sprintf("operations begun per virtual second, up to %d (default: as the seed has it)", sim.LoadMax))
	c.Flags().StringVar(&f.only, "only", "", "of the seed's plan only the faults with these numbers, as 2,5 (none: -)")
	c.Flags().BoolVar(&f.shrink, "shrink", false, "if the seed fails, find the fewest faults it fails with")
	c.Flags().BoolVarP(&f.verbose, "verbose", "v", false, "print a status line for every event")
	c.Flags().BoolVar(&f.asJSON, "json", false, "print one JSON object")
	c.Flags().IntVar(&f.jobs, "jobs", runtime.GOMAXPROCS(0), "runs at a time, with --seeds")
	return c
}

func (f *simFlags) run(ctx context.Context, seedGiven bool, stdout, stderr io.Writer) error {
	defer debug.SetGCPercent(debug.SetGCPercent(simGC))
	config := sim.Config{Seed: f.seed, Replicas: f.replicas, Load: f.load}
	if err := config.Validate(); err != nil {
		return usageError{err}
	}
	if f.seeds == "" {
		return f.runOne(config, stdout, stderr)
	}
	if seedGiven || f.only != "" || f.shrink || f.verbose {
		return usageError{errors.New("--seeds runs many seeds: --seed, --only, --shrink and -v are for one")}
	}
	first, last, err := parseSeeds(f.seeds)
	if err != nil {
		return usageError{err}
	}
	if f.jobs < 1 {
		return usageError{fmt.Errorf("--jobs is %d: choose at least 1", f.jobs)}
	}
	return f.runMany(ctx, config, first, last, stdout, stderr)
}

// parseSeeds reads A..B.
func parseSeeds(s string) (first, last uint64, err error) {
	from, to, ok := strings.Cut(s, "..")
	if ok {
		first, err = strconv.ParseUint(from, 10, 64)
	}
	if ok && err == nil {
		last, err = strconv.ParseUint(to, 10, 64)
	}
	if !ok || err != nil || last < first || last-first >= seedsMax {
		return 0, 0, fmt.Errorf("--seeds is %q: give a range of at most %d seeds, as 1..2000", s, seedsMax)
	}
	return first, last, nil
}

// runOne runs a single seed.
func (f *simFlags) runOne(config sim.Config, stdout, stderr io.Writer) error {
	if f.only != "" {
		keep, err := parseNumbers(f.only)
		if err != nil {
			return usageError{err}
		}
		plan := sim.New(config).Report().Plan.Only(keep)
		config.Plan = &plan
	}
	if f.verbose {
		lines := stdout
		if f.asJSON {
			lines = stderr
		}
		config.Trace = func(line string) { fmt.Fprintln(lines, line) }
	}
	report := sim.New(config).Run()
	if report.Violation != nil && f.shrink {
		fmt.Fprintln(stderr, "shrinking the plan ...")
		config.Trace = nil
		plan := sim.Shrink(config, report.Plan)
		config.Plan = &plan
		report = sim.New(config).Run()
		f.only = formatNumbers(plan.Numbers())
	}
	if err := printSim(stdout, &report, f.asJSON); err != nil {
		return err
	}
	return f.judge(report)
}

func parseNumbers(s string) ([]int, error) {
	if s == "-" {
		return nil, nil
	}
	var out []int
	for part := range strings.SplitSeq(s, ",") {
		n, err := strconv.Atoi(part)
		if err != nil || n < 0 {
			return nil, fmt.Errorf("--only is %q: give the numbers of faults, as 2,5", s)
		}
		out = append(out, n)
	}
	return out, nil
}

func formatNumbers(numbers []int) string {
	if len(numbers) == 0 {
		return "-"
	}
	parts := make([]string, len(numbers))
	for i, n := range numbers {
		parts[i] = strconv.Itoa(n)
	}
	return strings.Join(parts, ",")
}

// judge makes a broken promise the exit code.
func (f *simFlags) judge(r sim.Report) error {
	if r.Violation == nil {
		return nil
	}
	return exitError{fmt.Errorf("seed %d: %v\nreplay it with: %s", r.Seed, r.Violation, f.replay(r.Seed)), exitPromiseBroken}
}

// replay is the command that shows the run again.
func (f *simFlags) replay(seed uint64) string {
	s := fmt.Sprintf("holdfast sim --seed %d -v", seed)
	if f.replicas != 0 {
		s += fmt.Sprintf(" --replicas %d", f.replicas)
	}
	if f.load != 0 {
		s += fmt.Sprintf(" --load %d", f.load)
	}
	if f.only != "" {
		s += " --only " + f.only
	}
	return s
}

func printSim(w io.Writer, r *sim.Report, asJSON bool) error {
	if asJSON {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(r)
	}
	_, err := fmt.Fprint(w, r)
	return err
}

// simMany is what many runs come to.
type simMany struct {
	First     uint64       `json:"first"`
	Last      uint64       `json:"last"`
	Tally     sim.Tally    `json:"tally"`
	Failed    []sim.Report `json:"failed"` // the first failedMax
	Failures  int          `json:"failures"`
	Unfaulted []string     `json:"unfaulted"` // classes of faults that never bit
}

const failedMax = 20 // reports kept of failed runs; all are counted

// simGC is how much a heap may grow before it is collected, in percent. A run makes
// some megabytes of rubbish and is over: collecting it early is an eighth of the time.
const simGC = 400

// runMany runs a range of seeds, several at a time; each is a world of its own.
// The tally does not depend on who ran what.
func (f *simFlags) runMany(ctx context.Context, config sim.Config, first, last uint64, stdout, stderr io.Writer) error {
	var (
		mu      sync.Mutex // guards next, all, failures
		next    = first
		left    = last - first + 1
		all     = simMany{First: first, Last: last}
		wg      sync.WaitGroup
		started = time.Now()
		shown   = started
	)
	take := func() (seed uint64, ok bool) {
		mu.Lock()
		defer mu.Unlock()
		if left == 0 || ctx.Err() != nil {
			return 0, false
		}
		seed = next
		next++
		left--
		return seed, true
	}
	note := func(r sim.Report) {
		mu.Lock()
		defer mu.Unlock()
		all.Tally.Add(r.Tally)
		if r.Violation != nil {
			all.Failures++
			all.keep(r)
			fmt.Fprintf(stderr, "seed %d: %v\n  replay it with: %s\n", r.Seed, r.Violation, f.replay(r.Seed))
		}
		if now := time.Now(); now.Sub(shown) >= 5*time.Second {
			shown = now
			done := all.Tally.Seeds
			fmt.Fprintf(stderr, "%d of %d seeds, %d failed, %.1f a second\n",
				done, last-first+1, all.Failures, float64(done)/now.Sub(started).Seconds())
		}
	}
	for range f.jobs {
		wg.Go(func() {
			for seed, ok := take(); ok; seed, ok = take() {
				c := config
				c.Seed = seed
				note(sim.New(c).Run())
			}
		})
	}
	wg.Wait()
	for _, c := range all.Tally.Missing() {
		all.Unfaulted = append(all.Unfaulted, c.String())
	}
	if err := all.print(stdout, f.asJSON); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil && all.Tally.Seeds < int(last-first+1) {
		return fmt.Errorf("stopped after %d of %d seeds: %w", all.Tally.Seeds, last-first+1, err)
	}
	if all.Failures > 0 {
		r := all.Failed[0]
		return exitError{fmt.Errorf("%d of %d seeds broke a promise, the first seed %d: %v\nreplay it with: %s",
			all.Failures, all.Tally.Seeds, r.Seed, r.Violation, f.replay(r.Seed)), exitPromiseBroken}
	}
	return nil
}

// keep holds on to the failed runs with the lowest seeds.
func (m *simMany) keep(r sim.Report) {
	at := len(m.Failed)
	for at > 0 && m.Failed[at-1].Seed > r.Seed {
		at--
	}
	m.Failed = append(m.Failed[:at], append([]sim.Report{r}, m.Failed[at:]...)...)
	if len(m.Failed) > failedMax {
		m.Failed = m.Failed[:failedMax]
	}
}

func (m *simMany) print(w io.Writer, asJSON bool) error {
	if asJSON {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(m)
	}
	_, err := fmt.Fprintf(w, "seeds %d to %d: %d runs, %d broke a promise\n\n%s", m.First, m.Last, m.Tally.Seeds, m.Failures, &m.Tally)
	if err == nil && len(m.Unfaulted) > 0 {
		_, err = fmt.Fprintf(w, "\nnever bit: %s\n", strings.Join(m.Unfaulted, ", "))
	}
	return err
}
