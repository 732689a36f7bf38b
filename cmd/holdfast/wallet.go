package main

import (
	"context"
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/holdfast-mesh/holdfast/node"
	"github.com/holdfast-mesh/holdfast/node/api"
	"github.com/holdfast-mesh/holdfast/node/ledger"
)

func newWallet() *cobra.Command {
	c := &cobra.Command{
		Use:   "wallet",
		Short: "Keep keys, see balances, send and withdraw",
		Long: `A wallet is a key in a file of its own, encrypted by age. Whoever has the file and
its passphrase has the money: keep a copy. Operations are signed here; no node
ever holds a user's key.`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newWalletNew(), newWalletList(), newWalletShow(), newWalletBalance(), newWalletHistory(),
		newWalletSend(), newWalletWithdraw(), newWalletDeposit())
	return c
}

// walletView is a wallet for people and programs.
type walletView struct {
	Wallet    string `json:"wallet"`
	Account   string `json:"account"`
	Encrypted bool   `json:"encrypted"`
	File      string `json:"file"`
	Fault     string `json:"fault,omitempty"` // why it cannot be used
}

func (f *walletFlags) view(name string) (walletView, error) {
	info, err := f.inspect(name)
	path, _ := f.path(name) // inspect has complained
	v := walletView{Wallet: name, Account: info.Account.String(), Encrypted: info.Encrypted, File: path}
	if err != nil {
		v.Account, v.Fault = "", err.Error()
	}
	return v, err
}

func (v walletView) text(w *tabwriter.Writer) {
	fmt.Fprintf(w, "wallet\t%s\naccount\t%s\nfile\t%s\nencrypted\t%v\n", v.Wallet, v.Account, v.File, v.Encrypted)
}

func newWalletNew() *cobra.Command {
	var f walletFlags
	var o output
	c := &cobra.Command{
		Use:   "new NAME",
		Short: "Make a wallet",
		Example: `  holdfast wallet new alice
  holdfast wallet new alice --identity ~/.age/identity
  holdfast wallet new alice --plain`,
		Args: oneArg("a name"),
		RunE: func(c *cobra.Command, args []string) error {
			path, err := f.path(args[0])
			if err != nil {
				return err
			}
			lock, err := f.secret.lock(c)
			if err != nil {
				return err
			}
			if _, err := node.CreateKey(path, lock); err != nil {
				return err
			}
			v, err := f.view(args[0])
			if err != nil {
				return err
			}
			return o.print(c, v, v.text)
		},
	}
	f.addDir(c)
	f.secret.addMake(c)
	o.add(c)
	return c
}

func newWalletList() *cobra.Command {
	var f walletFlags
	var o output
	c := &cobra.Command{
		Use:   "list",
		Short: "List the wallets that are here",
		Example: `  holdfast wallet list
  holdfast wallet list --json`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			names, err := f.names()
			if err != nil {
				return err
			}
			all := []walletView{}
			for _, name := range names {
				v, _ := f.view(name) // its fault is shown
				all = append(all, v)
			}
			return o.print(c, all, func(w *tabwriter.Writer) {
				fmt.Fprintln(w, "WALLET\tACCOUNT\tENCRYPTED")
				for _, v := range all {
					if v.Fault != "" {
						fmt.Fprintf(w, "%s\tcannot be used: %s\t\n", v.Wallet, v.Fault)
						continue
					}
					fmt.Fprintf(w, "%s\t%s\t%v\n", v.Wallet, v.Account, v.Encrypted)
				}
			})
		},
	}
	f.addDir(c)
	o.add(c)
	return c
}

func newWalletShow() *cobra.Command {
	var f walletFlags
	var o output
	c := &cobra.Command{
		Use:   "show [NAME]",
		Short: "Print a wallet's account, to which others send",
		Example: `  holdfast wallet show alice
  holdfast wallet show alice --json`,
		Args: maybeArg("a name"),
		RunE: func(c *cobra.Command, args []string) error {
			f.take(args)
			name, err := f.chosen()
			if err != nil {
				return err
			}
			v, err := f.view(name)
			if err != nil {
				return err
			}
			return o.print(c, v, v.text)
		},
	}
	f.add(c)
	o.add(c)
	return c
}

