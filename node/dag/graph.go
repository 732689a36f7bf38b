package dag

import (
	"bytes"
	"fmt"
)

// graph holds the accepted blocks above the collected round of one epoch.
//
//  1. Whatever a vertex points to above the collected round is in the graph.
//  2. A vertex has at most one parent per author.
//
// It does not validate: whoever adds decides what is accepted. The genesis and
// everything at or below the collected round are taken as known.
type graph struct {
	collected uint64
	rounds    []graphRound // rounds[i] is round collected+1+i
	byDigest  map[Digest]*vertex
	authors   int
	walk      uint64 // number of the latest walk; see vertex.walk
}

// graphRound is the vertices of one round.
type graphRound struct {
	vertices []*vertex // in the order they came
	slots    []*vertex // per author the first version, or nil; more hang on vertex.version
}

// vertex is an accepted block with its parents resolved.
type vertex struct {
	ref     Ref
	parents []*vertex // those above the collected round when it was added
	block   *Block    // nil in graphs made by hand
	version *vertex   // another block of the same slot, or nil

	committed bool      // linearised by some commit
	pointed   bool      // our own blocks have it in their history
	walk      uint64    // the last walk that came by
	votes     []*vertex // per leader slot of the round before: the parent in it, or nil
	voteSpace [1]*vertex
}

func newGraph(authors int, collected uint64) *graph {
	return &graph{collected: collected, authors: authors, byDigest: make(map[Digest]*vertex)}
}

// add puts a vertex on top of its parents and returns it; a digest it already
// holds is returned as it is. It panics when a parent above the collected round
// is missing, or when the vertex's own round is collected.
func (g *graph) add(ref Ref, parents []Ref, block *Block) *vertex {
	if v := g.byDigest[ref.Digest]; v != nil {
		return v
	}
	below := make([]*vertex, 0, len(parents))
	for _, p := range parents {
		if p.Round <= g.collected {
			continue
		}
		parent := g.byDigest[p.Digest]
		if parent == nil {
			panic(fmt.Sprintf("dag: block %v added before its parent %v", ref, p))
		}
		below = append(below, parent)
	}
	return g.insert(ref, below, block)
}

// insert is add for a new digest whose parents above the collected round are
// already found. The vertex keeps the slice.
func (g *graph) insert(ref Ref, parents []*vertex, block *Block) *vertex {
	if ref.Round <= g.collected {
		panic(fmt.Sprintf("dag: block %v added at or below the collected round %d", ref, g.collected))
	}
	v := &vertex{ref: ref, parents: parents, block: block}
	for uint64(len(g.rounds)) < ref.Round-g.collected {
		g.rounds = append(g.rounds, graphRound{vertices: make([]*vertex, 0, g.authors), slots: make([]*vertex, g.authors)})
	}
	r := &g.rounds[ref.Round-g.collected-1]
	r.vertices = append(r.vertices, v)
	if first := r.slots[ref.Author]; first == nil {
		r.slots[ref.Author] = v
	} else {
		v.version, first.version = first.version, v
	}
	g.byDigest[ref.Digest] = v
	return v
}

// top is the highest round with a vertex; the collected round when there is none.
func (g *graph) top() uint64 { return g.collected + uint64(len(g.rounds)) }

// at returns the vertices of a round in the order they came; the graph owns the slice.
func (g *graph) at(round uint64) []*vertex {
	if round <= g.collected || round > g.top() {
		return nil
	}
	return g.rounds[round-g.collected-1].vertices
}

// slot returns the first version that came for a slot, or nil.
func (g *graph) slot(s Slot) *vertex {
	if s.Round <= g.collected || s.Round > g.top() {
		return nil
	}
	return g.rounds[s.Round-g.collected-1].slots[s.Author]
}

// find returns the vertex a reference names, slot and digest, or nil. Its author must be
// of the committee.
func (g *graph) find(ref *Ref) *vertex {
	v := g.slot(ref.Slot)
	for v != nil && v.ref.Digest != ref.Digest {
		v = v.version
	}
	return v
}

// collect forgets everything at or below round and returns what it forgot, by
// round, then in the order it came. Later vertices may still point to these, so
// the caller cuts each one loose when it has looked at it; see vertex.cut.
func (g *graph) collect(round uint64) []*vertex {
	var gone []*vertex
	for g.collected < round {
		g.collected++
		if len(g.rounds) == 0 {
			continue
		}
		gone = append(gone, g.rounds[0].vertices...)
		g.rounds[0] = graphRound{}
		g.rounds = g.rounds[1:]
	}
	for _, v := range gone {
		delete(g.byDigest, v.ref.Digest)
	}
	return gone
}

// cut lets go of everything a forgotten vertex kept alive.
func (v *vertex) cut() {
	*v = vertex{ref: v.ref, committed: v.committed}
}

// parentIn returns v's parent in slot s, or nil.
func (v *vertex) parentIn(s Slot) *vertex {
	for _, p := range v.parents {
		if p.ref.Slot == s {
			return p
		}
	}
	return nil
}

// reaches reports whether one of targets is from or in its history; all targets
// are of round floor, so the walk stops there.
func (g *graph) reaches(from *vertex, targets []*vertex, floor uint64) bool {
	if len(targets) == 0 {
		return false
	}
	g.walk++
	from.walk = g.walk
	stack := []*vertex{from}
	for len(stack) > 0 {
		v := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if v.ref.Round == floor {
			for _, t := range targets {
				if t == v {
					return true
				}
			}
			continue
		}
		for _, p := range v.parents {
			if p.ref.Round >= floor && p.walk != g.walk {
				p.walk = g.walk
				stack = append(stack, p)
			}
		}
	}
	return false
}

func compareDigests(a, b Digest) int { return bytes.Compare(a[:], b[:]) }
