package faults

import (
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// Rule says what becomes of the packets between this node and one remote. The
// zero Rule harms nothing.
type Rule struct {
	// Drop is the probability, 0 to 1, that a packet to the remote vanishes, and
	// DropIn the same of a packet from it.
	Drop   float64 `json:"drop,omitempty"`
	DropIn float64 `json:"drop_in,omitempty"`
	// Duplicate is the probability that a packet to the remote is sent twice.
	Duplicate float64 `json:"duplicate,omitempty"`
	// Reorder is the probability that a packet to the remote is held back by
	// HoldBack beyond its turn, so that later ones overtake it.
	Reorder float64 `json:"reorder,omitempty"`
	// Delay and Jitter hold a packet to the remote for Delay and up to Jitter
	// more, which changes every few times its size. Packets keep their order.
	Delay  time.Duration `json:"delay_ns,omitempty"`
	Jitter time.Duration `json:"jitter_ns,omitempty"`
	// Rate bounds what goes to the remote, in bytes of payload a second; 0 does
	// not. What would wait longer than RateQueueMax vanishes, as in a full router.
	Rate int64 `json:"rate,omitempty"`
}

const (
	// HoldBack is what a reordered packet waits beyond its turn: several packets'
	// time on a busy link, and below QUIC's first guess of a round trip.
	HoldBack = 5 * time.Millisecond
	// RateQueueMax is the longest a packet waits for its turn under a Rate.
	RateQueueMax = 500 * time.Millisecond
	// DelayMax bounds Delay and Jitter: beyond it QUIC takes a packet for lost.
	DelayMax = 10 * time.Second
)

// Validate lists every fault of the rule at once, or returns nil.
func (r Rule) Validate() error {
	var faults []error
	for _, p := range []struct {
		name  string
		value float64
	}{{"drop", r.Drop}, {"drop_in", r.DropIn}, {"duplicate", r.Duplicate}, {"reorder", r.Reorder}} {
		if !(p.value >= 0 && p.value <= 1) { // refuses NaN too
			faults = append(faults, fmt.Errorf("%s is %v: a probability is between 0 and 1", p.name, p.value))
		}
	}
	for _, d := range []struct {
		name  string
		value time.Duration
	}{{"delay", r.Delay}, {"jitter", r.Jitter}} {
		if d.value < 0 || d.value > DelayMax {
			faults = append(faults, fmt.Errorf("%s is %v: it must be between 0 and %v", d.name, d.value, DelayMax))
		}
	}
	if r.Rate < 0 {
		faults = append(faults, fmt.Errorf("rate is %d: it counts bytes a second, 0 for no bound", r.Rate))
	}
	return errors.Join(faults...)
}

// Table holds the rules of all remotes, by "ip:port", or Others. A remote that it
// does not name has the zero Rule.
type Table map[string]Rule

// Others names, in a Table, every remote that the Table does not name.
const Others = "*"

// tableMax bounds a Table: a committee at its largest, with four addresses a node.
const tableMax = 1024

// rules is a Table whose addresses are parsed.
type rules struct {
	of     map[netip.AddrPort]Rule
	others Rule
}

// parse checks the whole table and lists every fault at once.
func (t Table) parse() (rules, error) {
	if len(t) > tableMax {
		return rules{}, fmt.Errorf("faults: a table of %d remotes: at most %d", len(t), tableMax)
	}
	out := rules{of: make(map[netip.AddrPort]Rule, len(t))}
	var faults []error
	for name, r := range t {
		if err := r.Validate(); err != nil {
			faults = append(faults, fmt.Errorf("faults: remote %s: %w", name, err))
		}
		if name == Others {
			out.others = r
			continue
		}
		remote, err := netip.ParseAddrPort(name)
		if err != nil {
			faults = append(faults, fmt.Errorf("faults: remote %q: name it as ip:port: %w", name, err))
			continue
		}
		out.of[plain(remote)] = r
	}
	return out, errors.Join(faults...)
}

// rule returns the rule for a remote.
func (r rules) rule(remote netip.AddrPort) Rule {
	if rule, ok := r.of[remote]; ok {
		return rule
	}
	return r.others
}

// plain is an address in the one form that is used as a key.
func plain(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port())
}

// unmapped is an address in the one form that sockets of both families send to.
func unmapped(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }
