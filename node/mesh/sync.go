package mesh

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/holdfast-mesh/holdfast/p2p"
)

// Gossip promises nothing. So a node asks each peer it meets, and now and then one
// at random, what that peer holds: first a sum for each name, then, of names whose
// sums differ, what is newer than its own. Each side asks for itself.

// QuestionTag begins every question of this package among those of a node.
const QuestionTag = 's'

// The kinds of questions.
const (
	askSums    = 1 // a sum for each name after After
	askSet     = 2 // of Name, what is newer than Have
	askWitness = 3 // what do you see of Name at Owner
)

const (
	sumsPerAnswer   = 1000
	answerBytesMax  = 1 << 20
	syncTimeout     = 30 * time.Second
	syncPagesMax    = 64 // of one name or of all sums: a peer may not keep us for ever
	syncNamesMax    = 4096
	peersLook       = 500 * time.Millisecond
	syncPeersAtOnce = 4
)

type question struct {
	Kind  uint8    `cbor:"kind"`
	Name  string   `cbor:"name"`
	After string   `cbor:"after"`
	Owner []byte   `cbor:"owner"`
	Have  []haveIn `cbor:"have"`
}

// haveIn is what the asker holds of one owner.
type haveIn struct {
	_     struct{} `cbor:",toarray"`
	Owner []byte
	Epoch uint64
	Seq   uint64
	Proof []byte // the digest of the proof held, or nothing
}

type sumOf struct {
	_    struct{} `cbor:",toarray"`
	Name string
	Sum  []byte
}

type reply struct {
	Sums    []sumOf  `cbor:"sums"`
	Records [][]byte `cbor:"records"`
	Proofs  [][]byte `cbor:"proofs"`
	More    bool     `cbor:"more"`
	Seen    uint8    `cbor:"seen"`
}

func encodeQuestion(q question) []byte { return append([]byte{QuestionTag}, encode(&q)...) }

// Answer answers a peer's question; the node's server calls it with those that
// begin with QuestionTag.
func (m *Mesh) Answer(ctx context.Context, from peer.ID, asked []byte) ([]byte, error) {
	var q question
	if len(asked) == 0 || asked[0] != QuestionTag {
		return nil, errors.New("mesh: not a question about services")
	}
	if err := decode(asked[1:], &q); err != nil {
		return nil, fmt.Errorf("mesh: a question that cannot be read: %w", err)
	}
	switch q.Kind {
	case askSums:
		return encode(m.sums(q.After)), nil
	case askSet:
		return encode(m.newerThan(q.Name, q.Have)), nil
	case askWitness:
		return encode(&reply{Seen: uint8(m.witness(ctx, q.Name, peer.ID(q.Owner)))}), nil
	}
	return nil, fmt.Errorf("mesh: a question of kind %d", q.Kind)
}

func (m *Mesh) sums(after string) *reply {
	m.mu.RLock()
	defer m.mu.RUnlock()
	var r reply
	for _, name := range m.store.Names() {
		if name <= after {
			continue
		}
		if len(r.Sums) == sumsPerAnswer {
			r.More = true
			break
		}
		r.Sums = append(r.Sums, sumOf{Name: name, Sum: m.store.sum(name)})
	}
	return &r
}

// sum is equal for two stores that hold the same of a name.
func (s *Store) sum(name string) []byte {
	h := sha256.New()
	for _, held := range s.Set(name) {
		h.Write(held.Record.digest[:])
		h.Write(held.Proof.sum())
	}
	return h.Sum(nil)[:8]
}

// sum names a proof, or none.
func (p *Proof) sum() []byte {
	if p == nil {
		return nil
	}
	both := sha256.Sum256(slices.Concat(p.A.digest[:], p.B.digest[:]))
	return both[:8]
}

