package api

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"github.com/holdfast-mesh/holdfast/node/ledger"
)

// open opens a stream with subscriptions.
func (s *served) open(t testing.TB, to ...Subscription) *Stream {
	t.Helper()
	stream, err := s.Stream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stream.conn.CloseNow() })
	for _, one := range to {
		if err := stream.Subscribe(t.Context(), one); err != nil {
			t.Fatal(err)
		}
	}
	return stream
}

// next returns the next message, which must be of this type and channel.
func (s *Stream) next(t testing.TB, of MessageType, channel Channel) Message {
	t.Helper()
	m, err := s.Next(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if m.Type != of || m.Channel != channel {
		t.Fatalf("it is %+v, want %s of %s", m, of, channel)
	}
	return m
}

func TestStreamBeginsWithASnapshot(t *testing.T) {
	s := serve(t, testConfig())
	s.trade(t)
	alice := accountOf("alice").String()
	stream := s.open(t, Subscription{Channel: ChannelBook, Market: "BTC-USDT"}, Subscription{Channel: ChannelTrades, Market: "BTC-USDT"},
		Subscription{Channel: ChannelAccount, Account: alice}, Subscription{Channel: ChannelCommits})
	if m := stream.next(t, MessageSnapshot, ChannelBook); len(m.Bids) != 1 || m.Asks[0].Quantity != "0.5000" || m.Cursor.Commit != 1 || m.AsOf.Commit != 1 {
		t.Errorf("the book is %+v", m)
	}
	if m := stream.next(t, MessageSnapshot, ChannelTrades); len(m.Trades) != 1 {
		t.Errorf("the trades are %+v", m)
	}
	if m := stream.next(t, MessageSnapshot, ChannelAccount); m.State.OpenOrders != 1 || len(m.Orders) != 1 {
		t.Errorf("the account is %+v", m)
	}
	if m := stream.next(t, MessageSnapshot, ChannelCommits); m.Commits[0].Index != 1 {
		t.Errorf("the commits are %+v", m)
	}
	s.must(t, "bob", limit(ledger.Buy, 5_000, 10_050))
	s.node.commit()
	if m := stream.next(t, MessageUpdate, ChannelBook); len(m.Bids) != 0 || m.Asks[0] != (Level{"100.00", "0", 0}) {
		t.Errorf("the book changes by %+v", m)
	}
	if m := stream.next(t, MessageUpdate, ChannelTrades); m.Trades[0].Quantity != "0.5000" || m.Trades[0].Cursor.Commit != 2 {
		t.Errorf("the trade is %+v", m)
	}
	if m := stream.next(t, MessageUpdate, ChannelAccount); m.Events[0].Kind != "trade" || m.Events[0].State != "FILLED" {
		t.Errorf("alice hears %+v", m)
	}
	if m := stream.next(t, MessageUpdate, ChannelCommits); m.Commits[0].Ops != 1 || m.Commits[0].Commit == "" {
		t.Errorf("the commit is %+v", m)
	}
	// An account of which nothing is known has no state, and hears of its first deposit.
	if err := stream.Subscribe(t.Context(), Subscription{Channel: ChannelAccount, Account: accountOf("erin").String()}); err != nil {
		t.Fatal(err)
	}
	if m := stream.next(t, MessageSnapshot, ChannelAccount); m.State != nil {
		t.Errorf("a stranger has %+v", m.State)
	}
	// What is unsubscribed is silent.
	for _, end := range []Subscription{{Channel: ChannelBook, Market: "BTC-USDT"}, {Channel: ChannelTrades, Market: "BTC-USDT"}, {Channel: ChannelAccount, Account: alice}} {
		end.Do = DoUnsubscribe
		if err := stream.Subscribe(t.Context(), end); err != nil {
			t.Fatal(err)
		}
	}
	if err := stream.Subscribe(t.Context(), Subscription{Channel: "x"}); err != nil { // answered after them
		t.Fatal(err)
	}
	stream.next(t, MessageProblem, "")
	s.trade(t)
	stream.next(t, MessageUpdate, ChannelCommits)
}

// TestBookUpdatesAddUp: a snapshot and its updates are the book, whatever happens.
func TestBookUpdatesAddUp(t *testing.T) {
	s := serve(t, testConfig())
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	const levels = 5 // fewer than there are, so that levels come into sight and leave it
	stream := s.open(t, Subscription{Channel: ChannelBook, Market: "BTC-USDT", Levels: levels}, Subscription{Channel: ChannelCommits})
	m := stream.next(t, MessageSnapshot, ChannelBook)
	stream.next(t, MessageSnapshot, ChannelCommits)
	sides := [2]map[string]Level{{}, {}}
	apply := func(m Message) {
		for side, changes := range [2][]Level{m.Bids, m.Asks} {
			for _, l := range changes {
				sides[side][l.Price] = l
				if l.Quantity == "0" {
					delete(sides[side], l.Price)
				}
			}
		}
	}
	apply(m)
	for range 100 {
		for range 3 {
			who := []string{"alice", "bob", "carol"}[random.IntN(3)]
			side := ledger.Side(random.IntN(2))
			price := ledger.Ticks(10_000 + random.IntN(40) - 20*int(1-2*int(side)) - 20)
			s.must(t, who, limit(side, ledger.Lots(10_000+random.IntN(5)*1000), price))
		}
		s.node.commit()
	}
	for last := s.node.AsOf().Commit; m.Channel != ChannelCommits || m.Cursor.Commit < last; apply(m) {
		var err error
		if m, err = stream.Next(t.Context()); err != nil || m.Type != MessageUpdate {
			t.Fatalf("%+v, %v", m, err)
		}
	}
	book := ok[Book](t)(s.Book(t.Context(), "BTC-USDT", levels))
	for side, want := range [2][]Level{book.Bids, book.Asks} {
		if len(sides[side]) != len(want) || len(want) == 0 {
			t.Errorf("side %d has %d levels, want %d", side, len(sides[side]), len(want))
		}
		for _, l := range want {
			if sides[side][l.Price] != l {
				t.Errorf("side %d at %s is %+v, want %+v", side, l.Price, sides[side][l.Price], l)
			}
		}
	}
}

// TestStreamResumes: a stream that breaks off anywhere goes on from its cursor
// without a gap and without anything twice.
func TestStreamResumes(t *testing.T) {
	s := serve(t, testConfig())
	alice := accountOf("alice").String()
	const rounds = 12
	var trades []Cursor
	var events []Cursor
	cursor := Cursor{}
	for round := range rounds {
		to := []Subscription{{Channel: ChannelTrades, Market: "BTC-USDT", After: &cursor}, {Channel: ChannelAccount, Account: alice, After: &cursor}}
		stream := s.open(t, to...)
		s.trade(t)
		s.trade(t)
		until := 2*uint64(round+1) - uint64(round%2) // every other time one commit is left for the next
		seen := map[Channel]uint64{ChannelTrades: cursor.Commit, ChannelAccount: cursor.Commit}
		for seen[ChannelTrades] < until || seen[ChannelAccount] < until {
			m, err := stream.Next(t.Context())
			if err != nil || m.Type != MessageUpdate {
				t.Fatalf("%+v, %v", m, err)
			}
			if m.Cursor.Commit > until {
				continue // thrown away, and got again by the next
			}
			seen[m.Channel] = m.Cursor.Commit
			for _, tr := range m.Trades {
				trades = append(trades, tr.Cursor)
			}
			for _, e := range m.Events {
				events = append(events, e.Cursor)
			}
		}
		cursor = endOfCommit(until)
		stream.Close()
	}
	wantTrades, _ := s.node.Trades(t.Context(), 0, Cursor{2*rounds + 1 - 1, 0}, 10_000)
	wantEvents, _ := s.node.History(t.Context(), accountOf("alice"), Cursor{}, 10_000)
	check := func(what string, got []Cursor, want []Record) {
		t.Helper()
		var expected []Cursor
		for _, r := range slices.Backward(want) {
			if r.Cursor.Less(Cursor{cursor.Commit + 1, 0}) {
				expected = append(expected, r.Cursor)
			}
		}
		if !slices.Equal(got, expected) || len(got) < rounds {
			t.Errorf("the %s are %v, want %v", what, got, expected)
		}
	}
	check("trades", trades, wantTrades)
	check("events", events, wantEvents)
}

func TestResumeFromWithinACommit(t *testing.T) {
	s := serve(t, testConfig())
	s.trade(t)
	all := s.node.executed[0].Records
	after := all[len(all)-2].Cursor
	stream := s.open(t, Subscription{Channel: ChannelAccount, Account: accountOf("bob").String(), After: &after})
	if m := stream.next(t, MessageUpdate, ChannelAccount); len(m.Events) != 1 || !after.Less(m.Events[0].Cursor) {
		t.Errorf("it goes on with %+v", m.Events)
	}
}

// TestResumeAfterACommit: what was delivered to the end comes no second time.
func TestResumeAfterACommit(t *testing.T) {
	s := serve(t, testConfig())
	s.trade(t)
	s.trade(t)
	s.trade(t)
	after := endOfCommit(2)
	stream := s.open(t, Subscription{Channel: ChannelCommits, After: &after})
	if m := stream.next(t, MessageUpdate, ChannelCommits); m.Commits[0].Index != 3 || m.Cursor != endOfCommit(3) {
		t.Errorf("it goes on with %+v", m.Commits)
	}
}

func TestCursorThatIsTooOld(t *testing.T) {
	s := serve(t, testConfig())
	for range 5 {
		s.trade(t)
	}
	s.node.change(func() { s.node.oldest = 4 })
	stream := s.open(t, Subscription{Channel: ChannelTrades, Market: "BTC-USDT", After: &Cursor{2, 0}})
	if m := stream.next(t, MessageProblem, ChannelTrades); m.Problem.Code != "TOO_OLD" || m.Problem.Oldest != "4" {
		t.Errorf("it is told %+v", m.Problem)
	}
	// The stream is fine otherwise.
	if err := stream.Subscribe(t.Context(), Subscription{Channel: ChannelTrades, Market: "BTC-USDT", After: &Cursor{4, 0}}); err != nil {
		t.Fatal(err)
	}
	stream.next(t, MessageUpdate, ChannelTrades)
}

// TestSlowReaderIsTold: a stream that falls so far behind that the node does not
// keep what comes next is told where to resume, and closed.
func TestSlowReaderIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := servePiped(t, testConfig())
		s.trade(t)
		stream := s.open(t, Subscription{Channel: ChannelCommits})
		stream.next(t, MessageSnapshot, ChannelCommits)
		// Nobody reads now: the pipe holds nothing, so the server waits in its first
		// write, and has taken the commit after that one already.
		for range 10 {
			s.trade(t)
			synctest.Wait()
		}
		s.node.change(func() { s.node.oldest = 9 })
		synctest.Wait()
		delivered := uint64(1)
		for {
			m, err := stream.Next(t.Context())
			if err != nil {
				t.Fatalf("it was closed without a word: %v", err)
			}
			if m.Type == MessageProblem {
				if m.Problem.Code != "TOO_OLD" || m.Problem.Oldest != "9" || m.Cursor != endOfCommit(delivered) {
					t.Errorf("after commit %d it is told %+v at %v", delivered, m.Problem, m.Cursor)
				}
				break
			}
			delivered = m.Commits[0].Index
		}
		_, err := stream.Next(t.Context())
		if err == nil || !strings.Contains(err.Error(), endOfCommit(delivered).String()) {
			t.Errorf("it ends with %v", err)
		}
		if delivered >= 9 || delivered < 2 {
			t.Errorf("it was cut after commit %d", delivered)
		}
	})
}

