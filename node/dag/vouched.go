package dag

// Vouched finds in a batch of commits and their blocks, as CatchUp takes it, the
// blocks that a quorum vouches for: those of the commits, from the first, that
// votes in the batch certify. What is at i in the result is the block of raw[i], or
// nil where nobody vouches for it.
//
// What a quorum signed holds the digests of all these blocks, and more than F weight
// of honest validators had verified each before they built on it. So neither their
// signatures nor their payload's are checked again; only the few are whose votes are
// counted, with verify: no more than one block of each author. checkPayload is as for
// TrustedBlock. An error is one of verify or checkPayload: whoever sent the batch is
// faulty.
func (r *Rules) Vouched(commits []Commit, raw [][]byte, verify func(raw []byte) (*Block, error),
	checkPayload func(ops [][]byte) (checked any, err error)) ([]*Block, error) {
	vouched := make([]*Block, len(raw))
	commits = r.chain(commits)
	if len(commits) == 0 {
		return vouched, nil
	}
	claimed := make([]*Block, len(raw))            // decoded, not verified
	speaks := make([]int, r.Committee.Size())      // 1 + where each author's last block with votes is
	votes := make([]authorVotes, len(speaks))      // of blocks that are verified
	named := make(map[Digest]struct{}, len(raw)+1) // by what is certified
	for i := range raw {
		b, err := decodeBlock(raw[i])
		if err != nil || b.network != r.Network || b.epoch != r.Epoch || !r.Committee.Has(b.ref.Author) {
			continue // verify will say what is wrong with it
		}
		claimed[i] = b
		if len(b.votes) > 0 {
			speaks[b.ref.Author] = i + 1
		}
	}
	for _, at := range speaks {
		if at == 0 {
			continue
		}
		b, err := verify(raw[at-1])
		if err != nil {
			return nil, err
		}
		votes[b.ref.Author].commit = highestVote(commits, b.votes)
	}
	certified := quorumIndex(r.Committee, votes)
	for _, c := range commits {
		if c.Index > certified {
			break
		}
		for _, ref := range c.Refs {
			named[ref.Digest] = struct{}{}
		}
	}
	for i, b := range claimed {
		if b == nil {
			continue
		}
		if _, ok := named[b.ref.Digest]; !ok {
			continue
		}
		var err error
		if checkPayload != nil && len(b.payload) > 0 {
			if b.checked, err = checkPayload(b.payload); err != nil {
				return nil, err
			}
		}
		vouched[i] = b
	}
	return vouched, nil
}

// chain is the commits, from the first, that are of this epoch and follow on each
// other: a vote for one is a vote for all before it.
func (r *Rules) chain(commits []Commit) []Commit {
	for i, c := range commits {
		if c.Epoch != r.Epoch || i > 0 && (c.Index != commits[i-1].Index+1 || c.Previous != commits[i-1].Digest) {
			return commits[:i]
		}
	}
	return commits
}

// highestVote is the highest index of a chain of commits that one of the votes is for,
// or 0.
func highestVote(commits []Commit, votes []Vote) (highest uint64) {
	first := commits[0].Index
	for _, v := range votes {
		if v.Index >= first && v.Index-first < uint64(len(commits)) && commits[v.Index-first].Digest == v.Commit {
			highest = max(highest, v.Index)
		}
	}
	return highest
}
