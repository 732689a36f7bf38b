package replica

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/holdfast-mesh/holdfast/node/dag"
	"github.com/holdfast-mesh/holdfast/node/ledger"
)

// change has the governor name the next committee by its weights, and goes on until all
// who run are in the next epoch.
func (c *cluster) change(weights ...uint64) {
	c.t.Helper()
	epoch := c.nodes[0].r.Status().Epoch
	c.vote(weights...)
	c.runUntil(5*time.Second, "the next epoch", func() bool {
		return !slices.ContainsFunc(c.nodes, func(n *node) bool { return n.r != nil && n.r.Status().Epoch <= epoch })
	})
}

func (c *cluster) vote(weights ...uint64) {
	c.t.Helper()
	next := testCommitteeOf(len(weights))
	for i, w := range weights {
		next.Validators[i].Weight = w
	}
	c.step(c.nodes[0], Input{Ops: []*ledger.Op{c.op(testKey(governor), 1, ledger.Action{
		Kind: ledger.KindSetCommittee, Detail: &ledger.Detail{NewCommittee: &next},
	})}})
}

// handsOver holds a node to having the handovers of all epochs before its own, each
// leading from the committee before to that of the next.
func (c *cluster) handsOver(n *node) {
	c.t.Helper()
	v := newVerifier(n.r.network).with(n.r.network, 0, firstCommittee(c.t, c.genesis))
	for epoch := range n.r.Status().Epoch {
		p, err := Serve(n.store, Request{Kind: AskHandover, Epoch: epoch}, n.own, ReplyRoomMax)
		if err != nil {
			c.t.Fatal(err)
		}
		a, err := v.Answer(0, p)
		if err != nil || a.handover == nil {
			c.t.Fatalf("node %d: the handover of epoch %d: %v", n.number, epoch, err)
		}
		next, err := a.handover.next(v.newest())
		if err != nil {
			c.t.Fatalf("node %d: epoch %d: %v", n.number, epoch, err)
		}
		v = v.with(n.r.network, epoch+1, next)
	}
	rules, known := n.r.Verifier().of(n.r.Status().Epoch)
	if last := v.newest().Committee; !known || last.Size() != rules.Committee.Size() || last.Total() != rules.Committee.Total() {
		c.t.Errorf("node %d: the handovers lead to a committee of %d, of weight %d", n.number, last.Size(), last.Total())
	}
	if p, err := Serve(n.store, Request{Kind: AskHandover, Epoch: n.r.Status().Epoch}, n.own, ReplyRoomMax); err != nil || p.Handover != nil {
		c.t.Errorf("node %d hands over an epoch that runs: %v", n.number, err)
	}
}

