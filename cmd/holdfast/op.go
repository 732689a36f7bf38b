package main

import (
	"context"
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-mesh/holdfast/node/api"
	"github.com/holdfast-mesh/holdfast/node/ledger"
)

func newOp() *cobra.Command {
	c := &cobra.Command{
		Use:   "op",
		Short: "Ask how an operation stands, or sign one of several actions",
		Args:  noArgs,
		RunE:  func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newOpShow(), newOpSend())
	return c
}

func newOpShow() *cobra.Command {
	var f gatewayFlags
	var o output
	var wait bool
	var timeout time.Duration
	c := &cobra.Command{
		Use:   "show OP",
		Short: "Print how an operation stands",
		Long: `Every operation that a node has acknowledged ends as final, rejected or expired.
A node that has never seen it says unknown: ask another.

Exit codes: 0 final and all of it done, 1 no node answers, 2 a wrong command line,
3 it, or a part of it, was refused or has expired, 4 it has not ended, or the node
does not know it.`,
		Example: `  holdfast op show bafyreigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi
  holdfast op show bafyreigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi --wait --json`,
		Args: oneArg("an operation's id"),
		RunE: func(c *cobra.Command, args []string) error {
			id, err := ledger.ParseDigest(args[0])
			if err != nil {
				return usageError{err}
			}
			g, err := f.open()
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(c.Context(), timeout)
			defer cancel()
			op, err := ask(ctx, g, func(ctx context.Context, c *api.Client) (api.Op, error) { return c.Op(ctx, id) })
			if err != nil {
				return err
			}
			if wait && !op.Status.Ended() {
				if last, err := ask(ctx, g, func(ctx context.Context, c *api.Client) (api.Op, error) { return c.WaitOp(ctx, id) }); err == nil {
					op = last
				}
			}
			if err := o.print(c, op, func(w *tabwriter.Writer) { writeOp(w, &op) }); err != nil {
				return err
			}
			return judgeOp(&op)
		},
	}
	c.Flags().BoolVar(&wait, "wait", false, "wait until it has ended")
	c.Flags().DurationVar(&timeout, "timeout", time.Minute, "how long to wait")
	f.add(c)
	o.add(c)
	return c
}

func writeOp(w *tabwriter.Writer, op *api.Op) {
	fmt.Fprintf(w, "operation\t%s\nstatus\t%s\n", op.Op, op.Status)
	if op.Reason != "" {
		fmt.Fprintf(w, "reason\t%s\n", reasonText(op.Reason, op.Detail))
	}
	if op.Commit != 0 {
		fmt.Fprintf(w, "commit\t%d of %s\n", op.Commit, clock(op.TimeMs))
	}
	if op.ExpiresMs != 0 && !op.Status.Ended() {
		fmt.Fprintf(w, "until\t%s\n", clock(op.ExpiresMs))
	}
	for i, a := range op.Actions {
		fmt.Fprintf(w, "action %d\n", i+1)
		outcomeAction{ActionResult: a}.text(w)
	}
}

func judgeOp(op *api.Op) error {
	out := outcome{Op: op.Op, Status: op.Status, Reason: op.Reason, Detail: op.Detail}
	for i, a := range op.Actions {
		out.Actions = append(out.Actions, outcomeAction{Action: fmt.Sprintf("action %d", i+1), ActionResult: a})
	}
	return out.judge(true)
}

func newOpSend() *cobra.Command {
	var f signFlags
	c := &cobra.Command{
		Use:   "send ACTION...",
		Short: "Sign and send one operation of several actions, each written as a line",
		Long: `The actions of an operation execute one after the other in one step; an action that
is refused does not undo those before it. An action is a line such as:

  place BTC-USDT buy 0.5000 at 60000.00 post-only name=mine
  place BTC-USDT buy market for 250
  replace order=17 BTC-USDT sell 1.0000 at 61000.00
  cancel target=mine
  cancel_all everywhere
  transfer 12.5 USDT to ACCOUNT
  withdraw 0.5 BTC fee 0.0001 BTC to "ADDRESS"
  cancel_withdrawal 17

and, for custodians:

  attest_deposit "ID" 100 USDT to ACCOUNT
  sign_withdrawal 17
  complete_withdrawal 17 "TRANSACTION"
  fail_withdrawal 17
` + signHelp,
		Example: `  holdfast op send "cancel target=mine" "place BTC-USDT buy 0.5 at 60000.00 name=mine"
  holdfast op send "sign_withdrawal 17" --wallet custodian1 --json`,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) == 0 || len(args) > ledger.ActionsMax {
				return usageError{fmt.Errorf("%s takes 1 to %d actions, each one argument in quotation marks", c.CommandPath(), ledger.ActionsMax)}
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			return f.act(c, func(t *tongue) ([]ledger.Action, error) {
				var all []ledger.Action
				var faults []error
				for _, line := range args {
					a, err := t.names.ParseAction(line)
					if err != nil {
						faults = append(faults, fmt.Errorf("%q: %w", line, err))
					}
					all = append(all, a)
				}
				if len(faults) > 0 {
					return nil, usageError{errors.Join(faults...)}
				}
				return all, nil
			})
		},
	}
	f.add(c)
	return c
}
