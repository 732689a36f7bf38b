package testnet

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-mesh/holdfast/testnet/faults"
)

// A matrix is measured with probesEach packets for each direction, probeEvery apart:
// a loss of 5 % is told from none by one in five thousand, and it takes 0.2 s.
const (
	probesEach = 160
	probeEvery = time.Millisecond
	// probeSettle is what the last packets have to arrive beyond the longest delay in
	// force.
	probeSettle = 100 * time.Millisecond
)

// Matrix is what every node hears of every other, measured on their own sockets
// below QUIC and through the rules in force.
type Matrix struct {
	At    time.Time `json:"at"`
	Label string    `json:"label"` // when in the run, for people
	// Faults are in force while it was measured.
	Faults []Fault `json:"faults"`
	// Cells are by sender, then by receiver.
	Cells [][]Cell `json:"cells"`
}

// Cell is one direction between two nodes.
type Cell struct {
	Sent      int     `json:"sent"` // 0: not measured, since one of the two does not run
	Heard     int     `json:"heard"`
	Copies    int     `json:"copies"`
	Overtaken int     `json:"overtaken"`
	DelayMs   float64 `json:"delay_ms"`
	SpreadMs  float64 `json:"spread_ms"`
	// Dropped is what was taken of the node's packets, the probes too: by the filter
	// since the node started, or on its way since the link was cut. A cut nobody ran
	// into did not bite.
	Dropped uint64 `json:"dropped"`
	// Wanted is what the rules in force should do here.
	Wanted faults.Rule `json:"wanted"`
	// Doubt says that a fault comes and goes here, so that nothing is wanted.
	Doubt bool `json:"doubt,omitempty"`
}

// measureTries is how often a matrix is measured again because a fault began or ended
// meanwhile or a node that had just been started did not listen yet, and measureAgain
// the time before it is.
const (
	measureTries = 5
	measureAgain = 300 * time.Millisecond
)

// Measure measures every direction at once. Nodes that do not run are left out.
func (n *Network) Measure(ctx context.Context, label string) (m Matrix, err error) {
	for range measureTries {
		m = Matrix{At: time.Now(), Label: label}
		settle, before := n.wanted(&m)
		if err = n.measure(ctx, m, settle); err == nil && before == n.changed() {
			return m, nil
		}
		select {
		case <-ctx.Done():
			return m, ctx.Err()
		case <-time.After(measureAgain):
		}
	}
	return m, errors.Join(err, errors.New("testnet: faults came and went faster than they could be measured"))
}

// wanted fills in what the rules in force should do; it returns how long the last
// packets may take, and the number of changes so far.
func (n *Network) wanted(m *Matrix) (settle time.Duration, changes int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	settle = probeSettle
	m.Cells = make([][]Cell, len(n.nodes))
	for i := range m.Cells {
		m.Cells[i] = make([]Cell, len(n.nodes))
		for j := range m.Cells[i] {
			r := n.weather.between(i, j)
			m.Cells[i][j].Wanted = r
			settle = max(settle, probeSettle+r.Delay+r.Jitter+faults.HoldBack)
		}
	}
	for _, f := range n.faults {
		m.Faults = append(m.Faults, f.Fault)
		if f.Kind != Flap {
			continue
		}
		for _, a := range f.from {
			for _, b := range f.to {
				m.Cells[a][b].Doubt, m.Cells[b][a].Doubt = true, true
			}
		}
	}
	return settle, n.changes
}

// changed is the number of times a fault began or ended.
func (n *Network) changed() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.changes
}

func (n *Network) measure(ctx context.Context, m Matrix, settle time.Duration) error {
	// A node that is paused meanwhile never answers.
	ctx, cancel := context.WithTimeout(ctx, settle+n.driver.patience())
	defer cancel()
	run := rand.Uint64()
	sent := n.sendProbes(ctx, run, m)
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(settle):
	}
	return errors.Join(sent, n.hearProbes(ctx, run, m))
}

// measured says whether a node takes part.
func (n *Network) measured(i int) bool {
	state, _ := n.nodes[i].now()
	return state == Running && !n.looping(i)
}

// looping says whether a node is killed again and again, so that nothing can be told
// of it.
func (n *Network) looping(i int) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.ContainsFunc(n.faults, func(f *inForce) bool { return f.Kind == CrashLoop && slices.Contains(f.from, i) })
}

// sendProbes has every node send, all at the same time.
func (n *Network) sendProbes(ctx context.Context, run uint64, m Matrix) error {
	wrong := make([]error, len(n.nodes))
	var all sync.WaitGroup
	for i, p := range n.nodes {
		var to []string
		for j := range n.nodes {
			if i != j && n.measured(i) && n.measured(j) {
				to = append(to, n.driver.address(j, i))
				m.Cells[i][j].Sent = probesEach
			}
		}
		if len(to) == 0 {
			continue
		}
		all.Go(func() {
			wrong[i] = p.commanded(ctx, func(c *faults.Client) error {
				return c.Probe(ctx, faults.Probing{Run: run, To: to, Count: probesEach, Every: probeEvery})
			})
		})
	}
	all.Wait()
	return errors.Join(wrong...)
}

