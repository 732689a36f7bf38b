package replica

import (
	"errors"
	"testing"
	"time"

	"github.com/holdfast-mesh/holdfast/node/dag"
	"github.com/holdfast-mesh/holdfast/node/ledger"
)

// stopped checks that a replica has stopped for good, over restarts, and still
// serves what it has.
func stopped(t *testing.T, c *cluster, n *node, want Alarm) {
	t.Helper()
	for _, when := range []string{"at once", "after a restart"} {
		if n.lastState.Alarm != want {
			t.Fatalf("%s: alarm %q, want %q", when, n.lastState.Alarm, want)
		}
		own := n.r.Status().OwnRound
		index, _ := n.r.Executed()
		clear(n.refused)
		c.step(n, Input{Ops: []*ledger.Op{c.transfer(1, 77)}})
		c.run(3 * time.Second)
		if n.refused[RefusedStopped] != 1 {
			t.Errorf("%s: refused %v", when, n.refused)
		}
		if after, _ := n.r.Executed(); after != index || n.r.Status().OwnRound != own {
			t.Errorf("%s: it goes on", when)
		}
		if _, err := Serve(n.store, Request{Kind: AskCommits, From: 1}, n.own, ReplyRoomMax); err != nil {
			t.Errorf("%s: does not serve: %v", when, err)
		}
		c.restart(n)
	}
}

// TestAlarmRoot gives one of four another state: the others' votes tell it.
func TestAlarmRoot(t *testing.T) {
	c := newCluster(t, 4)
	n := c.nodes[2]
	other := testGenesis(4)
	other.Balances[0].Amount = ledger.Units(7)
	l, err := ledger.New(other)
	if err != nil {
		t.Fatal(err)
	}
	n.r.ledger = l
	n.cfg.EveryRoot = false // else the cluster's own check finds it first
	n.r.cfg.EveryRoot = false
	c.ignoreRoots = n
	c.runUntil(20*time.Second, "the alarm", func() bool {
		c.load(100*time.Millisecond, 20*time.Millisecond)
		return n.lastState.Alarm != AlarmNone
	})
	stopped(t, c, n, AlarmRoot)
	before, _ := c.nodes[0].r.Executed()
	ops := c.load(time.Second, 20*time.Millisecond)
	c.settled(3*time.Second, ops)
	if after, _ := c.nodes[0].r.Executed(); after <= before {
		t.Error("the other three do not go on")
	}
}

// TestAlarmRootOfAnObserver: it has no vote to compare with, but certificates.
func TestAlarmRootOfAnObserver(t *testing.T) {
	c := newCluster(t, 4)
	n := c.add(nil)
	other := testGenesis(4)
	other.Balances[0].Amount = ledger.Units(7)
	l, err := ledger.New(other)
	if err != nil {
		t.Fatal(err)
	}
	n.r.ledger, n.r.cfg.EveryRoot, c.ignoreRoots = l, false, n
	c.load(2*time.Second, 20*time.Millisecond)
	if n.lastState.Alarm != AlarmRoot {
		t.Errorf("alarm %q", n.lastState.Alarm)
	}
}

func TestAlarmTwin(t *testing.T) {
	c := newCluster(t, 4)
	c.twins = true
	c.load(500*time.Millisecond, 20*time.Millisecond)
	twin := c.add(testKey(1)) // an empty disk, and not told to recover
	c.runUntil(10*time.Second, "the alarm", func() bool {
		return c.nodes[1].lastState.Alarm != AlarmNone || twin.lastState.Alarm != AlarmNone
	})
	n := c.nodes[1]
	if n.lastState.Alarm == AlarmNone {
		n = twin
	}
	stopped(t, c, n, AlarmTwin)
}

func TestAlarmOfEveryFault(t *testing.T) {
	for _, tc := range []struct {
		fault error
		want  Alarm
	}{
		{&dag.Conflict{}, AlarmFork},
		{&dag.Divergence{}, AlarmFork},
		{&dag.Divergence{Checkpoint: true}, AlarmRoot},
		{&dag.TwinError{}, AlarmTwin},
		{errors.New("something new"), AlarmFork},
	} {
		if got := alarmOf(tc.fault); got != tc.want {
			t.Errorf("%T: %q, want %q", tc.fault, got, tc.want)
		}
	}
	c := newCluster(t, 4)
	n := c.nodes[0]
	n.r.begin(c.now)
	n.r.absorb(dag.Effects{Faults: []error{&dag.Conflict{}, &dag.TwinError{}}})
	c.perform(n, n.r.end())
	stopped(t, c, n, AlarmFork) // the first one counts
}
