package replica

import (
	"slices"
	"time"

	"github.com/holdfast-mesh/holdfast/node/dag"
)

// asking is the questions to other validators that wait for an answer, and
// whom to ask next. There is at most one per slot, so their number is bounded by
// the committee and the chunks under way.
type asking struct {
	lastID  uint64
	timeout time.Duration   // Config.AskTimeout
	wait    time.Duration   // how long an answer is waited for: timeout, or more where answers are late
	open    []question      // by rising ID
	late    []question      // whose wait is over, by rising ID: an answer may still come
	fetches []fetchQuestion // by rising ID
	down    []bool          // per author: no way to it
	turn    int             // whose turn it is to be asked
	// giver is whose answer is being taken; nil otherwise.
	giver *dag.Author
}

// question is a request that may be answered.
type question struct {
	slot            slot
	request         Request
	asked, deadline time.Time
}

// Bounds of waiting. Where a link is slow, or a disk is busy with a snapshot, every
// answer would come too late, and each would be asked for again, for ever.
const (
	waitFactorMax = 4  // the wait is at most so many times Config.AskTimeout
	lateMax       = 64 // questions whose wait is over that are remembered; the oldest are forgotten
)

// slot names what a question is for; there is one open question per slot.
type slot struct {
	kind Kind
	n    uint64
}

func slotNewest(a dag.Author) slot { return slot{AskNewest, uint64(a)} }

// askAnew forgets all questions, also those of the step under way: they were of an
// agreement that is over, and their authors may be others' numbers by now. Under another
// committee the links are others as well.
func (r *Replica) askAnew(sameLinks bool) {
	k := &r.asking
	k.open, k.late, k.fetches, k.giver = nil, nil, nil, nil
	r.effects.Ask = nil
	if size := r.committee.Size(); !sameLinks || len(k.down) != size {
		k.down = make([]bool, size)
		k.turn = 0
	}
}

func (k *asking) connected(l Link) {
	if int(l.Peer) < len(k.down) {
		k.down[l.Peer] = !l.Up
	}
}

// wakeAt is when the first question has waited for too long.
func (k *asking) wakeAt() (at time.Time) {
	for _, q := range k.open {
		if at.IsZero() || q.deadline.Before(at) {
			at = q.deadline
		}
	}
	return at
}

// expire takes the questions that have waited for too long out of the open ones, and
// returns their slots.
func (k *asking) expire(now time.Time) (slots []slot) {
	k.open = slices.DeleteFunc(k.open, func(q question) bool {
		over := !now.Before(q.deadline)
		if over {
			slots = append(slots, q.slot)
			k.late = append(k.late, q)
		}
		return over
	})
	k.late = k.late[max(0, len(k.late)-lateMax):]
	return slots
}

// forget closes the questions of some kinds: their answers are of no use any more.
func (k *asking) forget(kinds ...Kind) {
	of := func(q question) bool { return slices.Contains(kinds, q.slot.kind) }
	k.open = slices.DeleteFunc(k.open, of)
	k.late = slices.DeleteFunc(k.late, of)
}

// pending reports whether a slot's question is open.
func (k *asking) pending(s slot) bool {
	return slices.ContainsFunc(k.open, func(q question) bool { return q.slot == s })
}

// close takes the question an answer is to out of those that may be answered. asked is
// false when there is none; inTime tells whether it was still waited for. The next
// questions wait longer after a late answer, and less long after a quick one.
func (k *asking) close(now time.Time, a *Answer) (q question, asked, inTime bool) {
	for _, of := range []*[]question{&k.open, &k.late} {
		i := slices.IndexFunc(*of, func(q question) bool {
			return q.request.ID == a.ID && q.request.Kind == a.Kind && q.request.To == a.From
		})
		if i < 0 {
			continue
		}
		q, asked, inTime = (*of)[i], true, of == &k.open
		*of = slices.Delete(*of, i, i+1)
		if !inTime {
			k.wait = min(2*k.wait, waitFactorMax*k.timeout)
		} else if now.Sub(q.asked) < k.wait/waitFactorMax {
			k.wait = max(k.wait/2, k.timeout)
		}
		break
	}
	return q, asked, inTime
}

// askOnce asks unless the slot's last question is still open.
func (r *Replica) askOnce(s slot, to dag.Author, q Request) bool {
	if r.asking.pending(s) {
		return false
	}
	q = r.ask(to, q)
	r.asking.open = append(r.asking.open, question{s, q, r.now, r.now.Add(q.Within)})
	return true
}

// ask sends a request and does not wait for its answer.
func (r *Replica) ask(to dag.Author, q Request) Request {
	r.asking.lastID++
	q.ID, q.To, q.Within = r.asking.lastID, to, r.asking.wait
	r.effects.Ask = append(r.effects.Ask, q)
	return q
}

