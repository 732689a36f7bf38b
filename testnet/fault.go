package testnet

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/holdfast-mesh/holdfast/node/mesh"
	"github.com/holdfast-mesh/holdfast/testnet/faults"
)

// Kind is what kind of fault a Fault is.
type Kind string

// The kinds. Those of links act between From and To, those of machines on From.
const (
	Cut  Kind = "cut"  // packets vanish; nothing is closed
	Slow Kind = "slow" // packets take DelayMs and up to JitterMs longer
	Loss Kind = "loss" // packets vanish with probability Loss
	Flap Kind = "flap" // a cut that comes and goes, every UpMs and DownMs
	Mess Kind = "mess" // packets are copied and reordered, with probability Loss each

	Kill      Kind = "kill"       // the process ends without warning, as in a power cut; healed, it starts again
	Pause     Kind = "pause"      // the process stands still; healed, it goes on
	Restart   Kind = "restart"    // the process ends in its own time and starts again, now
	CrashLoop Kind = "crash-loop" // the process starts and is killed, over and over
	DiskFull  Kind = "disk-full"  // the process is started again with no room on its disk
	DiskLost  Kind = "disk-lost"  // the process is killed and its store removed; healed, it recovers from its peers
	Flood     Kind = "flood"      // the node sends rubbish to the nodes of To at full rate
	Twin      Kind = "twin"       // a second process with the node's key, for a part of the others
	Corrupt   Kind = "corrupt"    // the process is stopped, a byte of its store flipped, and it is started again
	Forget    Kind = "forget"     // the process is killed, all it knows of services removed, and it is started again

	// Those of services act on the records of Service that the nodes of From own.
	LateWrite Kind = "late-write" // a second writer stops after its check; healed, it writes what it had checked
	CleanUp   Kind = "clean-up"   // somebody takes away every version that is old, and in the end all there is
)

// Fault is one thing that is done to a network.
type Fault struct {
	Kind Kind `json:"kind" toml:"kind"`
	// From and To name nodes: providers, zones as aws/a, or numbers. Without To it is
	// every node that is not in From.
	From []string `json:"from" toml:"from"`
	To   []string `json:"to,omitempty" toml:"to"`
	// OneWay spares the packets from To to From.
	OneWay   bool    `json:"one_way,omitempty" toml:"one_way"`
	DelayMs  float64 `json:"delay_ms,omitempty" toml:"delay_ms"`
	JitterMs float64 `json:"jitter_ms,omitempty" toml:"jitter_ms"`
	Loss     float64 `json:"loss,omitempty" toml:"loss"`
	UpMs     int     `json:"up_ms,omitempty" toml:"up_ms"`
	DownMs   int     `json:"down_ms,omitempty" toml:"down_ms"`
	Service  string  `json:"service,omitempty" toml:"service"`
}

// Defaults and bounds of a flapping link.
const (
	flapMsDefault = 2_000
	flapMsMin     = 50 // below it a flap is loss
	flapMsMax     = 60_000
)

// String is the fault as the command line has it.
func (f Fault) String() string {
	words := []string{string(f.Kind), strings.Join(f.From, ",")}
	if len(f.To) > 0 {
		words = append(words, "from", strings.Join(f.To, ","))
	}
	if f.OneWay {
		words = append(words, "one way")
	}
	if f.DelayMs > 0 || f.JitterMs > 0 {
		words = append(words, fmt.Sprintf("%v ms (+%v)", f.DelayMs, f.JitterMs))
	}
	if f.Service != "" {
		words = append(words, "of", f.Service)
	}
	if f.Loss > 0 {
		words = append(words, fmt.Sprintf("%.0f%%", 100*f.Loss))
	}
	return strings.Join(words, " ")
}

// OnLinks says whether the fault is one of links rather than of machines.
func (f Fault) OnLinks() bool {
	switch f.Kind {
	case Cut, Slow, Loss, Flap, Mess:
		return true
	}
	return false
}

// OnServices says whether the fault is one of services' records.
func (f Fault) OnServices() bool { return f.Kind == LateWrite || f.Kind == CleanUp }

// onMachines says whether the fault takes a machine away for a time.
func (f Fault) onMachines() bool { return !f.OnLinks() && !f.OnServices() }

// momentary says whether the fault is over as soon as it is done.
func (f Fault) momentary() bool {
	return f.Kind == Restart || f.Kind == Corrupt || f.Kind == Forget
}

// Validate lists what is wrong with the fault, whatever the network.
func (f Fault) Validate() error {
	var wrong []error
	add := func(format string, args ...any) { wrong = append(wrong, fmt.Errorf(format, args...)) }
	switch f.Kind {
	case Cut, Flap, Kill, Pause, Restart, CrashLoop, DiskFull, DiskLost, Corrupt, Flood, Twin, Forget:
	case LateWrite, CleanUp:
		if err := mesh.CheckName(f.Service); err != nil {
			add("service: %w", err)
		}
	case Slow:
		if f.DelayMs+f.JitterMs <= 0 {
			add("slow without delay_ms or jitter_ms slows nothing")
		}
	case Loss, Mess:
		if f.Loss <= 0 {
			add("%s without loss does nothing: give a share between 0 and 1", f.Kind)
		}
	default:
		add("there is no fault %q", f.Kind)
	}
	if len(f.From) == 0 {
		add("from is missing: name providers, zones or nodes")
	}
	if !f.OnLinks() && (len(f.To) > 0 || f.OneWay) {
		add("%s is not of links: it has no to and no one_way", f.Kind)
	}
	if !f.OnServices() && f.Service != "" {
		add("%s is not of services: it has no service", f.Kind)
	}
	for _, ms := range []int{f.UpMs, f.DownMs} {
		if ms != 0 && (ms < flapMsMin || ms > flapMsMax) {
			add("%d ms up or down: choose %d to %d", ms, flapMsMin, flapMsMax)
		}
	}
	if err := f.rule().Validate(); err != nil {
		wrong = append(wrong, err)
	}
	if len(wrong) == 0 {
		return nil
	}
	return fmt.Errorf("testnet: fault %q: %w", f, errors.Join(wrong...))
}

