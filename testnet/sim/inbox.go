package sim

import (
	"errors"
	"time"

	"github.com/holdfast-mesh/holdfast/node/dag"
	"github.com/holdfast-mesh/holdfast/node/replica"
)

// receive takes a message off the network.
func (n *node) receive(from int, m *message) {
	p := &n.peers[from]
	p.heard = n.s.now
	if !p.up {
		n.link(from, true)
	}
	switch m.kind {
	case msgBlock:
		n.receiveBlock(m)
	case msgRequest:
		n.serve(from, m.body)
	case msgReply:
		n.receiveReply(from, m.body)
	case msgBeat:
		n.receiveBeat(from, m.have)
	}
	n.run()
}

func (n *node) link(to int, up bool) {
	n.peers[to].up = up
	if !n.s.validates(to) {
		return // the replica speaks of validators only
	}
	n.take(func(in *replica.Input) {
		in.Connected = append(in.Connected, replica.Link{Peer: dag.Author(to), Up: up})
	})
}

func (n *node) receiveBlock(m *message) {
	if replica.Far(n.rep.Status()) {
		return // as package node does: commits will bring it
	}
	v := n.rep.Verifier()
	if m.opened == nil {
		m.opened = n.s.memo.block(v, m.body)
	}
	opened := m.opened.by(v)
	if errors.Is(opened.err, replica.ErrEpoch) {
		if opened == m.opened {
			m.opened = nil // others may know the epoch
		}
		n.take(func(in *replica.Input) { in.Later = true })
		return
	}
	if opened.err != nil {
		return // package node would note the fault and drop the peer
	}
	b := opened.block
	n.take(func(in *replica.Input) {
		in.Blocks = append(in.Blocks, b)
	})
}

// serve answers from the disk, beside the loop: also while a batch is synced.
func (n *node) serve(from int, body []byte) {
	q, err := replica.DecodeRequest(body)
	if err != nil {
		return
	}
	reply, err := replica.Serve(store{n.disk}, q, n.mayServe, n.s.pace.room)
	if err != nil {
		n.s.trace("node %d serves nothing: %v", n.id, err)
		return
	}
	n.post(from, &message{kind: msgReply, body: reply.Bytes()})
}

func (n *node) receiveReply(from int, body []byte) {
	reply, err := replica.DecodeReply(body)
	if err != nil {
		return
	}
	v := n.rep.Verifier()
	answer, err := v.AnswerWith(func(b []byte) (*dag.Block, error) {
		known := n.s.memo.block(v, b)
		return known.block, known.err
	}, dag.Author(from), reply)
	if err != nil {
		return
	}
	n.take(func(in *replica.Input) { in.Answers = append(in.Answers, answer) })
}

// receiveBeat learns what a peer has of ours. One that has missed our newest
// and stands still gets it again, as a stream would go on from there. Observers hear
// gossip, which forgets: they fetch what they missed.
func (n *node) receiveBeat(from int, has uint64) {
	p := &n.peers[from]
	if !n.s.validates(from) || n.observes() {
		return
	}
	if has != p.has {
		p.has = has
		n.take(func(in *replica.Input) {
			in.Rounds = append(in.Rounds, replica.PeerRound{Peer: dag.Author(from), Round: has})
		})
		return
	}
	for _, b := range n.own {
		if b.Round() > has {
			n.post(from, &message{kind: msgBlock, body: b.Bytes()})
		}
	}
}

// beat sends heartbeats and notices who is silent.
func (n *node) beat() {
	for i := range n.peers {
		if i == n.id {
			continue
		}
		p := &n.peers[i]
		if p.up && n.s.now-p.heard > deadAfter {
			n.link(i, false)
		}
		n.post(i, &message{kind: msgBeat, have: n.rep.Have(dag.Author(i))})
	}
	n.intake.resubmit(n)
	n.s.push(event{at: n.s.now + beatEvery, kind: evBeat, node: int32(n.id), life: n.life})
	n.run()
}

// build makes the snapshot that is due, beside the loop. Its records reach the
// disk one by one, so that a crash leaves a part of it.
func (n *node) build() {
	if n.disk.syncing {
		n.s.push(event{at: n.s.now + time.Millisecond, kind: evSnapshot, node: int32(n.id), life: n.life})
		return
	}
	due := *n.builds
	n.builds = nil
	var records []record
	err := replica.BuildSnapshot(store{n.disk}, due, func(r replica.Record) error {
		records = append(records, record{string(r.Key), r.Value})
		return nil
	})
	for _, r := range records {
		n.disk.begin([]record{r})
		if n.boundary() {
			return
		}
		n.disk.end()
	}
	n.take(func(in *replica.Input) {
		in.Snapshot = &replica.SnapshotDone{Index: due.Index, Failed: err != nil}
	})
	n.run()
}
