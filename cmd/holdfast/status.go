package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-mesh/holdfast/node/api"
)

// Exit code of healthy beside the common ones.
const exitUnhealthy = 3 // the node answers, and is not well

func newStatus() *cobra.Command {
	var g gatewayFlags
	var o output
	c := &cobra.Command{
		Use:   "status",
		Short: "Print how a node is and what it sees of its network",
		Example: `  holdfast status
  holdfast status --api http://192.0.2.1:8080 --json`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			s, err := status(c.Context(), &g)
			if err != nil {
				return err
			}
			return o.print(c, s, func(w *tabwriter.Writer) { writeStatus(w, &s) })
		},
	}
	g.add(c)
	o.add(c)
	return c
}

func status(ctx context.Context, f *gatewayFlags) (api.Status, error) {
	g, err := f.open()
	if err != nil {
		return api.Status{}, err
	}
	return ask(ctx, g, func(ctx context.Context, c *api.Client) (api.Status, error) { return c.Status(ctx) })
}

func writeStatus(w *tabwriter.Writer, s *api.Status) {
	role := "observer"
	if s.Validator {
		role = "validator"
	}
	state := "well"
	if ills := illsOf(s); len(ills) > 0 {
		state = strings.Join(ills, "; ")
	}
	fmt.Fprintf(w, "network\t%s (%s)\n", s.Network, s.Name)
	fmt.Fprintf(w, "node\t%s, %s, version %s\n", s.Peer, role, s.Version)
	fmt.Fprintf(w, "at\t%s\n", orDash(strings.Trim(s.Provider+" "+s.Region+" "+s.Zone, " ")))
	fmt.Fprintf(w, "state\t%s\n", state)
	fmt.Fprintf(w, "commit\t%d of %s, %s ago\n", s.AsOf.Commit, clock(int64(s.AsOf.Time)), ageOf(s.AsOf))
	fmt.Fprintf(w, "round\t%d of epoch %d\n", s.Round, s.Epoch)
	fmt.Fprintf(w, "weight\t%d of %d connected, %d are a quorum\n", s.Weight.Connected, s.Weight.Total, s.Weight.Quorum)
	fmt.Fprintf(w, "peers\t%d\n", s.Peers)
	fmt.Fprintf(w, "pool\t%d operations wait (%.0f %%), %d acknowledged here have not ended\n", s.Pool.Ops, 100*s.Pool.Full, s.Pool.Journal)
}

func ageOf(a api.AsOf) time.Duration { return time.Duration(a.AgeMs) * time.Millisecond }

// illsOf lists what is not well with a node, worst first.
func illsOf(s *api.Status) (ills []string) {
	add := func(ill bool, what string) {
		if ill {
			ills = append(ills, what)
		}
	}
	add(s.Alarm != "", "it has stopped for good: "+s.Alarm)
	add(!s.AsOf.Quorum, fmt.Sprintf("it sees no quorum: what it says may be %v old", ageOf(s.AsOf)))
	add(s.DiskFull, "its disk is full: it takes no operations")
	add(s.Recovering, "it has lost its disk and asks the others what it said")
	add(s.CatchingUp, "it is catching up with the others")
	add(!s.Ready && len(ills) == 0, "it is not ready")
	return ills
}

// healthAgain is how often healthy --wait asks.
const healthAgain = 200 * time.Millisecond

// health is the answer of healthy.
type health struct {
	Healthy bool     `json:"healthy"`
	Ills    []string `json:"ills"`
}

// healthFlags are what healthy is told.
type healthFlags struct {
	gateway gatewayFlags
	o       output
	timeout time.Duration
	wait    bool
}

func newHealthy() *cobra.Command {
	var f healthFlags
	c := &cobra.Command{
		Use:   "healthy",
		Short: "Say by the exit code whether a node is well, for scripts and containers",
		Long: `A node is well when it is ready, sees a quorum, has room on its disk and has not
stopped for an alarm.

Exit codes: 0 it is well, 1 it does not answer, 2 a wrong command line, 3 it
answers and is not well.`,
		Example: `  holdfast healthy
  holdfast healthy --wait --timeout 1m
  holdfast healthy --timeout 1s --json`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error { return f.run(c) },
	}
	c.Flags().BoolVar(&f.wait, "wait", false, "wait until it is well, for as long as --timeout says")
	c.Flags().DurationVar(&f.timeout, "timeout", 5*time.Second, "how long to wait for an answer")
	f.gateway.add(c)
	f.o.add(c)
	return c
}

func (f *healthFlags) run(c *cobra.Command) error {
	ctx, cancel := context.WithTimeout(c.Context(), f.timeout)
	defer cancel()
	answer, err := f.ask(ctx)
	if err != nil {
		return err
	}
	if err := f.o.print(c, answer, func(w *tabwriter.Writer) {
		if answer.Healthy {
			fmt.Fprintln(w, "The node is well.")
		}
	}); err != nil {
		return err
	}
	if !answer.Healthy {
		return exitError{errors.New("the node is not well: " + strings.Join(answer.Ills, "; ")), exitUnhealthy}
	}
	return nil
}

// ask returns the node's health: now, or with --wait the first good one, or the
// last when the time is over.
func (f *healthFlags) ask(ctx context.Context) (last health, err error) {
	for heard := false; ; {
		s, failed := status(ctx, &f.gateway)
		if failed == nil {
			ills := append([]string{}, illsOf(&s)...)
			last, heard, err = health{Healthy: len(ills) == 0, Ills: ills}, true, nil
		} else if !heard {
			err = failed
		}
		if last.Healthy || !f.wait || errors.As(failed, new(usageError)) {
			return last, err
		}
		select {
		case <-time.After(healthAgain):
		case <-ctx.Done():
			return last, err
		}
	}
}

func newPeers() *cobra.Command {
	var f gatewayFlags
	var o output
	c := &cobra.Command{
		Use:   "peers",
		Short: "List the peers a node knows, and how they are reached",
		Example: `  holdfast peers
  holdfast peers --json`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			g, err := f.open()
			if err != nil {
				return err
			}
			peers, err := ask(c.Context(), g, func(ctx context.Context, c *api.Client) (api.Peers, error) { return c.Peers(ctx) })
			if err != nil {
				return err
			}
			return o.print(c, peers, func(w *tabwriter.Writer) { writePeers(w, peers) })
		},
	}
	f.add(c)
	o.add(c)
	return c
}

func writePeers(w *tabwriter.Writer, p api.Peers) {
	fmt.Fprintf(w, "PEER\tROLE\tPROVIDER\tREGION\tPATH\tRTT\tLAST HEARD\n")
	for _, peer := range p.Peers {
		role, path, rtt := "observer", "away", "-"
		if peer.Validator {
			role = "validator"
		}
		if peer.Connected {
			path = orDash(peer.Path)
		}
		if peer.RTTMs > 0 {
			rtt = fmt.Sprintf("%.1fms", peer.RTTMs)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", peer.Peer, role, orDash(peer.Provider), orDash(peer.Region), path, rtt, clock(peer.SeenMs))
	}
	if !p.AsOf.Quorum {
		fmt.Fprintln(w, noQuorum(p.AsOf))
	}
}

// noQuorum warns that an answer may be behind (promise P5).
func noQuorum(a api.AsOf) string {
	return fmt.Sprintf("The node sees no quorum: this is as of commit %d, %v ago.", a.Commit, ageOf(a))
}
