package faults

import (
	"net/netip"
	"slices"
	"testing"
	"time"
)

var (
	start  = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	remote = netip.MustParseAddrPort("127.0.0.1:4001")
)

const (
	packetBytes = 1000
	packetGap   = 100 * time.Microsecond
	fated       = 20_000
)

// departuresOf gives every packet's departures, for packets sent packetGap apart.
func departuresOf(seed uint64, r Rule) (out [][]time.Time) {
	f := newFate(seed, remote)
	for i := range fated {
		d := f.of(r, start.Add(time.Duration(i)*packetGap), packetBytes)
		out = append(out, slices.Clone(d.all()))
	}
	return out
}

// near holds a count against an expectation, six standard deviations of a fair coin wide.
func near(t *testing.T, what string, got, want int) {
	t.Helper()
	if got < want-450 || got > want+450 {
		t.Errorf("%s: %d of %d, not about %d", what, got, fated, want)
	}
}

func TestDropTakesItsShare(t *testing.T) {
	for _, p := range []float64{0, 0.05, 0.5, 1} {
		gone := 0
		for _, d := range departuresOf(1, Rule{Drop: p}) {
			if len(d) == 0 {
				gone++
			}
		}
		near(t, "dropped", gone, int(p*fated))
		if p == 0 && gone != 0 || p == 1 && gone != fated {
			t.Errorf("a drop of %v took %d of %d", p, gone, fated)
		}
	}
}

func TestDuplicateSendsTwice(t *testing.T) {
	twice := 0
	for _, d := range departuresOf(1, Rule{Duplicate: 0.25}) {
		if len(d) == 0 {
			t.Fatal("a packet is lost without a drop")
		}
		twice += len(d) - 1
	}
	near(t, "duplicated", twice, fated/4)
}

func TestDelayAndJitterKeepTheOrderAndTheBounds(t *testing.T) {
	const delay, jitter = 80 * time.Millisecond, 20 * time.Millisecond
	var last time.Time
	late := 0
	for i, d := range departuresOf(1, Rule{Delay: delay, Jitter: jitter}) {
		waited := d[0].Sub(start.Add(time.Duration(i) * packetGap))
		if waited < delay || waited >= delay+jitter {
			t.Fatalf("packet %d waits %v", i, waited)
		}
		if d[0].Before(last) {
			t.Fatalf("packet %d overtakes", i)
		}
		if waited > delay+jitter/2 {
			late++
		}
		last = d[0]
	}
	if late < fated/4 || late > fated*3/4 {
		t.Errorf("%d of %d packets are in the upper half of the jitter", late, fated)
	}
}

func TestReorderHoldsBackItsShare(t *testing.T) {
	held, overtaken := 0, 0
	var last time.Time
	for i, d := range departuresOf(1, Rule{Reorder: 0.1}) {
		switch waited := d[0].Sub(start.Add(time.Duration(i) * packetGap)); waited {
		case 0:
		case HoldBack:
			held++
		default:
			t.Fatalf("packet %d waits %v", i, waited)
		}
		if d[0].Before(last) {
			overtaken++
		}
		last = d[0]
	}
	near(t, "held back", held, fated/10)
	if overtaken < held/2 {
		t.Errorf("of %d packets held back %d were overtaken", held, overtaken)
	}
}

// What leaves under a rate never exceeds it in any stretch, uses all of it, and
// nothing waits longer than the bound.
func TestRateIsNeverExceededAndIsUsed(t *testing.T) {
	const rate = 2_000_000 // a fifth of what is offered
	var sent []time.Time
	for i, d := range departuresOf(1, Rule{Rate: rate}) {
		if len(d) == 0 {
			continue
		}
		if waited := d[0].Sub(start.Add(time.Duration(i) * packetGap)); waited > RateQueueMax+time.Millisecond {
			t.Fatalf("packet %d waits %v", i, waited)
		}
		sent = append(sent, d[0])
	}
	const perPacket = time.Second * packetBytes / rate
	for i := 1; i < len(sent); i++ {
		if gap := sent[i].Sub(sent[i-1]); gap < perPacket {
			t.Fatalf("packets %d and %d leave %v apart, faster than the rate", i-1, i, gap)
		}
	}
	took := sent[len(sent)-1].Sub(start)
	if full := time.Duration(len(sent)) * perPacket; took > full+time.Millisecond {
		t.Errorf("%d packets took %v: the rate allows them in %v", len(sent), took, full)
	}
	if len(sent) == fated {
		t.Error("nothing was lost at five times the rate")
	}
}

func TestSameSeedSameFates(t *testing.T) {
	r := Rule{Drop: 0.1, Duplicate: 0.1, Reorder: 0.1, Jitter: time.Millisecond}
	same := func(a, b []time.Time) bool { return slices.Equal(a, b) }
	if !slices.EqualFunc(departuresOf(7, r), departuresOf(7, r), same) {
		t.Error("one seed, two outcomes")
	}
	if slices.EqualFunc(departuresOf(7, r), departuresOf(8, r), same) {
		t.Error("two seeds, one outcome")
	}
}

func TestWrongRulesAreRefusedWhole(t *testing.T) {
	f := New(1)
	if err := f.Set(Table{"127.0.0.1:1": {Drop: 1}}); err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string]Table{
		"a probability above 1":  {"127.0.0.1:2": {Drop: 1.5}},
		"a negative probability": {"127.0.0.1:2": {Reorder: -0.1}},
		"a negative delay":       {"127.0.0.1:2": {Delay: -1}},
		"a delay without end":    {"127.0.0.1:2": {Jitter: time.Hour}},
		"a negative rate":        {"127.0.0.1:2": {Rate: -1}},
		"a name":                 {"node-2": {Drop: 1}},
	} {
		if err := f.Set(bad); err == nil {
			t.Errorf("%s is accepted", name)
		}
		if r := f.link(netip.MustParseAddrPort("127.0.0.1:1")).rule.Load(); r == nil || r.Drop != 1 {
			t.Fatalf("%s changed the rules before it", name)
		}
	}
}
