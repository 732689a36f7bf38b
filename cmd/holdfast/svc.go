package main

import (
	"fmt"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-mesh/holdfast/node"
	"github.com/holdfast-mesh/holdfast/node/mesh"
)

// desk is the node on this machine whose services are seen to.
type desk struct{ dir string }

func (d *desk) add(c *cobra.Command) {
	c.PersistentFlags().StringVar(&d.dir, "data-dir", "", "directory of the node on this machine (default: "+envPrefix+"DATA_DIR or ~/.holdfast)")
}

func (d *desk) directory() string {
	for _, dir := range []string{d.dir, os.Getenv(envPrefix + "DATA_DIR")} {
		if dir != "" {
			return dir
		}
	}
	return defaultDataDir()
}

func (d *desk) open() *mesh.Client {
	return mesh.NewClient(node.Config{DataDir: d.directory()}.DeskPath())
}

func newSvc() *cobra.Command {
	var d desk
	c := &cobra.Command{
		Use:   "svc",
		Short: "Find and reach services by name over the mesh, and offer them",
		Long: `Every node can offer services under a name and reach those of all others: there is
no registry and no DNS zone anyone could overwrite. These commands speak with the
node that runs on this machine. A proxy lasts as long as its command.

Exit codes: 0 done, 1 failed (the error says why), 2 a wrong command line.`,
		Example: `  holdfast svc register pricefeed --to 127.0.0.1:8081 --check http:/healthz
  holdfast svc resolve pricefeed --explain
  holdfast svc http --listen 127.0.0.1:7080 &
  curl -H 'Host: pricefeed.mesh' http://127.0.0.1:7080/`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	d.add(c)
	c.AddCommand(newSvcRegister(&d), newSvcDeregister(&d), newSvcDrain(&d), newSvcList(&d), newSvcResolve(&d), newSvcWatch(&d),
		newSvcProxy(&d), newSvcHTTP(&d), newSvcDNS(&d), newSvcAllow(&d), newSvcDeny(&d), newSvcAuthz(&d))
	return c
}

// deed is what a command has done to a service of this node.
type deed struct {
	Service string `json:"service"`
	Done    string `json:"done"`
}

// did prints a deed, unless there is an error.
func (o *output) did(c *cobra.Command, service, done string, err error) error {
	if err != nil {
		return err
	}
	return o.print(c, deed{service, done}, func(w *tabwriter.Writer) { fmt.Fprintf(w, "%s is %s.\n", service, done) })
}

// someArgs takes exactly so many arguments.
func someArgs(n int, what string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) != n {
			return usageError{fmt.Errorf("%s takes %s, but got %s", c.CommandPath(), what, count(len(args), "argument"))}
		}
		return nil
	}
}

func newSvcRegister(d *desk) *cobra.Command {
	var s mesh.Service
	var o output
	var body string
	c := &cobra.Command{
		Use:   "register NAME --to HOST:PORT",
		Short: "Offer a service under a name, and remember it over restarts",
		Long: `Makes the node on this machine an instance of a service. It checks the instance,
tells all others how it is, and leads callers to it. Only callers that prove to be
members of the network get there; see allow for fewer.

The check is tcp (a connection), http:/path (a status of 200 to 299) or none. A
service with an http check is an http service, unless --protocol says otherwise.`,
		Example: `  holdfast svc register pricefeed --to 127.0.0.1:8081 --check http:/healthz
  holdfast svc register ledgerdb --to 127.0.0.1:5432 --proxy-protocol`,
		Args: oneArg("the name of a service"),
		RunE: func(c *cobra.Command, args []string) error {
			s.Name, s.Body = args[0], []byte(body)
			if err := s.Validate(); err != nil {
				return usageError{err}
			}
			return o.did(c, s.Name, "registered", d.open().Register(c.Context(), s))
		},
	}
	f := c.Flags()
	f.StringVar(&s.To, "to", "", "where the instance listens, host:port")
	f.StringVar(&s.Check, "check", "", "how it is checked: tcp, http:/path or none (default tcp)")
	f.StringVar(&s.Protocol, "protocol", "", "tcp or http (default: by the check)")
	f.BoolVar(&s.ProxyProtocol, "proxy-protocol", false, "begin each connection with a PROXY v2 header that says who calls")
	f.StringVar(&body, "body", "", "text for whoever resolves the name, such as a version")
	o.add(c)
	return c
}

