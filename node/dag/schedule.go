package dag

import (
	"crypto/sha256"
	"encoding/binary"
	"math/bits"
)

// LeaderOf is the leader of a round: an author drawn by weight, the same at
// every validator and not to be foreseen cheaply before the network's genesis
// is fixed. It takes the first 8 bytes of
//
//	SHA-256(network, epoch as 8 bytes, round as 8 bytes)
//
// as a big-endian number h and picks the author in whose part of the weights,
// laid end to end in committee order, the point floor(h * N / 2^64) lies.
// testdata/leaders.txt has vectors.
func LeaderOf(c *Committee, network Digest, epoch, round uint64) Author {
	var b [48]byte
	copy(b[:32], network[:])
	binary.BigEndian.PutUint64(b[32:], epoch)
	binary.BigEndian.PutUint64(b[40:], round)
	h := sha256.Sum256(b[:])
	point, _ := bits.Mul64(binary.BigEndian.Uint64(h[:8]), c.total)
	for a, m := range c.members {
		if point < m.Weight {
			return Author(a)
		}
		point -= m.Weight
	}
	panic("dag: a point below the total must lie in some author's weight")
}

// oneLeader is the schedule of the running network: every round from 1 has one.
func oneLeader(r *Rules) schedule {
	return func(round uint64) []Author {
		if round == 0 {
			return nil
		}
		return []Author{LeaderOf(r.Committee, r.Network, r.Epoch, round)}
	}
}
