package dag

import "testing"

// TestTheNextAuthorIsAskedSoon: a withholding author's own block is the first
// to point to a missing one, so it is asked first and never answers. The next
// author that points there has it and is asked as soon as its block comes, if
// the first request is not quite fresh; nobody is asked in the first moments,
// in which everyone's blocks arrive.
func TestTheNextAuthorIsAskedSoon(t *testing.T) {
	maker := newBlockMaker(t, 4)
	var rounds [][]*Block
	for range 3 {
		rounds = append(rounds, maker.next())
	}
	core := follower(t, maker.rules)
	if e := core.Receive(testStart, rounds[2][3]); len(e.Fetch) != 4 || e.Fetch[0].From != 3 {
		t.Fatalf("fetches %v", e.Fetch)
	}
	if e := core.Receive(testStart.Add(askNextAfter-1), rounds[2][0]); len(e.Fetch) != 0 {
		t.Errorf("asks again at once: %v", e.Fetch)
	}
	e := core.Receive(testStart.Add(askNextAfter), rounds[2][1])
	if len(e.Fetch) != 4 || e.Fetch[0].From != 1 || e.Fetch[0].Attempt != 1 {
		t.Errorf("fetches %v, want the 4 parents from 1", e.Fetch)
	}
	if e := core.Receive(testStart.Add(askNextAfter+1), rounds[2][2]); len(e.Fetch) != 0 {
		t.Errorf("asks everybody: %v", e.Fetch)
	}
}
