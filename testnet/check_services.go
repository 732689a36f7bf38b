package testnet

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/holdfast-mesh/holdfast/node/mesh"
	"github.com/holdfast-mesh/holdfast/testnet/dnsplan"
)

// ServiceCounts is what became of the resolves of a run, and what would have become of
// them with the way that failed on 20 October, see package dnsplan.
type ServiceCounts struct {
	Versions int      `json:"versions"` // that owners made
	Mesh     Resolved `json:"mesh"`
	Baseline Resolved `json:"baseline"`
}

// Resolved counts resolves.
type Resolved struct {
	Answered   int `json:"answered"`
	Empty      int `json:"empty"`     // of these, with no instance that may be called
	WentBack   int `json:"went_back"` // of these, with a version below one the same client had seen
	Unanswered int `json:"unanswered"`
}

// String is the counts as cells of a table.
func (r Resolved) String() string {
	return fmt.Sprintf("%d\t%d\t%d\t%d", r.Answered, r.Empty, r.WentBack, r.Unanswered)
}

// checkServices: every resolve is answered, no answer is empty, and no record goes
// back.
func checkServices(h *history) []Promise {
	if h.scenario.Services == nil {
		return nil
	}
	unanswered, empty, back := h.judgeResolves()
	return []Promise{
		unanswered.none("resolves without an answer", "resolves"),
		empty.none("resolves answered with no instance", "resolves"),
		back.none("service records that went back", "resolves"),
	}
}

func (h *history) judgeResolves() (unanswered, empty, back findings) {
	for i := range h.resolves {
		r := &h.resolves[i]
		switch {
		case r.Error != "" || r.Answered == 0:
			unanswered.broke("client %d at %s: %s", r.Client, r.Provider, r.Error)
		case r.Answered-r.Invoked > int64(servedMax):
			unanswered.broke("client %d at %s waited %v", r.Client, r.Provider, time.Duration(r.Answered-r.Invoked))
		case !slices.ContainsFunc(r.Instances, func(s SeenAt) bool { return s.In }):
			empty.broke("node %d answered client %d with no instance to call", r.Node, r.Client)
		}
	}
	h.checkStamps(&back)
	for _, f := range []*findings{&unanswered, &empty, &back} {
		if len(h.resolves) == 0 {
			f.lacks("nobody resolved anything")
		}
	}
	return unanswered, empty, back
}

// checkStamps: of two answers of one node to one client, of which the first came before
// the second was asked for, the second has no record that is older, unless it says
// that it may be behind: a node that has just lost its memory does.
func (h *history) checkStamps(f *findings) {
	type session struct{ client, node int }
	sessions := make(map[session][]*ResolveRecord)
	for i := range h.resolves {
		if r := &h.resolves[i]; r.Answered != 0 {
			s := session{r.Client, r.Node}
			sessions[s] = append(sessions[s], r)
		}
	}
	for _, asked := range sessions { // order: each session by itself; findings are counted
		answered := slices.Clone(asked)
		slices.SortFunc(answered, func(a, b *ResolveRecord) int { return cmp.Compare(a.Answered, b.Answered) })
		newest := make(map[string]mesh.Stamp)
		for _, r := range asked {
			for ; len(answered) > 0 && answered[0].Answered < r.Invoked; answered = answered[1:] {
				for _, s := range answered[0].Instances {
					if s.stamp().After(newest[s.Owner]) {
						newest[s.Owner] = s.stamp()
					}
				}
			}
			if r.Stale {
				continue
			}
			for _, s := range r.Instances {
				if newest[s.Owner].After(s.stamp()) {
					f.broke("node %d answered client %d with %v of %s after it had answered with %v", r.Node, r.Client, s.stamp(), s.Owner, newest[s.Owner])
				}
			}
		}
	}
}

func (h *history) serviceCounts() *ServiceCounts {
	if h.scenario.Services == nil {
		return nil
	}
	unanswered, empty, back := h.judgeResolves()
	c := &ServiceCounts{
		Mesh:     Resolved{Answered: len(h.resolves) - unanswered.count, Empty: empty.count, WentBack: back.count, Unanswered: unanswered.count},
		Baseline: h.baseline(),
	}
	for _, d := range h.deeds {
		if d.What == DeedVersion {
			c.Versions++
		}
	}
	return c
}

// checkIntruders: what should have been written late, cleaned up and forgotten was, and
// the nodes have refused it. And the schedule is one that empties the name where records
// are kept as they were on 20 October; if it does not it proves nothing.
func checkIntruders(h *history, f *findings) {
	forgetful := make(map[int]bool) // what they refused before is not known
	for _, d := range h.deeds {
		forgetful[d.Node] = forgetful[d.Node] || d.What == DeedForgot
	}
	races := 0
	for _, r := range h.faults {
		if !r.Began || r.Error != "" {
			continue
		}
		hit, _ := pick(h.spots(), r.Fault.From)
		switch r.Fault.Kind {
		case LateWrite:
			races |= 1
			h.checkLateWrite(r, hit, f)
			h.checkRefused(r, mesh.Regression, forgetful, f)
		case CleanUp:
			races |= 2
			h.checkRefused(r, mesh.Regression, forgetful, f)
			h.checkRefused(r, mesh.Forged, nil, f)
		case Forget:
			for _, i := range hit {
				if !slices.ContainsFunc(h.deeds, func(d ServiceRecord) bool { return d.What == DeedForgot && d.Node == i && d.Bytes > 0 }) {
					f.lacks("%s: node %d had nothing to forget", r.Fault, i)
				}
			}
		}
	}
	if races == 3 && h.scenario.Services != nil && h.baseline().Empty == 0 {
		f.lacks("plans and enactors are never empty under this schedule: it does not put anything to the test")
	}
}

