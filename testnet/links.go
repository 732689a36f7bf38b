package testnet

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/holdfast-mesh/holdfast/testnet/faults"
)

// Spot is where a node stands, and what it is called by.
type Spot struct {
	Number   int    `json:"number"` // from 0
	Provider string `json:"provider"`
	Zone     string `json:"zone"` // within the provider
}

// matches says whether a word names the node: its number, its provider, or its
// provider and zone as aws/a.
func (s Spot) matches(word string) bool {
	return word == strconv.Itoa(s.Number) || word == s.Provider || word == s.Provider+"/"+s.Zone
}

// pick returns the numbers of the nodes that words name, in order. A word that names
// none is an error.
func pick(spots []Spot, words []string) (numbers []int, err error) {
	for _, w := range words {
		if !slices.ContainsFunc(spots, func(s Spot) bool { return s.matches(w) }) {
			return nil, fmt.Errorf("testnet: no node is called %q: name a provider, a provider and zone as aws/a, or a number from 0", w)
		}
	}
	for _, s := range spots {
		if slices.ContainsFunc(words, s.matches) {
			numbers = append(numbers, s.Number)
		}
	}
	return numbers, nil
}

// weather is what holds on the directed links between nodes: rules by name, such as
// of a fault, so that each can be taken away alone. Not for many goroutines.
type weather struct {
	n     int
	rules map[string]map[[2]int]faults.Rule // by name, then (from, to)
}

func newWeather(n int) *weather {
	return &weather{n: n, rules: make(map[string]map[[2]int]faults.Rule)}
}

// set puts a rule on every link from one of from to one of to, and, unless oneWay,
// back. A node's link to itself is none.
func (w *weather) set(name string, from, to []int, oneWay bool, rule faults.Rule) {
	on := make(map[[2]int]faults.Rule)
	for _, a := range from {
		for _, b := range to {
			if a == b {
				continue
			}
			on[[2]int{a, b}] = rule
			if !oneWay {
				on[[2]int{b, a}] = rule
			}
		}
	}
	w.rules[name] = on
}

func (w *weather) clear(name string) { delete(w.rules, name) }

// between is everything that holds on one directed link, together.
func (w *weather) between(from, to int) (sum faults.Rule) {
	for _, on := range w.rules { // order: together is the same in every order
		if r, ok := on[[2]int{from, to}]; ok {
			sum = together(sum, r)
		}
	}
	return sum
}

// together is what two rules do to the same packet.
func together(a, b faults.Rule) faults.Rule {
	either := func(p, q float64) float64 {
		if p >= 1 || q >= 1 {
			return 1
		}
		return p + q - p*q
	}
	sum := faults.Rule{
		Drop: either(a.Drop, b.Drop), DropIn: either(a.DropIn, b.DropIn),
		Duplicate: either(a.Duplicate, b.Duplicate), Reorder: either(a.Reorder, b.Reorder),
		Delay: min(a.Delay+b.Delay, faults.DelayMax), Jitter: min(a.Jitter+b.Jitter, faults.DelayMax),
		Rate: max(a.Rate, b.Rate),
	}
	if a.Rate > 0 && b.Rate > 0 {
		sum.Rate = min(a.Rate, b.Rate)
	}
	return sum
}

// table is what a node's filter is told: its rules for packets to each other node.
func (w *weather) table(from int, addrs []string) faults.Table {
	t := make(faults.Table)
	for to, addr := range addrs {
		if r := w.between(from, to); to != from && r != (faults.Rule{}) {
			t[addr] = r
		}
	}
	return t
}

// parted says whether packets from one node to another vanish.
func (w *weather) parted(from, to int) bool { return w.between(from, to).Drop >= 1 }

// islands are the sets of nodes that reach each other both ways, over others if need
// be, the largest first. A whole network is one island.
func (w *weather) islands(alive []bool) (out [][]int) {
	seen := make([]bool, w.n)
	for start := range w.n {
		if seen[start] || !alive[start] {
			continue
		}
		seen[start] = true
		island := []int{start}
		for i := 0; i < len(island); i++ {
			for next := range w.n {
				if !seen[next] && alive[next] && !w.parted(island[i], next) && !w.parted(next, island[i]) {
					seen[next] = true
					island = append(island, next)
				}
			}
		}
		slices.Sort(island)
		out = append(out, island)
	}
	slices.SortStableFunc(out, func(a, b []int) int { return len(b) - len(a) })
	return out
}

// millis is a duration given as a number of milliseconds.
func millis(ms float64) time.Duration { return time.Duration(ms * float64(time.Millisecond)) }
