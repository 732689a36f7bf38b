package testnet

import (
	"slices"
	"testing"

	"github.com/holdfast-mesh/holdfast/node/mesh"
)

// recordedServices is what was recorded of services in a run of stale-writer: its
// services.jsonl, resolves.jsonl, faults.jsonl, and what the run was.
func recordedServices(t *testing.T) *history { return recordedIn(t, "services.tar.gz") }

func judgeServices(h *history) []Promise { return append(checkServices(h), checkFaults(h)) }

func TestRecordedServicesHold(t *testing.T) {
	h := recordedServices(t)
	for _, p := range judgeServices(h) {
		if p.Outcome != Held {
			t.Errorf("%s: %s: %s", p.Name, p.Outcome, p.Why)
		}
	}
	c := h.serviceCounts()
	if c.Versions < 60 || c.Mesh.Answered < 500 || c.Mesh.Empty+c.Mesh.WentBack+c.Mesh.Unanswered != 0 {
		t.Errorf("the mesh: %+v", c)
	}
	if c.Baseline.Empty < 100 || c.Baseline.Answered > c.Mesh.Answered {
		t.Errorf("the baseline under the same schedule: %+v", c)
	}
	if again := h.serviceCounts(); *again != *c {
		t.Errorf("counted again: %+v, not %+v", again, c)
	}
}

// forgetDeeds takes deeds of a kind out of the record.
func forgetDeeds(h *history, what Deed) {
	h.deeds = slices.DeleteFunc(h.deeds, func(d ServiceRecord) bool { return d.What == what })
}

// later returns two answers of one node to one client, of which the second was asked
// for after the first had come, and neither says that it may be behind.
func later(t *testing.T, h *history) (first, second *ResolveRecord) {
	t.Helper()
	for i := range h.resolves {
		a := &h.resolves[i]
		for j := i + 1; j < len(h.resolves); j++ {
			b := &h.resolves[j]
			if a.Client == b.Client && a.Node == b.Node && !a.Stale && !b.Stale && a.Answered < b.Invoked {
				return a, b
			}
		}
	}
	t.Fatal("nobody asked twice")
	return nil, nil
}

func TestPlantedServiceViolationsAreFound(t *testing.T) {
	const (
		unanswered = "resolves without an answer"
		empty      = "resolves answered with no instance"
		back       = "service records that went back"
		unbitten   = "faults that did not bite"
	)
	for _, tc := range []struct {
		name, promise string
		want          Outcome
		edit          func(*testing.T, *history)
	}{
		{"an answer without instances", empty, Broken, func(_ *testing.T, h *history) { h.resolves[99].Instances = nil }},
		{"an answer with none that may be called", empty, Broken, func(_ *testing.T, h *history) {
			for i := range h.resolves[99].Instances {
				h.resolves[99].Instances[i].In = false
			}
		}},
		{"an older version after a newer one", back, Broken, func(t *testing.T, h *history) {
			_, b := later(t, h)
			b.Instances[0].Seq = 0
		}},
		{"an older epoch with a higher sequence", back, Broken, func(t *testing.T, h *history) {
			_, b := later(t, h)
			b.Instances[0].Epoch--
			b.Instances[0].Seq += 1000
		}},
		{"an older version that says so", back, Held, func(t *testing.T, h *history) {
			_, b := later(t, h)
			b.Instances[0].Seq, b.Stale = 0, true
		}},
		{"a resolve nobody answered", unanswered, Broken, func(_ *testing.T, h *history) {
			h.resolves[50].Answered, h.resolves[50].Error = 0, "refused"
		}},
		{"a resolve answered late", unanswered, Broken, func(_ *testing.T, h *history) {
			h.resolves[50].Answered = h.resolves[50].Invoked + int64(servedMax) + 1
		}},
		{"nobody resolves", empty, Inconclusive, func(_ *testing.T, h *history) { h.resolves = nil }},
		{"a writer that was not late", unbitten, Inconclusive, func(_ *testing.T, h *history) {
			for i := range h.deeds {
				if h.deeds[i].What == DeedWoke {
					h.deeds[i].Seq -= lateBy
				}
			}
		}},
		{"a late writer that did not write", unbitten, Inconclusive, func(_ *testing.T, h *history) { forgetDeeds(h, DeedWrote) }},
		{"a late writer nobody heard", unbitten, Inconclusive, func(_ *testing.T, h *history) {
			h.deeds = slices.DeleteFunc(h.deeds, func(d ServiceRecord) bool { return d.Why == string(mesh.Regression) })
		}},
		{"forged farewells nobody heard", unbitten, Inconclusive, func(_ *testing.T, h *history) {
			h.deeds = slices.DeleteFunc(h.deeds, func(d ServiceRecord) bool { return d.Why == string(mesh.Forged) })
		}},
		{"a node that forgot nothing", unbitten, Inconclusive, func(_ *testing.T, h *history) { forgetDeeds(h, DeedForgot) }},
		{"a schedule that would hurt nobody", unbitten, Inconclusive, func(_ *testing.T, h *history) { forgetDeeds(h, DeedCleaned) }},
	} {
		t.Run(tc.promise+"/"+tc.name, func(t *testing.T) {
			h := recordedServices(t)
			tc.edit(t, h)
			p := promiseOf(t, judgeServices(h), tc.promise)
			if p.Outcome != tc.want || (tc.want != Held) != (len(p.Why) > 0) {
				t.Errorf("the outcome is %s, not %s; why: %q", p.Outcome, tc.want, p.Why)
			}
		})
	}
}
