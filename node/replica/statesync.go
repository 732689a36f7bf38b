package replica

import (
	"crypto/sha256"
	"slices"

	"github.com/holdfast-mesh/holdfast/node/dag"
	"github.com/holdfast-mesh/holdfast/node/ledger"
)

// Bounds of taking over a state.
const (
	chunksAsked = 4 // chunks under way at a time, each from another validator
	// patienceMin is how many questions go without progress before we begin anew with
	// another giver. It doubles each time, up to patienceMax: where links are slow
	// a chunk takes longer than many questions.
	patienceMin = 16
	patienceMax = 16 * patienceMin
)

// stateSync is how a replica that is behind its peers' logs takes over a state.
// In this order it gets:
//
//	handovers:      from one validator, for each epoch since the newest that is known here
//	a certificate:  from the same; a quorum of the committee signed this root; checked by its votes
//	a manifest:     from the same validator; only a hint, until the root is right
//	the chunks:     from all validators, each checked against the manifest
//	a window:       the commits before the checkpoint, for the core to start from;
//	                asked for beside the chunks, since it may be pruned meanwhile
//
// Nothing of it counts before everything is there and right; then the replica
// jumps, in one Step. The others go on and prune: when the giver has no more what it
// spoke of, a newer state is taken.
type stateSync struct {
	peer        dag.Author // the giver: of the certificate and the manifest
	asked       bool       // peer is meant
	certificate *Certificate
	votes       []*dag.Block
	manifest    *Manifest
	restorer    *ledger.Restorer
	next        int          // the chunk the restorer needs
	early       [][]byte     // chunks after next that came before it, by distance
	vain        int          // questions since something came
	patience    int          // the most of them
	tried       []dag.Author // who had nothing for us, or nonsense
	lacking     []dag.Author // who does not have a part of this state
	ledger      *ledger.Ledger
	window      batch
	commits     []dag.Commit // of a finished window
}

func (r *Replica) newStateSync() *stateSync {
	return &stateSync{patience: max(patienceMin, r.catching.patience)}
}

var (
	slotHandover   = slot{kind: AskHandover}
	slotCheckpoint = slot{kind: AskCheckpoint}
	slotManifest   = slot{kind: AskManifest}
)

// statePart is the kinds of questions about a state.
var statePart = []Kind{AskHandover, AskCheckpoint, AskManifest, AskChunk, AskCommits}

func slotChunk(n int) slot { return slot{AskChunk, uint64(n)} }

// syncState asks for what is missing next.
func (r *Replica) syncState() {
	s := r.catching.state
	switch {
	case r.now.Before(r.catching.waitFor):
	case s.vain > s.patience:
		r.catching.patience = min(2*s.patience, patienceMax)
		r.distrust()
	case s.certificate == nil:
		r.askGiver(s)
	case len(s.votes) < len(s.certificate.Votes):
		r.askPart(s, slotCheckpoint, s.peer, Request{Kind: AskCheckpoint, Skip: uint64(len(s.votes))})
	default:
		if s.manifest == nil {
			r.askPart(s, slotManifest, s.peer, Request{Kind: AskManifest, From: s.certificate.Index})
		} else if s.ledger == nil {
			r.askChunks(s)
		}
		if s.commits == nil {
			r.askWindow(s)
		}
	}
}

// askPart asks for a part of the state, and counts until something comes.
func (r *Replica) askPart(s *stateSync, part slot, peer dag.Author, q Request) {
	if r.askOnce(part, peer, q) {
		s.vain++
	}
}

// holder is whose turn it is to be asked for a part that all validators should
// have: one that has not said otherwise, at the end the giver.
func (r *Replica) holder(s *stateSync) dag.Author {
	for range r.committee.Size() {
		if peer, ok := r.nextPeer(); ok && !slices.Contains(s.lacking, peer) {
			return peer
		}
	}
	return s.peer
}

// lacks takes note that a validator does not have a part. If it is the giver, then
// the part is pruned or never was.
func (r *Replica) lacks(s *stateSync, peer dag.Author) {
	if peer == s.peer {
		r.distrust()
		return
	}
	s.lacking = append(s.lacking, peer)
}

// askGiver begins with a validator that has not been asked.
func (r *Replica) askGiver(s *stateSync) {
	if r.asking.pending(slotHandover) || r.asking.pending(slotCheckpoint) {
		return
	}
	if s.asked { // no answer came
		s.tried = append(s.tried, s.peer)
		s.asked = false
	}
	for range r.committee.Size() {
		if s.asked {
			break
		}
		peer, ok := r.nextPeer()
		if !ok {
			break
		}
		if !slices.Contains(s.tried, peer) {
			s.peer, s.asked = peer, true
		}
	}
	if !s.asked { // nobody is left: look again whether the logs suffice
		r.catching.state = nil
		r.catching.waitFor = r.now.Add(r.cfg.AskTimeout)
		return
	}
	r.askHandover(s)
}

