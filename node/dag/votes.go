package dag

import (
	"cmp"
	"fmt"
	"slices"
)

// Bounds of what is remembered of votes.
const (
	// recentCommits is the newest commits whose digests are kept to check votes
	// against: more than any honest validator's votes lag.
	recentCommits = 4 * CollectDepth
	// votesKept is the votes kept per author for commits we have not reached
	// yet, and for checkpoints: twice what one block carries.
	votesKept = 2 * VotesMax
)

// Checkpoint is a commit after which a quorum signed the same state root.
type Checkpoint struct {
	Index  uint64
	Commit Digest
	Root   [32]byte
	// Voters are blocks of distinct authors weighing a quorum that carry the
	// vote: the certificate, to be kept as long as the checkpoint. See
	// VerifyCheckpoint.
	Voters []Ref
}

// Divergence is a fault no honest majority can have: more weight than F states
// another commit or another state root than ours at one index. Either we or they
// computed something else from the same order; stop taking operations.
type Divergence struct {
	Index      uint64
	Checkpoint bool // about the state root, not the commit
	Ours       Digest
	Theirs     Digest
	Weight     uint64
}

func (d *Divergence) Error() string {
	what := "commit"
	if d.Checkpoint {
		what = "state root after commit"
	}
	return fmt.Sprintf("dag: weight %d signs %v as the %s %d, we have %v: stop this node and compare its store with another's",
		d.Weight, d.Theirs, what, d.Index, d.Ours)
}

// voteBook counts what the accepted blocks state about commits and states.
type voteBook struct {
	first  uint64   // the index of recent[0]
	recent []Digest // digests of our newest commits

	authors   []authorVotes
	changed   bool
	certified uint64 // the newest commit a quorum voted for
	newest    uint64 // the newest certified checkpoint
	accused   uint64 // the highest index a Divergence was reported for
}

// authorVotes is one author's statements.
type authorVotes struct {
	commit      uint64     // the highest index it voted for on our chain
	ahead       []Vote     // votes for commits we do not have, by rising index
	checkpoints []rootVote // the newest ones
	differs     Vote       // the last vote that is not on our chain
}

type rootVote struct {
	Vote
	in Ref
}

func newVoteBook(authors int, last Commit) voteBook {
	return voteBook{first: last.Index, recent: []Digest{last.Digest}, authors: make([]authorVotes, authors)}
}

// digest returns our commit's digest at an index, if it is remembered.
func (k *voteBook) digest(index uint64) (Digest, bool) {
	if index < k.first || index-k.first >= uint64(len(k.recent)) {
		return Digest{}, false
	}
	return k.recent[index-k.first], true
}

// committed takes note of a new commit of ours and checks the votes that were
// ahead of it.
func (k *voteBook) committed(c *Committee, index uint64, digest Digest) {
	k.recent = append(k.recent, digest)
	if len(k.recent) > 2*recentCommits {
		n := len(k.recent) - recentCommits
		k.recent = append([]Digest(nil), k.recent[n:]...)
		k.first += uint64(n)
	}
	for a := range k.authors {
		v := &k.authors[a]
		for len(v.ahead) > 0 && v.ahead[0].Index <= index {
			vote := v.ahead[0]
			v.ahead = slices.Delete(v.ahead, 0, 1)
			k.compare(v, vote)
		}
	}
}

// compare sets a vote beside our own chain.
func (k *voteBook) compare(v *authorVotes, vote Vote) {
	ours, known := k.digest(vote.Index)
	switch {
	case !known:
	case ours == vote.Commit:
		if vote.Index > v.commit {
			v.commit, k.changed = vote.Index, true
		}
	default:
		v.differs, k.changed = vote, true
	}
}

// countVotes takes in the votes of an accepted block.
func (c *Core) countVotes(b *Block) {
	if len(b.votes) == 0 {
		return
	}
	k := &c.votes
	v := &k.authors[b.ref.Author]
	for _, vote := range b.votes {
		if vote.Checkpoint {
			if len(v.checkpoints) == votesKept {
				v.checkpoints = slices.Delete(v.checkpoints, 0, 1)
			}
			v.checkpoints = append(v.checkpoints, rootVote{vote, b.ref})
			c.countCheckpoint(vote)
		}
		if vote.Index <= c.last.Index {
			k.compare(v, vote)
			continue
		}
		at, twice := slices.BinarySearchFunc(v.ahead, vote.Index, func(o Vote, index uint64) int {
			return cmp.Compare(o.Index, index)
		})
		if !twice && len(v.ahead) < votesKept {
			v.ahead = slices.Insert(v.ahead, at, vote)
		}
	}
}

// certify finds the newest commit whose votes, or votes for later ones, weigh a
// quorum, and reports what more than F weight holds against us.
func (c *Core) certify() {
	k := &c.votes
	if !k.changed {
		return
	}
	k.changed = false
	var above uint64 // the weight of those that say more than is certified
	for a := range k.authors {
		if k.authors[a].commit > k.certified {
			above += c.committee.Weight(Author(a))
		}
	}
	if above >= c.committee.quorum {
		k.certified = quorumIndex(c.committee, k.authors)
	}
	for a := range k.authors {
		c.accuse(k.authors[a].differs)
	}
}

