package main

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/holdfast-mesh/holdfast/node"
	"github.com/holdfast-mesh/holdfast/node/ledger"
)

// Exit code of the network commands beside the common ones.
const exitRefused = 3 // the network is not to be: a provider or region could halt it, or there are too few validators

func newNetwork() *cobra.Command {
	c := &cobra.Command{
		Use:   "network",
		Short: "Apply to a network, make its bundle, check one, look into one, change its committee",
		Long: `A network is one file, its bundle: name, validators and where they are, assets,
markets, custodians, governors, opening balances, addresses to begin with, signed.
Its id is the CID of all that but the addresses.

For a network of many operators each applies, one collects the applications and
makes the bundle, and all check that it is theirs and has the same id:
  holdfast network apply --name NAME --provider P --region R --addr ADDRESS
  holdfast network new --spec network.toml --applications DIR --out network.bundle
  holdfast network check network.bundle --applications DIR

The committee of a network that runs is changed by its governors: each votes for the
same description of the next one.
  holdfast network change next.toml --wallet GOVERNOR`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newNetworkApply(), newNetworkNew(), newNetworkCheck(), newNetworkShow(), newNetworkChange())
	return c
}

// networkView is a network for people and programs.
type networkView struct {
	Network    string          `json:"network,omitempty"` // the id, of what can be a network
	Name       string          `json:"name"`
	Signer     string          `json:"signer,omitempty"`
	SignerIs   string          `json:"signer_is,omitempty"`
	IssuedMs   int64           `json:"issued_ms,omitempty"` // when it was signed
	Validators []validatorView `json:"validators"`
	Bootstrap  []string        `json:"bootstrap,omitempty"`
	Assets     []string        `json:"assets"`
	Markets    []string        `json:"markets"`
	Custodians string          `json:"custodians"` // such as 2 of 3
	Governors  string          `json:"governors"`
	Balances   int             `json:"balances"`
	Placement  node.Placement  `json:"placement"`
	Warnings   []string        `json:"warnings,omitempty"` // beside those of the placement
	File       string          `json:"file,omitempty"`
}

type validatorView struct {
	Peer     string   `json:"peer"`
	Key      string   `json:"key"`
	Weight   uint64   `json:"weight"`
	Provider string   `json:"provider"`
	Region   string   `json:"region"`
	Zone     string   `json:"zone,omitempty"`
	Operator string   `json:"operator,omitempty"`
	Addrs    []string `json:"addrs,omitempty"`
}

func viewValidator(v node.Validator) validatorView {
	return validatorView{v.PeerID().String(), v.Key.String(), v.Weight, v.Provider, v.Region, v.Zone, v.Operator, v.Addrs}
}

// viewGenesis shows a genesis that may not be a network yet.
func viewGenesis(g *ledger.Genesis) (networkView, error) {
	validators, err := node.ValidatorsOf(&g.Committee)
	v := networkView{
		Name: g.Name, Balances: len(g.Balances), Placement: node.PlacementOf(validators), Assets: []string{}, Markets: []string{},
		Custodians: councilText(g.Custodians), Governors: councilText(g.Governors),
	}
	reachable := false
	for _, m := range validators {
		reachable = reachable || len(m.Addrs) > 0
		v.Validators = append(v.Validators, viewValidator(m))
	}
	if id, err := g.ID(); err == nil {
		v.Network = id.String()
	}
	names := ledger.Names{Assets: g.Assets, Markets: g.Markets}
	for _, a := range g.Assets {
		v.Assets = append(v.Assets, a.Symbol)
	}
	for i := range g.Markets {
		v.Markets = append(v.Markets, names.Symbol(ledger.MarketID(i)))
	}
	if !reachable {
		v.Warnings = append(v.Warnings, "no validator has an address: they will find each other by mDNS on one network alone")
	}
	if len(g.Custodians.Members) == 0 {
		v.Warnings = append(v.Warnings, "there are no custodians: nothing can ever be deposited or paid out")
	}
	if len(g.Governors.Members) == 0 {
		v.Warnings = append(v.Warnings, "there are no governors: committee, markets and rules can never change")
	}
	return v, err
}

// judge refuses a network that one provider or region could halt, or that has too few
// validators (P8).
func (v networkView) judge() error {
	if err := v.Placement.Err(); err != nil {
		return exitError{fmt.Errorf("the network is refused:\n%w", err), exitRefused}
	}
	return nil
}

func councilText(c ledger.Council) string {
	if len(c.Members) == 0 {
		return "none"
	}
	return fmt.Sprintf("%d of %d", c.Threshold, len(c.Members))
}

func viewBundle(b *node.Bundle) networkView {
	v, _ := viewGenesis(b.Genesis()) // a bundle's validators can be read
	v.Signer, v.SignerIs, v.IssuedMs = b.Signer().String(), signerIs(b), b.Issued().UnixMilli()
	for _, p := range b.BootstrapPeers() {
		for _, a := range p.Addrs {
			v.Bootstrap = append(v.Bootstrap, a.String()+"/p2p/"+p.ID.String())
		}
	}
	return v
}

