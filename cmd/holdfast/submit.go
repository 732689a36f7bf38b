package main

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-mesh/holdfast/node/api"
	"github.com/holdfast-mesh/holdfast/node/ledger"
)

// Exit codes of the commands that sign operations, beside the common ones.
const (
	exitOpRefused = 3 // the operation, or an action of it, was refused or has expired: it never executes
	exitOpOpen    = 4 // how it ended is not known yet: ask with holdfast op show
)

// signHelp is the part of their help that these commands share.
const signHelp = `
The operation is signed here; no node ever sees the key. It is sent to the first
node that takes it, which answers once it is durable there, and then waited for
until it is final.

Exit codes: 0 it is final and all of it done (without --wait: taken), 1 nothing
was sent, 2 a wrong command line, 3 it, or a part of it, was refused or has
expired, 4 how it ends is not known yet: ask with holdfast op show.`

// signFlags are those of every command that signs and sends an operation.
type signFlags struct {
	wallet  walletFlags
	gateway gatewayFlags
	o       output
	wait    bool
	timeout time.Duration
	window  time.Duration
}

func (f *signFlags) add(c *cobra.Command) {
	f.wallet.addSign(c)
	f.gateway.addTrust(c)
	f.o.add(c)
	c.Flags().BoolVar(&f.wait, "wait", true, "wait until it is final; --wait=false returns when a node has taken it")
	c.Flags().DurationVar(&f.timeout, "timeout", time.Minute, "how long to wait")
	c.Flags().DurationVar(&f.window, "window", 0, "how long it may still execute (default: a minute; a day if all it does is cancel and withdraw)")
}

// outcome is what became of an operation.
type outcome struct {
	Op        string          `json:"op"`
	Account   string          `json:"account"`
	Status    api.OpState     `json:"status"`
	Reason    string          `json:"reason,omitempty"`
	Detail    string          `json:"detail,omitempty"`
	Commit    uint64          `json:"commit,omitempty"`
	TimeMs    int64           `json:"time_ms,omitempty"`
	ExpiresMs int64           `json:"expires_ms,omitempty"`
	TookMs    int64           `json:"took_ms"`
	Actions   []outcomeAction `json:"actions"`
}

type outcomeAction struct {
	Action string `json:"action"`
	api.ActionResult
}

// act signs the actions that actions returns, sends them, waits and prints what
// became of them.
func (f *signFlags) act(c *cobra.Command, actions func(*tongue) ([]ledger.Action, error)) error {
	g, t, err := f.begin(c)
	if err != nil {
		return err
	}
	wanted, err := actions(t)
	if err != nil {
		return err
	}
	out, err := f.submit(c, g, t, wanted)
	if err != nil {
		return err
	}
	if err := f.o.print(c, out, out.text); err != nil {
		return err
	}
	return out.judge(f.wait)
}

// begin checks the flags, and learns the network from a node.
func (f *signFlags) begin(c *cobra.Command) (*gateway, *tongue, error) {
	if f.window < 0 || f.window.Milliseconds() > ledger.WindowMsMax {
		return nil, nil, usageError{fmt.Errorf("--window is %v: choose at most %v", f.window, ledger.WindowMsMax*time.Millisecond)}
	}
	g, err := f.gateway.open()
	if err != nil {
		return nil, nil, err
	}
	t, err := g.learn(c.Context())
	return g, t, err
}

// submit signs the actions with the wallet, sends them, waits and says what became of
// them.
func (f *signFlags) submit(c *cobra.Command, g *gateway, t *tongue, actions []ledger.Action) (outcome, error) {
	key, path, err := f.wallet.open(c)
	if err != nil {
		return outcome{}, err
	}
	now := time.Now()
	raw, err := f.sign(t, key, now, takeNonce(c.Context(), path, now), actions)
	if err != nil {
		return outcome{}, err
	}
	started := time.Now()
	op, err := f.send(c, g, raw)
	if err != nil {
		return outcome{}, err
	}
	out := describe(t, ledger.AccountOf(key), actions, op)
	out.TookMs = time.Since(started).Milliseconds()
	return out, nil
}

func (f *signFlags) sign(t *tongue, key ed25519.PrivateKey, now time.Time, nonce uint64, actions []ledger.Action) ([]byte, error) {
	draft := ledger.Draft{
		Network: t.network, Account: ledger.AccountOf(key),
		Nonce: nonce, TimeMs: now.UnixMilli(), WindowMs: f.window.Milliseconds(), Actions: actions,
	}
	raw, err := draft.Sign(key)
	if err != nil {
		return nil, fmt.Errorf("signing: %w", err)
	}
	return raw, nil
}

