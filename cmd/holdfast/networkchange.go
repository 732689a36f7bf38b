package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/holdfast-mesh/holdfast/node"
	"github.com/holdfast-mesh/holdfast/node/api"
	"github.com/holdfast-mesh/holdfast/node/ledger"
)

// changeFlags are what network change is told.
type changeFlags struct {
	sign         signFlags
	applications string
	dryRun       bool
}

func newNetworkChange() *cobra.Command {
	var f changeFlags
	c := &cobra.Command{
		Use:   "change FILE",
		Short: "As a governor, vote for another committee",
		Long: `Takes the description of a network as it is to be, holds its validators against those
the network has, and prints who joins, who leaves, whose weight or words change, and
which losses would halt the next committee. A committee that one provider or one region
could halt is refused, as network new and check do, and nothing is sent.

Then it signs a vote for that committee with the wallet of one of the network's
governors. When as many of them as the threshold says have voted for the same
description, within a day of the first vote, the network goes on with that committee.

Only the committee changes. Of everything else the description may say nothing, or what
the network has; opening balances can be compared only with a --bundle.
` + signHelp + `
A committee whose placement is refused is exit code 3 too.`,
		Example: `  holdfast network change next.toml --dry-run
  holdfast network change next.toml --wallet governor1
  holdfast network change next.toml --applications applications/ --wallet governor1 --json`,
		Args: oneArg("a description of the network with its next committee"),
		RunE: func(c *cobra.Command, args []string) error { return f.run(c, args[0]) },
	}
	c.Flags().StringVar(&f.applications, "applications", "", "a directory of applications, and of nothing else: who the next validators are")
	c.Flags().BoolVar(&f.dryRun, "dry-run", false, "say what the change would be, and neither sign nor send anything")
	f.sign.add(c)
	return c
}

func (f *changeFlags) run(c *cobra.Command, path string) error {
	s, err := readSpec(path)
	if err != nil {
		return err
	}
	genesis, next, err := s.network(f.applications)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if err := next.judge(); err != nil {
		return err
	}
	g, t, err := f.sign.begin(c)
	if err != nil {
		return err
	}
	if err := s.fits(genesis, t, g.bundle); err != nil {
		return err
	}
	v, err := compareCommittees(c.Context(), g, t, genesis, next.Placement)
	if err != nil {
		return err
	}
	if f.dryRun || v.Same {
		return f.sign.o.print(c, v, v.text)
	}
	if err := f.mayVote(t.about.Governors); err != nil {
		return err
	}
	if !f.sign.o.asJSON { // whoever is asked for a passphrase sees what is signed
		if err := f.sign.o.print(c, v, v.text); err != nil {
			return err
		}
	}
	out, err := f.sign.submit(c, g, t, []ledger.Action{{Kind: ledger.KindSetCommittee, Detail: &ledger.Detail{NewCommittee: &genesis.Committee}}})
	if err != nil {
		return err
	}
	v.count(out)
	if err := f.sign.o.print(c, v, v.voteText); err != nil {
		return err
	}
	return out.judge(f.sign.wait)
}

// mayVote says whether the wallet is a governor's.
func (f *changeFlags) mayVote(governors api.Council) error {
	account, err := f.sign.wallet.account()
	switch {
	case err != nil:
		return err
	case len(governors.Members) == 0:
		return errors.New("this network has no governors: its committee can never change; nothing is sent")
	case !slices.Contains(governors.Members, account.String()):
		return fmt.Errorf("the wallet's account %s is no governor of this network: nothing is sent; a change needs the votes of %d of these, choose the wallet of one with --wallet:\n%s",
			account, governors.Threshold, strings.Join(governors.Members, "\n"))
	}
	return nil
}

// fits says whether the description is of the network that t speaks for, and has nothing
// that a change of the committee cannot bring. What it leaves out it does not say.
func (s *spec) fits(said *ledger.Genesis, t *tongue, bundle *node.Bundle) error {
	if said.Name != t.about.Name {
		return fmt.Errorf("the description is of the network %q, the node of %q (%s): nothing is sent; give the description of that network, or --api a node of the other", said.Name, t.about.Name, t.network)
	}
	now, err := t.genesis()
	if err != nil {
		return fmt.Errorf("the node's description of the network makes no sense: %w", err)
	}
	if other := s.beside(said, now, bundle); len(other) > 0 {
		return fmt.Errorf("a vote changes the committee and nothing else; nothing is sent. Take out of the description, or write as the network has it now:\n  %s", strings.Join(other, "\n  "))
	}
	return nil
}

