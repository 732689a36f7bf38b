package mesh

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// place is where somebody is.
type place struct{ provider, region, zone string }

// distance is how far an instance is: the same zone, the same region, the same
// provider, elsewhere. A zone's name means something within its provider only.
func (p place) distance(r *Record) int {
	switch {
	case p.zone != "" && r.Zone == p.zone && r.Provider == p.provider:
		return 0
	case p.region != "" && r.Region == p.region:
		return 1
	case p.provider != "" && r.Provider == p.provider:
		return 2
	}
	return 3
}

var distances = [...]string{"same zone", "same region", "same provider", "elsewhere"}

// class is how well an instance is thought of; a lower one is asked only if there
// is none above.
type class uint8

const (
	healthy class = iota
	silent        // suspect: not heard of
	doubted       // one source speaks against it, or it drains
	ejected       // two do
)

func (c class) String() string {
	return [...]string{"healthy", "suspect", "doubted", "ejected"}[c]
}

// seat is an instance and all that decides about it.
type seat struct {
	Instance
	edge     *edge
	class    class
	distance int
	against  []string
}

// board is an answer in the order of choice, as of now. It never changes.
type board struct {
	answer     *Answer
	generation uint64
	until      time.Time
	seats      []seat // by class, then distance
	best       int    // how many of them are alike at the front
	troubled   []int  // seats that failed us and may be tried again some time
}

// newBoard judges every usable instance of an answer. h.mu is not held.
func (h *health) newBoard(a *Answer, here place, now time.Time) *board {
	h.mu.Lock()
	defer h.mu.Unlock()
	b := &board{answer: a, generation: h.generation.Load(), until: a.Until}
	if soon := now.Add(boardAgeMax); soon.Before(b.until) {
		b.until = soon // witnesses are forgotten, slow starts end
	}
	for _, in := range a.Usable() {
		s := seat{Instance: in, distance: here.distance(in.Record), edge: h.of(edgeID{a.Name, in.Owner}, now)}
		s.against = h.against(s.edge, &in, now)
		s.class = s.judge()
		b.seats = append(b.seats, s)
	}
	b.eject()
	slices.SortStableFunc(b.seats, func(x, y seat) int {
		return cmp.Or(cmp.Compare(x.class, y.class), cmp.Compare(x.distance, y.distance))
	})
	for i, s := range b.seats {
		if s.class == b.seats[0].class && s.distance == b.seats[0].distance {
			b.best = i + 1
		}
		if s.edge.fails > 0 {
			b.troubled = append(b.troubled, i)
		}
	}
	return b
}

// boardAgeMax is how long a board may be used when nothing changes.
const boardAgeMax = time.Second

// judge is an instance's class without a look at the others: never ejected.
func (s *seat) judge() class {
	switch {
	case len(s.against) > 0 || s.State == Draining:
		return doubted
	case s.Standing == Suspect:
		return silent
	}
	return healthy
}

// eject takes out those against whom at least two sources speak, the worst first:
// at most a third, and never the last (R11).
func (b *board) eject() {
	room := len(b.seats) / 3
	sourcesMin := 2
	if off == ruleDamp {
		room, sourcesMin = len(b.seats), 1
	}
	var accused []*seat
	for i := range b.seats {
		if s := &b.seats[i]; len(s.against) >= sourcesMin {
			accused = append(accused, s)
		}
	}
	slices.SortStableFunc(accused, func(x, y *seat) int {
		return cmp.Or(cmp.Compare(len(y.against), len(x.against)), cmp.Compare(x.Owner, y.Owner))
	})
	for _, s := range accused[:min(room, len(accused))] {
		s.class = ejected
	}
}

// avoid says which instances a choice must not be, or not if there are others.
type avoid struct {
	owners   []peer.ID // tried already
	provider string    // a hedge goes to another
}

func (a avoid) tried(s *seat) bool { return slices.Contains(a.owners, s.Owner) }

// bars reports whether an instance is not to be chosen while there are others.
func (a avoid) bars(s *seat) bool {
	return a.tried(s) || a.provider != "" && s.Provider == a.provider
}

// choose picks the instance for one request: one that is due for a trial, or the
// better of two of the best. dice are two chances in [0,1). Nil: there is none.
func (h *health) choose(b *board, not avoid, now time.Time, dice func() float64) (chosen *seat, trial bool) {
	if s := h.trialDue(b, not, now); s != nil {
		return s, true
	}
	if s := h.quick(b, not, now, dice); s != nil {
		return s, false
	}
	var pool []int
	var late *seat // would be next, but has only just come back
	for start, end := 0, b.best; start < len(b.seats); start, end = end, b.runEnd(end) {
		if late != nil && b.seats[start].class > late.class {
			break // rather one that has just come back than one that is not well
		}
		pool = b.pool(pool[:0], start, end, not)
		s, deferred := h.better(b, pool, now, dice)
		if s != nil {
			return s, false
		}
		if late == nil {
			late = deferred
		}
	}
	if late != nil {
		return late, false
	}
	return b.anyLeft(not), false
}

