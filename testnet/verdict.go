package testnet

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/holdfast-mesh/holdfast/node/api"
)

// Verdict is what a run comes to.
type Verdict struct {
	Scenario   string    `json:"scenario"`
	Seed       uint64    `json:"seed"`
	Verdict    Outcome   `json:"verdict"`
	Promises   []Promise `json:"promises"`
	Ops        Counts    `json:"ops"`
	MaxGapMs   float64   `json:"max_gap_ms"`
	RecoveryMs float64   `json:"recovery_ms"`
	Report     string    `json:"report"`
	// Services is nil in a scenario without.
	Services *ServiceCounts `json:"services,omitempty"`

	Title    string   `json:"-"`
	After    Incident `json:"-"`
	Sides    []Side   `json:"-"`
	MoneyOff int      `json:"-"`
}

// Side is what clients at some providers could do while the faults were in force.
type Side struct {
	Providers []string
	Inside    bool // cut off for some of the time
	Reads     int  // answered
	Dated     int  // of the reads, those that said that they may be behind
	Sent      int  // operations acknowledged
	During    int  // of these, with an end while the faults were in force
	Later     int  // with an end after
	Lost      int  // without an end
	P50, P99  time.Duration
}

func verdict(ctx context.Context, h *history) *Verdict {
	v := &Verdict{
		Scenario: h.scenario.Name, Seed: h.scenario.Seed, Promises: judge(ctx, h), Ops: count(h),
		Report: filepath.Join(h.dir, fileReport), Services: h.serviceCounts(), Title: h.scenario.Title, After: h.scenario.After, Sides: h.sides(),
	}
	v.Verdict = verdictOf(v.Promises)
	gap, _ := h.longestGap()
	v.MaxGapMs = gap.Seconds() * 1e3
	for _, r := range h.recoveries(Fault.OnLinks) {
		v.RecoveryMs = max(v.RecoveryMs, r.took.Seconds()*1e3)
	}
	for _, p := range v.Promises {
		if p.Name == moneyPromise {
			v.MoneyOff = int(p.Value)
		}
	}
	return v
}

// faulty is the time from the first fault's beginning to the last one's end.
func (h *history) faulty() (s span, ok bool) {
	s.from, s.to = math.MaxInt64, 0
	for _, f := range h.faults {
		if f.Name == "" {
			continue
		}
		s.from, s.to = min(s.from, f.At), max(s.to, f.At)
	}
	return s, s.to > s.from
}

// sides sums up the clients by whether their provider was ever without a quorum.
func (h *history) sides() (out []Side) {
	during, ok := h.faulty()
	if !ok {
		during = h.loaded()
	}
	inside, outside := Side{Inside: true}, Side{}
	for _, p := range h.providers() {
		if h.providerQuorate(p, during.from+int64(settleMax), during.to) {
			outside.Providers = append(outside.Providers, p)
		} else {
			inside.Providers = append(inside.Providers, p)
		}
	}
	for _, side := range []*Side{&outside, &inside} {
		if len(side.Providers) > 0 {
			h.fill(side, during)
			out = append(out, *side)
		}
	}
	return out
}

func (h *history) providers() (out []string) {
	for _, m := range h.manifest.Nodes {
		if !slices.Contains(out, m.Provider) {
			out = append(out, m.Provider)
		}
	}
	return out
}

func (h *history) fill(s *Side, during span) {
	var took []time.Duration
	for i := range h.ops {
		o := &h.ops[i]
		if !slices.Contains(s.Providers, o.Provider) || o.Acked == 0 || o.Invoked < during.from || o.Invoked >= during.to {
			continue
		}
		s.Sent++
		switch {
		case !o.Status.Ended():
			s.Lost++
		case o.Ended < during.to:
			s.During++
		default:
			s.Later++
		}
		if o.Status == api.OpFinal {
			took = append(took, time.Duration(o.Ended-o.Invoked))
		}
	}
	for i := range h.reads {
		r := &h.reads[i]
		if slices.Contains(s.Providers, r.Provider) && r.Error == "" && r.Invoked >= during.from && r.Invoked < during.to {
			s.Reads++
			if !r.Quorum {
				s.Dated++
			}
		}
	}
	slices.Sort(took)
	s.P50, s.P99 = percentile(took, 0.5), percentile(took, 0.99)
}

