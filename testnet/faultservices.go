package testnet

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/holdfast-mesh/holdfast/node"
	"github.com/holdfast-mesh/holdfast/node/mesh"
	"github.com/holdfast-mesh/holdfast/p2p"
	"github.com/holdfast-mesh/holdfast/testnet/dnsplan"
)

// Of faults of services.
const (
	// lateWrites is how many versions a late writer writes at least when it goes on, and
	// lateEvery how far apart: whoever is late finds everything slow, and a node that
	// restarts meanwhile should meet some. It has checked lateChecked, and goes on with
	// those while a node has not heard it: gossip promises nothing.
	lateWrites  = 8
	lateChecked = 18
	lateEvery   = 250 * time.Millisecond
	// lateBy is how many versions the owner must be ahead by then.
	lateBy = 20
	// cleanEvery is the time between two rounds of the clean-up.
	cleanEvery = 500 * time.Millisecond
	// lateMax bounds how long it is waited for that, on a machine that is busy.
	lateMax = 30 * time.Second
	// heardMax bounds the time until what an intruder said has been looked at.
	heardMax = 5 * time.Second
	// aheadBy puts a forged record ahead of all others, so that only its signature
	// speaks against it.
	aheadBy = 1 << 20
	// forgings is how often farewells are forged until every node has heard one. More
	// would have the forger banned before all have.
	forgings = 3
)

// intruder is a peer of the network that is none of its nodes and speaks in their name:
// with their keys, or without.
type intruder struct {
	host  *p2p.Host
	end   context.CancelFunc
	ended chan error
	late  []lateRecord // checked, and not written
}

type lateRecord struct {
	node   int
	record *mesh.Record
}

// intrude joins the network as a peer of its own.
func (n *Network) intrude(ctx context.Context) (*intruder, error) {
	identity, err := p2p.NewIdentity()
	if err != nil {
		return nil, fmt.Errorf("testnet: %w", err)
	}
	network := n.bundle.ID().String()
	c := p2p.DefaultConfig()
	c.Identity, c.Network, c.Listen = identity, network, []string{"/ip4/127.0.0.1/udp/0/quic-v1"}
	c.MDNS, c.NAT = false, false
	c.Bundle = n.bundle.Committee()
	c.Records = map[string]p2p.RecordRules{mesh.Namespace: mesh.Rules(network)}
	host, err := p2p.Open(c)
	if err != nil {
		return nil, fmt.Errorf("testnet: an intruder: %w", err)
	}
	i := &intruder{host: host, ended: make(chan error, 1)}
	running, end := context.WithCancel(context.Background())
	i.end = end
	go func() { i.ended <- host.Run(running) }()
	if err := host.Join(p2p.TopicServices, p2p.Topic{}); err != nil {
		return nil, errors.Join(err, i.leave())
	}
	i.meet(ctx, n)
	return i, nil
}

// meet waits until the intruder is connected with every node that runs, or long enough:
// it then speaks with those it has.
func (i *intruder) meet(ctx context.Context, n *Network) {
	ctx, cancel := context.WithTimeout(ctx, heardMax)
	defer cancel()
	for {
		all := true
		peers := i.host.Peers()
		for number, id := range n.peerIDs() {
			state, _ := n.nodes[number].now()
			if state == Running && !slices.ContainsFunc(peers, func(p p2p.PeerInfo) bool { return p.ID == id }) {
				all = false
			}
		}
		if all {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(readyEvery):
		}
	}
}

// leave closes the intruder's host. Of no intruder it does nothing.
func (i *intruder) leave() error {
	if i == nil {
		return nil
	}
	i.end()
	return errors.Join(<-i.ended, i.host.Close())
}

// peerIDs are the nodes' own.
func (n *Network) peerIDs() (ids []peer.ID) {
	for _, m := range n.manifest.Nodes {
		ids = append(ids, m.peerID())
	}
	return ids
}

// beginOnServices has an intruder begin.
func (n *Network) beginOnServices(ctx context.Context, one *inForce) (err error) {
	if one.intruder, err = n.intrude(ctx); err != nil {
		return err
	}
	if one.Kind == CleanUp {
		n.beside(one, func(ctx context.Context) { n.cleanUp(ctx, one) })
		return nil
	}
	for _, i := range one.from {
		if err := n.checkLate(ctx, one, i); err != nil {
			return errors.Join(err, one.intruder.leave())
		}
	}
	return nil
}

// endOnServices has it do the rest and leave.
func (n *Network) endOnServices(ctx context.Context, one *inForce) (err error) {
	if one.Kind == CleanUp {
		err = n.forgeFarewells(ctx, one)
	} else {
		err = n.writeLate(ctx, one)
	}
	return errors.Join(err, one.intruder.leave())
}

