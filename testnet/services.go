package testnet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/holdfast-mesh/holdfast/node"
	"github.com/holdfast-mesh/holdfast/node/mesh"
)

// Services are what a scenario does with services by name: some nodes are instances of
// one name and say something new of theirs again and again, and clients at every
// provider resolve it.
type Services struct {
	Name     string   `json:"name" toml:"name"`
	Owners   []string `json:"owners" toml:"owners"`     // providers, zones as aws/a, or numbers
	Versions float64  `json:"versions" toml:"versions"` // of each owner's record, a second
	Resolves float64  `json:"resolves" toml:"resolves"` // all together, a second
}

// Bounds of a scenario's services.
const (
	// versionsMax is a little more than a store takes of one instance in the long run:
	// one a second after a burst, see mesh.DefaultBounds.
	versionsMax  = 2
	resolvesMax  = 1_000
	resolvingMax = 256 // of one provider, under way
)

// validate lists what is wrong with the services of a scenario.
func (s *Services) validate(spots []Spot) (faults []error) {
	if err := mesh.CheckName(s.Name); err != nil {
		faults = append(faults, fmt.Errorf("services: %w", err))
	}
	if owners, err := pick(spots, s.Owners); err != nil {
		faults = append(faults, fmt.Errorf("services: %w", err))
	} else if len(owners) == 0 {
		faults = append(faults, errors.New("services: owners is missing: name providers, zones or nodes"))
	}
	if !(s.Versions > 0 && s.Versions <= versionsMax) {
		faults = append(faults, fmt.Errorf("services: versions is %v a second: choose more than 0, at most %d", s.Versions, versionsMax))
	}
	if !(s.Resolves > 0 && s.Resolves <= resolvesMax) {
		faults = append(faults, fmt.Errorf("services: resolves is %v a second: choose more than 0, at most %d", s.Resolves, resolvesMax))
	}
	return faults
}

// ServiceRecord is one thing that was done to the records of services.
type ServiceRecord struct {
	At    int64  `json:"at"` // Unix nanoseconds
	What  Deed   `json:"what"`
	Node  int    `json:"node"`            // whose record it is; of a refusal, who refused
	By    string `json:"by,omitempty"`    // the peer id of an intruder
	Fault string `json:"fault,omitempty"` // the fault's name
	Why   string `json:"why,omitempty"`   // of a refusal
	Times int64  `json:"times,omitempty"` // refusals
	Bytes int64  `json:"bytes,omitempty"` // forgotten
	Epoch uint64 `json:"epoch,omitempty"`
	Seq   uint64 `json:"seq,omitempty"`
}

func (r *ServiceRecord) stamp() mesh.Stamp { return mesh.Stamp{Epoch: r.Epoch, Seq: r.Seq} }

// Deed is what was done.
type Deed string

// The deeds.
const (
	DeedVersion Deed = "version" // an owner has said something new
	DeedChecked Deed = "checked" // a late writer saw that what it would write is newer than all there is
	DeedWoke    Deed = "woke"    // it goes on; the stamp is what the owner has said by then
	DeedWrote   Deed = "wrote"   // it wrote what it had checked
	DeedCleaned Deed = "cleaned" // somebody tried to take an old version away
	DeedForged  Deed = "forged"  // somebody tried to take an instance away without its owner's signature
	DeedForgot  Deed = "forgot"  // a node's memory of services was removed
	DeedRefused Deed = "refused" // a node refused what an intruder wrote
)

// ResolveRecord is one question of a client for a service, and the answer.
type ResolveRecord struct {
	Client    int      `json:"client"`
	Provider  string   `json:"provider"`
	Node      int      `json:"node"` // that answered, or was asked last
	Invoked   int64    `json:"invoked"`
	Answered  int64    `json:"answered,omitempty"`
	Error     string   `json:"error,omitempty"`
	Stale     bool     `json:"stale,omitempty"` // the answer says that it may be behind
	Instances []SeenAt `json:"instances,omitempty"`
}

// SeenAt is an instance in an answer.
type SeenAt struct {
	Owner string `json:"owner"`
	In    bool   `json:"in"` // it may be called
	Epoch uint64 `json:"epoch"`
	Seq   uint64 `json:"seq"`
}

func (s *SeenAt) stamp() mesh.Stamp { return mesh.Stamp{Epoch: s.Epoch, Seq: s.Seq} }

// callers are a scenario's services while it runs: the owners who change them and the
// clients who resolve them.
type callers struct {
	network *Network
	spec    Services
	record  *recorder
	backend net.Listener // what the name leads to
	owners  []int
	serving sync.WaitGroup
}

// knownMax bounds how long a service may take to be known everywhere before the load.
const knownMax = time.Minute

// newCallers registers the services and waits until every node knows them.
func newCallers(ctx context.Context, n *Network, spec Services, record *recorder) (c *callers, err error) {
	for _, p := range n.nodes {
		if path := (node.Config{DataDir: p.dir}).DeskPath(); len(path) > node.DeskPathMax {
			return nil, fmt.Errorf("testnet: %s has %d bytes, a unix socket's name at most %d: write runs into a directory with a shorter name (--out)", path, len(path), node.DeskPathMax)
		}
	}
	c = &callers{network: n, spec: spec, record: record}
	if c.owners, err = pick(n.spots(), spec.Owners); err != nil {
		return nil, err
	}
	if c.backend, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return nil, fmt.Errorf("testnet: a service: %w", err)
	}
	c.serving.Go(c.answer)
	ctx, cancel := context.WithTimeout(ctx, knownMax)
	defer cancel()
	for _, i := range c.owners {
		if err := c.register(ctx, i, 1); err != nil {
			c.close()
			return nil, err
		}
	}
	for i := range n.nodes {
		if err := c.awaitKnown(ctx, i); err != nil {
			c.close()
			return nil, err
		}
	}
	return c, nil
}

