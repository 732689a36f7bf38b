package dag

import (
	"fmt"
	"math/rand/v2"
	"os"
	"runtime/debug"
	"slices"
	"strconv"
	"testing"
)

// testSeed is where all randomness of a search starts; DAG_SEED sets another.
func testSeed(t testing.TB) uint64 {
	seed := uint64(1)
	if s := os.Getenv("DAG_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatalf("DAG_SEED: %v", err)
		}
	}
	t.Logf("seed %d (DAG_SEED sets another)", seed)
	return seed
}

// collectLess lets the garbage of a search that makes gigabytes of it and keeps little wait until there is more of it: a
// third of such a search's time goes that way. Not for tests that run beside others.
func collectLess(t testing.TB) {
	before := debug.SetGCPercent(400)
	t.Cleanup(func() { debug.SetGCPercent(before) })
}

// An adversary draws DAGs that valid blocks can form: every block starts from a block of its author, has at most one
// parent per author and a quorum of parents in the round below. Inside that the network is the adversary's: it says
// whose blocks arrive in time, whose late, whose not at all, and up to F of the weight puts several blocks in a slot.
type adversary struct {
	rng *rand.Rand

	dag     *plainDAG
	rules   plainRules
	depth   int // of collection
	faulty  map[string]bool
	rounds  int
	mood    mood
	leaders [][]string
}

// A mood is what an adversary tends to in one DAG; probabilities are per block.
type mood struct {
	absent    float64 // the author has no block in this round
	thin      float64 // a parent beyond the quorum is left out
	shun      float64 // the leaders of the round below are taken last
	weak      float64 // a late block, two to four rounds below, is taken in
	equivoque float64 // a faulty author's slot gets two blocks, or three

	partitioned, healed int             // rounds between which side takes nothing from the others, or the others from it
	side                map[string]bool // weighs less than a quorum in most DAGs
	slow                string          // an author whose blocks nobody else takes in the round above
}

// drawDAG draws the i-th DAG of a seed.
func drawDAG(seed uint64, i int) *adversary {
	a := &adversary{rng: rand.New(rand.NewPCG(seed, uint64(i)))}
	a.drawCommittee()
	a.drawMood()
	a.drawRules()
	for r := 1; r <= a.rounds; r++ {
		a.drawRound(r)
	}
	return a
}

// drawRound draws a round as the mood is; where that leaves no quorum the rest of the authors come after all, as they
// do when a partition heals.
func (a *adversary) drawRound(round int) {
	for _, calm := range []bool{false, true} {
		for _, author := range a.dag.authors {
			if a.version(author, round) == "" {
				a.drawBlocks(round, author, calm)
			}
		}
		if a.dag.weigh(a.dag.rounds[round]) >= a.rules.quorum {
			return
		}
	}
}

func (a *adversary) chance(p float64) bool { return a.rng.Float64() < p }

// oneOf draws one of a few numbers.
func (a *adversary) oneOf(numbers ...float64) float64 { return numbers[a.rng.IntN(len(numbers))] }

func (a *adversary) drawCommittee() {
	n := int(a.oneOf(4, 4, 4, 4, 4, 7, 7, 10))
	authors := make([]string, n)
	weights := make([]uint64, n)
	equal := a.chance(0.6)
	for i := range authors {
		authors[i] = string(rune('A' + i))
		if weights[i] = 1; !equal {
			weights[i] = 1 + a.rng.Uint64N(9)
		}
	}
	a.dag = newPlainDAG(authors, weights)
	total := sum(weights)
	f := (total - 1) / 3
	a.rules.quorum = 2*total/3 + 1

	// As many liars as F allows, in random order, but for the DAGs of honest authors only.
	a.faulty = make(map[string]bool)
	if a.chance(0.2) {
		return
	}
	for _, i := range a.rng.Perm(n) {
		if weights[i] <= f {
			f -= weights[i]
			a.faulty[authors[i]] = true
		}
	}
}

