package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-mesh/holdfast/node/api"
	"github.com/holdfast-mesh/holdfast/node/ledger"
)

// How long a watch waits before it opens a broken stream again.
const (
	rewatchFirst = 200 * time.Millisecond
	rewatchMost  = 5 * time.Second
)

func newOrderWatch() *cobra.Command {
	var f walletFlags
	var g gatewayFlags
	var o output
	var after string
	c := &cobra.Command{
		Use:   "watch [NAME]",
		Short: "Print what happens to a wallet's orders and funds, as it happens",
		Long: `Begins with the open orders and goes on until it is interrupted. When the node goes
away it goes on at the next one, where it stopped: nothing is missed or told twice.
With --json each line is one message of the API's stream.`,
		Example: `  holdfast order watch
  holdfast order watch alice --after 1234-5 --json`,
		Args: maybeArg("a wallet's name or an account"),
		RunE: func(c *cobra.Command, args []string) error {
			account, err := f.whose(args)
			if err != nil {
				return err
			}
			gateway, err := g.open()
			if err != nil {
				return err
			}
			w := watcher{account: account, out: c.OutOrStdout(), asJSON: o.asJSON}
			if after != "" {
				cursor, err := api.ParseCursor(after)
				if err != nil {
					return usageError{err}
				}
				w.after = &cursor
			}
			return w.run(c.Context(), gateway, c.ErrOrStderr())
		},
	}
	c.Flags().StringVar(&after, "after", "", "only what comes after this cursor")
	f.add(c)
	g.add(c)
	o.add(c)
	return c
}

// watcher prints an account's events.
type watcher struct {
	account ledger.Account
	after   *api.Cursor // of the last message
	out     io.Writer
	asJSON  bool
}

// run watches at one node after the other until ctx ends, or a node says that the
// question itself is wrong.
func (w *watcher) run(ctx context.Context, g *gateway, notes io.Writer) error {
	pause := rewatchFirst
	for i := 0; ; i = (i + 1) % len(g.clients) {
		heard, err := w.watch(ctx, g.clients[i])
		if ctx.Err() != nil {
			return nil // it was asked to end
		}
		if !elsewhere(err) {
			return err
		}
		if heard {
			pause = rewatchFirst
		}
		fmt.Fprintf(notes, "%s: %v; trying again\n", g.names[i], err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
		pause = min(2*pause, rewatchMost)
	}
}

// watch prints what one node tells, and says whether it told anything.
func (w *watcher) watch(ctx context.Context, c *api.Client) (heard bool, err error) {
	stream, err := c.Stream(ctx)
	if err != nil {
		return false, err
	}
	defer stream.Close()
	if err := stream.Subscribe(ctx, api.Subscription{Channel: api.ChannelAccount, Account: w.account.String(), After: w.after}); err != nil {
		return false, err
	}
	for {
		m, err := stream.Next(ctx)
		if err != nil {
			return heard, err
		}
		if m.Type == api.MessageProblem {
			if m.Problem == nil {
				return heard, errors.New("the node has ended the stream")
			}
			return heard, m.Problem
		}
		heard = true
		if err := w.print(&m); err != nil {
			return heard, err
		}
		if m.Cursor != (api.Cursor{}) {
			w.after = &m.Cursor
		}
	}
}

func (w *watcher) print(m *api.Message) error {
	if w.asJSON {
		return json.NewEncoder(w.out).Encode(m)
	}
	if m.Type == api.MessageAlive {
		if !m.AsOf.Quorum {
			_, err := fmt.Fprintln(w.out, noQuorum(m.AsOf))
			return err
		}
		return nil
	}
	for _, o := range m.Orders {
		if _, err := fmt.Fprintf(w.out, "open: order %d: %s %s at %s on %s\n", o.Order, o.Side, o.Remaining, o.Price, o.Market); err != nil {
			return err
		}
	}
	for i := range m.Events {
		if _, err := fmt.Fprintf(w.out, "%s  %s\n", clock(m.Events[i].TimeMs), eventLine(&m.Events[i])); err != nil {
			return err
		}
	}
	return nil
}
