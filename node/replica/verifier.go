package replica

import (
	"errors"
	"fmt"

	"github.com/holdfast-mesh/holdfast/node/dag"
	"github.com/holdfast-mesh/holdfast/node/ledger"
)

// Verifier turns bytes from outside into values a replica takes: decoded,
// signatures checked, in batches. It has no part of a replica's state and does not
// change, so many goroutines may use one. A replica gives out a new one when
// the committee changes; see Replica.Verifier.
type Verifier struct {
	rules []*dag.Rules // one per epoch that is known, ascending
	ops   *ledger.Verifier
}

// ErrEpoch says that a block's epoch is not known here, not yet or not any more.
// It is no fault of the sender.
var ErrEpoch = errors.New("replica: the block is of an epoch that is not known here")

// newVerifier begins with no epoch.
func newVerifier(network dag.Digest) *Verifier {
	return &Verifier{ops: ledger.NewVerifier(ledger.Digest(network))}
}

// with returns a verifier that also knows the epoch of rules.
func (v *Verifier) with(network dag.Digest, epoch uint64, committee *dag.Committee) *Verifier {
	next := &Verifier{ops: v.ops}
	next.rules = append(next.rules, v.rules...)
	next.rules = append(next.rules, &dag.Rules{
		Network:      network,
		Epoch:        epoch,
		Committee:    committee,
		Limits:       dag.DefaultLimits(),
		CheckPayload: v.checkPayload,
	})
	return next
}

// Knows reports whether the blocks of an epoch can be verified: for who remembers
// those it has verified, since Block has ErrEpoch for all others.
func (v *Verifier) Knows(epoch uint64) bool {
	_, known := v.of(epoch)
	return known
}

// of returns the rules of an epoch.
func (v *Verifier) of(epoch uint64) (*dag.Rules, bool) {
	for _, r := range v.rules {
		if r.Epoch == epoch {
			return r, true
		}
	}
	return nil, false
}

// upTo returns a verifier that knows no epoch after this one.
func (v *Verifier) upTo(epoch uint64) *Verifier {
	n := len(v.rules)
	for n > 0 && v.rules[n-1].Epoch > epoch {
		n--
	}
	return &Verifier{rules: v.rules[:n:n], ops: v.ops}
}

// newest is the rules of the newest known epoch.
func (v *Verifier) newest() *dag.Rules { return v.rules[len(v.rules)-1] }

// Op decodes and verifies one operation. The op keeps b.
func (v *Verifier) Op(b []byte) (*ledger.Op, error) {
	u, err := ledger.DecodeOp(b)
	if err != nil {
		return nil, err
	}
	return v.ops.Verify(u)
}

// Ops decodes and verifies operations together, several times as fast as one by
// one. ops[i] is nil when bs[i] was refused, for errs[i].
func (v *Verifier) Ops(bs [][]byte) (ops []*ledger.Op, errs []error) {
	ops, errs = make([]*ledger.Op, len(bs)), make([]error, len(bs))
	us := make([]*ledger.Unverified, 0, len(bs))
	at := make([]int, 0, len(bs))
	for i, b := range bs {
		u, err := ledger.DecodeOp(b)
		if err != nil {
			errs[i] = err
			continue
		}
		us, at = append(us, u), append(at, i)
	}
	verified, err := v.ops.VerifyBatch(us)
	for j, i := range at {
		if ops[i] = verified[j]; ops[i] == nil {
			if _, errs[i] = v.ops.Verify(us[j]); errs[i] == nil {
				errs[i] = err // cannot be: single and batched checks agree
			}
		}
	}
	return ops, errs
}

// Block verifies a received block: its form, its signature, its payload's form
// and every operation's signature. The block keeps b. An error that is not
// ErrEpoch means that whoever signed or altered it is faulty.
func (v *Verifier) Block(b []byte) (*dag.Block, error) {
	for i := len(v.rules) - 1; i >= 0; i-- {
		block, err := v.rules[i].Verify(b)
		if !errors.Is(err, dag.ErrOtherEpoch) {
			return block, err
		}
	}
	return nil, ErrEpoch
}

