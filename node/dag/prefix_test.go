package dag

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"testing"
)

// searchDAGs is how many random DAGs a search goes through: enough that each of the broken rules is caught many times
// over. With -short it is shortSearchDAGs; DAGS sets another number.
const (
	searchDAGs      = 20_000
	shortSearchDAGs = 1_500
)

func dagsToSearch(t testing.TB) int {
	s := os.Getenv("DAGS")
	if s == "" && testing.Short() {
		return shortSearchDAGs
	}
	if s == "" {
		return searchDAGs
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 {
		t.Fatalf("DAGS=%q: want a number of random DAGs", s)
	}
	return n
}

// TestPrefix is the safety of the order: whatever two validators have seen of one DAG, the slots they have decided and
// the blocks they have ordered are one a prefix of the other. Rule and twin must agree on every view, and blocks that
// come one by one, in any order, must bring what they bring together.
func TestPrefix(t *testing.T) {
	collectLess(t)
	seed := testSeed(t)
	n := dagsToSearch(t)

	// Each worker takes every so many-th DAG; a DAG is drawn from the seed and its number alone.
	sums := make([]searchSum, runtime.GOMAXPROCS(0))
	var workers sync.WaitGroup
	for w := range sums {
		workers.Go(func() {
			for i := w; i < n; i += len(sums) {
				if err := sums[w].search(seed, i); err != nil {
					t.Errorf("DAG %d of seed %d: %v\n%v", i, seed, err, drawDAG(seed, i))
					return
				}
			}
		})
	}
	workers.Wait()
	if t.Failed() {
		return
	}
	var all searchSum
	for _, s := range sums {
		all.add(s)
	}
	t.Log(all)
	all.check(t)
}

// A searchSum counts what a search has seen, for a search that sees nothing finds nothing.
type searchSum struct {
	dags, of4, of7, of10           int
	weighted, equivocated          int
	views, blocks                  int
	commits, skips, undecided      int
	indirectCommits, indirectSkips int
	ordered, leftBehind            int
}

func (s *searchSum) add(o searchSum) {
	s.dags, s.of4, s.of7, s.of10 = s.dags+o.dags, s.of4+o.of4, s.of7+o.of7, s.of10+o.of10
	s.weighted, s.equivocated = s.weighted+o.weighted, s.equivocated+o.equivocated
	s.views, s.blocks = s.views+o.views, s.blocks+o.blocks
	s.commits, s.skips, s.undecided = s.commits+o.commits, s.skips+o.skips, s.undecided+o.undecided
	s.indirectCommits, s.indirectSkips = s.indirectCommits+o.indirectCommits, s.indirectSkips+o.indirectSkips
	s.ordered, s.leftBehind = s.ordered+o.ordered, s.leftBehind+o.leftBehind
}

func (s searchSum) String() string {
	return fmt.Sprintf("%d DAGs (n=4: %d, n=7: %d, n=10: %d; unequal weights: %d, equivocation: %d), %d views, %d blocks: "+
		"%d commits (%d indirect), %d skips (%d indirect), %d undecided; %d blocks ordered, %d left behind; 0 divergences",
		s.dags, s.of4, s.of7, s.of10, s.weighted, s.equivocated, s.views, s.blocks,
		s.commits, s.indirectCommits, s.skips, s.indirectSkips, s.undecided, s.ordered, s.leftBehind)
}

// check fails a search that never came where the rule is difficult.
func (s searchSum) check(t *testing.T) {
	for what, n := range map[string]int{
		"DAG of 4": s.of4, "DAG of 7": s.of7, "DAG of 10": s.of10,
		"DAG with unequal weights": s.weighted, "equivocation": s.equivocated, "undecided slot": s.undecided,
		"indirect commit": s.indirectCommits, "indirect skip": s.indirectSkips, "block left behind": s.leftBehind,
	} {
		if n*1000 < s.dags {
			t.Errorf("%d DAGs with %d times a %s: the adversary is too tame", s.dags, n, what)
		}
	}
}

// search looks at one DAG with the sound rule.
func (s *searchSum) search(seed uint64, i int) error {
	a := drawDAG(seed, i)
	s.countDAG(a)
	var all []outcome
	for v, view := range a.views() {
		o, err := judgeView(view, a.rules, a.depth, sound)
		if err != nil {
			return fmt.Errorf("view %d: %w", v, err)
		}
		if err := o.matchesTwin(view, a.rules, a.depth); err != nil {
			return fmt.Errorf("view %d: the rule is not its twin: %w", v, err)
		}
		if err := o.matchesOneByOne(view, a); err != nil {
			return fmt.Errorf("view %d: block by block: %w", v, err)
		}
		s.countView(view, o)
		all = append(all, o)
	}
	return diverge(all)
}

// An outcome is what one view comes to: slots, and the order of blocks.
type outcome struct {
	decisions []plainDecision
	commits   []plainCommit
}

func judgeView(view *plainDAG, rules plainRules, depth int, w weakening) (outcome, error) {
	p, err := newProduct(view, rules, w)
	if err != nil {
		return outcome{}, err
	}
	for _, b := range p.blocks {
		p.add(b)
	}
	p.rule.decide(p.graph)
	all := p.decisions()
	return outcome{all, p.linearise(sequence(all), depth)}, p.conflict()
}

func (o outcome) matchesTwin(view *plainDAG, rules plainRules, depth int) error {
	decisions, commits, _ := plainRule(view, rules, depth)
	if err := diffDecisions("slot", o.decisions, decisions); err != nil {
		return err
	}
	if !sameCommits(o.commits, commits) {
		return fmt.Errorf("commits %v, want %v", o.commits, commits)
	}
	return nil
}

// matchesOneByOne feeds the view to a new rule in a random order, parents first, and has it decide after every few
// blocks: what is handed out then must add up to the outcome, in the same order down to the block.
func (o outcome) matchesOneByOne(view *plainDAG, a *adversary) error {
	p, err := newProduct(view, a.rules, sound)
	if err != nil {
		return err
	}
	var seq []plainDecision
	var commits []plainCommit
	for i, b := range inRandomOrder(a.rng, p.blocks) {
		p.add(b)
		if i < len(p.blocks)-1 && a.chance(0.5) {
			continue
		}
		for _, s := range p.rule.decide(p.graph) {
			seq = append(seq, p.decision(s))
			if s.decision != committed {
				continue
			}
			commits = append(commits, p.commit(s.block, a.depth))
			if err := p.inOrder(commits[len(commits)-1]); err != nil {
				return err
			}
		}
	}
	want := slices.Clone(sequence(o.decisions))
	for i := range want {
		if i < len(seq) {
			want[i].how = seq[i].how // the order may settle directly what the whole settles by an anchor, or the reverse
		}
	}
	if err := diffDecisions("sequence", seq, want); err != nil {
		return err
	}
	if !slices.EqualFunc(commits, o.commits, identicalCommit) {
		return fmt.Errorf("commits %v, want %v", commits, o.commits)
	}
	return p.conflict()
}

// inRandomOrder shuffles blocks but leaves parents before children.
func inRandomOrder(rng *rand.Rand, blocks []*plainBlock) []*plainBlock {
	children := make(map[string][]*plainBlock)
	missing := make(map[*plainBlock]int)
	var ready, out []*plainBlock
	ids := make(map[string]bool)
	for _, b := range blocks {
		ids[b.id] = true
	}
	for _, b := range blocks {
		for _, p := range b.parents {
			if ids[p] {
				children[p] = append(children[p], b)
				missing[b]++
			}
		}
		if missing[b] == 0 {
			ready = append(ready, b)
		}
	}
	for len(ready) > 0 {
		i := rng.IntN(len(ready))
		b := ready[i]
		ready[i] = ready[len(ready)-1]
		ready = ready[:len(ready)-1]
		out = append(out, b)
		for _, c := range children[b.id] {
			if missing[c]--; missing[c] == 0 {
				ready = append(ready, c)
			}
		}
	}
	return out
}

func identicalCommit(a, b plainCommit) bool {
	return a.leader == b.leader && a.collected == b.collected && slices.Equal(a.blocks, b.blocks)
}

var errDiverged = errors.New("two views diverge")

// diverge compares the outcomes of all pairs of views.
func diverge(all []outcome) error {
	for i, o := range all {
		for _, p := range all[:i] {
			a, b := sequence(o.decisions), sequence(p.decisions)
			for k := range min(len(a), len(b)) {
				x, y := a[k], b[k]
				x.how, y.how = "", ""
				if x != y {
					return fmt.Errorf("%w: %+v and %+v", errDiverged, x, y)
				}
			}
			for k := range min(len(o.commits), len(p.commits)) {
				if !identicalCommit(o.commits[k], p.commits[k]) {
					return fmt.Errorf("%w: %+v and %+v", errDiverged, o.commits[k], p.commits[k])
				}
			}
		}
	}
	return nil
}

// TestPrefixCatchesBrokenRules runs the same search with each rule that is known to be unsafe and wants it caught.
func TestPrefixCatchesBrokenRules(t *testing.T) {
	collectLess(t)
	seed := testSeed(t)
	for _, broken := range []struct {
		name string
		rule weakening
	}{
		{"an anchor at r+2", anchorTooNear},
		{"jumping over an undecided anchor", jumpUndecided},
		{"a quorum less one", quorumLessOne},
		{"commit on one certificate", oneCertificate},
	} {
		t.Run(broken.name, func(t *testing.T) {
			for i := range searchDAGs {
				if err := searchBroken(seed, i, broken.rule); err != nil {
					t.Logf("caught after %d DAGs: %v", i+1, err)
					return
				}
			}
			t.Errorf("not caught in %d DAGs", searchDAGs)
		})
	}
}

// searchBroken tells the first divergence of a broken rule on one DAG; two committed blocks in a slot are one, too.
func searchBroken(seed uint64, i int, w weakening) error {
	a := drawDAG(seed, i)
	var all []outcome
	for _, view := range a.views() {
		o, err := judgeView(view, a.rules, a.depth, w)
		if err != nil {
			return err
		}
		all = append(all, o)
	}
	return diverge(all)
}

func (s *searchSum) countDAG(a *adversary) {
	s.dags++
	switch len(a.dag.authors) {
	case 4:
		s.of4++
	case 7:
		s.of7++
	case 10:
		s.of10++
	}
	for _, author := range a.dag.authors {
		if a.dag.weights[author] != a.dag.weights[a.dag.authors[0]] {
			s.weighted++
			break
		}
	}
	slots := make(map[string]bool)
	for _, b := range a.dag.blocks {
		slot := b.author + strconv.Itoa(b.round)
		if slots[slot] {
			s.equivocated++
			break
		}
		slots[slot] = true
	}
}

func (s *searchSum) countView(view *plainDAG, o outcome) {
	s.views++
	s.blocks += len(view.blocks)
	for _, d := range o.decisions {
		switch d.decision + " " + d.how {
		case "commit indirect":
			s.indirectCommits++
			s.commits++
		case "commit direct":
			s.commits++
		case "skip indirect":
			s.indirectSkips++
			s.skips++
		case "skip direct":
			s.skips++
		default:
			s.undecided++
		}
	}
	ordered := make(map[string]bool)
	for _, c := range o.commits {
		for _, id := range c.blocks {
			ordered[id] = true
		}
	}
	s.ordered += len(ordered)
	if len(o.commits) > 0 {
		for id, b := range view.blocks {
			if !ordered[id] && b.round <= o.commits[len(o.commits)-1].collected {
				s.leftBehind++
			}
		}
	}
}