// quick is the better of two of the best, without a look at the others, if both
// may be chosen. It is the way of nearly every choice.
func (h *health) quick(b *board, not avoid, now time.Time, dice func() float64) *seat {
	if b.best == 0 || b.seats[0].class == ejected {
		return nil
	}
	x := &b.seats[int(dice()*float64(b.best))]
	y := &b.seats[int(dice()*float64(b.best))]
	if not.bars(x) || not.bars(y) || h.share(x.edge, now) < 1 || h.share(y.edge, now) < 1 {
		return nil
	}
	if y.edge.cost() < x.edge.cost() {
		return y
	}
	return x
}

// runEnd is the end of the run of alike seats that begins at start.
func (b *board) runEnd(start int) int {
	end := start
	for end < len(b.seats) && b.alike(start, end) {
		end++
	}
	return end
}

func (b *board) alike(i, j int) bool {
	return b.seats[i].class == b.seats[j].class && b.seats[i].distance == b.seats[j].distance
}

// pool are the seats of a run that may be chosen, and are not out of the question.
func (b *board) pool(pool []int, start, end int, not avoid) []int {
	for i := start; i < end; i++ {
		s := &b.seats[i]
		if s.class != ejected && !not.bars(s) {
			pool = append(pool, i)
		}
	}
	return pool
}

// anyLeft is the last resort: an ejected one, or the same provider after all.
func (b *board) anyLeft(not avoid) *seat {
	for i := range b.seats {
		if !not.tried(&b.seats[i]) {
			return &b.seats[i]
		}
	}
	return nil
}

// trialDue takes an instance that failed and may be asked again: one real request,
// before the others follow.
func (h *health) trialDue(b *board, not avoid, now time.Time) *seat {
	if len(b.troubled) == 0 {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, i := range b.troubled {
		s := &b.seats[i]
		e := s.edge
		busy := !e.trial.IsZero() && now.Sub(e.trial) < trialMax
		if e.fails > 0 && !busy && !now.Before(e.retryAt) && !not.tried(s) && s.State == Serving {
			e.trial = now
			return s
		}
	}
	return nil
}

// better is the better of two at random. One that has just come back gets its
// share little by little: it may be passed over, and is then deferred.
func (h *health) better(b *board, pool []int, now time.Time, dice func() float64) (s, deferred *seat) {
	for len(pool) > 0 {
		i := int(dice() * float64(len(pool)))
		j := int(dice() * float64(len(pool)))
		if b.seats[pool[j]].edge.cost() < b.seats[pool[i]].edge.cost() {
			i = j
		}
		s := &b.seats[pool[i]]
		if dice() < h.share(s.edge, now) {
			return s, nil
		}
		if deferred == nil {
			deferred = s
		}
		pool = slices.Delete(pool, i, i+1)
	}
	return nil, deferred
}

// share is which part of its traffic an instance gets: all, unless it came back
// within slowStart.
func (h *health) share(e *edge, now time.Time) float64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	if e.backAt.IsZero() || now.Sub(e.backAt) >= slowStart || off == ruleDamp {
		return 1
	}
	return 0.1 + 0.9*float64(now.Sub(e.backAt))/float64(slowStart)
}

// cost is what a request to an instance is expected to take, with those before it.
func (e *edge) cost() float64 {
	latency := math.Float64frombits(e.latency.Load()) + latencyFloor
	return latency * float64(e.inflight.Load()+1)
}

// Explained is why one instance is in or out.
type Explained struct {
	Instance
	In       bool
	Rank     int // 1 is asked first; alike have the same rank; 0 if out
	Why      []string
	Latency  time.Duration
	Inflight int
}

// explain says for every instance of an answer why it is in or out.
func (h *health) explain(b *board, now time.Time) (all []Explained) {
	rank := 0
	for i := range b.seats {
		if i == 0 || !b.alike(i-1, i) {
			rank = i + 1
		}
		all = append(all, h.explainSeat(&b.seats[i], rank, now))
	}
	for _, in := range b.answer.Instances {
		if in.Standing == Quarantined {
			all = append(all, Explained{Instance: in, Why: []string{"quarantined: its owner has signed two different records as " + in.Stamp.String()}})
		}
	}
	return all
}

func (h *health) explainSeat(s *seat, rank int, now time.Time) Explained {
	x := Explained{Instance: s.Instance, In: s.class != ejected, Rank: rank, Inflight: int(s.edge.inflight.Load()),
		Latency: time.Duration(math.Float64frombits(s.edge.latency.Load()))}
	x.Why = append(x.Why, s.class.String(), distances[s.distance])
	if s.Standing != Live {
		x.Why = append(x.Why, fmt.Sprintf("%s: not heard of for %v, its ttl is %v", s.Standing, now.Sub(s.Heard).Round(time.Second), s.TTL))
	}
	if s.State == Draining {
		x.Why = append(x.Why, "draining: it wants nothing new")
	}
	x.Why = append(x.Why, s.against...)
	if share := h.share(s.edge, now); share < 1 {
		x.Why = append(x.Why, fmt.Sprintf("came back not long ago: %.0f %% of its share", 100*share))
	}
	if s.class == doubted && len(s.against) > 1 {
		x.Why = append(x.Why, "kept: no more than a third may be ejected")
	}
	if !x.In {
		x.Rank = 0
	}
	return x
}
