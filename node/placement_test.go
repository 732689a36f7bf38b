package node

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-mesh/holdfast/node/ledger"
)

// spread makes validators from words: provider/region[/operator][=weight].
func spread(words string) []Validator {
	var all []Validator
	for i, word := range strings.Fields(words) {
		v := Validator{Key: ledger.AccountOf(testKey(i)), Weight: 1}
		name, weight, weighted := strings.Cut(word, "=")
		if weighted {
			fmt.Sscan(weight, &v.Weight)
		}
		parts := strings.Split(name, "/")
		v.Provider, v.Region = parts[0], parts[1]
		if len(parts) > 2 {
			v.Operator = parts[2]
		}
		all = append(all, v)
	}
	return all
}

func TestPlacement(t *testing.T) {
	for _, tc := range []struct {
		name, validators string
		refused, warned  []string
		halts            []string
	}{
		{
			name: "four equal providers", validators: "a/w/o1 b/x/o2 c/y/o3 d/z/o4",
			halts: []string{
				"2 validators: 0+1, 0+2, 0+3, 1+2, 1+3, 2+3",
				"2 providers: a+b, a+c, a+d, b+c, b+d, c+d",
				"2 regions: w+x, w+y, w+z, x+y, x+z, y+z",
				"2 operators: o1+o2, o1+o3, o1+o4, o2+o3, o2+o4, o3+o4",
			},
		},
		{
			name: "three", validators: "a/w/o1 b/x/o2 c/y/o3",
			refused: []string{"at least 4", `provider "a"`, `provider "b"`, `provider "c"`, `region "w"`, `region "x"`, `region "y"`},
			warned:  []string{`"o1"`, `"o2"`, `"o3"`},
		},
		{
			name: "two at one provider", validators: "a/w/o1 a/x/o2 c/y/o3 d/z/o4",
			refused: []string{`provider "a" alone could halt the network: it holds 2 of weight 4, at most 1 may be lost`},
		},
		{
			name: "providers apart, region together", validators: "a/w/o1 b/w/o2 c/y/o3 d/z/o4",
			refused: []string{`region "w" alone`},
		},
		{
			name: "one operator of two", validators: "a/w/o1 b/x/o1 c/y/o3 d/z/o4",
			warned: []string{`operator "o1" alone could halt`},
		},
		{
			name: "operators not named", validators: "a/w b/x c/y/o3 d/z/o4",
			warned: []string{"validators of weight 2 do not say who operates them"},
		},
		{
			name: "weights", validators: "a/w/o1=3 b/x/o2=3 c/y/o3=2 d/z/o4=1 e/v/o5=1",
			halts: []string{
				"2 validators: 0+1, 0+2, 0+3, 0+4, 1+2, 1+3, 1+4",
				"2 providers: a+b, a+c, a+d, a+e, b+c, b+d, b+e",
				"2 regions: w+x, w+y, w+z, w+v, x+y, x+z, x+v",
				"2 operators: o1+o2, o1+o3, o1+o4, o1+o5, o2+o3, o2+o4, o2+o5",
			},
		},
		{
			name: "a heavy one", validators: "a/w/o1=4 b/x/o2=3 c/y/o3=2 d/z/o4=1 e/v/o5=1",
			refused: []string{`provider "a"`, `region "w"`}, warned: []string{`"o1"`},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := PlacementOf(spread(tc.validators))
			matchAll(t, "refused", p.Refused, tc.refused)
			matchAll(t, "warned", p.Warnings, tc.warned)
			if (p.Err() == nil) != (len(tc.refused) == 0) {
				t.Errorf("the error is %v", p.Err())
			}
			text := p.String()
			for i, want := range tc.halts {
				if got := p.Halts[i].String(); got != want {
					t.Errorf("halts %q, want %q", got, want)
				}
				if !strings.Contains(text, want) {
					t.Errorf("the text does not say %q:\n%s", want, text)
				}
			}
			for _, why := range p.Refused {
				if !strings.Contains(text, "refused: "+why) || !strings.Contains(p.Err().Error(), why) {
					t.Errorf("%q is not told", why)
				}
			}
			if _, err := json.Marshal(p); err != nil {
				t.Error(err)
			}
		})
	}
}

func matchAll(t *testing.T, what string, got, want []string) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %q, want %q", what, got, want)
	}
	for i := range got {
		if !strings.Contains(got[i], want[i]) {
			t.Errorf("%s: %q, want %q", what, got[i], want[i])
		}
	}
}

// TestHaltsTwin compares the search with trying all sets of small committees.
func TestHaltsTwin(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	for range 2000 {
		var words []string
		for range 4 + rng.IntN(6) {
			words = append(words, fmt.Sprintf("%c/r=%d", 'a'+rng.IntN(9), 1+rng.IntN(4)))
		}
		p := PlacementOf(spread(strings.Join(words, " ")))
		got := p.Halts[1]
		size, want := haltsByTrial(p.Providers, p.Faulty)
		if got.Size != size || got.More != (len(want) > HaltSetsMax) {
			t.Fatalf("%v: size %d more %v, by trial %d and %d sets", words, got.Size, got.More, size, len(want))
		}
		seen := make(map[string]bool)
		for _, set := range got.Sets {
			slices.Sort(set)
			name := strings.Join(set, "+")
			if !want[name] || seen[name] {
				t.Fatalf("%v: %s is no smallest set, or named twice", words, name)
			}
			seen[name] = true
		}
		if len(seen) != min(len(want), HaltSetsMax) {
			t.Fatalf("%v: %d sets, want %d", words, len(seen), len(want))
		}
	}
}

