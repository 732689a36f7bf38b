package mesh

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	mh "github.com/multiformats/go-multihash"

	"github.com/holdfast-mesh/holdfast/p2p"
)

// A node that knows nothing of a name, nor a peer that does, looks into the DHT.
// There, each owner says for itself that it has an instance of a name, and puts
// its own record under a key of its own. There is no one record of a whole name:
// with many writers it would be the plan that an old writer puts over a newer one.

// Namespace is the DHT's namespace of service records.
const Namespace = "svc"

// Rules are the rules of Namespace, for the configuration of the host. A key is
// the name of a service and the peer id of the owner: /svc/NAME/OWNER.
func Rules(network string) p2p.RecordRules { return rules{network} }

type rules struct{ network string }

// Validate refuses what its owner has not signed for that key, and what is too
// old for anybody.
func (r rules) Validate(key string, value []byte) error {
	record, err := Verify(r.network, value)
	if err != nil {
		return err
	}
	if want := RecordKey(record.Name, record.Owner); key != want {
		return refuse(Malformed, "the record of %s under the key %s", want, key)
	}
	return record.Timely(time.Now(), false)
}

// Newer is the order of records.
func (r rules) Newer(a, b []byte) bool {
	x, errX := Verify(r.network, a)
	y, errY := Verify(r.network, b)
	return errX == nil && (errY != nil || x.After(y.Stamp))
}

// RecordKey is the key of an owner's record of a name in Namespace.
func RecordKey(name string, owner peer.ID) string { return name + "/" + owner.String() }

// nameCID is what owners of instances of a name provide in the DHT.
func nameCID(name string) cid.Cid {
	sum := must(mh.Sum([]byte("holdfast service "+name), mh.SHA2_256, -1))
	return cid.NewCidV1(cid.Raw, sum)
}

// putDHT says in the DHT what we say of our instance, in the background.
func (m *Mesh) putDHT(r *Record) {
	err := m.host.PutRecord(Namespace, RecordKey(r.Name, r.Owner), r.raw)
	if err == nil && r.State != Gone {
		err = m.host.Provide(nameCID(r.Name))
	}
	if err != nil {
		m.log.Debug("the DHT does not take a record; gossip and peers have it", "service", r.Name, "err", err)
	}
	if r.State == Gone {
		m.host.Unpublish("", nameCID(r.Name).String())
	}
}

const (
	searchesMax   = 16               // names searched for at once
	searchTimeout = time.Minute      // the DHT needs it, see package p2p
	searchPause   = 5 * time.Second  // between two searches for one name
	pausesMax     = 1024             // names whose last search is remembered
	searchOwners  = 16               // owners of one name that are asked
	ownerTimeout  = 10 * time.Second // for one of them
)

// searches are the names being searched for, and when they last were.
type searches struct {
	mu   sync.Mutex
	busy int
	last map[string]time.Time
}

// begin reports whether to search for a name now.
func (s *searches) begin(name string, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last == nil || len(s.last) >= pausesMax {
		s.last = make(map[string]time.Time)
	}
	if s.busy >= searchesMax || now.Sub(s.last[name]) < searchPause {
		return false
	}
	s.busy++
	s.last[name] = now
	return true
}

func (s *searches) end(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy--
	s.last[name] = time.Now()
}

// search looks for a name among peers and in the DHT, in the background.
func (m *Mesh) search(name string) {
	if !m.searches.begin(name, time.Now()) {
		return
	}
	started := m.spawn(func() {
		defer m.searches.end(name)
		ctx, cancel := context.WithTimeout(m.ctx, searchTimeout)
		defer cancel()
		m.searchNow(ctx, name)
	})
	if !started {
		m.searches.end(name)
	}
}

func (m *Mesh) searchNow(ctx context.Context, name string) {
	for _, p := range m.host.Peers() {
		if err := m.syncName(ctx, p.ID, name); err == nil && m.knows(name) {
			return
		}
	}
	owners, err := m.host.FindProviders(ctx, nameCID(name), searchOwners)
	if err != nil && len(owners) == 0 {
		m.log.Debug("searching the DHT failed", "service", name, "err", err)
	}
	var asking sync.WaitGroup
	for _, owner := range owners {
		asking.Go(func() { m.askOwner(ctx, name, owner) })
	}
	asking.Wait()
}

func (m *Mesh) knows(name string) bool {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return len(m.store.Set(name)) > 0
}

// askOwner asks one who says it has an instance; if it is away, its record in the
// DHT is better than nothing.
func (m *Mesh) askOwner(ctx context.Context, name string, owner peer.AddrInfo) {
	ctx, cancel := context.WithTimeout(ctx, ownerTimeout)
	defer cancel()
	err := m.host.Reach(ctx, p2p.Peer{ID: owner.ID, Addrs: dialable(owner.Addrs)})
	if err == nil {
		err = m.syncName(ctx, owner.ID, name)
	}
	if err == nil && m.knows(name) {
		return
	}
	value, err := m.host.GetRecord(ctx, Namespace, RecordKey(name, owner.ID))
	if err != nil {
		m.log.Debug("an owner of a service is not found", "service", name, "owner", owner.ID, "err", err)
		return
	}
	if r, err := m.verify(value); err == nil && r.Name == name && r.Owner == owner.ID {
		m.take(r, ByMemory, owner.ID)
	}
}

// dialable leaves out addresses a host would refuse, and all but the first few.
func dialable(addrs []ma.Multiaddr) (out []ma.Multiaddr) {
	for _, a := range addrs {
		text := a.String()
		if len(out) < endpointsMax && !strings.HasPrefix(text, "/dns") && !strings.HasPrefix(text, "/p2p/") {
			out = append(out, a)
		}
	}
	return out
}

// peerOf is where an instance's owner is reached.
func peerOf(r *Record) (p2p.Peer, error) {
	p := p2p.Peer{ID: r.Owner, Provider: r.Provider}
	for _, e := range r.Endpoints {
		a, err := ma.NewMultiaddr(e)
		if err != nil {
			return p, fmt.Errorf("mesh: endpoint of %s: %w", r.Owner, err)
		}
		p.Addrs = append(p.Addrs, a)
	}
	p.Addrs = dialable(p.Addrs)
	return p, nil
}
