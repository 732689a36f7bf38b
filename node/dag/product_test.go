package dag

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"slices"
)

// productRule runs the rule of this package, sound and all blocks at once, on a plain DAG.
func productRule(d *plainDAG, rules plainRules, depth int) ([]plainDecision, []plainCommit, error) {
	p, err := newProduct(d, rules, sound)
	if err != nil {
		return nil, nil, err
	}
	for _, b := range p.blocks {
		p.add(b)
	}
	p.rule.decide(p.graph)
	all := p.decisions()
	return all, p.linearise(sequence(all), depth), p.conflict()
}

// A product is the package's graph and rule, fed with the blocks of a plain DAG and read in its words. A digest is the
// id's own bytes: nothing here depends on what a digest is of.
type product struct {
	dag    *plainDAG
	rules  plainRules
	graph  *graph
	rule   *rule
	blocks []*plainBlock // all of the DAG's, parents first
	ids    map[Digest]string
	refs   map[string]Ref
}

func newProduct(d *plainDAG, rules plainRules, w weakening) (*product, error) {
	members := make([]Member, len(d.authors))
	for i, a := range d.authors {
		members[i] = Member{Weight: d.weights[a]}
		members[i].Key[0], members[i].Key[1] = byte(i), byte(i>>8)
	}
	c, err := NewCommittee(members)
	if err != nil {
		return nil, err
	}
	if c.Quorum() != rules.quorum {
		return nil, fmt.Errorf("the committee's quorum is %d, want %d", c.Quorum(), rules.quorum)
	}
	number := make(map[string]Author)
	for i, a := range d.authors {
		number[a] = Author(i)
	}
	leaders := func(round uint64) []Author {
		var authors []Author
		for _, a := range rules.leaders(int(round)) {
			authors = append(authors, number[a])
		}
		return authors
	}
	p := &product{
		dag:   d,
		rules: rules,
		graph: newGraph(len(members), 0),
		rule:  newRule(c, leaders, uint64(max(1, rules.lastDecided.round))),
		ids:   make(map[Digest]string, len(d.blocks)+len(d.authors)),
		refs:  make(map[string]Ref, len(d.blocks)+len(d.authors)),
	}
	p.blocks = make([]*plainBlock, 0, len(d.blocks))
	p.rule.weakened = w
	if rules.lastDecided.round > 0 {
		p.rule.offset = min(rules.lastDecided.offset+1, len(rules.leaders(rules.lastDecided.round)))
	}
	for _, a := range d.authors {
		p.name(a+"0", Ref{Slot: Slot{Round: 0, Author: number[a]}})
	}
	for r := 1; r <= d.highest; r++ {
		for _, b := range d.rounds[r] {
			p.name(b.id, Ref{Slot: Slot{Round: uint64(b.round), Author: number[b.author]}})
			p.blocks = append(p.blocks, b)
		}
	}
	return p, nil
}

func (p *product) name(id string, ref Ref) {
	if copy(ref.Digest[:], id) < len(id) || p.ids[ref.Digest] != "" {
		panic("block id " + id + " is too long or taken")
	}
	p.ids[ref.Digest] = id
	p.refs[id] = ref
}

// add hands a block to graph and rule as the core does: one that comes when its round is collected already is too late
// to count for any slot that is open, and is not looked at.
func (p *product) add(b *plainBlock) {
	if uint64(b.round) <= p.graph.collected {
		return
	}
	parents := make([]Ref, len(b.parents))
	for i, id := range b.parents {
		parents[i] = p.refs[id]
	}
	p.rule.observe(p.graph.add(p.refs[b.id], parents, nil))
}

// decisions reads the slots in range.
func (p *product) decisions() []plainDecision {
	var all []plainDecision
	for i, lr := range p.rule.rounds {
		round := int(p.rule.first) + i
		if round+waveLength-1 > p.dag.highest {
			break
		}
		for _, s := range lr.slots {
			if (plainSlot{round, s.offset}).after(p.rules.lastDecided) {
				all = append(all, p.decision(s))
			}
		}
	}
	return all
}

func (p *product) decision(s *leaderSlot) plainDecision {
	d := plainDecision{
		slot:     plainSlot{int(s.slot.Round), s.offset},
		leader:   p.dag.authors[s.slot.Author],
		decision: s.decision.String(),
	}
	if s.block != nil {
		d.block = p.ids[s.block.ref.Digest]
	}
	switch {
	case s.decision == undecided:
	case s.direct:
		d.how = "direct"
	default:
		d.how = "indirect"
	}
	return d
}

// linearise commits the leaders of a sequence with the package's own linearisation, in its order of blocks.
func (p *product) linearise(sequence []plainDecision, depth int) []plainCommit {
	var commits []plainCommit
	for _, s := range sequence {
		if s.decision == "commit" {
			commits = append(commits, p.commit(p.graph.byDigest[p.refs[s.block].Digest], depth))
		}
	}
	return commits
}

func (p *product) commit(leader *vertex, depth int) plainCommit {
	c := plainCommit{leader: p.ids[leader.ref.Digest], collected: int(p.graph.collected)}
	for _, v := range p.graph.linearise(leader) {
		c.blocks = append(c.blocks, p.ids[v.ref.Digest])
	}
	if depth > 0 && int(leader.ref.Round) > depth {
		p.graph.collect(leader.ref.Round - uint64(depth))
	}
	return c
}

func (p *product) conflict() error {
	if p.rule.conflict != nil {
		return p.rule.conflict
	}
	return nil
}

// inOrder checks the order of a commit's blocks: by round, inside a round by SHA-256(leader digest, block digest).
func (p *product) inOrder(c plainCommit) error {
	key := func(id string) Digest {
		leader, block := p.refs[c.leader].Digest, p.refs[id].Digest
		return sha256.Sum256(append(leader[:], block[:]...))
	}
	for i := 1; i < len(c.blocks); i++ {
		a, b := c.blocks[i-1], c.blocks[i]
		x, y := key(a), key(b)
		if p.refs[a].Round > p.refs[b].Round || p.refs[a].Round == p.refs[b].Round && bytes.Compare(x[:], y[:]) >= 0 {
			return fmt.Errorf("commit of %s: block %s comes before %s", c.leader, a, b)
		}
	}
	return nil
}

// sameCommits reports whether two linearisations have the same leaders, collected rounds and, as sets, blocks.
func sameCommits(a, b []plainCommit) bool {
	return slices.EqualFunc(a, b, func(x, y plainCommit) bool {
		return x.leader == y.leader && x.collected == y.collected &&
			slices.Equal(slices.Sorted(slices.Values(x.blocks)), slices.Sorted(slices.Values(y.blocks)))
	})
}
