package node

import (
	"context"
	"fmt"
	"net"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/holdfast-mesh/holdfast/node/api"
)

// window is the node's API and the address it listens on.
type window struct {
	server *api.Server
	listen net.Listener
}

// openAPI listens for programs and people. Nobody is answered before serveAPI.
func (n *Node) openAPI(registry *prometheus.Registry) (err error) {
	c := api.DefaultConfig()
	c.Listen, c.Log = n.cfg.APIListen, n.log
	c.Connections, c.Streams = n.cfg.APIConnections, n.cfg.APIStreams
	c.Requests, c.Ops = n.cfg.APIRequests, n.cfg.APIOps
	c.Metrics = promhttp.HandlerFor(registry, promhttp.HandlerOpts{})
	c.Debug = n.debug()
	c.Observe = n.meter.request
	if n.window.server, err = api.New(backend{n}, c); err != nil {
		return err
	}
	n.window.listen, err = new(net.ListenConfig).Listen(n.ctx, "tcp", c.Listen)
	if err != nil {
		return fmt.Errorf("the API cannot listen on %s: choose another address with --api.listen: %w", c.Listen, err)
	}
	return nil
}

// serveAPI answers until ctx ends, and then for a few seconds those who wait.
func (n *Node) serveAPI(ctx context.Context) error {
	return n.window.server.Serve(ctx, n.window.listen)
}

// APIAddr is the address and port the API listens on.
func (n *Node) APIAddr() string { return n.window.listen.Addr().String() }
