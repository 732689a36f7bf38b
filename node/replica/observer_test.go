package replica

import (
	"testing"
	"time"
)

// TestObserverServes: an observer that took a state over from the validators gives
// it to another node, with all that is needed to follow on: certificate, manifest,
// chunks, commits and rounds.
func TestObserverServes(t *testing.T) {
	c := newCluster(t, 4)
	c.load(6*time.Second, 40*time.Millisecond)
	first := c.add(nil)
	c.runUntil(5*time.Second, "the first observer follows", caughtUp(c, first))
	c.load(3*time.Second, 20*time.Millisecond) // it makes snapshots of its own
	second := c.add(nil)
	asked := map[Kind]bool{}
	c.redirect = func(asks, to *node) *node {
		if asks == second {
			return first
		}
		return to
	}
	c.tamper = func(by *node, p *Reply) {
		if by == first {
			asked[p.Kind] = true
		}
	}
	c.load(3*time.Second, 20*time.Millisecond)
	c.runUntil(5*time.Second, "the second observer follows", caughtUp(c, second))
	if first.restored == 0 || second.restored == 0 {
		t.Errorf("states taken over: %d and %d", first.restored, second.restored)
	}
	for _, kind := range []Kind{AskCheckpoint, AskManifest, AskChunk, AskCommits} {
		if !asked[kind] {
			t.Errorf("nobody asked the observer for a %v", kind)
		}
	}
}

// TestObserverRestarts: what an observer has on disk is enough to go on, also
// after a crash at any step.
func TestObserverRestarts(t *testing.T) {
	c := newCluster(t, 4)
	n := c.add(nil)
	c.load(time.Second, 20*time.Millisecond)
	for i := range 40 {
		index, digest := n.r.Executed()
		c.restart(n)
		if again, same := n.r.Executed(); again != index || same != digest {
			t.Fatalf("restart %d opened commit %d, not %d", i, again, index)
		}
		c.load(time.Duration(i)*time.Millisecond, 7*time.Millisecond)
	}
	c.load(time.Second, 20*time.Millisecond)
	c.runUntil(2*time.Second, "it follows", caughtUp(c, n))
}
