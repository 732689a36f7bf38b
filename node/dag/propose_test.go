package dag

import (
	"bytes"
	"slices"
	"testing"
	"time"
)

// validatorCore is author 0 of four, and a maker for the blocks of the others.
func validatorCore(t testing.TB, change func(*Config)) (*Core, byHand, Effects) {
	rules := testRules(keyedCommittee(t, equal(4)...))
	cfg := DefaultConfig(rules)
	cfg.Key = testKey(0)
	cfg.GenesisMs = nowMs(testStart)
	if change != nil {
		change(&cfg)
	}
	core, e, err := Open(cfg, testStart, Stored{})
	if err != nil {
		t.Fatal(err)
	}
	return core, byHand{rules}, e
}

func ones(m byHand, authors ...Author) (out []*Block) {
	for _, a := range authors {
		out = append(out, m.block(1, a, nowMs(testStart)))
	}
	return out
}

func TestProposeOnceARound(t *testing.T) {
	core, _, _ := validatorCore(t, nil)
	e := core.Propose(testStart, [][]byte{op("a")})
	if len(e.Send) != 1 || len(e.Persist) != 1 || e.Send[0] != e.Persist[0] || e.Taken != 1 {
		t.Fatalf("sends %v, persists %v, takes %d", e.Send, e.Persist, e.Taken)
	}
	b := e.Send[0]
	if _, err := core.Rules().Verify(bytes.Clone(b.Bytes())); err != nil {
		t.Errorf("our own block is not valid: %v", err)
	}
	if b.Round() != 1 || len(b.Parents()) != 4 || b.TimeMs() != nowMs(testStart) {
		t.Errorf("block %v at %d with %d parents", b.Ref(), b.TimeMs(), len(b.Parents()))
	}
	if e := core.Propose(testStart.Add(10*time.Second), [][]byte{op("b")}); len(e.Persist) != 0 || e.Taken != 0 {
		t.Error("it filled the round twice")
	}
}

func TestProposeWaitsForTheLeader(t *testing.T) {
	core, m, _ := validatorCore(t, func(c *Config) { c.MinRound = time.Millisecond })
	core.Propose(testStart, nil)
	leader := LeaderOf(m.rules.Committee, m.rules.Network, 0, 1) // of round 1: the test needs it to be another
	if leader == 0 {
		t.Fatal("author 0 leads round 1; choose another test network")
	}
	others := slices.DeleteFunc([]Author{1, 2, 3}, func(a Author) bool { return a == leader })
	now := testStart.Add(50 * time.Millisecond)
	core.Receive(now, ones(m, others...)...)
	if got, want := core.ProposalAt(true), now.Add(leaderTimeoutDefault); !got.Equal(want) {
		t.Errorf("without the leader a proposal is due at %v, want the timeout at %v", got, want)
	}
	if core.ProposalDue(now.Add(leaderTimeoutDefault-1), true) || !core.ProposalDue(now.Add(leaderTimeoutDefault), true) {
		t.Error("the timeout does not decide")
	}
	core.Connected(now, leader, false)
	if !core.ProposalDue(now, true) {
		t.Error("waits for a leader that is not connected")
	}
	core.Connected(now, leader, true)
	core.Receive(now, ones(m, leader)...)
	if !core.ProposalDue(now, true) {
		t.Error("waits although the leader is here")
	}
}

// A leader that was too slow for its round, and has filled the next, is not waited for.
func TestProposePassesOverALeaderThatWentOn(t *testing.T) {
	core, m, _ := validatorCore(t, func(c *Config) { c.MinRound = time.Millisecond })
	own := core.Propose(testStart, nil).Persist
	leader := LeaderOf(m.rules.Committee, m.rules.Network, 0, 1)
	others := slices.DeleteFunc([]Author{1, 2, 3}, func(a Author) bool { return a == leader })
	now := testStart.Add(50 * time.Millisecond)
	first := append(own, ones(m, others...)...)
	core.Receive(now, first[1:]...)
	if core.ProposalDue(now, true) {
		t.Fatal("does not wait for the leader")
	}
	core.Receive(now, m.block(2, leader, nowMs(now), append([]*Block{}, first...)...))
	if !core.ProposalDue(now, true) {
		t.Error("waits for a block that is never made")
	}
}

