package testnet

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

// spotsOf is where nodes stand that are written as aws:2,gcp:1.
func spotsOf(t *testing.T, providers string) []Spot {
	t.Helper()
	c := DefaultConfig()
	var err error
	if c.Providers, err = ParseProviders(providers); err != nil {
		t.Fatal(err)
	}
	return c.spots()
}

func TestContainersHaveANetworkForEachPairOfProviders(t *testing.T) {
	l := layoutOf(spotsOf(t, "aws:2,gcp:1,azure:1"))
	var names []string
	for _, n := range l.nets {
		names = append(names, n.String())
	}
	if got, want := strings.Join(names, " "), "aws aws-gcp aws-azure gcp-azure"; got != want {
		t.Errorf("the networks are %s, not %s", got, want)
	}
	for i := range l.spots {
		for j := range l.spots {
			if net := l.between(i, j); i != j && (net < 0 || !l.on(net, i) || !l.on(net, j)) {
				t.Errorf("node %d and node %d have no network together", i, j)
			}
		}
	}
}

func TestContainersLeaveNetworksSoThatACutIsWhatItShouldBe(t *testing.T) {
	const two = "aws:2:2,gcp:2:2,azure:2:2,hetzner:2:2"
	for _, c := range []struct {
		name      string
		providers string
		cuts      []Fault
		left      string // who leaves which network
		refused   string
	}{
		{"nothing", two, nil, "", ""},
		{"a provider", "aws:1,gcp:1,azure:1,hetzner:1", []Fault{{Kind: Cut, From: []string{"aws"}}}, "aws-gcp/0 aws-gcp/1 aws-azure/0 aws-azure/2 aws-hetzner/0 aws-hetzner/3", ""},
		{"a provider of two", two, []Fault{{Kind: Cut, From: []string{"aws"}, To: []string{"gcp"}}}, "aws-gcp/0 aws-gcp/1 aws-gcp/2 aws-gcp/3", ""},
		{"two against two", "aws:1,gcp:1,azure:1,hetzner:1", []Fault{{Kind: Cut, From: []string{"aws", "gcp"}, To: []string{"azure", "hetzner"}}},
			"aws-azure/0 aws-azure/2 aws-hetzner/0 aws-hetzner/3 gcp-azure/1 gcp-azure/2 gcp-hetzner/1 gcp-hetzner/3", ""},
		{"a node from everybody", two, []Fault{{Kind: Cut, From: []string{"aws/a"}}}, "aws/0 aws/1 aws-gcp/0 aws-azure/0 aws-hetzner/0", ""},
		{"a node from a provider", two, []Fault{{Kind: Cut, From: []string{"aws/a"}, To: []string{"gcp"}}}, "aws-gcp/0", ""},
		{"two cuts", two, []Fault{{Kind: Cut, From: []string{"aws/a"}, To: []string{"gcp"}}, {Kind: Cut, From: []string{"aws/b"}, To: []string{"azure"}}}, "aws-gcp/0 aws-azure/1", ""},
		{"a node from a node", two, []Fault{{Kind: Cut, From: []string{"aws/a"}, To: []string{"gcp/a"}}}, "", "leave its networks whole"},
		{"within a provider", two, []Fault{{Kind: Cut, From: []string{"aws/a"}, To: []string{"aws/b"}}}, "", "leave its networks whole"},
		{"one way", two, []Fault{{Kind: Cut, From: []string{"aws"}, OneWay: true}}, "", "one way"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := layoutOf(spotsOf(t, c.providers))
			on, err := l.plan(l.weatherOf(c.cuts...))
			if c.refused != "" {
				if err == nil || !strings.Contains(err.Error(), c.refused) {
					t.Fatalf("it is refused with %v, not for %q", err, c.refused)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var left []string
			for net := range on {
				for node, is := range on[net] {
					if l.on(net, node) && !is {
						left = append(left, l.nets[net].String()+"/"+string(rune('0'+node)))
					}
				}
			}
			if got := strings.Join(left, " "); got != c.left {
				t.Errorf("these have left: %s\nnot: %s", got, c.left)
			}
		})
	}
}

func TestDockerRefusesWhatItCannotDo(t *testing.T) {
	c := DefaultConfig()
	c.Driver = DriverDocker
	for _, f := range []Fault{
		{Kind: Slow, From: []string{"aws"}, DelayMs: 10},
		{Kind: Loss, From: []string{"aws"}, Loss: 0.1},
		{Kind: Mess, From: []string{"aws"}, Loss: 0.1},
		{Kind: Cut, From: []string{"aws"}, OneWay: true},
		{Kind: DiskFull, From: []string{"aws"}},
		{Kind: Corrupt, From: []string{"aws"}},
		{Kind: Flood, From: []string{"aws"}},
		{Kind: Twin, From: []string{"aws"}},
		{Kind: Forget, From: []string{"aws"}},
	} {
		err := refuses(&c, []Timed{{Fault: f}}, false)
		if err == nil || !strings.Contains(err.Error(), string(f.Kind)) || !strings.Contains(err.Error(), "--driver proc") {
			t.Errorf("%s: refused with %v, which does not say what to do", f, err)
		}
		proc := DefaultConfig()
		if err := refuses(&proc, []Timed{{Fault: f}}, true); err != nil {
			t.Errorf("%s: processes can do it, but: %v", f, err)
		}
	}
	for _, kind := range []Kind{Cut, Flap, Kill, Pause, Restart, CrashLoop, DiskLost} {
		if err := refuses(&c, []Timed{{Fault: Fault{Kind: kind, From: []string{"aws"}}}}, false); err != nil {
			t.Errorf("%s is refused: %v", kind, err)
		}
	}
	if err := refuses(&c, nil, true); err == nil || !strings.Contains(err.Error(), "--driver proc") {
		t.Errorf("services are refused with %v", err)
	}
	c.Links = []Link{{"aws", "gcp", 10}}
	if err := refuses(&c, nil, false); !errors.Is(err, errNoFilter) {
		t.Errorf("latencies at rest are refused with %v", err)
	}
}

// Whatever cuts of whole providers come together, there is a plan.
func TestEveryCutOfProvidersHasAPlan(t *testing.T) {
	providers := []string{"aws", "gcp", "azure", "hetzner"}
	l := layoutOf(spotsOf(t, "aws:2:2,gcp:1,azure:2:2,hetzner:1"))
	for cuts := range 1 << 6 {
		var all []Fault
		bit := 0
		for i := range providers {
			for j := range i {
				if cuts>>bit&1 == 1 {
					all = append(all, Fault{Kind: Cut, From: providers[i : i+1], To: providers[j : j+1]})
				}
				bit++
			}
		}
		w := l.weatherOf(all...)
		on, err := l.plan(w)
		if err != nil {
			t.Fatalf("%v: %v", all, err)
		}
		for i := range l.spots {
			for j := range i {
				if slices.ContainsFunc(on, func(net []bool) bool { return net[i] && net[j] }) == w.parted(i, j) {
					t.Fatalf("%v: node %d and node %d", all, i, j)
				}
			}
		}
	}
}
