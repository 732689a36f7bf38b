package replica

import (
	"slices"
	"testing"
	"time"

	"github.com/holdfast-mesh/holdfast/node/dag"
	"github.com/holdfast-mesh/holdfast/node/ledger"
)

func TestFourValidatorsAgree(t *testing.T) {
	c := newCluster(t, 4)
	ops := c.load(3*time.Second, 10*time.Millisecond)
	c.settled(2*time.Second, ops)
	for _, n := range c.nodes {
		if index, _ := n.r.Executed(); index < 20 {
			t.Errorf("node %d is at commit %d", n.number, index)
		}
		if len(n.refused) > 0 {
			t.Errorf("node %d refused %v", n.number, n.refused)
		}
		if n.r.Certified().Index == 0 {
			t.Errorf("node %d: no checkpoint was certified", n.number)
		}
		if ops, cost := n.r.Pooled(); ops != 0 || cost != 0 {
			t.Errorf("node %d still pools %d ops that cost %d", n.number, ops, cost)
		}
	}
}

func TestOneValidatorAlone(t *testing.T) {
	c := newCluster(t, 1)
	ops := c.load(time.Second, 20*time.Millisecond)
	c.settled(time.Second, ops)
}

func TestSameInputsSameEffects(t *testing.T) {
	run := func() (all [][32]byte) {
		c := newCluster(t, 4)
		c.record = true
		c.drop = lossy(7, 5)
		c.load(2*time.Second, 10*time.Millisecond)
		c.restart(c.nodes[1])
		c.load(2*time.Second, 10*time.Millisecond)
		for _, n := range c.nodes {
			all = append(all, n.effects...)
		}
		return all
	}
	a, b := run(), run()
	if len(a) < 100 || !slices.Equal(a, b) {
		t.Errorf("two runs of the same inputs differ (%d and %d effects)", len(a), len(b))
	}
}

// lossy loses one message in n, chosen by a generator of its own.
func lossy(seed uint64, n uint64) func(from, to int) bool {
	return func(int, int) bool {
		seed ^= seed << 13
		seed ^= seed >> 7
		seed ^= seed << 17
		return seed%n == 0
	}
}

func TestEveryMessageMayBeLost(t *testing.T) {
	for seed := uint64(1); seed <= 3; seed++ {
		c := newCluster(t, 4)
		c.drop = lossy(seed, 4)
		ops := c.load(3*time.Second, 20*time.Millisecond)
		c.drop = nil
		c.settled(5*time.Second, ops)
	}
}

// TestRestartAtEveryPoint ends a validator's life at each of its steps in
// turn, before and after the step's batch is durable, and checks that what it
// opens is what was durable, that it signs nothing twice (see checkSigned), and that
// it goes on.
func TestRestartAtEveryPoint(t *testing.T) {
	c := newCluster(t, 4)
	ops := c.load(500*time.Millisecond, 20*time.Millisecond)
	n := c.nodes[2]
	for i := range 60 {
		index, digest := n.r.Executed()
		root := n.r.Ledger().Root()
		c.restart(n)
		if again, same := n.r.Executed(); again != index || same != digest || n.r.Ledger().Root() != root {
			t.Fatalf("restart %d opened commit %d, not %d, or another state", i, again, index)
		}
		ops = append(ops, c.load(time.Duration(i)*time.Millisecond, 7*time.Millisecond)...)
	}
	if n.r.Status().OwnRound < 20 {
		t.Errorf("it went on to round %d only", n.r.Status().OwnRound)
	}
}

func TestACrashBeforeTheBatchIsDurable(t *testing.T) {
	c := newCluster(t, 4)
	c.load(500*time.Millisecond, 20*time.Millisecond)
	n := c.nodes[1]
	for range 40 {
		// A step whose effects are lost whole: nothing persisted, nothing sent.
		n.r.Step(c.now.Add(50*time.Millisecond), Input{Ops: []*ledger.Op{c.transfer(3, 900)}})
		c.restart(n)
		c.load(30*time.Millisecond, 10*time.Millisecond)
	}
	before, _ := n.r.Executed()
	c.load(time.Second, 20*time.Millisecond)
	if after, _ := n.r.Executed(); after <= before {
		t.Errorf("stands at commit %d", after)
	}
}

