package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-mesh/holdfast/testnet"
)

// Exit codes of testnet beside 0, every promise held. A wrong command line is the
// common 2 as well, and says so.
const (
	exitBroken       = 1 // a promise was broken
	exitInconclusive = 2 // a fault did not bite, or a checker ran out of time
	exitNotStarted   = 3 // the network could not be started
)

func newTestnet() *cobra.Command {
	c := &cobra.Command{
		Use:   "testnet",
		Short: "Start a network of real nodes, cut it, heal it, and judge it",
		Long: `Runs nodes as processes of this program on this machine, without root and without
containers, and hurts them: links are cut, slowed, made to lose packets, by a packet
filter under each node's QUIC socket; processes are killed, paused, robbed of their
disks. A scenario does so under load, measures that every fault bit, and judges what
was recorded against the promises.

With --driver docker nodes are containers, with a network for each pair of providers:
they are cut by leaving networks, killed and paused by the engine. It needs the docker
command, an engine and the image, and refuses the faults that containers cannot have.

Nodes are named by number, provider, or provider and zone: 0, aws, aws/a. All but
"up" and "run" speak to the network that "up" holds in --dir.

Exit codes of run, check and generate: 0 every promise held, 1 a promise was broken,
2 inconclusive (a fault did not bite, or a checker ran out of time), 3 the network
could not be started. Of the others: 0 done, 1 failed, 2 a wrong command line, and 3
for up.`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newTestnetUp(), newTestnetEnv(), newTestnetStatus(), newTestnetMatrix(), newTestnetDown(), newTestnetHeal(),
		newTestnetRun(), newTestnetCheck(), newTestnetReport(), newTestnetGenerate(), newTestnetScenarios(), newTestnetFilter(), newTestnetExpect(), newTestnetFiles())
	for _, f := range faultCommands {
		c.AddCommand(f.command())
	}
	return c
}

// testnetFlags say which network.
type testnetFlags struct {
	dir string
	output
}

func (f *testnetFlags) addTo(c *cobra.Command) {
	c.Flags().StringVar(&f.dir, "dir", testnet.DefaultDir(), "the network's directory")
	f.add(c)
}

func newTestnetUp() *cobra.Command {
	var f testnetFlags
	config := testnet.DefaultConfig()
	var providers string
	c := &cobra.Command{
		Use:   "up",
		Short: "Start a network and hold it up until interrupted, or until testnet down",
		Long: `Starts the nodes, prints every node's API address, a wallet with money in it, and
three commands to try, and holds the network up. When it ends, however it ends, its
nodes end with it, and its directory is removed unless --keep says otherwise.`,
		Example: `  holdfast testnet up
  holdfast testnet up --providers aws:3:3,gcp:3:3,azure:3:3,hetzner:3:3
  holdfast testnet up --driver docker
  holdfast testnet up --json`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) (err error) {
			if config.Providers, err = testnet.ParseProviders(providers); err != nil {
				return usageError{err}
			}
			config.Dir = f.dir
			if err := config.Validate(); err != nil {
				return usageError{err}
			}
			return up(c, config, f.output)
		},
	}
	c.Flags().StringVar(&providers, "providers", "aws:1,gcp:1,azure:1,hetzner:1", "name:nodes or name:nodes:zones, separated by commas")
	c.Flags().Uint64Var(&config.Seed, "seed", config.Seed, "feeds clients' keys and the chance of losing packets")
	addDriver(c, &config.Driver, &config.Image)
	c.Flags().BoolVar(&config.Keep, "keep", false, "leave the directory when the network ends")
	f.addTo(c)
	return c
}

// addDriver adds the flags that say how nodes are run.
func addDriver(c *cobra.Command, driver, image *string) {
	c.Flags().StringVar(driver, "driver", testnet.DriverProc, "how nodes are run: "+testnet.DriverProc+" or "+testnet.DriverDocker)
	c.Flags().StringVar(image, "image", testnet.DefaultImage, "with --driver docker: the image that nodes run")
}

// up holds a network up.
func up(c *cobra.Command, config testnet.Config, o output) error {
	began := time.Now()
	n, err := testnet.Up(c.Context(), config)
	if err != nil {
		return exitError{err, exitNotStarted}
	}
	if err := o.print(c, n.Manifest(), func(w *tabwriter.Writer) { writeUp(w, n.Manifest(), time.Since(began), config.Dir) }); err != nil {
		return errors.Join(err, n.Down())
	}
	select {
	case <-c.Context().Done():
	case <-n.Asked():
	}
	return n.Down()
}

