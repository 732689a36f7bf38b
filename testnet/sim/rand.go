package sim

import (
	"math/bits"
	"time"
)

// random is the simulator's only source of chance: xoshiro256** of Blackman and
// Vigna, seeded through SplitMix64 as they advise. It is small, fast, passes the
// usual batteries, and its output is fixed for ever by its 40 lines; the standard
// library's generators are kept out because a pure room imports no chance.
//
// Each part of a run (a link's weather, a client, the plan) has a stream of its
// own, named by a label. So a draw more in one part moves no other part, and a
// seed stays close to itself while the simulator grows.
type random struct{ s [4]uint64 }

// newRandom returns the stream of a seed that label names, and number when a
// part has several.
func newRandom(seed uint64, label string, number int) *random {
	// FNV-1a keeps labels apart; SplitMix64 then spreads every bit of the sum.
	h := uint64(0xcbf29ce484222325)
	for i := range len(label) {
		h = (h ^ uint64(label[i])) * 0x100000001b3
	}
	x := splitMix(seed) ^ splitMix(h+uint64(number)*0x9e3779b97f4a7c15)
	r := &random{}
	for i := range r.s {
		x += 0x9e3779b97f4a7c15
		r.s[i] = splitMix(x)
	}
	return r
}

// splitMix is the finaliser of SplitMix64, a bijection of 64 bits.
func splitMix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

func (r *random) next() uint64 {
	s := &r.s
	out := bits.RotateLeft64(s[1]*5, 7) * 9
	t := s[1] << 17
	s[2] ^= s[0]
	s[3] ^= s[1]
	s[1] ^= s[2]
	s[0] ^= s[3]
	s[2] ^= t
	s[3] = bits.RotateLeft64(s[3], 45)
	return out
}

// below returns a number in [0, n), each as likely; n is at least 1.
func (r *random) below(n int) int {
	if n <= 0 {
		panic("sim: invariant broken: a choice among nothing")
	}
	hi, lo := bits.Mul64(r.next(), uint64(n))
	if lo < uint64(n) {
		for reject := -uint64(n) % uint64(n); lo < reject; {
			hi, lo = bits.Mul64(r.next(), uint64(n))
		}
	}
	return int(hi)
}

// between returns a number in [low, high].
func (r *random) between(low, high int) int { return low + r.below(high-low+1) }

// during returns a duration in [low, high], in whole microseconds.
func (r *random) during(low, high time.Duration) time.Duration {
	return low + time.Duration(r.below(int((high-low)/time.Microsecond)+1))*time.Microsecond
}

// ppm is a probability in parts per million: integers replay alike on every machine.
type ppm int

// percent is a probability of n in a hundred.
func percent(n int) ppm { return ppm(n * 10_000) }

// chance reports true with probability p.
func (r *random) chance(p ppm) bool { return p > 0 && r.below(1_000_000) < int(p) }

// shuffled returns the numbers 0 to n-1 in a random order.
func (r *random) shuffled(n int) []int {
	out := make([]int, n)
	for i := range out {
		j := r.below(i + 1)
		out[i], out[j] = out[j], i
	}
	return out
}
