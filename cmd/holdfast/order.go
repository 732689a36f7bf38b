package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-mesh/holdfast/node/api"
	"github.com/holdfast-mesh/holdfast/node/ledger"
)

func newOrder() *cobra.Command {
	c := &cobra.Command{
		Use:   "order",
		Short: "Place, cancel, list and watch orders",
		Args:  noArgs,
		RunE:  func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newOrderPlace(), newOrderCancel(), newOrderList(), newOrderWatch())
	return c
}

// orderFlags are an order.
type orderFlags struct {
	market, side, quantity string
	at, budget             string
	atMarket, postOnly     bool
	tif, stp, id           string
	until                  time.Duration
}

func newOrderPlace() *cobra.Command {
	var f signFlags
	var order orderFlags
	c := &cobra.Command{
		Use:   "place MARKET buy|sell QUANTITY --at PRICE",
		Short: "Put an order into a market",
		Long: `Places a limit order, or with --market one that takes what the book has, within
the market's price band. Numbers are exact: a price that is not a whole number of
the market's steps is refused, never rounded.
` + signHelp,
		Example: `  holdfast order place BTC-USDT buy 0.5 --at 60000.00
  holdfast order place BTC-USDT sell 0.5 --at 61000.00 --post-only --id ladder-1
  holdfast order place BTC-USDT sell 0.5 --market
  holdfast order place BTC-USDT buy --market --for 250
  holdfast order place BTC-USDT buy 0.5 --at 60000.00 --until 10m --json`,
		Args: order.args,
		RunE: func(c *cobra.Command, _ []string) error {
			return f.act(c, func(t *tongue) ([]ledger.Action, error) {
				a, err := order.action(t)
				if err != nil {
					return nil, usageError{err}
				}
				return []ledger.Action{a}, nil
			})
		},
	}
	c.Flags().StringVar(&order.at, "at", "", "the price, in the quote asset")
	c.Flags().BoolVar(&order.atMarket, "market", false, "at the prices the book has, instead of --at")
	c.Flags().StringVar(&order.budget, "for", "", "with buy --market: what to spend, in the quote asset, instead of QUANTITY")
	c.Flags().BoolVar(&order.postOnly, "post-only", false, "refuse the order rather than trade at once")
	c.Flags().StringVar(&order.tif, "tif", "", "how long it stands: gtc (until cancelled), ioc, fok")
	c.Flags().DurationVar(&order.until, "until", 0, "it expires after this time")
	c.Flags().StringVar(&order.stp, "stp", "", "if it would trade with your own: expire-maker, expire-taker, expire-both, decrement, none (default: the market's)")
	c.Flags().StringVar(&order.id, "id", "", "your own name for it, to cancel it by")
	f.add(c)
	return c
}

// args takes MARKET, side and QUANTITY, which --for replaces.
func (o *orderFlags) args(c *cobra.Command, args []string) error {
	want := 3
	if o.budget != "" {
		want = 2
	}
	if len(args) != want {
		return usageError{fmt.Errorf("%s takes a market, buy or sell, and a quantity (without it with --for), but got %s", c.CommandPath(), count(len(args), "argument"))}
	}
	o.market, o.side = args[0], args[1]
	if want == 3 {
		o.quantity = args[2]
	}
	switch {
	case (o.at != "") == o.atMarket:
		return usageError{errors.New("give either a price with --at or --market")}
	case o.budget != "" && !o.atMarket:
		return usageError{errors.New("--for is for a buy with --market")}
	case o.atMarket && (o.postOnly || o.tif != "" || o.until != 0):
		return usageError{errors.New("--post-only, --tif and --until are for orders with a price")}
	case o.until < 0 || o.until != 0 && o.tif != "":
		return usageError{errors.New("--until is a time ahead, and excludes --tif")}
	}
	return nil
}

// action reads the order by the market's numbers.
func (o *orderFlags) action(t *tongue) (a ledger.Action, err error) {
	a.Kind = ledger.KindPlace
	if a.Market, err = t.names.Market(o.market); err != nil {
		return a, fmt.Errorf("%w holdfast market list shows those there are", err)
	}
	m := &t.names.Markets[a.Market]
	base, quote := &t.names.Assets[m.Base], &t.names.Assets[m.Quote]
	if a.Side, err = ledger.ParseSide(o.side); err != nil {
		return a, fmt.Errorf("%q: say buy or sell", o.side)
	}
	if o.budget != "" {
		if a.Side != ledger.Buy {
			return a, errors.New("--for is what a buy spends: to sell, give a quantity")
		}
		a.Amount, err = quote.ParseAmount(o.budget)
	} else {
		a.Quantity, err = m.ParseQuantity(base, o.quantity)
	}
	if err != nil {
		return a, fmt.Errorf("quantity: %w", err)
	}
	if a.Type = ledger.MarketOrder; !o.atMarket {
		a.Type = ledger.Limit
		if a.Price, err = m.ParsePrice(quote, o.at); err != nil {
			return a, fmt.Errorf("price: %w", err)
		}
	}
	return a, o.options(&a)
}

