package testnet

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
)

// GenerateMax bounds how many scenarios are drawn at once: a day of running.
const GenerateMax = 2_000

// Of a drawn scenario.
const (
	drawnSeconds = 30
	drawnLeast   = 6 // seconds of a fault: its packets are counted for some
	drawnQuiet   = 6 // seconds without faults at the end, in which all must heal
)

// Generate draws n scenarios: four providers, two to five faults that may overlap, a
// light load. The same seed gives the same scenarios.
func Generate(seed uint64, n int) (all []Scenario) {
	for i := range n {
		chance := rand.New(rand.NewPCG(seed, uint64(i)))
		s := Scenario{
			Name: fmt.Sprintf("random-%d-%d", seed, i), Title: "drawn at random", Seconds: drawnSeconds,
			Network: Layout{Providers: []string{"aws:1:1", "gcp:1:1", "azure:1:1", "hetzner:1:1"}},
			Load:    Load{Clients: 2, Orders: 12, Cancels: 4, Transfers: 8, Deposits: 1, Withdrawals: 1, Reads: 8},
		}
		for range 2 + chance.IntN(4) {
			s.Faults = append(s.Faults, drawFault(chance))
		}
		s.dropClashes()
		s.Promises = s.drawnLimits()
		if err := s.Validate(); err != nil {
			panic("testnet: invariant broken: a drawn scenario is valid: " + err.Error())
		}
		all = append(all, s)
	}
	return all
}

// drawnLimits promises that all are together soon after the last fault; before that
// others may be in the way.
func (s *Scenario) drawnLimits() Limits {
	last := slices.MaxFunc(s.Faults, func(a, b Timed) int { return cmp.Compare(a.AtSeconds+a.ForSeconds, b.AtSeconds+b.ForSeconds) })
	if last.OnLinks() {
		return Limits{RecoveryMs: 5_000}
	}
	return Limits{ReadyMs: 20_000}
}

// tenths is a number of seconds between two, in tenths.
func tenths(chance *rand.Rand, from, to float64) float64 {
	return float64(int(10*from)+chance.IntN(int(10*(to-from)))) / 10
}

func drawFault(chance *rand.Rand) Timed {
	providers := []string{"aws", "gcp", "azure", "hetzner"}
	chance.Shuffle(len(providers), func(i, j int) { providers[i], providers[j] = providers[j], providers[i] })
	f := Timed{AtSeconds: tenths(chance, 2, 14), ForSeconds: tenths(chance, drawnLeast, drawnSeconds-drawnQuiet-14)}
	f.From = providers[:1]
	switch chance.IntN(9) {
	case 0:
		f.Kind = Cut
	case 1:
		f.Kind, f.From, f.To = Cut, providers[:2], providers[2:]
	case 2:
		f.Kind, f.To, f.OneWay = Cut, providers[1:2], true
	case 3:
		f.Kind, f.To, f.DelayMs, f.JitterMs = Slow, providers[1:3], float64(20+chance.IntN(100)), float64(chance.IntN(20))
	case 4:
		f.Kind, f.Loss = Loss, float64(5+chance.IntN(25))/100
	case 5:
		f.Kind, f.Loss = Mess, float64(10+chance.IntN(30))/100
	case 6:
		f.Kind, f.UpMs, f.DownMs = Flap, 500+chance.IntN(3000), 500+chance.IntN(3000)
	case 7:
		f.Kind = Kill
	case 8:
		f.Kind = Pause
	}
	f.From, f.To = slices.Clone(f.From), slices.Clone(f.To)
	return f
}

// dropClashes takes out faults of machines that hit a machine that another has hit
// already: a dead process cannot be paused.
func (s *Scenario) dropClashes() {
	spots := []Spot{{0, "aws", "a"}, {1, "gcp", "a"}, {2, "azure", "a"}, {3, "hetzner", "a"}}
	busy := make(map[string][]span)
	s.Faults = slices.DeleteFunc(s.Faults, func(f Timed) bool {
		if f.OnLinks() {
			return false
		}
		hit, _ := pick(spots, f.From)
		key := strconv.Itoa(hit[0])
		when := span{int64(10 * f.AtSeconds), int64(10 * (f.AtSeconds + f.ForSeconds))}
		clash := slices.ContainsFunc(busy[key], func(b span) bool { return when.from <= b.to && b.from <= when.to })
		if !clash {
			busy[key] = append(busy[key], when)
		}
		return clash
	})
}
