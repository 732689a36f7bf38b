package testnet

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/holdfast-mesh/holdfast/node"
	"github.com/holdfast-mesh/holdfast/node/api"
	"github.com/holdfast-mesh/holdfast/testnet/faults"
)

// floodRate is packets a second to each remote: twelve megabytes, more than a node of
// a laptop's network ever sends.
const floodRate = 10_000

// flood has the nodes of From send rubbish to those of To until it is healed.
func (n *Network) flood(ctx context.Context, one *inForce) {
	var to []string
	for _, i := range one.to {
		to = append(to, n.nodes[i].peers[0])
	}
	for ctx.Err() == nil {
		for _, i := range one.from {
			err := n.nodes[i].commanded(ctx, func(c *faults.Client) error {
				return c.Flood(ctx, faults.Flooding{To: to, Rate: floodRate, For: time.Second})
			})
			if err == nil {
				continue
			}
			select { // the node is away
			case <-ctx.Done():
				return
			case <-time.After(listenEvery):
			}
		}
	}
}

// startTwin starts a second process with a node's key and a store of its own, as an
// operator does who restores a machine that still runs. The node is cut off from half
// of the others, its twin from the other half and from the node, so that each has
// somebody to speak to and neither hears of the other at once.
func (n *Network) startTwin(ctx context.Context, one *inForce, i int) error {
	rest := others(len(n.nodes), []int{i})
	near, far := rest[:len(rest)/2], rest[len(rest)/2:]
	twin, err := n.makeTwin(i)
	if err != nil {
		return err
	}
	n.mu.Lock()
	one.twins = append(one.twins, twin)
	n.weather.set(one.name, []int{i}, far, false, faults.Rule{Drop: 1})
	n.mu.Unlock()
	table := faults.Table{n.nodes[i].peers[0]: {Drop: 1, DropIn: 1}}
	for _, j := range near {
		table[n.nodes[j].peers[0]] = faults.Rule{Drop: 1, DropIn: 1}
	}
	if err := errors.Join(n.pushRules(ctx), twin.start(faults.Start{Seed: n.config.Seed, Rules: table})); err != nil {
		return err
	}
	n.beside(one, func(ctx context.Context) { n.watchTwin(ctx, i, twin) })
	return nil
}

// AlarmRecord is a second process with a validator's key that has noticed the first
// and stopped.
type AlarmRecord struct {
	Node  int    `json:"node"`
	At    int64  `json:"at"`
	Alarm string `json:"alarm"`
}

// watchTwin asks the twin until it has an alarm.
func (n *Network) watchTwin(ctx context.Context, i int, twin *process) {
	c, err := api.NewClient("http://" + twin.api)
	if err != nil {
		panic("testnet: invariant broken: an address of ours is one: " + err.Error())
	}
	c.HTTP = newHTTP()
	defer c.HTTP.CloseIdleConnections()
	for {
		asked, cancel := context.WithTimeout(ctx, statusMax)
		s, err := c.Status(asked)
		cancel()
		if err == nil && s.Alarm != "" {
			n.mu.Lock()
			n.alarms = append(n.alarms, AlarmRecord{Node: i, At: time.Now().UnixNano(), Alarm: s.Alarm})
			n.mu.Unlock()
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(againAfter):
		}
	}
}

// Alarms are those of second processes so far.
func (n *Network) Alarms() []AlarmRecord {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.alarms)
}

// makeTwin makes the files of a node's twin.
func (n *Network) makeTwin(i int) (*process, error) {
	p := n.nodes[i]
	dir := p.dir + "-twin"
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, fmt.Errorf("testnet: the twin of node %d: %w", i, err)
	}
	for _, name := range []string{"node.key", "network.bundle"} {
		b, err := os.ReadFile(filepath.Join(p.dir, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), b, 0o600)
		}
		if err != nil {
			return nil, fmt.Errorf("testnet: the twin of node %d: %w", i, err)
		}
	}
	config := node.DefaultConfig()
	config.DataDir = dir
	if err := node.InitStore(config); err != nil {
		return nil, fmt.Errorf("testnet: the twin of node %d: %w", i, err)
	}
	d, ok := n.driver.(*proc)
	if !ok {
		panic("testnet: invariant broken: only processes have twins")
	}
	b, err := d.body(filepath.Join(d.sockets, fmt.Sprint(i, "t")), dir)
	if err != nil {
		return nil, fmt.Errorf("testnet: the twin of node %d: %w", i, err)
	}
	return &process{Spot: p.Spot, placed: placed{b, []string{b.peer}, b.api}, dir: dir, keeper: n.keeper}, nil
}

// endTwin ends the twins of a fault and gives the node its links back.
func (n *Network) endTwin(ctx context.Context, one *inForce) error {
	wrong := one.endTwins()
	n.mu.Lock()
	n.weather.clear(one.name)
	n.mu.Unlock()
	return errors.Join(wrong, n.pushRules(ctx))
}

func (f *inForce) endTwins() error {
	var wrong []error
	for _, twin := range f.twins {
		wrong = append(wrong, twin.kill(), os.RemoveAll(twin.dir))
	}
	return errors.Join(wrong...)
}
