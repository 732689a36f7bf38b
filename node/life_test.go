package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/holdfast-mesh/holdfast/node/api"
	"github.com/holdfast-mesh/holdfast/node/ledger"
	"github.com/holdfast-mesh/holdfast/node/replica"
)

// transfer is a signed operation that moves a unit from a trader to the faucet.
func (c *cluster) transfer(trader int) []byte {
	return c.op(c.traders[trader], "transfer 0.000001 USDT to "+ledger.AccountOf(c.faucet).String())
}

// agreed waits until all running nodes have executed a commit, and compares what
// they say of every commit up to it.
func (c *cluster) agreed(commit uint64) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for index := uint64(1); index <= commit; index++ {
		var first *api.Executed
		for i, m := range c.nodes {
			if m.Node == nil {
				continue
			}
			e, err := backend{m.Node}.Next(ctx, index-1)
			if tooOld := (*api.TooOldError)(nil); errors.As(err, &tooOld) {
				continue // it took over a state
			}
			if err != nil {
				c.t.Fatalf("node %d, commit %d: %v", i, index, err)
			}
			if first == nil {
				first = e
			}
			if e.Digest != first.Digest || e.TimeMs != first.TimeMs || len(e.Records) != len(first.Records) {
				c.t.Fatalf("commit %d: node %d says %+v, another %+v", index, i, e, first)
			}
		}
	}
}

// halt stops a node and forgets it, with its disk if lost.
func (c *cluster) halt(i int, lost bool) {
	c.t.Helper()
	c.nodes[i].stop()
	c.nodes[i].Node = nil
	if lost {
		if err := os.RemoveAll(c.nodes[i].cfg.storePath()); err != nil {
			c.t.Fatal(err)
		}
	}
}

// With two of four nodes gone the others answer reads, take operations as
// pending, and say that there is no quorum; when the nodes return, these are final.
func TestWithoutQuorum(t *testing.T) {
	c := newCluster(t, 4)
	c.untilQuorum()
	c.final(1, c.transfer(0))
	c.halt(2, false)
	c.halt(3, false)
	left := backend{c.nodes[0].Node}
	c.eventually("the loss is noticed", func() bool { return !left.AsOf().Quorum })
	id := c.submit(0, c.transfer(1))
	if s, err := left.Op(t.Context(), id); err != nil || s.State != api.OpPending && s.State != api.OpIncluded {
		t.Errorf("without a quorum it is %+v, %v", s, err)
	}
	left.View(func(l *ledger.Ledger, asOf api.AsOf) {
		if _, held := l.Balance(ledger.AccountOf(c.traders[0]), 1); !held.IsZero() || asOf.Quorum || asOf.Commit == 0 {
			t.Errorf("a read without a quorum: held %v, %+v", held, asOf)
		}
	})
	if left.Status().Ready {
		t.Error("it says that it is ready")
	}
	c.start(2)
	c.start(3)
	final := c.ends(0, id, api.OpFinal)
	c.ends(3, id, api.OpFinal)
	c.agreed(final.Commit)
}

// A node that was away catches up, and what it had acknowledged is final.
func TestRestart(t *testing.T) {
	c := newCluster(t, 4)
	c.untilQuorum()
	for i := range 5 {
		c.final(i%4, c.transfer(i))
	}
	c.halt(3, false)
	last := c.final(0, c.transfer(5))
	c.start(3)
	c.ends(3, last.ID, api.OpFinal)
	c.agreed(c.final(3, c.transfer(6)).Commit)
}

// A validator whose store is gone does not start as if it were new; told that its
// disk was lost it asks the others, and proposes again.
func TestLostDisk(t *testing.T) {
	c := newCluster(t, 4)
	c.untilQuorum()
	before := c.final(3, c.transfer(0))
	c.halt(3, true)
	if n, err := Open(c.nodes[3].cfg, discard); !errors.Is(err, ErrLostDisk) {
		n.Close()
		t.Fatalf("without --recover: %v", err)
	}
	c.nodes[3].cfg.Recover = true
	c.start(3)
	c.ends(3, before.ID, api.OpFinal)
	recovered := backend{c.nodes[3].Node}
	c.eventually("it proposes again", func() bool { return !recovered.Status().Recovering && recovered.Status().Ready })
	// A validator that proposes forwards nothing, so this is in a block of its own.
	c.agreed(c.final(3, c.transfer(1)).Commit)
}

