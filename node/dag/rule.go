package dag

import "fmt"

// waveLength is the rounds it takes to decide a leader: its own, the votes, the
// certificates. It is not configurable: with longer waves the skip rule is unsafe.
const waveLength = 3

// decision is what the rule says of a leader slot. Once it is not undecided it
// never changes, and no honest validator comes to another one.
type decision uint8

const (
	undecided decision = iota
	committed          // one block of the slot, with its history, is ordered
	skipped            // no block of the slot ever leads a commit
)

func (d decision) String() string {
	return [...]string{"undecided", "commit", "skip"}[d]
}

// schedule names the leaders of a round, in order; a round may have none. It
// must be the same function at every validator.
type schedule func(round uint64) []Author

// weakening is a way to break the rule. Only tests set one, to prove that the
// search for divergence finds it.
type weakening uint8

const (
	sound          weakening = iota
	anchorTooNear            // an anchor at r+2
	jumpUndecided            // jump over an undecided anchor
	quorumLessOne
	oneCertificate           // commit on one certificate
)

// leaderSlot is one leader's place in a round, and what is known of it.
type leaderSlot struct {
	slot   Slot
	offset int // place among the leaders of its round

	decision decision
	direct   bool    // decided by its own votes, not by an anchor
	block    *vertex // the committed block; nil unless committed

	blame      tally       // authors with a block at r+1 that has no parent in this slot
	candidates []candidate // the slot's blocks, in the order they came
}

// candidate is one block that may lead a commit.
type candidate struct {
	block        *vertex
	certificates []*vertex // blocks of r+2 that certify it
	certified    tally     // their authors
}

// leaderRound is a round's leader slots in order.
type leaderRound struct {
	slots []*leaderSlot
	// anchor is the first slot from this round on that is not skipped (scratch
	// of decide), nil when there is none.
	anchor *leaderSlot
}

// rule is the commit rule over one graph. It is told of each vertex once, after
// its parents, and answers with the decided prefix of leader slots; the answer
// depends on the set of vertices, not on the order they came in.
type rule struct {
	committee *Committee
	leaders   schedule
	weakened  weakening // sound but in tests

	first  uint64        // the round of rounds[0]
	rounds []leaderRound // up to the highest round seen
	next   int           // rounds before first+next are wholly handed out
	offset int           // slots of round first+next already handed out

	conflict *Conflict // two committed blocks in one slot
}

// Conflict is the proof that more weight than F is faulty: two blocks of one
// slot, both committed by the rule. Whoever sees it must stop.
type Conflict struct {
	Slot   Slot
	Blocks [2]Ref
}

func (c *Conflict) Error() string {
	return fmt.Sprintf("dag: both %v and %v are committed in one slot: more than a third of the weight is faulty; "+
		"stop this node and keep its store as proof", c.Blocks[0], c.Blocks[1])
}

// newRule starts with the leaders of round first, which is at least 1; all
// before count as decided.
func newRule(c *Committee, leaders schedule, first uint64) *rule {
	return &rule{committee: c, leaders: leaders, first: first}
}

func (r *rule) quorum() uint64 {
	if r.weakened == quorumLessOne {
		return r.committee.quorum - 1
	}
	return r.committee.quorum
}

// round returns the leader slots of a round, or nil for one that is forgotten.
func (r *rule) round(round uint64) *leaderRound {
	if round < r.first {
		return nil
	}
	for uint64(len(r.rounds)) <= round-r.first {
		at := r.first + uint64(len(r.rounds))
		var lr leaderRound
		for i, a := range r.leaders(at) {
			lr.slots = append(lr.slots, &leaderSlot{slot: Slot{at, a}, offset: i})
		}
		r.rounds = append(r.rounds, lr)
	}
	return &r.rounds[round-r.first]
}

// observe counts what a new vertex says: it may be a leader's block, a vote or
// blame for the round before, a certificate for the round before that.
func (r *rule) observe(v *vertex) {
	if v.ref.Round < r.first {
		return
	}
	for _, s := range r.round(v.ref.Round).slots {
		if s.slot == v.ref.Slot {
			s.candidates = append(s.candidates, candidate{block: v, certificates: make([]*vertex, 0, r.committee.Size())})
		}
	}
	if v.ref.Round < r.first+1 {
		return
	}
	v.votes = v.voteSpace[:0]
	for _, s := range r.round(v.ref.Round - 1).slots {
		vote := v.parentIn(s.slot)
		v.votes = append(v.votes, vote)
		if vote == nil {
			s.blame.add(r.committee, v.ref.Author)
		}
	}
	if v.ref.Round < r.first+2 {
		return
	}
	for i, s := range r.round(v.ref.Round - 2).slots {
		r.certify(v, i, s)
	}
}

