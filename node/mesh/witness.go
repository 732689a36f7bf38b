package mesh

import (
	"context"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// sight is what a witness sees of an instance.
type sight uint8

const (
	seenNothing sight = iota
	seenGood
	seenBad
)

const (
	// witnessesMax is how many peers are asked, each of another provider.
	witnessesMax = 3
	// witnessTimeout bounds one of them, with the probe it may make.
	witnessTimeout = 4 * time.Second
	// probesMax bounds the probes made for others at once; beyond, we have seen nothing.
	probesMax = 4
)

// askWitnesses asks peers of providers other than ours what they see of an
// instance that has failed us.
func (m *Mesh) askWitnesses(r *Record) {
	ctx, cancel := context.WithTimeout(m.ctx, witnessTimeout)
	defer cancel()
	var asking sync.WaitGroup
	for provider, witness := range m.witnesses(r.Owner) { // order: all are asked
		asking.Go(func() {
			answer, err := m.ask(ctx, witness, question{Kind: askWitness, Name: r.Name, Owner: []byte(r.Owner)})
			if err == nil && sight(answer.Seen) != seenNothing {
				m.health.testified(edgeID{r.Name, r.Owner}, provider, sight(answer.Seen) == seenBad, time.Now())
			}
		})
	}
	asking.Wait()
}

// witnesses are connected peers, one for each provider that is not ours.
func (m *Mesh) witnesses(owner peer.ID) map[string]peer.ID {
	chosen := make(map[string]peer.ID)
	for _, p := range m.host.Peers() {
		taken := chosen[p.Provider] != ""
		if p.Provider != "" && p.Provider != m.config.Provider && p.ID != owner && !taken && len(chosen) < witnessesMax {
			chosen[p.Provider] = p.ID
		}
	}
	return chosen
}

// witness says what we see of an instance; if we have not called it lately, we
// look now.
func (m *Mesh) witness(ctx context.Context, name string, owner peer.ID) sight {
	if seen := m.health.seen(edgeID{name, owner}, time.Now()); seen != seenNothing {
		return seen
	}
	m.mu.RLock()
	held, ok := m.store.Instance(name, owner)
	m.mu.RUnlock()
	if !ok || owner == m.self || held.Record.State == Gone {
		return seenNothing
	}
	select {
	case m.probes <- struct{}{}:
		defer func() { <-m.probes }()
	default:
		return seenNothing
	}
	return m.probe(ctx, held.Record)
}

// probe asks an instance's owner for its status.
func (m *Mesh) probe(ctx context.Context, r *Record) sight {
	conn, err := m.reach(ctx, r, true)
	switch {
	case err == nil:
		conn.Close()
		return seenGood
	case ctx.Err() != nil:
		return seenNothing
	}
	return seenBad
}
