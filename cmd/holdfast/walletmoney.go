package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/holdfast-mesh/holdfast/node/ledger"
)

// amountArgs takes an amount and an asset.
func amountArgs(c *cobra.Command, args []string) error {
	if len(args) != 2 {
		return usageError{fmt.Errorf("%s takes an amount and an asset, such as 12.5 USDT, but got %s", c.CommandPath(), count(len(args), "argument"))}
	}
	return nil
}

// amount reads an amount of an asset in whole tokens.
func (t *tongue) amount(number, symbol string) (ledger.Amount, ledger.AssetID, error) {
	id, err := t.names.Asset(symbol)
	if err != nil {
		return ledger.Amount{}, 0, usageError{fmt.Errorf("%w holdfast market list shows those there are", err)}
	}
	n, err := t.names.Assets[id].ParseAmount(number)
	if err != nil {
		return n, id, usageError{fmt.Errorf("amount of %s: %w", symbol, err)}
	}
	return n, id, nil
}

func newWalletSend() *cobra.Command {
	var f signFlags
	var to string
	c := &cobra.Command{
		Use:   "send AMOUNT ASSET --to ACCOUNT",
		Short: "Move funds to another account",
		Long:  "Moves available funds to another account of the network, given in hexadecimal or\nas the name of a wallet here.\n" + signHelp,
		Example: `  holdfast wallet send 12.5 USDT --to 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
  holdfast wallet send 12.5 USDT --to bob --wallet alice --json`,
		Args: amountArgs,
		RunE: func(c *cobra.Command, args []string) error {
			if to == "" {
				return usageError{errors.New("--to is missing: whom should the money go to?")}
			}
			account, err := f.wallet.party(to)
			if err != nil {
				return err
			}
			return f.act(c, func(t *tongue) ([]ledger.Action, error) {
				n, id, err := t.amount(args[0], args[1])
				return []ledger.Action{{Kind: ledger.KindTransfer, Asset: id, Amount: n, Detail: &ledger.Detail{Account: account}}}, err
			})
		},
	}
	c.Flags().StringVar(&to, "to", "", "the account, or the name of a wallet here")
	f.add(c)
	return c
}

func newWalletWithdraw() *cobra.Command {
	var f signFlags
	var to, fee string
	c := &cobra.Command{
		Use:   "withdraw AMOUNT ASSET --to ADDRESS",
		Short: "Ask the custodians to pay out",
		Long: `Holds the amount and the fee, and asks the network's custodians to pay the amount
to an address outside of it. Until they have signed the payment it can be taken
back: holdfast op send "cancel_withdrawal NUMBER".
` + signHelp,
		Example: `  holdfast wallet withdraw 0.5 BTC --to bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq
  holdfast wallet withdraw 0.5 BTC --to bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq --fee 0.0002`,
		Args: amountArgs,
		RunE: func(c *cobra.Command, args []string) error {
			if to == "" || len(to) > ledger.ReferenceMax {
				return usageError{fmt.Errorf("--to is %q: give the address the custodians should pay to, 1 to %d bytes", to, ledger.ReferenceMax)}
			}
			return f.act(c, func(t *tongue) ([]ledger.Action, error) {
				n, id, err := t.amount(args[0], args[1])
				if err != nil {
					return nil, err
				}
				a := ledger.Action{Kind: ledger.KindWithdraw, Asset: id, Amount: n, Detail: &ledger.Detail{Reference: to, Fee: t.names.Assets[id].WithdrawalFeeMin}}
				if fee != "" {
					a.Detail.Fee, _, err = t.amount(fee, args[1])
				}
				return []ledger.Action{a}, err
			})
		},
	}
	c.Flags().StringVar(&to, "to", "", "the address outside of the network")
	c.Flags().StringVar(&fee, "fee", "", "what you pay on top (default: the asset's least fee)")
	f.add(c)
	return c
}

func newWalletDeposit() *cobra.Command {
	var f signFlags
	var to, id string
	c := &cobra.Command{
		Use:   "deposit AMOUNT ASSET --to ACCOUNT --id ID",
		Short: "As a custodian, attest that funds have arrived for an account",
		Long: `Signed with the wallet of one of the network's custodians. The account is credited
when as many of them as the threshold says have attested the same deposit, by the
same id, such as the transaction that brought it; once, however often it is said.

Users deposit by paying to an address of the custodians, and tell them the account
that holdfast wallet show prints.
` + signHelp,
		Example: `  holdfast wallet deposit 100 USDT --to alice --id tx-4711 --wallet custodian1`,
		Args:    amountArgs,
		RunE: func(c *cobra.Command, args []string) error {
			if to == "" || id == "" || len(id) > ledger.ReferenceMax {
				return usageError{fmt.Errorf("--to and --id are needed: for whom, and which deposit it is, in 1 to %d bytes", ledger.ReferenceMax)}
			}
			account, err := f.wallet.party(to)
			if err != nil {
				return err
			}
			return f.act(c, func(t *tongue) ([]ledger.Action, error) {
				n, asset, err := t.amount(args[0], args[1])
				return []ledger.Action{{Kind: ledger.KindAttestDeposit, Asset: asset, Amount: n, Detail: &ledger.Detail{Account: account, Reference: id}}}, err
			})
		},
	}
	c.Flags().StringVar(&to, "to", "", "the account that is credited, or the name of a wallet here")
	c.Flags().StringVar(&id, "id", "", "which deposit it is, such as its transaction")
	f.add(c)
	return c
}
