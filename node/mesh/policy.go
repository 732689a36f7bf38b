package mesh

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/libp2p/go-libp2p/core/peer"
)

// Mode is how a policy is applied.
type Mode string

// The modes.
const (
	// ModeOpen: every member of the network may call, but those denied.
	ModeOpen Mode = ""
	// ModeObserve: as ModeOpen, and calls that ModeEnforce would refuse are counted and logged.
	ModeObserve Mode = "observe"
	// ModeEnforce: only those allowed may call.
	ModeEnforce Mode = "enforce"
)

// policyMax bounds the peers and roles of a list.
const policyMax = 1024

// Policy says who may call an instance of ours. A deny beats an allow. A list
// holds peer ids and roles.
type Policy struct {
	Mode  Mode     `json:"mode,omitempty"`
	Allow []string `json:"allow,omitempty"`
	Deny  []string `json:"deny,omitempty"`
}

func (p *Policy) validate() error {
	if p.Mode != ModeOpen && p.Mode != ModeObserve && p.Mode != ModeEnforce {
		return fmt.Errorf("policy mode %q: it must be empty, observe or enforce", p.Mode)
	}
	for _, list := range [][]string{p.Allow, p.Deny} {
		if len(list) > policyMax {
			return fmt.Errorf("policy with %d entries: at most %d", len(list), policyMax)
		}
		for _, who := range list {
			if err := checkWho(who); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkWho returns an error unless who is a peer id or may be a role.
func checkWho(who string) error {
	if _, err := peer.Decode(who); err == nil {
		return nil
	}
	if CheckName(who) != nil || strings.HasPrefix(who, "12d3koo") {
		return fmt.Errorf("%q is neither a peer id nor the name of a role", who)
	}
	return nil
}

// Decision is what a policy says of one caller.
type Decision struct {
	Allowed bool   `json:"allowed"`
	Would   bool   `json:"would"` // what ModeEnforce would say
	Why     string `json:"why"`
}

// Decide says whether a caller with these roles may call, and why.
func (p *Policy) Decide(caller peer.ID, roles []string) Decision {
	if rule, ok := matches(p.Deny, caller, roles); ok {
		return Decision{false, false, "denied by the rule for " + rule}
	}
	if p.Mode == ModeOpen {
		return Decision{true, true, "every member of the network is allowed"}
	}
	if rule, ok := matches(p.Allow, caller, roles); ok {
		return Decision{true, true, "allowed by the rule for " + rule}
	}
	if p.Mode == ModeObserve {
		return Decision{true, false, "no rule allows it; the policy only observes"}
	}
	return Decision{false, false, "no rule allows it"}
}

func matches(list []string, caller peer.ID, roles []string) (string, bool) {
	for _, who := range list {
		if who == caller.String() {
			return "peer " + who, true
		}
		if slices.Contains(roles, who) {
			return "role " + who, true
		}
	}
	return "", false
}

var errNotHere = errors.New("is not registered on this node")

// Authz says whether a caller may call an instance of ours, and why.
func (m *Mesh) Authz(caller peer.ID, name string) (Decision, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	s := m.own[name]
	if s == nil {
		return Decision{}, fmt.Errorf("mesh: %s %w: its policy is where it is", name, errNotHere)
	}
	return s.Policy.Decide(caller, m.roles(caller)), nil
}

func (m *Mesh) roles(p peer.ID) []string {
	if m.config.Roles == nil {
		return nil
	}
	return m.config.Roles(p)
}

// Allow lets a peer or a role call an instance of ours. The first rule makes the
// policy refuse all others, but not before it is enforced: until then it observes.
func (m *Mesh) Allow(name, who string) error {
	return m.changePolicy(name, who, func(p *Policy) {
		p.Deny = without(p.Deny, who)
		p.Allow = append(without(p.Allow, who), who)
		if p.Mode == ModeOpen {
			p.Mode = ModeObserve
		}
	})
}

// Deny refuses a peer or a role, whatever else allows it.
func (m *Mesh) Deny(name, who string) error {
	return m.changePolicy(name, who, func(p *Policy) {
		p.Allow = without(p.Allow, who)
		p.Deny = append(without(p.Deny, who), who)
	})
}

// SetMode changes how a policy is applied.
func (m *Mesh) SetMode(name string, mode Mode) error {
	return m.changePolicy(name, "", func(p *Policy) { p.Mode = mode })
}

func without(list []string, who string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(w string) bool { return w == who })
}

func (m *Mesh) changePolicy(name, who string, change func(*Policy)) error {
	if who != "" {
		if err := checkWho(who); err != nil {
			return fmt.Errorf("mesh: %w", err)
		}
	}
	m.mu.Lock()
	s := m.own[name]
	if s == nil {
		m.mu.Unlock()
		return fmt.Errorf("mesh: %s %w: its policy is where it is", name, errNotHere)
	}
	policy := s.Policy
	change(&policy)
	err := policy.validate()
	if err == nil {
		s.Policy = policy
	}
	m.mu.Unlock()
	if err != nil {
		return fmt.Errorf("mesh: %s: %w", name, err)
	}
	return m.saveOwn()
}
