package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-mesh/holdfast/node"
	"github.com/holdfast-mesh/holdfast/node/api"
	"github.com/holdfast-mesh/holdfast/node/faucet"
	"github.com/holdfast-mesh/holdfast/node/ledger"
	"github.com/holdfast-mesh/holdfast/node/mesh"
)

// faucetService is the name faucets have on the mesh, unless they are given another.
const faucetService = "faucet"

// Bounds of the faucet's HTTP server: requests are tiny, and wait for a commit.
const (
	faucetHeaderBytesMax = 8 << 10
	faucetReadTimeout    = 5 * time.Second
	faucetWriteTimeout   = 30 * time.Second
	faucetDrain          = 5 * time.Second
)

func newFaucet() *cobra.Command {
	c := &cobra.Command{
		Use:   "faucet",
		Short: "Give test money to whoever asks, within limits; or ask for some",
		Long: `A faucet is a service of a test network, found by its name over the mesh. It gives
from a wallet of its own: so much to one account in a time, so many gifts an hour, so
many in all. A gift is durable before it is sent, so it is never given twice.`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newFaucetServe(), newFaucetAsk(), newFaucetShow())
	return c
}

// faucetFlags are what faucet serve is told.
type faucetFlags struct {
	wallet        walletFlags
	gateway       gatewayFlags
	desk          desk
	o             output
	give          []string
	every         time.Duration
	hourly, total int
	journal       string
	listen, name  string
	register      bool
}

func newFaucetServe() *cobra.Command {
	var f faucetFlags
	c := &cobra.Command{
		Use:   "serve",
		Short: "Run a faucet beside the node on this machine",
		Long: `Listens on this machine and registers with its node as a service, so that members of
the network reach it by name; nothing is open to the internet. It runs until it is
interrupted, and deregisters. What it has given is in its journal: keep it, for the
limits count what is in it. The wallet should be the faucet's alone.

Exit codes: 0 it was told to end, 1 it could not go on, 2 a wrong command line.`,
		Example: `  holdfast faucet serve --wallet faucet --give "1000 USDT" --give "0.01 BTC"
  holdfast faucet serve --wallet faucet --give "100 USDT" --every 1h --per-hour 20 --total 500`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error { return f.run(c) },
	}
	flags := c.Flags()
	flags.StringSliceVar(&f.give, "give", nil, `what one asking brings, such as "100 USDT"; may be repeated`)
	flags.DurationVar(&f.every, "every", 24*time.Hour, "the least time between two gifts to one account")
	flags.IntVar(&f.hourly, "per-hour", 60, "gifts in any hour at most")
	flags.IntVar(&f.total, "total", 10_000, "gifts at most, ever")
	flags.StringVar(&f.journal, "journal", "", "directory of what was given (default: faucet in --data-dir)")
	flags.StringVar(&f.listen, "listen", "127.0.0.1:0", "where to listen, host:port; port 0 chooses one")
	flags.StringVar(&f.name, "name", faucetService, "name of the service")
	flags.BoolVar(&f.register, "register", true, "register with the node on this machine")
	flags.StringVar(&f.desk.dir, "data-dir", "", "directory of the node on this machine (default: "+envPrefix+"DATA_DIR or ~/.holdfast)")
	f.wallet.addSign(c)
	f.gateway.addTrust(c)
	f.o.add(c)
	return c
}

// serving says where a faucet is.
type serving struct {
	At      string `json:"at"`
	Service string `json:"service,omitempty"`
	faucet.About
}

func (s serving) text(w *tabwriter.Writer) {
	fmt.Fprintf(w, "faucet\thttp://%s\n", s.At)
	if s.Service != "" {
		fmt.Fprintf(w, "service\t%s\n", s.Service)
	}
	writeFaucet(w, s.About)
}

func (f *faucetFlags) run(c *cobra.Command) error {
	config, err := f.config(c)
	if err != nil {
		return err
	}
	config.Log = node.DefaultConfig().Logger(c.ErrOrStderr())
	tap, err := faucet.Open(config)
	if err != nil {
		return err
	}
	err = f.serve(c, tap)
	return errors.Join(err, tap.Close())
}