func sum(weights []uint64) uint64 {
	var s uint64
	for _, w := range weights {
		s += w
	}
	return s
}

func (a *adversary) drawMood() {
	n := len(a.dag.authors)
	a.rounds = 7 + a.rng.IntN(6)
	a.mood = mood{
		absent:    a.oneOf(0, 0, 0.05, 0.2),
		thin:      a.oneOf(0.1, 0.5, 0.9),
		shun:      a.oneOf(0, 0.3, 0.6),
		weak:      a.oneOf(0, 0.1, 0.4),
		equivoque: a.oneOf(0.2, 0.6),
		side:      make(map[string]bool),
	}
	if a.chance(0.25) {
		a.mood.slow = a.dag.authors[a.rng.IntN(n)]
	}
	if a.chance(0.25) {
		a.mood.partitioned = 1 + a.rng.IntN(a.rounds)
		a.mood.healed = a.mood.partitioned + 1 + a.rng.IntN(4)
		for _, i := range a.rng.Perm(n)[:1+a.rng.IntN((n+1)/2)] {
			a.mood.side[a.dag.authors[i]] = true
		}
	}
}

// drawRules draws who leads: one author a round in most DAGs, several, or rounds without.
func (a *adversary) drawRules() {
	n := len(a.dag.authors)
	perRound := int(a.oneOf(1, 1, 1, 1, 1, 1, 2, 3))
	waves := a.chance(0.1)
	a.leaders = make([][]string, a.rounds+1)
	for r := 1; r <= a.rounds; r++ {
		if waves && r%3 != 0 {
			continue
		}
		for _, i := range a.rng.Perm(n)[:perRound] {
			a.leaders[r] = append(a.leaders[r], a.dag.authors[i])
		}
	}
	a.rules.leaders = func(round int) []string {
		if round >= len(a.leaders) {
			return nil
		}
		return a.leaders[round]
	}
	a.depth = int(a.oneOf(0, 2, 4, 60))
	if a.chance(0.15) {
		a.rules.lastDecided = plainSlot{1 + a.rng.IntN(3), a.rng.IntN(perRound)}
	}
}

// drawBlocks fills one slot with no block, one, or for a liar several.
func (a *adversary) drawBlocks(round int, author string, calm bool) {
	if !calm && a.chance(a.mood.absent) {
		return
	}
	versions := 1
	if a.faulty[author] && a.chance(a.mood.equivoque) {
		versions = 2 + a.rng.IntN(2)
	}
	for v := range versions {
		id := author + strconv.Itoa(round)
		if versions > 1 {
			id += string(rune('x' + v))
		}
		if parents := a.drawParents(round, author, calm); parents != nil {
			a.dag.add(&plainBlock{id: id, author: author, round: round, parents: parents})
		}
	}
}

// drawParents draws what a block of author points to, or nothing when no quorum of the round below can reach it.
func (a *adversary) drawParents(round int, author string, calm bool) []string {
	own := a.newest(author, round-1)
	parents := []string{own}
	taken := map[string]bool{author: true}
	var weight uint64
	if a.roundOf(own) == round-1 {
		weight = a.dag.weights[author]
	}
	for _, other := range a.inOrder(round, author, calm) {
		if weight >= a.rules.quorum && a.chance(a.mood.thin) {
			continue
		}
		if id := a.version(other, round-1); id != "" {
			parents = append(parents, id)
			taken[other] = true
			weight += a.dag.weights[other]
		}
	}
	if weight < a.rules.quorum {
		return nil
	}
	for _, other := range a.dag.authors {
		if taken[other] || !a.chance(a.mood.weak) {
			continue
		}
		if id := a.version(other, round-2-a.rng.IntN(3)); id != "" {
			parents = append(parents, id)
		}
	}
	return parents
}

