package node

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/holdfast-mesh/holdfast/node/dag"
	"github.com/holdfast-mesh/holdfast/node/ledger"
	"github.com/holdfast-mesh/holdfast/p2p"
)

// CommitteeMin is the least validators of a network: with three, no provider
// may be lost, and F of three equal weights is zero.
const CommitteeMin = 4

// About is what a validator says about itself in the genesis: canonical CBOR in
// ledger.Validator.About. The names of failure domains are told, not proved; they
// are compared byte for byte, and so are lower case letters, digits, '.', '_'
// and '-' only, LabelBytesMax at most.
type About struct {
	Provider string   `cbor:"provider"`           // who owns the machines, such as aws; needed
	Region   string   `cbor:"region"`             // where they stand, such as frankfurt; needed
	Zone     string   `cbor:"zone,omitempty"`     // within the region
	Operator string   `cbor:"operator,omitempty"` // who has the root password
	Addrs    []string `cbor:"addrs,omitempty"`    // raw multiaddrs, without /p2p/
}

// Encode returns the bytes for ledger.Validator.About, or what is wrong.
func (a About) Encode() ([]byte, error) {
	if err := a.validate(); err != nil {
		return nil, err
	}
	b, err := cborWrite.Marshal(a)
	if err == nil && len(b) > ledger.ValidatorAboutMax {
		err = fmt.Errorf("it says %d bytes about itself, at most %d are allowed: name fewer addresses", len(b), ledger.ValidatorAboutMax)
	}
	return b, err
}

// DecodeAbout reads what Encode wrote.
func DecodeAbout(b []byte) (About, error) {
	var a About
	if len(b) > ledger.ValidatorAboutMax {
		return a, fmt.Errorf("it says %d bytes about itself, at most %d are allowed", len(b), ledger.ValidatorAboutMax)
	}
	if err := decodeCanonical(b, &a); err != nil {
		return About{}, fmt.Errorf("what it says about itself cannot be read: %w", err)
	}
	return a, a.validate()
}

func (a About) validate() error {
	var faults []error
	for _, l := range []struct {
		what, label string
		needed      bool
	}{{"provider", a.Provider, true}, {"region", a.Region, true}, {"zone", a.Zone, false}, {"operator", a.Operator, false}} {
		if l.label != "" || l.needed {
			faults = append(faults, validLabel(l.what, l.label))
		}
	}
	if len(a.Addrs) > AddrsMax {
		faults = append(faults, fmt.Errorf("it has %d addresses, at most %d are allowed", len(a.Addrs), AddrsMax))
	}
	for _, addr := range a.Addrs {
		if strings.Contains(addr, "/p2p/") {
			faults = append(faults, fmt.Errorf("address %q: leave out /p2p/ and what follows: the key says who it is", addr))
			continue
		}
		if _, err := parseDialable(addr + "/p2p/" + PeerIDOf(ledger.Account{}).String()); err != nil {
			faults = append(faults, err)
		}
	}
	return errors.Join(faults...)
}

// validLabel refuses names that could be one domain and look like two.
func validLabel(what, label string) error {
	fine := label != "" && len(label) <= LabelBytesMax
	for _, r := range label {
		fine = fine && (r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '.' || r == '_' || r == '-')
	}
	if !fine {
		return fmt.Errorf("%s %q: name it in 1 to %d of a-z, 0-9, '.', '_' and '-'", what, label, LabelBytesMax)
	}
	return nil
}

// Validator is a member of a committee as a node sees it.
type Validator struct {
	Key    ledger.Account
	Weight uint64
	About
}

// ValidatorsOf reads what a committee's validators say about themselves. The
// error names each whose words cannot be read; it is returned all the same,
// without them, for the governors may have put it there.
func ValidatorsOf(c *ledger.Committee) ([]Validator, error) {
	all := make([]Validator, len(c.Validators))
	var faults []error
	for i, v := range c.Validators {
		about, err := DecodeAbout(v.About)
		if err != nil {
			faults = append(faults, fmt.Errorf("validator %d: %w", i, err))
			about = About{}
		}
		all[i] = Validator{Key: v.Key, Weight: v.Weight, About: about}
	}
	return all, errors.Join(faults...)
}