// config asks a node for the network's names and reads the gift by them.
func (f *faucetFlags) config(c *cobra.Command) (config faucet.Config, err error) {
	if len(f.give) == 0 {
		return config, usageError{errors.New(`--give is missing: what should one asking bring? Such as --give "100 USDT"`)}
	}
	g, err := f.gateway.open()
	if err != nil {
		return config, err
	}
	t, err := g.learn(c.Context())
	if err != nil {
		return config, err
	}
	config = faucet.Config{Dir: f.journal, Network: t.network, Names: t.names, Gateway: failover{g}, Every: f.every, Hourly: f.hourly, Total: f.total}
	if config.Dir == "" {
		config.Dir = filepath.Join(f.desk.directory(), "faucet")
	}
	for _, text := range f.give {
		number, symbol, _ := strings.Cut(strings.TrimSpace(text), " ")
		amount, id, err := t.amount(number, strings.TrimSpace(symbol))
		if err != nil {
			return config, err
		}
		config.Gift = append(config.Gift, faucet.Coin{Asset: id, Amount: amount})
	}
	if config.Key, _, err = f.wallet.open(c); err != nil {
		return config, err
	}
	if err := config.Validate(); err != nil {
		return config, usageError{err}
	}
	return config, nil
}

// serve listens, registers and works until the command's context ends.
func (f *faucetFlags) serve(c *cobra.Command, tap *faucet.Faucet) error {
	l, err := net.Listen("tcp", f.listen)
	if err != nil {
		return fmt.Errorf("faucet: %w: give another --listen", err)
	}
	ctx, cancel := context.WithCancel(c.Context())
	defer cancel()
	server := &http.Server{Handler: tap.Handler(), ReadHeaderTimeout: faucetReadTimeout, ReadTimeout: faucetReadTimeout,
		WriteTimeout: faucetWriteTimeout, IdleTimeout: faucetWriteTimeout, MaxHeaderBytes: faucetHeaderBytesMax}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	ran := make(chan struct{})
	go func() { tap.Run(ctx); close(ran) }()
	defer func() { cancel(); <-ran }()
	says := serving{At: l.Addr().String(), About: tap.About()}
	if f.register {
		s := mesh.Service{Name: f.name, To: says.At, Protocol: "http", Check: "http:/healthz"}
		if err = s.Validate(); err == nil {
			err = f.desk.open().Register(ctx, s)
		}
		if err != nil {
			return errors.Join(fmt.Errorf("registering the faucet: %w; --register=false runs it without a node", err), server.Close())
		}
		says.Service = f.name
	}
	if err = f.o.print(c, says, says.text); err == nil {
		select {
		case <-ctx.Done():
		case err = <-served:
		}
	}
	ending, ended := context.WithTimeout(context.Background(), faucetDrain)
	defer ended()
	if f.register {
		// Members learn that it is gone; if the node went first, they have learned it.
		_ = f.desk.open().Deregister(ending, f.name)
	}
	return errors.Join(err, server.Shutdown(ending))
}

// failover is a gateway as the faucet needs it: the first node that answers.
type failover struct{ g *gateway }

func (f failover) Submit(ctx context.Context, ops ...[]byte) (api.Ops, error) {
	return ask(ctx, f.g, func(ctx context.Context, c *api.Client) (api.Ops, error) { return c.Submit(ctx, ops...) })
}

func (f failover) Op(ctx context.Context, id ledger.Digest) (api.Op, error) {
	return ask(ctx, f.g, func(ctx context.Context, c *api.Client) (api.Op, error) { return c.Op(ctx, id) })
}

func (f failover) WaitOp(ctx context.Context, id ledger.Digest) (api.Op, error) {
	return ask(ctx, f.g, func(ctx context.Context, c *api.Client) (api.Op, error) { return c.WaitOp(ctx, id) })
}

func (f failover) Account(ctx context.Context, account ledger.Account) (api.Account, error) {
	return ask(ctx, f.g, func(ctx context.Context, c *api.Client) (api.Account, error) { return c.Account(ctx, account) })
}

// tapFlags say which faucet is asked.
type tapFlags struct {
	desk     desk
	at, name string
	timeout  time.Duration
}

func (f *tapFlags) add(c *cobra.Command) {
	c.Flags().StringVar(&f.at, "at", "", "the faucet's address, such as http://127.0.0.1:8088 (default: found by name over the mesh, by the node on this machine)")
	c.Flags().StringVar(&f.name, "name", faucetService, "the faucet's name on the mesh")
	c.Flags().StringVar(&f.desk.dir, "data-dir", "", "directory of the node on this machine (default: "+envPrefix+"DATA_DIR or ~/.holdfast)")
	c.Flags().DurationVar(&f.timeout, "timeout", time.Minute, "how long to wait")
}

