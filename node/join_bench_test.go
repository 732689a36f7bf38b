package node

import (
	"crypto/ed25519"
	"encoding/binary"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-mesh/holdfast/node/api"
	"github.com/holdfast-mesh/holdfast/node/ledger"
	"github.com/holdfast-mesh/holdfast/node/replica"
)

const snapshotsEvery = 100

// BenchmarkJoin has a new observer join a network whose state is large and whose logs
// no longer reach back to the genesis: the state comes as a snapshot. It reports how
// large that was and how long it took from opening an empty directory to being ready, while
// nobody makes a snapshot: here they come fifty times as often as by default.
// HOLDFAST_JOIN_ACCOUNTS says how many accounts the state has, of six kilobytes each. Five
// nodes have it in memory.
func BenchmarkJoin(b *testing.B) {
	accounts := 10_000
	if text := os.Getenv("HOLDFAST_JOIN_ACCOUNTS"); text != "" {
		var err error
		if accounts, err = strconv.Atoi(text); err != nil {
			b.Fatal(err)
		}
	}
	c := newCluster(b, 4, func(cfg *Config) { cfg.CheckpointEvery, cfg.SnapshotEvery, cfg.Retain = 10, snapshotsEvery, 10 })
	c.untilQuorum()
	c.populate(accounts)
	size := c.untilPruned()
	c.nodes = append(c.nodes, &member{cfg: c.observer(4)})
	var took time.Duration
	for b.Loop() {
		began := time.Now()
		c.start(4)
		observer := backend{c.nodes[4].Node}
		for !observer.Status().Ready {
			time.Sleep(5 * time.Millisecond)
		}
		took += time.Since(began)
		c.agreed(c.final(4, c.transfer(1)).Commit)
		c.halt(4, true)
	}
	b.ReportMetric(took.Seconds()/float64(b.N), "s/join")
	b.ReportMetric(float64(size)/1e6, "MB")
	b.ReportMetric(0, "ns/op")
}

// tick makes a commit happen. Under a load of snapshots the operation may come too late
// for it, which is nobody's fault.
func (c *cluster) tick(i int) {
	c.t.Helper()
	s, err := backend{c.nodes[i].Node}.Wait(c.t.Context(), c.submit(i, c.transfer(0)))
	if err != nil {
		c.t.Fatalf("%+v: %v", s, err)
	}
}

func (c *cluster) served(i int, q replica.Request) replica.Reply {
	c.t.Helper()
	reply, err := replica.Serve(disk{c.nodes[i].store}, q, c.nodes[i].standing.Load().own, replica.ReplyRoomMax)
	if err != nil {
		c.t.Fatal(err)
	}
	return reply
}

// untilPruned waits until no node has the commits of now any more, so that all have a
// snapshot of what was final, and its size.
func (c *cluster) untilPruned() (size int) {
	c.t.Helper()
	now := c.nodes[0].standing.Load().executed
	for i := range c.nodes {
		for known := true; known; {
			c.tick(i)
			var err error
			if _, known, err = replica.CommitAt(disk{c.nodes[i].store}, now); err != nil {
				c.t.Fatal(err)
			}
		}
	}
	for i := range c.nodes {
		size = c.untilQuiet(i)
	}
	return size
}

// untilQuiet waits until a node has the snapshot of the newest checkpoint that is to have
// one, and returns its size. The next is due after a hundred idle rounds.
func (c *cluster) untilQuiet(i int) (size int) {
	c.t.Helper()
	for {
		due := c.nodes[i].standing.Load().executed / snapshotsEvery * snapshotsEvery
		raw := c.served(i, replica.Request{Kind: replica.AskManifest, From: due}).Manifest
		if len(raw) == 0 {
			time.Sleep(10 * time.Millisecond)
			continue
		}
		manifest, err := replica.DecodeManifest(raw)
		if err != nil {
			c.t.Fatal(err)
		}
		for chunk := range manifest.Chunks {
			size += len(c.served(i, replica.Request{Kind: replica.AskChunk, From: due, Chunk: uint32(chunk)}).Chunk)
		}
		return size
	}
}

// populate gives money to that many new accounts, and has each open as many withdrawals as
// it may, to long addresses: six kilobytes of state each.
func (c *cluster) populate(accounts int) {
	c.t.Helper()
	address := strings.Repeat("x", ledger.ReferenceMax)
	withdrawals := slices.Repeat([]string{fmt.Sprintf("withdraw 0.000001 USDT fee 0 USDT to %q", address)}, 32)
	keyOf := func(i int) ed25519.PrivateKey {
		return ed25519.NewKeyFromSeed(binary.BigEndian.AppendUint64([]byte("an account with withdraw"), uint64(i)))
	}
	var gifts []string
	n := 0
	c.submitAll(func() []byte {
		for len(gifts) < ledger.ActionsMax && n < accounts {
			gifts = append(gifts, fmt.Sprintf("transfer 0.000100 USDT to %s", ledger.AccountOf(keyOf(n))))
			n++
		}
		if len(gifts) == 0 {
			return nil
		}
		defer func() { gifts = gifts[:0] }()
		return c.op(c.traders[n/ledger.ActionsMax%len(c.traders)], gifts...)
	})
	n = 0
	c.submitAll(func() []byte {
		if n == accounts {
			return nil
		}
		n++
		return c.op(keyOf(n-1), withdrawals...)
	})
}

// submitAll makes all operations final, by whichever node takes them, with no more under
// way than a disk that is busy with snapshots can take in.
func (c *cluster) submitAll(next func() []byte) {
	c.t.Helper()
	const underWay = 8 // batches
	var last []ledger.Digest
	for at := 0; ; at++ {
		var raw [][]byte
		for op := next(); op != nil; op = next() {
			if raw = append(raw, op); len(raw) == 64 {
				break
			}
		}
		if len(raw) == 0 {
			break
		}
		for {
			s, err := (backend{c.nodes[at%4].Node}).Submit(c.t.Context(), raw)
			if err == nil {
				if last = append(last, s[len(s)-1].ID); len(last) > underWay {
					c.ends(at%4, last[len(last)-1-underWay], api.OpFinal)
				}
				break
			}
			time.Sleep(10 * time.Millisecond)
			at++
		}
	}
	for _, id := range last[max(0, len(last)-underWay):] {
		c.ends(0, id, api.OpFinal)
	}
}
