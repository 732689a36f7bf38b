package dag

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// busyNetwork has run long enough for commits beyond the collected round.
func busyNetwork(t testing.TB, weights []uint64, commits int) *network {
	n := newNetwork(t, weights...)
	n.start()
	for i := 0; len(n.nodes[0].commits) < commits; i++ {
		o := n.nodes[i%len(n.nodes)]
		o.pending = append(o.pending, op(fmt.Sprintf("op %d", i)))
		o.step(o.core.Tick)
		n.run(20 * time.Millisecond)
	}
	return n
}

// bare is a commit as it comes over the wire.
func bare(commits []Commit) []Commit {
	out := slices.Clone(commits)
	for i := range out {
		out[i].Blocks = nil
	}
	return out
}

func blocksOf(commits []Commit) (out []*Block) {
	for _, c := range commits {
		out = append(out, c.Blocks...)
	}
	return out
}

func TestCatchUp(t *testing.T) {
	n := busyNetwork(t, equal(4), 200)
	source := n.nodes[0]
	late := follower(t, n.rules)
	done := 0
	for from := 0; from < 150; {
		to := min(from+50, 150)
		// The votes for the last of a batch are in the blocks after it.
		batch, witnesses := source.commits[from:to], blocksOf(source.commits[to:to+6])
		e, err := late.CatchUp(n.now, bare(batch), slices.Concat(blocksOf(batch), witnesses))
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range e.Commits {
			if want := source.commits[done]; c.Digest != want.Digest || len(c.Blocks) != len(want.Blocks) {
				t.Fatalf("commit %v, want %v", &c, &want)
			}
			done++
		}
		if done < to || len(e.Faults) > 0 {
			t.Fatalf("%d commits after the batch to %d, faults %v", done, to, e.Faults)
		}
		from = done
	}
	// The rest it gets as any block, and decides as any node.
	e := late.Receive(n.now, source.disk...)
	done += len(e.Commits)
	if done != len(source.commits) {
		t.Errorf("%d commits in the end, the source has %d", done, len(source.commits))
	}
	if a, b := dump(source.core), dump(late); withoutOwn(a) != withoutOwn(b) {
		t.Errorf("caught up, but not the same:\n%s", firstDifference(withoutOwn(a), withoutOwn(b)))
	}
}

// withoutOwn takes out of a dump what depends on who keeps it.
func withoutOwn(s string) string {
	var out []string
	for _, l := range strings.Split(s, "\n") {
		if strings.HasPrefix(l, "own ") {
			continue
		}
		out = append(out, strings.NewReplacer("pointed true", "", "pointed false", "").Replace(l))
	}
	return strings.Join(out, "\n")
}

func TestCatchUpRefuses(t *testing.T) {
	n := busyNetwork(t, equal(4), 60)
	all := n.nodes[0].commits
	batch, witnesses := all[:40], blocksOf(all[40:46])
	blocks := slices.Concat(blocksOf(batch), witnesses)
	for _, tc := range []struct {
		name    string
		commits func() []Commit
		blocks  []*Block
		want    string
	}{
		{"a gap", func() []Commit { return slices.Concat(batch[:3], batch[4:]) }, blocks, "commit 5 of the batch does not follow on commit 3"},
		{"not from the start", func() []Commit { return batch[5:] }, blocks, "commit 6 of the batch does not follow on commit 0"},
		{"a forged commit", func() []Commit {
			c := batch[2]
			c.TimeMs++
			c.Digest = digestOf(c.Bytes())
			return slices.Concat(batch[:2], []Commit{c}, batch[3:])
		}, blocks, "commit 4 of the batch does not follow on commit 3"},
		{"a forged end", func() []Commit {
			c := batch[0]
			c.TimeMs++
			c.Digest = digestOf(c.Bytes())
			return []Commit{c}
		}, blocks, "no quorum voted"},
		{"no votes", func() []Commit { return batch[:1] }, blocksOf(batch[:1]), "no quorum voted"},
		{"votes of less than a quorum", func() []Commit { return batch }, slices.DeleteFunc(slices.Clone(blocks), func(b *Block) bool {
			return b.Author() > 1 && len(b.votes) > 0
		}), "no quorum voted"},
		{"a block missing", func() []Commit { return batch }, slices.DeleteFunc(slices.Clone(blocks), func(b *Block) bool {
			return b.ref == batch[20].Refs[0]
		}), "the batch lacks block"},
	} {
		late := follower(t, n.rules)
		before := dump(late)
		e, err := late.CatchUp(n.now, bare(tc.commits()), tc.blocks)
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", tc.name, err, tc.want)
		}
		if dump(late) != before || len(e.Commits)+len(e.Persist) > 0 {
			t.Errorf("%s: the core changed", tc.name)
		}
	}
	late := follower(t, n.rules)
	if _, err := late.CatchUp(n.now, bare(batch), blocks); err != nil {
		t.Fatal(err)
	}
	c := batch[10]
	c.TimeMs++
	c.Digest = digestOf(c.Bytes())
	if _, err := late.CatchUp(n.now, []Commit{c}, nil); err == nil || !strings.Contains(err.Error(), "another commit 11 than ours") {
		t.Errorf("a fork of what we have: %v", err)
	}
	if !errors.Is(func() error {
		_, err := follower(t, n.rules).CatchUp(n.now, bare(batch), nil)
		return err
	}(), ErrUncertified) {
		t.Error("uncertified commits are not ErrUncertified")
	}
}

