package replica

import (
	"cmp"
	"slices"

	"github.com/holdfast-mesh/holdfast/node/dag"
)

// spoken is the newest accepted block of each author of the epoch.
type spoken struct {
	rounds   []uint64
	timesMs  []int64
	expected int64 // see Replica.expectedMs; valid when sorted
	sorted   bool
}

func newSpoken(authors int) spoken {
	return spoken{rounds: make([]uint64, authors), timesMs: make([]int64, authors)}
}

// note takes notice of an accepted block.
func (s *spoken) note(b *dag.Block) {
	if b.Round() > s.rounds[b.Author()] {
		s.rounds[b.Author()] = b.Round()
		s.timesMs[b.Author()] = int64(b.TimeMs())
		s.sorted = false
	}
}

// sort finds the expected time: of a quorum of the authors that spoke longest
// ago, the one at half the weight.
func (s *spoken) sort(c *dag.Committee) {
	authors := make([]dag.Author, len(s.timesMs))
	for i := range authors {
		authors[i] = dag.Author(i)
	}
	slices.SortFunc(authors, func(a, b dag.Author) int { return cmp.Compare(s.timesMs[a], s.timesMs[b]) })
	half := c.Quorum() - c.Quorum()/2
	weight := uint64(0)
	for _, a := range authors {
		if weight += c.Weight(a); weight >= half {
			s.expected = s.timesMs[a]
			break
		}
	}
	s.sorted = true
}