func newSvcDeregister(d *desk) *cobra.Command {
	var o output
	c := &cobra.Command{
		Use:     "deregister NAME",
		Short:   "Drain a service of this node and take it away",
		Example: `  holdfast svc deregister pricefeed`,
		Args:    oneArg("the name of a service"),
		RunE: func(c *cobra.Command, args []string) error {
			return o.did(c, args[0], "taken away", d.open().Deregister(c.Context(), args[0]))
		},
	}
	o.add(c)
	return c
}

func newSvcDrain(d *desk) *cobra.Command {
	var o output
	c := &cobra.Command{
		Use:     "drain NAME",
		Short:   "Let a service of this node end what it has begun, and take nothing new",
		Long:    `Returns when all has ended, or after half a minute. register it again to take more.`,
		Example: `  holdfast svc drain pricefeed`,
		Args:    oneArg("the name of a service"),
		RunE: func(c *cobra.Command, args []string) error {
			return o.did(c, args[0], "drained", d.open().Drain(c.Context(), args[0]))
		},
	}
	o.add(c)
	return c
}

func newSvcList(d *desk) *cobra.Command {
	var o output
	var rejected bool
	c := &cobra.Command{
		Use:   "ls",
		Short: "List the services known, or the records refused",
		Example: `  holdfast svc ls
  holdfast svc ls --rejected`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if rejected {
				v, err := d.open().Rejected(c.Context())
				if err != nil {
					return err
				}
				return o.print(c, v, func(w *tabwriter.Writer) { writeRejected(w, v) })
			}
			list, err := d.open().List(c.Context())
			if err != nil {
				return err
			}
			return o.print(c, list, func(w *tabwriter.Writer) { writeServices(w, list) })
		},
	}
	c.Flags().BoolVar(&rejected, "rejected", false, "list the records that were refused, by whom they came, and why")
	o.add(c)
	return c
}

func writeServices(w *tabwriter.Writer, list []mesh.Summary) {
	fmt.Fprintf(w, "SERVICE\tSERVING\tINSTANCES\tPROVIDERS\tNOTES\n")
	for _, s := range list {
		var notes []string
		if s.Here {
			notes = append(notes, "here")
		}
		if s.Stale {
			notes = append(notes, "last known good")
		}
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%s\n", s.Name, s.Serving, s.Instances, s.Providers, orDash(strings.Join(notes, ", ")))
	}
}

func writeRejected(w *tabwriter.Writer, v mesh.RejectedView) {
	fmt.Fprintf(w, "LAST\tTIMES\tREASON\tFROM\tDETAIL\n")
	for _, r := range v.Last {
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\n", clock(r.AtMs), r.Times, r.Reason, r.From, r.Detail)
	}
}

func newSvcResolve(d *desk) *cobra.Command {
	var o output
	var explain bool
	c := &cobra.Command{
		Use:   "resolve NAME",
		Short: "Print the instances of a service, the best first",
		Long: `Prints the instances of a service in the order in which calls try them. With
--explain it says for each why it is in or out.

Exit codes: 0 there is one to call, 1 there is none, 2 a wrong command line.`,
		Example: `  holdfast svc resolve pricefeed --explain`,
		Args:    oneArg("the name of a service"),
		RunE: func(c *cobra.Command, args []string) error {
			v, err := d.open().Resolve(c.Context(), args[0])
			if err != nil {
				return err
			}
			if err := o.print(c, v, func(w *tabwriter.Writer) { writeResolution(w, v, explain) }); err != nil {
				return err
			}
			if !callable(v) {
				return fmt.Errorf("no instance of %s is known that may be called", v.Name)
			}
			return nil
		},
	}
	c.Flags().BoolVar(&explain, "explain", false, "say for every instance why it is in or out")
	o.add(c)
	return c
}

