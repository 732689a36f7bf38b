package faults

import (
	"hash/fnv"
	"math/rand/v2"
	"net/netip"
	"time"
)

// fate decides what becomes of each packet on one direction of one link. It is a
// value without a clock: the times it knows are those it is given. It is not for
// many goroutines at once.
type fate struct {
	chance *rand.Rand
	free   time.Time     // when the link has sent what it took under a Rate
	last   time.Time     // when the packet before this one leaves, if it keeps its place
	extra  time.Duration // the jitter of this spell
	spell  time.Time     // when the spell ends
}

// jitterSpells is how many times its own size a jitter lasts: the packets that must
// wait for those before them, when it falls, are then the lesser part.
const jitterSpells = 4

// newFate returns the fates of packets to remote: the same seed and remote give
// the same fates.
func newFate(seed uint64, remote netip.AddrPort) *fate {
	h := fnv.New64a()
	name, err := remote.MarshalBinary()
	if err != nil {
		panic("faults: invariant broken: every AddrPort has a binary form: " + err.Error())
	}
	h.Write(name)
	return &fate{chance: rand.New(rand.NewPCG(seed, h.Sum64()))}
}

// departures are when copies of one packet leave: none if it vanishes, two if it
// is duplicated.
type departures struct {
	at [2]time.Time
	n  int
}

func (d departures) all() []time.Time { return d.at[:d.n] }

// of decides about a packet of the given size that is sent now.
func (f *fate) of(r Rule, now time.Time, size int) (out departures) {
	if f.happens(r.Drop) {
		return out
	}
	turn, ok := f.turn(r.Rate, now, size)
	if !ok {
		return out
	}
	copies := 1
	if f.happens(r.Duplicate) {
		copies = 2
	}
	for range copies {
		out.at[out.n] = f.leave(r, turn)
		out.n++
	}
	return out
}

// turn is when a packet has passed the link's rate; not ok if it would wait too long.
func (f *fate) turn(rate int64, now time.Time, size int) (at time.Time, ok bool) {
	if rate == 0 {
		return now, true
	}
	start := later(now, f.free)
	if start.Sub(now) > RateQueueMax {
		return at, false
	}
	f.free = start.Add(time.Duration(float64(size) / float64(rate) * float64(time.Second)))
	return f.free, true
}

// leave adds delay and jitter, and keeps the order unless the packet is to lose it.
func (f *fate) leave(r Rule, turn time.Time) time.Time {
	at := later(turn.Add(r.Delay+f.jitter(r.Jitter, turn)), f.last)
	if f.happens(r.Reorder) {
		return at.Add(HoldBack)
	}
	f.last = at
	return at
}

// jitter is the same for a spell of some packets. Drawn for each, with the order
// kept, the worst draw would set the delay of all around it.
func (f *fate) jitter(most time.Duration, now time.Time) time.Duration {
	if most == 0 {
		return 0
	}
	if !now.Before(f.spell) {
		f.extra = time.Duration(f.chance.Int64N(int64(most)))
		f.spell = now.Add(jitterSpells * most)
	}
	return min(f.extra, most)
}

// happens draws only if the outcome is open, so that a rule that leaves nothing to
// chance moves no other draw.
func (f *fate) happens(p float64) bool {
	return p >= 1 || p > 0 && f.chance.Float64() < p
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