// sign makes a record in the name of a node, as its second process would: with its key.
func (n *Network) sign(node int, in mesh.InstanceView, service string, seq uint64, state mesh.State) (*mesh.Record, error) {
	key, err := n.nodeKey(node)
	if err != nil {
		return nil, err
	}
	times := mesh.DefaultConfig()
	c := mesh.Claim{
		Network: n.bundle.ID().String(), Name: service, Stamp: mesh.Stamp{Epoch: in.Epoch, Seq: seq}, State: state,
		Endpoints: in.Endpoints, Provider: in.Provider, Region: in.Region, Zone: in.Zone, Protocol: in.Protocol, Check: in.Check,
		IssuedMs: uint64(time.Now().UnixMilli()), TTL: times.TTL, Beat: times.Beat, Body: []byte("written late"),
	}
	if state == mesh.Gone {
		c.Endpoints, c.Body = nil, nil
	}
	return mesh.Sign(key, c)
}

// nodeKey is the key of a node, which lies unlocked on a test network's disk.
func (n *Network) nodeKey(i int) (crypto.PrivKey, error) {
	key, err := node.LoadKey(filepath.Join(n.nodes[i].dir, "node.key"), node.Lock{Plain: true})
	if err != nil {
		return nil, fmt.Errorf("testnet: node %d: %w", i, err)
	}
	return crypto.UnmarshalEd25519PrivateKey(key)
}

// checkLate is the check of the late writer: what it makes is newer than what the
// owner itself holds. Then it stops.
func (n *Network) checkLate(ctx context.Context, one *inForce, node int) error {
	in, err := n.instance(ctx, node, one.Service)
	if err != nil {
		return err
	}
	for k := range uint64(lateChecked) {
		r, err := n.sign(node, in, one.Service, in.Seq+1+k, mesh.Serving)
		if err != nil {
			return fmt.Errorf("testnet: a late write: %w", err)
		}
		one.intruder.late = append(one.intruder.late, lateRecord{node, r})
	}
	n.did(one, DeedChecked, node, mesh.Stamp{Epoch: in.Epoch, Seq: in.Seq + 1})
	return nil
}

