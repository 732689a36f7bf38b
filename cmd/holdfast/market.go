package main

import (
	"context"
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/holdfast-mesh/holdfast/node/api"
)

func newMarket() *cobra.Command {
	c := &cobra.Command{
		Use:   "market",
		Short: "List markets, see a book and the trades",
		Args:  noArgs,
		RunE:  func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newMarketList(), newMarketBook(), newMarketTrades())
	return c
}

func newMarketList() *cobra.Command {
	var f gatewayFlags
	var o output
	c := &cobra.Command{
		Use:   "list",
		Short: "List the markets and their rules",
		Example: `  holdfast market list
  holdfast market list --json`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			g, err := f.open()
			if err != nil {
				return err
			}
			all, err := ask(c.Context(), g, func(ctx context.Context, c *api.Client) (api.Markets, error) { return c.Markets(ctx) })
			if err != nil {
				return err
			}
			return o.print(c, all, func(w *tabwriter.Writer) {
				fmt.Fprintln(w, "MARKET\tSTATUS\tLAST\tPRICE STEP\tQUANTITY STEP\tLEAST WORTH\tMAKER PPM\tTAKER PPM")
				for _, m := range all.Markets {
					fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%d\t%d\n", m.Market, m.Status, orDash(m.Last), m.Tick, m.Lot, m.MinNotional, m.MakerPPM, m.TakerPPM)
				}
				if !all.AsOf.Quorum {
					fmt.Fprintln(w, noQuorum(all.AsOf))
				}
			})
		},
	}
	f.add(c)
	o.add(c)
	return c
}

func newMarketBook() *cobra.Command {
	var f gatewayFlags
	var o output
	var levels int
	c := &cobra.Command{
		Use:   "book MARKET",
		Short: "Print the best prices of a market",
		Example: `  holdfast market book BTC-USDT
  holdfast market book BTC-USDT --levels 5 --json`,
		Args: oneArg("a market"),
		RunE: func(c *cobra.Command, args []string) error {
			g, err := f.open()
			if err != nil {
				return err
			}
			b, err := ask(c.Context(), g, func(ctx context.Context, c *api.Client) (api.Book, error) { return c.Book(ctx, args[0], levels) })
			if err != nil {
				return err
			}
			return o.print(c, b, func(w *tabwriter.Writer) { writeBook(w, &b) })
		},
	}
	c.Flags().IntVar(&levels, "levels", 10, "prices of each side")
	f.add(c)
	o.add(c)
	return c
}

// writeBook shows both sides as one ladder, the highest price on top.
func writeBook(w *tabwriter.Writer, b *api.Book) {
	fmt.Fprintln(w, "SIDE\tPRICE\tQUANTITY\tORDERS")
	for i := len(b.Asks) - 1; i >= 0; i-- {
		fmt.Fprintf(w, "sell\t%s\t%s\t%d\n", b.Asks[i].Price, b.Asks[i].Quantity, b.Asks[i].Orders)
	}
	for _, level := range b.Bids {
		fmt.Fprintf(w, "buy\t%s\t%s\t%d\n", level.Price, level.Quantity, level.Orders)
	}
	if !b.AsOf.Quorum {
		fmt.Fprintln(w, noQuorum(b.AsOf))
	}
}

func newMarketTrades() *cobra.Command {
	var f gatewayFlags
	var o output
	var page api.Page
	c := &cobra.Command{
		Use:   "trades MARKET",
		Short: "Print a market's trades, newest first",
		Example: `  holdfast market trades BTC-USDT
  holdfast market trades BTC-USDT --limit 5 --json`,
		Args: oneArg("a market"),
		RunE: func(c *cobra.Command, args []string) error {
			g, err := f.open()
			if err != nil {
				return err
			}
			all, err := ask(c.Context(), g, func(ctx context.Context, c *api.Client) (api.Trades, error) { return c.Trades(ctx, args[0], page) })
			if err != nil {
				return err
			}
			return o.print(c, all, func(w *tabwriter.Writer) {
				fmt.Fprintln(w, "TIME\tSIDE\tPRICE\tQUANTITY\tWORTH\tTAKER\tMAKER")
				for _, t := range all.Trades {
					fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%d\t%d\n", clock(t.TimeMs), t.Side, t.Price, t.Quantity, t.Amount, t.TakerOrder, t.MakerOrder)
				}
				writeMore(w, all.Next)
				if !all.AsOf.Quorum {
					fmt.Fprintln(w, noQuorum(all.AsOf))
				}
			})
		},
	}
	addPage(c, &page)
	f.add(c)
	o.add(c)
	return c
}