// certify counts v for each candidate of s, the i-th leader slot two rounds
// below, that v's parents vote for with the weight of a quorum.
func (r *rule) certify(v *vertex, i int, s *leaderSlot) {
	for k := range s.candidates {
		c := &s.candidates[k]
		var votes uint64 // parents have distinct authors
		for _, p := range v.parents {
			if p.ref.Round == v.ref.Round-1 && p.votes[i] == c.block {
				votes += r.committee.members[p.ref.Author].Weight
			}
		}
		if votes < r.quorum() {
			continue
		}
		c.certificates = append(c.certificates, v)
		c.certified.add(r.committee, v.ref.Author)
		if s.decision == committed && s.block != c.block && c.certified.weight >= r.quorum() {
			r.contradict(s, c.block)
		}
	}
}

// decide settles what can be settled now, from the highest round down, and
// returns the slots that are new in the longest decided prefix. An undecided
// slot blocks all later ones.
func (r *rule) decide(g *graph) []*leaderSlot {
	var anchor *leaderSlot
	for i := len(r.rounds) - 1; i >= r.next; i-- {
		lr := &r.rounds[i]
		for k := len(lr.slots) - 1; k >= 0; k-- {
			s := lr.slots[k]
			if r.first+uint64(i)+waveLength-1 <= r.top() && s.decision == undecided {
				r.decideSlot(g, s)
			}
			if s.decision == committed || s.decision == undecided && r.weakened != jumpUndecided {
				anchor = s
			}
		}
		lr.anchor = anchor
	}
	return r.prefix()
}

// top is the highest round seen.
func (r *rule) top() uint64 { return r.first + uint64(len(r.rounds)) - 1 }

// prefix hands out the decided slots that follow what was handed out before.
func (r *rule) prefix() []*leaderSlot {
	var out []*leaderSlot
	for r.next < len(r.rounds) && r.first+uint64(r.next)+waveLength-1 <= r.top() {
		slots := r.rounds[r.next].slots
		for ; r.offset < len(slots); r.offset++ {
			if slots[r.offset].decision == undecided {
				return out
			}
			out = append(out, slots[r.offset])
		}
		r.next, r.offset = r.next+1, 0
	}
	return out
}

// decideSlot applies the rule to one slot: skip first, then commit, then ask
// the anchor.
func (r *rule) decideSlot(g *graph, s *leaderSlot) {
	if s.blame.weight >= r.quorum() {
		s.decision, s.direct = skipped, true
		return
	}
	for k := range s.candidates {
		c := &s.candidates[k]
		enough := c.certified.weight >= r.quorum()
		if r.weakened == oneCertificate {
			enough = len(c.certificates) > 0
		}
		if enough {
			r.commit(s, c.block, true)
		}
	}
	if s.decision == undecided {
		r.askAnchor(g, s)
	}
}

// askAnchor decides s by the first later slot that is not skipped and far
// enough to have all of s's certificates below it.
func (r *rule) askAnchor(g *graph, s *leaderSlot) {
	at := s.slot.Round + waveLength
	if r.weakened == anchorTooNear {
		at--
	}
	if at > r.top() {
		return
	}
	anchor := r.rounds[at-r.first].anchor
	if anchor == nil || anchor.decision == undecided {
		return
	}
	for k := range s.candidates {
		c := &s.candidates[k]
		if g.reaches(anchor.block, c.certificates, s.slot.Round+waveLength-1) {
			r.commit(s, c.block, false)
		}
	}
	if s.decision == undecided {
		s.decision, s.direct = skipped, false
	}
}

// commit settles s on block; a second one in the same slot is a conflict.
func (r *rule) commit(s *leaderSlot, block *vertex, direct bool) {
	if s.decision == committed {
		r.contradict(s, block)
		return
	}
	s.decision, s.direct, s.block = committed, direct, block
}

func (r *rule) contradict(s *leaderSlot, other *vertex) {
	if r.conflict == nil {
		r.conflict = &Conflict{Slot: s.slot, Blocks: [2]Ref{s.block.ref, other.ref}}
	}
}

// forget lets go of the leader slots at or below round that were handed out.
func (r *rule) forget(round uint64) {
	drop := 0
	for r.first+uint64(drop) <= round && drop < r.next {
		r.rounds[drop] = leaderRound{}
		drop++
	}
	r.first += uint64(drop)
	r.next -= drop
	r.rounds = r.rounds[drop:]
}
