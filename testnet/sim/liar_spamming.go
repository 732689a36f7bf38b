package sim

import (
	"time"

	"github.com/holdfast-mesh/holdfast/node/dag"
	"github.com/holdfast-mesh/holdfast/node/replica"
)

// spammer runs the product and beside it sends rubbish without end: bytes that
// are nothing, its own old blocks again, blocks it signs on parents nobody has,
// blocks of the far future, and the largest questions there are.
type spammer struct {
	honest
	rnd *random
	old []*message
}

const (
	spamEvery  = 15 * time.Millisecond
	spamOldMax = 64
)

func (p *spammer) begins(n *node) {
	n.s.push(event{at: n.s.now + spamEvery, kind: evLiar, node: int32(n.id)})
}

func (p *spammer) swallows(_ *node, _ int, m *message) bool {
	if m.kind == msgBlock && len(p.old) < spamOldMax {
		p.old = append(p.old, m)
	}
	return false
}

func (p *spammer) handles(n *node, e event) bool {
	if e.kind != evLiar {
		return false
	}
	n.s.push(event{at: n.s.now + spamEvery, kind: evLiar, node: int32(n.id)})
	to := p.rnd.below(len(n.s.nodes))
	if m := p.rubbish(n); m != nil && to != n.id {
		n.s.tally.bite(Spamming)
		n.s.net.send(n.s.now, pair{n.id, to}, n.s.nodes[to].life, m)
	}
	return true
}

func (p *spammer) rubbish(n *node) *message {
	switch p.rnd.below(6) {
	case 0:
		return &message{kind: msgBlock, body: p.noise()}
	case 1:
		return &message{kind: msgReply, body: p.noise()}
	case 2:
		if len(p.old) == 0 {
			return nil
		}
		return p.old[p.rnd.below(len(p.old))]
	case 3:
		return &message{kind: msgBlock, body: p.phantom(n, 0)}
	case 4:
		return &message{kind: msgBlock, body: p.phantom(n, time.Hour)}
	default:
		q := replica.Request{Kind: replica.AskCommits, ID: p.rnd.next() >> 1, From: uint64(p.rnd.below(50))}
		if p.rnd.chance(percent(50)) {
			q = replica.Request{Kind: replica.AskRounds, ID: p.rnd.next() >> 1, From: uint64(p.rnd.below(200))}
		}
		return &message{kind: msgRequest, body: q.Bytes()}
	}
}

func (p *spammer) noise() []byte {
	b := make([]byte, p.rnd.between(0, 400))
	for i := range b {
		b[i] = byte(p.rnd.next())
	}
	return b
}

// phantom is a well-formed, well-signed block of a round far ahead, on parents
// that do not exist; with ahead its time is that far in the future.
func (p *spammer) phantom(n *node, ahead time.Duration) []byte {
	round := uint64(p.rnd.between(2_000_000, 3_000_000))
	d := dag.Draft{
		Network: dag.Digest(n.s.world.network), Slot: dag.Slot{Round: round, Author: dag.Author(n.id)},
		TimeMs: uint64(n.local().Add(ahead).UnixMilli()),
	}
	order := []int{n.id}
	for i := range n.s.weights {
		if i != n.id {
			order = append(order, i)
		}
	}
	for _, author := range order {
		ref := dag.Ref{Slot: dag.Slot{Round: round - 1, Author: dag.Author(author)}}
		ref.Digest[0] = byte(p.rnd.next())
		d.Parents = append(d.Parents, ref)
	}
	return d.Sign(n.s.world.validators[n.id])
}