func haltsByTrial(all []Domain, faulty uint64) (size int, sets map[string]bool) {
	for mask := 1; mask < 1<<len(all); mask++ {
		var names []string
		var weight uint64
		for i, d := range all {
			if mask>>i&1 == 1 {
				names = append(names, d.Name)
				weight += d.Weight
			}
		}
		if weight <= faulty || size != 0 && len(names) > size {
			continue
		}
		if len(names) < size || size == 0 {
			size, sets = len(names), make(map[string]bool)
		}
		slices.Sort(names)
		sets[strings.Join(names, "+")] = true
	}
	return size, sets
}

// TestPlacementOfMany: the largest committee, where trying all sets would not end.
func TestPlacementOfMany(t *testing.T) {
	var words []string
	for i := range ledger.ValidatorsMax {
		words = append(words, fmt.Sprintf("p%d/r%d/o%d", i, i, i))
	}
	p := PlacementOf(spread(strings.Join(words, " ")))
	if err := p.Err(); err != nil {
		t.Fatal(err)
	}
	for _, h := range p.Halts {
		if h.Size != 86 || len(h.Sets) != HaltSetsMax || !h.More {
			t.Errorf("%s: size %d, %d sets, more %v", h.Kind, h.Size, len(h.Sets), h.More)
		}
	}
}

func TestValidatorEqual(t *testing.T) {
	one := func() Validator {
		return Validator{Key: ledger.AccountOf(testKey(0)), Weight: 1, About: About{"a", "b", "c", "d", []string{"/ip4/192.0.2.1/tcp/1"}}}
	}
	if !one().Equal(one()) {
		t.Error("a validator is not itself")
	}
	for i, change := range []func(*Validator){
		func(v *Validator) { v.Key = ledger.AccountOf(testKey(1)) },
		func(v *Validator) { v.Weight = 2 },
		func(v *Validator) { v.Provider = "x" },
		func(v *Validator) { v.Region = "x" },
		func(v *Validator) { v.Zone = "x" },
		func(v *Validator) { v.Operator = "x" },
		func(v *Validator) { v.Addrs = nil },
	} {
		v := one()
		if change(&v); v.Equal(one()) {
			t.Errorf("change %d makes no difference", i)
		}
	}
}

func TestAbout(t *testing.T) {
	whole := About{Provider: "aws", Region: "eu-central-1", Zone: "a", Operator: "example.org", Addrs: []string{
		"/ip4/192.0.2.1/udp/4001/quic-v1", "/ip6/2001:db8::1/tcp/4001"}}
	b, err := whole.Encode()
	if err != nil {
		t.Fatal(err)
	}
	back, err := DecodeAbout(b)
	if err != nil || fmt.Sprint(back) != fmt.Sprint(whole) {
		t.Errorf("%v: %v", err, back)
	}
	p := Validator{Key: ledger.AccountOf(testKey(1)), About: back}.Peer()
	if p.Provider != "aws" || len(p.Addrs) != 2 || p.Addrs[0].String() != whole.Addrs[0] {
		t.Errorf("peer %v", p)
	}
	for want, change := range map[string]func(*About){
		`provider ""`:            func(a *About) { a.Provider = "" },
		`region ""`:              func(a *About) { a.Region = "" },
		`provider "AWS"`:         func(a *About) { a.Provider = "AWS" },
		`zone "a "`:              func(a *About) { a.Zone = "a " },
		`operator "é"`:           func(a *About) { a.Operator = "é" },
		`region "rr`:             func(a *About) { a.Region = strings.Repeat("r", LabelBytesMax+1) },
		"leave out /p2p/":        func(a *About) { a.Addrs = []string{"/ip4/1.2.3.4/tcp/1/p2p/" + PeerIDOf(ledger.Account{}).String()} },
		"without a resolver":     func(a *About) { a.Addrs = []string{"/dns/example.org/tcp/1"} },
		"at most 16":             func(a *About) { a.Addrs = make([]string, AddrsMax+1) },
		`address "nonsense/p2p/`: func(a *About) { a.Addrs = []string{"nonsense"} },
		`address "/p2p/`:         func(a *About) { a.Addrs = []string{""} },
		"name fewer addresses": func(a *About) {
			a.Addrs = slices.Repeat([]string{"/ip6/2001:db8:1111:2222:3333:4444:5555:6666/udp/40001/quic-v1"}, AddrsMax)
		},
		"bytes, at most 256": func(a *About) { a.Addrs = []string{"/ip4/1.2.3.4/tcp/1/" + strings.Repeat("x", AddrBytesMax)} },
	} {
		a := whole
		change(&a)
		if _, err := a.Encode(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	if _, err := DecodeAbout(make([]byte, ledger.ValidatorAboutMax+1)); err == nil {
		t.Error("a long text was read")
	}
}

// TestValidatorsOfCommitteeWithoutWords: governors may set a committee whose
// words nobody can read; its validators are there all the same.
func TestValidatorsOfCommitteeWithoutWords(t *testing.T) {
	g := testGenesis(t, "a", "b", "c", "d")
	g.Committee.Validators[2].About = nil
	all, err := ValidatorsOf(&g.Committee)
	if err == nil || !strings.Contains(err.Error(), "validator 2") {
		t.Errorf("got %v", err)
	}
	if len(all) != 4 || all[2].Peer().ID != PeerIDOf(ledger.AccountOf(testKey(2))) || all[3].Provider != "d" {
		t.Errorf("got %v", all)
	}
}