func (m *Mesh) newerThan(name string, have []haveIn) *reply {
	theirs := make(map[peer.ID]haveIn, len(have))
	for _, h := range have {
		theirs[peer.ID(h.Owner)] = h
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	var r reply
	bytes := 0
	for _, held := range m.store.Set(name) {
		their, known := theirs[held.Record.Owner]
		fresh := !known || held.Record.After(Stamp{their.Epoch, their.Seq})
		proof := held.Proof != nil && !slices.Equal(held.Proof.sum(), their.Proof)
		if !fresh && !proof {
			continue
		}
		if bytes > answerBytesMax || len(r.Records) == messageListMax {
			r.More = true
			break
		}
		if fresh {
			r.Records = append(r.Records, held.Record.raw)
			bytes += len(held.Record.raw)
		}
		if proof {
			payload := proofEntry(held.Proof).payload
			r.Proofs = append(r.Proofs, payload)
			bytes += len(payload)
		}
	}
	return &r
}

// ask puts a question to a peer and reads the reply.
func (m *Mesh) ask(ctx context.Context, to peer.ID, q question) (r reply, err error) {
	answer, err := m.host.Ask(ctx, to, encodeQuestion(q))
	if err != nil {
		return r, err
	}
	if err := decode(answer, &r); err != nil {
		m.host.Punish(to, "an answer about services that cannot be read")
		return r, fmt.Errorf("mesh: answer of %s: %w", to, err)
	}
	return r, nil
}

// Sync takes from a connected peer what it holds and we do not.
func (m *Mesh) Sync(ctx context.Context, with peer.ID) error {
	ctx, cancel := context.WithTimeout(ctx, syncTimeout)
	defer cancel()
	after := ""
	for range syncPagesMax {
		r, err := m.ask(ctx, with, question{Kind: askSums, After: after})
		if err != nil {
			return fmt.Errorf("mesh: asking what there is: %w", err)
		}
		for _, s := range r.Sums {
			if s.Name <= after || CheckName(s.Name) != nil {
				m.host.Punish(with, "names of services out of order")
				return fmt.Errorf("mesh: %s names services out of order", with)
			}
			after = s.Name
			if m.differs(s) {
				if err := m.syncName(ctx, with, s.Name); err != nil {
					return err
				}
			}
		}
		if !r.More {
			break
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.store.cold {
		m.store.Warm()
		clear(m.answers)
		close(m.changed) // who waits for a sure answer has one now
		m.changed = make(chan struct{})
	}
	return nil
}

func (m *Mesh) differs(s sumOf) bool {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return !slices.Equal(m.store.sum(s.Name), s.Sum)
}

// syncName takes what a peer holds of one name and we do not.
func (m *Mesh) syncName(ctx context.Context, with peer.ID, name string) error {
	for range syncPagesMax {
		r, err := m.ask(ctx, with, question{Kind: askSet, Name: name, Have: m.have(name)})
		if err != nil {
			return fmt.Errorf("mesh: asking for %s: %w", name, err)
		}
		taken, err := m.takeReply(name, r, with)
		if err != nil {
			return err
		}
		if !r.More || taken == 0 {
			return nil
		}
	}
	return nil
}

func (m *Mesh) have(name string) (have []haveIn) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	for _, h := range m.store.Set(name) {
		have = append(have, haveIn{Owner: []byte(h.Record.Owner), Epoch: h.Record.Epoch, Seq: h.Record.Seq, Proof: h.Proof.sum()})
	}
	return have
}

// takeReply takes a peer's records of a name. What is missing in them means
// nothing (R4); what is forged is the peer's fault, as it should have looked.
func (m *Mesh) takeReply(name string, r reply, from peer.ID) (taken int, err error) {
	for _, raw := range r.Records {
		record, err := m.verify(raw)
		if err == nil && record.Name != name {
			err = refuse(Malformed, "%s, and %s was asked for", record.Name, name)
		}
		if err != nil {
			return taken, m.blame(from, err)
		}
		o := m.take(record, ByMemory, from)
		switch o.Kind {
		case Taken:
			taken++
		case Conflict:
			taken++
			m.gossip(proofNews(o.Proof))
		}
	}
	for _, payload := range r.Proofs {
		p, err := decodeProof(payload, m.verify)
		if err != nil {
			return taken, m.blame(from, refuse(Malformed, "proof: %v", err))
		}
		if m.takeProof(p, from).Kind == Conflict {
			taken++
		}
	}
	return taken, nil
}

func (m *Mesh) blame(from peer.ID, err error) error {
	m.refuseNews(from, err)
	m.host.Punish(from, "forged service records in an answer")
	return fmt.Errorf("mesh: answer of %s: %w", from, err)
}

// watchPeers asks each peer that is new, and now and then one at random, and
// tells health which peers have gone.
func (m *Mesh) watchPeers() {
	look := time.NewTicker(peersLook)
	defer look.Stop()
	met := make(map[peer.ID]bool)
	room := make(chan struct{}, syncPeersAtOnce)
	next := time.Now().Add(m.config.SyncEvery)
	for {
		select {
		case <-look.C:
		case <-m.ctx.Done():
			return
		}
		peers := m.host.Peers()
		m.meet(met, peers, room)
		if now := time.Now(); now.After(next) && len(peers) > 0 {
			next = now.Add(m.config.SyncEvery)
			m.syncSoon(peers[rand.IntN(len(peers))].ID, room)
		}
	}
}

// meet starts a sync with each peer that has come, and forgets those that went.
func (m *Mesh) meet(met map[peer.ID]bool, peers []p2p.PeerInfo, room chan struct{}) {
	connected := make(map[peer.ID]bool, len(peers))
	for _, p := range peers {
		connected[p.ID] = true
		if !met[p.ID] && m.syncSoon(p.ID, room) {
			met[p.ID] = true
			m.health.back(p.ID)
		}
	}
	for p := range met { // order: each apart
		if !connected[p] {
			delete(met, p)
			m.lost(p)
		}
	}
}

// syncSoon starts a sync unless enough are under way.
func (m *Mesh) syncSoon(with peer.ID, room chan struct{}) bool {
	select {
	case room <- struct{}{}:
	default:
		return false
	}
	started := m.spawn(func() {
		if err := m.Sync(m.ctx, with); err != nil {
			m.log.Debug("asking a peer for services failed", "peer", with, "err", err)
		}
		<-room
	})
	if !started {
		<-room
	}
	return started
}
