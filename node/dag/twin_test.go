package dag

import (
	"fmt"
	"slices"
	"strings"
)

// The plain twin of the commit rule: the rule as it is written, over blocks named by strings, with nothing remembered
// that could be computed again except what would make the search exponential. It shares no code with the rule it
// checks, decides from the anchor's side by recursion instead of by a scan, and may be as slow as it likes.

// A plainBlock is one block of a plainDAG. Parents are ids; the ids of genesis blocks are the author's name and "0".
type plainBlock struct {
	id, author string
	round      int
	parents    []string
}

// A plainDAG is a set of blocks closed under ancestry: a parent of a block is in blocks or is a genesis block.
type plainDAG struct {
	authors []string
	weights map[string]uint64
	blocks  map[string]*plainBlock
	rounds  map[int][]*plainBlock // in the order of addition
	highest int
}

func newPlainDAG(authors []string, weights []uint64) *plainDAG {
	d := &plainDAG{
		authors: authors,
		weights: make(map[string]uint64),
		blocks:  make(map[string]*plainBlock, 128),
		rounds:  make(map[int][]*plainBlock, 16),
	}
	for i, a := range authors {
		d.weights[a] = weights[i]
	}
	return d
}

// add puts a block in, its parents first.
func (d *plainDAG) add(b *plainBlock) {
	if d.blocks[b.id] != nil {
		panic("twin: block " + b.id + " added twice")
	}
	for _, p := range b.parents {
		if !d.genesis(p) && d.blocks[p] == nil {
			panic("twin: block " + b.id + " added before its parent " + p)
		}
	}
	d.blocks[b.id] = b
	d.rounds[b.round] = append(d.rounds[b.round], b)
	d.highest = max(d.highest, b.round)
}

func (d *plainDAG) weightList() []uint64 {
	var weights []uint64
	for _, a := range d.authors {
		weights = append(weights, d.weights[a])
	}
	return weights
}

func (d *plainDAG) genesis(id string) bool {
	author, ok := strings.CutSuffix(id, "0")
	return ok && slices.Contains(d.authors, author)
}

// without returns the view that has not seen the named blocks nor anything built on them.
func (d *plainDAG) without(unseen map[string]bool) *plainDAG {
	view := newPlainDAG(d.authors, d.weightList())
	for r := 1; r <= d.highest; r++ {
	blocks:
		for _, b := range d.rounds[r] {
			if unseen[b.id] {
				continue
			}
			for _, p := range b.parents {
				if !d.genesis(p) && view.blocks[p] == nil {
					continue blocks
				}
			}
			view.add(b)
		}
	}
	return view
}

// history is every block the block named id builds on, itself included, genesis left out.
func (d *plainDAG) history(id string) map[string]bool {
	seen := make(map[string]bool)
	todo := []string{id}
	for len(todo) > 0 {
		id, todo = todo[len(todo)-1], todo[:len(todo)-1]
		if seen[id] || d.genesis(id) {
			continue
		}
		seen[id] = true
		todo = append(todo, d.blocks[id].parents...)
	}
	return seen
}

// weigh adds up the weights of the authors of blocks, each author once.
func (d *plainDAG) weigh(blocks []*plainBlock) uint64 {
	var sum uint64
	counted := make(map[string]bool)
	for _, b := range blocks {
		if !counted[b.author] {
			counted[b.author] = true
			sum += d.weights[b.author]
		}
	}
	return sum
}

func (d *plainDAG) String() string {
	var s strings.Builder
	for _, a := range d.authors {
		fmt.Fprintf(&s, "%s weighs %d\n", a, d.weights[a])
	}
	for r := 1; r <= d.highest; r++ {
		for _, b := range d.rounds[r] {
			fmt.Fprintf(&s, "%s <- %s\n", b.id, strings.Join(b.parents, " "))
		}
	}
	return s.String()
}

// A plainSlot is a place for a leader: the order of slots is by round, then by offset.
type plainSlot struct {
	round, offset int
}

func (s plainSlot) after(t plainSlot) bool {
	return s.round > t.round || s.round == t.round && s.offset > t.offset
}

// A plainDecision is what a view knows about a slot.
type plainDecision struct {
	slot     plainSlot
	leader   string // the author the schedule names
	decision string // "commit", "skip" or "undecided"
	block    string // the leader block that is committed
	how      string // "direct", "indirect" or nothing: of this view only
}

// plainRules are the parameters of the rule. The length of a wave is not one.
type plainRules struct {
	quorum      uint64
	leaders     func(round int) []string // the authors of a round's slots, in order
	lastDecided plainSlot                // slots up to this one are not looked at
	blameAuthor bool                     // a block with any parent by the leader, of whatever round, does not blame it
}

// plainCommit is one committed leader with the blocks it brings.
type plainCommit struct {
	leader    string
	collected int
	blocks    []string // by round, author, id
}

