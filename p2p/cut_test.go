package p2p

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"testing"
	"time"
)

// forwarding makes a host offer on what it receives, as a node does.
func (p *peerUnderTest) forwarding() *peerUnderTest {
	p.shelf.mu.Lock()
	defer p.shelf.mu.Unlock()
	p.shelf.forward = p.Offer
	return p
}

// With gossip off, and the link between two validators cut, both still get each
// other's blocks from those in between; and so does an observer.
func TestBrokenLinkIsBridgedByStreams(t *testing.T) {
	cuts := newCuts()
	all := startCommittee(t, 4, cuts, func(i int, c *Config) {
		c.RelayAfter = 100 * time.Millisecond
		c.DeadAfter, c.StallAfter = time.Minute, time.Minute // a busy machine is not to break the other links
		if i == 0 {                                          // before any of them runs: the two never meet
			a, b := portOf(t, c.Committee[0].Addrs[0]), portOf(t, c.Committee[1].Addrs[0])
			cuts.set(func(from, to int) bool { return from == a && to == b || from == b && to == a })
		}
	})
	a, b := all[0], all[1]
	for _, p := range all {
		p.forwarding()
	}
	eventually(t, "all streams but those of the cut link stand", func() bool {
		return len(a.allSenders()) == 2 && len(b.allSenders()) == 2 && len(all[2].allSenders()) == 3 && len(all[3].allSenders()) == 3
	})
	for range 20 {
		a.publish(t, 1000)
		b.publish(t, 1000)
	}
	eventually(t, "blocks get around the cut link", func() bool {
		return a.shelf.has(b.ID(), 20) && b.shelf.has(a.ID(), 20)
	})
	if a.session(b.ID()) != nil {
		t.Fatal("the cut did not bite")
	}
	// What has come around is not sent over and over: at most once by each in between.
	if n := b.shelf.copiesOf(a.ID()); n > 2*20 {
		t.Errorf("%d copies of 20 blocks", n)
	}
}

// An observer without gossip follows two validators and gets all blocks, also
// after one of the two has died.
func TestObserverGetsEveryBlockByStreams(t *testing.T) {
	cuts := newCuts()
	all := startCommittee(t, 4, cuts, nil)
	for _, p := range all {
		p.forwarding()
	}
	c := loopbackConfig()
	c.Committee = all[0].config.Committee
	c.ListenUDP = cuts.listen
	observer := start(t, c)
	// What passes a validator before the observer's stream stands there is not
	// sent later: only the validator's own blocks are.
	eventually(t, "streams stand", func() bool { return observer.follows() == 2 && observer.fedBy(all) == 2 && validatorsAll(all) })
	for range 20 {
		for _, p := range all {
			p.publish(t, 1000)
		}
	}
	for _, p := range all {
		eventually(t, "the observer has every block", func() bool { return observer.shelf.has(p.ID(), 20) })
	}

	var dead *peerUnderTest
	for _, p := range all {
		if source, _ := observer.roles.isSource(p.ID()); source {
			dead = p
		}
	}
	cuts.set(func(from, to int) bool { return from == dead.port() || to == dead.port() })
	eventually(t, "another is followed", func() bool {
		source, _ := observer.roles.isSource(dead.ID())
		return !source && observer.follows() == 2 && observer.fedBy(slices.DeleteFunc(slices.Clone(all),
			func(p *peerUnderTest) bool { return p == dead })) == 2
	})
	for range 20 {
		for _, p := range all {
			if p != dead {
				p.publish(t, 1000)
			}
		}
	}
	for _, p := range all {
		if p != dead {
			eventually(t, "the observer has every block", func() bool { return observer.shelf.has(p.ID(), 40) })
		}
	}
}

func (p *peerUnderTest) follows() (n int) {
	for _, v := range p.config.Committee {
		if source, _ := p.roles.isSource(v.ID); source {
			n++
		}
	}
	return n
}

