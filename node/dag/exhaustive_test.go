package dag

import "slices"

// The exhaustive check: four validators of equal weight, a bounded number of rounds, and every DAG they can form
// together with every view of it. A pair is a DAG and a view that lacks some of its blocks, with each block's history
// in the view when the block is. Two views of anything are two such pairs with their union, so when no pair disagrees
// about a slot, no two views of any DAG do.
//
// The pairs are far too many to visit, but the rule looks at little of them. They grow round by round, and after each
// round those are merged that no later round can tell apart: a state is what the rule can still learn from a pair, by
// the definitions of vote, blame, certificate and history alone, and counts how many pairs came to it. One pair of
// each kind is kept and given to the rule and its twin.

// A universe bounds what is explored: four authors of weight one, each with at most one block in a round, in every round
// or not. A block has its author's newest block for its first parent and a quorum of parents in the round below; an
// author it has no parent of there may be one it takes the newest older block of.
type universe struct {
	name   string
	rounds int
	slots  []Slot // leader slots, in order; a round may have several or none
	liar   []int  // the rounds in which author 0 may have two blocks, each with parents of its own
}

const (
	uniAuthors  = 4
	uniQuorum   = 3
	uniSlotsMax = 4 // of a universe; bounds uniBlock.votes and uniBlock.past
)

// A uniBlock is a block of a pair with all that the rule can ask about it.
type uniBlock struct {
	author, round int
	version       int // 0, or 1 for a liar's second
	inView        bool
	parents       []*uniBlock // round 0 left out

	votes uint8 // per leader slot of the round below two bits: 0 none, else version + 1
	past  uint8 // bit 2*slot+version: a certificate of it is the block itself or in its history
}

// A uniState is a pair up to some round.
type uniState struct {
	before *uniState
	round  int
	blocks []*uniBlock // of this round
	latest [uniAuthors][]*uniBlock
	slots  [uniSlotsMax]uniSlot
	high   [2]int  // highest round with a block: of the view, of the DAG
	pairs  float64 // that come to the same
}

// A uniSlot is what the votes and certificates so far say of a slot, in the view and in the DAG.
type uniSlot struct {
	blamed    [2]bool    // by a quorum
	certified [2][2]bool // by a quorum; by version
	leads     [2]uniLead // by version
}

// A uniLead is a block that may lead.
type uniLead struct {
	there, inView bool
	past          uint8
}

// appendKey appends what a state is to later rounds, and to whoever asks for decisions after the last.
func (u *universe) appendKey(k []byte, s *uniState) []byte {
	for i := range u.slots {
		o := &s.slots[i]
		k = append(k, uniBits(o.blamed[0], o.blamed[1], o.certified[0][0], o.certified[0][1], o.certified[1][0], o.certified[1][1]))
		for _, l := range o.leads {
			k = append(k, uniBits(l.there, l.inView), byte(l.past))
		}
	}
	k = append(k, byte(s.high[0]), byte(s.high[1]))
	if s.round == u.rounds {
		return k // nothing comes that could ask more
	}
	for a := range s.latest {
		k = append(k, '|')
		for _, b := range s.latest[a] {
			new := b.round == s.round
			k = append(k, uniBits(b.inView, new), byte(b.past))
			if new {
				k = append(k, b.votes)
			}
		}
	}
	return k
}

func uniBits(all ...bool) (b byte) {
	for i, v := range all {
		if v {
			b |= 1 << i
		}
	}
	return b
}

// A uniOption is what one author does in a round: no block, one or two, and in how many ways that comes to the same.
type uniOption struct {
	blocks []*uniBlock
	ways   float64
}

// options lists what an author can do in the round after s, as far as the rule can tell.
func (u *universe) options(s *uniState, author int) []uniOption {
	round := s.round + 1
	type feature struct {
		inView bool
		votes  uint8
		past   uint8
	}
	var single []uniOption
	index := make(map[feature]int)
	u.parents(s, author, func(parents []*uniBlock) {
		b := u.block(round, author, parents)
		for _, inView := range []bool{true, false} {
			if inView && slices.ContainsFunc(parents, func(p *uniBlock) bool { return !p.inView }) {
				continue
			}
			f := feature{inView, b.votes, b.past}
			i, ok := index[f]
			if !ok {
				i = len(single)
				index[f] = i
				c := *b
				c.inView = inView
				single = append(single, uniOption{blocks: []*uniBlock{&c}})
			}
			single[i].ways++
		}
	})
	options := slices.Clone(single)
	options = append(options, uniOption{ways: 1})
	if author != 0 || !slices.Contains(u.liar, round) {
		return options
	}
	for _, x := range single {
		for _, y := range single {
			second := *y.blocks[0]
			second.version = 1
			options = append(options, uniOption{[]*uniBlock{x.blocks[0], &second}, x.ways * y.ways})
		}
	}
	return options
}

