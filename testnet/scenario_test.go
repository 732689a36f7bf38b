package testnet

import (
	"bytes"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestScenariosInTheBinaryAreWhole(t *testing.T) {
	names := ScenarioNames()
	for _, want := range []string{"ambiguous-hour", "cloud-cut", "even-split", "flapping", "liars", "long-night", "quorum-in-one-hall", "stale-writer", "upgrade-loop"} {
		if !slices.Contains(names, want) {
			t.Errorf("%s is missing", want)
		}
	}
	for _, name := range names {
		s, err := LoadScenario(name)
		if err != nil {
			t.Error(err)
			continue
		}
		if s.Name != name || s.Title == "" || len(s.Faults) == 0 || s.Promises == (Limits{}) {
			t.Errorf("%s: %+v", name, s)
		}
	}
}

// minimal is the least that is a scenario.
const minimal = `
name = "x"
seconds = 10
[network]
providers = ["aws:1", "gcp:1"]
[load]
clients = 2
orders = 1
`

func TestWrongScenariosAreRefusedWithTheReason(t *testing.T) {
	if _, err := ParseScenario([]byte(minimal)); err != nil {
		t.Fatal(err)
	}
	for want, text := range map[string]string{
		"mean nothing":         minimal + "\n[promises]\nmax_gap = 1\n",
		"clients is 1":         strings.Replace(minimal, "clients = 2", "clients = 1", 1),
		"seconds is 0":         strings.Replace(minimal, "seconds = 10", "seconds = 0", 1),
		"no fault \"burn\"":    minimal + "\n[[fault]]\nkind = \"burn\"\nfrom = [\"aws\"]\n",
		"called \"oracle\"":    minimal + "\n[[fault]]\nkind = \"cut\"\nfrom = [\"oracle\"]\n",
		"not within":           minimal + "\n[[fault]]\nat = 8\nfor = 5\nkind = \"cut\"\nfrom = [\"aws\"]\n",
		"from is missing":      minimal + "\n[[fault]]\nkind = \"cut\"\n",
		"without loss":         minimal + "\n[[fault]]\nkind = \"loss\"\nfrom = [\"aws\"]\n",
		"it has no to and":     minimal + "\n[[fault]]\nkind = \"kill\"\nfrom = [\"aws\"]\nto = [\"gcp\"]\n",
		"two providers and":    strings.Replace(minimal, "[load]", "links = [\"aws gcp\"]\n[load]", 1),
		"is named twice":       strings.Replace(minimal, "gcp:1", "aws:1", 1),
		"orders is -1":         strings.Replace(minimal, "orders = 1", "orders = -1", 1),
		"name is missing":      strings.Replace(minimal, "name = \"x\"", "", 1),
		"services: resolves":   minimal + "\n[services]\nname = \"feed\"\nowners = [\"aws\"]\nversions = 1\n",
		"versions is 9":        minimal + "\n[services]\nname = \"feed\"\nowners = [\"aws\"]\nversions = 9\nresolves = 1\n",
		"owners is missing":    minimal + "\n[services]\nname = \"feed\"\nversions = 1\nresolves = 1\n",
		"a-z":                  minimal + "\n[services]\nname = \"Feed\"\nowners = [\"aws\"]\nversions = 1\nresolves = 1\n",
		"service: ":            minimal + "\n[[fault]]\nkind = \"late-write\"\nfrom = [\"aws\"]\n",
		"has no service":       minimal + "\n[[fault]]\nkind = \"kill\"\nfrom = [\"aws\"]\nservice = \"feed\"\n",
		"a probability is":     minimal + "\n[[fault]]\nkind = \"loss\"\nfrom = [\"aws\"]\nloss = 2\n",
		"of the providers and": strings.Replace(minimal, "[load]", "links = [\"aws-oracle 2ms\"]\n[load]", 1),
	} {
		if _, err := ParseScenario([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not said of\n%s\nbut %v", want, text, err)
		}
	}
}

// One seed gives one list of schedules, another another; each is a file that reads
// back as the same scenario, and together they have every kind of fault they may.
func TestGeneratedScenariosFollowTheirSeed(t *testing.T) {
	a, b := Generate(7, 40), Generate(7, 40)
	if !reflect.DeepEqual(a, b) {
		t.Error("one seed gave two lists")
	}
	if reflect.DeepEqual(a, Generate(8, 40)) {
		t.Error("two seeds gave one list")
	}
	kinds, overlapping := make(map[Kind]bool), 0
	for i := range a {
		var text bytes.Buffer
		if err := a[i].Write(&text); err != nil {
			t.Fatal(err)
		}
		again, err := ParseScenario(text.Bytes())
		if err != nil {
			t.Fatalf("%v\n%s", err, &text)
		}
		if !sameStory(a[i], again) {
			t.Errorf("%s reads back as\n%+v\nnot\n%+v", &text, again, a[i])
		}
		for j, f := range a[i].Faults {
			kinds[f.Kind] = true
			for _, g := range a[i].Faults[:j] {
				if f.AtSeconds < g.AtSeconds+g.ForSeconds && g.AtSeconds < f.AtSeconds+f.ForSeconds {
					overlapping++
				}
			}
		}
	}
	for _, k := range []Kind{Cut, Slow, Loss, Mess, Flap, Kill, Pause} {
		if !kinds[k] {
			t.Errorf("no %s in 40 scenarios", k)
		}
	}
	if overlapping < 20 {
		t.Errorf("only %d faults overlap", overlapping)
	}
}

// sameStory compares but for lists that are empty or missing.
func sameStory(a, b Scenario) bool {
	tidy := func(s Scenario) Scenario {
		s.Faults = slices.Clone(s.Faults)
		for i := range s.Faults {
			if len(s.Faults[i].To) == 0 {
				s.Faults[i].To = nil
			}
		}
		if len(s.Network.Links) == 0 {
			s.Network.Links = nil
		}
		return s
	}
	return reflect.DeepEqual(tidy(a), tidy(b))
}
