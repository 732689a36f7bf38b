package sim

import (
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/holdfast-mesh/holdfast/node/dag"
	"github.com/holdfast-mesh/holdfast/node/replica"
)

// Timing of a node's host, as package node has it.
const (
	beatEvery = 500 * time.Millisecond // heartbeats
	deadAfter = 2 * time.Second        // without one the stream counts as down
	againMax  = 16                     // own blocks kept at hand for peers that missed them
	syncMin   = 300 * time.Microsecond // of one durable batch
	syncMax   = 2 * time.Millisecond
	slowSync  = 100 // times as long on a slow disk
)

// node is the machine of a validator or an observer: the product's replica, and around it what
// package node does, effect by effect. Everything but disk and clock dies with
// the process; life tells the processes apart.
type node struct {
	s     *Sim
	id    int
	lie   *liar // nil: honest
	cfg   replica.Config
	rnd   *random
	clock clock
	disk  *disk

	life    uint32
	up      bool
	recover bool // the disk is lost and nothing is on the new one: the operator starts it with --recover
	wiped   int  // how often the disk was lost
	process      // all that a crash takes

	hold     int           // faults that keep it down
	crashIn  int           // boundaries till it crashes; -1: no crash is due
	crashAt  crashPoint    // a crash at a place of its own
	slow     int           // faults that make its disk slow
	executed uint64        // newest commit it has told of, over all its lives
	told     uint64        // newest commit this process has told of
	ready    time.Duration // when it came up last
}

// crashPoint is a place in a node's work where a fault wants it to die.
type crashPoint uint8

const (
	crashNowhere crashPoint = iota
	crashSyncLost
	crashSyncKept
	crashAfterAck
)

// process is what is in memory.
type process struct {
	rep    *replica.Replica
	in     replica.Input
	some   bool // in holds something
	busy   bool // a batch is being synced
	due    replica.Effects
	acks   []*journalled // journalled by the batch being synced
	wake   time.Duration // of the wake event that counts
	intake intake
	peers  []peer
	own    []*dag.Block // newest last
	builds *replica.SnapshotRequest
	batch  []record // scratch of perform
	// mayServe says which own blocks may leave: those whose batch is durable.
	mayServe replica.Own
}

// peer is what a host knows of another.
type peer struct {
	heard time.Duration // last time anything came
	up    bool
	has   uint64 // newest round of ours it says it has
}

func newNode(s *Sim, id int, cfg replica.Config) *node {
	return &node{
		s: s, id: id, cfg: cfg, disk: newDisk(), crashIn: -1,
		rnd: newRandom(s.cfg.Seed, "node", id),
	}
}

// store is the disk as the replica reads it.
type store struct{ d *disk }

func (st store) Get(key []byte) ([]byte, bool, error) { return st.d.get(key) }

func (st store) Scan(prefix, from []byte) iter.Seq2[replica.Record, error] {
	return func(yield func(replica.Record, error) bool) {
		for r, err := range st.d.scan(string(prefix), string(from)) {
			if !yield(replica.Record{Key: []byte(r.key), Value: r.value}, err) {
				return
			}
		}
	}
}

func (n *node) local() time.Time { return n.clock.read(n.s.now) }

// start opens the replica on what the disk holds. A disk that cannot be read
// is what the operator replaces: the node then begins with an empty one and,
// a validator, with --recover.
func (n *node) start() {
	if n.up || n.hold > 0 || n.lie != nil && !n.lie.runs() {
		return
	}
	n.life++
	if n.life > 1 {
		n.s.tally.Restarts++
	}
	n.up, n.ready = true, n.s.now
	n.process = process{peers: make([]peer, len(n.s.nodes)), intake: newIntake()}
	cfg := n.cfg
	cfg.Recover = n.recover
	rep, effects, err := replica.Open(cfg, n.local(), store{n.disk})
	if err == nil {
		err = n.intake.load(n.disk)
	}
	if err != nil {
		if !errors.Is(err, errFlipped) && !errors.Is(err, replica.ErrDamaged) {
			n.s.violate("P7 recovery", n, fmt.Sprintf("does not open: %v", err))
			return
		}
		n.replaceDisk()
		return
	}
	n.s.trace("node %d starts, life %d", n.id, n.life)
	n.rep = rep
	n.s.opened(n, &effects)
	for i := range n.peers {
		n.peers[i] = peer{heard: n.s.now, up: true}
	}
	n.intake.resubmit(n)
	n.s.push(event{at: n.s.now + n.rnd.during(0, beatEvery), kind: evBeat, node: int32(n.id), life: n.life})
	if n.perform(effects) {
		n.run()
	}
}

// replaceDisk is what an operator does about a disk that is damaged.
func (n *node) replaceDisk() {
	n.s.trace("node %d: damaged disk, starts over with --recover", n.id)
	n.up = false
	n.loseDisk()
	n.start()
}

func (n *node) loseDisk() {
	n.disk.wipe()
	n.recover = !n.observes()
	n.wiped++
	n.executed = 0
}

// crash kills the process. A batch under way is kept or lost.
func (n *node) crash(keep bool) {
	if !n.up {
		return
	}
	syncing := n.disk.syncing
	lost := n.disk.crash(keep)
	n.s.tally.bite(Crash)
	switch {
	case lost > 0:
		n.s.tally.bite(SyncLost)
	case syncing:
		n.s.tally.bite(SyncKept)
	}
	if n.intake.unsent() {
		n.s.tally.bite(GatewayLost)
	}
	n.s.trace("node %d crashes, %d records lost", n.id, lost)
	n.up, n.crashIn, n.crashAt = false, -1, crashNowhere
	n.life++ // what is on its way to this process finds nobody
	n.process = process{}
}

// boundary stands between any two effects. It reports whether the process died here.
func (n *node) boundary() bool {
	if n.crashIn < 0 {
		return false
	}
	if n.crashIn--; n.crashIn >= 0 {
		return false
	}
	n.crash(n.rnd.chance(percent(50)))
	return true
}