// nextPeer is whom to ask next: each in turn, those we are connected to before
// the others. ok is false when there is nobody else.
func (r *Replica) nextPeer() (peer dag.Author, ok bool) {
	self, validator := r.core.Self()
	size := r.committee.Size()
	fallback := -1
	for i := range size {
		a := (r.asking.turn + i) % size
		if validator && dag.Author(a) == self {
			continue
		}
		if !r.asking.down[a] {
			r.asking.turn = a + 1
			return dag.Author(a), true
		}
		if fallback < 0 {
			fallback = a
		}
	}
	if fallback < 0 {
		return 0, false
	}
	r.asking.turn = fallback + 1
	return dag.Author(fallback), true
}

// fetch asks for the ancestors the core misses. The core repeats them until
// they come, and says each time whom to ask. What turns out to be missing below a
// block that somebody just gave us from its disk is asked of the same: it has
// accepted that block, so it has what is below. The author may be one that
// withholds, and a chain of its blocks would cost a timeout for every link. Far behind,
// the commits that are asked for bring them all.
func (r *Replica) fetch(missing []dag.Missing) {
	if len(missing) == 0 || r.far() {
		return
	}
	if giver := r.asking.giver; giver != nil {
		missing = slices.Clone(missing)
		for i := range missing {
			if missing[i].Attempt == 0 {
				missing[i].From = *giver
			}
		}
	}
	for len(missing) > 0 {
		from := missing[0].From
		var refs []dag.Ref
		var rest []dag.Missing
		for _, m := range missing {
			if m.From == from && len(refs) < askRefsMax {
				refs = append(refs, m.Ref)
			} else {
				rest = append(rest, m)
			}
		}
		r.askBlocks(from, refs, 0)
		missing = rest
	}
}

// Bounds of asking for ancestors.
const (
	fetchesMax    = 128 // questions that are remembered; the oldest are forgotten
	fetchTriesMax = 3   // validators asked at once, one after the other, before the core's next turn
)

// fetchQuestion is a question for blocks. Unlike others it is not asked
// again when no answer comes, for the core does that; but when somebody says it has
// them not, the next is asked at once.
type fetchQuestion struct {
	id    uint64
	to    dag.Author
	refs  []dag.Ref
	tries int
}

func (r *Replica) askBlocks(from dag.Author, refs []dag.Ref, tries int) {
	q := r.ask(from, Request{Kind: AskBlocks, Epoch: r.core.Rules().Epoch, Refs: refs})
	if len(r.asking.fetches) == fetchesMax {
		r.asking.fetches = slices.Delete(r.asking.fetches, 0, 1)
	}
	r.asking.fetches = append(r.asking.fetches, fetchQuestion{q.ID, from, refs, tries})
}

// blocksAnswered asks another validator for what this one does not have.
func (r *Replica) blocksAnswered(a *Answer) {
	i := slices.IndexFunc(r.asking.fetches, func(f fetchQuestion) bool { return f.id == a.ID && f.to == a.From })
	if i < 0 {
		return
	}
	f := r.asking.fetches[i]
	r.asking.fetches = slices.Delete(r.asking.fetches, i, i+1)
	collected := r.core.Status().Collected
	lacking := slices.DeleteFunc(slices.Clone(f.refs), func(ref dag.Ref) bool {
		return ref.Round <= collected || r.core.Block(ref.Digest) != nil ||
			slices.ContainsFunc(a.Blocks, func(b *dag.Block) bool { return b.Ref() == ref })
	})
	if len(lacking) == 0 || f.tries+1 >= fetchTriesMax {
		return
	}
	for range 2 { // not the same one again, if there is another
		if peer, ok := r.nextPeer(); ok && peer != a.From {
			r.askBlocks(peer, lacking, f.tries+1)
			return
		}
	}
}

// receiveFrom takes blocks that a validator has on its disk.
func (r *Replica) receiveFrom(giver dag.Author, blocks []*dag.Block) {
	r.asking.giver = &giver
	r.absorb(r.core.Receive(r.now, blocks...))
	r.asking.giver = nil
}

// answer takes a verified answer to one of our questions. Blocks are welcome
// whoever asked for them.
func (r *Replica) answer(a *Answer) {
	switch a.Kind {
	case AskBlocks, AskRounds:
		q, _, inTime := r.asking.close(r.now, a)
		r.receiveFrom(a.From, a.Blocks)
		if inTime && a.Kind == AskRounds && q.request.Epoch == r.core.Rules().Epoch {
			r.roundsAnswered(q, a)
		}
		if a.Kind == AskBlocks {
			r.blocksAnswered(a)
		}
		return
	}
	q, asked, inTime := r.asking.close(r.now, a)
	switch a.Kind {
	case AskHandover, AskCheckpoint, AskManifest, AskChunk:
		r.stateAnswered(q, a, inTime)
	case AskCommits:
		if asked {
			r.commitsAnswered(q, a)
		}
	case AskNewest:
		if asked {
			r.newestAnswered(a)
		}
	}
}