func percentile(sorted []time.Duration, p float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(int(p*float64(len(sorted))), len(sorted)-1)]
}

// Print writes the closing table, for people who decide.
func (v *Verdict) Print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "%s, seed %d: %s\n\n", v.Scenario, v.Seed, v.Verdict)
	for _, s := range v.Sides {
		v.printSide(t, s)
	}
	fmt.Fprintf(t, "longest gap without a commit\t%s\n", milliseconds(v.MaxGapMs))
	if v.RecoveryMs > 0 {
		fmt.Fprintf(t, "all together again after healing\t%s\n", milliseconds(v.RecoveryMs))
	}
	fmt.Fprintf(t, "operations\t%d final, %d rejected, %d expired, %d without an outcome\n", v.Ops.Final, v.Ops.Rejected, v.Ops.Expired, v.Ops.Unknown)
	fmt.Fprintf(t, "money difference\t%d\n", v.MoneyOff)
	if s := v.Services; s != nil {
		fmt.Fprintf(t, "\nservices by name\tanswered\twith no instance\twent back\tunanswered\n")
		fmt.Fprintf(t, "  the mesh\t%s\n", s.Mesh)
		fmt.Fprintf(t, "  plans and enactors, same schedule\t%s\n", s.Baseline)
	}
	if v.After.What != "" {
		fmt.Fprintf(t, "\nwhat happened to others\t%s\n", v.After.What)
		fmt.Fprintf(t, "they stood still for\t%.0f minutes (%s)\n", v.After.Minutes, cmp.Or(v.After.Effect, "-"))
		fmt.Fprintf(t, "Holdfast stood still for\t%s\n", milliseconds(v.MaxGapMs))
	}
	fmt.Fprintf(t, "\nPROMISE\tVALUE\tLIMIT\t\n")
	for _, p := range v.Promises {
		fmt.Fprintf(t, "%s\t%.4g\t%.4g %s\t%s\n", p.Name, p.Value, p.Limit, p.Unit, p.Outcome)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, p := range v.Promises {
		if p.Outcome == Held {
			continue
		}
		for _, why := range p.Why {
			if _, err := fmt.Fprintf(w, "%s: %s: %s\n", p.Outcome, p.Name, why); err != nil {
				return err
			}
		}
	}
	_, err := fmt.Fprintf(w, "\nreport: %s\n", v.Report)
	return err
}

func (v *Verdict) printSide(w io.Writer, s Side) {
	name := "where a quorum was in reach"
	if s.Inside {
		name = "where none was, for a time"
	}
	fmt.Fprintf(w, "%s\t%s\n", name, join(s.Providers))
	fmt.Fprintf(w, "  operations acknowledged\t%d\n", s.Sent)
	fmt.Fprintf(w, "  ended during the faults\t%d (p50 %v, p99 %v)\n", s.During, s.P50.Round(time.Millisecond), s.P99.Round(time.Millisecond))
	fmt.Fprintf(w, "  ended after them\t%d\n", s.Later)
	fmt.Fprintf(w, "  lost\t%d\n", s.Lost)
	fmt.Fprintf(w, "  reads answered\t%d, of which %d said that they may be behind\n", s.Reads, s.Dated)
}

func join(words []string) string {
	out := ""
	for i, w := range words {
		if i > 0 {
			out += ", "
		}
		out += w
	}
	return out
}

func milliseconds(ms float64) string {
	if ms >= 60_000*60*24 {
		return "never"
	}
	return time.Duration(ms * float64(time.Millisecond)).Round(time.Millisecond).String()
}
