package testnet

import (
	"cmp"
	"math"
	"time"
)

// windows say when something that a commit did took effect: not before the commit's
// own time, and not after somebody was first told of the commit. Together with when
// a client asked and was answered that is a narrower window than the client's alone,
// so a check over it is the stricter one, and soon done.
type windows struct {
	turns  map[string]executed
	timeMs []int64 // by commit
	seen   []int64 // by commit, Unix nanoseconds; MaxInt64: nobody was told
}

func windowsOf(h *history, r *replayed) windows {
	w := windows{turns: r.ops, timeMs: make([]int64, len(r.states)), seen: make([]int64, len(r.states)+1)}
	for i := range r.states {
		w.timeMs[i] = r.states[i].timeMs
	}
	for i := range w.seen {
		w.seen[i] = math.MaxInt64
	}
	for _, of := range h.commits {
		for _, c := range of {
			if c.Index < uint64(len(w.seen)) {
				w.seen[c.Index] = min(w.seen[c.Index], c.Seen)
			}
		}
	}
	return w
}

// of returns the window of an operation's effect within its call and return.
func (w windows) of(o *OpRecord) (from, to int64, ok bool) {
	if o.Commit >= uint64(len(w.timeMs)) {
		return 0, 0, false
	}
	from = max(o.Invoked, w.timeMs[o.Commit]*int64(time.Millisecond))
	to = min(o.Ended, w.seen[o.Commit])
	return from, to, true
}

// turn is where an operation was executed when the blocks were executed again.
func (w windows) turn(o *OpRecord) turn { return turn{o.Commit, w.turns[o.Op].turn} }

// turn is a place in the order of everything that was executed.
type turn struct {
	commit uint64
	event  int64
}

// lastTurn is after everything else that a commit did.
func lastTurn(commit uint64) turn { return turn{commit, math.MaxInt64} }

func (a turn) compare(b turn) int {
	return cmp.Or(cmp.Compare(a.commit, b.commit), cmp.Compare(a.event, b.event))
}

// asOf returns the window in which a state was the newest: from its commit until
// somebody was told of the next.
func (w windows) asOf(commit uint64, back int64) (from, to int64, ok bool) {
	if commit >= uint64(len(w.timeMs)) {
		return 0, 0, false
	}
	return w.timeMs[commit] * int64(time.Millisecond), min(back, w.seen[commit+1]), true
}
