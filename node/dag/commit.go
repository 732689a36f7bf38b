package dag

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"math"
	"slices"
)

// CollectDepth is how many rounds below the last committed leader the DAG is
// kept. A block that no leader has reached by then is dropped, the same one at
// every validator, since the collected round is a function of commits only. At
// 50 ms a round 60 rounds are three seconds, ten round trips around the world.
const CollectDepth = 60

// commitBlocksMax bounds the blocks of a commit for the decoder: every author
// twice (an equivocator's both versions) in a window of four collect depths.
const commitBlocksMax = 2 * CommitteeMax * 4 * CollectDepth

// Commit is a decided leader with all its not yet committed ancestors, in order.
// Commits form one chain over all epochs: Index counts from 1 without gaps and
// Previous is the digest of the commit before, of the genesis for the first.
type Commit struct {
	Epoch    uint64
	Index    uint64
	Previous Digest
	Leader   Ref
	Refs     []Ref    // the blocks in order; the leader is the last
	TimeMs   uint64   // weighted median of the leader's parents' clocks; never falls
	Flagged  []Author // authors whose committed blocks asked to close the epoch, so far

	// Digest is the SHA-256 of Bytes.
	Digest Digest
	// Blocks are the blocks of Refs. It is nil in a commit read from bytes.
	Blocks []*Block
}

// Bytes is the commit's canonical DAG-CBOR: what is stored, sent and hashed.
func (c *Commit) Bytes() []byte {
	return c.append(make([]byte, 0, 192+56*len(c.Refs)+3*len(c.Flagged)))
}

func (c *Commit) append(out []byte) []byte {
	out = appendHead(out, majorMap, 7)
	out = appendHead(appendKey(out, "epoch"), majorUint, c.Epoch)
	out = appendHead(appendKey(out, "index"), majorUint, c.Index)
	out = appendHead(appendKey(out, "blocks"), majorArray, uint64(len(c.Refs)))
	for _, ref := range c.Refs {
		out = appendRef(out, ref)
	}
	out = appendRef(appendKey(out, "leader"), c.Leader)
	out = appendHead(appendKey(out, "flagged"), majorArray, uint64(len(c.Flagged)))
	for _, a := range c.Flagged {
		out = appendHead(out, majorUint, uint64(a))
	}
	out = appendHead(appendKey(out, "time_ms"), majorUint, c.TimeMs)
	return appendLink(appendKey(out, "previous"), c.Previous)
}

// DecodeCommit reads a commit's canonical bytes and refuses anything else with a
// *DecodeError. It says nothing of whether the commit is the network's: the
// chain of digests and the votes do, see Core.CatchUp.
func DecodeCommit(raw []byte) (Commit, error) {
	r := &reader{object: "commit", data: raw}
	var c Commit
	if n := r.head(majorMap, "the commit", math.MaxInt16); r.err == nil && n != 7 {
		r.failAt(0, "a map of %d, not of 7", n)
	}
	r.key("epoch")
	c.Epoch = r.uint("the epoch")
	r.key("index")
	c.Index = r.uint("the index")
	r.key("blocks")
	start := r.at
	n := r.head(majorArray, "blocks", commitBlocksMax)
	if r.err == nil && n == 0 {
		r.failAt(start, "a commit has at least its leader")
	}
	for i := uint64(0); i < n && r.err == nil; i++ {
		c.Refs = append(c.Refs, r.ref(blockRef))
	}
	r.key("leader")
	start = r.at
	c.Leader = r.ref(leaderRef)
	if r.err == nil && c.Refs[len(c.Refs)-1] != c.Leader {
		r.failAt(start, "the leader is not the last block")
	}
	r.key("flagged")
	n = r.head(majorArray, "the flagged authors", CommitteeMax)
	for i := uint64(0); i < n && r.err == nil; i++ {
		start = r.at
		c.Flagged = append(c.Flagged, Author(r.head(majorUint, "a flagged author", CommitteeMax-1)))
		if r.err == nil && i > 0 && c.Flagged[i-1] >= c.Flagged[i] {
			r.failAt(start, "the flagged authors must rise")
		}
	}
	r.key("time_ms")
	c.TimeMs = r.head(majorUint, "the time", timeMsMax)
	r.key("previous")
	c.Previous = r.link("the previous commit")
	r.end()
	if r.err != nil {
		return Commit{}, r.err
	}
	c.Digest = sha256.Sum256(raw)
	return c, nil
}

// Closes reports whether the epoch ends with this commit: the authors that asked
// for it weigh a quorum of the epoch's committee.
func (c *Commit) Closes(committee *Committee) bool {
	var weight tally
	for _, a := range c.Flagged {
		weight.add(committee, a)
	}
	return weight.weight >= committee.quorum
}

// collectedAfter is the round at and below which nothing is ordered any more
// once a leader of the given round is committed.
func collectedAfter(leaderRound uint64) uint64 {
	return leaderRound - min(leaderRound, CollectDepth)
}

// String is for logs and test histories.
func (c *Commit) String() string {
	return fmt.Sprintf("commit %d: leader %v, %d blocks, %d ms", c.Index, c.Leader, len(c.Refs), c.TimeMs)
}

// medianTime is the smallest time that authors of at least half of the parents'
// weight do not exceed: less than half of it can be faulty, so an honest clock
// was at or above it and another at or below.
func medianTime(c *Committee, parents []*vertex, round uint64) uint64 {
	type reading struct{ timeMs, weight uint64 }
	readings := make([]reading, 0, len(parents))
	var total uint64
	for _, p := range parents {
		if p.ref.Round == round {
			w := c.members[p.ref.Author].Weight
			readings = append(readings, reading{p.block.timeMs, w})
			total += w
		}
	}
	slices.SortFunc(readings, func(a, b reading) int { return cmp.Compare(a.timeMs, b.timeMs) })
	var sum uint64
	for _, r := range readings {
		if sum += r.weight; sum >= total-total/2 {
			return r.timeMs
		}
	}
	return 0
}