// TestDeadReaderIsCut: a stream nobody reads at all does not outlive its timeout.
func TestDeadReaderIsCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		config := testConfig()
		s, _ := servePiped(t, config)
		s.open(t, Subscription{Channel: ChannelCommits}) // whose snapshot is never read
		open := func() int {
			synctest.Wait()
			s.server.streams.mu.Lock()
			defer s.server.streams.mu.Unlock()
			return s.server.streams.all
		}
		time.Sleep(config.StreamTimeout - time.Millisecond)
		if open() != 1 {
			t.Error("it was cut before its time")
		}
		time.Sleep(time.Second)
		if open() != 0 {
			t.Error("it is open after its time")
		}
	})
}

func TestSilenceIsExplained(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		config := testConfig()
		s, _ := servePiped(t, config)
		s.trade(t)
		s.node.change(func() { s.node.quorum = false; s.node.nowMs += 60_000 })
		stream := s.open(t, Subscription{Channel: ChannelCommits})
		stream.next(t, MessageSnapshot, ChannelCommits)
		began := time.Now()
		m := stream.next(t, MessageAlive, "")
		if m.AsOf.Quorum || m.AsOf.AgeMs < 60_000 {
			t.Errorf("it is as of %+v", m.AsOf)
		}
		if took := time.Since(began); took > 2*config.AlivePeriod {
			t.Errorf("it says so after %v", took)
		}
	})
}

func TestPeersAreStreamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := servePiped(t, testConfig())
		stream := s.open(t, Subscription{Channel: ChannelPeers})
		if m := stream.next(t, MessageSnapshot, ChannelPeers); len(m.Peers) != 1 || !m.Peers[0].Connected {
			t.Errorf("the peers are %+v", m.Peers)
		}
		lost := slices.Clone(s.node.peers)
		lost[0].Connected = false
		s.node.change(func() { s.node.peers = lost })
		if m := stream.next(t, MessageUpdate, ChannelPeers); m.Peers[0].Connected {
			t.Errorf("the peers are %+v", m.Peers)
		}
		// What changes all the time is no change.
		still := slices.Clone(lost)
		still[0].RTTMs, still[0].SeenMs = 17, 4711
		s.node.change(func() { s.node.peers = still })
		if m, err := stream.Next(t.Context()); err != nil || m.Type != MessageAlive {
			t.Errorf("it hears %+v, %v", m, err)
		}
	})
}

func TestBadSubscriptions(t *testing.T) {
	s := serve(t, testConfig())
	stream := s.open(t)
	for _, bad := range []string{
		``, `{`, `[]`, `{"do":"dance"}`, `{"do":"subscribe"}`, `{"do":"subscribe","channel":"gossip"}`,
		`{"do":"subscribe","channel":"book"}`, `{"do":"subscribe","channel":"book","market":"DOGE-USDT"}`,
		`{"do":"subscribe","channel":"book","market":"BTC-USDT","levels":-1}`, `{"do":"subscribe","channel":"book","market":"BTC-USDT","levels":1001}`,
		`{"do":"subscribe","channel":"trades","market":"BTC-USDT","levels":5}`, `{"do":"subscribe","channel":"trades","market":"BTC-USDT","after":"yesterday"}`,
		`{"do":"subscribe","channel":"account","account":"alice"}`, `{"do":"subscribe","channel":"commits","account":"alice"}`,
		`{"do":"subscribe","channel":"commits","note":"hello"}`, `{"do":"subscribe","channel":"account","market":"BTC-USDT"}`,
	} {
		if err := stream.conn.Write(t.Context(), websocket.MessageText, []byte(bad)); err != nil {
			t.Fatal(err)
		}
		m, err := stream.Next(t.Context())
		if err != nil || m.Type != MessageProblem || m.Problem.Status < 400 || m.Problem.Remedy == "" {
			t.Errorf("%s is answered %+v, %v", bad, m, err)
		}
	}
	for range subscribedMax + 1 {
		if err := stream.Subscribe(t.Context(), Subscription{Channel: ChannelCommits}); err != nil { // one and the same
			t.Fatal(err)
		}
		stream.next(t, MessageSnapshot, ChannelCommits)
	}
	// A message without end ends the stream.
	if err := stream.conn.Write(t.Context(), websocket.MessageText, make([]byte, 2*askBytesMax)); err == nil {
		_, err = stream.Next(t.Context())
		if websocket.CloseStatus(errors.Unwrap(err)) != websocket.StatusMessageTooBig && err == nil {
			t.Errorf("it is answered %v", err)
		}
	}
}