// A leader that is connected and far behind, as after a cut, is not waited for; one
// that has caught up is.
func TestProposeDoesNotWaitForALeaderFarBehind(t *testing.T) {
	for _, behind := range []uint64{1, behindRounds, behindRounds + 1} {
		core, m, _ := validatorCore(t, func(c *Config) { c.MinRound = time.Millisecond })
		now, round := testStart, uint64(0)
		var last []*Block
		led := func(r uint64) Author { return LeaderOf(m.rules.Committee, m.rules.Network, 0, r) }
		slot := uint64(behindRounds + 2)
		for led(slot) == 0 {
			slot++
		}
		away := led(slot)
		for round < slot {
			round++
			now = now.Add(time.Second)
			own := core.Propose(now, [][]byte{op("a")}).Persist
			if len(own) != 1 {
				t.Fatalf("round %d: no block of our own", round)
			}
			next := own
			for _, a := range []Author{1, 2, 3} {
				if a != away || round+behind <= slot {
					next = append(next, m.block(round, a, nowMs(now), last...))
				}
			}
			core.Receive(now, next[1:]...)
			last = next
		}
		if got, want := core.ProposalDue(now.Add(time.Millisecond), true), behind > behindRounds; got != want {
			t.Errorf("%d rounds behind: a proposal is due %v, want %v", behind, got, want)
		}
	}
}

func TestProposePace(t *testing.T) {
	core, m, _ := validatorCore(t, nil)
	if !core.ProposalDue(testStart, false) {
		t.Error("the first block is not due at once")
	}
	core.Propose(testStart, nil)
	core.Receive(testStart, ones(m, 1, 2, 3)...)
	if got := core.ProposalAt(true); !got.Equal(testStart.Add(minRoundDefault)) {
		t.Errorf("with payload due at %v", got)
	}
	if got := core.ProposalAt(false); !got.Equal(testStart.Add(idleRoundDefault)) {
		t.Errorf("idle due at %v", got)
	}
	// Somebody else went on: so do we, without payload.
	two := m.block(2, 1, nowMs(testStart), ones(m, 1, 2, 3)...)
	core.Receive(testStart, two)
	if got := core.ProposalAt(false); !got.Equal(testStart.Add(minRoundDefault)) {
		t.Errorf("when another is in a newer round due at %v", got)
	}
	// Uncommitted payload in the DAG keeps the rounds going.
	core, m, _ = validatorCore(t, nil)
	core.Propose(testStart, [][]byte{op("a")})
	core.Receive(testStart, ones(m, 1, 2, 3)...)
	if got := core.ProposalAt(false); !got.Equal(testStart.Add(minRoundDefault)) {
		t.Errorf("with uncommitted payload due at %v", got)
	}
}

func TestProposeTakesWhatFits(t *testing.T) {
	core, _, _ := validatorCore(t, func(c *Config) { c.Rules.Limits = Limits{OpBytesMax: 10, PayloadBytesMax: 25} })
	ops := [][]byte{make([]byte, 10), make([]byte, 10), make([]byte, 6), make([]byte, 1)}
	e := core.Propose(testStart, ops)
	if e.Taken != 2 || len(e.Send[0].Payload()) != 2 {
		t.Errorf("takes %d, want the two that fit", e.Taken)
	}
	core, _, _ = validatorCore(t, nil)
	if e := core.Propose(testStart, slices.Repeat([][]byte{{1}}, payloadOpsMax+1)); e.Taken != payloadOpsMax {
		t.Errorf("takes %d operations, want %d", e.Taken, payloadOpsMax)
	}
	defer func() {
		if recover() == nil {
			t.Error("an operation beyond the limits went through")
		}
	}()
	core, _, _ = validatorCore(t, nil)
	core.Propose(testStart, [][]byte{make([]byte, OpBytesMax+1)})
}

