package dag

import (
	"errors"
	"fmt"
	"time"
)

// ErrUncertified says that a batch of commits does not come with votes of a
// quorum for any of them that is new to us.
var ErrUncertified = errors.New("dag: no quorum voted for these commits")

// CatchUp takes commits that follow on ours, by rising index, with their blocks
// and with the blocks that hold votes for them, and applies those that a quorum
// certifies without running the commit rule. Votes for a commit certify all
// before it. Blocks beyond the certified commits are received like any others.
//
// An error means that whoever sent the batch is faulty or cut it short; the core
// is as before.
func (c *Core) CatchUp(now time.Time, commits []Commit, blocks []*Block) (Effects, error) {
	c.at(now)
	if c.conflict {
		return c.finish(), nil
	}
	fresh, err := c.following(commits)
	if err != nil {
		return Effects{}, err
	}
	byDigest := make(map[Digest]*Block, len(blocks))
	for _, b := range blocks {
		if b.epoch == c.rules.Epoch && b.network == c.rules.Network {
			byDigest[b.ref.Digest] = b
		}
	}
	if len(fresh) > 0 {
		certified := c.countCertified(fresh, blocks)
		if certified == 0 {
			return Effects{}, fmt.Errorf("%w: %d to %d", ErrUncertified, fresh[0].Index, fresh[len(fresh)-1].Index)
		}
		fresh = fresh[:certified]
		if err := c.complete(fresh, byDigest); err != nil {
			return Effects{}, err
		}
		for _, commit := range fresh {
			if !c.apply(commit, byDigest) {
				break
			}
		}
		c.resume()
	}
	for _, b := range blocks {
		c.receive(b)
	}
	return c.finish(), nil
}

// following cuts off what we have and checks that the rest is one chain on top
// of our last commit, within this epoch.
func (c *Core) following(commits []Commit) ([]Commit, error) {
	for len(commits) > 0 && commits[0].Index <= c.last.Index {
		if ours, known := c.votes.digest(commits[0].Index); known && ours != commits[0].Digest {
			return nil, fmt.Errorf("dag: the batch has another commit %d than ours: %v, not %v",
				commits[0].Index, commits[0].Digest, ours)
		}
		commits = commits[1:]
	}
	last := c.last
	for i, commit := range commits {
		if commit.Epoch != c.rules.Epoch {
			commits = commits[:i] // for after NextEpoch
			break
		}
		if commit.Index != last.Index+1 || commit.Previous != last.Digest {
			return nil, fmt.Errorf("dag: commit %d of the batch does not follow on commit %d", commit.Index, last.Index)
		}
		if last.Epoch == commit.Epoch && last.Index > 0 && commit.Leader.Round <= last.Leader.Round {
			return nil, fmt.Errorf("dag: commit %d of the batch has a leader of round %d, not above %d",
				commit.Index, commit.Leader.Round, last.Leader.Round)
		}
		last = commit
	}
	return commits, nil
}

// countCertified returns how many of the commits, from the first, the votes in
// the blocks and those counted before certify.
func (c *Core) countCertified(commits []Commit, blocks []*Block) int {
	first := commits[0].Index
	votes := make([]authorVotes, c.committee.Size())
	for a := range c.votes.authors {
		votes[a].commit = highestVote(commits, c.votes.authors[a].ahead)
	}
	for _, b := range blocks {
		if b.epoch == c.rules.Epoch && b.network == c.rules.Network {
			votes[b.ref.Author].commit = max(votes[b.ref.Author].commit, highestVote(commits, b.votes))
		}
	}
	certified := quorumIndex(c.committee, votes)
	if certified < first {
		return 0
	}
	return int(certified - first + 1)
}

// complete checks that every block of the commits is here or in the batch, and
// so is every block these build on that is not collected.
func (c *Core) complete(commits []Commit, batch map[Digest]*Block) error {
	collected := c.graph.collected
	known := make(map[Digest]struct{})
	have := func(d Digest) bool {
		_, ok := known[d]
		return ok || c.graph.byDigest[d] != nil
	}
	for _, commit := range commits {
		for _, ref := range commit.Refs {
			if have(ref.Digest) {
				continue
			}
			b := batch[ref.Digest]
			if b == nil || b.ref != ref {
				return fmt.Errorf("dag: the batch lacks block %v of commit %d", ref, commit.Index)
			}
			if ref.Round <= collected {
				return fmt.Errorf("dag: commit %d takes in block %v, which was collected", commit.Index, ref)
			}
			for _, p := range b.parents {
				if p.Round > collected && !have(p.Digest) {
					return fmt.Errorf("dag: the batch lacks block %v, which block %v of commit %d builds on", p, ref, commit.Index)
				}
			}
			known[ref.Digest] = struct{}{}
		}
		collected = max(collected, collectedAfter(commit.Leader.Round))
	}
	return nil
}

// apply makes a certified commit ours. It is built anew from its leader, so a
// certified commit that is not a function of the DAG stops the node instead of
// being believed.
func (c *Core) apply(commit Commit, batch map[Digest]*Block) bool {
	for _, ref := range commit.Refs {
		if c.graph.byDigest[ref.Digest] != nil {
			continue
		}
		b := batch[ref.Digest]
		c.prove(b)
		c.checkOwn(b)
		parents, complete := c.findParents(b)
		if !complete || parents == nil {
			return c.disown(commit, Digest{})
		}
		if w := c.waiting.blocks[b.ref.Digest]; w != nil {
			c.waiting.remove(w)
		}
		c.accept(b, parents)
	}
	leader := c.graph.byDigest[commit.Leader.Digest]
	if leader == nil || leader.committed {
		return c.disown(commit, Digest{})
	}
	built := c.buildCommit(leader)
	if built.Digest != commit.Digest {
		return c.disown(commit, built.Digest)
	}
	c.commit(built)
	return !c.epoch.closed
}

// disown stops this core at a commit that a quorum signed and that does not
// follow from the blocks.
func (c *Core) disown(commit Commit, ours Digest) bool {
	c.conflict = true
	c.effects.Faults = append(c.effects.Faults, &Divergence{
		Index: commit.Index, Ours: ours, Theirs: commit.Digest, Weight: c.committee.quorum,
	})
	return false
}

// resume lets the commit rule go on behind the last commit.
func (c *Core) resume() {
	c.reobserve(c.last.Leader.Round + 1)
}
