package dag

import "fmt"

// TwinError says that a block of ours arrived that we did not make: a second
// process signs with our key, or our store went back in time. This core proposes
// nothing any more.
type TwinError struct {
	Block *Block
}

func (e *TwinError) Error() string {
	return fmt.Sprintf("dag: block %v has our signature and we did not make it: "+
		"find the other process with this key, or recover the store; this node proposes nothing until then", e.Block.ref)
}

// tooManyVersions reports whether b is one version of its slot too many. Two are
// kept, as proof; more only if some block that waits builds on them.
func (c *Core) tooManyVersions(b *Block) bool {
	if c.waiting.wanted(b.ref.Digest) {
		return false
	}
	versions := 0
	for v := c.graph.slot(b.ref.Slot); v != nil; v = v.version {
		versions++
	}
	for _, w := range c.waiting.authors[b.ref.Author] {
		if w.block.ref.Slot == b.ref.Slot {
			versions++
		}
	}
	return versions >= versionsMax
}

// proofsMax bounds the proofs against one author in an epoch, over one life of the
// core. One convicts; a liar could sign pairs for as many rounds as there are.
const proofsMax = 8

// prove reports b and another block of its slot, once per slot.
func (c *Core) prove(b *Block) {
	var first *Block
	if v := c.graph.slot(b.ref.Slot); v != nil {
		first = v.block
	}
	for _, w := range c.waiting.authors[b.ref.Author] {
		if first == nil && w.block.ref.Slot == b.ref.Slot {
			first = w.block
		}
	}
	if first == nil || first.ref == b.ref {
		return
	}
	if _, done := c.proved[b.ref.Slot]; done || c.peers[b.ref.Author].proofs == proofsMax {
		return
	}
	c.proved[b.ref.Slot] = struct{}{}
	c.peers[b.ref.Author].proofs++
	c.effects.Evidence = append(c.effects.Evidence, Evidence{first, b})
}

// checkOwn finds out whether a block of ours that we do not know means that
// somebody else signs with our key. While we recover, and below what we may
// have made before, it is a block of our former life.
func (c *Core) checkOwn(b *Block) {
	if !c.validator || b.ref.Author != c.self || c.own.twin {
		return
	}
	if c.own.recovery != nil && !c.own.recovery.done {
		return
	}
	if b.ref.Round >= c.own.floor || c.graph.slot(b.ref.Slot) != nil {
		c.own.twin = true
		c.effects.Faults = append(c.effects.Faults, &TwinError{b})
	}
}
