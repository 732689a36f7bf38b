package testnet

import (
	"math"
	"slices"
)

// span is a stretch of time in Unix nanoseconds.
type span struct{ from, to int64 }

// standing is what a node could do in a stretch of a run, by the faults in force.
type standing int

const (
	quorate  standing = iota // it runs and reaches a quorum
	cutOff                   // it runs and does not
	away                     // it does not run, or stands still
	doubtful                 // a fault that comes and goes leaves it open
)

// stretch is a time in which no fault began or ended.
type stretch struct {
	span
	nodes []standing
}

// stretches cuts a run where a fault began or ended, and where a node that had been
// without a quorum was with the others again: in between its standing is open.
func (h *history) stretches() []stretch {
	if h.cut == nil {
		h.cut = h.split(h.cutAtFaults())
	}
	return h.cut
}

// cutAtFaults cuts at every beginning and end of a fault.
func (h *history) cutAtFaults() (out []stretch) {
	n := len(h.manifest.Nodes)
	active := make(map[string]Fault)
	from := int64(0)
	for _, f := range h.faults {
		if f.Name == "" {
			continue
		}
		if f.At > from {
			out = append(out, stretch{span{from, f.At}, h.standings(n, active)})
			from = f.At
		}
		if f.Began && !f.Fault.momentary() {
			active[f.Name] = f.Fault
		}
		if !f.Began {
			delete(active, f.Name)
		}
	}
	return append(out, stretch{span{from, math.MaxInt64}, h.standings(n, active)})
}

// split cuts again at the moments in which nodes are back.
func (h *history) split(all []stretch) []stretch {
	for node := range h.manifest.Nodes {
		var out []stretch
		lost := int64(-1) // when the node was last seen without a quorum
		for _, s := range all {
			if s.nodes[node] != quorate {
				lost = s.to
				out = append(out, s)
				continue
			}
			back := int64(0)
			if lost >= 0 {
				back = h.backAt(node, lost)
			}
			if back > s.from {
				early := stretch{span{s.from, min(back, s.to)}, slices.Clone(s.nodes)}
				early.nodes[node] = doubtful
				out = append(out, early)
			}
			if back < s.to {
				out = append(out, stretch{span{max(s.from, back), s.to}, s.nodes})
			}
		}
		all = out
	}
	return all
}

// backAt is when a node first told of a commit beyond all that anybody had when its
// fault ended.
func (h *history) backAt(node int, ended int64) int64 {
	furthest := h.furthest(ended)
	of := h.commits[node]
	i := slices.IndexFunc(of, func(c CommitRecord) bool { return c.Seen > ended && c.Index > furthest })
	if i < 0 {
		return math.MaxInt64
	}
	return of[i].Seen
}

// furthest is the highest commit anybody had told of at a time.
func (h *history) furthest(at int64) (index uint64) {
	for _, of := range h.commits {
		for _, c := range of {
			if c.Seen <= at {
				index = max(index, c.Index)
			}
		}
	}
	return index
}

// standings is what each node can do under the faults in force.
func (h *history) standings(n int, active map[string]Fault) []standing {
	sure, maybe := newWeather(n), newWeather(n)
	alive, perhaps := make([]bool, n), make([]bool, n)
	for i := range n {
		alive[i], perhaps[i] = true, true
	}
	for name, f := range active { // order: rules and deaths add up in every order
		from, _ := pick(h.spots(), f.From)
		to, _ := pick(h.spots(), f.To)
		if len(f.To) == 0 {
			to = others(n, from)
		}
		switch {
		case f.Kind == Flap:
			maybe.set(name, from, to, f.OneWay, f.rule())
		case f.OnLinks():
			sure.set(name, from, to, f.OneWay, f.rule())
			maybe.set(name, from, to, f.OneWay, f.rule())
		}
		for _, i := range from {
			switch f.Kind {
			case Kill, Pause, DiskLost:
				alive[i], perhaps[i] = false, false
			case CrashLoop, Twin:
				alive[i] = false
			}
		}
	}
	best, worst := quorateIn(sure, perhaps), quorateIn(maybe, alive)
	out := make([]standing, n)
	for i := range n {
		switch {
		case !perhaps[i]:
			out[i] = away
		case best[i] != worst[i] || alive[i] != perhaps[i]:
			out[i] = doubtful
		case best[i]:
			out[i] = quorate
		default:
			out[i] = cutOff
		}
	}
	return out
}

// quorateIn says which nodes are on an island with more than two thirds of all.
func quorateIn(w *weather, alive []bool) []bool {
	out := make([]bool, w.n)
	for _, island := range w.islands(alive) {
		for _, i := range island {
			out[i] = 3*len(island) > 2*w.n
		}
	}
	return out
}

func (h *history) spots() (out []Spot) {
	for _, m := range h.manifest.Nodes {
		out = append(out, m.Spot)
	}
	return out
}

// without are the stretches in which a node surely ran and had no quorum, those that
// follow on each other as one.
func (h *history) without(node int) (out []span) {
	for _, s := range h.stretches() {
		if s.nodes[node] != cutOff {
			continue
		}
		if last := len(out) - 1; last >= 0 && out[last].to == s.from {
			out[last].to = s.to
			continue
		}
		out = append(out, s.span)
	}
	return out
}

// loaded is the time of the load: from the first operation to the last.
func (h *history) loaded() span {
	if len(h.ops) == 0 {
		return span{}
	}
	return span{h.ops[0].Invoked, h.ops[len(h.ops)-1].Invoked}
}
