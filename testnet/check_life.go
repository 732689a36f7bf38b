package testnet

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/holdfast-mesh/holdfast/node/api"
)

// checkLife is P3 and P6: how long there was no commit where there was a quorum, that
// nothing committed where there was none, that whoever asked a node with a quorum got
// an end in time, and how soon all were together again.
func checkLife(h *history) []Promise {
	limits := h.scenario.Promises
	out := []Promise{checkServed(h)}
	if limits.MaxGapMs > 0 {
		out = append(out, checkGap(h, limits.MaxGapMs))
	}
	if limits.NoCommit {
		out = append(out, checkNoCommit(h))
	}
	if limits.RecoveryMs > 0 {
		out = append(out, checkRecovery(h, "recovery after healing", limits.RecoveryMs, Fault.OnLinks))
	}
	if limits.ReadyMs > 0 {
		out = append(out, checkRecovery(h, "a node that was away is back", limits.ReadyMs, Fault.onMachines))
	}
	if limits.ProofMs > 0 {
		out = append(out, checkProof(h, limits.ProofMs))
	}
	if limits.StaleMaxMs > 0 {
		out = append(out, checkStale(h, limits.StaleMaxMs))
	}
	return out
}

// firstSeen are the times at which each commit was first heard of, in order.
func (h *history) firstSeen() (times []int64) {
	seen := make(map[uint64]int64)
	for _, of := range h.commits {
		for _, c := range of {
			if at, ok := seen[c.Index]; !ok || c.Seen < at {
				seen[c.Index] = c.Seen
			}
		}
	}
	for _, at := range seen { // order: sorted below
		times = append(times, at)
	}
	slices.Sort(times)
	return times
}

// settleMax is how long after a side regains a quorum a gap counts as recovery, which
// has a promise of its own.
const settleMax = 2 * time.Second

// longestGap is the longest time without a commit while clients acted and some nodes
// surely had a quorum, all along.
func (h *history) longestGap() (gap time.Duration, at int64) {
	times, load := h.firstSeen(), h.loaded()
	for i := 1; i < len(times); i++ {
		from, to := max(times[i-1], load.from), min(times[i], load.to)
		if d := time.Duration(to - from); d > gap && h.quorateThrough(from, to) {
			gap, at = d, from
		}
	}
	if n := len(times); n > 0 && load.to > times[n-1] { // nothing came any more
		if d := time.Duration(load.to - times[n-1]); d > gap && h.quorateThrough(times[n-1], load.to) {
			gap, at = d, times[n-1]
		}
	}
	return gap, at
}

// quorateThrough says whether some node surely had a quorum at every moment.
func (h *history) quorateThrough(from, to int64) bool {
	for _, s := range h.stretches() {
		if s.from < to && s.to > from && !slices.Contains(s.nodes, quorate) {
			return false
		}
		// A side that has just regained a quorum is recovering.
		if s.from > 0 && s.from < to && s.to > from && !h.quorateBefore(s.from) && from < s.from+int64(settleMax) {
			return false
		}
	}
	return true
}

func (h *history) quorateBefore(at int64) bool {
	for _, s := range h.stretches() {
		if s.to == at {
			return slices.Contains(s.nodes, quorate)
		}
	}
	return true
}

func checkGap(h *history, limit float64) Promise {
	var f findings
	if len(h.firstSeen()) < 2 || h.loaded() == (span{}) {
		f.lacks("there were no commits under load to measure gaps between")
	}
	gap, at := h.longestGap()
	p := f.atMost("longest gap without a commit", gap.Seconds()*1e3, limit, "ms")
	if at > 0 {
		p.Why = append(p.Why, fmt.Sprintf("%.1f s into the load", time.Duration(at-h.loaded().from).Seconds()))
	}
	return p
}

// lastWordMax is how long after a side loses its quorum a commit that was decided
// before may still be told.
const lastWordMax = time.Second

func checkNoCommit(h *history) Promise {
	var f findings
	tested := false
	for _, s := range h.stretches() {
		if slices.Contains(s.nodes, quorate) || slices.Contains(s.nodes, doubtful) || !slices.Contains(s.nodes, cutOff) {
			continue
		}
		tested = tested || s.to-s.from > int64(2*lastWordMax)
		for _, at := range h.firstSeen() {
			if at > s.from+int64(lastWordMax) && at < s.to {
				f.broke("a commit was made %v after the last side had lost its quorum", time.Duration(at-s.from).Round(time.Millisecond))
			}
		}
	}
	if !tested {
		f.lacks("at no time were all sides without a quorum")
	}
	return f.none("commits without a quorum", "commits")
}

// servedMax is what a client may wait for the end of an operation where there is a
// quorum: a retry with another node included.
const servedMax = 10 * time.Second

// checkServed: of those who asked at providers that surely had a quorum all along,
// everybody got an end, and no order expired for want of one.
func checkServed(h *history) Promise {
	var f findings
	asked := 0
	for i := range h.ops {
		o := &h.ops[i]
		ended := o.Ended
		if ended == 0 {
			ended = math.MaxInt64
		}
		if !h.providerQuorate(o.Provider, o.Invoked, min(ended, o.Invoked+int64(servedMax))) {
			continue
		}
		asked++
		switch {
		case o.Status == api.OpExpired:
			f.broke("operation %s (%s) at %s expired with a quorum in reach", o.Op, o.Kind, o.Provider)
		case ended-o.Invoked > int64(servedMax):
			f.broke("operation %s (%s) at %s had no end after %v with a quorum in reach (%s)", o.Op, o.Kind, o.Provider, servedMax, o.Status)
		}
	}
	if asked == 0 {
		f.lacks("nobody asked where there was a quorum")
	}
	return f.none("operations not served where there is a quorum", "operations")
}