func writeUp(w io.Writer, m testnet.Manifest, took time.Duration, dir string) {
	fmt.Fprintf(w, "%d nodes are ready after %.1f s\n\nNODE\tPROVIDER\tAPI\tLOG\n", len(m.Nodes), took.Seconds())
	for _, n := range m.Nodes {
		fmt.Fprintf(w, "%d\t%s/%s\t%s\t%s\n", n.Number, n.Provider, n.Zone, n.API, filepath.Join(n.Dir, "log"))
	}
	wallets, name := filepath.Dir(m.Faucet.KeyFile), strings.TrimSuffix(filepath.Base(m.Faucet.KeyFile), ".key")
	flags := fmt.Sprintf("--api %s --wallets %s", m.Nodes[0].API, wallets)
	at := ""
	if dir != testnet.DefaultDir() {
		at = " --dir " + dir
	}
	fmt.Fprintf(w, "\nThe wallet %q has money: account %s\n\nTry, in another terminal:\n", name, m.Faucet.Account)
	fmt.Fprintf(w, "  holdfast order place BTC-USDT buy 0.5 --at 60000.00 %s\n", flags)
	fmt.Fprintf(w, "  holdfast wallet balance %s\n", flags)
	fmt.Fprintf(w, "  holdfast testnet cut %s%s && holdfast testnet status%s\n", m.Nodes[0].Provider, at, at)
	fmt.Fprintf(w, "\nIt ends with Ctrl-C, or with: holdfast testnet down%s\n", at)
}

func newTestnetStatus() *cobra.Command {
	var f testnetFlags
	var watch bool
	c := &cobra.Command{
		Use:   "status",
		Short: "Show every node: state, commit, round, peers, partition, and the faults in force",
		Example: `  holdfast testnet status
  holdfast testnet status --watch
  holdfast testnet status --json`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			for {
				a, err := testnet.Call(c.Context(), f.dir, testnet.Command{Do: "status"})
				if err != nil {
					return err
				}
				if err := f.show(c, a.Status, a.Status.Print); err != nil || !watch {
					return err
				}
				select {
				case <-c.Context().Done():
					return nil
				case <-time.After(time.Second):
				}
			}
		},
	}
	c.Flags().BoolVar(&watch, "watch", false, "again every second, until interrupted")
	f.addTo(c)
	return c
}

// show prints v as JSON or with its own Print.
func (f *testnetFlags) show(c *cobra.Command, v any, text func(io.Writer) error) error {
	if f.asJSON {
		return printJSON(c.OutOrStdout(), v)
	}
	return text(c.OutOrStdout())
}

func newTestnetMatrix() *cobra.Command {
	var f testnetFlags
	c := &cobra.Command{
		Use:   "matrix",
		Short: "Measure, below QUIC, what every node hears of every other",
		Example: `  holdfast testnet matrix
  holdfast testnet matrix --json`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			a, err := testnet.Call(c.Context(), f.dir, testnet.Command{Do: "matrix"})
			if err != nil {
				return err
			}
			return f.show(c, a.Matrix, func(w io.Writer) error { _, err := fmt.Fprint(w, a.Matrix); return err })
		},
	}
	f.addTo(c)
	return c
}

func newTestnetDown() *cobra.Command {
	var f testnetFlags
	c := &cobra.Command{
		Use:   "down",
		Short: "End the network and wait until nothing is left of it",
		Long: `Asks the process that holds the network up for its end and waits until nothing is
left. If no network is up, it removes the containers, networks and volumes that networks
of this machine have left in the Docker engine because their process was killed.`,
		Example: `  holdfast testnet down
  holdfast testnet down --json`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(c.Context(), time.Minute)
			defer cancel()
			removed, err := takeDown(ctx, f.dir)
			if err != nil {
				return err
			}
			return f.print(c, downView{true, removed}, func(w *tabwriter.Writer) {
				if !removed.None() {
					fmt.Fprintf(w, "a network that died had left %s\n", removed)
				}
				fmt.Fprintln(w, "down")
			})
		},
	}
	f.addTo(c)
	return c
}

type downView struct {
	Down    bool            `json:"down"`
	Removed testnet.Removed `json:"removed"`
}

// takeDown ends the network in dir, or, if there is none, removes what dead ones have
// left in an engine. Where nothing was left either, or no engine answers, there was
// nothing to end.
func takeDown(ctx context.Context, dir string) (removed testnet.Removed, err error) {
	err = testnet.TakeDown(ctx, dir)
	if !errors.Is(err, testnet.ErrNoNetwork) {
		return removed, err
	}
	removed, failed := testnet.RemoveLeftovers(ctx)
	switch {
	case errors.Is(failed, testnet.ErrNoEngine):
		return removed, err
	case failed != nil:
		return removed, failed
	case removed.None():
		return removed, err
	}
	return removed, nil
}

func newTestnetHeal() *cobra.Command {
	var f testnetFlags
	c := &cobra.Command{
		Use:   "heal",
		Short: "Heal everything: links, processes, disks",
		Example: `  holdfast testnet heal
  holdfast testnet heal --json`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			a, err := testnet.Call(c.Context(), f.dir, testnet.Command{Do: "heal"})
			if err != nil {
				return err
			}
			return f.print(c, a.Healed, func(w *tabwriter.Writer) {
				if len(a.Healed) == 0 {
					fmt.Fprintln(w, "nothing was in force")
				}
				for _, name := range a.Healed {
					fmt.Fprintf(w, "healed %s\n", name)
				}
			})
		},
	}
	f.addTo(c)
	return c
}

