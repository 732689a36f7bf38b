package replica

import (
	"crypto/sha256"
	"testing"
	"time"

	"github.com/holdfast-mesh/holdfast/node/dag"
	"github.com/holdfast-mesh/holdfast/node/ledger"
)

// TestStateFromLiars takes a state over while whoever is asked first for a part
// of it lies about that part.
func TestStateFromLiars(t *testing.T) {
	lies := map[string]func(p *Reply){
		"a certificate without votes": func(p *Reply) { p.Blocks = nil },
		"no certificate":              func(p *Reply) { p.Certificate, p.Blocks = nil, nil },
		"a certificate of another state": func(p *Reply) {
			if c, err := DecodeCertificate(p.Certificate); err == nil {
				c.Root[0]++
				p.Certificate = c.Bytes()
			}
		},
		"a manifest of rubbish": func(p *Reply) {
			if m, err := DecodeManifest(p.Manifest); err == nil {
				m.Chunks[0][0]++
				p.Manifest = m.Bytes()
			}
		},
		"no manifest":              func(p *Reply) { p.Manifest = nil },
		"rubbish chunks":           func(p *Reply) { p.Chunk = append([]byte{1}, p.Chunk...) },
		"no chunks":                func(p *Reply) { p.Chunk = nil },
		"a window of gaps":         func(p *Reply) { p.Commits = nil },
		"a whole state of its own": forgedState(t, false),
		"another state under the right certificate": forgedState(t, true),
		"everything exists": func(p *Reply) {
			p.Head = 1 << 40
		},
	}
	base := newCluster(t, 4)
	base.load(300*time.Millisecond, 20*time.Millisecond)
	base.kill(base.nodes[3])
	base.load(8*time.Second, 50*time.Millisecond)
	for name, lie := range lies {
		t.Run(name, func(t *testing.T) {
			c := base.fork(t)
			n := c.nodes[3]
			lied := map[Kind]bool{}
			c.tamper = func(by *node, p *Reply) {
				if n.restored == 0 && !lied[p.Kind] {
					lie(p)
					lied[p.Kind] = true
				}
			}
			c.runUntil(8*time.Second, "caught up", caughtUp(c, n))
			if n.restored == 0 {
				t.Error("no state was taken over")
			}
			c.load(500*time.Millisecond, 20*time.Millisecond)
		})
	}
}

// forgedState answers with a state that is consistent in itself and that nobody
// has signed.
func forgedState(t *testing.T, rightCertificate bool) func(p *Reply) {
	other := testGenesis(4)
	other.Balances[0].Amount = ledger.Units(1 << 40)
	l, err := ledger.New(other)
	if err != nil {
		t.Fatal(err)
	}
	var chunk []byte
	if err := writeChunks(l, func(c []byte) error { chunk = c; return nil }); err != nil {
		t.Fatal(err)
	}
	return func(p *Reply) {
		switch p.Kind {
		case AskCheckpoint:
			if c, err := DecodeCertificate(p.Certificate); err == nil && !rightCertificate {
				c.Root = l.Root()
				p.Certificate = c.Bytes()
			}
		case AskManifest:
			if m, err := DecodeManifest(p.Manifest); err == nil {
				if !rightCertificate {
					m.Root = l.Root()
				}
				m.Chunks = [][32]byte{sha256.Sum256(chunk)}
				p.Manifest = m.Bytes()
			}
		case AskChunk:
			p.Chunk = chunk
		}
	}
}

// TestCrashWhileTakingOverAState ends the life of a validator at each step of
// its taking over a state: what is on disk then is the old state or the new.
func TestCrashWhileTakingOverAState(t *testing.T) {
	c, n, _ := behind(t, 6*time.Second)
	for range 40 {
		for range 3 {
			c.run(5 * time.Millisecond)
		}
		c.restart(n)
	}
	c.runUntil(5*time.Second, "caught up", caughtUp(c, n))
	if n.restored == 0 {
		t.Error("no state was taken over")
	}
	for i := n.r.Certified().Index; i > 0; i-- {
		if _, ok, _ := n.store.Get(chunkKey(i, 0)); !ok {
			continue
		}
		if _, ok, _ := n.store.Get(indexKey(prefixManifest, i)); !ok && !n.r.pruning.active() {
			t.Errorf("chunks of snapshot %d are left without a manifest", i)
		}
	}
}

