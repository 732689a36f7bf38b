package dag

import (
	"cmp"
	"crypto/sha256"
	"slices"
)

// linearise returns the blocks a committed leader adds to the order: the leader
// and all its ancestors above the collected round that no earlier commit had,
// by (round, SHA-256(leader digest, block digest)). It marks them committed.
//
// The mark is per block, not a cut per author: a block that arrived late, and
// both versions of an equivocation, are ordered when a leader has them in its
// history. The hash gives no author a lasting place inside a round.
func (g *graph) linearise(leader *vertex) []*vertex {
	if leader.committed || leader.ref.Round <= g.collected {
		return nil
	}
	leader.committed = true
	blocks := append(make([]*vertex, 0, 2*g.authors), leader)
	for i := 0; i < len(blocks); i++ {
		for _, p := range blocks[i].parents {
			if !p.committed && p.ref.Round > g.collected {
				p.committed = true
				blocks = append(blocks, p)
			}
		}
	}
	sortForCommit(leader.ref.Digest, blocks)
	return blocks
}

func sortForCommit(leader Digest, blocks []*vertex) {
	keys := make([]struct {
		v   *vertex
		key Digest
	}, len(blocks))
	var both [64]byte
	copy(both[:32], leader[:])
	for i, v := range blocks {
		copy(both[32:], v.ref.Digest[:])
		keys[i].v, keys[i].key = v, sha256.Sum256(both[:])
	}
	slices.SortFunc(keys, func(a, b struct {
		v   *vertex
		key Digest
	}) int {
		if c := cmp.Compare(a.v.ref.Round, b.v.ref.Round); c != 0 {
			return c
		}
		return compareDigests(a.key, b.key)
	})
	for i := range keys {
		blocks[i] = keys[i].v
	}
}