// observer makes what an observer needs, number i of the cluster. It gets the bundle by
// the network's id, from the first node.
func (c *cluster) observer(i int) Config {
	c.t.Helper()
	cfg := c.config(i)
	cfg.Listen = []string{"/ip4/127.0.0.1/udp/0/quic-v1"}
	key, err := CreateKey(cfg.KeyPath(), Lock{Plain: true})
	if err != nil {
		c.t.Fatal(err)
	}
	bundle, err := FetchBundle(c.t.Context(), c.bundle.ID(), c.nodes[0].Addrs()[0], key)
	if err != nil {
		c.t.Fatal(err)
	}
	if err := bundle.WriteBundle(cfg.BundlePath()); err != nil {
		c.t.Fatal(err)
	}
	return cfg
}

// voteFor has the governor name a committee of these nodes and weights.
func (c *cluster) voteFor(weights ...uint64) {
	c.t.Helper()
	next := &ledger.Committee{}
	for i, weight := range weights {
		key, err := InspectKey(c.nodes[i].cfg.KeyPath())
		if err != nil {
			c.t.Fatal(err)
		}
		about, err := About{Provider: providers[i%4], Region: providers[i%4], Addrs: c.nodes[i].cfg.Listen}.Encode()
		if err != nil {
			c.t.Fatal(err)
		}
		next.Validators = append(next.Validators, ledger.Validator{Key: key.Account, Weight: weight, About: about})
	}
	epoch := backend{c.nodes[0].Node}.Status().Epoch
	c.submit(0, c.signed(c.faucet, []ledger.Action{{Kind: ledger.KindSetCommittee, Detail: &ledger.Detail{NewCommittee: next}}}))
	c.eventually("the next epoch", func() bool {
		for _, m := range c.nodes {
			if m.Node != nil && (backend{m.Node}).Status().Epoch <= epoch {
				return false
			}
		}
		return true
	})
}

// TestJoinAfterAChange: governors make an observer a validator. When nobody has the
// blocks of the first epoch any more a newcomer joins with the bundle alone, and so does one
// with a file; the new validator loses its disk, and proposes again when it has asked.
func TestJoinAfterAChange(t *testing.T) {
	c := newCluster(t, 4, oftenSnapshots, func(cfg *Config) { cfg.Retain = 10 })
	c.untilQuorum()
	ready := func(i int) {
		t.Helper()
		c.eventually("it is ready", func() bool { s := (backend{c.nodes[i].Node}).Status(); return s.Ready && s.Epoch == 1 })
		c.final(i, c.transfer(i))
	}
	join := func() {
		t.Helper()
		i := len(c.nodes)
		cfg := c.observer(i)
		cfg.Listen = []string{fmt.Sprintf("/ip4/127.0.0.1/udp/%d/quic-v1", freePort(t))}
		c.nodes = append(c.nodes, &member{cfg: cfg})
		c.start(i)
	}
	join()
	c.eventually("the observer is ready", func() bool { return (backend{c.nodes[4].Node}).Status().Ready })
	c.voteFor(2, 2, 2, 2, 1)
	ready(4)
	for i := range 5 {
		c.eventually("the first epoch is pruned", func() bool {
			_, known, err := replica.CommitAt(disk{c.nodes[i].store}, 1)
			return !known && err == nil
		})
	}
	join()
	ready(5)

	c.halt(4, true)
	c.start(4)
	lost := func() bool {
		_, err := c.nodes[4].store.Get(replica.RecoverMark().Key)
		return err == nil
	}
	c.eventually("it takes note that it may have signed", lost)
	c.eventually("it proposes again", func() bool { return !lost() && c.nodes[4].standing.Load().proposes() })
	ready(4)

	c.nodes[3].cfg.Recover = true
	c.halt(3, true)
	c.start(3)
	ready(3)

	file := filepath.Join(t.TempDir(), "state")
	imported := c.observer(6)
	c.eventually("a state is exported", func() bool {
		_, err := ExportSnapshot(t.Context(), imported, c.nodes[1].Addrs()[0], file)
		return err == nil
	})
	if _, err := ImportSnapshot(t.Context(), imported, file); err != nil {
		t.Fatal(err)
	}
	c.nodes = append(c.nodes, &member{cfg: imported})
	c.start(6)
	ready(6)
	c.agreed(c.final(0, c.transfer(0)).Commit)
}

// An observer with nothing but the network's id and one address joins, follows,
// and takes operations for validators; its directory deleted, it does so again.
func TestObserverJoins(t *testing.T) {
	c := newCluster(t, 4)
	c.untilQuorum()
	before := c.final(0, c.transfer(0))
	c.nodes = append(c.nodes, &member{cfg: c.observer(4)})
	for range 2 {
		c.start(4)
		observer := backend{c.nodes[4].Node}
		c.eventually("the observer is ready", func() bool { return observer.Status().Ready })
		c.ends(4, before.ID, api.OpFinal)
		c.agreed(c.final(4, c.transfer(1)).Commit)
		c.halt(4, true)
	}
}