// TestBatchAdd holds an answer about commits to the question.
func TestBatchAdd(t *testing.T) {
	c := newCluster(t, 4)
	c.load(time.Second, 20*time.Millisecond)
	n := c.nodes[0]
	good := func() Answer { return ask(t, n, Request{Kind: AskCommits, From: 5}) }
	q := Request{Kind: AskCommits, From: 5}
	a := good()
	var b batch
	if !b.add(q, &a, q.From-1) || len(b.whole()) != len(a.Commits) {
		t.Fatal("a right answer is refused")
	}
	for name, spoil := range map[string]func(*Answer, *Request){
		"another start":     func(_ *Answer, q *Request) { q.From = 4 },
		"a gap":             func(a *Answer, _ *Request) { a.Commits = append(a.Commits[:1:1], a.Commits[2:]...) },
		"a block too many":  func(a *Answer, _ *Request) { a.Blocks = append(a.Blocks, a.Blocks[0]) },
		"a block less":      func(a *Answer, _ *Request) { a.Blocks = a.Blocks[1:] },
		"blocks of another": func(a *Answer, _ *Request) { a.Blocks[0], a.Blocks[1] = a.Blocks[1], a.Blocks[0] },
		"a skip of nothing": func(_ *Answer, q *Request) { q.Skip = 1 },
	} {
		a, q, before := good(), q, q.From-1
		spoil(&a, &q)
		var b batch
		if b.add(q, &a, before) {
			t.Errorf("%s: taken", name)
		}
	}
	// A commit that comes in pieces.
	var pieces batch
	big := -1
	for i := range a.Commits {
		if len(a.Commits[i].Refs) > 2 {
			big = i
			break
		}
	}
	if big < 0 {
		t.Fatal("no commit of more than two blocks")
	}
	index := a.Commits[big].Index
	whole := ask(t, n, Request{Kind: AskCommits, From: index})
	first := Answer{Commits: whole.Commits[:1], Blocks: whole.Blocks[:1]}
	if !pieces.add(Request{From: index}, &first, index-1) || len(pieces.whole()) != 0 || pieces.partial != 1 {
		t.Fatalf("the first piece: %d whole, %d blocks", len(pieces.whole()), pieces.partial)
	}
	rest := ask(t, n, Request{Kind: AskCommits, From: index, Skip: 1})
	if !pieces.add(Request{From: index, Skip: 1}, &rest, index-1) || len(pieces.commits) != len(rest.Commits) {
		t.Fatalf("the rest: %d commits, want %d", len(pieces.commits), len(rest.Commits))
	}
	if len(pieces.blocks) != len(whole.Blocks) {
		t.Errorf("%d blocks, want %d", len(pieces.blocks), len(whole.Blocks))
	}
}

// TestVotesOfAnotherEpochDoNotCount: a certificate's votes must be of its epoch.
func TestVotesOfAnotherEpochDoNotCount(t *testing.T) {
	c := newCluster(t, 4)
	c.load(3*time.Second, 20*time.Millisecond)
	good := ask(t, c.nodes[0], Request{Kind: AskCheckpoint})
	n := c.add(nil) // knows epoch 0, and let it know an epoch 1 of the same members
	n.r.verifier = n.r.verifier.with(n.r.network, 1, n.r.committee)
	taken := func(a Answer) bool {
		n.r.begin(c.now)
		s := n.r.newStateSync()
		s.peer, s.asked = a.From, true
		n.r.catching.state = s
		n.r.checkpointAnswered(s, &a)
		return n.r.catching.state == s && len(s.votes) == len(a.Certificate.Votes)
	}
	if !taken(good) {
		t.Fatal("a good certificate is not taken")
	}
	forged := *good.Certificate
	forged.Epoch = 1
	bad := good
	bad.Certificate = &forged
	if taken(bad) {
		t.Error("votes of epoch 0 certify in epoch 1")
	}
}

// TestAStatePrunedMeanwhileIsLeft: the others have pruned the commits below a
// checkpoint before a validator could fetch them. It takes a newer state as soon as
// the one who spoke of this one says so.
func TestAStatePrunedMeanwhileIsLeft(t *testing.T) {
	c, n, _ := behind(t, 6*time.Second)
	var gone uint64
	var began, left time.Time
	c.tamper = func(_ *node, p *Reply) {
		s := n.r.catching.state
		if s == nil || s.certificate == nil {
			return
		}
		if gone == 0 {
			gone, began = s.certificate.Index, c.now
		}
		switch {
		case left.IsZero() && (len(s.tried) > 0 || s.certificate.Index != gone):
			left = c.now
		case s.certificate.Index == gone && len(s.tried) == 0 && p.Kind == AskCommits:
			p.Commits, p.Blocks = nil, nil
		}
	}
	c.runUntil(5*time.Second, "caught up", caughtUp(c, n))
	if took := left.Sub(began); gone == 0 || left.IsZero() || took > n.cfg.AskTimeout {
		t.Errorf("it left the state of commit %d after %v", gone, took)
	}
}