// A node that starts from a checkpoint has the commits of the last rounds and no
// blocks. It fetches what the newest blocks build on, also blocks that nobody
// committed, orders no block twice, and comes to the same commits.
func TestOpenOnCheckpoint(t *testing.T) {
	n := busyNetwork(t, []uint64{1, 2, 1, 3, 1}, 150)
	source := n.nodes[0]
	at := 120
	last := source.commits[at-1]
	var tail []Commit
	for _, c := range source.commits[:at] {
		if c.Leader.Round > collectedAfter(last.Leader.Round) {
			tail = append(tail, c)
		}
	}
	cfg := DefaultConfig(n.rules)
	core, e, err := Open(cfg, n.now, Stored{Commits: bare(tail)})
	if err != nil || len(e.Commits) > 0 {
		t.Fatalf("%d commits, %v", len(e.Commits), err)
	}
	var got []Commit
	newest := source.disk[len(source.disk)-8:]
	e = core.Receive(n.now, newest...)
	for fetches := 0; ; fetches++ {
		got = append(got, e.Commits...)
		if len(e.Fetch) == 0 {
			break
		}
		if fetches > 2*CollectDepth {
			t.Fatal("it goes on fetching")
		}
		var blocks []*Block
		for _, m := range e.Fetch {
			b := source.byRef[m.Ref.Digest]
			if b == nil {
				t.Fatalf("it wants %v, which nobody has", m.Ref)
			}
			if m.Ref.Round <= collectedAfter(last.Leader.Round) {
				t.Fatalf("it wants %v, which is collected", m.Ref)
			}
			blocks = append(blocks, b)
		}
		e = core.Receive(n.now, blocks...)
	}
	want := source.commits[at:]
	if len(got) == 0 || len(got) > len(want) {
		t.Fatalf("%d commits after the checkpoint, the source has %d", len(got), len(want))
	}
	for i := range got {
		if got[i].Digest != want[i].Digest {
			t.Fatalf("commit %v, want %v", &got[i], &want[i])
		}
	}
	if len(want)-len(got) > 3 {
		t.Errorf("only %d of %d commits", len(got), len(want))
	}
}

func TestOpenRefusesABrokenChain(t *testing.T) {
	n := busyNetwork(t, equal(4), 20)
	commits := bare(n.nodes[0].commits)
	cfg := DefaultConfig(n.rules)
	if _, _, err := Open(cfg, n.now, Stored{Commits: slices.Concat(commits[:3], commits[4:8])}); err == nil ||
		!strings.Contains(err.Error(), "stored commit 5 does not follow on commit 3") {
		t.Errorf("a gap: %v", err)
	}
	cfg.Rules.Epoch = 2
	if _, _, err := Open(cfg, n.now, Stored{Commits: commits}); err == nil || !strings.Contains(err.Error(), "epoch 2 cannot follow") {
		t.Errorf("an epoch too far: %v", err)
	}
	if _, _, err := Open(cfg, n.now, Stored{}); err == nil || !strings.Contains(err.Error(), "cannot begin without the commit") {
		t.Errorf("a later epoch without commits: %v", err)
	}
}

// Commits that a quorum signed and that do not follow from the blocks (more than
// F weight must be faulty for it) are not believed: one that leaves out what its
// blocks build on is refused, one that says something else stops the core.
func TestCatchUpBelievesNoImpossibleCommit(t *testing.T) {
	n := busyNetwork(t, equal(4), 20)
	all := n.nodes[0].commits
	signed := func(c Commit) (Commit, []*Block) {
		c.Digest = digestOf(c.Bytes())
		var blocks []*Block
		for a := range Author(3) {
			b := &Block{ref: Ref{Slot: Slot{900, a}}, network: n.rules.Network, votes: []Vote{{Index: c.Index, Commit: c.Digest}},
				parents: []Ref{{Slot{899, a}, Digest{1}}, {Slot{899, 3}, Digest{2}}}}
			b.raw = appendBlock(nil, b, make64())
			b.ref.Digest = digestOf(b.raw)
			blocks = append(blocks, b)
		}
		return c, append(blocks, blocksOf(all)...)
	}
	short := all[1]
	short.Refs = slices.Clone(short.Refs[1:])
	c, blocks := signed(short)
	late := follower(t, n.rules)
	before := dump(late)
	if _, err := late.CatchUp(n.now, bare([]Commit{all[0], c}), slices.DeleteFunc(blocks, func(b *Block) bool {
		return b.ref == all[1].Refs[0]
	})); err == nil || !strings.Contains(err.Error(), "which block") || dump(late) != before {
		t.Errorf("a commit without an ancestor: %v", err)
	}
	later := all[1]
	later.TimeMs += 1000
	c, blocks = signed(later)
	e, err := late.CatchUp(n.now, bare([]Commit{all[0], c}), blocks)
	if err != nil || len(e.Faults) != 1 || len(e.Commits) != 1 {
		t.Fatalf("a commit with another time: %d commits, faults %v, %v", len(e.Commits), e.Faults, err)
	}
	var d *Divergence
	if !errors.As(e.Faults[0], &d) || d.Index != 2 || d.Theirs != c.Digest {
		t.Errorf("fault %v", e.Faults[0])
	}
	if e := late.Receive(n.now, n.nodes[0].disk...); len(e.Commits) != 0 {
		t.Errorf("goes on with %d commits after a divergence", len(e.Commits))
	}
}