// signerIs says what the network knows of who signed its bundle.
func signerIs(b *node.Bundle) string {
	for i, v := range b.Validators() {
		if v.Key == b.Signer() {
			return fmt.Sprintf("validator %d", i)
		}
	}
	for _, council := range []struct {
		what string
		of   ledger.Council
	}{{"a governor", b.Genesis().Governors}, {"a custodian", b.Genesis().Custodians}} {
		for _, member := range council.of.Members {
			if member == b.Signer() {
				return council.what
			}
		}
	}
	return "nobody the network names: make sure you know whose it is"
}

func (v networkView) text(w *tabwriter.Writer) {
	if v.Network != "" {
		fmt.Fprintf(w, "network\t%s\n", v.Network)
	}
	fmt.Fprintf(w, "name\t%s\n", v.Name)
	if v.Signer != "" {
		fmt.Fprintf(w, "signed by\t%s (%s)\n", v.Signer, v.SignerIs)
		fmt.Fprintf(w, "signed at\t%s\n", clock(v.IssuedMs))
	}
	fmt.Fprintf(w, "assets\t%s\n", orDash(strings.Join(v.Assets, " ")))
	fmt.Fprintf(w, "markets\t%s\n", orDash(strings.Join(v.Markets, " ")))
	fmt.Fprintf(w, "custodians\t%s\n", v.Custodians)
	fmt.Fprintf(w, "governors\t%s\n", v.Governors)
	fmt.Fprintf(w, "balances\t%d\n", v.Balances)
	for _, a := range v.Bootstrap {
		fmt.Fprintf(w, "bootstrap\t%s\n", a)
	}
	fmt.Fprintf(w, "\nVALIDATOR\tWEIGHT\tPROVIDER\tREGION\tOPERATOR\tPEER\n")
	for i, m := range v.Validators {
		fmt.Fprintf(w, "%d\t%d\t%s\t%s\t%s\t%s\n", i, m.Weight, m.Provider, m.Region, orDash(m.Operator), m.Peer)
	}
	fmt.Fprintf(w, "\n%s", v.Placement)
	for _, warning := range v.Warnings {
		fmt.Fprintf(w, "warning: %s\n", warning)
	}
	if v.File != "" {
		fmt.Fprintf(w, "\nThe bundle is %s. Give it to everybody:\n  holdfast join %s\n", v.File, v.File)
	}
}

// networkNewFlags are what network new is told.
type networkNewFlags struct {
	spec, applications, out, signer string
	example, force                  bool
	secret                          secretFlags
	o                               output
}

func newNetworkNew() *cobra.Command {
	var f networkNewFlags
	c := &cobra.Command{
		Use:   "new",
		Short: "Make a network's bundle from a description, or from answers on a terminal",
		Long: `Reads a description in TOML (see --example), or asks for one. Refuses a committee
in which one provider or one region holds more than a third of the weight, and
says which losses would halt the network. The bundle is signed with a node's key,
so that those who join know whose it is.

With --applications the validators are those who have signed one of the files in
that directory, and the description names none. Whoever has the same description and
the same applications makes a network of the same id.

Exit codes: 0 made, 1 failed, 2 a wrong command line, 3 the placement is refused.`,
		Example: `  holdfast network new --example > network.toml
  holdfast network new --spec network.toml --out network.bundle
  holdfast network new --spec network.toml --applications applications/ --out network.bundle
  holdfast network new --out network.bundle`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error { return f.run(c) },
	}
	c.Flags().StringVar(&f.spec, "spec", "", "the description; - reads it from the standard input")
	c.Flags().StringVar(&f.applications, "applications", "", "a directory of applications, and of nothing else: who the validators are")
	c.Flags().StringVar(&f.out, "out", "network.bundle", "where the bundle goes")
	c.Flags().StringVar(&f.signer, "key-file", "", "the key that signs (default: node.key in the data directory)")
	c.Flags().BoolVar(&f.example, "example", false, "print a description to begin with, and do nothing else")
	c.Flags().BoolVar(&f.force, "force", false, "replace a bundle that is there")
	f.secret.addOpen(c)
	f.o.add(c)
	return c
}

func (f *networkNewFlags) run(c *cobra.Command) error {
	if f.example {
		_, err := io.WriteString(c.OutOrStdout(), specExample)
		return err
	}
	if _, err := os.Stat(f.out); err == nil && !f.force {
		return fmt.Errorf("%s is there already: give another --out, or --force to replace it", f.out)
	}
	s, err := f.describe(c)
	if err != nil {
		return err
	}
	genesis, view, err := s.network(f.applications)
	if err != nil {
		return err
	}
	if err := view.judge(); err != nil {
		return err
	}
	key, err := f.signingKey(c)
	if err != nil {
		return err
	}
	bundle, err := node.NewBundle(genesis, s.Bootstrap, key)
	if err != nil {
		return err
	}
	if err := bundle.WriteBundle(f.out); err != nil {
		return err
	}
	view = viewBundle(bundle)
	view.File = f.out
	return f.o.print(c, view, view.text)
}