func TestPowerLossOfAll(t *testing.T) {
	c := newCluster(t, 4)
	c.load(time.Second, 20*time.Millisecond)
	for _, n := range c.nodes {
		c.kill(n)
	}
	c.run(time.Minute)
	for _, n := range c.nodes {
		c.open(n)
	}
	ops := c.load(time.Second, 20*time.Millisecond)
	c.settled(3*time.Second, ops)
}

func TestSnapshotsArePrunedAndRestored(t *testing.T) {
	c := newCluster(t, 4)
	c.load(10*time.Second, 20*time.Millisecond)
	n := c.nodes[0]
	if got := n.store.count(prefixManifest); got != 2 {
		t.Errorf("%d snapshots are on disk, want the last two", got)
	}
	if _, ok, _ := n.store.Get(indexKey(prefixCommit, 1)); ok {
		t.Error("commit 1 was not pruned")
	}
	index, _ := n.r.Executed()
	oldest := n.r.snapshots.stored[0].Index
	if _, ok, _ := n.store.Get(indexKey(prefixCommit, oldest-dag.CollectDepth)); oldest > dag.CollectDepth && !ok {
		t.Errorf("at commit %d, the window before snapshot %d was pruned", index, oldest)
	}
	root := n.r.Ledger().Root()
	c.restart(n)
	if n.r.Ledger().Root() != root {
		t.Error("another state after a restart from a snapshot")
	}
	// Without its newest snapshot it opens from the one before.
	c.kill(n)
	newest := newestSnapshot(t, n)
	n.store.write([]Record{{chunkKey(newest, 0), []byte("rubbish")}})
	c.open(n)
	if n.r.Ledger().Root() != root {
		t.Error("another state after a restart from the older snapshot")
	}
	c.load(time.Second, 20*time.Millisecond)
}

// newestSnapshot is the index of the newest snapshot on a node's disk.
func newestSnapshot(t *testing.T, n *node) uint64 {
	t.Helper()
	index, err := newestIndex(n.store, prefixManifest)
	if err != nil || index == 0 {
		t.Fatalf("newest snapshot: %d, %v", index, err)
	}
	return index
}

// behind lets three of four go on for a while without the fourth, then brings
// it back, and returns it with the operations of the meantime.
func behind(t *testing.T, d time.Duration) (*cluster, *node, []*ledger.Op) {
	c := newCluster(t, 4)
	ops := c.load(500*time.Millisecond, 20*time.Millisecond)
	n := c.nodes[3]
	c.kill(n)
	ops = append(ops, c.load(d, 20*time.Millisecond)...)
	c.open(n)
	return c, n, ops
}

func caughtUp(c *cluster, n *node) func() bool {
	return func() bool {
		mine, _ := n.r.Executed()
		others, _ := c.nodes[0].r.Executed()
		return mine+3 >= others
	}
}

func TestCatchUpByRounds(t *testing.T) {
	c, n, _ := behind(t, 500*time.Millisecond)
	c.runUntil(2*time.Second, "caught up", caughtUp(c, n))
	if n.restored != 0 {
		t.Error("took a snapshot for a gap of a few rounds")
	}
}

func TestCatchUpByCommits(t *testing.T) {
	c, n, _ := behind(t, 1500*time.Millisecond)
	executed, _ := n.r.Executed()
	if others, _ := c.nodes[0].r.Executed(); others < executed+30 {
		t.Fatalf("the others are at commit %d only", others)
	}
	c.runUntil(3*time.Second, "caught up", caughtUp(c, n))
	if n.restored != 0 {
		t.Error("took a snapshot although the commits were there")
	}
	own := n.r.Status().OwnRound
	c.load(time.Second, 20*time.Millisecond)
	if n.r.Status().OwnRound <= own {
		t.Error("does not take part again")
	}
}

// TestCatchUpInPieces: answers have room for a commit and a block, as they do where blocks
// are full and a commit has more than fit. Each way of catching up comes to its end.
func TestCatchUpInPieces(t *testing.T) {
	for name, away := range map[string]time.Duration{
		"rounds": 500 * time.Millisecond, "commits": 1500 * time.Millisecond, "a state": 15 * time.Second,
	} {
		t.Run(name, func(t *testing.T) {
			c, n, _ := behind(t, away)
			c.room = 1
			c.runUntil(10*time.Second, "caught up", caughtUp(c, n))
			if took := n.restored == 1; took != (name == "a state") {
				t.Errorf("took over %d states", n.restored)
			}
		})
	}
}

