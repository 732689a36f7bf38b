package sim

import (
	"time"

	"github.com/holdfast-mesh/holdfast/node/dag"
)

// equivocator pretends to be a validator and signs two blocks for every round:
// one for one half of the others, one for the other half, drawn anew each time.
// Each is valid. It builds on what it hears, on different parents in the two,
// and on its own two chains.
type equivocator struct {
	honest
	rnd    *random
	rounds map[uint64]map[dag.Author]dag.Ref // what others made, first seen
	own    [2]dag.Ref                        // the newest of each chain
	made   uint64                            // the newest round it has lied in
}

const equivocateEvery = 30 * time.Millisecond

func newEquivocator(s *Sim, rnd *random) *equivocator {
	return &equivocator{rnd: rnd, rounds: make(map[uint64]map[dag.Author]dag.Ref)}
}

func (*equivocator) runs() bool { return false }

func (q *equivocator) begins(n *node) {
	q.own = [2]dag.Ref{n.s.genesisRef(n.id), n.s.genesisRef(n.id)}
	for i := range n.s.weights {
		if i != n.id {
			q.hear(n.s.genesisRef(i))
		}
	}
	n.s.push(event{at: n.s.now + equivocateEvery, kind: evLiar, node: int32(n.id)})
}

func (q *equivocator) hear(ref dag.Ref) {
	round := q.rounds[ref.Round]
	if round == nil {
		round = make(map[dag.Author]dag.Ref)
		q.rounds[ref.Round] = round
	}
	if _, ok := round[ref.Author]; !ok {
		round[ref.Author] = ref
	}
}

func (q *equivocator) handles(n *node, e event) bool {
	switch {
	case e.kind == evLiar:
		q.lie(n)
		n.s.push(event{at: n.s.now + equivocateEvery, kind: evLiar, node: int32(n.id)})
	case e.kind == evDeliver && e.msg.kind == msgBlock:
		if b := n.s.overhear(e.msg); b != nil && int(b.Author()) != n.id {
			q.hear(b.Ref())
		}
	case e.kind == evDeliver && e.msg.kind == msgBeat:
		n.post(int(e.from), &message{kind: msgBeat, have: q.made})
	}
	return true
}

// lie makes two blocks for the highest round it can build for.
func (q *equivocator) lie(n *node) {
	round := q.made + 1
	for q.weight(n, round) > 0 { // as high as anybody is
		round++
	}
	for round > q.made && q.weight(n, round-1)+n.s.weights[n.id] < n.s.quorum() {
		round--
	}
	if round <= q.made {
		return
	}
	var refs [2]dag.Ref
	halves := q.rnd.shuffled(len(n.s.nodes))
	cut := q.rnd.between(1, len(halves)-1)
	for version := range refs {
		raw, ref, ok := q.block(n, round, version)
		if !ok {
			return
		}
		refs[version] = ref
		side := halves[:cut]
		if version == 1 {
			side = halves[cut:]
		}
		for _, to := range side {
			if to != n.id {
				n.post(to, &message{kind: msgBlock, body: raw})
			}
		}
	}
	n.s.tally.bite(Equivocating)
	q.made, q.own = round, refs
	delete(q.rounds, round-8)
}

// weight is that of the others who were heard of in a round.
func (q *equivocator) weight(n *node, round uint64) int {
	total := 0
	for author := range q.rounds[round] { // order: a sum is the same in every order
		total += n.s.weights[author]
	}
	return total
}

// block makes one version: on all parents heard of, or on just a quorum.
func (q *equivocator) block(n *node, round uint64, version int) ([]byte, dag.Ref, bool) {
	parents := []dag.Ref{q.own[version]}
	weight := 0
	if q.own[version].Round == round-1 {
		weight = n.s.weights[n.id]
	}
	for _, author := range q.rnd.shuffled(len(n.s.weights)) {
		ref, ok := q.rounds[round-1][dag.Author(author)]
		if !ok || author == n.id || weight >= n.s.quorum() && version == 1 {
			continue
		}
		parents = append(parents, ref)
		weight += n.s.weights[author]
	}
	if weight < n.s.quorum() {
		return nil, dag.Ref{}, false
	}
	raw := dag.Draft{
		Network: dag.Digest(n.s.world.network), Slot: dag.Slot{Round: round, Author: dag.Author(n.id)},
		TimeMs: uint64(n.local().UnixMilli() - int64(version)), Parents: parents,
	}.Sign(n.s.world.validators[n.id])
	return raw, dag.Ref{Slot: dag.Slot{Round: round, Author: dag.Author(n.id)}, Digest: digestOf(raw)}, true
}