// parents calls f with every choice of parents: the own previous block first, at most one block of each other author,
// a quorum of them from the round below.
func (u *universe) parents(s *uniState, author int, f func([]*uniBlock)) {
	if s.round == 0 {
		f(nil)
		return
	}
	own := s.latest[author]
	if len(own) == 0 {
		own = []*uniBlock{nil}
	}
	for _, o := range own {
		var chosen []*uniBlock
		weight := 0
		if o != nil {
			chosen = append(chosen, o)
			if o.round == s.round {
				weight = 1
			}
		}
		var choose func(other, weight int)
		choose = func(other, weight int) {
			if other == uniAuthors {
				if weight >= uniQuorum {
					f(slices.Clone(chosen))
				}
				return
			}
			choose(other+1, weight)
			if other == author {
				return
			}
			for _, b := range s.latest[other] {
				chosen = append(chosen, b)
				if b.round == s.round {
					choose(other+1, weight+1)
				} else {
					choose(other+1, weight)
				}
				chosen = chosen[:len(chosen)-1]
			}
		}
		choose(0, weight)
	}
}

// block derives what the rule can ask about a block with these parents.
func (u *universe) block(round, author int, parents []*uniBlock) *uniBlock {
	b := &uniBlock{author: author, round: round, parents: parents}
	for _, p := range parents {
		b.past |= p.past
	}
	vote, certificate := 0, 0 // places of the slots among those of their rounds
	for i, slot := range u.slots {
		switch int(slot.Round) {
		case round - 1:
			for _, p := range parents {
				if p.round == round-1 && p.author == int(slot.Author) {
					b.votes |= uint8(p.version+1) << (2 * vote)
				}
			}
			vote++
		case round - 2:
			var votes [3]int
			for _, p := range parents {
				if p.round == round-1 {
					votes[p.votes>>(2*certificate)&3]++
				}
			}
			for version := range 2 {
				if votes[version+1] >= uniQuorum {
					b.past |= 1 << (2*i + version)
				}
			}
			certificate++
		}
	}
	return b
}

// grow makes n of s and one more round; n's own blocks are overwritten.
func (u *universe) grow(n, s *uniState, choice []uniOption) {
	*n = uniState{before: s, round: s.round + 1, blocks: n.blocks[:0], latest: s.latest, slots: s.slots, high: s.high, pairs: s.pairs}
	for a, o := range choice {
		n.pairs *= o.ways
		n.blocks = append(n.blocks, o.blocks...)
		if len(o.blocks) > 0 {
			n.latest[a] = o.blocks
		}
		for _, b := range o.blocks {
			n.high[1] = n.round
			if b.inView {
				n.high[0] = n.round
			}
		}
	}
	vote := 0
	for i, slot := range u.slots {
		o := &n.slots[i]
		switch int(slot.Round) {
		case n.round:
			for _, b := range n.blocks {
				if b.author == int(slot.Author) {
					o.leads[b.version] = uniLead{true, b.inView, b.past}
				}
			}
		case n.round - 1:
			o.blamed = n.quorums(func(b *uniBlock) bool { return b.votes>>(2*vote)&3 == 0 })
			vote++
		case n.round - 2:
			for version := range 2 {
				q := n.quorums(func(b *uniBlock) bool { return b.past>>(2*i+version)&1 == 1 })
				o.certified[0][version], o.certified[1][version] = q[0], q[1]
			}
		}
	}
}

// quorums reports whether authors of this round's blocks with some trait are a quorum, in the view and in the DAG.
func (s *uniState) quorums(trait func(*uniBlock) bool) [2]bool {
	var authors [2][uniAuthors]bool
	for _, b := range s.blocks {
		if trait(b) {
			authors[1][b.author] = true
			authors[0][b.author] = authors[0][b.author] || b.inView
		}
	}
	var q [2]bool
	for i := range q {
		weight := 0
		for _, there := range authors[i] {
			if there {
				weight++
			}
		}
		q[i] = weight >= uniQuorum
	}
	return q
}

// start is the pair without blocks.
func (u *universe) start() *uniState { return &uniState{pairs: 1} }

// next merges everything that can follow the states, and calls each with every kind of pair that follows one of them:
// that is a pair for every way to come to a state, the first of which is news. The pair is each's only until it returns.
func (u *universe) next(states []*uniState, each func(n *uniState, news bool)) []*uniState {
	merged := make(map[string]*uniState)
	var order []*uniState
	var key []byte
	for _, s := range states {
		followed := make(map[string]bool)
		u.follow(s, func(n *uniState) {
			key = u.appendKey(key[:0], n)
			first := merged[string(key)]
			if !followed[string(key)] {
				followed[string(key)] = true
				each(n, first == nil)
			}
			if first != nil {
				first.pairs += n.pairs
				return
			}
			kept := *n
			kept.blocks = slices.Clone(n.blocks)
			merged[string(key)] = &kept
			order = append(order, &kept)
		})
	}
	return order
}

// follow calls f with every kind of round after s; f may not keep it.
func (u *universe) follow(s *uniState, f func(*uniState)) {
	var options [uniAuthors][]uniOption
	for a := range options {
		options[a] = u.options(s, a)
	}
	var n uniState
	choice := make([]uniOption, uniAuthors)
	var choose func(a int)
	choose = func(a int) {
		if a == uniAuthors {
			u.grow(&n, s, choice)
			f(&n)
			return
		}
		for _, o := range options[a] {
			choice[a] = o
			choose(a + 1)
		}
	}
	choose(0)
}
