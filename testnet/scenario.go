package testnet

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"
)

// Scenario is a story: a network, its clients, what goes wrong and when, and what
// must hold all the same.
type Scenario struct {
	Name     string    `json:"name" toml:"name"`
	Title    string    `json:"title" toml:"title"`     // one line for people
	After    Incident  `json:"after" toml:"after"`     // what really happened to somebody
	Seconds  float64   `json:"seconds" toml:"seconds"` // of load
	Network  Layout    `json:"network" toml:"network"` //
	Load     Load      `json:"load" toml:"load"`       //
	Services *Services `json:"services,omitempty" toml:"services"`
	Faults   []Timed   `json:"faults" toml:"fault"`      //
	Promises Limits    `json:"promises" toml:"promises"` //
	Seed     uint64    `json:"seed" toml:"-"`
}

// Incident is what happened to others, for comparison.
type Incident struct {
	What    string  `json:"what,omitempty" toml:"what"`
	Minutes float64 `json:"minutes,omitempty" toml:"minutes"` // that its users stood still
	Effect  string  `json:"effect,omitempty" toml:"effect"`
}

// Layout is the network of a scenario.
type Layout struct {
	Providers []string `json:"providers" toml:"providers"` // name:nodes:zones
	Links     []string `json:"links,omitempty" toml:"links"`
}

// Timed is a fault with its time.
type Timed struct {
	AtSeconds  float64 `json:"at" toml:"at"`   // after the load has begun
	ForSeconds float64 `json:"for" toml:"for"` // 0: over at once, or to the end
	Fault
}

// Limits are a scenario's own promises, beside those that always hold. Zero: not
// promised.
type Limits struct {
	MaxGapMs   float64 `json:"max_gap_ms" toml:"max_gap_ms"`   // without a commit, where there is a quorum
	RecoveryMs float64 `json:"recovery_ms" toml:"recovery_ms"` // from healing to all nodes together again
	ReadyMs    float64 `json:"ready_ms" toml:"ready_ms"`       // from starting a node again to its being with the others
	StaleMaxMs float64 `json:"stale_max_ms" toml:"stale_max_ms"`
	// ProofMs: of two processes with one key, the second has stopped by itself, or all
	// others hold the proof that both have signed, within.
	ProofMs float64 `json:"proof_ms" toml:"proof_ms"`
	// NoCommit: while no side has a quorum nothing may commit.
	NoCommit bool `json:"no_commit" toml:"no_commit"`
	// Flat: memory, goroutines and files at the end are as at the beginning.
	Flat bool `json:"flat" toml:"flat"`
}

//go:embed scenarios/*.toml
var embedded embed.FS

// ScenarioNames are the scenarios in this binary, sorted.
func ScenarioNames() (names []string) {
	files, err := embedded.ReadDir("scenarios")
	if err != nil {
		panic("testnet: invariant broken: the scenarios are embedded: " + err.Error())
	}
	for _, f := range files {
		names = append(names, strings.TrimSuffix(f.Name(), ".toml"))
	}
	return names
}