// with calls do with a client of the faucet. Over the mesh, the node on this machine
// listens for as long as do takes.
func (f *tapFlags) with(ctx context.Context, do func(context.Context, *faucet.Client) error) error {
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	if f.at != "" {
		return do(ctx, &faucet.Client{Base: strings.TrimRight(f.at, "/")})
	}
	if err := mesh.CheckName(f.name); err != nil {
		return usageError{err}
	}
	listening, stop := context.WithCancel(ctx)
	defer stop()
	var done error
	asked := false
	err := f.desk.open().Listen(listening, mesh.Listen{Kind: "http", At: "127.0.0.1:0"}, func(where mesh.Listening) {
		asked = true
		done = do(ctx, &faucet.Client{Base: "http://" + where.At, Host: f.name + ".mesh"})
		stop()
	})
	if asked {
		return done
	}
	return err
}

func newFaucetAsk() *cobra.Command {
	var f tapFlags
	var wallets walletFlags
	var o output
	c := &cobra.Command{
		Use:   "ask ACCOUNT",
		Short: "Ask the network's faucet for test money",
		Long: `Asks the faucet for a gift to an account, given in hexadecimal or as the name of a
wallet here, and waits until it is final. To ask again for the same is safe: it is one
gift.

Exit codes: 0 it is given, 1 no faucet was reached, 2 a wrong command line, 3 the
faucet refused (the error says why and when to ask again), 4 it is not final yet: ask
again.`,
		Example: `  holdfast faucet ask alice
  holdfast faucet ask alice --at http://127.0.0.1:8088 --json`,
		Args: oneArg("an account, or the name of a wallet here"),
		RunE: func(c *cobra.Command, args []string) error {
			account, err := wallets.party(args[0])
			if err != nil {
				return err
			}
			return f.with(c.Context(), func(ctx context.Context, client *faucet.Client) error {
				a, err := client.Ask(ctx, account)
				if errors.As(err, new(*api.Problem)) {
					return exitError{err, exitOpRefused}
				}
				if err != nil {
					return err
				}
				if err := o.print(c, a, func(w *tabwriter.Writer) { writeGift(w, a) }); err != nil {
					return err
				}
				if a.Status != api.OpFinal {
					return exitError{fmt.Errorf("the gift, operation %s, is not final yet: ask again", a.Op), exitOpOpen}
				}
				return nil
			})
		},
	}
	wallets.addDir(c)
	f.add(c)
	o.add(c)
	return c
}

func writeGift(w *tabwriter.Writer, a faucet.Answer) {
	if a.Status == api.OpFinal {
		fmt.Fprintf(w, "%s to %s, final in commit %d\n", strings.Join(a.Gift, " and "), a.Account, a.Commit)
	} else {
		fmt.Fprintf(w, "%s to %s: %s\n", strings.Join(a.Gift, " and "), a.Account, a.Status)
	}
	fmt.Fprintf(w, "operation %s; more from %s on\n", a.Op, clock(a.NextMs))
}

func newFaucetShow() *cobra.Command {
	var f tapFlags
	var o output
	c := &cobra.Command{
		Use:   "show",
		Short: "Print what the network's faucet gives, and its limits",
		Example: `  holdfast faucet show
  holdfast faucet show --at http://127.0.0.1:8088 --json`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return f.with(c.Context(), func(ctx context.Context, client *faucet.Client) error {
				a, err := client.About(ctx)
				if err != nil {
					return err
				}
				return o.print(c, a, func(w *tabwriter.Writer) { writeFaucet(w, a) })
			})
		},
	}
	f.add(c)
	o.add(c)
	return c
}

func writeFaucet(w *tabwriter.Writer, a faucet.About) {
	fmt.Fprintf(w, "network\t%s\nwallet\t%s\n", a.Network, a.Account)
	fmt.Fprintf(w, "gives\t%s, to an account once in %v\n", strings.Join(a.Gift, " and "), time.Duration(a.EveryMs)*time.Millisecond)
	fmt.Fprintf(w, "limits\t%d an hour, %d in all\n", a.Hourly, a.Total)
	fmt.Fprintf(w, "given\t%d, %d more under way\n", a.Given-a.Open, a.Open)
}
