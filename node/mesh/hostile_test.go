package mesh

import (
	"context"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/holdfast-mesh/holdfast/p2p"
)

// Every kind of bad record is refused at the door, counted and named, and changes
// nothing. Only what no honest peer passes on is blamed on who brought it.
func TestBadNewsAreRefusedAndNamed(t *testing.T) {
	node := startNodes(t, 1, nil)[0]
	now := uint64(time.Now().UnixMilli())
	bad := func(change func(*Claim)) []byte {
		c := testClaim()
		c.IssuedMs = now
		change(&c)
		return append([]byte{newsRecord}, resign(t, 20, c)...)
	}
	good := record(t, 20, func(c *Claim) { c.Seq, c.IssuedMs = 50, now })
	node.take(good, ByNews, good.Owner)
	const hour = 3_600_000
	for i, test := range []struct {
		want    Reason
		verdict p2p.Verdict
		data    []byte
	}{
		{Malformed, p2p.Reject, nil},
		{Malformed, p2p.Reject, []byte{newsRecord, 1, 2, 3}},
		{Malformed, p2p.Reject, []byte{99}},
		{Malformed, p2p.Reject, append([]byte{newsProof}, encode([][]byte{good.raw, good.raw})...)},
		{Oversized, p2p.Reject, bad(func(c *Claim) { c.Body = make([]byte, recordBytesMax) })},
		{Oversized, p2p.Reject, append([]byte{newsProof}, make([]byte, entryBytesMax+1)...)},
		{Foreign, p2p.Reject, bad(func(c *Claim) { c.Network = "other" })},
		{Forged, p2p.Reject, bad(func(c *Claim) { c.Owner = testOwner(t, 21) })},
		{Unsound, p2p.Reject, bad(func(c *Claim) { c.Name = "a.b" })},
		{Empty, p2p.Reject, bad(func(c *Claim) { c.Endpoints = nil })},
		{Expired, p2p.Ignore, bad(func(c *Claim) { c.Seq, c.IssuedMs = 60, now-hour })},
		{Future, p2p.Ignore, bad(func(c *Claim) { c.Seq, c.IssuedMs = 60, now+hour })},
		{Regression, p2p.Ignore, bad(func(c *Claim) { c.Seq = 49 })},
		{Regression, p2p.Ignore, append([]byte{newsRecord}, good.raw...)}, // replayed
	} {
		from := testOwner(t, 30+i)
		if got := node.checkNews(t.Context(), from, test.data); got != test.verdict {
			t.Errorf("%d, %s: verdict %d, want %d", i, test.want, got, test.verdict)
		}
		last, counts := node.Rejected()
		if r := last[len(last)-1]; r.From != from || r.Reason != test.want || r.Detail == "" || counts[test.want] == 0 {
			t.Errorf("%d, %s: named %+v, counted %v", i, test.want, r, counts)
		}
	}
	if in := node.Resolve("pricefeed").Instances; len(in) != 1 || in[0].Record != good {
		t.Errorf("the store has changed: %v", in)
	}
}

// A member that floods is held to its share and takes one line of the list.
func TestFloodIsHeldToItsShare(t *testing.T) {
	node := startNodes(t, 1, func(_ int, s *nodeSetup) { s.mesh.Bounds.BurstOfOwner = 5 })[0]
	flood := testOwner(t, 20)
	for seq := range uint64(200) {
		node.take(record(t, 20, func(c *Claim) {
			c.Stamp, c.IssuedMs = Stamp{1, seq + 1}, uint64(time.Now().UnixMilli())
		}), ByNews, flood)
	}
	last, counts := node.Rejected()
	if counts[Flood] < 100 || len(last) != 1 || last[0].From != flood || last[0].Times != int(counts[Flood]) {
		t.Errorf("counted %v, named %+v", counts, last)
	}
}

// The same over the network: who publishes forged records is banned, and honest
// nodes hear nothing of it.
func TestForgerIsBanned(t *testing.T) {
	nodes := startNodes(t, 1, nil)
	s := setupNode(t, 9)
	s.bare = true
	s.host.Bundle = []p2p.Peer{nodes[0].addr}
	forger := startNode(t, s)
	defer forger.stop()
	err := forger.host.Join(p2p.TopicServices, p2p.Topic{
		Check:   func(context.Context, peer.ID, []byte) p2p.Verdict { return p2p.Accept },
		Deliver: func(peer.ID, []byte) {},
	})
	if err != nil {
		t.Fatal(err)
	}
	c := testClaim()
	c.Owner = testOwner(t, 1)
	seq := uint64(0)
	eventually(t, "the forger is banned", func() bool {
		seq++
		c.Seq, c.IssuedMs = seq, uint64(time.Now().UnixMilli())
		forger.host.Publish(t.Context(), p2p.TopicServices, append([]byte{newsRecord}, resign(t, 9, c)...))
		_, counts := nodes[0].Rejected()
		return counts[Forged] > 0 && len(nodes[0].host.Peers()) == 0
	})
	if nodes[0].Resolve("pricefeed").Found {
		t.Error("a forged record is believed")
	}
}

// An answer that holds forged records is not taken, and who gave it is cut off.
func TestLyingAnswersAreRefused(t *testing.T) {
	node := startNodes(t, 1, nil)[0]
	liar := testOwner(t, 9)
	forged := testClaim()
	forged.Owner = testOwner(t, 1)
	good := record(t, 2, func(c *Claim) { c.Name = "other" })
	for what, r := range map[string]reply{
		"a forged record":      {Records: [][]byte{resign(t, 9, forged)}},
		"a record of another":  {Records: [][]byte{good.raw}},
		"rubbish":              {Records: [][]byte{[]byte("rubbish")}},
		"a proof of nothing":   {Proofs: [][]byte{encode([][]byte{good.raw, good.raw})}},
		"a proof that is none": {Proofs: [][]byte{[]byte("rubbish")}},
	} {
		if taken, err := node.takeReply("pricefeed", r, liar); err == nil || taken != 0 {
			t.Errorf("%s: %d taken, %v", what, taken, err)
		}
	}
	if node.knows("pricefeed") || node.knows("other") {
		t.Error("something of it is held")
	}
}

// Questions come from anybody.
func FuzzQuestion(f *testing.F) {
	f.Add(encodeQuestion(question{Kind: askSums}))
	f.Add(encodeQuestion(question{Kind: askSet, Name: "pricefeed", Have: []haveIn{{Owner: []byte("x"), Epoch: 1}}}))
	f.Add(encodeQuestion(question{Kind: askWitness, Name: "pricefeed", Owner: []byte("x")}))
	f.Add(append([]byte{QuestionTag}, encode(&reply{Seen: 1})...))
	m := &Mesh{store: testStore(), health: newHealth(), probes: make(chan struct{}, 1)}
	crowd(f, m.store, 3, epochStart, nil)
	f.Fuzz(func(t *testing.T, asked []byte) {
		answer, err := m.Answer(t.Context(), "somebody", asked)
		if err != nil {
			return
		}
		var r reply
		if err := decode(answer, &r); err != nil {
			t.Fatalf("an answer we would not read ourselves: %v", err)
		}
	})
}
