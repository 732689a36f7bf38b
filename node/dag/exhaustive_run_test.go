package dag

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"
)

// universes are explored by CI, deepUniverses too when EXHAUSTIVE is set.
var universes = []universe{
	{name: "a leader at r+2", rounds: 5, slots: []Slot{{1, 0}, {3, 1}}},
	{name: "anchors of one round", rounds: 6, slots: []Slot{{1, 0}, {4, 0}, {4, 1}}},
	{name: "a liar votes", rounds: 6, slots: []Slot{{1, 1}, {4, 2}}, liar: []int{2}},
}

var deepUniverses = []universe{
	{name: "a liar certifies", rounds: 6, slots: []Slot{{1, 1}, {4, 2}}, liar: []int{3}},
	{name: "a liar leads", rounds: 6, slots: []Slot{{1, 0}, {4, 1}}, liar: []int{1}},
	{name: "a liar is the anchor", rounds: 6, slots: []Slot{{1, 1}, {4, 0}}, liar: []int{4}},
	{name: "a liar votes for the anchor", rounds: 6, slots: []Slot{{1, 1}, {4, 2}}, liar: []int{5}},
	{name: "a leader at r+2 and an anchor", rounds: 6, slots: []Slot{{1, 0}, {3, 1}, {4, 2}}},
	{name: "every round leads", rounds: 5, slots: []Slot{{1, 1}, {2, 2}, {3, 3}}},
	{name: "two leaders a round", rounds: 4, slots: []Slot{{1, 1}, {1, 2}, {2, 2}, {2, 3}}},
	{name: "anchors of two rounds", rounds: 7, slots: []Slot{{1, 0}, {4, 0}, {5, 1}}},
	{name: "a liar in every round", rounds: 6, slots: []Slot{{1, 0}, {4, 1}}, liar: []int{1, 2, 3, 4, 5, 6}},
	{name: "a liar in every round leads nothing", rounds: 6, slots: []Slot{{1, 1}, {4, 2}}, liar: []int{1, 2, 3, 4, 5, 6}},
	{name: "every round leads, to the first anchor", rounds: 6, slots: []Slot{{1, 1}, {2, 2}, {3, 3}, {4, 0}}},
}

// Every pair that brings a new state is judged, of the others one in so many; of these one in so many by the twin, too.
const (
	judgeEvery = 4
	twinEvery  = 8
)

// TestExhaustive explores every pair of a DAG and a view of it, of four authors and a few rounds: what the view has
// decided, the DAG decides the same way, and the twin agrees. EXHAUSTIVE=1 goes as deep as two minutes allow; -short
// explores the smallest universe only.
func TestExhaustive(t *testing.T) {
	collectLess(t)
	all := universes
	if testing.Short() {
		all = universes[:1]
	}
	if os.Getenv("EXHAUSTIVE") != "" {
		all = append(slices.Clone(all), deepUniverses...)
	}
	seed := testSeed(t)
	for k, u := range all {
		t.Run(u.name, func(t *testing.T) {
			t.Parallel()
			start := time.Now()
			ways, judged := 0, 0
			final, sizes, err := u.explore(func(s *uniState, news bool) error {
				if ways++; !news && ways%judgeEvery != 0 {
					return nil
				}
				judged++
				return u.judge(s, sound, judged%twinEvery == 0)
			})
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%d rounds, leaders %v, liar %v: %.4g pairs of a DAG and a view in %v states, %d pairs judged in %v",
				u.rounds, u.slots, u.liar, sizes.pairs, sizes.states, judged, time.Since(start).Round(time.Millisecond))
			u.checkMerging(t, final, rand.New(rand.NewPCG(seed, uint64(k))))
		})
	}
}