func (o *orderFlags) options(a *ledger.Action) (err error) {
	if o.postOnly {
		a.Type = ledger.PostOnly
	}
	if o.tif != "" {
		if a.TIF, err = ledger.ParseTIF(o.tif); err != nil || a.TIF == ledger.GTD {
			return fmt.Errorf("--tif %q: say gtc, ioc or fok; --until TIME for an order that expires", o.tif)
		}
	}
	if o.until != 0 {
		a.TIF, a.ExpireAtMs = ledger.GTD, time.Now().Add(o.until).UnixMilli()
	}
	if o.stp != "" {
		if a.STP, err = ledger.ParseSTP(o.stp); err != nil {
			return fmt.Errorf("--stp: %w", err)
		}
	}
	if o.id != "" {
		if a.ClientID, err = ledger.ParseClientID(o.id); err != nil {
			return fmt.Errorf("--id: %w", err)
		}
	}
	return nil
}

func newOrderCancel() *cobra.Command {
	var f signFlags
	var id, market string
	var all bool
	c := &cobra.Command{
		Use:   "cancel [ORDER...]",
		Short: "Take orders out of the book",
		Long:  "Cancels orders by their numbers, one by your own name for it, or all.\n" + signHelp,
		Example: `  holdfast order cancel 17 18
  holdfast order cancel --id ladder-1
  holdfast order cancel --all --market BTC-USDT
  holdfast order cancel --all`,
		Args: func(c *cobra.Command, args []string) error {
			ways := 0
			for _, given := range []bool{len(args) > 0, id != "", all} {
				if given {
					ways++
				}
			}
			if ways != 1 || market != "" && !all || len(args) > ledger.ActionsMax {
				return usageError{fmt.Errorf("%s takes the numbers of up to %d orders, or --id NAME, or --all, maybe with --market", c.CommandPath(), ledger.ActionsMax)}
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			return f.act(c, func(t *tongue) ([]ledger.Action, error) { return cancels(t, args, id, market) })
		},
	}
	c.Flags().StringVar(&id, "id", "", "your own name for the order")
	c.Flags().BoolVar(&all, "all", false, "all open orders")
	c.Flags().StringVar(&market, "market", "", "with --all: of this market only")
	f.add(c)
	return c
}

func cancels(t *tongue, numbers []string, id, market string) ([]ledger.Action, error) {
	if id != "" {
		name, err := ledger.ParseClientID(id)
		if err != nil {
			return nil, usageError{fmt.Errorf("--id: %w", err)}
		}
		return []ledger.Action{{Kind: ledger.KindCancel, Target: name}}, nil
	}
	if len(numbers) == 0 {
		a := ledger.Action{Kind: ledger.KindCancelAll, AllMarkets: market == ""}
		if market != "" {
			var err error
			if a.Market, err = t.names.Market(market); err != nil {
				return nil, usageError{err}
			}
		}
		return []ledger.Action{a}, nil
	}
	var all []ledger.Action
	for _, text := range numbers {
		n, err := strconv.ParseUint(text, 10, 53)
		if err != nil || n == 0 {
			return nil, usageError{fmt.Errorf("%q is no order's number: holdfast order list shows them", text)}
		}
		all = append(all, ledger.Action{Kind: ledger.KindCancel, Order: ledger.OrderID(n)})
	}
	return all, nil
}

func newOrderList() *cobra.Command {
	var f walletFlags
	var g gatewayFlags
	var o output
	c := &cobra.Command{
		Use:   "list [NAME]",
		Short: "List a wallet's open orders",
		Example: `  holdfast order list
  holdfast order list alice --json`,
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
			orders, err := ask(c.Context(), gateway, func(ctx context.Context, c *api.Client) (api.Orders, error) { return c.Orders(ctx, account, 0, 0) })
			if err != nil {
				return err
			}
			return o.print(c, orders, func(w *tabwriter.Writer) { writeOrders(w, orders) })
		},
	}
	f.add(c)
	g.add(c)
	o.add(c)
	return c
}

func writeOrders(w *tabwriter.Writer, all api.Orders) {
	fmt.Fprintln(w, "ORDER\tID\tMARKET\tSIDE\tPRICE\tREMAINING\tEXECUTED\tEXPIRES")
	for _, o := range all.Orders {
		fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", o.Order, orDash(o.ClientID), o.Market, o.Side, o.Price, o.Remaining, orZero(o.Executed), clock(o.ExpireAtMs))
	}
	if all.Next != 0 {
		fmt.Fprintln(w, "There are more: these are the oldest.")
	}
	if !all.AsOf.Quorum {
		fmt.Fprintln(w, noQuorum(all.AsOf))
	}
}