// Parents: our own previous first, then per author the newest not yet in our
// history; of two versions one, and never the other later.
func TestProposeParents(t *testing.T) {
	core, m, _ := validatorCore(t, nil)
	own := core.Propose(testStart, nil).Send[0]
	late := m.block(1, 3, nowMs(testStart))
	first := ones(m, 1, 2)
	other := m.block(1, 1, nowMs(testStart)-1) // another version of 1's slot
	core.Receive(testStart, append(first, other)...)
	now := testStart.Add(2 * time.Second)
	two := core.Propose(now, nil).Send[0]
	if two.Parents()[0] != own.Ref() || len(two.Parents()) != 3 {
		t.Fatalf("parents %v", two.Parents())
	}
	chosen := two.Parents()[1]
	if chosen != first[0].Ref() && chosen != other.Ref() {
		t.Fatalf("parents %v", two.Parents())
	}
	// Round 2 fills; the late block of round 1 is pointed to now, neither version of
	// 1's old slot is, since 1 has a newer block.
	twos := []*Block{m.block(2, 1, nowMs(now), first[0], own, first[1]), m.block(2, 2, nowMs(now), first[1], own, first[0])}
	core.Receive(now, late)
	core.Receive(now, twos...)
	three := core.Propose(now.Add(2*time.Second), nil).Send[0]
	want := []Ref{two.Ref(), twos[0].Ref(), twos[1].Ref(), late.Ref()}
	if !slices.Equal(three.Parents(), want) {
		t.Errorf("parents %v, want %v", three.Parents(), want)
	}
}

// After a restart the newest block is sent again and the round not filled anew.
func TestRestartSendsAgain(t *testing.T) {
	core, m, _ := validatorCore(t, nil)
	b := core.Propose(testStart, [][]byte{op("a")}).Send[0]
	cfg := core.cfg
	again, e, err := Open(cfg, testStart.Add(time.Hour), Stored{Blocks: []*Block{b}})
	if err != nil || len(e.Send) != 1 || e.Send[0] != b || len(e.Persist) != 0 {
		t.Fatalf("sends %v, persists %v, %v", e.Send, e.Persist, err)
	}
	if again.ProposalDue(testStart.Add(2*time.Hour), true) {
		t.Error("would fill the round again")
	}
	// While nobody fills the round, it is sent again each second.
	now := testStart.Add(time.Hour)
	if e := again.Tick(now.Add(sendAgainAfter - 1)); len(e.Send) != 0 {
		t.Error("sent again too early")
	}
	if e := again.Tick(now.Add(sendAgainAfter)); len(e.Send) != 1 || e.Send[0] != b {
		t.Error("not sent again")
	}
	again.Receive(now, ones(m, 1, 2, 3)...)
	if e := again.Tick(now.Add(10 * sendAgainAfter)); len(e.Send) != 0 {
		t.Error("sent again although the round is filled")
	}
}

// A block of ours that we did not make: no more proposals.
func TestTwinStopsProposals(t *testing.T) {
	core, m, _ := validatorCore(t, nil)
	stranger := m.block(1, 0, nowMs(testStart)-5)
	e := core.Receive(testStart, stranger)
	if len(e.Faults) != 1 || e.Faults[0].(*TwinError).Block != stranger {
		t.Fatalf("faults %v", e.Faults)
	}
	core.Receive(testStart, ones(m, 1, 2, 3)...)
	if core.ProposalDue(testStart.Add(time.Hour), true) || !core.Status().Twin {
		t.Error("goes on proposing beside a twin")
	}
	// Our own block coming back is none.
	core, _, _ = validatorCore(t, nil)
	own := core.Propose(testStart, nil).Send[0]
	if e := core.Receive(testStart, own); len(e.Faults) != 0 {
		t.Errorf("our own block: %v", e.Faults)
	}
	// A second version of it is.
	if e := core.Receive(testStart, stranger); len(e.Faults) != 1 || len(e.Evidence) != 1 {
		t.Errorf("a version of our slot: faults %v, evidence %v", e.Faults, e.Evidence)
	}
}