// A plainTwin decides one view.
type plainTwin struct {
	dag     *plainDAG
	rules   plainRules
	decided map[plainSlot]plainDecision
}

// decidePlainly gives the decision for every slot a block two rounds above could decide, in order.
func decidePlainly(d *plainDAG, rules plainRules) []plainDecision {
	t := &plainTwin{dag: d, rules: rules, decided: make(map[plainSlot]plainDecision)}
	var all []plainDecision
	for _, s := range t.slots() {
		all = append(all, t.decide(s))
	}
	return all
}

// slots lists the slots in range, in order.
func (t *plainTwin) slots() []plainSlot {
	var slots []plainSlot
	for r := 1; r <= t.dag.highest-2; r++ {
		for o := range t.rules.leaders(r) {
			if s := (plainSlot{r, o}); s.after(t.rules.lastDecided) {
				slots = append(slots, s)
			}
		}
	}
	return slots
}

func (t *plainTwin) decide(s plainSlot) plainDecision {
	if d, ok := t.decided[s]; ok {
		return d
	}
	d := plainDecision{slot: s, leader: t.rules.leaders(s.round)[s.offset]}
	d.decision, d.block, d.how = t.rule(s, d.leader)
	t.decided[s] = d
	return d
}

func (t *plainTwin) rule(s plainSlot, leader string) (decision, block, how string) {
	if t.skipped(s, leader) {
		return "skip", "", "direct"
	}
	for _, b := range t.dag.rounds[s.round] {
		if b.author == leader && t.dag.weigh(t.certificates(b)) >= t.rules.quorum {
			return "commit", b.id, "direct"
		}
	}
	for _, a := range t.slots() {
		if a.round < s.round+3 {
			continue
		}
		anchor := t.decide(a)
		switch anchor.decision {
		case "skip":
			continue
		case "undecided":
			return "undecided", "", ""
		}
		past := t.dag.history(anchor.block)
		for _, b := range t.dag.rounds[s.round] {
			if b.author != leader {
				continue
			}
			for _, c := range t.certificates(b) {
				if past[c.id] {
					return "commit", b.id, "indirect"
				}
			}
		}
		return "skip", "", "indirect"
	}
	return "undecided", "", ""
}

// skipped reports whether a quorum of authors said, one round above the slot, that they build on no block in it.
func (t *plainTwin) skipped(s plainSlot, leader string) bool {
	var blaming []*plainBlock
	for _, b := range t.dag.rounds[s.round+1] {
		blames := true
		for _, p := range b.parents {
			if t.inSlot(p, s.round, leader) {
				blames = false
			}
		}
		if blames {
			blaming = append(blaming, b)
		}
	}
	return t.dag.weigh(blaming) >= t.rules.quorum
}

func (t *plainTwin) inSlot(id string, round int, author string) bool {
	if t.dag.genesis(id) {
		return t.rules.blameAuthor && id == author+"0"
	}
	b := t.dag.blocks[id]
	return b.author == author && (t.rules.blameAuthor || b.round == round)
}

// certificates are the blocks two rounds above the leader block whose parents that vote for it weigh a quorum.
func (t *plainTwin) certificates(leader *plainBlock) []*plainBlock {
	var certificates []*plainBlock
	for _, b := range t.dag.rounds[leader.round+2] {
		var votes []*plainBlock
		for _, p := range b.parents {
			if v := t.dag.blocks[p]; v != nil && v.round == leader.round+1 && slices.Contains(v.parents, leader.id) {
				votes = append(votes, v)
			}
		}
		if t.dag.weigh(votes) >= t.rules.quorum {
			certificates = append(certificates, b)
		}
	}
	return certificates
}

// sequence is the output: what is decided before the first slot that is not.
func sequence(all []plainDecision) []plainDecision {
	for i, d := range all {
		if d.decision == "undecided" {
			return all[:i]
		}
	}
	return all
}

// linearisePlainly gives the commits of a sequence. A block is left out for good when its round is not above the
// round collected before the commit that reaches it: the round of the commit before, less depth. No depth, no
// collection.
func linearisePlainly(d *plainDAG, sequence []plainDecision, depth int) []plainCommit {
	var commits []plainCommit
	committed := make(map[string]bool)
	collected := 0
	for _, s := range sequence {
		if s.decision != "commit" {
			continue
		}
		c := plainCommit{leader: s.block, collected: collected}
		for id := range d.history(s.block) {
			if !committed[id] && d.blocks[id].round > collected {
				committed[id] = true
				c.blocks = append(c.blocks, id)
			}
		}
		slices.SortFunc(c.blocks, func(x, y string) int {
			a, b := d.blocks[x], d.blocks[y]
			if a.round != b.round {
				return a.round - b.round
			}
			if a.author != b.author {
				return strings.Compare(a.author, b.author)
			}
			return strings.Compare(a.id, b.id)
		})
		commits = append(commits, c)
		if depth > 0 {
			collected = max(collected, s.slot.round-depth)
		}
	}
	return commits
}
