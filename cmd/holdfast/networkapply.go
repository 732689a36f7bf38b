package main

import (
	"errors"
	"fmt"
	"io/fs"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-mesh/holdfast/node"
	"github.com/holdfast-mesh/holdfast/node/ledger"
)

// applyFlags are what network apply is told.
type applyFlags struct {
	config  configFlags
	o       output
	network string
	about   node.About
	out     string
}

func newNetworkApply() *cobra.Command {
	var f applyFlags
	c := &cobra.Command{
		Use:   "apply",
		Short: "Sign an application to be a validator of a network that is to be",
		Long: `Writes a small file that says: this node, at this provider, wants to be a validator
of the network with this name. It is signed with the node's key, so that nobody
applies for another and nobody changes it. Send the file to whoever makes the
network; it holds nothing secret.

An address is where the other validators reach this node from outside, such as
/ip4/192.0.2.1/udp/4001/quic-v1; give several for several ways.`,
		Example: `  holdfast network apply --name example --provider aws --region frankfurt --operator first.example --addr /ip4/192.0.2.1/udp/4001/quic-v1
  holdfast network apply --name example --provider ovh --region paris --addr /ip4/192.0.2.3/udp/4001/quic-v1 --out ours.application --json`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error { return f.run(c) },
	}
	f.config.add(c.Flags(), "data_dir", "key_file", "identity_file", "passphrase_file")
	c.Flags().StringVar(&f.network, "name", "", "the network's name, as whoever makes it has told")
	c.Flags().StringVar(&f.about.Provider, "provider", "", "who owns the machine, such as aws")
	c.Flags().StringVar(&f.about.Region, "region", "", "where it stands, such as frankfurt")
	c.Flags().StringVar(&f.about.Zone, "zone", "", "within the region")
	c.Flags().StringVar(&f.about.Operator, "operator", "", "who has the root password")
	c.Flags().StringSliceVar(&f.about.Addrs, "addr", nil, "a multiaddr others reach the node at, without /p2p/; may be repeated")
	c.Flags().StringVar(&f.out, "out", "", "where the application goes (default: PROVIDER-PEER"+node.ApplicationSuffix+")")
	f.o.add(c)
	return c
}

func (f *applyFlags) run(c *cobra.Command) error {
	l := f.config.load()
	if err := l.err(); err != nil {
		return err
	}
	if f.network == "" {
		return usageError{errors.New("--name is missing: which network should the node be a validator of?")}
	}
	l.config.Passphrase = asker(c)
	key, err := l.config.LoadKey()
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("there is no key at %s: run holdfast init first", l.config.KeyPath())
	}
	if err != nil {
		return err
	}
	a, err := node.NewApplication(f.network, f.about, time.Now(), key)
	if err != nil {
		return usageError{err}
	}
	path := f.out
	if path == "" {
		id := node.PeerIDOf(a.Key).String()
		path = a.Provider + "-" + id[len(id)-8:] + node.ApplicationSuffix
	}
	err = a.WriteApplication(path)
	if errors.Is(err, fs.ErrExist) {
		err = fmt.Errorf("%s is there already: move it away, or give another --out", path)
	}
	if err != nil {
		return err
	}
	v := viewApplication(a)
	v.File = path
	return f.o.print(c, v, v.text)
}

// applicationView is an application for people and programs.
type applicationView struct {
	Network string `json:"network"` // its name
	validatorView
	MadeMs int64  `json:"made_ms"`
	File   string `json:"file,omitempty"`
}

func viewApplication(a *node.Application) applicationView {
	return applicationView{Network: a.Network, validatorView: viewValidator(a.Validator()), MadeMs: a.MadeMs}
}

func (v applicationView) text(w *tabwriter.Writer) {
	fmt.Fprintf(w, "application\tto be a validator of %q, signed at %s\n", v.Network, clock(v.MadeMs))
	fmt.Fprintf(w, "peer id\t%s\nkey\t%s\n", v.Peer, v.Key)
	fmt.Fprintf(w, "at\t%s, %s %s\noperator\t%s\n", v.Provider, v.Region, v.Zone, orDash(v.Operator))
	for _, a := range v.Addrs {
		fmt.Fprintf(w, "address\t%s\n", a)
	}
	if len(v.Addrs) == 0 {
		fmt.Fprintf(w, "warning: it names no address, so the other validators cannot dial this node: give --addr\n")
	}
	if v.File != "" {
		fmt.Fprintf(w, "\nSend %s to whoever makes the network. Keep the node's key; it is who you applied as.\n", v.File)
	}
}

// apply makes the applications of a directory the description's committee.
func (s *spec) apply(dir string) error {
	if dir == "" {
		return nil
	}
	if len(s.Validators) > 0 {
		return errors.New("with --applications the validators are those who have applied: take [[validators]] out of the description")
	}
	all, err := node.ReadApplications(dir, s.Name)
	if err != nil {
		return fmt.Errorf("these applications make no committee:\n%w", err)
	}
	for _, a := range all {
		s.Validators = append(s.Validators, specValidator{
			Key: a.Key.String(), Weight: a.Validator().Weight,
			Provider: a.Provider, Region: a.Region, Zone: a.Zone, Operator: a.Operator, Addrs: a.Addrs,
		})
	}
	return nil
}

// matchApplications says how a bundle's committee differs from those who have
// applied: whoever signs the bundle could have changed, forgotten or added some.
func matchApplications(b *node.Bundle, dir string) error {
	all, err := node.ReadApplications(dir, b.Genesis().Name)
	if err != nil {
		return err
	}
	var faults []error
	applied := make(map[ledger.Account]bool)
	for _, a := range all {
		applied[a.Key] = true
		v, member := b.Validator(a.Key)
		switch want := a.Validator(); {
		case !member:
			faults = append(faults, fmt.Errorf("%s has applied and is not in the bundle", want.PeerID()))
		case !v.Equal(want):
			faults = append(faults, fmt.Errorf("%s is in the bundle with other words, or another weight, than it has applied with", want.PeerID()))
		}
	}
	for _, v := range b.Validators() {
		if !applied[v.Key] {
			faults = append(faults, fmt.Errorf("%s is in the bundle and has not applied", v.PeerID()))
		}
	}
	if len(faults) > 0 {
		return fmt.Errorf("the bundle is not the network of these applications; do not join it, and ask its signer why:\n%w", errors.Join(faults...))
	}
	return nil
}
