package dag

import "testing"

// fetchesOf are whom e asks for a block.
func fetchesOf(e Effects, ref Ref) (of []Author) {
	for _, m := range e.Fetch {
		if m.Ref == ref {
			of = append(of, m.From)
		}
	}
	return of
}

// TestBelowAWaitingBlockTheNextAuthorIsAsked: 2/3 waits for 1/3, which its author
// withholds. Whoever builds on 2/3 has 1/3, and is asked for it.
func TestBelowAWaitingBlockTheNextAuthorIsAsked(t *testing.T) {
	maker := newBlockMaker(t, 4)
	first, second, third := maker.next(), maker.next(), maker.next()
	core, missing := follower(t, maker.rules), first[3].ref
	core.Receive(testStart, first[:3]...)
	if got := fetchesOf(core.Receive(testStart, second[3]), missing); len(got) != 1 || got[0] != 3 {
		t.Fatalf("its author is asked first: %v", got)
	}
	if got := fetchesOf(core.Receive(testStart.Add(askBelowAfter-1), third[0]), missing); len(got) != 0 {
		t.Errorf("asks again at once: %v", got)
	}
	if got := fetchesOf(core.Receive(testStart.Add(askBelowAfter), third[1]), missing); len(got) != 1 || got[0] != 1 {
		t.Errorf("asks %v, want 1, which has just built on a block above it", got)
	}
	if got := fetchesOf(core.Receive(testStart.Add(askBelowAfter+1), third[2]), missing); len(got) != 0 {
		t.Errorf("asks everybody: %v", got)
	}
}

// TestManyBlocksDoNotHoldOthersOff: the author that withholds 1/3 goes on
// building above it, so it could be asked again and again. The others' turn comes.
func TestManyBlocksDoNotHoldOthersOff(t *testing.T) {
	maker := newBlockMaker(t, 4)
	rounds := [][]*Block{maker.next()}
	core, missing, now := follower(t, maker.rules), rounds[0][3].ref, testStart
	core.Receive(now, rounds[0][:3]...)
	asked := map[Author]bool{}
	for range 16 {
		for _, from := range fetchesOf(core.Receive(now, maker.next()[3]), missing) {
			asked[from] = true
		}
		now = now.Add(askBelowAfter)
		for _, from := range fetchesOf(core.Tick(now), missing) {
			asked[from] = true
		}
	}
	if len(asked) != 4 {
		t.Errorf("asked in %v: %v", now.Sub(testStart), asked)
	}
}

// TestWhoCameTooSoonIsAskedLater: 0 built on a block above the missing one just after its
// author was asked for it, and nothing comes after that: all wait for us. It is asked as
// soon as the first request is old enough, not when its turn comes.
func TestWhoCameTooSoonIsAskedLater(t *testing.T) {
	maker := newBlockMaker(t, 4)
	first, second, third := maker.next(), maker.next(), maker.next()
	core, missing := follower(t, maker.rules), first[3].ref
	core.Receive(testStart, first[:3]...)
	core.Receive(testStart, second[3])
	core.Receive(testStart.Add(1), third[0])
	core.Receive(testStart.Add(2), third[0])
	if got := fetchesOf(core.Tick(testStart.Add(askBelowAfter-1)), missing); len(got) != 0 {
		t.Errorf("asks %v too soon", got)
	}
	due := testStart.Add(askBelowAfter)
	if at := core.wakeAt(); at.IsZero() || at.After(due) {
		t.Errorf("wakes at %v, want %v", at, due)
	}
	if got := fetchesOf(core.Tick(due), missing); len(got) != 1 || got[0] != 0 {
		t.Errorf("asks %v, want 0", got)
	}
	if got := fetchesOf(core.Tick(due.Add(askBelowAfter)), missing); len(got) != 0 {
		t.Errorf("asks %v, who was asked already", got)
	}
}
