package p2p

import (
	"testing"
	"time"
)

// Blocks made before, while and after the others connect all arrive, in order,
// and are acknowledged.
func TestStreamsBringEveryBlock(t *testing.T) {
	all := startCommittee(t, 4, nil, nil)
	for range 5 {
		for _, p := range all {
			p.publish(t, 100)
		}
	}
	eventually(t, "all streams stand", func() bool { return streamsAll(all) })
	for range 200 {
		for _, p := range all {
			p.publish(t, 2000)
		}
	}
	for _, p := range all {
		for _, q := range all {
			if p != q {
				eventually(t, "every block is there", func() bool { return q.shelf.has(p.ID(), p.round) })
			}
		}
		eventually(t, "every block is acknowledged", func() bool {
			for _, i := range p.Peers() {
				if i.Acked != p.round {
					return false
				}
			}
			return len(p.Peers()) == 3
		})
	}
	for _, p := range all {
		if n := p.shelf.copies; n != 3*205 {
			t.Errorf("%d blocks received, want each of 615 once", n)
		}
	}
}

// A dead peer is noticed by heartbeat; after healing the first block is there soon.
func TestSilentCutIsNoticedAndHealed(t *testing.T) {
	cuts := newCuts()
	all := startCommittee(t, 2, cuts, nil)
	a, b := all[0], all[1]
	eventually(t, "streams stand", func() bool { return streamsAll(all) })

	cuts.set(func(int, int) bool { return true })
	began := time.Now()
	down := nextEvent(t, a.Host, PeerDown, b.ID())
	noticed := time.Since(began)
	t.Logf("dead peer noticed after %v by %s: %s", noticed, down.Notice, down.Reason)
	if noticed > 4*2500*time.Millisecond {
		t.Errorf("noticed after %v", noticed)
	}
	eventually(t, "the other noticed as well", func() bool { return len(b.connectedPeers()) == 0 })

	block := a.publish(t, 1000)
	cuts.set(nil)
	began = time.Now()
	eventually(t, "the block is there", func() bool { return b.shelf.has(a.ID(), block.Round) })
	healed := time.Since(began)
	t.Logf("first message %v after healing", healed)
	if healed > 4*time.Second {
		t.Errorf("first message after %v", healed)
	}
}