// answer is the service itself: it takes connections.
func (c *callers) answer() {
	for {
		conn, err := c.backend.Accept()
		if err != nil {
			return
		}
		conn.Close()
	}
}

func (c *callers) close() {
	c.backend.Close()
	c.serving.Wait()
}

func (c *callers) register(ctx context.Context, node, version int) error {
	return c.network.desks[node].Register(ctx, mesh.Service{
		Name: c.spec.Name, To: c.backend.Addr().String(), Check: "tcp", Body: []byte("version " + strconv.Itoa(version)),
	})
}

// awaitKnown waits until a node knows of every owner, and is sure of it.
func (c *callers) awaitKnown(ctx context.Context, node int) error {
	for {
		v, err := c.network.desks[node].Resolve(ctx, c.spec.Name)
		if err == nil && len(v.Instances) == len(c.owners) && !v.Stale {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("testnet: node %d knows %d of %d instances of %s (%s): %w", node, len(v.Instances), len(c.owners), c.spec.Name, v.Why, errors.Join(ctx.Err(), err))
		case <-time.After(readyEvery):
		}
	}
}

// run has owners and clients act until until ends; questions under way go on until
// ctx ends. It returns when all has ended. Of no services nothing runs.
func (c *callers) run(ctx, until context.Context) {
	if c == nil {
		return
	}
	var all sync.WaitGroup
	for _, i := range c.owners {
		all.Go(func() { c.change(until, i) })
	}
	for client, p := range c.network.config.Providers {
		one := &resolver{callers: c, client: client, provider: p.Name, gateways: c.network.gateways(p.Name, client)}
		all.Go(func() { one.run(ctx, until, c.spec.Resolves/float64(len(c.network.config.Providers))) })
	}
	all.Wait()
}

// change has one owner say something new of its instance, again and again. One that
// is away is asked again at the next time.
func (c *callers) change(ctx context.Context, node int) {
	tick := time.NewTicker(time.Duration(float64(time.Second) / c.spec.Versions))
	defer tick.Stop()
	for version := 2; ; version++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		asked, cancel := context.WithTimeout(ctx, submitMax)
		err := c.register(asked, node, version)
		if err == nil {
			if in, err := c.network.instance(asked, node, c.spec.Name); err == nil {
				c.record.add(fileServices, ServiceRecord{At: time.Now().UnixNano(), What: DeedVersion, Node: node, Epoch: in.Epoch, Seq: in.Seq})
			}
		}
		cancel()
	}
}

// instance is what a node says of its own instance of a service.
func (n *Network) instance(ctx context.Context, node int, service string) (mesh.InstanceView, error) {
	v, err := n.desks[node].Resolve(ctx, service)
	if err != nil {
		return mesh.InstanceView{}, err
	}
	self := n.peerIDs()[node].String()
	i := slices.IndexFunc(v.Instances, func(in mesh.InstanceView) bool { return in.Owner == self })
	if i < 0 {
		return mesh.InstanceView{}, fmt.Errorf("testnet: node %d has no instance of %s", node, service)
	}
	return v.Instances[i], nil
}

// resolver is a client that resolves a name, at its provider's node first.
type resolver struct {
	*callers
	client   int
	provider string
	gateways []int
}

// tryMax is how long one node may take to answer before another is asked.
const tryMax = 2 * time.Second

// run asks at a fixed rate, whatever became of the questions before.
func (r *resolver) run(ctx, until context.Context, rate float64) {
	var asking sync.WaitGroup
	defer asking.Wait()
	room := make(gate, resolvingMax)
	tick := time.NewTicker(time.Duration(float64(time.Second) / rate))
	defer tick.Stop()
	for {
		select {
		case <-until.Done():
			return
		case <-tick.C:
		}
		asking.Go(func() {
			record := ResolveRecord{Client: r.client, Provider: r.provider, Invoked: time.Now().UnixNano()}
			select {
			case room <- struct{}{}:
				defer func() { <-room }()
				r.ask(ctx, &record)
			default:
				record.Error = "too many questions are under way"
			}
			r.record.add(fileResolves, record)
		})
	}
}

// ask asks one node after the other until one answers.
func (r *resolver) ask(ctx context.Context, record *ResolveRecord) {
	ctx, cancel := context.WithTimeout(ctx, servedMax)
	defer cancel()
	for {
		for _, record.Node = range r.gateways {
			asked, cancel := context.WithTimeout(ctx, tryMax)
			v, err := r.network.desks[record.Node].Resolve(asked, r.spec.Name)
			cancel()
			if err == nil {
				record.answered(v)
				return
			}
			record.Error = err.Error()
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(againAfter):
		}
	}
}

func (r *ResolveRecord) answered(v mesh.Resolution) {
	r.Answered, r.Error, r.Stale = time.Now().UnixNano(), "", v.Stale
	for _, in := range v.Instances {
		r.Instances = append(r.Instances, SeenAt{Owner: in.Owner, In: in.In, Epoch: in.Epoch, Seq: in.Seq})
	}
}