// writeLate writes what was checked long ago, by gossip and into the DHT.
func (n *Network) writeLate(ctx context.Context, one *inForce) error {
	for _, i := range one.from {
		s, err := n.awaitLate(ctx, one, i)
		if err != nil {
			return err
		}
		n.did(one, DeedWoke, i, s)
	}
	tick := time.NewTicker(lateEvery)
	defer tick.Stop()
	late := one.intruder.late
	slices.SortStableFunc(late, func(a, b lateRecord) int { return cmp.Compare(a.record.Seq, b.record.Seq) })
	for i, l := range late {
		if i >= lateWrites*len(one.from) && n.haveRefused(ctx, one.intruder, mesh.Regression) {
			break
		}
		one.intruder.meet(ctx, n)
		err := one.intruder.host.Publish(ctx, p2p.TopicServices, mesh.News(l.record))
		if err == nil {
			err = one.intruder.host.PutRecord(mesh.Namespace, mesh.RecordKey(l.record.Name, l.record.Owner), l.record.Bytes())
		}
		if err != nil {
			return fmt.Errorf("testnet: a late write: %w", err)
		}
		n.did(one, DeedWrote, l.node, l.record.Stamp)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	n.awaitRefusal(ctx, one.intruder, mesh.Regression)
	return nil
}

// awaitLate waits until an owner is as many versions ahead of what was checked as it
// should be, and returns what it says then. The judge sees if it never was.
func (n *Network) awaitLate(ctx context.Context, one *inForce, node int) (mesh.Stamp, error) {
	i := slices.IndexFunc(one.intruder.late, func(l lateRecord) bool { return l.node == node })
	checked := one.intruder.late[i].record.Stamp
	for end := time.Now().Add(lateMax); ; {
		in, err := n.instance(ctx, node, one.Service)
		if err != nil {
			return checked, err
		}
		s := mesh.Stamp{Epoch: in.Epoch, Seq: in.Seq}
		if s.After(mesh.Stamp{Epoch: checked.Epoch, Seq: checked.Seq + lateBy - 1}) || time.Now().After(end) {
			return s, nil
		}
		select {
		case <-ctx.Done():
			return s, ctx.Err()
		case <-time.After(readyEvery):
		}
	}
}

// cleanUp takes away, over and over and with the owners' keys, versions that are so old
// that surely nobody uses them.
func (n *Network) cleanUp(ctx context.Context, one *inForce) {
	tick := time.NewTicker(cleanEvery)
	defer tick.Stop()
	for {
		for _, i := range one.from {
			n.cleanOne(ctx, one, i)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// cleanOne tries to take one owner's old version away. An owner that is away, or has no
// old version yet, is left for the next round.
func (n *Network) cleanOne(ctx context.Context, one *inForce, node int) {
	in, err := n.instance(ctx, node, one.Service)
	if err != nil || in.Seq <= dnsplan.Keeps {
		return
	}
	r, err := n.sign(node, in, one.Service, in.Seq-dnsplan.Keeps, mesh.Gone)
	if err == nil {
		err = one.intruder.host.Publish(ctx, p2p.TopicServices, mesh.News(r))
	}
	if err == nil {
		n.did(one, DeedCleaned, node, r.Stamp)
	}
}

// forgeFarewells tries to take every instance away at once, in the owners' names and
// without their signatures.
func (n *Network) forgeFarewells(ctx context.Context, one *inForce) error {
	for round := 0; round < forgings && !n.haveRefused(ctx, one.intruder, mesh.Forged); round++ {
		one.intruder.meet(ctx, n)
		if err := n.forgeAll(ctx, one); err != nil {
			return err
		}
		n.awaitRefusal(ctx, one.intruder, mesh.Forged)
	}
	return nil
}

// forgeAll forges a farewell of every instance.
func (n *Network) forgeAll(ctx context.Context, one *inForce) error {
	for _, i := range one.from {
		in, err := n.instance(ctx, i, one.Service)
		if err != nil {
			return err
		}
		r, err := n.sign(i, in, one.Service, in.Seq+aheadBy, mesh.Gone)
		if err != nil {
			return fmt.Errorf("testnet: a forged farewell: %w", err)
		}
		forged := mesh.News(r)
		forged[len(forged)-1] ^= 1 // of the signature
		if err := one.intruder.host.Publish(ctx, p2p.TopicServices, forged); err != nil {
			return fmt.Errorf("testnet: a forged farewell: %w", err)
		}
		n.did(one, DeedForged, i, r.Stamp)
	}
	return nil
}

// awaitRefusal gives every node that runs the time to refuse what the intruder said.
// Those that have not by then may have taken it: the judge will see.
func (n *Network) awaitRefusal(ctx context.Context, i *intruder, why mesh.Reason) {
	ctx, cancel := context.WithTimeout(ctx, heardMax)
	defer cancel()
	for !n.haveRefused(ctx, i, why) {
		select {
		case <-ctx.Done():
			return
		case <-time.After(readyEvery):
		}
	}
}

// haveRefused says whether every node that runs has refused something of an intruder's
// for a reason.
func (n *Network) haveRefused(ctx context.Context, i *intruder, why mesh.Reason) bool {
	for number := range n.nodes {
		if state, _ := n.nodes[number].now(); state != Running {
			continue
		}
		asked, cancel := context.WithTimeout(ctx, tryMax)
		v, err := n.desks[number].Rejected(asked)
		cancel()
		if err != nil || !slices.ContainsFunc(v.Last, func(r mesh.RejectionView) bool { return r.From == i.host.ID().String() && r.Reason == why }) {
			return false
		}
	}
	return true
}

// forgetServices removes all a dead node has on disk of services.
func (n *Network) forgetServices(p *process) error {
	dir := filepath.Join(p.dir, node.ServicesName)
	had := diskBytes(dir)
	if had == 0 {
		return fmt.Errorf("testnet: node %d has nothing in %s to forget", p.Number, dir)
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("testnet: %w", err)
	}
	n.note(ServiceRecord{At: time.Now().UnixNano(), What: DeedForgot, Node: p.Number, Bytes: had})
	return nil
}

// did notes what an intruder has done.
func (n *Network) did(one *inForce, what Deed, node int, s mesh.Stamp) {
	n.note(ServiceRecord{At: time.Now().UnixNano(), What: what, Node: node, By: one.intruder.host.ID().String(), Fault: one.name, Epoch: s.Epoch, Seq: s.Seq})
}

func (n *Network) note(r ServiceRecord) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.deeds = append(n.deeds, r)
}

// Deeds are what was done to the records of services, and what the nodes say now that
// they have refused of it.
func (n *Network) Deeds(ctx context.Context) []ServiceRecord {
	n.mu.Lock()
	deeds := slices.Clone(n.deeds)
	n.mu.Unlock()
	var intruders []string
	for _, d := range deeds {
		if d.By != "" && !slices.Contains(intruders, d.By) {
			intruders = append(intruders, d.By)
		}
	}
	if len(intruders) == 0 {
		return deeds
	}
	for i := range n.nodes {
		asked, cancel := context.WithTimeout(ctx, tryMax)
		v, err := n.desks[i].Rejected(asked)
		cancel()
		if err != nil {
			continue // it is away: what it refused is not known
		}
		for _, r := range v.Last {
			if slices.Contains(intruders, r.From) {
				deeds = append(deeds, ServiceRecord{At: r.AtMs * int64(time.Millisecond), What: DeedRefused, Node: i, By: r.From, Why: string(r.Reason), Times: int64(r.Times)})
			}
		}
	}
	return deeds
}