// askHandover asks how the newest epoch that is known here has handed over.
func (r *Replica) askHandover(s *stateSync) {
	r.askOnce(slotHandover, s.peer, Request{Kind: AskHandover, Epoch: r.verifier.newest().Epoch})
}

// handoverAnswered learns of the next epoch, or goes on in the newest.
func (r *Replica) handoverAnswered(s *stateSync, a *Answer) {
	switch {
	case a.handover == nil:
		r.askOnce(slotCheckpoint, s.peer, Request{Kind: AskCheckpoint})
	case r.learn(a.handover):
		r.askHandover(s)
	default:
		r.distrust()
	}
}

func (r *Replica) askChunks(s *stateSync) {
	for i := s.next; i < min(s.next+chunksAsked, len(s.manifest.Chunks)); i++ {
		if !s.needs(i) || r.asking.pending(slotChunk(i)) {
			continue
		}
		r.askPart(s, slotChunk(i), r.holder(s), Request{Kind: AskChunk, From: s.certificate.Index, Chunk: uint32(i)})
	}
}

func (r *Replica) askWindow(s *stateSync) {
	if r.asking.pending(slotCommits) {
		return
	}
	r.askPart(s, slotCommits, r.holder(s), s.window.next(s.windowAfter()))
}

// windowAfter is the commit after which the window begins.
func (s *stateSync) windowAfter() uint64 {
	return s.certificate.Index - min(s.certificate.Index, dag.CollectDepth+1)
}

// stateAnswered takes an answer that is about a state. A chunk is welcome when its
// question has been put to somebody else meanwhile: over a slow link all come late.
func (r *Replica) stateAnswered(q question, a *Answer, inTime bool) {
	s := r.catching.state
	switch {
	case s == nil:
	case a.Kind == AskChunk:
		r.chunkAnswered(s, a)
		if inTime && s == r.catching.state && s.needs(int(q.request.Chunk)) {
			r.lacks(s, a.From)
		}
	case !inTime:
	case a.Kind == AskHandover:
		r.handoverAnswered(s, a)
	case a.Kind == AskCheckpoint:
		r.checkpointAnswered(s, a)
	case a.Kind == AskManifest:
		r.manifestAnswered(s, a)
	}
}

func (r *Replica) checkpointAnswered(s *stateSync, a *Answer) {
	c := a.Certificate
	switch {
	case c == nil || c.Index <= r.last.Index || c.Index%r.cfg.CheckpointEvery != 0:
		r.distrust()
		return
	case s.certificate == nil:
		s.certificate = c
	case c.Checkpoint != s.certificate.Checkpoint || !slices.Equal(c.Votes, s.certificate.Votes) || len(a.Blocks) == 0:
		r.distrust() // it has a newer one by now, or stopped in the middle
		return
	}
	s.vain = 0
	s.votes = append(s.votes, a.Blocks...)
	if len(s.votes) < len(c.Votes) && len(a.Blocks) > 0 {
		return
	}
	rules, known := r.verifier.of(c.Epoch)
	// Votes are of the certificate's epoch: an author's number means another
	// validator in every epoch, and the faulty ones of several must not add up.
	ofAnother := func(b *dag.Block) bool { return b.Epoch() != c.Epoch }
	if !known || c.Epoch < r.core.Rules().Epoch || slices.ContainsFunc(s.votes, ofAnother) {
		r.distrust()
		return
	}
	certified := dag.Checkpoint{Index: c.Index, Commit: c.Commit, Root: c.Root}
	if err := dag.VerifyCheckpoint(rules.Committee, certified, s.votes); err != nil {
		r.distrust()
	}
}

func (r *Replica) manifestAnswered(s *stateSync, a *Answer) {
	if a.Manifest == nil || s.certificate == nil || a.Manifest.Checkpoint != s.certificate.Checkpoint {
		r.distrust()
		return
	}
	s.manifest = a.Manifest
	s.vain = 0
	s.restorer = ledger.NewRestorer()
	r.feed(s)
}

// needs reports whether a chunk is still to come.
func (s *stateSync) needs(chunk int) bool {
	at := chunk - s.next
	return s.manifest != nil && s.ledger == nil && at >= 0 && (at >= len(s.early) || s.early[at] == nil)
}

func (r *Replica) chunkAnswered(s *stateSync, a *Answer) {
	if s.manifest == nil || s.ledger != nil {
		return
	}
	digest := sha256.Sum256(a.Chunk)
	at := slices.Index(s.manifest.Chunks[s.next:min(s.next+chunksAsked, len(s.manifest.Chunks))], digest)
	if at < 0 {
		return
	}
	for len(s.early) <= at {
		s.early = append(s.early, nil)
	}
	s.early[at] = a.Chunk
	r.feed(s)
}