// Equal says whether it is the same validator, of the same weight, with the same words
// about itself.
func (v Validator) Equal(other Validator) bool {
	return v.Key == other.Key && v.Weight == other.Weight &&
		v.Provider == other.Provider && v.Region == other.Region && v.Zone == other.Zone && v.Operator == other.Operator &&
		slices.Equal(v.Addrs, other.Addrs)
}

// PeerID is whom to dial, and who must answer.
func (v Validator) PeerID() peer.ID { return PeerIDOf(v.Key) }

// Peer is the validator as p2p wants it.
func (v Validator) Peer() p2p.Peer {
	p := p2p.Peer{ID: v.PeerID(), Provider: v.Provider}
	for _, addr := range v.Addrs {
		if m, err := ma.NewMultiaddr(addr); err == nil {
			p.Addrs = append(p.Addrs, m)
		}
	}
	return p
}

// Placement says how a committee is spread over failure domains, and what it
// takes to halt it (P8). With N the total weight, F = floor((N-1)/3) may be lost
// and the rest goes on; more halts it.
type Placement struct {
	Validators int      `json:"validators"`
	Weight     uint64   `json:"weight"` // N
	Faulty     uint64   `json:"faulty"` // F
	Quorum     uint64   `json:"quorum"` // N - F
	Providers  []Domain `json:"providers"`
	Regions    []Domain `json:"regions"`
	Operators  []Domain `json:"operators"`
	// Halts are the smallest losses that halt the network, by kind: validators,
	// providers, regions, operators.
	Halts []Halt `json:"halts"`
	// Refused says why the network is not to be; empty is good.
	Refused []string `json:"refused,omitempty"`
	// Warnings are what it may live with, and should know.
	Warnings []string `json:"warnings,omitempty"`
}

// Domain is a part of the committee that may fail as one.
type Domain struct {
	Name    string `json:"name"`
	Weight  uint64 `json:"weight"`
	Members []int  `json:"members"` // positions in the committee
}

// Halt names the smallest sets of one kind of domain that halt the network.
type Halt struct {
	Kind string     `json:"kind"` // validator, provider, region, operator
	Size int        `json:"size"` // domains of each set
	Sets [][]string `json:"sets"` // the first HaltSetsMax
	More bool       `json:"more,omitempty"`
}

// HaltSetsMax is how many sets of each kind are named: more nobody reads.
const HaltSetsMax = 12

// unnamed stands for the operators that are not told: for all one knows it is
// the same one.
const unnamed = "(not named)"

// PlacementOf looks at a committee.
func PlacementOf(validators []Validator) Placement {
	p := Placement{Validators: len(validators)}
	members := make([]dag.Member, len(validators))
	for i, v := range validators {
		members[i] = dag.Member{Key: v.Key, Weight: v.Weight}
	}
	if len(validators) < CommitteeMin {
		p.refuse("there are %d validators: at least %d are needed for one to be lost", len(validators), CommitteeMin)
	}
	committee, err := dag.NewCommittee(members)
	if err != nil {
		p.refuse("%v", err)
		return p
	}
	p.Weight, p.Faulty, p.Quorum = committee.Total(), committee.Faulty(), committee.Quorum()
	each := domains(validators, func(i int) string { return fmt.Sprint(i) })
	p.Providers = domains(validators, func(i int) string { return validators[i].Provider })
	p.Regions = domains(validators, func(i int) string { return validators[i].Region })
	p.Operators = domains(validators, func(i int) string { return cmp.Or(validators[i].Operator, unnamed) })
	p.judge()
	for _, kind := range []struct {
		name string
		of   []Domain
	}{{"validator", each}, {"provider", p.Providers}, {"region", p.Regions}, {"operator", p.Operators}} {
		p.Halts = append(p.Halts, smallestHalts(kind.name, kind.of, p.Faulty))
	}
	return p
}

func (p *Placement) refuse(format string, args ...any) {
	p.Refused = append(p.Refused, fmt.Sprintf(format, args...))
}

// judge refuses what one provider or region could halt, and warns of operators.
func (p *Placement) judge() {
	for _, kind := range []struct {
		name string
		of   []Domain
	}{{"provider", p.Providers}, {"region", p.Regions}} {
		for _, d := range kind.of {
			if d.Weight > p.Faulty {
				p.refuse("%s %q alone could halt the network: it holds %d of weight %d, at most %d may be lost. Move validators to another %s, or give it less weight",
					kind.name, d.Name, d.Weight, p.Weight, p.Faulty, kind.name)
			}
		}
	}
	for _, d := range p.Operators {
		if d.Weight <= p.Faulty {
			continue
		}
		if d.Name == unnamed {
			p.Warnings = append(p.Warnings, fmt.Sprintf("validators of weight %d do not say who operates them: if it is one, it alone could halt the network, and rewrite it if it lies", d.Weight))
			continue
		}
		p.Warnings = append(p.Warnings, fmt.Sprintf("operator %q alone could halt the network, and rewrite it if it lies: it holds %d of weight %d, at most %d may be faulty",
			d.Name, d.Weight, p.Weight, p.Faulty))
	}
}