// checkMerging grows pairs at random without merging any. Each must end in a state the exploration knows, and be
// decided as the pair that was kept for the state is.
func (u *universe) checkMerging(t *testing.T, final []*uniState, rng *rand.Rand) {
	const walks = 3000
	known := make(map[string]*uniState)
	for _, s := range final {
		known[string(u.appendKey(nil, s))] = s
	}
	for range walks {
		s := u.walk(rng)
		kept := known[string(u.appendKey(nil, s))]
		if kept == nil {
			t.Fatalf("a pair the exploration missed:\n%v", u.plain(s, false))
		}
		for _, viewOnly := range []bool{true, false} {
			got, _ := u.decide(s, viewOnly, sound)
			want, _ := u.decide(kept, viewOnly, sound)
			if !slices.Equal(got, want) {
				t.Fatalf("merged, but decided as %v and %v:\n%v\n%v", got, want, u.plain(s, viewOnly), u.plain(kept, viewOnly))
			}
		}
	}
}

// TestExhaustiveCatchesBrokenRules wants each broken rule caught in the same universes.
func TestExhaustiveCatchesBrokenRules(t *testing.T) {
	collectLess(t)
	for name, w := range map[string]weakening{
		"an anchor at r+2": anchorTooNear, "jumping over an undecided anchor": jumpUndecided,
		"a quorum less one": quorumLessOne, "commit on one certificate": oneCertificate,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if testing.Short() && (w == jumpUndecided || w == oneCertificate) {
				t.Skip("-short: this one takes a larger universe")
			}
			judged := 0
			for _, u := range universes {
				_, _, err := u.explore(func(s *uniState, news bool) error {
					judged++
					return u.judge(s, w, false)
				})
				if err != nil {
					t.Logf("caught in %q after %d pairs: %v", u.name, judged, err)
					return
				}
			}
			t.Errorf("not caught in %d pairs", judged)
		})
	}
}

// uniSizes is what an exploration comes to: the pairs it covers and the states they were merged to, round by round.
type uniSizes struct {
	pairs  float64
	states []int
}

// explore goes through the universe, gives judge the pairs of the last round, and returns the states there.
func (u *universe) explore(judge func(s *uniState, news bool) error) (final []*uniState, sizes uniSizes, err error) {
	states := []*uniState{u.start()}
	for round := 1; round <= u.rounds; round++ {
		states = u.next(states, func(s *uniState, news bool) {
			if round == u.rounds && err == nil {
				err = judge(s, news)
			}
		})
		if err != nil {
			return nil, sizes, err
		}
		sizes.states = append(sizes.states, len(states))
	}
	for _, s := range states {
		sizes.pairs += s.pairs
	}
	return states, sizes, nil
}

// walk draws one pair, any parents being as likely as any other.
func (u *universe) walk(rng *rand.Rand) *uniState {
	s := u.start()
	for range u.rounds {
		choice := make([]uniOption, uniAuthors)
		for a := range choice {
			var all []*uniBlock
			u.parents(s, a, func(parents []*uniBlock) {
				all = append(all, u.block(s.round+1, a, parents))
			})
			versions := 0
			if len(all) > 0 && rng.IntN(10) > 0 {
				versions = 1
			}
			if versions == 1 && a == 0 && slices.Contains(u.liar, s.round+1) && rng.IntN(2) == 0 {
				versions = 2
			}
			for v := range versions {
				b := *all[rng.IntN(len(all))]
				b.version = v
				b.inView = rng.IntN(8) > 0 && !slices.ContainsFunc(b.parents, func(p *uniBlock) bool { return !p.inView })
				choice[a].blocks = append(choice[a].blocks, &b)
			}
		}
		n := new(uniState)
		u.grow(n, s, choice)
		s = n
	}
	return s
}

// A uniDecision is what the rule says of one slot: undecided, skipped, or the version that is committed.
type uniDecision struct {
	decision decision
	version  byte
}