func callable(v mesh.Resolution) bool {
	for _, in := range v.Instances {
		if in.In {
			return true
		}
	}
	return false
}

func writeResolution(w *tabwriter.Writer, v mesh.Resolution, explain bool) {
	if v.Stale {
		fmt.Fprintf(w, "Last known good: %s.\n", v.Why)
	}
	fmt.Fprintf(w, "RANK\tOWNER\tPROVIDER\tREGION\tSTATE\tSEEN\tHEARD\n")
	for _, in := range v.Instances {
		rank := "out"
		if in.In {
			rank = fmt.Sprint(in.Rank)
		}
		heard := time.Since(time.UnixMilli(in.HeardMs)).Round(time.Second)
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%v ago\n", rank, in.Owner, orDash(in.Provider), orDash(in.Region), in.State, in.Standing, heard)
		for _, why := range in.Why {
			if explain {
				fmt.Fprintf(w, "\t  %s\n", why)
			}
		}
	}
}

func newSvcWatch(d *desk) *cobra.Command {
	var o output
	c := &cobra.Command{
		Use:     "watch NAME",
		Short:   "Print the instances of a service whenever they change",
		Example: `  holdfast svc watch pricefeed --json`,
		Args:    oneArg("the name of a service"),
		RunE: func(c *cobra.Command, args []string) error {
			return d.open().Watch(c.Context(), args[0], func(v mesh.Resolution) error {
				return o.print(c, v, func(w *tabwriter.Writer) {
					fmt.Fprintf(w, "%s\t%s\n", clock(time.Now().UnixMilli()), v.Name)
					writeResolution(w, v, false)
				})
			})
		},
	}
	o.add(c)
	return c
}

// listen lets the node listen until the command is interrupted, and says where.
func (d *desk) listen(c *cobra.Command, o *output, l mesh.Listen, what string) error {
	return d.open().Listen(c.Context(), l, func(where mesh.Listening) {
		// Whoever cannot be told still has what he asked for.
		_ = o.print(c, where, func(w *tabwriter.Writer) { fmt.Fprintf(w, "%s at %s\n", what, where.At) })
	})
}

func newSvcProxy(d *desk) *cobra.Command {
	var o output
	l := mesh.Listen{Kind: "tcp"}
	c := &cobra.Command{
		Use:     "proxy NAME",
		Short:   "Listen on a TCP port that leads to the best instance of a service",
		Example: `  holdfast svc proxy ledgerdb --listen 127.0.0.1:7000`,
		Args:    oneArg("the name of a service"),
		RunE: func(c *cobra.Command, args []string) error {
			l.Name = args[0]
			if err := mesh.CheckName(l.Name); err != nil {
				return usageError{err}
			}
			return d.listen(c, &o, l, l.Name+" is")
		},
	}
	c.Flags().StringVar(&l.At, "listen", "127.0.0.1:0", "where to listen, host:port; port 0 chooses one")
	o.add(c)
	return c
}

func newSvcHTTP(d *desk) *cobra.Command {
	var o output
	l := mesh.Listen{Kind: "http"}
	c := &cobra.Command{
		Use:   "http",
		Short: "Listen for HTTP requests whose host is NAME.mesh",
		Example: `  holdfast svc http --listen 127.0.0.1:7080
  curl -H 'Host: pricefeed.mesh' http://127.0.0.1:7080/`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return d.listen(c, &o, l, "HTTP services are")
		},
	}
	c.Flags().StringVar(&l.At, "listen", "127.0.0.1:7080", "where to listen, host:port; port 0 chooses one")
	o.add(c)
	return c
}