// rule is what the fault does to packets on its links.
func (f Fault) rule() faults.Rule {
	switch f.Kind {
	case Cut, Flap:
		return faults.Rule{Drop: 1}
	case Slow:
		return faults.Rule{Delay: millis(f.DelayMs), Jitter: millis(f.JitterMs)}
	case Loss:
		return faults.Rule{Drop: f.Loss}
	case Mess:
		return faults.Rule{Duplicate: f.Loss, Reorder: f.Loss}
	}
	return faults.Rule{}
}

// inForce is a fault that has begun and not been healed.
type inForce struct {
	Fault
	name     string
	from, to []int
	since    time.Time
	twins    []*process
	intruder *intruder
	cancel   context.CancelFunc // of what goes on beside, such as flapping
	over     chan struct{}      // closed when that has ended
}

// stop ends what goes on beside and waits for it.
func (f *inForce) stop() {
	f.cancel()
	<-f.over
}

// Do begins a fault and returns its name, for Undo. A Restart, a Corrupt and a Forget
// are over when Do returns.
func (n *Network) Do(ctx context.Context, f Fault) (name string, err error) {
	one, err := n.begin(f)
	if err != nil {
		return "", err
	}
	switch {
	case f.OnLinks():
		err = n.beginOnLinks(ctx, one)
	case f.OnServices():
		err = n.beginOnServices(ctx, one)
	default:
		err = n.beginOnMachines(ctx, one)
	}
	if err != nil || f.momentary() {
		n.forget(one)
	}
	return one.name, err
}

// begin checks a fault against the network and notes it as in force.
func (n *Network) begin(f Fault) (*inForce, error) {
	if err := f.Validate(); err != nil {
		return nil, err
	}
	from, err := pick(n.spots(), f.From)
	if err != nil {
		return nil, err
	}
	to, err := pick(n.spots(), f.To)
	if err != nil {
		return nil, err
	}
	if err := n.driver.refuses(f); err != nil {
		return nil, fmt.Errorf("testnet: %w", err)
	}
	if len(f.To) == 0 {
		to = others(len(n.nodes), from)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.count++
	n.changes++
	one := &inForce{
		Fault: f, name: fmt.Sprintf("%s-%d", f.Kind, n.count), from: from, to: to, since: time.Now(),
		cancel: func() {}, over: make(chan struct{}),
	}
	close(one.over) // nothing goes on beside yet
	n.faults = append(n.faults, one)
	return one, nil
}

// others are the numbers below n that are not in some.
func others(n int, some []int) (out []int) {
	in := make([]bool, n)
	for _, i := range some {
		in[i] = true
	}
	for i := range n {
		if !in[i] {
			out = append(out, i)
		}
	}
	return out
}

func (n *Network) spots() (out []Spot) {
	for _, p := range n.nodes {
		out = append(out, p.Spot)
	}
	return out
}

func (n *Network) forget(one *inForce) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for i, f := range n.faults {
		if f == one {
			n.changes++
			n.faults = append(n.faults[:i:i], n.faults[i+1:]...)
			return
		}
	}
}

// Undo heals one fault. Of one that is over already it does nothing.
func (n *Network) Undo(ctx context.Context, name string) error {
	n.mu.Lock()
	var one *inForce
	for _, f := range n.faults {
		if f.name == name {
			one = f
		}
	}
	n.mu.Unlock()
	if one == nil {
		return nil
	}
	one.stop()
	defer n.forget(one)
	switch {
	case one.OnLinks():
		return n.endOnLinks(ctx, one)
	case one.OnServices():
		return n.endOnServices(ctx, one)
	}
	return n.endOnMachines(ctx, one)
}

// Heal heals everything and returns what it healed.
func (n *Network) Heal(ctx context.Context) (healed []string, err error) {
	var wrong []error
	for _, f := range n.InForce() {
		healed = append(healed, f.Name)
		wrong = append(wrong, n.Undo(ctx, f.Name))
	}
	return healed, errors.Join(wrong...)
}

// stopFaults ends all that goes on beside, before the network goes down.
func (n *Network) stopFaults() {
	n.mu.Lock()
	all := n.faults
	n.faults = nil
	n.mu.Unlock()
	for _, f := range all {
		f.stop()
		_ = f.endTwins() // the keeper ends what would not end, and the directory goes
		_ = f.intruder.leave()
	}
}

// Forced is a fault in force, as others see it.
type Forced struct {
	Name  string    `json:"name"`
	Fault Fault     `json:"fault"`
	Since time.Time `json:"since"`
}

// InForce returns the faults in force, the oldest first.
func (n *Network) InForce() (out []Forced) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, f := range n.faults {
		out = append(out, Forced{f.name, f.Fault, f.since})
	}
	return out
}
