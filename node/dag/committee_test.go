package dag

import (
	"encoding/binary"
	"math"
	"strings"
	"testing"
)

// testCommittee gives each author the weight at its position and a made-up key.
func testCommittee(t testing.TB, weights ...uint64) *Committee {
	t.Helper()
	members := make([]Member, len(weights))
	for i, w := range weights {
		binary.BigEndian.PutUint64(members[i].Key[:], uint64(i+1))
		members[i].Weight = w
	}
	c, err := NewCommittee(members)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestCommitteeThresholds(t *testing.T) {
	for total := uint64(1); total <= 300; total++ {
		c := testCommittee(t, total)
		if f := (total - 1) / 3; c.Faulty() != f || c.Validity() != f+1 {
			t.Errorf("N=%d: F=%d V=%d, want %d and %d", total, c.Faulty(), c.Validity(), f, f+1)
		}
		if q := 2*total/3 + 1; c.Quorum() != q {
			t.Errorf("N=%d: Q=%d, want %d", total, c.Quorum(), q)
		}
	}
	if c := testCommittee(t, math.MaxInt64-1, 1); c.Quorum() != math.MaxInt64/3*2+1 {
		t.Errorf("Q of the largest total is %d", c.Quorum())
	}
}

func TestCommitteeRefuses(t *testing.T) {
	key := func(b byte) (k [32]byte) { k[0] = b; return k }
	many := make([]Member, CommitteeMax+1)
	for _, tc := range []struct {
		name    string
		members []Member
		want    string
	}{
		{"nobody", nil, "at least one member"},
		{"too many", many, "at most 256"},
		{"no weight", []Member{{key(1), 1}, {key(2), 0}}, "member 1 has no weight"},
		{"a key twice", []Member{{key(1), 1}, {key(2), 1}, {key(1), 1}}, "members 0 and 2 have the same key"},
		{"beyond 63 bits", []Member{{key(1), math.MaxInt64}, {key(2), 1}}, "up to member 1 exceed"},
		{"beyond 64 bits", []Member{{key(1), math.MaxInt64}, {key(2), math.MaxUint64}}, "up to member 1 exceed"},
	} {
		if _, err := NewCommittee(tc.members); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: got %v, want %q", tc.name, err, tc.want)
		}
	}
}

func TestTallyCountsAnAuthorOnce(t *testing.T) {
	c := testCommittee(t, 5, 7)
	var w tally
	if !w.add(c, 1) || w.add(c, 1) || !w.add(c, 0) || w.weight != 12 {
		t.Errorf("weight %d after adding 1, 1, 0; want 12", w.weight)
	}
}