// ErrPlacement says that a provider or region could halt a network, or that it has
// too few validators (P8).
var ErrPlacement = errors.New("placement")

// Err is why the network is refused, or nil: one ErrPlacement for each reason.
func (p Placement) Err() error {
	if len(p.Refused) == 0 {
		return nil
	}
	faults := make([]error, len(p.Refused))
	for i, why := range p.Refused {
		faults[i] = fmt.Errorf("%w: %s", ErrPlacement, why)
	}
	return errors.Join(faults...)
}

// domains groups a committee by a name, the heaviest first.
func domains(validators []Validator, name func(i int) string) []Domain {
	var all []Domain
	for i, v := range validators {
		at := slices.IndexFunc(all, func(d Domain) bool { return d.Name == name(i) })
		if at < 0 {
			at = len(all)
			all = append(all, Domain{Name: name(i)})
		}
		all[at].Weight += v.Weight
		all[at].Members = append(all[at].Members, i)
	}
	slices.SortStableFunc(all, func(a, b Domain) int { return cmp.Compare(b.Weight, a.Weight) })
	return all
}

// smallestHalts finds the smallest sets of domains, heaviest first, that weigh
// more than faulty. Every step of the search leads to a set, so it ends after
// about HaltSetsMax x size of them.
func smallestHalts(kind string, all []Domain, faulty uint64) Halt {
	h := Halt{Kind: kind}
	sums := make([]uint64, len(all)+1) // of the first i
	for i, d := range all {
		sums[i+1] = sums[i] + d.Weight
		if h.Size == 0 && sums[i+1] > faulty {
			h.Size = i + 1
		}
	}
	var chosen []string
	var search func(from int, weight uint64)
	search = func(from int, weight uint64) {
		left := h.Size - len(chosen)
		if left == 0 {
			if len(h.Sets) == HaltSetsMax {
				h.More = true
				return
			}
			h.Sets = append(h.Sets, slices.Clone(chosen))
			return
		}
		for i := from; i+left <= len(all) && weight+sums[i+left]-sums[i] > faulty && !h.More; i++ {
			chosen = append(chosen, all[i].Name)
			search(i+1, weight+all[i].Weight)
			chosen = chosen[:len(chosen)-1]
		}
	}
	search(0, 0)
	return h
}

// String is the placement for people, several lines.
func (p Placement) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d validators of weight %d: the loss of up to %d stops nothing, %d are a quorum\n", p.Validators, p.Weight, p.Faulty, p.Quorum)
	for _, kind := range []struct {
		name string
		of   []Domain
	}{{"providers", p.Providers}, {"regions", p.Regions}, {"operators", p.Operators}} {
		fmt.Fprintf(&b, "%-10s", kind.name)
		for _, d := range kind.of {
			fmt.Fprintf(&b, "  %s %d", d.Name, d.Weight)
		}
		b.WriteByte('\n')
	}
	b.WriteString("what halts it (the money stays safe, and it goes on when they are back):\n")
	for _, h := range p.Halts {
		fmt.Fprintf(&b, "  %s\n", h)
	}
	for _, w := range p.Warnings {
		fmt.Fprintf(&b, "warning: %s\n", w)
	}
	for _, r := range p.Refused {
		fmt.Fprintf(&b, "refused: %s\n", r)
	}
	return b.String()
}

// String is one line, such as: 2 providers: aws+gcp, aws+ovh.
func (h Halt) String() string {
	plural := "s"
	if h.Size == 1 {
		plural = ""
	}
	sets := make([]string, len(h.Sets))
	for i, set := range h.Sets {
		sets[i] = strings.Join(set, "+")
	}
	s := fmt.Sprintf("%d %s%s: %s", h.Size, h.Kind, plural, strings.Join(sets, ", "))
	if h.More {
		s += ", ..."
	}
	return s
}