// beside lists what the description says beside the validators that is not so now.
func (s *spec) beside(said, now *ledger.Genesis, bundle *node.Bundle) (other []string) {
	for _, a := range said.Assets {
		if !slices.Contains(now.Assets, a) {
			other = append(other, "asset "+a.Symbol)
		}
	}
	for i := range said.Markets {
		if !hasMarket(now, said, &said.Markets[i]) {
			other = append(other, "market "+s.Markets[i].Market)
		}
	}
	for _, c := range []struct {
		name      string
		said, now ledger.Council
	}{{"custodians", said.Custodians, now.Custodians}, {"governors", said.Governors, now.Governors}} {
		if len(c.said.Members) > 0 && (c.said.Threshold != c.now.Threshold || !slices.Equal(c.said.Members, c.now.Members)) {
			other = append(other, c.name)
		}
	}
	if s.Params != (specParams{}) && said.Params != now.Params {
		other = append(other, "params")
	}
	if len(said.Balances) > 0 && (bundle == nil || !slices.Equal(said.Balances, bundle.Genesis().Balances)) {
		other = append(other, "balances (those of the beginning, which --bundle tells)")
	}
	if len(s.Bootstrap) > 0 {
		other = append(other, "bootstrap (which is no business of governors: whoever signs a bundle anew renews it)")
	}
	return other
}

// hasMarket says whether a network has a market as another description of it says, but
// for its reference price, which trades move.
func hasMarket(now, said *ledger.Genesis, m *ledger.Market) bool {
	names := func(g *ledger.Genesis, m *ledger.Market) [2]string {
		return [2]string{g.Assets[m.Base].Symbol, g.Assets[m.Quote].Symbol}
	}
	return slices.ContainsFunc(now.Markets, func(has ledger.Market) bool {
		if names(now, &has) != names(said, m) {
			return false
		}
		want := *m
		want.Base, want.Quote, want.Reference = has.Base, has.Quote, has.Reference
		if want.OpenOrdersMax == 0 {
			want.OpenOrdersMax = now.Params.OpenOrdersMax
		}
		return want == has
	})
}

// genesis is the network as the node says it is now, without its validators and what
// has happened in it, by the same way a description goes.
func (t *tongue) genesis() (*ledger.Genesis, error) {
	p := t.about.Params
	s := spec{
		Name:       t.about.Name,
		Custodians: specCouncil{uint8(t.about.Custodians.Threshold), t.about.Custodians.Members},
		Governors:  specCouncil{uint8(t.about.Governors.Threshold), t.about.Governors.Members},
		Params:     specParams{p.NonceWindow, p.ReopenGapMs, &p.ReopenMs, p.FillsMax, p.OpenOrdersMax, p.LevelsShown},
	}
	for _, a := range t.about.Assets {
		s.Assets = append(s.Assets, specAsset{a.Asset, uint8(a.Decimals), a.WithdrawalFeeMin})
	}
	for _, m := range t.markets.Markets {
		s.Markets = append(s.Markets, specMarket{
			Market: m.Market, Tick: m.Tick, Lot: m.Lot, MinNotional: m.MinNotional, MakerPPM: m.MakerPPM, TakerPPM: m.TakerPPM,
			FeeAsset: m.FeeAsset, BandPPM: m.BandPPM, STP: m.STP, Status: m.StatusSet, OpenOrdersMax: m.OpenOrdersMax,
		})
	}
	return s.build()
}

// changeView is a change of the committee, and a vote for it, for people and programs.
type changeView struct {
	Network   string          `json:"network"`
	Name      string          `json:"name"`
	Epoch     uint64          `json:"epoch"` // of the committee there is now
	Same      bool            `json:"same"`  // as it is now: nothing to vote for
	NewEpoch  bool            `json:"new_epoch"`
	Joins     []validatorView `json:"joins"`
	Leaves    []validatorView `json:"leaves"`
	Changes   []validatorDiff `json:"changes"`
	Placement node.Placement  `json:"placement"` // of the next committee
	Warnings  []string        `json:"warnings,omitempty"`
	Governors int             `json:"governors"`
	VotesNeed int             `json:"votes_needed"`
	Votes     int             `json:"votes,omitempty"` // with this one, once it is final
	Decided   bool            `json:"decided"`         // this vote made it enough
	Vote      *outcome        `json:"vote,omitempty"`  // what became of it
}

// validatorDiff is a validator that stays, as another.
type validatorDiff struct {
	validatorView
	Was validatorView `json:"was"`
}

