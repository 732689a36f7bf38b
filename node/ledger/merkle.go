package ledger

import (
	"crypto/sha256"
	"slices"
)

// tree is a Merkle tree over leaves that are numbered from 0 and only ever
// appended or changed. A node is SHA-256(1, left, right); one without a right
// neighbour moves up as it is, as in RFC 6962.
type tree struct {
	rows  [][]Digest // rows[0] are the leaves, the last row is the root
	dirty []uint32   // leaves changed since the last root
}

// set changes a leaf, or appends the next one.
func (t *tree) set(at uint32, leaf Digest) {
	if len(t.rows) == 0 {
		t.rows = append(t.rows, nil)
	}
	if int(at) == len(t.rows[0]) {
		t.rows[0] = append(t.rows[0], leaf)
	} else {
		t.rows[0][at] = leaf
	}
	t.dirty = append(t.dirty, at)
}

// size is the number of leaves.
func (t *tree) size() int {
	if len(t.rows) == 0 {
		return 0
	}
	return len(t.rows[0])
}

// root returns the root; of no leaves, the zero digest. It hashes the nodes
// above changed leaves, each once.
func (t *tree) root() Digest {
	if t.size() == 0 {
		return Digest{}
	}
	slices.Sort(t.dirty)
	nodes := slices.Compact(t.dirty)
	for row := 0; len(t.rows[row]) > 1; row++ {
		if row+1 == len(t.rows) {
			t.rows = append(t.rows, nil)
		}
		nodes = t.lift(row, nodes)
	}
	t.dirty = t.dirty[:0]
	return t.rows[len(t.rows)-1][0]
}

// lift hashes the parents of changed nodes, in place of their positions.
func (t *tree) lift(row int, nodes []uint32) []uint32 {
	below, above := t.rows[row], t.rows[row+1]
	if need := (len(below) + 1) / 2; len(above) < need {
		above = slices.Grow(above, need-len(above))[:need] // each new one is hashed below
	}
	parents := nodes[:0]
	for i := 0; i < len(nodes); i++ {
		p := nodes[i] / 2
		if n := len(parents); n > 0 && parents[n-1] == p {
			continue
		}
		parents = append(parents, p)
		if right := 2*p + 1; int(right) < len(below) {
			above[p] = hashNode(&below[right-1], &below[right])
		} else {
			above[p] = below[2*p]
		}
	}
	t.rows[row+1] = above
	return parents
}

// path appends the siblings on the way from a leaf to the root. The tree must
// be settled: root called since the last change.
func (t *tree) path(b []byte, at uint32) []byte {
	for _, row := range t.rows {
		if sibling := at ^ 1; int(sibling) < len(row) {
			b = append(b, row[sibling][:]...)
		}
		at /= 2
	}
	return b
}

// climb returns the root of a tree of this size in which the leaf at a
// position has these siblings; ok is false when their number is wrong.
func climb(leaf Digest, at, size uint32, siblings []byte) (root Digest, ok bool) {
	if at >= size {
		return Digest{}, false
	}
	for ; size > 1; size, at = (size+1)/2, at/2 {
		if at^1 >= size {
			continue
		}
		if len(siblings) < sha256.Size {
			return Digest{}, false
		}
		sibling := Digest(siblings[:sha256.Size])
		siblings = siblings[sha256.Size:]
		if at&1 == 0 {
			leaf = hashNode(&leaf, &sibling)
		} else {
			leaf = hashNode(&sibling, &leaf)
		}
	}
	return leaf, len(siblings) == 0
}

// What is hashed begins with what it is, so that no leaf passes as a node.
const (
	hashedLeaf = 0
	hashedPair = 1
	hashedHead = 2
	hashedRule = 3
	hashedSums = 4
)

func hashNode(left, right *Digest) Digest {
	var b [1 + 2*sha256.Size]byte
	b[0] = hashedPair
	copy(b[1:], left[:])
	copy(b[1+sha256.Size:], right[:])
	return sha256.Sum256(b[:])
}
