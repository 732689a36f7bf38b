package dag

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/big"
	"os"
	"strings"
	"testing"
)

// The vectors of testdata/leaders.txt, written out by the definition with big
// integers: one line per committee, network, epoch and first round.
func TestLeaderVectors(t *testing.T) {
	raw, err := os.ReadFile("testdata/leaders.txt")
	if err != nil && !*rewrite {
		t.Fatal(err)
	}
	var want strings.Builder
	want.WriteString("# Leaders of 20 rounds. weights; byte the network's digest is made of; epoch; first round: leaders\n")
	for _, tc := range []struct {
		weights []uint64
		network byte
		epoch   uint64
		first   uint64
	}{
		{equal(4), 0, 0, 1}, {equal(4), 1, 0, 1}, {equal(4), 0, 1, 1}, {equal(4), 0, 0, 1 << 40},
		{[]uint64{40, 30, 20, 10}, 0, 0, 1}, {[]uint64{1, 1, 1 << 62}, 0, 0, 1}, {equal(100), 7, 3, 1000},
	} {
		network := Digest{}
		for i := range network {
			network[i] = tc.network
		}
		committee := testCommittee(t, tc.weights...)
		weights := fmt.Sprint(tc.weights)
		if len(tc.weights) > 9 {
			weights = fmt.Sprintf("%d x 1", len(tc.weights))
		}
		fmt.Fprintf(&want, "%s; %d; %d; %d:", weights, tc.network, tc.epoch, tc.first)
		for round := tc.first; round < tc.first+20; round++ {
			leader := bigLeader(committee, network, tc.epoch, round)
			fmt.Fprintf(&want, " %d", leader)
			if got := LeaderOf(committee, network, tc.epoch, round); got != leader {
				t.Errorf("%v, epoch %d, round %d: leader %d, want %d", tc.weights, tc.epoch, round, got, leader)
			}
		}
		want.WriteByte('\n')
	}
	if *rewrite {
		if err := os.WriteFile("testdata/leaders.txt", []byte(want.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if want.String() != string(raw) {
		t.Errorf("testdata/leaders.txt has other leaders; a network would fork over this:\n%s", want.String())
	}
}

// bigLeader is the definition, without a trick: floor(h*N/2^64).
func bigLeader(c *Committee, network Digest, epoch, round uint64) Author {
	message := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(network[:], epoch), round)
	h := sha256.Sum256(message)
	point := new(big.Int).SetBytes(h[:8])
	point.Mul(point, new(big.Int).SetUint64(c.Total()))
	point.Rsh(point, 64)
	sum := new(big.Int)
	for a := range Author(c.Size()) {
		if sum.Add(sum, new(big.Int).SetUint64(c.Weight(a))); point.Cmp(sum) < 0 {
			return a
		}
	}
	panic("unreachable")
}

// Over many rounds authors lead as often as they weigh.
func TestLeadersByWeight(t *testing.T) {
	c := testCommittee(t, 40, 30, 20, 10)
	var count [4]int
	const rounds = 100_000
	for round := range uint64(rounds) {
		count[LeaderOf(c, Digest{}, 0, round)]++
	}
	for a, n := range count {
		want := rounds * int(c.Weight(Author(a))) / 100
		if n < want-want/20 || n > want+want/20 {
			t.Errorf("author %d leads %d rounds of %d, want about %d", a, n, rounds, want)
		}
	}
}
