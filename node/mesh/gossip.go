package mesh

import (
	"context"
	"crypto/sha256"
	"errors"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/holdfast-mesh/holdfast/p2p"
)

// A message of the services topic is a byte that says what follows: a record, or
// the two of a proof.
const (
	newsRecord byte = 1
	newsProof  byte = 2
)

// News is a record as a message of p2p.TopicServices.
func News(r *Record) []byte { return append([]byte{newsRecord}, r.raw...) }

// announce says something of ours by gossip and, when it is more than a beat, in
// the DHT. Nothing here may be waited for: who misses it asks, see sync.go.
func (m *Mesh) announce(r *Record, more bool) {
	m.gossip(News(r))
	if more {
		m.putDHT(r)
	}
}

func proofNews(p *Proof) []byte { return append([]byte{newsProof}, proofEntry(p).payload...) }

func (m *Mesh) gossip(message []byte) {
	if err := m.host.Publish(m.ctx, p2p.TopicServices, message); err != nil {
		m.log.Debug("gossip failed; peers will ask", "err", err)
	}
}

// news is a message that has been verified.
type news struct {
	record *Record
	proof  *Proof
}

// checked keeps what Check has verified until Deliver, so that nobody verifies a
// signature twice.
type checked struct {
	mu   sync.Mutex
	news map[[32]byte]news
}

// checkedMax bounds it; what does not fit is verified again.
const checkedMax = 1024

func (c *checked) put(data []byte, n news) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.news == nil || len(c.news) >= checkedMax {
		c.news = make(map[[32]byte]news)
	}
	c.news[sha256.Sum256(data)] = n
}

func (c *checked) take(data []byte) (n news, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	sum := sha256.Sum256(data)
	n, ok = c.news[sum]
	delete(c.news, sum)
	return n, ok
}

// checkNews judges a message before others get it from us. What is no news to us
// is none to them.
func (m *Mesh) checkNews(_ context.Context, from peer.ID, data []byte) p2p.Verdict {
	n, err := m.readNews(data)
	if err != nil {
		return m.refuseNews(from, err)
	}
	m.checked.put(data, n)
	return p2p.Accept
}

func (m *Mesh) readNews(data []byte) (news, error) {
	if len(data) == 0 {
		return news{}, refuse(Malformed, "an empty message")
	}
	switch kind, payload := data[0], data[1:]; kind {
	case newsRecord:
		r, err := m.verify(payload)
		if err == nil {
			err = m.worth(r)
		}
		return news{record: r}, err
	case newsProof:
		if len(payload) > entryBytesMax {
			return news{}, refuse(Oversized, "a proof of %d bytes: at most %d", len(payload), entryBytesMax)
		}
		p, err := decodeProof(payload, m.verify)
		if err != nil {
			return news{}, refuse(Malformed, "proof: %v", err)
		}
		return news{proof: p}, m.worthProof(p)
	default:
		return news{}, refuse(Malformed, "a message of kind %d", kind)
	}
}

// worth refuses what is old, or older than what is held at this moment. It is a
// hint; the store compares again when it takes (R1).
func (m *Mesh) worth(r *Record) error {
	if err := r.Timely(time.Now(), true); err != nil {
		return err
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	if !m.store.Newer(r) {
		return refuse(Regression, "%s of %s at %v: as new is held", r.Name, r.Owner, r.Stamp)
	}
	return nil
}

func (m *Mesh) worthProof(p *Proof) error {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if h, ok := m.store.Instance(p.A.Name, p.A.Owner); ok && h.Proof != nil && !p.outranks(h.Proof) {
		return refuse(Regression, "a proof against %s of %s: as new is held", p.A.Name, p.A.Owner)
	}
	return nil
}

func (m *Mesh) refuseNews(from peer.ID, err error) p2p.Verdict {
	var refusal *Refusal
	if !errors.As(err, &refusal) {
		refusal = refuse(Malformed, "%v", err)
	}
	m.rejected.add(from, refusal, time.Now())
	if refusal.Reason.blameless() {
		return p2p.Ignore
	}
	return p2p.Reject
}

// deliverNews takes a message that has passed.
func (m *Mesh) deliverNews(from peer.ID, data []byte) {
	n, ok := m.checked.take(data)
	if !ok {
		var err error
		if n, err = m.readNews(data); err != nil {
			m.refuseNews(from, err)
			return
		}
	}
	if n.proof != nil {
		m.takeProof(n.proof, from)
		return
	}
	if o := m.take(n.record, ByNews, from); o.Kind == Conflict {
		m.gossip(proofNews(o.Proof)) // others saw only one of the two
	}
}