// TestCatchUpSlowly: every answer comes later than another validator is asked, as over
// a slow link or from a disk that writes a snapshot.
func TestCatchUpSlowly(t *testing.T) {
	for name, away := range map[string]time.Duration{"commits": 1500 * time.Millisecond, "a state": 15 * time.Second} {
		t.Run(name, func(t *testing.T) {
			c, n, _ := behind(t, away)
			c.late = n.cfg.AskTimeout + 200*time.Millisecond
			c.runUntil(20*time.Second, "caught up", caughtUp(c, n))
			if took := n.restored == 1; took != (name == "a state") {
				t.Errorf("took over %d states", n.restored)
			}
			if wait := n.r.asking.wait; wait <= n.cfg.AskTimeout || wait > waitFactorMax*n.cfg.AskTimeout {
				t.Errorf("waits %v for an answer", wait)
			}
		})
	}
}

func TestCatchUpBySnapshot(t *testing.T) {
	c, n, _ := behind(t, 15*time.Second)
	c.runUntil(5*time.Second, "caught up", caughtUp(c, n))
	if n.restored != 1 {
		t.Errorf("took over %d snapshots, want 1", n.restored)
	}
	own := n.r.Status().OwnRound
	c.load(time.Second, 20*time.Millisecond)
	if n.r.Status().OwnRound <= own {
		t.Error("does not take part again")
	}
	c.restart(n)
	if index, _ := n.r.Executed(); n.r.Ledger().Root() != c.commits[index].Root {
		t.Error("another state after a restart on the restored snapshot")
	}
}

func TestLostDisk(t *testing.T) {
	for _, d := range []time.Duration{300 * time.Millisecond, 2 * time.Second, 6 * time.Second} {
		c := newCluster(t, 4)
		c.load(d, 20*time.Millisecond)
		n := c.nodes[1]
		c.kill(n)
		n.store = newMemStore()
		n.cfg.Recover = true
		c.open(n)
		n.cfg.Recover = false // the disk remembers that it recovers
		c.run(20 * time.Millisecond)
		c.restart(n)
		c.runUntil(5*time.Second, "takes part again", func() bool {
			lost, _, _ := n.store.Get([]byte(keyRecover))
			return lost == nil && n.r.recovering == nil && caughtUp(c, n)()
		})
		c.load(time.Second, 20*time.Millisecond)
		c.restart(n)
		c.load(time.Second, 20*time.Millisecond)
	}
}

// TestLostDiskIsRemembered restarts a validator between its first block after
// the loss and the first commit with such a block: it must recover again, since
// until then its old life may have begun an epoch this one has not come to.
func TestLostDiskIsRemembered(t *testing.T) {
	c := newCluster(t, 4)
	c.load(2*time.Second, 20*time.Millisecond)
	n := c.nodes[1]
	c.loseDisk(n)
	c.runUntil(5*time.Second, "may sign again", func() bool { return n.r.recovering == nil })
	old := n.r.Status().OwnRound
	c.runUntil(5*time.Second, "signs again", func() bool { return n.r.Status().OwnRound > old })
	c.restart(n)
	if n.r.recovering == nil {
		t.Error("after its first block it has forgotten that its disk was lost")
	}
	c.runUntil(5*time.Second, "has a block in a commit", func() bool {
		lost, _, _ := n.store.Get([]byte(keyRecover))
		return lost == nil
	})
	c.restart(n)
	if n.r.recovering != nil {
		t.Error("recovers though a commit has its block")
	}
}

// TestLostDiskAndAState: a validator that may sign again after the loss of its disk, and has
// not yet, is cut off and then takes over a state. What it had found out is over with the
// agreement before, so it asks again.
func TestLostDiskAndAState(t *testing.T) {
	c := newCluster(t, 4)
	c.load(2*time.Second, 20*time.Millisecond)
	n := c.nodes[1]
	c.loseDisk(n)
	c.runUntil(5*time.Second, "may sign again", func() bool { return n.r.recovering == nil })
	c.drop = func(from, to int) bool { return from == 1 || to == 1 }
	c.load(15*time.Second, 20*time.Millisecond)
	c.drop = nil
	before := n.restored
	for range 10_000 {
		if n.restored > before {
			break
		}
		c.run(time.Millisecond)
	}
	if n.restored == before || n.r.recovering == nil {
		t.Fatalf("%d states taken over; asks again: %v", n.restored-before, n.r.recovering != nil)
	}
	c.load(2*time.Second, 20*time.Millisecond)
	if lost, _, _ := n.store.Get([]byte(keyRecover)); lost != nil || n.r.recovering != nil || !caughtUp(c, n)() {
		t.Errorf("does not take part: %v", n.r)
	}
}

