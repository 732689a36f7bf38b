package testnet

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// Config says what network to start. Take DefaultConfig and change what you need.
type Config struct {
	// Dir is where everything of the network is. It must be empty or missing; it is
	// made by Up and, unless Keep, removed by Down.
	Dir string
	// Keep leaves Dir after Down, for those who want to read logs.
	Keep bool
	// Driver is DriverProc, or empty for the same, or DriverDocker.
	Driver string
	// Image is what the containers of DriverDocker run; empty: DefaultImage.
	Image string
	// Binary is the program whose "run" is a node; empty: this process's own.
	Binary string
	// Providers are the failure domains, in order.
	Providers []Provider
	// Links are latencies between providers at rest; a pair that is missing has none.
	Links []Link
	// Seed feeds keys of clients and all chance of the packet filters.
	Seed uint64
	// Clients is how many funded accounts the genesis has beside the faucet.
	Clients int
	// Harmless notes faults of links and does not do them. It is a switch for tests: a
	// run must then be inconclusive.
	Harmless bool
	// LogLevel of the nodes: debug, info, warn or error.
	LogLevel string
}

// Provider is a failure domain with some nodes, spread over its zones in turn.
type Provider struct {
	Name  string
	Nodes int
	Zones int // at least 1
}

// Link is the latency between two providers, one way.
type Link struct {
	A, B   string
	Millis float64
}

// Bounds of a network on one machine.
const (
	NodesMax   = 64  // processes; a laptop starts to swap before
	ClientsMax = 512 // funded accounts
)

// DefaultConfig is a network of four providers with a node each.
func DefaultConfig() Config {
	providers, err := ParseProviders("aws:1,gcp:1,azure:1,hetzner:1")
	if err != nil {
		panic("testnet: invariant broken: the default providers are well formed: " + err.Error())
	}
	return Config{Dir: DefaultDir(), Providers: providers, Seed: 1, Clients: 64, LogLevel: "info"}
}

// DefaultDir is where a person's network is if nothing else is said: one at a time.
func DefaultDir() string {
	return filepath.Join(os.TempDir(), "holdfast-testnet-"+strconv.Itoa(os.Getuid()))
}

var providerName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,31}$`)

// ParseProviders reads name:nodes, or name:nodes:zones, separated by commas.
func ParseProviders(s string) (out []Provider, err error) {
	for word := range strings.SplitSeq(s, ",") {
		parts := strings.Split(strings.TrimSpace(word), ":")
		p := Provider{Name: parts[0], Nodes: 1, Zones: 1}
		numbers := []*int{&p.Nodes, &p.Zones}
		if len(parts) > 1+len(numbers) {
			return nil, fmt.Errorf("provider %q: write name:nodes or name:nodes:zones, as aws:3:3", word)
		}
		for i, text := range parts[1:] {
			if *numbers[i], err = strconv.Atoi(text); err != nil {
				return nil, fmt.Errorf("provider %q: %q is no number: write name:nodes or name:nodes:zones, as aws:3:3", word, text)
			}
		}
		out = append(out, p)
	}
	return out, nil
}

// Validate lists every fault at once, or returns nil. Whether a provider could halt
// the network the nodes themselves decide, and refuse to start.
func (c Config) Validate() error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if c.Dir == "" {
		fault("Dir is missing: say where the network's files go")
	}
	if c.Driver != "" && c.Driver != DriverProc && c.Driver != DriverDocker {
		fault("there is no driver %q: choose %s or %s", c.Driver, DriverProc, DriverDocker)
	}
	nodes, seen := 0, make(map[string]bool)
	for _, p := range c.Providers {
		if !providerName.MatchString(p.Name) {
			fault("provider %q: a name is lower-case letters, digits and dashes, at most 32, a letter first", p.Name)
		}
		if seen[p.Name] {
			fault("provider %q is named twice", p.Name)
		}
		seen[p.Name] = true
		if p.Nodes < 1 || p.Zones < 1 || p.Zones > p.Nodes {
			fault("provider %q has %d nodes in %d zones: at least one node, and at most a zone for each", p.Name, p.Nodes, p.Zones)
		}
		nodes += max(p.Nodes, 0)
	}
	if len(c.Providers) == 0 || nodes > NodesMax {
		fault("%d nodes: choose 1 to %d", nodes, NodesMax)
	}
	for _, l := range c.Links {
		if !seen[l.A] || !seen[l.B] || l.A == l.B || l.Millis < 0 || l.Millis > 1000 {
			fault("the link %s - %s of %v ms: name two of the providers and 0 to 1000 ms", l.A, l.B, l.Millis)
		}
	}
	if c.Clients < 0 || c.Clients > ClientsMax {
		fault("%d clients: choose 0 to %d", c.Clients, ClientsMax)
	}
	return errors.Join(faults...)
}
