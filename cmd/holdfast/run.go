package main

import (
	"context"
	"errors"
	"sync"

	"github.com/spf13/cobra"

	"github.com/holdfast-mesh/holdfast/node"
	"github.com/holdfast-mesh/holdfast/testnet/faults"
)

func newRun() *cobra.Command {
	var f configFlags
	c := &cobra.Command{
		Use:   "run",
		Short: "Run a node",
		Long: `Runs the node whose directory it is, until it is told to end by an interrupt or
SIGTERM: then it drains for at most five seconds. It is a validator if its key is in
the network's committee, else an observer that follows, verifies and serves.

Nothing needs to be done after a crash: what was acknowledged is on disk. Only a
validator whose disk was lost is started with --recover, once; it then asks the
others what it said before it says more. What it has to say it logs to standard error.

Under a service manager that names a socket in NOTIFY_SOCKET, such as systemd with
Type=notify, it tells when it is up, how it stands, and, for a watchdog, that its loop
turns; docs/holdfast.service is a unit.

Exit codes: 0 it was told to end, 1 it could not go on (the error says why and what
to do), 2 a wrong command line.`,
		Example: `  holdfast run
  holdfast run --data-dir /var/lib/holdfast --api.listen 127.0.0.1:9000
  HOLDFAST_LOG_FORMAT=json holdfast run
  holdfast run --recover`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			l := f.load()
			if err := l.err(); err != nil {
				return err
			}
			return runNode(c, l.config)
		},
	}
	f.add(c.Flags())
	return c
}

// runNode runs a node until the command's context ends. Only a node that a testnet
// has started has a packet filter; see faults.FromEnvironment.
func runNode(c *cobra.Command, config node.Config) error {
	config.Passphrase = asker(c)
	listen, closeFaults, err := faults.FromEnvironment()
	if err != nil {
		return err
	}
	config.ListenUDP = listen
	log := config.Logger(c.ErrOrStderr())
	n, err := node.Open(config, log)
	if err != nil {
		return errors.Join(err, closeFaults())
	}
	notifier, err := node.NotifierFromEnvironment(log)
	if err != nil {
		return errors.Join(err, n.Close(), closeFaults())
	}
	log.Info("running", "version", node.Version, "api", "http://"+n.APIAddr(), "addrs", n.Addrs())
	ctx, stop := context.WithCancel(c.Context())
	var watching sync.WaitGroup
	watching.Go(func() { notifier.Watch(ctx, n) })
	err = n.Run(ctx)
	stop()
	watching.Wait()
	return errors.Join(err, n.Close(), closeFaults())
}