func TestLostDiskWaitsForAQuorum(t *testing.T) {
	c := newCluster(t, 4)
	c.load(time.Second, 20*time.Millisecond)
	c.kill(c.nodes[3])
	n := c.nodes[1]
	c.kill(n)
	n.store = newMemStore()
	n.cfg.Recover = true
	c.open(n)
	c.run(20 * time.Second)
	if n.r.recovering == nil {
		t.Error("two of three others answered, and that was enough")
	}
	c.step(n, Input{Ops: []*ledger.Op{c.transfer(0, 1)}})
	if n.refused[RefusedRecovering] != 1 {
		t.Errorf("refused %v", n.refused)
	}
	c.open(c.nodes[3])
	c.runUntil(5*time.Second, "all four take part", func() bool { return n.r.recovering == nil })
	ops := c.load(time.Second, 20*time.Millisecond)
	c.settled(3*time.Second, ops)
}

func TestObserverFollows(t *testing.T) {
	c := newCluster(t, 4)
	c.load(time.Second, 20*time.Millisecond)
	n := c.add(nil)
	c.load(2*time.Second, 20*time.Millisecond)
	c.runUntil(3*time.Second, "caught up", caughtUp(c, n))
	if own := n.r.Status().OwnRound; own != 0 {
		t.Errorf("an observer proposed for round %d", own)
	}
	if n.refused[RefusedObserver] == 0 {
		t.Error("an observer took operations")
	}
}

func TestHalvesAndHealing(t *testing.T) {
	c := newCluster(t, 4)
	ops := c.load(time.Second, 20*time.Millisecond)
	c.drop = func(from, to int) bool { return from%2 != to%2 }
	before, _ := c.nodes[0].r.Executed()
	c.run(100 * time.Millisecond)
	ops = append(ops, c.load(20*time.Second, 50*time.Millisecond)...)
	after, _ := c.nodes[0].r.Executed()
	if after > before+5 {
		t.Errorf("a half went on from commit %d to %d", before, after)
	}
	c.drop = nil
	c.settled(3*time.Second, ops)
}

func TestAnEqualGapBetweenAll(t *testing.T) {
	// One is behind, then another of the three that went on dies: the first is
	// needed for a quorum and must catch up to its end.
	c, n, _ := behind(t, 3*time.Second)
	c.kill(c.nodes[0])
	ops := c.load(time.Second, 20*time.Millisecond)
	_ = n
	c.runUntil(5*time.Second, "operations go on", func() bool {
		return len(ops) > 0 && c.ended[ops[0].ID()] != 0
	})
}

func TestChangeOfCommittee(t *testing.T) {
	c := emptyCluster(t, 4)
	for i := range 5 { // the fifth is an observer at first
		c.add(testKey(i))
	}
	ops := c.load(time.Second, 20*time.Millisecond)
	next := testCommitteeOf(5)
	next.Validators[0].Weight = 2
	vote := c.op(testKey(governor), 1, ledger.Action{
		Kind: ledger.KindSetCommittee, Detail: &ledger.Detail{NewCommittee: &next},
	})
	c.step(c.nodes[0], Input{Ops: []*ledger.Op{vote}})
	c.runUntil(5*time.Second, "the next epoch", func() bool {
		return !slices.ContainsFunc(c.nodes, func(n *node) bool { return n.r.Status().Epoch != 1 })
	})
	if got := c.nodes[4].r.Committee().Size(); got != 5 {
		t.Errorf("the committee has %d members", got)
	}
	c.restart(c.nodes[2])
	more := c.load(2*time.Second, 20*time.Millisecond)
	c.restart(c.nodes[1])
	c.settled(3*time.Second, append(ops, more...))
	if own := c.nodes[4].r.Status().OwnRound; own == 0 {
		t.Error("the new validator does not propose")
	}
}

func TestChangeOfCommitteeSleptThrough(t *testing.T) {
	c := newCluster(t, 4)
	n := c.nodes[3]
	c.load(time.Second, 20*time.Millisecond)
	c.kill(n)
	next := testCommitteeOf(4)
	next.Validators[0].Weight = 2
	vote := c.op(testKey(governor), 1, ledger.Action{
		Kind: ledger.KindSetCommittee, Detail: &ledger.Detail{NewCommittee: &next},
	})
	c.step(c.nodes[0], Input{Ops: []*ledger.Op{vote}})
	c.load(2*time.Second, 20*time.Millisecond)
	c.open(n)
	c.runUntil(10*time.Second, "caught up over the change", func() bool {
		return n.r.Status().Epoch == 1 && caughtUp(c, n)()
	})
}

