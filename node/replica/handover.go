package replica

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/holdfast-mesh/holdfast/node/dag"
	"github.com/holdfast-mesh/holdfast/node/ledger"
)

// Each epoch hands over to the next. Who knows an epoch's committee, from the genesis or
// from the handover before, learns the next one's from this alone, long after the epoch's
// blocks are pruned everywhere.
//
// The first state of an epoch that names another committee decides: that is the next
// epoch's. The epoch closes when a quorum's blocks ask for it, and those of honest
// validators, which weigh more than F, say the state's root as well. So votes of more
// than F weight are always among the blocks that the end of the epoch commits; and so many
// are enough, since one is an honest validator's. From that state to the end of the epoch
// honest validators vote for no other state, and never for one of an epoch before, which
// names another committee as well. So none can be taken for it, and nobody can take over a
// state in between without having seen the end begin.

// handover is the end of an epoch.
type handover struct {
	Checkpoint              // the first state that names another committee
	proof      []byte       // of the committee, under the state's root
	votes      []*dag.Block // that vote for the state: one of each author, without payload
}

// Bounds of a handover's encoding. A block without payload has at most a parent of each
// validator, and its votes.
const (
	emptyBlockMax    = 1<<10 + dag.CommitteeMax*64 + dag.VotesMax*128
	handoverBytesMax = ReplyRoomMax // the votes of a third of CommitteeMax need half of it
)

func (h *handover) checkpoint() dag.Checkpoint {
	return dag.Checkpoint{Index: h.Index, Commit: h.Commit, Root: h.Root}
}

// bytes is the canonical encoding.
func (h *handover) bytes() []byte {
	b := binary.AppendUvarint(nil, h.Index)
	b = append(b, h.Commit[:]...)
	b = append(b, h.Root[:]...)
	b = appendBytes(b, h.proof)
	raw := make([][]byte, len(h.votes))
	for i, v := range h.votes {
		raw[i] = v.Bytes()
	}
	return appendList(b, raw)
}

// decodeHandover reads canonical bytes; block makes something of each vote.
func decodeHandover(b []byte, block func([]byte) (*dag.Block, error)) (h handover, err error) {
	r := &reader{rest: b}
	h.Index = r.uint(maxUint64)
	h.Commit = r.digest()
	h.Root = r.digest()
	h.proof = r.bytes(ledger.CommitteeProofMax)
	raw := r.list(dag.CommitteeMax, emptyBlockMax)
	if err := r.done(); err != nil {
		return handover{}, err
	}
	for i := range raw {
		v, err := block(raw[i])
		if err != nil {
			return handover{}, fmt.Errorf("vote %d of a handover: %w", i, err)
		}
		h.votes = append(h.votes, v)
	}
	return h, nil
}

// errHandover says that a handover does not lead to the next epoch.
var errHandover = errors.New("replica: the handover does not show the next committee")

// next is the committee that takes over from that of rules, with votes verified under
// them.
func (h *handover) next(rules *dag.Rules) (*dag.Committee, error) {
	for _, v := range h.votes {
		if v.Epoch() != rules.Epoch {
			return nil, fmt.Errorf("%w: a vote is of epoch %d, not %d", errHandover, v.Epoch(), rules.Epoch)
		}
	}
	if err := dag.VerifyState(rules.Committee, h.checkpoint(), h.votes); err != nil {
		return nil, fmt.Errorf("%w: %w", errHandover, err)
	}
	named, head, err := ledger.VerifyCommitteeProof(h.Root, h.proof)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errHandover, err)
	}
	if head.Commit != h.Index || sameCommittee(rules.Committee, named) {
		return nil, fmt.Errorf("%w: the state after commit %d names that of epoch %d", errHandover, head.Commit, rules.Epoch)
	}
	return committeeAfter(rules.Committee, named), nil
}

// committeeAfter is the committee that a state names, or the one before if that can be
// none: everybody comes to the same conclusion.
func committeeAfter(before *dag.Committee, named ledger.Committee) *dag.Committee {
	if next, err := dag.NewCommittee(membersOf(named)); err == nil {
		return next
	}
	return before
}

// endBegins looks whether the state after a commit that was just executed is the first of
// the epoch to name another committee, and keeps what the handover will need of it.
func (r *Replica) endBegins(done *Commit) {
	if r.ending != nil || sameCommittee(r.committee, r.ledger.Committee()) {
		return
	}
	done.Root, done.HasRoot = r.ledger.Root(), true
	r.ending = &handover{
		Checkpoint: Checkpoint{Index: done.Index, Commit: done.Digest, Root: done.Root},
		proof:      r.ledger.AppendCommitteeProof(nil),
	}
	r.rememberRoot(r.ending.Checkpoint)
	if !r.verifier.Knows(done.Epoch + 1) { // else somebody has given us the whole
		r.persist(indexKey(prefixHandover, done.Epoch), r.ending.bytes())
	}
}

