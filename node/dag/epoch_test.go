package dag

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// A committee changes again and again under load, with crashes: every node goes
// through the same commits, every operation is ordered once, and a restart at
// any point comes to the same core.
func TestEpochs(t *testing.T) {
	for _, seed := range seeds(3) {
		n := newNetwork(t, equal(4)...)
		weights := [][]uint64{{1, 1, 1, 2}, {3, 2, 2, 1}, {1, 1, 1}, {2, 1, 1, 1}}
		n.start()
		ops := 0
		for epoch, next := range weights {
			for i := range 30 {
				o := n.nodes[(i+int(seed))%3]
				ops++
				o.pending = append(o.pending, op(fmt.Sprintf("op %d", ops)))
				if o.up {
					o.step(o.core.Tick)
				}
				n.run(20 * time.Millisecond)
				if i == 15 { // every node has executed the change by now
					for _, o := range n.nodes {
						rules := n.rules
						rules.Epoch, rules.Committee = uint64(epoch)+1, keyedCommittee(t, next...)
						o.next = &rules
					}
				}
				if i > 15 {
					for _, o := range n.nodes {
						if o.up && o.next != nil && !o.core.Status().Closing {
							o.step(o.core.CloseEpoch)
						}
						if o.up {
							o.checkReopen()
						}
					}
				}
				switch crash := n.nodes[int(seed)%4]; i {
				case 18:
					crash.crash()
				case 20:
					crash.open()
				}
			}
			n.run(3 * time.Second)
			for _, o := range n.nodes {
				if s := o.core.Status(); s.Epoch != uint64(epoch)+1 {
					t.Fatalf("seed %d: node %d is at %+v, not in epoch %d", seed, o.self, s, epoch+1)
				}
			}
		}
		for _, o := range n.nodes {
			o.pending = append(o.pending, o.returned...)
			o.returned = nil
			o.step(o.core.Tick)
		}
		n.run(5 * time.Second)
		for _, o := range n.nodes {
			seen := map[string]int{}
			for _, s := range o.finalOps() {
				seen[s]++
			}
			if len(seen) != ops {
				t.Errorf("seed %d: node %d has %d operations, want %d", seed, o.self, len(seen), ops)
			}
			closed := 0
			for i, c := range o.commits {
				if i > 0 && c.Epoch != o.commits[i-1].Epoch {
					closed++
					if last := o.commits[i-1]; len(last.Flagged) < 2 || len(c.Flagged) > 0 {
						t.Errorf("epoch %d ends with flags of %v and the next begins with %v", last.Epoch, last.Flagged, c.Flagged)
					}
				}
				for _, b := range c.Blocks {
					if b.Epoch() != c.Epoch || b.Flags() != 0 && len(b.Payload()) > 0 {
						t.Errorf("block %v of epoch %d with flags %d in commit %v", b.Ref(), b.Epoch(), b.Flags(), &c)
					}
				}
			}
			if closed != len(weights) {
				t.Errorf("%d epochs ended, want %d", closed, len(weights))
			}
		}
	}
}

// A node that was away for a whole epoch catches up through its end: certified
// commits first, then the last rounds as any blocks.
func TestCatchUpAcrossEpochs(t *testing.T) {
	n := busyNetwork(t, equal(4), 40)
	for _, o := range n.nodes {
		rules := n.rules
		rules.Epoch, rules.Committee = 1, keyedCommittee(t, 2, 1, 1, 1)
		o.next = &rules
		o.step(o.core.CloseEpoch)
	}
	next := *n.nodes[0].next
	for i := range 20 {
		o := n.nodes[i%4]
		o.pending = append(o.pending, op(fmt.Sprintf("later %d", i)))
		o.step(o.core.Tick)
		n.run(20 * time.Millisecond)
	}
	source := n.nodes[0]
	late := follower(t, n.rules)
	e, err := late.CatchUp(n.now, bare(source.commits), source.disk)
	if err != nil || !e.EpochClosed || !late.Status().Closed {
		t.Fatalf("closed %v after %d commits: %v", e.EpochClosed, len(e.Commits), err)
	}
	got := e.Commits
	if e, err = late.NextEpoch(n.now, next); err != nil {
		t.Fatal(err)
	}
	e = late.Receive(n.now, source.disk...)
	got = append(got, e.Commits...)
	if len(got) != len(source.commits) {
		t.Fatalf("%d commits, the source has %d", len(got), len(source.commits))
	}
	for i := range got {
		if got[i].Digest != source.commits[i].Digest {
			t.Fatalf("commit %v, want %v", &got[i], &source.commits[i])
		}
	}
	if _, err := late.NextEpoch(n.now, next); err == nil || !strings.Contains(err.Error(), "has not closed") {
		t.Errorf("an epoch that goes on was ended: %v", err)
	}
}

func TestNextEpochRefuses(t *testing.T) {
	core := follower(t, testRules(keyedCommittee(t, equal(4)...)))
	core.epoch.closed = true
	for want, change := range map[string]func(*Rules){
		"epoch 1 follows 0, not 2":     func(r *Rules) { r.Epoch = 2 },
		"must be of the same network":  func(r *Rules) { r.Epoch, r.Network = 1, Digest{1, 2, 3} },
		"the rules name no committee":  func(r *Rules) { r.Epoch, r.Committee = 1, nil },
		"at most 0 bytes can hold not": func(r *Rules) { r.Epoch, r.Limits = 1, Limits{} },
	} {
		rules := *core.Rules()
		change(&rules)
		if _, err := core.NextEpoch(testStart, rules); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
