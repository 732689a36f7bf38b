package testnet

import (
	"fmt"
	"slices"
)

// layout is which networks containers are on: one for each pair of providers, and one
// within each provider that has several nodes. Two nodes reach each other while they
// are on a network together.
type layout struct {
	spots     []Spot
	providers []string
	nets      []pairNet
}

// pairNet is the network between two providers; of one and the same, within it.
type pairNet struct{ a, b string }

func (p pairNet) String() string {
	if p.a == p.b {
		return p.a
	}
	return p.a + "-" + p.b
}

func layoutOf(spots []Spot) layout {
	l := layout{spots: spots}
	nodes := make(map[string]int)
	for _, s := range spots {
		if nodes[s.Provider]++; nodes[s.Provider] == 1 {
			l.providers = append(l.providers, s.Provider)
		}
	}
	for i, a := range l.providers {
		if nodes[a] > 1 {
			l.nets = append(l.nets, pairNet{a, a})
		}
		for _, b := range l.providers[i+1:] {
			l.nets = append(l.nets, pairNet{a, b})
		}
	}
	return l
}

// Bounds of a layout: its addresses are one byte for the network and one for the node.
const (
	layoutProvidersMax = 12
	layoutNodesMax     = 10 // of a provider
)

// validate says whether the layout has an address for everybody.
func (l *layout) validate() error {
	nodes := make(map[string]int)
	for _, s := range l.spots {
		nodes[s.Provider]++
	}
	for _, p := range l.providers {
		if nodes[p] > layoutNodesMax {
			return fmt.Errorf("testnet: %s has %d nodes: containers have addresses for %d of each provider", p, nodes[p], layoutNodesMax)
		}
	}
	if len(l.providers) > layoutProvidersMax {
		return fmt.Errorf("testnet: %d providers: containers have addresses for %d", len(l.providers), layoutProvidersMax)
	}
	return nil
}

// subnet is the third byte of the addresses on a network: of n providers, the ith and
// the jth have the subnet n i + j between them, i not above j. How many nodes each has
// does not matter.
func (l *layout) subnet(net int) int {
	at := func(provider string) int { return slices.Index(l.providers, provider) }
	return len(l.providers)*at(l.nets[net].a) + at(l.nets[net].b)
}

// host is the fourth byte of a node's addresses: 10 and up at the first provider, 20 and
// up at the second, and so on.
func (l *layout) host(node int) int {
	first := slices.IndexFunc(l.spots, func(s Spot) bool { return s.Provider == l.spots[node].Provider })
	return 10*(slices.Index(l.providers, l.spots[node].Provider)+1) + node - first
}

// name is a node's provider and its number there, from 1.
func (l *layout) name(node int) string {
	first := slices.IndexFunc(l.spots, func(s Spot) bool { return s.Provider == l.spots[node].Provider })
	return fmt.Sprintf("%s-%d", l.spots[node].Provider, node-first+1)
}

// address is ip:port of a node on a network.
func (l *layout) address(subnets string, net, node int) string {
	return fmt.Sprintf("%s.%d.%d:%d", subnets, l.subnet(net), l.host(node), dockerPeerPort)
}

// addresses are all of a node's.
func (l *layout) addresses(subnets string, node int) (out []string) {
	for net := range l.nets {
		if l.on(net, node) {
			out = append(out, l.address(subnets, net, node))
		}
	}
	return out
}

// on says whether a node belongs on a network when nothing is cut.
func (l *layout) on(net, node int) bool {
	p := l.spots[node].Provider
	return p == l.nets[net].a || p == l.nets[net].b
}

// between is the network by which one node speaks to another.
func (l *layout) between(i, j int) int {
	a, b := l.spots[i].Provider, l.spots[j].Provider
	return slices.IndexFunc(l.nets, func(p pairNet) bool { return p == pairNet{a, b} || p == pairNet{b, a} })
}

// plan is who must be on which network, by network and node, so that exactly those
// pairs are parted that w parts. A node leaves a network when it may speak to nobody
// by it. Where that parts too few or too many there is no plan: containers leave
// networks whole.
func (l *layout) plan(w *weather) (on [][]bool, err error) {
	parted := func(i, j int) bool { return w.parted(i, j) || w.parted(j, i) }
	for i := range l.spots {
		for j := range l.spots {
			if w.parted(i, j) != w.parted(j, i) {
				return nil, fmt.Errorf("packets from node %d to node %d alone cannot vanish: %w", i, j, errOneWay)
			}
		}
	}
	on = make([][]bool, len(l.nets))
	for net := range l.nets {
		on[net] = make([]bool, len(l.spots))
		for i := range l.spots {
			for j := range l.spots {
				if i != j && l.on(net, i) && l.between(i, j) == net && !parted(i, j) {
					on[net][i] = true
				}
			}
		}
	}
	for i := range l.spots {
		for j := range i {
			together := slices.ContainsFunc(on, func(net []bool) bool { return net[i] && net[j] })
			if together == parted(i, j) {
				return nil, fmt.Errorf("node %d (%s) and node %d (%s): containers of a provider leave its networks whole, so cut a whole provider, or a node from everybody; the driver %s can cut any pair",
					j, l.spots[j].Provider, i, l.spots[i].Provider, DriverProc)
			}
		}
	}
	return on, nil
}