func newSvcDNS(d *desk) *cobra.Command {
	var o output
	l := mesh.Listen{Kind: "dns"}
	c := &cobra.Command{
		Use:   "dns",
		Short: "Answer DNS questions for NAME.mesh with where this node's proxies listen",
		Example: `  holdfast svc dns --listen 127.0.0.1:5353
  dig @127.0.0.1 -p 5353 pricefeed.mesh SRV`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return d.listen(c, &o, l, "DNS for .mesh is")
		},
	}
	c.Flags().StringVar(&l.At, "listen", "127.0.0.1:5353", "where to listen, UDP and TCP")
	c.Flags().Uint16Var(&l.HTTPPort, "http-port", 7080, "port of the HTTP proxy, for SRV answers; 0: there is none")
	o.add(c)
	return c
}

func newSvcAllow(d *desk) *cobra.Command {
	var o output
	var enforce bool
	c := &cobra.Command{
		Use:   "allow NAME PEER|ROLE",
		Short: "Let a peer or a role call a service of this node, and in the end nobody else",
		Long: `The first rule does not refuse anybody yet: calls that no rule allows are let in,
counted and logged. With --enforce they are refused from now on. Roles are validator
and observer.`,
		Example: `  holdfast svc allow pricefeed validator
  holdfast svc allow pricefeed validator --enforce`,
		Args: someArgs(2, "the name of a service, and a peer id or a role"),
		RunE: func(c *cobra.Command, args []string) error {
			p, err := d.open().ChangePolicy(c.Context(), args[0], mesh.PolicyChange{Allow: args[1]})
			if err == nil && enforce {
				mode := mesh.ModeEnforce
				p, err = d.open().ChangePolicy(c.Context(), args[0], mesh.PolicyChange{Mode: &mode})
			}
			return o.policy(c, p, err)
		},
	}
	c.Flags().BoolVar(&enforce, "enforce", false, "refuse all that no rule allows")
	o.add(c)
	return c
}

func newSvcDeny(d *desk) *cobra.Command {
	var o output
	c := &cobra.Command{
		Use:     "deny NAME PEER|ROLE",
		Short:   "Refuse a peer or a role, whatever else allows it",
		Example: `  holdfast svc deny pricefeed 12D3KooWH3uVF6wv47WnArKHk5p6cvgCJEb74UTmxztmQDc298L3`,
		Args:    someArgs(2, "the name of a service, and a peer id or a role"),
		RunE: func(c *cobra.Command, args []string) error {
			p, err := d.open().ChangePolicy(c.Context(), args[0], mesh.PolicyChange{Deny: args[1]})
			return o.policy(c, p, err)
		},
	}
	o.add(c)
	return c
}

// policy prints who may call, unless there is an error.
func (o *output) policy(c *cobra.Command, p mesh.Policy, err error) error {
	if err != nil {
		return err
	}
	others := "everybody else is let in"
	switch p.Mode {
	case mesh.ModeObserve:
		others = "everybody else is let in, counted and logged; --enforce refuses them"
	case mesh.ModeEnforce:
		others = "everybody else is refused"
	}
	return o.print(c, p, func(w *tabwriter.Writer) {
		fmt.Fprintf(w, "allowed: %s; denied: %s; %s\n", orDash(strings.Join(p.Allow, ", ")), orDash(strings.Join(p.Deny, ", ")), others)
	})
}

func newSvcAuthz(d *desk) *cobra.Command {
	var o output
	c := &cobra.Command{
		Use:     "authz PEER NAME",
		Short:   "Say whether a peer may call a service of this node, and why",
		Example: `  holdfast svc authz 12D3KooWH3uVF6wv47WnArKHk5p6cvgCJEb74UTmxztmQDc298L3 pricefeed`,
		Args:    someArgs(2, "a peer id and the name of a service"),
		RunE: func(c *cobra.Command, args []string) error {
			decision, err := d.open().Authz(c.Context(), args[0], args[1])
			if err != nil {
				return err
			}
			return o.print(c, decision, func(w *tabwriter.Writer) {
				word := "may"
				if !decision.Allowed {
					word = "may not"
				}
				fmt.Fprintf(w, "%s %s call %s: %s\n", args[0], word, args[1], decision.Why)
			})
		},
	}
	o.add(c)
	return c
}