// checkPayload makes the ops of a block from its payload; see dag.Rules.
func (v *Verifier) checkPayload(payload [][]byte) (any, error) {
	us := make([]*ledger.Unverified, len(payload))
	for i, b := range payload {
		u, err := ledger.DecodeOp(b)
		if err != nil {
			return nil, fmt.Errorf("operation %d: %w", i, err)
		}
		us[i] = u
	}
	ops, err := v.ops.VerifyBatch(us)
	if err != nil {
		return nil, err
	}
	return ops, nil
}

// Answer is a Reply somebody has verified: what it claims to be it is, though
// not yet whether it is of use.
type Answer struct {
	From        dag.Author
	ID          uint64
	Kind        Kind
	Head        uint64
	Blocks      []*dag.Block
	Commits     []dag.Commit
	Certificate *Certificate // its votes are checked by the replica
	Manifest    *Manifest
	Chunk       []byte
	handover    *handover // its votes are verified; where it leads is for the replica to see
}

// Answer verifies a reply of the validator from. Blocks from the first one of an
// epoch that is not known yet are left out: they are asked for again later. Those of
// commits that the reply itself certifies are taken as those who signed the commits
// verified them: what a validator has missed costs it a hash for each block, and not
// all the signatures. Any error means that the validator is faulty.
func (v *Verifier) Answer(from dag.Author, p Reply) (Answer, error) {
	return v.AnswerWith(v.Block, from, p)
}

// AnswerWith is Answer with another way to verify a block, such as one that
// remembers those it has seen; it must agree with v.Block.
func (v *Verifier) AnswerWith(block func([]byte) (*dag.Block, error), from dag.Author, p Reply) (Answer, error) {
	a := Answer{From: from, ID: p.ID, Kind: p.Kind, Head: p.Head, Chunk: p.Chunk}
	for i, raw := range p.Commits {
		c, err := dag.DecodeCommit(raw)
		if err != nil {
			return Answer{}, fmt.Errorf("commit %d of an answer: %w", i, err)
		}
		a.Commits = append(a.Commits, c)
	}
	vouched, err := v.vouched(block, a.Commits, p.Blocks)
	if err != nil {
		return Answer{}, fmt.Errorf("a block of an answer: %w", err)
	}
	for i, b := range vouched {
		if b == nil {
			if b, err = block(p.Blocks[i]); errors.Is(err, ErrEpoch) {
				break
			}
			if err != nil {
				return Answer{}, fmt.Errorf("block %d of an answer: %w", i, err)
			}
		}
		a.Blocks = append(a.Blocks, b)
	}
	if len(p.Certificate) > 0 {
		c, err := DecodeCertificate(p.Certificate)
		if err != nil {
			return Answer{}, fmt.Errorf("certificate of an answer: %w", err)
		}
		a.Certificate = &c
	}
	if len(p.Manifest) > 0 {
		m, err := DecodeManifest(p.Manifest)
		if err != nil {
			return Answer{}, fmt.Errorf("manifest of an answer: %w", err)
		}
		a.Manifest = &m
	}
	if len(p.Handover) > 0 {
		h, err := decodeHandover(p.Handover, block)
		if err != nil && !errors.Is(err, ErrEpoch) {
			return Answer{}, err
		}
		if err == nil {
			a.handover = &h
		}
	}
	return a, nil
}

// vouched is the blocks of an answer that its own commits certify, and nil for every
// other; see dag.Rules.Vouched.
func (v *Verifier) vouched(block func([]byte) (*dag.Block, error), commits []dag.Commit, raw [][]byte) ([]*dag.Block, error) {
	if len(commits) > 0 {
		if rules, known := v.of(commits[0].Epoch); known {
			return rules.Vouched(commits, raw, block, trustedOps)
		}
	}
	return make([]*dag.Block, len(raw)), nil
}