func firstCommittee(t testing.TB, g *ledger.Genesis) *dag.Committee {
	t.Helper()
	c, err := dag.NewCommittee(membersOf(g.Committee))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// changed is a cluster in its third epoch, with the first two pruned.
func changed(t *testing.T) *cluster {
	t.Helper()
	c := newCluster(t, 4)
	c.load(time.Second, 20*time.Millisecond)
	c.change(2, 2, 2, 1)
	c.load(time.Second, 20*time.Millisecond)
	c.change(2, 1, 1, 1)
	c.load(8*time.Second, 20*time.Millisecond)
	for _, n := range c.nodes {
		if first, err := firstIndex(n.store, prefixCommit, 0); err != nil || first < 100 {
			t.Fatalf("commit %d is still there: %v", first, err)
		}
	}
	return c
}

// TestJoinAfterChanges: a newcomer knows the genesis alone. It comes to a network in its
// third epoch, whose first two are pruned, and then brings the next newcomer there.
func TestJoinAfterChanges(t *testing.T) {
	c := changed(t)
	for _, n := range c.nodes {
		c.handsOver(n)
	}
	for range 2 {
		n := c.add(nil)
		c.runUntil(5*time.Second, "joined", func() bool { return n.r.Status().Epoch == 2 && caughtUp(c, n)() })
		if n.restored != 1 {
			t.Errorf("took over %d states", n.restored)
		}
		c.handsOver(n)
		c.restart(n)
		c.run(time.Second)
		if n.r.Status().Epoch != 2 || !caughtUp(c, n)() {
			t.Errorf("after a restart: %v", n.r)
		}
		c.redirect = func(asks, to *node) *node { return n }
	}
}

// TestSleptThroughChanges: a validator comes back with its disk when its epoch and the
// next are over and pruned, and takes part again.
func TestSleptThroughChanges(t *testing.T) {
	c := newCluster(t, 4)
	n := c.nodes[3]
	c.load(time.Second, 20*time.Millisecond)
	c.kill(n)
	c.change(1, 1, 2, 1)
	c.change(1, 2, 2, 2)
	c.load(8*time.Second, 20*time.Millisecond)
	c.open(n)
	c.runUntil(5*time.Second, "caught up over the changes", func() bool {
		return n.r.Status().Epoch == 2 && caughtUp(c, n)()
	})
	own := n.r.Status().OwnRound
	c.load(time.Second, 20*time.Millisecond)
	if n.restored != 1 || n.r.Status().OwnRound <= own {
		t.Errorf("%d states taken over; %v", n.restored, n.r)
	}
	c.handsOver(n)
}

// TestSmallerCommittee: validators leave, and those who catch up over the change ask those
// who are left.
func TestSmallerCommittee(t *testing.T) {
	for i := range 6 {
		away := time.Duration(i*i) * 100 * time.Millisecond
		c := newCluster(t, 7)
		c.room = i % 2 * ReplyRoomMax
		slow, leaves := c.nodes[2], c.nodes[6]
		c.load(time.Second, 20*time.Millisecond)
		c.kill(slow)
		c.kill(leaves)
		c.change(1, 1, 1, 1)
		c.load(away, 20*time.Millisecond)
		c.drop = func(from, to int) bool { // those who stay are out of reach before the change
			back := func(i int) bool { return c.nodes[i] == slow || c.nodes[i] == leaves }
			return back(from) && to < 4 && c.nodes[from].r.Status().Epoch == 0 || back(to) && from < 4 && c.nodes[to].r.Status().Epoch == 0
		}
		c.open(leaves)
		c.open(slow)
		c.runUntil(20*time.Second, "caught up over the change", func() bool {
			return slow.r.Status().Epoch == 1 && caughtUp(c, slow)() && leaves.r.Status().Epoch == 1 && caughtUp(c, leaves)()
		})
	}
}

// TestLostDiskAfterAChange: a validator loses its disk around a change, and asks what it
// has signed. Those who are in the next epoch already do not answer for the one before,
// for it may have signed in the next as well; whoever finds it signing a round twice is
// checkSigned.
func TestLostDiskAfterAChange(t *testing.T) {
	for _, after := range []time.Duration{0, 40 * time.Millisecond, 100 * time.Millisecond, time.Second, 8 * time.Second} {
		c := newCluster(t, 4)
		n := c.nodes[1]
		c.load(time.Second, 20*time.Millisecond)
		c.change(2, 1, 1, 2)
		c.load(after, 20*time.Millisecond)
		signed := n.own
		c.loseDisk(n)
		c.load(3*time.Second, 20*time.Millisecond)
		c.runUntil(5*time.Second, "takes part again", func() bool {
			return n.r.recovering == nil && n.own.Epoch == 1 && n.own.Round > signed.Round && caughtUp(c, n)()
		})
		c.handsOver(n)
	}
}

// TestNewestOfAnotherEpoch: what a validator has signed in an epoch is told by those who
// are in it.
func TestNewestOfAnotherEpoch(t *testing.T) {
	c := newCluster(t, 4)
	c.load(time.Second, 20*time.Millisecond)
	c.change(2, 1, 1, 2)
	n := c.nodes[0]
	for epoch, want := range []error{ErrUnable, nil, ErrUnable} {
		if _, err := Serve(n.store, Request{Kind: AskNewest, Epoch: uint64(epoch), Author: 2}, n.own, ReplyRoomMax); !errors.Is(err, want) {
			t.Errorf("in epoch 1, about epoch %d: %v", epoch, err)
		}
	}
}

// ending runs a cluster to a vote for another committee, and on until a node has the
// state that names it.
func ending(t *testing.T, c *cluster, n *node) {
	t.Helper()
	c.vote(2, 1, 1, 1)
	for range 1000 {
		if n.r.ending != nil && len(n.r.ending.votes) > 0 {
			return
		}
		c.run(time.Millisecond)
	}
	t.Fatal("the end does not begin")
}

// slowRounds is a cluster with some history, whose epochs take long to end.
func slowRounds(t *testing.T) *cluster {
	c := newCluster(t, 4)
	c.load(time.Second, 20*time.Millisecond)
	for _, n := range c.nodes {
		n.cfg.MinRound = 100 * time.Millisecond
		c.restart(n)
	}
	c.load(time.Second, 20*time.Millisecond)
	return c
}

// TestNoVoteForAnEpochBefore: all lose power when an epoch has just ended. None votes in
// the next for a state of the one before: it names that one's committee, and so many votes
// would hand the next epoch back to it.
func TestNoVoteForAnEpochBefore(t *testing.T) {
	c := newCluster(t, 4)
	for _, n := range c.nodes {
		n.cfg.CheckpointEvery, n.cfg.SnapshotEvery = 1, 40
		c.restart(n)
	}
	c.load(time.Second, 20*time.Millisecond)
	c.vote(2, 1, 1, 1)
	restarted := map[*node]bool{}
	for range 5000 {
		c.run(time.Millisecond)
		for _, n := range c.nodes {
			if !restarted[n] && n.r.Status().Epoch == 1 && n.r.last.Epoch == 0 {
				restarted[n] = true
				c.restart(n)
			}
		}
	}
	if len(restarted) != 4 {
		t.Fatalf("%d of four are restarted at the turn", len(restarted))
	}
	c.load(time.Second, 20*time.Millisecond)
	seen := 0
	err := Rounds(c.nodes[0].store, Own{Epoch: 2}, 1, 1, func(_ dag.Ref, raw []byte) bool {
		b, err := storedVote(raw)
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range b.Votes() {
			if seen++; v.Checkpoint && c.commits[v.Index].Epoch != 1 {
				t.Errorf("%v votes for the state after commit %d, of epoch 0", b.Ref(), v.Index)
			}
		}
		return true
	})
	if err != nil || seen == 0 {
		t.Errorf("%d votes: %v", seen, err)
	}
}

// TestEndIsOpenedAgain: every node is restarted at the end of the epoch, with the state
// that names the next committee behind it. All hand over.
func TestEndIsOpenedAgain(t *testing.T) {
	c := slowRounds(t)
	ending(t, c, c.nodes[0])
	for _, n := range c.nodes {
		before := n.r.ending
		c.restart(n)
		if before == nil {
			continue
		}
		if after := n.r.ending; after == nil || after.Checkpoint != before.Checkpoint || len(after.votes) < len(before.votes) {
			t.Fatalf("node %d: the end is %+v, was %+v", n.number, after, before)
		}
	}
	c.load(3*time.Second, 20*time.Millisecond)
	for _, n := range c.nodes {
		if n.r.Status().Epoch != 1 {
			t.Fatalf("%v", n.r)
		}
		c.handsOver(n)
	}
}

// TestFirstNamedTakesOver: governors change their mind before anybody has executed what
// they named first. That committee takes over, and hands over to the other at once.
func TestFirstNamedTakesOver(t *testing.T) {
	c := slowRounds(t)
	c.vote(2, 1, 1, 1)
	c.run(110 * time.Millisecond)
	c.vote(1, 1, 1, 3)
	c.load(5*time.Second, 20*time.Millisecond)
	for _, n := range c.nodes {
		if n.r.Status().Epoch != 2 || n.r.Committee().Total() != 6 {
			t.Fatalf("%v", n.r)
		}
		c.handsOver(n)
	}
	raw, _, _ := c.nodes[0].store.Get(indexKey(prefixHandover, 1))
	h, err := decodeHandover(raw, storedVote)
	if err != nil || c.commits[h.Index].Epoch != 1 || c.commits[h.Index-1].Epoch != 0 {
		t.Errorf("epoch 1 ends by commit %d, which is not its first: %v", h.Index, err)
	}
}

// TestEndThatIsTakenBack: governors name another committee and then the running one again,
// before the epoch ends. It ends all the same, also for who is restarted meanwhile, and
// the next one brings the first committee back.
func TestEndThatIsTakenBack(t *testing.T) {
	c := slowRounds(t)
	c.vote(2, 1, 1, 1)
	c.run(110 * time.Millisecond)
	c.vote(1, 1, 1, 1)
	n := c.nodes[3]
	takenBack := func() bool { return n.r.ending != nil && sameCommittee(n.r.committee, n.r.ledger.Committee()) }
	for range 2000 {
		if takenBack() {
			break
		}
		c.run(time.Millisecond)
	}
	if !takenBack() {
		t.Fatalf("it is not taken back before the epoch ends: %v", n.r)
	}
	c.restart(n)
	if n.r.ending == nil {
		t.Error("after a restart it knows nothing of the end")
	}
	c.load(5*time.Second, 20*time.Millisecond)
	for _, n := range c.nodes {
		if n.r.Status().Epoch != 2 || n.r.Committee().Total() != 4 {
			t.Fatalf("%v", n.r)
		}
		c.handsOver(n)
	}
}

// TestLargestHandover: the blocks of the largest committee are within their bound, and so
// many as its handover needs have room in a reply.
func TestLargestHandover(t *testing.T) {
	parents := make([]dag.Ref, dag.CommitteeMax)
	for i := range parents {
		parents[i] = dag.Ref{Slot: dag.Slot{Round: maxUint64, Author: dag.Author(i)}}
	}
	raw := dag.Draft{
		Epoch: maxUint64, Slot: dag.Slot{Round: maxUint64, Author: dag.CommitteeMax - 1}, TimeMs: maxUint64, Parents: parents,
		Votes: slices.Repeat([]dag.Vote{{Index: maxUint64, Checkpoint: true}}, dag.VotesMax), Flags: dag.FlagClose,
	}.Sign(testKey(0))
	if len(raw) > emptyBlockMax {
		t.Errorf("a block without payload of %d bytes, at most %d are kept", len(raw), emptyBlockMax)
	}
	const third = dag.CommitteeMax/3 + 1
	if size := third*(len(raw)+4) + ledger.CommitteeProofMax; size > handoverBytesMax {
		t.Errorf("a handover of %d bytes, at most %d have room", size, handoverBytesMax)
	}
	t.Logf("%d bytes a block", len(raw))
}

// TestNoStateOfAnEnd: with checkpoints and snapshots at every commit, none is of a state
// between the one that names the next committee and the end of the epoch; and who is
// given one does not take it.
func TestNoStateOfAnEnd(t *testing.T) {
	c := newCluster(t, 4)
	for _, n := range c.nodes {
		n.cfg.CheckpointEvery, n.cfg.SnapshotEvery, n.cfg.Retain = 1, 1, 1000
		c.restart(n)
	}
	c.load(time.Second, 20*time.Millisecond)
	n := c.nodes[0]
	ending(t, c, n)
	first := n.r.ending.Index
	given := c.add(nil)
	given.r.begin(c.now)
	s := given.r.newStateSync()
	given.r.catching.state = s
	root := n.r.Ledger().Root()
	s.certificate = &Certificate{Checkpoint: Checkpoint{Index: 1 << 20, Root: root}}
	s.manifest, s.restorer = &Manifest{Checkpoint: s.certificate.Checkpoint}, ledger.NewRestorer()
	if err := writeChunks(n.r.Ledger(), func(chunk []byte) error {
		s.early = append(s.early, chunk)
		s.manifest.Chunks = append(s.manifest.Chunks, sha256.Sum256(chunk))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	given.r.feed(s)
	if given.r.catching.state == s || s.ledger != nil {
		t.Error("a state of an epoch's end is taken")
	}
	seen := map[string]bool{} // what any disk ever had, before it was pruned
	for n.r.certified.Index < first+20 && !t.Failed() {
		c.load(10*time.Millisecond, 10*time.Millisecond)
		for _, n := range c.nodes[:4] {
			for _, prefix := range []string{prefixManifest, prefixCheckpoint} {
				for rec := range n.store.Scan([]byte(prefix), nil) {
					seen[string(rec.Key)] = true
				}
			}
		}
	}
	last := first
	for last < n.index && c.commits[last+1].Epoch == 0 {
		last++
	}
	if last < first+3 {
		t.Errorf("the end has %d commits", last-first)
	}
	for index := first; index < last; index++ {
		if seen[string(indexKey(prefixManifest, index))] || index > first && seen[string(indexKey(prefixCheckpoint, index))] {
			t.Errorf("commit %d, of the end from %d to %d, has a certificate or a snapshot", index, first, last)
		}
	}
	if !seen[string(indexKey(prefixManifest, first-1))] && !seen[string(indexKey(prefixCheckpoint, first-1))] {
		t.Error("the commit before the end has neither")
	}
}

// TestHandoverRefuses alters a handover in every way that matters.
func TestHandoverRefuses(t *testing.T) {
	c := changed(t)
	n := c.nodes[0]
	served := func(epoch uint64) []byte {
		p, err := Serve(n.store, Request{Kind: AskHandover, Epoch: epoch}, n.own, ReplyRoomMax)
		if err != nil || p.Handover == nil {
			t.Fatal("no handover", err)
		}
		return p.Handover
	}
	v := n.r.Verifier()
	rules, _ := v.of(1)
	read := func(epoch uint64) *handover {
		h, err := decodeHandover(served(epoch), v.Block)
		if err != nil {
			t.Fatal(err)
		}
		return &h
	}
	if _, err := read(1).next(rules); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(h *handover){
		"no votes":                func(h *handover) { h.votes = nil },
		"a vote less":             func(h *handover) { h.votes = h.votes[1:] },
		"one vote twice":          func(h *handover) { h.votes[0] = h.votes[1] },
		"votes of another epoch":  func(h *handover) { h.votes = read(0).votes },
		"the handover of another": func(h *handover) { *h = *read(0) },
		"another root":            func(h *handover) { h.Root[3]++ },
		"another commit":          func(h *handover) { h.Commit[3]++ },
		"another index":           func(h *handover) { h.Index++ },
		"another proof":           func(h *handover) { h.proof = read(0).proof },
		"no proof":                func(h *handover) { h.proof = nil },
	} {
		h := read(1)
		if len(h.votes) < 2 {
			t.Fatalf("%d votes", len(h.votes))
		}
		spoil(h)
		if _, err := h.next(rules); !errors.Is(err, errHandover) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A state of the epoch that names its own committee, and that a quorum has signed.
	rules, _ = v.of(2)
	own := &handover{proof: n.r.Ledger().AppendCommitteeProof(nil)}
	own.Index, own.Commit = n.r.Executed()
	own.Root = n.r.Ledger().Root()
	for a := range 4 {
		raw := dag.Draft{
			Network: n.r.network, Epoch: 2, Slot: dag.Slot{Round: 1, Author: dag.Author(a)}, TimeMs: 1,
			Parents: firstParents(rules, dag.Author(a)),
			Votes:   []dag.Vote{{Index: own.Index, Commit: own.Commit, Checkpoint: true, Root: own.Root}},
		}.Sign(testKey(a))
		b, err := v.Block(raw)
		if err != nil {
			t.Fatal(err)
		}
		own.votes = append(own.votes, b)
	}
	if err := dag.VerifyState(rules.Committee, own.checkpoint(), own.votes); err != nil {
		t.Fatal(err)
	}
	if _, err := own.next(rules); !errors.Is(err, errHandover) {
		t.Errorf("a state that names its own committee: %v", err)
	}
	raw := served(1)
	for i := range raw {
		if _, err := decodeHandover(raw[:i], v.Block); err == nil {
			t.Fatalf("%d of %d bytes decode", i, len(raw))
		}
	}
}

// firstParents is the implicit blocks of an epoch's round 0, the author's own first.
func firstParents(rules *dag.Rules, own dag.Author) []dag.Ref {
	parents := []dag.Ref{dag.Genesis(rules.Network, rules.Epoch, own)}
	for a := range dag.Author(rules.Committee.Size()) {
		if a != own {
			parents = append(parents, dag.Genesis(rules.Network, rules.Epoch, a))
		}
	}
	return parents
}

func FuzzDecodeHandover(f *testing.F) {
	rules := newVerifier(dag.Digest{1}).with(dag.Digest{1}, 0, firstCommittee(f, testGenesis(4))).newest()
	h := handover{Checkpoint: Checkpoint{Index: 7, Commit: dag.Digest{2}, Root: [32]byte{3}}, proof: []byte("proof")}
	for a := range dag.Author(2) {
		raw := dag.Draft{
			Network: rules.Network, Slot: dag.Slot{Round: 1, Author: a}, TimeMs: 1, Parents: firstParents(rules, a),
			Votes: []dag.Vote{{Index: h.Index, Commit: h.Commit, Checkpoint: true, Root: h.Root}},
		}.Sign(testKey(int(a)))
		b, err := storedVote(raw)
		if err != nil {
			f.Fatal(err)
		}
		h.votes = append(h.votes, b)
	}
	f.Add(h.bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := decodeHandover(b, storedVote)
		if err == nil && !bytes.Equal(h.bytes(), b) {
			t.Errorf("%x decodes to a handover that encodes to %x", b, h.bytes())
		}
	})
}