// collect keeps of a committed block its vote for the state that ends the epoch.
func (h *handover) collect(b *dag.Block) {
	want := dag.Vote{Index: h.Index, Commit: h.Commit, Checkpoint: true, Root: h.Root}
	if len(b.Payload()) > 0 || len(b.Bytes()) > emptyBlockMax {
		return // of somebody faulty
	}
	for _, v := range h.votes {
		if v.Author() == b.Author() {
			return
		}
	}
	for _, v := range b.Votes() {
		if v == want {
			h.votes = append(h.votes, b)
			return
		}
	}
}

// trim keeps no more votes than are needed: the heaviest, since these are the fewest.
func (h *handover) trim(c *dag.Committee) {
	slices.SortStableFunc(h.votes, func(a, b *dag.Block) int { return cmp.Compare(c.Weight(b.Author()), c.Weight(a.Author())) })
	weight := uint64(0)
	for i, v := range h.votes {
		if weight += c.Weight(v.Author()); weight >= c.Validity() {
			h.votes = h.votes[:i+1]
			return
		}
	}
}

// handOver completes the handover of the epoch whose last commit was just executed, and
// returns the next committee.
func (r *Replica) handOver() *dag.Committee {
	if r.ending == nil { // a quorum asks for the end of an epoch that no state ends
		r.raise(AlarmFork)
		return r.committee
	}
	rules, _ := r.verifier.of(r.core.Rules().Epoch)
	named, _, err := ledger.VerifyCommitteeProof(r.ending.Root, r.ending.proof)
	if err != nil {
		panic("replica: invariant broken: an epoch ends without another committee: " + err.Error())
	}
	r.ending.trim(rules.Committee)
	r.persist(indexKey(prefixHandover, rules.Epoch), r.ending.bytes())
	r.ending = nil
	return committeeAfter(rules.Committee, named)
}

// openEnd finds the end of the epoch that was under way when the disk was written, with
// the votes that commits since have brought.
func (r *Replica) openEnd(epoch uint64) error {
	r.ending = nil
	raw, err := get(r.store, indexKey(prefixHandover, epoch))
	if raw == nil {
		return err
	}
	h, err := decodeHandover(raw, storedVote)
	if err != nil {
		return fmt.Errorf("%w: the handover of epoch %d: %w", ErrDamaged, epoch, err)
	}
	if h.Index > r.last.Index {
		return nil // somebody has given it to us: we have not come there yet
	}
	h.votes = nil
	for index := h.Index + 1; index <= r.last.Index; index++ {
		c, known, err := CommitAt(r.store, index)
		if err != nil || !known {
			return fmt.Errorf("%w: commit %d, of the end of epoch %d, is missing: %w", ErrDamaged, index, epoch, err)
		}
		for _, ref := range c.Refs {
			raw, err := getBlock(r.store, epoch, ref)
			if err != nil {
				return err
			}
			if b, err := storedVote(raw); err == nil {
				h.collect(b)
			}
		}
	}
	r.ending = &h
	r.roots = slices.DeleteFunc(r.roots, func(c Checkpoint) bool { return c.Index >= h.Index })
	r.rememberRoot(h.Checkpoint)
	return nil
}

// storedVote is a block that was verified before it was stored, without its operations.
func storedVote(raw []byte) (*dag.Block, error) { return dag.TrustedBlock(raw, nil) }

// learn takes the next epoch's committee from a handover, and keeps both: the core goes
// there when it takes over a state. ok is false if this is not the handover of the newest
// epoch that is known, or leads nowhere.
func (r *Replica) learn(h *handover) (ok bool) {
	rules := r.verifier.newest()
	next, err := h.next(rules)
	if err != nil {
		return false
	}
	r.persist(indexKey(prefixHandover, rules.Epoch), h.bytes())
	r.knowEpoch(rules.Epoch+1, next)
	return true
}

// knowEpoch makes the blocks of an epoch verifiable.
func (r *Replica) knowEpoch(epoch uint64, committee *dag.Committee) {
	r.persist(indexKey(prefixEpoch, epoch), encodeCommittee(committee))
	r.verifier = r.verifier.upTo(epoch-1).with(r.network, epoch, committee)
	r.effects.Verifier = r.verifier
}
