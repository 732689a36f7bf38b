package dag

import (
	"fmt"
	"testing"
	"time"
)

// blockMaker makes the blocks of a network in which everybody is always on
// time: each points to all of the round before and votes for the newest commit.
// Signatures are blank; a core never looks at them.
type blockMaker struct {
	rules Rules
	core  *Core // follows, for the votes
	last  []Ref
	round uint64
}

func newBlockMaker(t testing.TB, n int) *blockMaker {
	m := &blockMaker{rules: testRules(keyedCommittee(t, equal(n)...))}
	m.core = follower(t, m.rules)
	for a := range n {
		m.last = append(m.last, Genesis(m.rules.Network, 0, Author(a)))
	}
	return m
}

// follower is an observer's core.
func follower(t testing.TB, rules Rules) *Core {
	cfg := DefaultConfig(rules)
	cfg.GenesisMs = uint64(testStart.UnixMilli())
	core, _, err := Open(cfg, testStart, Stored{})
	if err != nil {
		t.Fatal(err)
	}
	return core
}

// next makes one round.
func (m *blockMaker) next() []*Block {
	m.round++
	var votes []Vote
	if s := m.core.Status(); s.Commit > 0 {
		votes = []Vote{{Index: s.Commit, Commit: s.CommitDigest}}
	}
	blocks := make([]*Block, len(m.last))
	refs := make([]Ref, len(m.last))
	for a := range blocks {
		b := &Block{
			ref: Ref{Slot: Slot{m.round, Author(a)}}, network: m.rules.Network, votes: votes,
			timeMs: uint64(testStart.UnixMilli()), parents: append([]Ref{m.last[a]}, without(m.last, a)...),
		}
		b.raw = appendBlock(nil, b, make([]byte, 64))
		b.ref.Digest = digestOf(b.raw)
		blocks[a], refs[a] = b, b.ref
	}
	m.last = refs
	m.core.Receive(testStart, blocks...)
	return blocks
}

func without(refs []Ref, i int) []Ref {
	return append(append([]Ref(nil), refs[:i]...), refs[i+1:]...)
}

// BenchmarkReceive hands verified blocks to a core one by one. The bars: at n=4
// 50 000 blocks/s, at n=100 a round of 100 blocks with 100 parents in 20 ms,
// which is 5 000 blocks/s.
func BenchmarkReceive(b *testing.B) {
	for _, n := range []int{4, 100} {
		b.Run(fmt.Sprintf("n=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			maker := newBlockMaker(b, n)
			core := follower(b, maker.rules)
			commits, received := 0, 0
			var blocks []*Block
			b.ResetTimer()
			for range b.N {
				if len(blocks) == 0 {
					b.StopTimer()
					for len(blocks) < 4000 {
						blocks = append(blocks, maker.next()...)
					}
					b.StartTimer()
				}
				e := core.Receive(testStart.Add(time.Duration(received)), blocks[0])
				blocks = blocks[1:]
				received++
				commits += len(e.Commits)
			}
			b.ReportMetric(float64(received)/b.Elapsed().Seconds(), "blocks/s")
			if commits < received/n-4 {
				b.Fatalf("%d commits from %d blocks", commits, received)
			}
		})
	}
}