// describe gets the description from a file, the standard input, or a person.
func (f *networkNewFlags) describe(c *cobra.Command) (*spec, error) {
	switch f.spec {
	case "":
		if in, ok := c.InOrStdin().(*os.File); ok && !term.IsTerminal(int(in.Fd())) {
			return nil, usageError{errors.New("there is no terminal to ask on: describe the network with --spec FILE; --example prints one")}
		}
		return askSpec(newQuestions(c))
	case "-":
		b, err := io.ReadAll(io.LimitReader(c.InOrStdin(), specBytesMax))
		if err != nil {
			return nil, fmt.Errorf("spec: %w", err)
		}
		return parseSpec(b)
	}
	return readSpec(f.spec)
}

func (f *networkNewFlags) signingKey(c *cobra.Command) (ed25519.PrivateKey, error) {
	path := f.signer
	if path == "" {
		config := node.Config{DataDir: defaultDataDir()}
		if dir := os.Getenv(settingOf("data_dir").env()); dir != "" {
			config.DataDir = dir
		}
		path = config.KeyPath()
	}
	lock, err := f.secret.lock(c)
	if err != nil {
		return nil, err
	}
	key, err := node.LoadKey(path, lock)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("there is no key to sign the bundle with at %s: run holdfast init, or give --key-file", path)
	}
	return key, err
}

// readNetwork reads a bundle or a description, and holds it against applications if
// there is a directory of them.
func readNetwork(path, applications string) (networkView, error) {
	b, err := node.ReadBundle(path)
	if err == nil && applications != "" {
		err = matchApplications(b, applications)
	}
	if err == nil {
		return viewBundle(b), nil
	}
	if !errors.Is(err, node.ErrBundle) || errors.Is(err, node.ErrPlacement) {
		return networkView{}, err
	}
	s, specErr := readSpec(path)
	if specErr != nil {
		return networkView{}, fmt.Errorf("it is neither a bundle nor a description of a network:\n%w\n%w", err, specErr)
	}
	_, v, specErr := s.network(applications)
	if specErr != nil {
		return networkView{}, fmt.Errorf("%s: %w", path, specErr)
	}
	return v, nil
}

func newNetworkCheck() *cobra.Command {
	var applications string
	var o output
	c := &cobra.Command{
		Use:   "check FILE",
		Short: "Say whether a network can live: its id, its placement, and which losses halt it",
		Long: `Takes a description or a bundle, checks everything about it, and prints the network's
id and which losses of providers, regions and operators would halt it. With
--applications a bundle must have exactly those validators who have applied, as
they have said, and a description gets them.

Exit codes: 0 it can live, 1 it is malformed or not of these applications, 2 a wrong
command line, 3 its placement is refused.`,
		Example: `  holdfast network check network.toml
  holdfast network check network.bundle --applications applications/
  holdfast network check network.bundle --json`,
		Args: oneArg("a description or a bundle"),
		RunE: func(c *cobra.Command, args []string) error {
			v, err := readNetwork(args[0], applications)
			if errors.Is(err, node.ErrPlacement) {
				return exitError{err, exitRefused}
			}
			if err != nil {
				return err
			}
			if err := o.print(c, v, func(w *tabwriter.Writer) {
				fmt.Fprintf(w, "network %s\n%s", v.Network, v.Placement)
				for _, warning := range v.Warnings {
					fmt.Fprintf(w, "warning: %s\n", warning)
				}
			}); err != nil {
				return err
			}
			return v.judge()
		},
	}
	c.Flags().StringVar(&applications, "applications", "", "a directory of applications, and of nothing else")
	o.add(c)
	return c
}

func newNetworkShow() *cobra.Command {
	var o output
	c := &cobra.Command{
		Use:   "show FILE",
		Short: "Print what a network's bundle, or an application to one, says",
		Example: `  holdfast network show network.bundle
  holdfast network show ours.application --json`,
		Args: oneArg("a bundle or an application"),
		RunE: func(c *cobra.Command, args []string) error {
			if strings.HasSuffix(args[0], node.ApplicationSuffix) {
				a, err := node.ReadApplication(args[0])
				if err != nil {
					return err
				}
				v := viewApplication(a)
				return o.print(c, v, v.text)
			}
			b, err := node.ReadBundle(args[0])
			if err != nil {
				return err
			}
			v := viewBundle(b)
			return o.print(c, v, v.text)
		},
	}
	o.add(c)
	return c
}

// oneArg takes one argument.
func oneArg(what string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) != 1 {
			return usageError{fmt.Errorf("%s takes %s, but got %s", c.CommandPath(), what, count(len(args), "argument"))}
		}
		return nil
	}
}