// After a restart, a block of ours from before what the store holds is of a life
// that lost its store; one from after it has a twin.
func TestTwinAfterRestart(t *testing.T) {
	core, m, _ := validatorCore(t, nil)
	first := ones(m, 1, 2, 3)
	two := m.block(2, 0, nowMs(testStart), first...)
	again, _, err := Open(core.cfg, testStart, Stored{Blocks: append(first, two)})
	if err != nil {
		t.Fatal(err)
	}
	if e := again.Receive(testStart, m.block(1, 0, nowMs(testStart))); len(e.Faults) != 0 || len(e.Persist) != 1 {
		t.Errorf("an old life's block: faults %v", e.Faults)
	}
	if e := again.Receive(testStart, m.block(3, 0, nowMs(testStart), two)); len(e.Faults) != 1 {
		t.Errorf("a block after our newest that we did not make: faults %v", e.Faults)
	}
}

// When none of our blocks gets out we stop making them, and go on as soon as one
// is known to have arrived.
func TestStallStopsProposals(t *testing.T) {
	core, m, _ := validatorCore(t, nil)
	now := testStart
	prev := map[Author]*Block{}
	made, mute := 0, true
	for round := uint64(1); round <= 2*CollectDepth; round++ {
		now = now.Add(2 * time.Second)
		if core.ProposalDue(now, false) {
			made++
			core.Propose(now, nil)
		}
		var blocks []*Block
		for a := Author(1); a < 4; a++ {
			var parents []*Block
			for b := range Author(4) {
				if p := prev[(a+b)%4]; p != nil {
					parents = append(parents, p)
				}
			}
			blocks = append(blocks, m.block(round, a, nowMs(now), parents...))
		}
		core.Receive(now, blocks...)
		for i, b := range blocks {
			prev[Author(i+1)] = b
		}
		if round == CollectDepth-5 {
			if made != inFlightMax+1 || !core.Status().Stalled {
				t.Fatalf("%d blocks made unheard, want %d and then a stall", made, inFlightMax+1)
			}
			core.PeerHas(now, 1, 20)
			if !core.Status().Stalled {
				t.Error("one peer, which may lie, ended the stall")
			}
			core.PeerHas(now, 2, 20)
			if core.Status().Stalled {
				t.Error("still stalled although two peers have our blocks")
			}
			mute = false
		}
	}
	if mute || made <= inFlightMax+1 {
		t.Errorf("%d blocks made in all", made)
	}
	// An acknowledgement in a block counts like a report.
	core, m, _ = validatorCore(t, nil)
	own := core.Propose(testStart, nil).Send[0]
	first := ones(m, 1, 2, 3)
	core.Receive(testStart, first...)
	core.Receive(testStart, m.block(2, 1, nowMs(testStart), first[0], own, first[1]))
	if core.peers[1].hasOurs != 1 || core.peers[2].hasOurs != 0 {
		t.Errorf("peers are known to have %d and %d", core.peers[1].hasOurs, core.peers[2].hasOurs)
	}
}

func TestConfigValidate(t *testing.T) {
	good := DefaultConfig(testRules(keyedCommittee(t, equal(4)...)))
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	bad := Config{Key: []byte{1}, LeaderTimeout: -1, MinRound: time.Hour, IdleRound: time.Second, GenesisMs: timeMsMax + 1}
	err := bad.Validate()
	for _, want := range []string{"no committee", "can hold nothing", "a key of 1 bytes", "leader timeout of -1ns",
		"shortest round of 1h", "an idle round of 1s is shorter", "beyond any clock"} {
		if err == nil || !bytes.Contains([]byte(err.Error()), []byte(want)) {
			t.Errorf("%q is not among the faults:\n%v", want, err)
		}
	}
	for name, change := range map[string]func(*Limits){
		"no operation":   func(l *Limits) { l.OpBytesMax = 0 },
		"small payload":  func(l *Limits) { l.PayloadBytesMax = l.OpBytesMax - 1 },
		"beyond a block": func(l *Limits) { l.PayloadBytesMax = 4*PayloadBytesMax + 1 },
	} {
		c := good
		change(&c.Rules.Limits)
		if c.Validate() == nil {
			t.Errorf("%s: no fault", name)
		}
	}
}