// TestLateChunks: a chunk that comes after its question was put to somebody else
// counts, or a slow link would carry them all in vain. What comes twice then, or late
// and is none of the state's, says nothing of a validator; a wrong answer does.
func TestLateChunks(t *testing.T) {
	c := newCluster(t, 4)
	c.load(3*time.Second, 20*time.Millisecond)
	certificate := ask(t, c.nodes[0], Request{Kind: AskCheckpoint})
	index := certificate.Certificate.Index
	whole := ask(t, c.nodes[0], Request{Kind: AskChunk, From: index}).Chunk
	half := len(whole) / 2
	n := c.add(nil)
	n.r.begin(c.now)
	s := n.r.newStateSync()
	s.peer, s.asked = certificate.From, true
	n.r.catching.state = s
	n.r.checkpointAnswered(s, &certificate)
	n.r.manifestAnswered(s, &Answer{Kind: AskManifest, From: s.peer, Manifest: &Manifest{
		Checkpoint: s.certificate.Checkpoint, Chunks: [][32]byte{sha256.Sum256(whole[:half]), sha256.Sum256(whole[half:])},
	}})
	answered := func(chunk int, from dag.Author, b []byte, inTime bool) {
		n.r.stateAnswered(question{request: Request{Kind: AskChunk, Chunk: uint32(chunk)}},
			&Answer{Kind: AskChunk, From: from, Chunk: b}, inTime)
	}
	answered(0, s.peer, []byte("none of it"), false)
	answered(0, s.peer, whole[:half], false)
	answered(0, s.peer, whole[:half], true)
	if n.r.catching.state != s || len(s.lacking) > 0 || s.next != 1 {
		t.Fatalf("%d chunks, lacking %v, or the giver is distrusted", s.next, s.lacking)
	}
	answered(1, s.peer+1, nil, true)
	if len(s.lacking) != 1 || s.lacking[0] != s.peer+1 {
		t.Errorf("who does not have a chunk: %v", s.lacking)
	}
	answered(1, s.peer+2, whole[half:], false)
	if n.r.catching.state != s || s.ledger == nil {
		t.Error("the state is not complete")
	}
}

// TestPatienceGrows: a try at a state that ends in vain gives the next more time.
func TestPatienceGrows(t *testing.T) {
	c, n, _ := behind(t, 6*time.Second)
	withheld, tries := 4, map[int]bool{}
	c.tamper = func(_ *node, p *Reply) {
		s := n.r.catching.state
		if s == nil {
			return
		}
		tries[s.patience] = true
		if p.Kind == AskChunk && s.patience < withheld*patienceMin {
			p.ID = 0 // as if it never came
			p.Chunk = []byte("late")
		}
	}
	c.runUntil(time.Minute, "caught up", caughtUp(c, n))
	if !tries[patienceMin] || !tries[2*patienceMin] || !tries[4*patienceMin] || tries[8*patienceMin] {
		t.Errorf("tried with a patience of %v", tries)
	}
	if n.r.catching.patience != 0 {
		t.Error("it stays patient after it got there")
	}
}

// TestAnOvertakenStateIsLeft: rounds that were asked for before brought commits up to the
// state that is being fetched. When its last part comes nothing is taken back.
func TestAnOvertakenStateIsLeft(t *testing.T) {
	c := newCluster(t, 4)
	c.load(2*time.Second, 20*time.Millisecond)
	n := c.nodes[0]
	r := n.r
	s := r.newStateSync()
	s.certificate = &Certificate{Checkpoint: Checkpoint{Index: r.last.Index, Commit: r.last.Digest}}
	s.manifest = &Manifest{Checkpoint: s.certificate.Checkpoint}
	old, err := ledger.New(testGenesis(4))
	if err != nil {
		t.Fatal(err)
	}
	s.ledger, s.commits = old, []dag.Commit{r.last}
	r.catching.state = s
	before, root := r.last.Index, r.ledger.Root()
	r.jumpIfComplete(s)
	if r.last.Index != before || r.ledger.Root() != root || r.effects.Restored != nil {
		t.Error("a state was taken over that commits had brought already")
	}
	c.run(100 * time.Millisecond)
	if r.catching.state != nil {
		t.Error("it goes on looking for a state it does not need")
	}
	c.load(500*time.Millisecond, 20*time.Millisecond)
}

// TestVotesInManyAnswers: the votes of a large committee come one in an answer, which are
// more answers than are waited for in vain. Each is progress; when none comes the giver
// is left.
func TestVotesInManyAnswers(t *testing.T) {
	c := newCluster(t, 4)
	c.load(time.Second, 20*time.Millisecond)
	vote := ask(t, c.nodes[0], Request{Kind: AskRounds, From: 3}).Blocks[0]
	r := c.add(nil).r
	r.begin(c.now)
	r.askAnew(true)
	s := r.newStateSync()
	s.asked = true
	s.certificate = &Certificate{Checkpoint: Checkpoint{Index: 1_000_000}, Votes: make([]dag.Ref, 3*patienceMin)}
	r.catching.state = s
	question := func() (asked bool) {
		r.syncState()
		asked = r.asking.pending(slotCheckpoint)
		r.asking.forget(AskCheckpoint)
		return asked
	}
	for range 2 * patienceMin {
		if !question() {
			t.Fatalf("with %d votes: not asked for more", len(s.votes))
		}
		r.checkpointAnswered(s, &Answer{Kind: AskCheckpoint, Certificate: s.certificate, Blocks: []*dag.Block{vote}})
	}
	if len(s.votes) != 2*patienceMin || r.catching.state != s {
		t.Fatalf("%d votes, and the giver is left", len(s.votes))
	}
	for range patienceMin + 2 {
		question()
	}
	if r.catching.state == s {
		t.Error("a giver that has stopped is not left")
	}
}
