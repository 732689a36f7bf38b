package node

import (
	"context"
	"time"

	"github.com/holdfast-mesh/holdfast/node/dag"
	"github.com/holdfast-mesh/holdfast/node/replica"
)

// lookEvery is how often the loop is told which rounds of ours the others have,
// as often as their heartbeats come.
const lookEvery = 500 * time.Millisecond

// watchLinks tells the loop which validators can be reached, and what they have
// of ours, until ctx ends. Events say at once who went; what they miss, looking
// at all peers finds.
func (n *Node) watchLinks(ctx context.Context) error {
	events := make(chan struct{}, 1)
	n.spawn(func(ctx context.Context) {
		for {
			if _, _, err := n.host.Events(ctx); err != nil {
				return
			}
			select {
			case events <- struct{}{}:
			default:
			}
		}
	})
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	var l links
	for {
		l.look(n)
		select {
		case <-events:
		case <-look.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// links is what the replica was told last.
type links struct {
	members *members
	up      []bool
	has     []uint64
}

// look tells the replica what has changed.
func (l *links) look(n *Node) {
	now := n.standing.Load()
	if l.members != now.members {
		*l = links{members: now.members, up: make([]bool, len(now.members.peers)), has: make([]uint64, len(now.members.peers))}
		for a := range l.up {
			l.up[a] = true // as a replica takes it when a committee begins
		}
	}
	up := make([]bool, len(l.up))
	var rounds []replica.PeerRound
	for _, p := range n.host.Peers() {
		a, ok := now.members.authors[p.ID]
		if !ok {
			continue
		}
		up[a] = true
		if epoch, round := splitRound(p.Acked); epoch == now.status.Epoch && round > l.has[a] {
			l.has[a] = round
			rounds = append(rounds, replica.PeerRound{Peer: a, Round: round})
		}
	}
	if now.own.Validator {
		up[now.own.Author] = true
	}
	var changed []replica.Link
	for a := range up {
		if up[a] != l.up[a] {
			l.up[a] = up[a]
			changed = append(changed, replica.Link{Peer: dag.Author(a), Up: up[a]})
		}
	}
	if len(changed)+len(rounds) > 0 {
		n.inbox.add(func(in *replica.Input) {
			in.Connected = append(in.Connected, changed...)
			in.Rounds = append(in.Rounds, rounds...)
		})
	}
	n.connected.Store(connectedWeight(now, up))
}

// connectedWeight is the weight of the validators in reach, ourselves included.
func connectedWeight(now *standing, up []bool) (weight uint64) {
	for a, is := range up {
		if is {
			weight += now.members.committee.Weight(dag.Author(a))
		}
	}
	return weight
}
