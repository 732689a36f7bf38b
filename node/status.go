package node

import (
	"time"

	"github.com/holdfast-mesh/holdfast/node/api"
	"github.com/holdfast-mesh/holdfast/node/dag"
	"github.com/holdfast-mesh/holdfast/node/ledger"
	"github.com/holdfast-mesh/holdfast/node/replica"
)

// behindRounds is how far the blocks seen may be above those accepted for a node
// to be up to date: as far as messages of a few rounds cross.
const behindRounds = 5

// catchingUp says whether others have committed what we have not: they can be
// reached, and what we execute is old.
func (b backend) catchingUp(now *standing, asOf api.AsOf) bool {
	reached := b.n.connected.Load() >= now.members.committee.Quorum()
	return now.status.Seen > now.status.Top+behindRounds || reached && asOf.AgeMs > quorumAge.Milliseconds()
}

// Status describes the node.
func (b backend) Status() api.Status {
	n, now, asOf := b.n, b.n.standing.Load(), b.AsOf()
	self := b.self()
	s := api.Status{
		Network: n.network.String(), Name: n.bundle.Genesis().Name, Peer: n.host.ID().String(), Version: Version,
		Validator: now.own.Validator, Provider: n.cfg.Provider, Region: self.Region, Zone: self.Zone,
		CatchingUp: b.catchingUp(now, asOf), Recovering: now.own.Validator && now.status.Recovering,
		DiskFull: n.full.Load(), Alarm: string(now.alarm),
		Epoch: now.status.Epoch, Round: now.status.Round, Peers: len(n.host.Peers()),
		Pool:      api.Pool{Ops: now.pooled, Journal: n.intake.size(), Full: now.poolFull},
		Weight:    api.Weight{Connected: n.connected.Load(), Quorum: now.members.committee.Quorum(), Total: now.members.committee.Total()},
		StartedMs: n.started.UnixMilli(),
	}
	s.Ready = asOf.Quorum && !s.CatchingUp && !s.Recovering && !s.DiskFull && now.alarm == replica.AlarmNone
	return s
}

// self is what the network's bundle says about us.
func (b backend) self() Validator {
	key, _ := KeyOfPeer(b.n.host.ID())
	v, _ := b.n.bundle.Validator(key)
	return v
}

// validators are the running committee as the ledger knows it, by author.
func (b backend) validators(now *standing) []Validator {
	b.n.mu.RLock()
	named := b.n.replica.Ledger().Committee()
	b.n.mu.RUnlock()
	known, err := ValidatorsOf(&named)
	if err != nil {
		known = nil
	}
	known = append(known, b.n.bundle.Validators()...)
	all := make([]Validator, len(now.members.peers))
	for a, id := range now.members.peers {
		for _, v := range known {
			if v.PeerID() == id {
				all[a] = v
				break
			}
		}
	}
	return all
}

// Peers are the committee, connected or not, and whoever else is connected.
func (b backend) Peers() []api.Peer {
	now := b.n.standing.Load()
	connected := b.n.host.Peers()
	peers := make([]api.Peer, 0, len(connected)+len(now.members.peers))
	place := make(map[string]int)
	for a, v := range b.validators(now) {
		id := now.members.peers[a].String()
		if now.members.peers[a] == b.n.host.ID() {
			continue
		}
		place[id] = len(peers)
		peers = append(peers, api.Peer{Peer: id, Validator: true, Provider: v.Provider, Region: v.Region, Zone: v.Zone, Addresses: v.Addrs})
	}
	for _, p := range connected {
		at, ok := place[p.ID.String()]
		if !ok {
			at = len(peers)
			peers = append(peers, api.Peer{Peer: p.ID.String(), Provider: p.Provider})
		}
		peers[at].Connected, peers[at].Path = true, string(p.Path)
		peers[at].RTTMs = float64(p.RTT.Microseconds()) / 1000
		peers[at].SeenMs = time.Now().UnixMilli()
		if len(peers[at].Addresses) == 0 {
			peers[at].Addresses = []string{p.Addr}
		}
	}
	return peers
}

// Committee is that of the running epoch.
func (b backend) Committee() api.Committee {
	now := b.n.standing.Load()
	c := now.members.committee
	out := api.Committee{Epoch: now.status.Epoch, Weight: c.Total(), Quorum: c.Quorum(), Faults: c.Faulty()}
	up := make(map[string]bool)
	for _, p := range b.n.host.Peers() {
		up[p.ID.String()] = true
	}
	for a, v := range b.validators(now) {
		id := now.members.peers[a]
		member := c.Member(dag.Author(a))
		out.Validators = append(out.Validators, api.Validator{
			Author: a, Key: ledger.Account(member.Key).String(), Peer: id.String(), Weight: member.Weight,
			Provider: v.Provider, Region: v.Region, Zone: v.Zone, Operator: v.Operator, Addresses: append([]string{}, v.Addrs...),
			Self: id == b.n.host.ID(), Connected: id == b.n.host.ID() || up[id.String()], Round: now.have[a],
		})
	}
	return out
}