// compareCommittees holds the next committee against the one a node says runs. Its order
// counts for nothing.
func compareCommittees(ctx context.Context, g *gateway, t *tongue, genesis *ledger.Genesis, placement node.Placement) (changeView, error) {
	v := changeView{
		Network: t.network.String(), Name: genesis.Name, Placement: placement,
		Joins: []validatorView{}, Leaves: []validatorView{}, Changes: []validatorDiff{},
		Governors: len(t.about.Governors.Members), VotesNeed: t.about.Governors.Threshold,
	}
	committee, err := ask(ctx, g, func(ctx context.Context, c *api.Client) (api.Committee, error) { return c.Committee(ctx) })
	if err != nil {
		return v, err
	}
	next, err := node.ValidatorsOf(&genesis.Committee)
	if err != nil {
		return v, err
	}
	v.Epoch = committee.Epoch
	running := make(map[ledger.Account]node.Validator, len(committee.Validators))
	for _, a := range committee.Validators {
		m, err := runningValidator(a)
		if err != nil {
			return v, fmt.Errorf("the node's committee makes no sense: validator %d: %w", a.Author, err)
		}
		running[m.Key] = m
	}
	for _, m := range next {
		was, stays := running[m.Key]
		delete(running, m.Key)
		switch {
		case !stays:
			v.Joins = append(v.Joins, viewValidator(m))
			if len(m.Addrs) == 0 {
				v.Warnings = append(v.Warnings, fmt.Sprintf("%s joins without an address: the others cannot dial it", m.PeerID()))
			}
		case !m.Equal(was):
			v.Changes = append(v.Changes, validatorDiff{viewValidator(m), viewValidator(was)})
			v.NewEpoch = v.NewEpoch || m.Weight != was.Weight
		}
	}
	for _, a := range committee.Validators { // in its order
		if key, _ := ledger.ParseAccount(a.Key); running[key].Weight != 0 {
			v.Leaves = append(v.Leaves, viewValidator(running[key]))
		}
	}
	v.NewEpoch = v.NewEpoch || len(v.Joins)+len(v.Leaves) > 0
	v.Same = !v.NewEpoch && len(v.Changes) == 0
	return v, nil
}

// runningValidator reads a validator as a node's API tells it.
func runningValidator(a api.Validator) (node.Validator, error) {
	key, err := ledger.ParseAccount(a.Key)
	return node.Validator{
		Key: key, Weight: a.Weight,
		About: node.About{Provider: a.Provider, Region: a.Region, Zone: a.Zone, Operator: a.Operator, Addrs: a.Addresses},
	}, err
}

// count reads from a vote's events what it came to.
func (v *changeView) count(out outcome) {
	v.Vote = &out
	for _, a := range out.Actions {
		for i := range a.Events {
			switch e := &a.Events[i]; e.Kind {
			case ledger.EventVoted.String():
				v.Votes = e.Votes
			case ledger.EventCommitteeSet.String():
				v.Votes, v.Decided = v.VotesNeed, true
			}
		}
	}
}

func (v *changeView) text(w *tabwriter.Writer) {
	fmt.Fprintf(w, "network\t%s\nname\t%s\nepoch\t%d\nvotes needed\t%d of %d governors\n", v.Network, v.Name, v.Epoch, v.VotesNeed, v.Governors)
	if v.Same {
		fmt.Fprintf(w, "\nThe network has this committee already: there is nothing to vote for.\n")
		return
	}
	fmt.Fprintf(w, "\n\tWEIGHT\tPROVIDER\tREGION\tZONE\tOPERATOR\tPEER\n")
	row := func(what string, was, is validatorView) {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", what, fromTo(fmt.Sprint(was.Weight), fmt.Sprint(is.Weight)), fromTo(was.Provider, is.Provider),
			fromTo(was.Region, is.Region), fromTo(was.Zone, is.Zone), fromTo(was.Operator, is.Operator), is.Peer)
		if !slices.Equal(was.Addrs, is.Addrs) {
			fmt.Fprintf(w, "\taddresses: %s\n", fromTo(strings.Join(was.Addrs, " "), strings.Join(is.Addrs, " ")))
		}
	}
	for _, m := range v.Joins {
		row("joins", m, m)
	}
	for _, m := range v.Leaves {
		row("leaves", m, m)
	}
	for _, m := range v.Changes {
		row("changes", m.Was, m.validatorView)
	}
	fmt.Fprintf(w, "\nThe next committee: %s", v.Placement)
	if !v.NewEpoch {
		fmt.Fprintf(w, "note: nobody's weight changes, so no epoch begins; a node takes other addresses when it is started again\n")
	}
	for _, warning := range v.Warnings {
		fmt.Fprintf(w, "warning: %s\n", warning)
	}
}

func (v *changeView) voteText(w *tabwriter.Writer) {
	fmt.Fprintln(w)
	v.Vote.text(w)
	switch {
	case v.Decided && v.NewEpoch:
		fmt.Fprintf(w, "%d of %d votes: the next epoch begins, holdfast status tells it\n", v.Votes, v.VotesNeed)
	case v.Decided:
		fmt.Fprintf(w, "%d of %d votes: the committee has changed\n", v.Votes, v.VotesNeed)
	case v.Votes > 0:
		fmt.Fprintf(w, "%d of %d votes: other governors have to vote for the same description, within a day of the first vote\n", v.Votes, v.VotesNeed)
	}
}

// fromTo shows a change.
func fromTo(was, is string) string {
	if was == is {
		return orDash(is)
	}
	return orDash(was) + " -> " + orDash(is)
}
