package replica

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/holdfast-mesh/holdfast/node/dag"
)

// served is a cluster with some history, and one of its nodes.
func served(t *testing.T) (*cluster, *node) {
	c := newCluster(t, 4)
	c.load(3*time.Second, 20*time.Millisecond)
	return c, c.nodes[0]
}

func ask(t *testing.T, n *node, q Request) Answer {
	t.Helper()
	return askIn(t, n, q, ReplyRoomMax)
}

func askIn(t *testing.T, n *node, q Request, room int) Answer {
	t.Helper()
	p, err := Serve(n.store, q, n.own, room)
	if err != nil {
		t.Fatalf("%v: %v", q.Kind, err)
	}
	if size := len(p.Bytes()); size > ReplyBytesMax {
		t.Errorf("%v: a reply of %d bytes", q.Kind, size)
	}
	a, err := n.r.Verifier().Answer(1, p)
	if err != nil {
		t.Fatalf("%v: %v", q.Kind, err)
	}
	return a
}

func TestServeBlocks(t *testing.T) {
	_, n := served(t)
	round := n.r.Status().Round - 3
	a := ask(t, n, Request{Kind: AskRounds, From: round})
	if len(a.Blocks) < 4 || a.Blocks[0].Round() != round {
		t.Fatalf("rounds from %d: %d blocks", round, len(a.Blocks))
	}
	if !slices.IsSortedFunc(a.Blocks, func(a, b *dag.Block) int { return int(a.Round()) - int(b.Round()) }) {
		t.Error("rounds out of order")
	}
	want := a.Blocks[2].Ref()
	missing := someRef(9)
	if got := ask(t, n, Request{Kind: AskBlocks, Refs: []dag.Ref{missing, want}}); len(got.Blocks) != 1 || got.Blocks[0].Ref() != want {
		t.Errorf("asked for one block that is there and one that is not, got %d", len(got.Blocks))
	}
	rest := ask(t, n, Request{Kind: AskRounds, From: round, Author: 2}).Blocks
	if len(rest) != len(a.Blocks)-2 || rest[0].Ref() != want {
		t.Errorf("asked for round %d from author 2 on, got %d blocks from %v", round, len(rest), rest[0].Ref())
	}
	if got := ask(t, n, Request{Kind: AskRounds, From: 1 << 60}); len(got.Blocks) != 0 {
		t.Error("blocks from the future")
	}
}

func TestServeCommits(t *testing.T) {
	_, n := served(t)
	a := ask(t, n, Request{Kind: AskCommits, From: 100, Skip: 1})
	if len(a.Commits) < 10 || a.Head < 120 || a.Commits[0].Index != 100 || a.Blocks[0].Ref() != a.Commits[0].Refs[1] {
		t.Fatalf("%d commits", len(a.Commits))
	}
	if got := ask(t, n, Request{Kind: AskCommits, From: 1 << 40}); len(got.Commits) != 0 || got.Head != a.Head {
		t.Error("commits from the future")
	}
	if got := ask(t, n, Request{Kind: AskCommits, From: 100, Skip: 1 << 60}); len(got.Commits) == 0 {
		t.Error("skipping more than there is loses the commits")
	}
}

// TestServeKeepsBackWhatIsNotDurable: a store may show our block before it is
// durable; nobody may get it before Own says so.
func TestServeKeepsBackWhatIsNotDurable(t *testing.T) {
	_, n := served(t)
	newest := ask(t, n, Request{Kind: AskNewest, Author: 0}).Blocks
	if len(newest) != 1 || newest[0].Round() != n.own.Round {
		t.Fatalf("newest of ours: %v", newest)
	}
	ref := newest[0].Ref()
	n.own.Round--
	if a := ask(t, n, Request{Kind: AskBlocks, Refs: []dag.Ref{ref}}); len(a.Blocks) != 0 {
		t.Error("gave out a block that is not durable, by name")
	}
	for _, b := range ask(t, n, Request{Kind: AskRounds, From: ref.Round - 2}).Blocks {
		if b.Ref() == ref {
			t.Error("gave out a block that is not durable, by rounds")
		}
	}
	for _, b := range ask(t, n, Request{Kind: AskNewest, Author: 1}).Blocks {
		if b.Ref() == ref {
			t.Error("gave out a block that is not durable, as our newest")
		}
	}
	for _, b := range ask(t, n, Request{Kind: AskNewest, Author: 0}).Blocks {
		if b.Ref() == ref {
			t.Error("gave out a block that is not durable, as the asker's newest")
		}
	}
	n.own = Own{} // before the first Step nothing is known: an observer's view of epoch 0
	if _, err := Serve(n.store, Request{Kind: AskNewest, Epoch: 1}, n.own, ReplyRoomMax); !errors.Is(err, ErrUnable) {
		t.Errorf("asked about an epoch it has not reached: %v", err)
	}
}

