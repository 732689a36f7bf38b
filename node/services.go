package node

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/holdfast-mesh/holdfast/node/mesh"
)

const (
	// ServicesName is the directory, within a node's, of what is known of services.
	ServicesName = "services"
	deskName     = "svc.sock" // the desk, see mesh.Mesh.ServeDesk
	// DeskPathMax is how many bytes a unix socket's name may have on every system we
	// run on: Config.DeskPath must not be longer.
	DeskPathMax = 103
	// gatewayService is the name under which every node's API is registered: a client
	// reaches the nearest healthy one by it.
	gatewayService = "gateway"
)

// DeskPath is where the programs of this machine see to services, by `holdfast svc`.
func (c Config) DeskPath() string { return filepath.Join(c.DataDir, deskName) }

// openMesh reads what is known of services and begins to hear of them.
func (n *Node) openMesh(key ed25519.PrivateKey, registry prometheus.Registerer) (err error) {
	self := backend{n}.self()
	c := mesh.DefaultConfig()
	c.Host, c.Key, c.Network = n.host, identityOf(key), n.network.String()
	c.Provider, c.Region, c.Zone = n.cfg.Provider, self.Region, self.Zone
	c.Dir = filepath.Join(n.cfg.DataDir, ServicesName)
	c.Roles, c.Logger, c.Registerer = n.rolesOf, n.log, registry
	m, err := mesh.Open(c)
	if err == nil {
		n.mesh.Store(m)
	}
	return err
}

// rolesOf names a peer's roles for the services' policies.
func (n *Node) rolesOf(p peer.ID) []string {
	if _, validator := n.standing.Load().members.authors[p]; validator {
		return []string{"validator"}
	}
	return []string{"observer"}
}

// answerServices answers what a peer asks about services. The host listens before
// the mesh is open.
func (n *Node) answerServices(ctx context.Context, from peer.ID, question []byte) ([]byte, error) {
	m := n.mesh.Load()
	if m == nil {
		return nil, errors.New("still opening")
	}
	return m.Answer(ctx, from, question)
}

// serveServices keeps our services alive, the API's among them, until ctx ends.
func (n *Node) serveServices(ctx context.Context) error {
	m := n.mesh.Load()
	n.spawn(func(context.Context) { n.serveDesk(ctx, m) })
	gateway := mesh.Service{Name: gatewayService, To: n.APIAddr(), Protocol: "http", Check: "http:/readyz"}
	if err := m.Register(gateway); err != nil {
		n.log.Warn("the API is not registered as a service", "service", gatewayService, "err", err)
	}
	return m.Run(ctx)
}

// farewell is how long our last word of services has to leave: gossip does not tell
// when it has, and what it holds goes with the connections.
const farewell = 250 * time.Millisecond

// leaveServices tells callers, when ctx ends, that our services take nothing new, and
// gives the word time to leave. It ends with the mesh at the latest.
func (n *Node) leaveServices(ctx context.Context) {
	<-ctx.Done()
	n.mesh.Load().DrainAll(n.ctx)
	select {
	case <-time.After(farewell):
	case <-n.ctx.Done():
	}
}

// serveDesk serves the desk. A node lives without: its services are only not to
// be changed then.
func (n *Node) serveDesk(ctx context.Context, m *mesh.Mesh) {
	l, err := listenDesk(n.cfg.DeskPath())
	if err == nil {
		err = m.ServeDesk(ctx, l)
	}
	if err != nil {
		n.log.Warn("holdfast svc cannot reach this node", "err", err)
	}
}

// listenDesk makes the socket for the node's user alone. One that is there is from
// a node that was killed: the store's lock says that no other runs here.
func listenDesk(path string) (net.Listener, error) {
	if len(path) > DeskPathMax {
		return nil, fmt.Errorf("%s has %d bytes, a unix socket's name at most %d: choose a shorter data directory", path, len(path), DeskPathMax)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// closeMesh ends what is known of services; the journal comes to rest.
func (n *Node) closeMesh() error {
	if m := n.mesh.Load(); m != nil {
		return m.Close()
	}
	return nil
}
