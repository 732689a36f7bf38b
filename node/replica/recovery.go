package replica

import (
	"github.com/holdfast-mesh/holdfast/node/dag"
)

// recovering is how a validator without a memory finds out from which round on
// it may sign; the proof is in dag. What is decided here is when an answer
// counts: once every block it names is accepted by our core, or collected. A
// liar that names a block which can never be accepted has not answered, so it
// cannot keep us silent for ever by a round from the future.
type recovering struct {
	answers []newestAnswer // by author
}

type newestAnswer struct {
	given   bool
	counted bool
	refs    []dag.Ref
}

func newRecovering(authors int) *recovering {
	return &recovering{answers: make([]newestAnswer, authors)}
}

// recover asks whoever has not answered yet, and ends when enough have.
func (r *Replica) recover() {
	if r.recovering == nil {
		return
	}
	self, validator := r.core.Self()
	if !validator { // not in this epoch's committee: nothing to sign, nothing to find out
		return
	}
	for a := range r.recovering.answers {
		if author := dag.Author(a); author != self && !r.recovering.answers[a].given {
			r.askOnce(slotNewest(author), author, Request{Kind: AskNewest, Epoch: r.core.Rules().Epoch, Author: self})
		}
	}
	r.countAnswers()
}

// newestAnswered takes a validator's word on what we signed.
func (r *Replica) newestAnswered(a *Answer) {
	if r.recovering == nil || int(a.From) >= len(r.recovering.answers) {
		return
	}
	answer := &r.recovering.answers[a.From]
	if answer.counted {
		return
	}
	self, _ := r.core.Self()
	epoch := r.core.Rules().Epoch
	refs := make([]dag.Ref, 0, len(a.Blocks))
	for _, b := range a.Blocks {
		if b.Epoch() != epoch || b.Author() != self && b.Author() != a.From {
			return // not an answer to this question
		}
		refs = append(refs, b.Ref())
	}
	*answer = newestAnswer{given: true, refs: refs}
	r.absorb(r.core.Receive(r.now, a.Blocks...))
}

// countAnswers hands the core the answers whose blocks have turned out real.
func (r *Replica) countAnswers() {
	collected := r.core.Status().Collected
	for i := range r.recovering.answers {
		answer := &r.recovering.answers[i]
		if !answer.given || answer.counted {
			continue
		}
		round, real := uint64(0), true
		for _, ref := range answer.refs {
			round = max(round, ref.Round)
			real = real && (ref.Round <= collected || r.core.Block(ref.Digest) != nil)
		}
		if real {
			answer.counted = true
			r.absorb(r.core.Answer(r.now, dag.Author(i), round))
		}
	}
	if !r.core.Status().Recovering {
		r.recovering = nil
	}
}