func TestServeNewest(t *testing.T) {
	c, n := served(t)
	a := ask(t, n, Request{Kind: AskNewest, Author: 2})
	if len(a.Blocks) != 2 || a.Blocks[0].Author() != 2 || a.Blocks[1].Author() != 0 || a.Blocks[1].Round() != n.own.Round {
		t.Fatalf("got %d blocks", len(a.Blocks))
	}
	if a.Blocks[0].Round() != n.r.Have(2) {
		t.Errorf("newest of author 2 is of round %d, want %d", a.Blocks[0].Round(), n.r.Have(2))
	}
	n.store.write([]Record{{[]byte(keyRecover), []byte{1}}})
	if _, err := Serve(n.store, Request{Kind: AskNewest, Author: 2}, n.own, ReplyRoomMax); !errors.Is(err, ErrUnable) {
		t.Errorf("answers although its own memory is lost: %v", err)
	}
	_ = c
}

func TestServeState(t *testing.T) {
	_, n := served(t)
	a := ask(t, n, Request{Kind: AskCheckpoint})
	if a.Certificate == nil || len(a.Blocks) != len(a.Certificate.Votes) {
		t.Fatalf("certificate %v with %d votes", a.Certificate, len(a.Blocks))
	}
	certified := dag.Checkpoint{Index: a.Certificate.Index, Commit: a.Certificate.Commit, Root: a.Certificate.Root}
	if err := dag.VerifyCheckpoint(n.r.Committee(), certified, a.Blocks); err != nil {
		t.Error(err)
	}
	m := ask(t, n, Request{Kind: AskManifest, From: a.Certificate.Index}).Manifest
	if m == nil || m.Checkpoint != a.Certificate.Checkpoint {
		t.Fatalf("manifest %v", m)
	}
	for i := range m.Chunks {
		if chunk := ask(t, n, Request{Kind: AskChunk, From: m.Index, Chunk: uint32(i)}).Chunk; len(chunk) == 0 {
			t.Errorf("chunk %d is missing", i)
		}
	}
	if chunk := ask(t, n, Request{Kind: AskChunk, From: m.Index, Chunk: 77}).Chunk; chunk != nil {
		t.Error("a chunk that does not exist")
	}
}

// TestServeDamaged: a flipped bit is reported and never sent.
func TestServeDamaged(t *testing.T) {
	_, n := served(t)
	a := ask(t, n, Request{Kind: AskRounds, From: n.r.Status().Round - 3})
	ref := a.Blocks[0].Ref()
	raw := slices.Clone(a.Blocks[0].Bytes())
	raw[len(raw)/2] ^= 4
	n.store.write([]Record{{blockKey(0, ref), raw}})
	for _, q := range []Request{{Kind: AskBlocks, Refs: []dag.Ref{ref}}, {Kind: AskRounds, From: ref.Round}} {
		if _, err := Serve(n.store, q, n.own, ReplyRoomMax); !errors.Is(err, ErrDamaged) {
			t.Errorf("%v: %v", q.Kind, err)
		}
	}
	n.store.fail = errors.New("input/output error")
	for kind := AskBlocks; kind < kindEnd; kind++ {
		if _, err := Serve(n.store, Request{Kind: kind, Refs: []dag.Ref{ref}}, n.own, ReplyRoomMax); !errors.Is(err, n.store.fail) {
			t.Errorf("%v on a disk that cannot be read: %v", kind, err)
		}
	}
}

// TestServeIsBounded: a reply stops at its bound, and goes on from there.
func TestServeIsBounded(t *testing.T) {
	c := newCluster(t, 4)
	m := newOpMaker(t)
	for i := range 16 {
		for k := range 40 {
			c.nodes[k%4].r.pool.insert(m.op(k%8, uint64(c.now.UnixMilli())+uint64(i*100+k), c.now.UnixMilli()+60_000, 8000))
		}
		c.run(60 * time.Millisecond)
	}
	c.run(time.Second)
	n := c.nodes[0]
	total := 0
	for _, k := range n.store.keys {
		if len(k) > len(prefixBlock) && k[:len(prefixBlock)] == prefixBlock {
			total += len(n.store.values[k])
		}
	}
	if total < ReplyBytesMax {
		t.Fatalf("%d bytes of blocks fit one reply", total)
	}
	blocks, head := n.store.count(prefixBlock), uint64(n.store.count(prefixCommit))
	for _, room := range []int{0, 20_000, ReplyRoomMax} {
		got, replies := 0, 0
		for q, more := (Request{Kind: AskRounds, From: 1}), true; more; replies++ {
			a := askIn(t, n, q, room)
			got += len(a.Blocks)
			q, more = roundsAfter(q, &a)
		}
		if got != blocks || replies < 2 {
			t.Errorf("with room for %d: %d of %d blocks, in %d replies", room, got, blocks, replies)
		}
		var all batch
		for q := all.next(0); q.From <= head; q = all.next(0) {
			a := askIn(t, n, q, room)
			fits := all.continues(q, 0) && all.add(q, &a, 0)
			if next := all.next(0); !fits || string(next.Bytes()) == string(q.Bytes()) {
				t.Fatalf("with room for %d: an answer that does not go on where commit %d was", room, q.From)
			}
		}
		if got := uint64(len(all.whole())); got != head {
			t.Errorf("with room for %d: %d of %d commits", room, got, head)
		}
	}
}
