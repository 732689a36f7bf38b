package dag

import "testing"

// TestEverybodyIsAskedInTime: whoever points to a missing block, and however
// many do, each of the others is asked for it within two rounds of attempts: the
// one who has it may be any of them, and the rest may never answer.
func TestEverybodyIsAskedInTime(t *testing.T) {
	for _, pointing := range [][]Author{{0}, {1}, {3}, {0, 3}, {3, 0}, {2, 3}, {3, 2}, {2, 0, 3}, {3, 0, 2}} {
		maker := newBlockMaker(t, 4)
		maker.next()
		maker.next()
		third := maker.next()
		cfg := DefaultConfig(maker.rules)
		cfg.Key = testKey(1)
		core, _, err := Open(cfg, testStart, Stored{})
		if err != nil {
			t.Fatal(err)
		}
		now := testStart
		asked := map[Author]bool{}
		note := func(e Effects) {
			for _, m := range e.Fetch {
				if m.Ref == third[0].parents[0] {
					asked[m.From] = true
				}
			}
		}
		for _, a := range pointing {
			note(core.Receive(now, third[a]))
		}
		for range 8 {
			now = now.Add(askAgainAfter)
			note(core.Tick(now))
		}
		for _, a := range []Author{0, 2, 3} {
			if !asked[a] {
				t.Errorf("pointed to by %v: %d is never asked", pointing, a)
			}
		}
	}
}
