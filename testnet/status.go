package testnet

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"
)

// statusMax bounds the question to one node: one that is paused never answers.
const statusMax = time.Second

// Status is how a network stands.
type Status struct {
	Network string       `json:"network"`
	Seed    uint64       `json:"seed"`
	Nodes   []NodeStatus `json:"nodes"`
	Faults  []Forced     `json:"faults"`
	// Islands are the sets of running nodes that the faults in force leave connected,
	// the largest first; a whole network is one.
	Islands [][]int `json:"islands"`
}

// NodeStatus is how a node stands, by its process and its own word.
type NodeStatus struct {
	Spot
	State    State  `json:"state"`
	Answers  bool   `json:"answers"` // the rest is its own word, if it does
	Ready    bool   `json:"ready"`
	Commit   uint64 `json:"commit"`
	AgeMs    int64  `json:"age_ms"`
	Quorum   bool   `json:"quorum"`
	Round    uint64 `json:"round"`
	Peers    int    `json:"peers"`
	DiskFull bool   `json:"disk_full"`
	Alarm    string `json:"alarm,omitempty"`
	API      string `json:"api"`
	Died     string `json:"died,omitempty"` // why, if nobody asked it to
}

// Status asks every node.
func (n *Network) Status(ctx context.Context) Status {
	s := Status{Network: n.manifest.Network, Seed: n.config.Seed, Faults: n.InForce(), Nodes: make([]NodeStatus, len(n.nodes))}
	var all sync.WaitGroup
	alive := make([]bool, len(n.nodes))
	for i := range n.nodes {
		all.Go(func() {
			s.Nodes[i] = n.nodeStatus(ctx, i)
			alive[i] = s.Nodes[i].State == Running
		})
	}
	all.Wait()
	n.mu.Lock()
	defer n.mu.Unlock()
	s.Islands = n.weather.islands(alive)
	return s
}

func (n *Network) nodeStatus(ctx context.Context, i int) NodeStatus {
	state, died := n.nodes[i].now()
	s := NodeStatus{Spot: n.nodes[i].Spot, State: state, API: n.manifest.Nodes[i].API}
	if died != nil {
		s.Died = died.Error()
	}
	if state == Dead {
		return s
	}
	ctx, cancel := context.WithTimeout(ctx, statusMax)
	defer cancel()
	a, err := n.clients[i].Status(ctx)
	if err != nil {
		return s
	}
	s.Answers, s.Ready, s.DiskFull, s.Alarm = true, a.Ready, a.DiskFull, a.Alarm
	s.Commit, s.AgeMs, s.Quorum = a.AsOf.Commit, a.AsOf.AgeMs, a.AsOf.Quorum
	s.Round, s.Peers = a.Round, a.Peers
	return s
}

// partition is the node's island as a letter: A is the largest. A whole network has
// none to tell apart.
func (s *Status) partition(number int) string {
	if len(s.Islands) < 2 {
		return "-"
	}
	at := slices.IndexFunc(s.Islands, func(island []int) bool { return slices.Contains(island, number) })
	if at < 0 {
		return "-"
	}
	if at >= 26 {
		return fmt.Sprint(at)
	}
	return string(rune('A' + at))
}

// Print writes the status as a table for people.
func (s *Status) Print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "NODE\tPROVIDER\tSTATE\tCOMMIT\tAGE\tQUORUM\tROUND\tPEERS\tPARTITION\tAPI")
	for i := range s.Nodes {
		node := &s.Nodes[i]
		fmt.Fprintf(t, "%d\t%s/%s\t%s\t", node.Number, node.Provider, node.Zone, node.words())
		if node.Answers {
			fmt.Fprintf(t, "%d\t%v\t%s\t%d\t%d\t", node.Commit, (time.Duration(node.AgeMs) * time.Millisecond).Round(10*time.Millisecond), yes(node.Quorum), node.Round, node.Peers)
		} else {
			fmt.Fprint(t, "-\t-\t-\t-\t-\t")
		}
		fmt.Fprintf(t, "%s\t%s\n", s.partition(node.Number), node.API)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, f := range s.Faults {
		if _, err := fmt.Fprintf(w, "in force: %s (%s, for %v)\n", f.Fault, f.Name, time.Since(f.Since).Round(time.Second)); err != nil {
			return err
		}
	}
	return nil
}

// words says what a person should know of the node's state.
func (s *NodeStatus) words() string {
	words := []string{string(s.State)}
	switch {
	case s.Died != "":
		words = append(words, "by itself")
	case s.State == Running && !s.Answers:
		words = append(words, "silent")
	case s.State == Running && !s.Ready:
		words = append(words, "not ready")
	}
	if s.DiskFull {
		words = append(words, "disk full")
	}
	if s.Alarm != "" {
		words = append(words, "ALARM "+s.Alarm)
	}
	return strings.Join(words, ", ")
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