// feed gives the restorer the chunks that are there, in order, and keeps them.
func (r *Replica) feed(s *stateSync) {
	for len(s.early) > 0 && s.early[0] != nil {
		r.persist(chunkKey(s.certificate.Index, uint32(s.next)), s.early[0])
		if err := s.restorer.Add(s.early[0]); err != nil {
			r.distrust()
			return
		}
		s.early = s.early[1:]
		s.next++
		s.vain = 0
	}
	if s.next < len(s.manifest.Chunks) {
		return
	}
	l, err := s.restorer.Finish()
	rules, _ := r.verifier.of(s.certificate.Epoch)
	if err != nil || l.Root() != s.certificate.Root || !sameCommittee(rules.Committee, l.Committee()) {
		r.distrust() // the last is a state of an epoch's end: see handover
		return
	}
	s.ledger, s.restorer = l, nil
	r.jumpIfComplete(s)
}

// distrust begins anew without the validator whose word we went by.
func (r *Replica) distrust() {
	s := r.catching.state
	fresh := r.newStateSync()
	fresh.tried = append(s.tried, s.peer)
	r.catching.state = fresh
	r.asking.forget(statePart...)
}

// windowAnswered adds to the commits before the checkpoint until they reach it.
func (r *Replica) windowAnswered(s *stateSync, q question, a *Answer) {
	after := s.windowAfter()
	if !s.window.continues(q.request, after) {
		return // somebody else was quicker
	}
	if len(a.Commits) == 0 || !s.window.add(q.request, a, after) || len(a.Blocks) == 0 {
		s.window = batch{}
		r.lacks(s, a.From)
		return
	}
	s.vain = 0
	for _, b := range a.Blocks {
		r.persist(blockKey(b.Epoch(), b.Ref()), b.Bytes())
	}
	whole := s.window.whole()
	if n := len(whole); n == 0 || whole[n-1].Index < s.certificate.Index {
		return
	}
	commits := whole[:len(whole)-int(whole[len(whole)-1].Index-s.certificate.Index)]
	want := s.certificate.Commit
	for i := len(commits) - 1; i >= 0; i-- {
		if commits[i].Digest != want {
			s.window = batch{}
			r.lacks(s, a.From)
			return
		}
		want = commits[i].Previous
	}
	s.commits = commits
	r.jumpIfComplete(s)
}

func (r *Replica) jumpIfComplete(s *stateSync) {
	if s.ledger != nil && s.commits != nil && !r.overtaken(s) {
		r.jump(s)
	}
}

// overtaken reports whether commits have brought us to where the state would: taking it
// over then would undo what was executed, and told.
func (r *Replica) overtaken(s *stateSync) bool {
	return s.certificate != nil && s.certificate.Index <= r.last.Index
}

// dropOvertaken ends a search for a state that is of no use any more.
func (r *Replica) dropOvertaken() {
	if s := r.catching.state; s != nil && r.overtaken(s) {
		r.catching.state = nil
		r.asking.forget(statePart...)
	}
}

// jump makes the state ours, and starts agreement anew after it. Blocks of our
// own that are on disk and may still be ordered are there again, so nothing is
// signed twice.
func (r *Replica) jump(s *stateSync) {
	last := s.commits[len(s.commits)-1]
	collected := collectedAfter(last.Leader.Round)
	tail := slices.Clone(s.commits)
	for len(tail) > 1 && (tail[0].Epoch != last.Epoch || tail[0].Leader.Round <= collected) {
		tail = tail[1:]
	}
	blocks, err := r.storedBlocks(last.Epoch, collected)
	if err != nil {
		r.raise(AlarmDisk)
		return
	}
	for _, b := range s.window.blocks {
		if b.Epoch() == last.Epoch && b.Round() > collected {
			blocks = append(blocks, b)
		}
	}
	for i := range s.commits {
		r.persist(indexKey(prefixCommit, s.commits[i].Index), s.commits[i].Bytes())
	}
	for _, b := range s.votes {
		r.persist(blockKey(b.Epoch(), b.Ref()), b.Bytes())
	}
	r.persist(indexKey(prefixCheckpoint, s.certificate.Index), s.certificate.Bytes())
	r.persist(indexKey(prefixManifest, s.certificate.Index), s.manifest.Bytes())

	r.ledger, r.last, r.clockMs = s.ledger, last, int64(last.TimeMs)
	r.certified = s.certificate.Checkpoint
	r.roots = []Checkpoint{r.certified}
	r.snapshots.stored = append(r.snapshots.stored, Manifest{Checkpoint: r.certified})
	r.snapshots.due = Checkpoint{}
	restored := r.certified
	r.effects.Restored, r.effects.Checkpoint = &restored, &restored
	for _, ops := range r.flights.collect(maxUint64) {
		r.pool.landed(ops)
	}
	r.catching.state, r.catching.patience = nil, 0
	r.ending = nil
	if rules, _ := r.verifier.of(last.Epoch); r.startCore(rules, tail, blocks, collected) != nil {
		r.raise(AlarmDisk)
	}
}