// providerQuorate says whether all nodes of a provider surely had a quorum from a
// moment before one time to another.
func (h *history) providerQuorate(provider string, from, to int64) bool {
	from -= int64(settleMax) // what was sent just before may be on its way still
	for _, s := range h.stretches() {
		if s.from >= to || s.to <= from {
			continue
		}
		for i, m := range h.manifest.Nodes {
			if m.Provider == provider && s.nodes[i] != quorate {
				return false
			}
		}
	}
	return true
}

// recoveries are, for each fault of a kind that ended, how long it took until every
// node that runs had what the furthest had when it ended, and a commit after it.
func (h *history) recoveries(kind func(Fault) bool) (out []recovered) {
	for _, f := range h.faults {
		if f.Name == "" || f.Began && !f.Fault.momentary() || !kind(f.Fault) || f.Error != "" {
			continue
		}
		if took, who, ok := h.recovery(f.At); ok {
			out = append(out, recovered{f, took, who})
		}
	}
	return out
}

type recovered struct {
	FaultRecord
	took time.Duration
	node int // the last
}

// recovery is how long after a time it took until every node that could was together
// with the others; not ok if another fault kept some from it.
func (h *history) recovery(at int64) (took time.Duration, who int, ok bool) {
	furthest := h.furthest(at)
	standings := h.standingAt(at)
	for node, of := range h.commits {
		if standings[node] != quorate && standings[node] != doubtful {
			continue
		}
		i := slices.IndexFunc(of, func(c CommitRecord) bool { return c.Seen > at && c.Index > furthest })
		if i < 0 {
			if h.nextFault(at) < math.MaxInt64 {
				continue
			}
			return time.Duration(math.MaxInt64), node, true
		}
		if of[i].Seen > h.nextFault(at) {
			continue // another fault came between
		}
		if d := time.Duration(of[i].Seen - at); d > took {
			took, who = d, node
		}
		ok = true
	}
	return took, who, ok
}

func (h *history) standingAt(at int64) []standing {
	for _, s := range h.stretches() {
		if s.from <= at && at < s.to {
			return s.nodes
		}
	}
	panic("testnet: invariant broken: stretches cover all time")
}

// nextFault is when the next fault begins after a time.
func (h *history) nextFault(at int64) int64 {
	for _, f := range h.faults {
		if f.Name != "" && f.Began && f.At > at {
			return f.At
		}
	}
	return math.MaxInt64
}

func checkRecovery(h *history, name string, limit float64, kind func(Fault) bool) Promise {
	var f findings
	worst := 0.0
	all := h.recoveries(kind)
	for _, r := range all {
		ms := r.took.Seconds() * 1e3
		if ms > worst {
			worst = ms
		}
		if ms > limit {
			f.broken = append(f.broken, fmt.Sprintf("%s: node %d took %v", r.Fault, r.node, r.took.Round(time.Millisecond)))
		}
	}
	if len(all) == 0 {
		f.lacks("no fault of this kind was healed")
	}
	return f.atMost(name, worst, limit, "ms")
}

// checkStale bounds the age of reads where there is a quorum.
func checkStale(h *history, limit float64) Promise {
	var f findings
	worst, asked := 0.0, 0
	for i := range h.reads {
		r := &h.reads[i]
		if r.Error == "" && h.providerQuorate(r.Provider, r.Invoked, r.Answered) {
			worst = max(worst, float64(r.AgeMs))
			asked++
		}
	}
	if asked == 0 {
		f.lacks("nobody read where there was a quorum")
	}
	return f.atMost("oldest read where there is a quorum", worst, limit, "ms")
}

// checkProof: soon after a node began to run twice the second process has noticed and
// stopped, or every other node holds the proof that both signed. Nodes are asked for
// proofs once a second.
func checkProof(h *history, limit float64) Promise {
	var f findings
	worst, asked := 0.0, 0
	for _, fault := range h.faults {
		if !fault.Began || fault.Fault.Kind != Twin || fault.Error != "" {
			continue
		}
		twins, _ := pick(h.spots(), fault.Fault.From)
		for _, twin := range twins {
			asked++
			took, ok := h.settledTwin(twin, fault.At)
			if !ok {
				f.broke("nobody noticed that node %d ran twice", twin)
			}
			worst = max(worst, took.Seconds()*1e3)
		}
	}
	if asked == 0 {
		f.lacks("no validator ran twice")
	}
	return f.atMost("a second process with one key stops, or is proved to lie", worst, limit, "ms")
}

// settledTwin is how long after a time a node's second process had stopped, or all
// others held the proof.
func (h *history) settledTwin(twin int, at int64) (took time.Duration, ok bool) {
	for _, a := range h.alarms {
		if a.Node == twin && a.At >= at {
			return time.Duration(a.At - at), true
		}
	}
	for _, node := range others(len(h.manifest.Nodes), []int{twin}) {
		d := h.provedAfter(node, at)
		if d < 0 {
			return 0, false
		}
		took = max(took, d)
	}
	return took, true
}

// provedAfter is how long after a time a node held a proof; below 0: never.
func (h *history) provedAfter(node int, at int64) time.Duration {
	for _, r := range h.resources {
		if r.Node == node && r.At >= at && r.Evidence > 0 {
			return time.Duration(r.At - at)
		}
	}
	return -1
}