// inOrder gives the authors whose blocks of the round below can reach author's block of this round, in the order they
// are taken in.
func (a *adversary) inOrder(round int, author string, calm bool) []string {
	var others, last []string
	shunned := a.chance(a.mood.shun)
	for _, i := range a.rng.Perm(len(a.dag.authors)) {
		other := a.dag.authors[i]
		apart := round >= a.mood.partitioned && round < a.mood.healed && a.mood.side[author] != a.mood.side[other]
		switch {
		case other == author || !calm && (other == a.mood.slow || apart):
		case shunned && slices.Contains(a.rules.leaders(round-1), other):
			last = append(last, other)
		default:
			others = append(others, other)
		}
	}
	return append(others, last...)
}

// newest is a block of the author's highest round up to the given one; the genesis if there is none.
func (a *adversary) newest(author string, round int) string {
	for ; round > 0; round-- {
		if id := a.version(author, round); id != "" {
			return id
		}
	}
	return author + "0"
}

// version is one of the blocks in a slot, or nothing.
func (a *adversary) version(author string, round int) string {
	if round < 0 {
		return ""
	}
	if round == 0 {
		return author + "0"
	}
	var ids []string
	for _, b := range a.dag.rounds[round] {
		if b.author == author {
			ids = append(ids, b.id)
		}
	}
	if len(ids) == 0 {
		return ""
	}
	return ids[a.rng.IntN(len(ids))]
}

func (a *adversary) roundOf(id string) int {
	if b := a.dag.blocks[id]; b != nil {
		return b.round
	}
	return 0
}

// viewsPerDAG is how many validators look at each DAG.
const viewsPerDAG = 6

// views are what some validators have seen of the DAG: all of it, all but a few blocks and what is built on them, a
// different height of each author, or just the history of a few blocks.
func (a *adversary) views() []*plainDAG {
	views := []*plainDAG{a.dag}
	for len(views) < viewsPerDAG {
		unseen := make(map[string]bool)
		switch a.rng.IntN(4) {
		case 0:
			for range 1 + a.rng.IntN(3) {
				unseen[a.littleUsed()] = true
			}
		case 1:
			for _, author := range a.dag.authors {
				height := a.rounds - a.rng.IntN(4)
				for _, b := range a.dag.blocks {
					if b.author == author && b.round > height {
						unseen[b.id] = true
					}
				}
			}
		default:
			seen := make(map[string]bool)
			for range 1 + a.rng.IntN(3) {
				for id := range a.dag.history(a.anyBlock(a.rounds - 4)) {
					seen[id] = true
				}
			}
			for id := range a.dag.blocks {
				unseen[id] = !seen[id]
			}
		}
		views = append(views, a.dag.without(unseen))
	}
	return views
}

// littleUsed draws a block few others build on: a view that lacks it is still high enough to decide much.
func (a *adversary) littleUsed() string {
	least, users := "", len(a.dag.blocks)+1
	for range 4 {
		id := a.anyBlock(1)
		above := 0
		for _, b := range a.dag.rounds[a.dag.blocks[id].round+1] {
			if slices.Contains(b.parents, id) {
				above++
			}
		}
		if above < users {
			least, users = id, above
		}
	}
	return least
}

// anyBlock draws a block of round from or above; of a lower one when there is none.
func (a *adversary) anyBlock(from int) string {
	from = max(1, min(from, a.dag.highest))
	blocks := a.dag.rounds[from+a.rng.IntN(a.dag.highest-from+1)]
	return blocks[a.rng.IntN(len(blocks))].id
}

func (a *adversary) String() string {
	s := fmt.Sprintf("quorum %d, faulty %v, collected %d rounds after the last commit\n", a.rules.quorum, a.faulty, a.depth)
	for r := 1; r <= a.rounds; r++ {
		s += fmt.Sprintf("round %d is led by %v\n", r, a.leaders[r])
	}
	return s + a.dag.String()
}