// checkLateWrite: the writer was late by as many versions as it should be.
func (h *history) checkLateWrite(r FaultRecord, hit []int, f *findings) {
	for _, i := range hit {
		var checked, woke mesh.Stamp
		wrote := 0
		for _, d := range h.deeds {
			if d.Fault != r.Name || d.Node != i {
				continue
			}
			switch d.What {
			case DeedChecked:
				checked = d.stamp()
			case DeedWoke:
				woke = d.stamp()
			case DeedWrote:
				wrote++
			}
		}
		if wrote < lateWrites || woke.Epoch != checked.Epoch || woke.Seq < checked.Seq+lateBy {
			f.lacks("%s: of node %d it checked %v, woke at %v and wrote %d: it should be %d versions late", r.Fault, i, checked, woke, wrote, lateBy)
		}
	}
}

// checkRefused: every node, but for some, refused what a fault's intruder wrote, for a
// reason.
func (h *history) checkRefused(r FaultRecord, why mesh.Reason, but map[int]bool, f *findings) {
	by := ""
	for _, d := range h.deeds {
		if d.Fault == r.Name && d.By != "" {
			by = d.By
		}
	}
	for i := range h.manifest.Nodes {
		refused := slices.ContainsFunc(h.deeds, func(d ServiceRecord) bool {
			return d.What == DeedRefused && d.By == by && d.Node == i && d.Why == string(why)
		})
		if !refused && !but[i] {
			f.lacks("%s: node %d has refused nothing of it as %s", r.Fault, i, why)
		}
	}
}

// Of the baseline's enactors: how many there are beside the late one, how often each
// looks for a newer plan, and how long it takes to put one in force.
const (
	enactors   = 2
	enactEvery = int64(50 * time.Millisecond)
	actAfter   = int64(time.Second)
	actWithin  = int64(2 * time.Second)
)

// baseline runs plans, enactors and a clean-up through the run's own schedule: each
// version an owner made is a plan, the late writer is an enactor that checks, stops and
// acts when it did, the clean-up cleans up when it did, and the name is resolved when
// clients did. The seed gives how long the other enactors take.
func (h *history) baseline() (out Resolved) {
	table := dnsplan.NewTable()
	chance := rand.New(rand.NewPCG(h.scenario.Seed, 20251020))
	var late dnsplan.Enactor
	var others [enactors]struct {
		dnsplan.Enactor
		acts int64
	}
	stopped, seen := false, 0
	for _, m := range h.moments() {
		switch m.what {
		case DeedVersion:
			table.Plan("192.0.2.1")
		case DeedChecked:
			stopped = true
		case DeedWrote:
			late.Act(table)
		case DeedCleaned:
			table.CleanUp()
		case momentResolve:
			addresses, version := table.Resolve()
			if version == 0 {
				continue // nothing was ever in force
			}
			out.Answered++
			if len(addresses) == 0 {
				out.Empty++
			} else if version < seen {
				out.WentBack++
			}
			seen = max(seen, version)
		case momentEnact:
			if stopped && !late.Busy() {
				late.Check(table)
			}
			for i := range others {
				switch e := &others[i]; {
				case !e.Busy() && e.Check(table):
					e.acts = m.at + actAfter + chance.Int64N(actWithin)
				case e.Busy() && m.at >= e.acts:
					e.Act(table)
					e.Done()
				}
			}
		}
	}
	return out
}

// moment is one thing of the baseline's schedule.
type moment struct {
	at   int64
	what Deed
}

// What happens to the baseline beside deeds.
const (
	momentResolve Deed = "resolve"
	momentEnact   Deed = "enact"
)

// moments is the schedule of a run, in order.
func (h *history) moments() (all []moment) {
	for _, d := range h.deeds {
		all = append(all, moment{d.At, d.What})
	}
	first := slices.IndexFunc(all, func(m moment) bool { return m.what == DeedVersion })
	if first < 0 || len(h.resolves) == 0 {
		return nil
	}
	end := h.resolves[len(h.resolves)-1].Invoked
	for at := all[first].at; at <= end; at += enactEvery {
		all = append(all, moment{at, momentEnact})
	}
	for i := range h.resolves {
		all = append(all, moment{h.resolves[i].Invoked, momentResolve})
	}
	slices.SortStableFunc(all, func(a, b moment) int { return cmp.Compare(a.at, b.at) })
	return all
}