// LoadScenario finds a scenario by its name, or reads a file of one.
func LoadScenario(name string) (Scenario, error) {
	if slices.Contains(ScenarioNames(), name) {
		b, err := embedded.ReadFile(path.Join("scenarios", name+".toml"))
		if err != nil {
			return Scenario{}, fmt.Errorf("testnet: %w", err)
		}
		return ParseScenario(b)
	}
	f, err := os.Open(name)
	if errors.Is(err, os.ErrNotExist) {
		return Scenario{}, fmt.Errorf("testnet: there is no scenario %q and no file of that name; the scenarios are %s", name, strings.Join(ScenarioNames(), ", "))
	}
	if err != nil {
		return Scenario{}, fmt.Errorf("testnet: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, scenarioBytesMax+1))
	if err != nil {
		return Scenario{}, fmt.Errorf("testnet: %w", err)
	}
	s, err := ParseScenario(b)
	if err != nil {
		return s, fmt.Errorf("%s: %w", name, err)
	}
	return s, nil
}

// Bounds of a scenario.
const (
	scenarioBytesMax = 1 << 20
	secondsMax       = 3600
	faultsMax        = 256
)

// ParseScenario reads a scenario and checks it. An unknown word is an error.
func ParseScenario(b []byte) (s Scenario, err error) {
	if len(b) > scenarioBytesMax {
		return s, fmt.Errorf("testnet: a scenario has at most %d bytes", scenarioBytesMax)
	}
	d := toml.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&s); err != nil {
		if strict := (*toml.StrictMissingError)(nil); errors.As(err, &strict) {
			return s, fmt.Errorf("testnet: the scenario has words that mean nothing:\n%s", strict.String())
		}
		return s, fmt.Errorf("testnet: the scenario: %w", err)
	}
	return s, s.Validate()
}

// Validate lists every fault of the scenario at once, or returns nil.
func (s *Scenario) Validate() error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if s.Name == "" {
		fault("name is missing")
	}
	if s.Seconds < 1 || s.Seconds > secondsMax {
		fault("seconds is %v: choose 1 to %d", s.Seconds, secondsMax)
	}
	c, err := s.config()
	if err != nil {
		faults = append(faults, err)
	} else if err := c.Validate(); err != nil {
		faults = append(faults, err)
	}
	faults = append(faults, s.Load.validate()...)
	if s.Services != nil {
		faults = append(faults, s.Services.validate(c.spots())...)
	}
	if len(s.Faults) > faultsMax {
		fault("%d faults: at most %d", len(s.Faults), faultsMax)
	}
	for i, f := range s.Faults {
		if err := f.Validate(); err != nil {
			fault("fault %d: %w", i, err)
		} else if _, err := pick(c.spots(), slices.Concat(f.From, f.To)); err != nil {
			fault("fault %d: %w", i, err)
		}
		if f.AtSeconds < 0 || f.ForSeconds < 0 || f.AtSeconds+f.ForSeconds > s.Seconds {
			fault("fault %d: from %v s for %v s is not within the %v s of the run", i, f.AtSeconds, f.ForSeconds, s.Seconds)
		}
	}
	if len(faults) == 0 {
		return nil
	}
	return fmt.Errorf("testnet: scenario %q: %w", s.Name, errors.Join(faults...))
}

// config is the network of the scenario.
func (s *Scenario) config() (c Config, err error) {
	c = DefaultConfig()
	if c.Providers, err = ParseProviders(strings.Join(s.Network.Providers, ",")); err != nil {
		return c, err
	}
	for _, text := range s.Network.Links {
		l, err := parseLink(text)
		if err != nil {
			return c, err
		}
		c.Links = append(c.Links, l)
	}
	c.Seed, c.Clients = s.Seed, s.Load.Clients*len(c.Providers)
	return c, nil
}

// parseLink reads aws-gcp 12ms.
func parseLink(text string) (l Link, err error) {
	pair, latency, ok := strings.Cut(text, " ")
	if l.A, l.B, err = "", "", nil; ok {
		l.A, l.B, ok = strings.Cut(pair, "-")
	}
	d, err := time.ParseDuration(strings.TrimSpace(latency))
	if !ok || err != nil {
		return l, fmt.Errorf("the link %q: write two providers and a latency, as: aws-gcp 12ms", text)
	}
	l.Millis = d.Seconds() * 1e3
	return l, nil
}

// spots are where the nodes of a configuration will stand.
func (c Config) spots() (out []Spot) {
	for _, p := range c.Providers {
		for i := range p.Nodes {
			out = append(out, Spot{Number: len(out), Provider: p.Name, Zone: string(rune('a' + i%max(p.Zones, 1)))})
		}
	}
	return out
}

// Scaled is the scenario with all its times, and all its rates, multiplied.
func (s Scenario) Scaled(times, rates float64) Scenario {
	s.Seconds *= times
	s.Faults = slices.Clone(s.Faults)
	for i := range s.Faults {
		s.Faults[i].AtSeconds *= times
		s.Faults[i].ForSeconds *= times
	}
	s.Load = s.Load.scaled(rates)
	if s.Services != nil {
		one := *s.Services
		one.Resolves *= rates
		s.Services = &one
	}
	return s
}

// SetNodes gives every provider so many nodes, each in a zone of its own.
func (s *Scenario) SetNodes(n int) {
	providers := slices.Clone(s.Network.Providers)
	for i, p := range providers {
		name, _, _ := strings.Cut(p, ":")
		providers[i] = fmt.Sprintf("%s:%d:%d", name, n, n)
	}
	s.Network.Providers = providers
}

// Write writes the scenario as a file that ParseScenario reads.
func (s *Scenario) Write(w io.Writer) error {
	e := toml.NewEncoder(w)
	e.SetIndentTables(false)
	if err := e.Encode(s); err != nil {
		return fmt.Errorf("testnet: %w", err)
	}
	return nil
}