// judge holds the decisions of the view against those of the whole, and with twin both against the plain rule.
func (u *universe) judge(s *uniState, w weakening, twin bool) error {
	view, err := u.decide(s, true, w)
	if err != nil {
		return fmt.Errorf("%w\n%v", err, u.plain(s, true))
	}
	whole, err := u.decide(s, false, w)
	if err != nil {
		return fmt.Errorf("%w\n%v", err, u.plain(s, false))
	}
	for i := range u.slots {
		if view[i].decision != undecided && view[i] != whole[i] {
			return fmt.Errorf("slot %v: %v in a view, %v in the whole\n%v\nthe view:\n%v", u.slots[i], view[i], whole[i],
				u.plain(s, false), u.plain(s, true))
		}
	}
	if !twin {
		return nil
	}
	for viewOnly, got := range map[bool][]uniDecision{true: view, false: whole} {
		d := u.plain(s, viewOnly)
		want := make([]uniDecision, len(u.slots))
		for i, p := range decidePlainly(d, u.plainRules()) {
			switch p.decision {
			case "skip":
				want[i].decision = skipped
			case "commit":
				want[i] = uniDecision{committed, p.block[len(p.block)-1] - 'x'}
			}
		}
		if !slices.Equal(got, want) {
			return fmt.Errorf("decided %v, the twin %v\n%v", got, want, d)
		}
	}
	return nil
}

// decide runs the package's rule over the blocks of the view or of all.
func (u *universe) decide(s *uniState, viewOnly bool, w weakening) ([]uniDecision, error) {
	g := newGraph(uniAuthors, 0)
	r := newRule(uniCommittee, u.leaders, 1)
	r.weakened = w
	s.each(viewOnly, func(b *uniBlock) {
		var space [uniAuthors]Ref
		parents := space[:0]
		for _, p := range b.parents {
			parents = append(parents, p.ref())
		}
		r.observe(g.add(b.ref(), parents, nil))
	})
	r.decide(g)
	all := make([]uniDecision, len(u.slots))
	i := 0
	for _, lr := range r.rounds {
		for _, slot := range lr.slots {
			all[i].decision = slot.decision
			if slot.block != nil {
				all[i].version = slot.block.ref.Digest[2]
			}
			i++
		}
	}
	if r.conflict != nil {
		return nil, r.conflict
	}
	return all, nil
}

var uniCommittee = func() *Committee {
	members := make([]Member, uniAuthors)
	for i := range members {
		members[i] = Member{Key: [32]byte{byte(i)}, Weight: 1}
	}
	c, err := NewCommittee(members)
	if err != nil {
		panic(err)
	}
	return c
}()

func (u *universe) leaders(round uint64) []Author {
	var authors []Author
	for _, s := range u.slots {
		if s.Round == round {
			authors = append(authors, s.Author)
		}
	}
	return authors
}

func (b *uniBlock) ref() Ref {
	return Ref{Slot{uint64(b.round), Author(b.author)}, Digest{byte(b.round), byte(b.author), byte(b.version)}}
}

// each calls f with the blocks of the view, or of all, from round 1 up.
func (s *uniState) each(viewOnly bool, f func(*uniBlock)) {
	if s.before == nil {
		return
	}
	s.before.each(viewOnly, f)
	for _, b := range s.blocks {
		if b.inView || !viewOnly {
			f(b)
		}
	}
}

// plain is the pair's view, or all of it, for the twin and for people.
func (u *universe) plain(s *uniState, viewOnly bool) *plainDAG {
	name := func(b *uniBlock) string {
		return string(rune('A'+b.author)) + strconv.Itoa(b.round) + string(rune('x'+b.version))
	}
	d := newPlainDAG([]string{"A", "B", "C", "D"}, []uint64{1, 1, 1, 1})
	s.each(viewOnly, func(b *uniBlock) {
		p := &plainBlock{id: name(b), author: string(rune('A' + b.author)), round: b.round}
		for _, parent := range b.parents {
			p.parents = append(p.parents, name(parent))
		}
		d.add(p)
	})
	return d
}

func (u *universe) plainRules() plainRules {
	return plainRules{quorum: uniQuorum, leaders: func(round int) []string {
		var authors []string
		for _, a := range u.leaders(uint64(round)) {
			authors = append(authors, string(rune('A'+a)))
		}
		return authors
	}}
}
