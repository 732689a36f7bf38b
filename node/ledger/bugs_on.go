//go:build holdfast_bugs

package ledger

import "time"

// Bugs are deliberate faults, to show that whoever watches a ledger notices
// them. They exist only under the build tag holdfast_bugs.
type Bugs struct {
	SkipNoncesAfterRestore bool // a restored ledger does not check nonces
	ReleaseTwice           bool // an order that leaves releases its hold twice
	MapOrder               bool // accounts take turns in the order of a map
	WallClock              bool // a commit's time is also this machine's
}

// SetBugs plants faults in every ledger there is and will be in this process.
func SetBugs(b Bugs) { planted = b }

var planted Bugs

type bugs struct{ restored bool }

func (b bugs) skipNonces() bool { return planted.SkipNoncesAfterRestore && b.restored }
func (bugs) releaseTwice() bool { return planted.ReleaseTwice }

// disorder lets a map decide whose turn it is among equals.
func (bugs) disorder(t *turns) {
	if !planted.MapOrder {
		return
	}
	byAccount := make(map[Account]int)
	for i := range t.lines {
		byAccount[t.ops[t.lines[i].sample].account] = i
	}
	tie := uint64(0)
	for _, i := range byAccount {
		t.lines[i].tie = tie
		tie++
	}
	for i := len(t.lines)/2 - 1; i >= 0; i-- {
		t.down(i)
	}
}

// commitTime is never before the time this machine shows.
func (bugs) commitTime(ms int64) int64 {
	if planted.WallClock {
		return max(ms, time.Now().UnixMilli())
	}
	return ms
}

func restoredBugs() bugs { return bugs{restored: true} }