// faultCommand is a fault that the command line can do.
type faultCommand struct {
	use, short, example string
	args                int // how many there are; a Slow and a Loss have a measure last
	fault               func(args []string) (testnet.Fault, error)
	links               bool // takes --from and --one-way
}

var faultCommands = []faultCommand{
	{"cut NODES", "Cut nodes off from all others, or from some", `  holdfast testnet cut aws
  holdfast testnet cut aws --from gcp --one-way
  holdfast testnet cut aws,gcp --from azure,hetzner`, 1, ofKind(testnet.Cut), true},
	{"flap NODES", "Cut nodes off and on, every few seconds", "  holdfast testnet flap aws", 1, ofKind(testnet.Flap), true},
	{"slow A B LATENCY", "Make the packets between nodes slower", "  holdfast testnet slow aws gcp 80ms", 3, slow, false},
	{"loss A B SHARE", "Lose a share of the packets between nodes", "  holdfast testnet loss aws gcp 5%", 3, loss, false},
	{"kill NODES", "Kill processes at once, as a power cut does; heal starts them again", "  holdfast testnet kill 2", 1, ofKind(testnet.Kill), false},
	{"pause NODES", "Have processes stand still; heal lets them go on", "  holdfast testnet pause 2", 1, ofKind(testnet.Pause), false},
	{"restart NODES", "Have processes end in their own time and start again", "  holdfast testnet restart 2", 1, ofKind(testnet.Restart), false},
	{"disk-full NODES", "Start processes again with no room on their disks; heal gives it back", "  holdfast testnet disk-full 2", 1, ofKind(testnet.DiskFull), false},
	{"disk-lost NODES", "Kill processes and remove their stores; heal starts them with --recover", "  holdfast testnet disk-lost 2", 1, ofKind(testnet.DiskLost), false},
	{"twin NODE", "Start a second process with a node's key, which should notice and stop", "  holdfast testnet twin 2", 1, ofKind(testnet.Twin), false},
	{"corrupt NODES", "Stop processes, flip a bit on their disks, and start them again", "  holdfast testnet corrupt 2", 1, ofKind(testnet.Corrupt), false},
}

func ofKind(k testnet.Kind) func([]string) (testnet.Fault, error) {
	return func(args []string) (testnet.Fault, error) {
		return testnet.Fault{Kind: k, From: strings.Split(args[0], ",")}, nil
	}
}

func slow(args []string) (f testnet.Fault, err error) {
	d, err := time.ParseDuration(args[2])
	if err != nil {
		return f, fmt.Errorf("%q is no latency: give a time with its unit, such as 80ms", args[2])
	}
	return testnet.Fault{
		Kind: testnet.Slow, From: strings.Split(args[0], ","), To: strings.Split(args[1], ","), DelayMs: d.Seconds() * 1e3,
	}, nil
}

func loss(args []string) (f testnet.Fault, err error) {
	percent, err := strconv.ParseFloat(strings.TrimSuffix(args[2], "%"), 64)
	if err != nil || !(percent > 0 && percent <= 100) {
		return f, fmt.Errorf("%q is no share: give per cent, such as 5%%", args[2])
	}
	return testnet.Fault{
		Kind: testnet.Loss, From: strings.Split(args[0], ","), To: strings.Split(args[1], ","), Loss: percent / 100,
	}, nil
}

func (k faultCommand) command() *cobra.Command {
	var f testnetFlags
	var from []string
	var oneWay bool
	c := &cobra.Command{
		Use: k.use, Short: k.short, Example: k.example,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) != k.args {
				return usageError{fmt.Errorf("%s takes %s, but got %d arguments", c.CommandPath(), strings.TrimPrefix(k.use, c.Name()+" "), len(args))}
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			fault, err := k.fault(args)
			if err != nil {
				return usageError{err}
			}
			if k.links {
				fault.To, fault.OneWay = from, oneWay
			}
			if err := fault.Validate(); err != nil {
				return usageError{err}
			}
			a, err := testnet.Call(c.Context(), f.dir, testnet.Command{Do: "fault", Fault: &fault})
			if err != nil {
				return err
			}
			return f.print(c, a, func(w *tabwriter.Writer) { fmt.Fprintf(w, "%s (%s)\n", fault, a.Name) })
		},
	}
	if k.links {
		c.Flags().StringSliceVar(&from, "from", nil, "only from these nodes (default: from all others)")
		c.Flags().BoolVar(&oneWay, "one-way", false, "spare what the others send")
	}
	f.addTo(c)
	return c
}