func TestSubscriptionsAreBounded(t *testing.T) {
	s := serve(t, testConfig())
	stream := s.open(t)
	for i := range subscribedMax + 1 {
		to := Subscription{Channel: ChannelAccount, Account: ledger.Account{byte(i)}.String()}
		if err := stream.Subscribe(t.Context(), to); err != nil {
			t.Fatal(err)
		}
		want := MessageSnapshot
		if i == subscribedMax {
			want = MessageProblem
		}
		stream.next(t, want, ChannelAccount)
	}
}

func TestStreamsAreBounded(t *testing.T) {
	config := testConfig()
	config.Streams = 3
	config.StreamsPerAddress = 2
	s := serve(t, config)
	s.open(t)
	second := s.open(t)
	if _, err := s.Stream(t.Context()); CodeOf(err) != "TOO_MANY_STREAMS" {
		t.Fatalf("a third of one address is answered %v", err)
	}
	leave, err := s.server.streams.enter(&s.server.config, "another")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.server.streams.enter(&s.server.config, "a third"); CodeOf(err) != "TOO_MANY_STREAMS" {
		t.Errorf("a fourth of all is answered %v", err)
	}
	leave()
	second.Close()
	for ctx := t.Context(); ; { // its place is free as soon as the server has noticed
		if _, err := s.Stream(ctx); err == nil {
			break
		} else if CodeOf(err) != "TOO_MANY_STREAMS" {
			t.Fatal(err)
		}
	}
}

// TestDrain: when the context ends, streams and waits are ended politely, and
// nothing is left behind.
func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		config := testConfig()
		s, _ := servePiped(t, config)
		polite := s.open(t, Subscription{Channel: ChannelCommits})
		polite.next(t, MessageSnapshot, ChannelCommits)
		s.open(t) // which will not say good-bye
		waited := make(chan Ops, 1)
		go func() {
			a, err := s.SubmitWait(context.Background(), s.node.signed(t, "alice", limit(ledger.Sell, 10_000, 10_000)))
			if err != nil {
				t.Error(err)
			}
			waited <- a
		}()
		synctest.Wait()
		began := time.Now()
		s.stop()
		if a := <-waited; a.Ops[0].Status != OpPending {
			t.Errorf("who waits is told %+v", a)
		}
		if _, err := polite.Next(t.Context()); err == nil || !strings.Contains(err.Error(), "shutting down") {
			t.Errorf("a stream ends with %v", err)
		}
		if err := <-s.ended; err != nil {
			t.Error(err)
		}
		s.ended <- nil
		if open := s.server.streams.all; open != 0 {
			t.Errorf("Serve has returned, and %d streams are open", open)
		}
		if took := time.Since(began); took > config.DrainTimeout {
			t.Errorf("it took %v", took)
		}
		if _, err := s.Status(t.Context()); err == nil {
			t.Error("it still answers")
		}
	})
}