// hearProbes asks every node what it heard and what its filter has taken.
func (n *Network) hearProbes(ctx context.Context, run uint64, m Matrix) error {
	wrong := make([]error, len(n.nodes))
	var all sync.WaitGroup
	for j, p := range n.nodes {
		if !n.measured(j) {
			continue
		}
		all.Go(func() {
			wrong[j] = p.commanded(ctx, func(c *faults.Client) error {
				heard, err := c.Heard(ctx, run)
				if err != nil {
					return err
				}
				counters, err := c.Counters(ctx)
				if err != nil {
					return err
				}
				for i := range n.nodes {
					if i == j {
						continue
					}
					other := n.driver.address(i, j)
					m.Cells[i][j].hear(heard[other])
					m.Cells[j][i].Dropped = n.driver.dropped(j, i, counters[other])
				}
				return nil
			})
		})
	}
	all.Wait()
	return errors.Join(wrong...)
}

func (c *Cell) hear(h faults.Heard) {
	c.Heard, c.Copies, c.Overtaken = h.Count, h.Copies, h.Overtaken
	c.DelayMs, c.SpreadMs = h.Delay.Seconds()*1e3, h.Spread.Seconds()*1e3
}

// commanded calls the process's filter.
func (p *process) commanded(ctx context.Context, f func(*faults.Client) error) error {
	if err := p.body.filter(ctx, f); err != nil {
		return fmt.Errorf("testnet: node %d: %w", p.Number, err)
	}
	return nil
}

// Contradictions lists the directions that were not as the rules in force want them,
// with what was measured. None: every fault bit, and nothing else did.
func (m *Matrix) Contradictions() (out []string) {
	for i := range m.Cells {
		for j := range m.Cells[i] {
			if c := &m.Cells[i][j]; c.Sent > 0 {
				if why := c.contradiction(); why != "" {
					out = append(out, fmt.Sprintf("node %d to node %d: %s", i, j, why))
				}
			}
		}
	}
	return out
}

// delaySlackMs is how much later than wanted a probe's quickest packet may be on a
// machine that is busy.
const delaySlackMs = 30

// contradiction says in what a direction is not as wanted.
func (c *Cell) contradiction() string {
	lost := float64(c.Sent-c.Heard) / float64(c.Sent)
	// Four standard deviations of the wanted loss, and what a busy machine loses at
	// a full socket.
	if c.Doubt {
		return ""
	}
	slack := 4*math.Sqrt(c.Wanted.Drop*(1-c.Wanted.Drop)/float64(c.Sent)) + 0.02
	wantedMs := c.Wanted.Delay.Seconds() * 1e3
	switch {
	case math.Abs(lost-c.Wanted.Drop) > slack && !(c.Wanted.Drop >= 1 && c.Heard == 0):
		return fmt.Sprintf("%.0f %% of packets are lost, not %.0f %%", 100*lost, 100*c.Wanted.Drop)
	case c.Heard == 0:
		return ""
	case c.DelayMs < wantedMs:
		return fmt.Sprintf("packets take %.1f ms, not %.0f", c.DelayMs, wantedMs)
	case c.DelayMs > wantedMs+c.Wanted.Jitter.Seconds()*1e3+delaySlackMs:
		return fmt.Sprintf("packets take %.1f ms, not %.0f", c.DelayMs, wantedMs)
	case c.Wanted.Duplicate > 0.05 && c.Copies == 0:
		return "no packet is copied"
	case c.Wanted.Reorder > 0.05 && c.Overtaken == 0:
		return "no packet is overtaken"
	}
	return ""
}

// Unbitten lists the directions in which packets should vanish and the filter has
// taken none of QUIC's own.
func (m *Matrix) Unbitten() (out []string) {
	for i := range m.Cells {
		for j := range m.Cells[i] {
			if c := &m.Cells[i][j]; c.Sent > 0 && (c.Wanted.Drop > 0 || c.Doubt) && c.Dropped <= uint64(c.Sent-c.Heard) {
				out = append(out, fmt.Sprintf("node %d to node %d: only probes were lost", i, j))
			}
		}
	}
	return out
}

// String is the matrix for people: senders down, receivers across; what arrives, in
// per cent, and after how many milliseconds.
func (m *Matrix) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%8s", "from\\to")
	for j := range m.Cells {
		fmt.Fprintf(&b, "%12d", j)
	}
	b.WriteByte('\n')
	for i, row := range m.Cells {
		fmt.Fprintf(&b, "%8d", i)
		for j, c := range row {
			switch {
			case i == j:
				fmt.Fprintf(&b, "%12s", ".")
			case c.Sent == 0:
				fmt.Fprintf(&b, "%12s", "-")
			case c.Heard == 0:
				fmt.Fprintf(&b, "%12s", "cut")
			default:
				fmt.Fprintf(&b, "%12s", fmt.Sprintf("%d%% %.1fms", (100*c.Heard+c.Sent/2)/c.Sent, c.DelayMs))
			}
		}
		b.WriteByte('\n')
	}
	return b.String()
}