// take lets the wallet's name be an argument.
func (f *walletFlags) take(args []string) {
	if len(args) == 1 {
		f.name = args[0]
	}
}

// maybeArg takes one argument or none.
func maybeArg(what string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) > 1 {
			return usageError{fmt.Errorf("%s takes %s, but got %d arguments", c.CommandPath(), what, len(args))}
		}
		return nil
	}
}

func newWalletBalance() *cobra.Command {
	var f walletFlags
	var g gatewayFlags
	var o output
	c := &cobra.Command{
		Use:   "balance [NAME]",
		Short: "Print what a wallet has",
		Long:  "Prints what a wallet, or any account, has available and holds for open orders and\nwithdrawals, as of the node's newest commit.",
		Example: `  holdfast wallet balance alice
  holdfast wallet balance alice --json`,
		Args: maybeArg("a wallet's name or an account"),
		RunE: func(c *cobra.Command, args []string) error {
			a, err := f.askAccount(c, args, &g)
			if err != nil {
				return err
			}
			return o.print(c, a, func(w *tabwriter.Writer) { writeAccount(w, &a) })
		},
	}
	f.add(c)
	g.add(c)
	o.add(c)
	return c
}

// whose is the account of the argument, or of the chosen wallet.
func (f *walletFlags) whose(args []string) (ledger.Account, error) {
	if len(args) == 1 {
		return f.party(args[0])
	}
	return f.account()
}

func (f *walletFlags) askAccount(c *cobra.Command, args []string, g *gatewayFlags) (api.Account, error) {
	account, err := f.whose(args)
	if err != nil {
		return api.Account{}, err
	}
	gateway, err := g.open()
	if err != nil {
		return api.Account{}, err
	}
	return ask(c.Context(), gateway, func(ctx context.Context, c *api.Client) (api.Account, error) { return c.Account(ctx, account) })
}

func writeAccount(w *tabwriter.Writer, a *api.Account) {
	fmt.Fprintln(w, "ASSET\tAVAILABLE\tHELD")
	for _, b := range a.Balances {
		fmt.Fprintf(w, "%s\t%s\t%s\n", b.Asset, b.Available, b.Held)
	}
	for _, x := range a.Withdrawals {
		fmt.Fprintf(w, "withdrawal %d of %s %s, fee %s, to %s: %s\n", x.Withdrawal, x.Amount, x.Asset, x.Fee, x.Address, x.State)
	}
	if a.OpenOrders > 0 {
		fmt.Fprintf(w, "%s open: holdfast order list\n", count(a.OpenOrders, "order"))
	}
	if !a.AsOf.Quorum {
		fmt.Fprintln(w, noQuorum(a.AsOf))
	}
}

func newWalletHistory() *cobra.Command {
	var f walletFlags
	var g gatewayFlags
	var o output
	var page api.Page
	c := &cobra.Command{
		Use:   "history [NAME]",
		Short: "Print what happened to a wallet, newest first",
		Example: `  holdfast wallet history alice
  holdfast wallet history alice --limit 10 --before 1234-5 --json`,
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
			h, err := ask(c.Context(), gateway, func(ctx context.Context, c *api.Client) (api.History, error) { return c.History(ctx, account, page) })
			if err != nil {
				return err
			}
			return o.print(c, h, func(w *tabwriter.Writer) {
				fmt.Fprintln(w, "TIME\tCURSOR\tWHAT")
				for i := range h.Events {
					fmt.Fprintf(w, "%s\t%s\t%s\n", clock(h.Events[i].TimeMs), h.Events[i].Cursor, eventLine(&h.Events[i]))
				}
				writeMore(w, h.Next)
			})
		},
	}
	addPage(c, &page)
	f.add(c)
	g.add(c)
	o.add(c)
	return c
}

func addPage(c *cobra.Command, page *api.Page) {
	c.Flags().StringVar(&page.Before, "before", "", "only what is before this cursor")
	c.Flags().IntVar(&page.Limit, "limit", 0, fmt.Sprintf("how many at most, up to %d", api.PageMax))
}

func writeMore(w *tabwriter.Writer, next string) {
	if next != "" {
		fmt.Fprintf(w, "There is more: --before %s\n", next)
	}
}
