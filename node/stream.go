package node

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/holdfast-mesh/holdfast/node/dag"
	"github.com/holdfast-mesh/holdfast/node/replica"
	"github.com/holdfast-mesh/holdfast/p2p"
)

// streams makes and takes blocks for p2p; see p2p.Blocks. Blocks are verified
// here, on the goroutines of the streams they come on, before the loop has them.
type streams struct {
	n       *Node
	brought brought
}

// streamed is a verified block as streams and gossip carry it.
func (m *members) streamed(b *dag.Block) p2p.Block {
	return p2p.Block{
		Author: m.peers[b.Author()],
		Round:  streamRound(b.Epoch(), b.Round()),
		CID:    b.Ref().Digest.CID(),
		Data:   b.Bytes(),
	}
}

// LastRound tells what the replica has accepted of an author, durably.
func (s *streams) LastRound(author peer.ID) uint64 {
	now := s.n.standing.Load()
	a, ok := now.members.authors[author]
	if !ok {
		return 0
	}
	return streamRound(now.status.Epoch, now.have[a])
}

// Receive verifies a block and hands it to the loop. What a peer could not
// have sent honestly is p2p.ErrInvalid.
func (s *streams) Receive(ctx context.Context, from peer.ID, b p2p.Block) error {
	verified, err := s.verify(b.Data)
	if err != nil || verified == nil {
		return err
	}
	now := s.n.standing.Load()
	if verified.Epoch() == now.status.Epoch {
		claimed := now.members.streamed(verified)
		if b.Author != claimed.Author || b.Round != claimed.Round || !b.CID.Equals(claimed.CID) {
			return fmt.Errorf("%w: a block under another name than its own", p2p.ErrInvalid)
		}
		if b.Author != s.n.host.ID() {
			s.n.host.Offer(from, b)
		}
	}
	return s.hand(ctx, verified)
}

// hand puts a block into the loop's inbox. One that finds no room in time may
// come again.
func (s *streams) hand(ctx context.Context, block *dag.Block) error {
	if s.n.inbox.addBlock(ctx, block) {
		return nil
	}
	s.brought.forget(block.Ref().Digest)
	return ctx.Err()
}

// verify returns a block nobody has brought before, or nil if there is nothing
// to do about it: it is known, or of an epoch that is not known here yet, or comes
// anyway with the commits that a node far behind asks for.
func (s *streams) verify(raw []byte) (*dag.Block, error) {
	now := s.n.standing.Load()
	if replica.Far(now.status) {
		return nil, nil
	}
	digest := dag.Digest(sha256.Sum256(raw))
	if !s.brought.claim(digest, time.Now()) {
		return nil, nil
	}
	block, err := now.verifier.Block(raw)
	switch {
	case errors.Is(err, replica.ErrEpoch):
		s.brought.forget(digest)
		s.n.inbox.add(func(in *replica.Input) { in.Later = true })
		return nil, nil
	case err != nil:
		s.n.meter.blocksRefused.Inc()
		return nil, fmt.Errorf("%w: %w", p2p.ErrInvalid, err)
	}
	return block, nil
}

// Backlog reads from the disk what a peer has missed: our own blocks above
// after, and those of others from the same rounds on that it has not shown. Who has
// missed more than is kept for ordering asks for commits, which bring it the rest.
func (s *streams) Backlog(_ context.Context, _ peer.ID, after uint64, have p2p.Rounds, bytesMax int) ([]p2p.Block, error) {
	now := s.n.standing.Load()
	epoch, round := splitRound(after)
	if epoch < now.status.Epoch {
		epoch, round = now.status.Epoch, 0 // who is an epoch behind asks for commits
	}
	if epoch > now.own.Epoch || !now.own.Validator || round >= now.own.Round {
		return nil, nil
	}
	if epoch == now.own.Epoch {
		round = max(round, now.own.Round-min(now.own.Round, dag.CollectDepth))
	}
	var blocks []p2p.Block
	bytes, own := 0, false
	err := replica.Rounds(disk{s.n.store}, now.own, epoch, max(round, 1), func(ref dag.Ref, raw []byte) bool {
		b := p2p.Block{Author: now.members.peers[ref.Author], Round: streamRound(epoch, ref.Round), CID: ref.Digest.CID(), Data: raw}
		ours := ref.Author == now.own.Author
		if b.Round <= have[b.Author] || ours && ref.Round <= round {
			return true
		}
		blocks = append(blocks, b)
		bytes += len(raw)
		own = own || ours
		return bytes < bytesMax || !own
	})
	return blocks, err
}

// topic is the gossip of blocks: a second way, for observers and around
// broken links.
func (s *streams) topic() p2p.Topic {
	return p2p.Topic{Check: s.checkGossip, Deliver: func(peer.ID, []byte) {}}
}

func (s *streams) checkGossip(ctx context.Context, _ peer.ID, raw []byte) p2p.Verdict {
	block, err := s.verify(raw)
	switch {
	case err != nil:
		return p2p.Reject
	case block == nil:
		return p2p.Ignore
	case s.hand(ctx, block) != nil:
		return p2p.Ignore
	}
	return p2p.Accept
}

// broughtMax bounds the blocks remembered as brought already: more than the
// committee of a hundred makes in the forty rounds that different ways differ by.
const broughtMax = 4096

// broughtFor is how long a block that was brought is not looked at again. Different
// ways differ by less; and a block the core had to drop is welcome later.
const broughtFor = time.Second

// brought remembers which blocks somebody has brought, so that each is verified
// once although it comes on several ways.
type brought struct {
	mu       sync.Mutex
	now, old map[dag.Digest]time.Time
}

// claim reports whether nobody has brought the block lately.
func (s *brought) claim(d dag.Digest, at time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	last, known := s.now[d]
	if !known {
		last, known = s.old[d]
	}
	if known && at.Sub(last) < broughtFor {
		return false
	}
	if s.now == nil || len(s.now) == broughtMax {
		s.now, s.old = make(map[dag.Digest]time.Time, broughtMax), s.now
	}
	s.now[d] = at
	return true
}

func (s *brought) forget(d dag.Digest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.now, d)
	delete(s.old, d)
}