// send hands the operation to the first node that takes it and, with --wait,
// waits for its end. Its id is told before, so that no outcome stays unknown
// whatever happens to this process or the node. Sending it to a second node
// cannot make it happen twice: it is the same operation.
func (f *signFlags) send(c *cobra.Command, g *gateway, raw []byte) (api.Op, error) {
	id := ledger.Digest(sha256.Sum256(raw))
	if !f.o.asJSON {
		fmt.Fprintf(c.ErrOrStderr(), "operation %s\n", id)
	}
	ctx, cancel := context.WithTimeout(c.Context(), f.timeout)
	defer cancel()
	ops, err := ask(ctx, g, func(ctx context.Context, c *api.Client) (api.Ops, error) { return c.Submit(ctx, raw) })
	if err == nil && len(ops.Ops) != 1 {
		err = fmt.Errorf("the node answered about %d operations", len(ops.Ops))
	}
	if err != nil {
		return api.Op{}, unsure(id, err)
	}
	op := ops.Ops[0]
	if !f.wait || op.Status.Ended() {
		return op, nil
	}
	last, err := ask(ctx, g, func(ctx context.Context, c *api.Client) (api.Op, error) { return c.WaitOp(ctx, id) })
	if err != nil {
		return op, nil // a node has taken it: it is as it was
	}
	return last, nil
}

// unsure is the error of an operation that may have reached a node. A node that
// refused it has not taken it.
func unsure(id ledger.Digest, err error) error {
	if problem := (*api.Problem)(nil); errors.As(err, &problem) {
		if _, refused := ledger.ParseReason(problem.Code); refused {
			return exitError{err, exitOpRefused}
		}
		return err
	}
	return exitError{fmt.Errorf("whether a node has taken the operation is not known: ask with holdfast op show %s\n%w", id, err), exitOpOpen}
}

// describe joins what was signed and what became of it.
func describe(t *tongue, account ledger.Account, actions []ledger.Action, op api.Op) outcome {
	out := outcome{
		Op: op.Op, Account: account.String(), Status: op.Status, Reason: op.Reason, Detail: op.Detail,
		Commit: op.Commit, TimeMs: op.TimeMs, ExpiresMs: op.ExpiresMs,
	}
	for i := range actions {
		a := outcomeAction{Action: t.names.Format(&actions[i])}
		if i < len(op.Actions) {
			a.ActionResult = op.Actions[i]
		}
		out.Actions = append(out.Actions, a)
	}
	return out
}

func (out outcome) text(w *tabwriter.Writer) {
	switch out.Status {
	case api.OpFinal:
		fmt.Fprintf(w, "final in commit %d, after %v\n", out.Commit, time.Duration(out.TookMs)*time.Millisecond)
	case api.OpPending, api.OpIncluded:
		fmt.Fprintf(w, "%s: a node has taken it; it executes until %s or never\n", out.Status, clock(out.ExpiresMs))
	default:
		fmt.Fprintf(w, "%s %s\n", out.Status, reasonText(out.Reason, out.Detail))
	}
	for _, a := range out.Actions {
		fmt.Fprintf(w, "%s\n", a.Action)
		if out.Status == api.OpFinal {
			a.text(w)
		}
	}
}

func (a outcomeAction) text(w *tabwriter.Writer) {
	if a.Refused {
		fmt.Fprintf(w, "  refused: %s\n", reasonText(a.Reason, a.Detail))
		return
	}
	if a.Order != 0 {
		fmt.Fprintf(w, "  order %d %s\n", a.Order, a.State)
	}
	for i := range a.Events {
		if e := &a.Events[i]; e.Kind != "placed" { // which says no more than the order's state
			fmt.Fprintf(w, "  %s\n", eventLine(e))
		}
	}
}

func reasonText(code, sentence string) string {
	if sentence == "" {
		return code
	}
	return code + ": " + sentence
}

// judge makes the end of an operation the exit code.
func (out outcome) judge(waited bool) error {
	switch out.Status {
	case api.OpFinal:
		for _, a := range out.Actions {
			if a.Refused {
				return exitError{fmt.Errorf("%s was refused: %s", a.Action, reasonText(a.Reason, a.Detail)), exitOpRefused}
			}
		}
		return nil
	case api.OpRejected, api.OpExpired:
		return exitError{fmt.Errorf("the operation is %s: %s", out.Status, reasonText(out.Reason, out.Detail)), exitOpRefused}
	case api.OpPending, api.OpIncluded:
		if !waited {
			return nil
		}
		return exitError{fmt.Errorf("the operation is not final yet: ask with holdfast op show %s", out.Op), exitOpOpen}
	}
	return exitError{fmt.Errorf("the node does not know the operation: ask another with holdfast op show %s --api ADDRESS", out.Op), exitOpOpen}
}