// TestNoOperationIsTooEarly: after an idle time, and after a cut, the blocks a
// commit takes its time from are old, and operations of now would be refused for
// being ahead of it.
func TestNoOperationIsTooEarly(t *testing.T) {
	c := newCluster(t, 4)
	var ops []*ledger.Op
	for i := range 30 {
		c.run(3*time.Second + time.Duration(i)*35*time.Millisecond)
		op := c.transfer(i%clients, uint64(i))
		c.step(c.nodes[i%4], Input{Ops: []*ledger.Op{op}})
		ops = append(ops, op)
	}
	for i := range 6 {
		c.drop = func(from, to int) bool { return (from < 2) != (to < 2) }
		c.run(20 * time.Second)
		op := c.transfer(i%clients, uint64(i))
		c.step(c.nodes[i%4], Input{Ops: []*ledger.Op{op}})
		ops = append(ops, op)
		c.drop = nil
		c.settled(5*time.Second, ops)
	}
	if len(c.reasons) > 0 {
		t.Errorf("refused: %v", c.reasons)
	}
}

// TestBlocksNobodyGot: a validator's blocks do not get out for so long that they
// are dropped. Their operations go back to its pool, also those it only knows
// from its own blocks after a restart, and become final when the way is open.
func TestBlocksNobodyGot(t *testing.T) {
	for _, restart := range []bool{false, true} {
		c := newCluster(t, 4)
		c.load(500*time.Millisecond, 20*time.Millisecond)
		n := c.nodes[3]
		c.drop = func(from, _ int) bool { return from == 3 }
		var ops []*ledger.Op
		for i := range 5 {
			op := c.transfer(i, uint64(500+i))
			c.step(n, Input{Ops: []*ledger.Op{op}})
			ops = append(ops, op)
			c.run(100 * time.Millisecond)
		}
		c.run(time.Second)
		filled := n.r.Status().OwnRound
		if restart {
			c.restart(n)
		}
		c.run(50 * time.Millisecond)
		for _, other := range c.nodes[:3] { // as their heartbeats would find
			c.step(other, Input{Connected: []Link{{3, false}}})
		}
		for i := range 200 { // rounds of the others
			c.step(c.nodes[i%3], Input{Ops: []*ledger.Op{c.transfer(i%clients, uint64(1000+i))}})
			c.run(20 * time.Millisecond)
		}
		if collected := n.r.Status().Collected; c.ended[ops[0].ID()] != 0 || collected < filled {
			t.Fatalf("an operation got out, or rounds up to %d are collected, not up to %d", collected, filled)
		}
		c.drop = nil
		c.settled(5*time.Second, ops)
	}
}

// TestOperationsAheadOfTime: a client's clock that is a little ahead only delays,
// and one that is far ahead is told so.
func TestOperationsAheadOfTime(t *testing.T) {
	c := newCluster(t, 4)
	c.load(time.Second, 20*time.Millisecond)
	at := func(ahead time.Duration, client int) *ledger.Op {
		to := ledger.AccountOf(testKey(clientKeys))
		return signOp(t, c.genesis, testKey(clientKeys+client), uint64(c.now.UnixMilli())+7777, c.now.Add(ahead).UnixMilli(),
			ledger.Action{Kind: ledger.KindTransfer, Amount: ledger.Units(1), Detail: &ledger.Detail{Account: to}})
	}
	near, far := at(3*time.Second, 1), at(aheadMax+time.Second, 2)
	n := c.nodes[0]
	c.step(n, Input{Ops: []*ledger.Op{near, far}})
	if n.refused[RefusedLedger] != 1 {
		t.Errorf("refused %v", n.refused)
	}
	c.load(time.Second, 20*time.Millisecond)
	if c.ended[near.ID()] != 0 {
		t.Error("executed ahead of its time")
	}
	c.load(2*time.Second, 20*time.Millisecond)
	c.settled(2*time.Second, []*ledger.Op{near})
	if len(c.reasons) > 0 {
		t.Errorf("refused: %v", c.reasons)
	}
}