// fedBy counts the validators that have a block stream to p.
func (p *peerUnderTest) fedBy(all []*peerUnderTest) (n int) {
	for _, v := range all {
		if slices.ContainsFunc(v.allSenders(), func(s *sender) bool { return s.to == p.ID() }) {
			n++
		}
	}
	return n
}

// validatorsAll reports whether every validator has a block stream to every other.
func validatorsAll(all []*peerUnderTest) bool {
	for _, p := range all {
		if p.fedBy(all) != len(all)-1 {
			return false
		}
	}
	return true
}

// Fifty cuts leave no goroutine, descriptor or memory behind. The times are a
// quarter of the real ones, so that it ends and a busy machine still keeps them; HOLDFAST_P2P_LONG takes the real ones.
func TestFiftyCutsLeaveNothingBehind(t *testing.T) {
	cuts := newCuts()
	scale := time.Duration(4)
	if os.Getenv("HOLDFAST_P2P_LONG") != "" {
		scale = 1
	}
	all := startCommittee(t, 3, cuts, func(_ int, c *Config) {
		c.Gossip, c.DHT = true, true
		c.Beat, c.DeadAfter, c.HealEvery, c.DialTimeout = c.Beat/scale, c.DeadAfter/scale, c.HealEvery/scale, c.DialTimeout/scale
	})
	eventually(t, "streams stand", func() bool { return streamsAll(all) })
	var first usage
	var noticed, healed []time.Duration
	const n = 50
	for i := range n {
		if i == 5 { // pools and caches are full by then
			first = settled(t, all)
		}
		cuts.set(func(int, int) bool { return true })
		began := time.Now()
		eventually(t, "all are alone", func() bool {
			return len(all[0].connectedPeers())+len(all[1].connectedPeers())+len(all[2].connectedPeers()) == 0
		})
		noticed = append(noticed, time.Since(began))
		cuts.set(nil)
		began = time.Now()
		for _, p := range all {
			p.publish(t, 1000)
		}
		for _, p := range all {
			for _, q := range all {
				if p != q {
					eventually(t, "blocks arrive", func() bool { return q.shelf.has(p.ID(), p.round) })
				}
			}
		}
		healed = append(healed, time.Since(began))
		eventually(t, "streams stand", func() bool { return streamsAll(all) })
	}
	// What is left behind stays; what a busy machine has not got round to ends.
	var last usage
	for deadline := time.Now().Add(60 * time.Second); ; {
		last = settled(t, all)
		if !last.beyond(first) || time.Now().After(deadline) {
			break
		}
	}
	t.Logf("times are 1/%d; noticed %v, every block everywhere after healing %v", scale, spread(noticed), spread(healed))
	t.Logf("after 5 cuts %v, after %d %v", first, n, last)
	if last.beyond(first) {
		stacks := make([]byte, 1<<20)
		t.Errorf("grown from %v to %v\n%s", first, last, stacks[:runtime.Stack(stacks, true)])
	}
}

type usage struct {
	goroutines, descriptors int
	heap                    uint64
}

func (u usage) String() string {
	return fmt.Sprintf("%d goroutines, %d descriptors, %.1f MB", u.goroutines, u.descriptors, float64(u.heap)/1e6)
}

// beyond reports whether u is more than a leak of one in two cuts would stay below.
func (u usage) beyond(first usage) bool {
	return u.goroutines > first.goroutines+20 || u.descriptors > first.descriptors+5 || u.heap > first.heap+8<<20
}

func used() usage {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	files, _ := os.ReadDir("/proc/self/fd")
	return usage{runtime.NumGoroutine(), len(files), m.HeapAlloc}
}

// settled waits until the number of goroutines has been falling no more for a
// while: dials and closed connections take up to a dial's timeout to end.
func settled(t *testing.T, all []*peerUnderTest) usage {
	u := used()
	for since := time.Now(); time.Since(since) < 2*all[0].config.DialTimeout; {
		runtime.Gosched()
		time.Sleep(10 * time.Millisecond) // between two looks at a condition
		if now := used(); now.goroutines < u.goroutines {
			u, since = now, time.Now()
		}
	}
	return u
}