// quorumIndex is the highest index that authors weighing a quorum have reached.
func quorumIndex(c *Committee, authors []authorVotes) uint64 {
	var reached [CommitteeMax]reach
	for a := range authors {
		reached[a] = reach{authors[a].commit, c.members[a].Weight}
	}
	return reachedBy(reached[:len(authors)], c.quorum)
}

// reach is how far an author of some weight has come.
type reach struct{ index, weight uint64 }

// reachedBy is the highest index that authors of at least a weight have come to,
// 0 when all of them weigh less. It sorts authors.
func reachedBy(authors []reach, weight uint64) uint64 {
	slices.SortFunc(authors, func(a, b reach) int { return cmp.Compare(b.index, a.index) })
	var sum uint64
	for _, r := range authors {
		if sum += r.weight; sum >= weight {
			return r.index
		}
	}
	return 0
}

// accuse reports a commit that is not ours and that more than F weight signed.
func (c *Core) accuse(vote Vote) {
	k := &c.votes
	if vote.Index <= k.accused { // also when the author never differed
		return
	}
	var against tally
	for a := range k.authors {
		if d := k.authors[a].differs; d.Index == vote.Index && d.Commit == vote.Commit {
			against.add(c.committee, Author(a))
		}
	}
	if against.weight < c.committee.validity {
		return
	}
	k.accused = vote.Index
	ours, _ := k.digest(vote.Index)
	c.effects.Faults = append(c.effects.Faults, &Divergence{
		Index: vote.Index, Ours: ours, Theirs: vote.Commit, Weight: against.weight,
	})
}

// countCheckpoint looks whether a vote completes a certificate, or shows that
// our own root is not the one others have.
func (c *Core) countCheckpoint(vote Vote) {
	k := &c.votes
	if vote.Index <= k.newest {
		return
	}
	var weight tally
	var voters []Ref
	for a := range k.authors {
		for _, v := range k.authors[a].checkpoints {
			if v.Vote == vote && weight.add(c.committee, Author(a)) {
				voters = append(voters, v.in)
			}
		}
	}
	if weight.weight >= c.committee.validity {
		c.compareRoots(vote, weight.weight)
	}
	if weight.weight >= c.committee.quorum {
		k.newest = vote.Index
		c.effects.Checkpoints = append(c.effects.Checkpoints, Checkpoint{vote.Index, vote.Commit, vote.Root, voters})
	}
}

// compareRoots reports a root other than ours that an honest author signed.
func (c *Core) compareRoots(vote Vote, weight uint64) {
	if !c.validator {
		return
	}
	for _, ours := range c.votes.authors[c.self].checkpoints {
		if ours.Index == vote.Index && ours.Root != vote.Root {
			c.effects.Faults = append(c.effects.Faults, &Divergence{
				Index: vote.Index, Checkpoint: true, Ours: ours.Root, Theirs: vote.Root, Weight: weight,
			})
			return
		}
	}
}

// VoteCheckpoint puts a vote into our next block: the state after the commit at
// index, whose digest is commit, has this root. Call it in rising order of
// index. When blocks are slower than checkpoints, only the newest are voted for.
func (c *Core) VoteCheckpoint(index uint64, commit Digest, root [32]byte) {
	if n := len(c.own.votes); n > 0 && c.own.votes[n-1].Index >= index {
		return
	}
	if len(c.own.votes) == VotesMax-1 {
		c.own.votes = slices.Delete(c.own.votes, 0, 1)
	}
	c.own.votes = append(c.own.votes, Vote{Index: index, Commit: commit, Checkpoint: true, Root: root})
}

// ownVotes takes what our next block states: the checkpoints that wait, and the
// newest commit if we have not voted for it.
func (c *Core) ownVotes() []Vote {
	votes := c.own.votes
	c.own.votes = nil
	if c.last.Index <= c.own.voted {
		return votes
	}
	if n := len(votes); n > 0 && votes[n-1].Index >= c.last.Index {
		return votes
	}
	return append(votes, Vote{Index: c.last.Index, Commit: c.last.Digest})
}

// VerifyCheckpoint checks a certificate: verified blocks of the committee's
// epoch, by distinct authors weighing a quorum, each with this vote.
func VerifyCheckpoint(committee *Committee, cp Checkpoint, blocks []*Block) error {
	if weight := votedFor(committee, cp, blocks); weight < committee.quorum {
		return fmt.Errorf("dag: votes of weight %d for checkpoint %d, a quorum is %d", weight, cp.Index, committee.quorum)
	}
	return nil
}

// VerifyState is VerifyCheckpoint for who needs to know of a state only that it is right,
// and not that a quorum is that far: votes of more than F weight are enough, for one of
// them is an honest validator's.
func VerifyState(committee *Committee, cp Checkpoint, blocks []*Block) error {
	if weight := votedFor(committee, cp, blocks); weight < committee.validity {
		return fmt.Errorf("dag: votes of weight %d for the state after commit %d, more than %d are needed", weight, cp.Index, committee.validity-1)
	}
	return nil
}

// votedFor is the weight of the blocks' authors that vote for a checkpoint in them.
func votedFor(committee *Committee, cp Checkpoint, blocks []*Block) uint64 {
	want := Vote{Index: cp.Index, Commit: cp.Commit, Checkpoint: true, Root: cp.Root}
	var weight tally
	for _, b := range blocks {
		if committee.Has(b.ref.Author) && slices.Contains(b.votes, want) {
			weight.add(committee, b.ref.Author)
		}
	}
	return weight.weight
}
