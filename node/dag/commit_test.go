package dag

import (
	"bytes"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func fullCommit() Commit {
	c := Commit{
		Epoch: 1, Index: 300, Previous: Digest{1}, TimeMs: 1_700_000_000_000, Flagged: []Author{0, 2},
		Leader: Ref{Slot{70000, 2}, Digest{7}},
		Refs:   []Ref{{Slot{69999, 0}, Digest{5}}, {Slot{69999, 1}, Digest{6}}, {Slot{70000, 2}, Digest{7}}},
	}
	c.Digest = digestOf(c.Bytes())
	return c
}

func TestCommitRoundTrip(t *testing.T) {
	c := fullCommit()
	got, err := DecodeCommit(c.Bytes())
	if err != nil || !reflect.DeepEqual(got, c) {
		t.Errorf("decoded %+v, %v, want %+v", got, err, c)
	}
}

func TestCommitDecodeIsStrict(t *testing.T) {
	for _, tc := range []struct {
		name  string
		alter func(*Commit)
		raw   func([]byte) []byte
		want  string
	}{
		{name: "no blocks", alter: func(c *Commit) { c.Refs = nil }, want: "at least its leader"},
		{name: "leader not last", alter: func(c *Commit) { c.Refs = c.Refs[:2] }, want: "the leader is not the last block"},
		{name: "flagged twice", alter: func(c *Commit) { c.Flagged = []Author{2, 2} }, want: "the flagged authors must rise"},
		{name: "cut short", raw: func(b []byte) []byte { return b[:len(b)-1] }, want: "the bytes end inside the previous commit"},
		{name: "one byte more", raw: func(b []byte) []byte { return append(b, 0) }, want: "1 bytes follow the commit"},
		{name: "a block", raw: func(b []byte) []byte { b[0] = 0xaa; return b }, want: "byte 0: a map of 10, not of 7"},
	} {
		c := fullCommit()
		if tc.alter != nil {
			tc.alter(&c)
		}
		raw := c.Bytes()
		if tc.raw != nil {
			raw = tc.raw(raw)
		}
		if _, err := DecodeCommit(raw); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", tc.name, err, tc.want)
		}
	}
}

func FuzzDecodeCommit(f *testing.F) {
	c := fullCommit()
	f.Add(c.Bytes())
	c.Flagged, c.Refs = nil, c.Refs[2:]
	f.Add(c.Bytes())
	f.Fuzz(func(t *testing.T, raw []byte) {
		c, err := DecodeCommit(raw)
		if err != nil {
			var bad *DecodeError
			if !errors.As(err, &bad) || bad.Offset < 0 || bad.Offset > len(raw) || bad.Reason == "" {
				t.Fatalf("an error without a place: %v", err)
			}
			return
		}
		if again := c.Bytes(); !bytes.Equal(again, raw) {
			t.Fatalf("decoded and encoded again:\n%x\nwas\n%x", again, raw)
		}
		if c.Digest != digestOf(raw) {
			t.Fatal("the digest is not of the bytes")
		}
	})
}

// A block 60 rounds below the last leader is lost, one 59 below is ordered.
func TestCollectDepth(t *testing.T) {
	for leader, want := range map[uint64]uint64{1: 0, 60: 0, 61: 1, 1000: 940} {
		if got := collectedAfter(leader); got != want {
			t.Errorf("after a leader of round %d everything up to %d is collected, want %d", leader, got, want)
		}
	}
	// Author 3 made one block, of a round below, that author 0 points to only now.
	// The commit that takes author 0's block in also takes the late one, unless it
	// is 60 rounds or more below the leader of the commit before.
	outcomes := map[bool]int{}
	for below := uint64(50); below <= 62; below++ {
		v := newVoting(t, equal(4)...)
		v.absent = map[Author]bool{3: true}
		for v.core.last.Leader.Round < 100 {
			v.next(nil)
		}
		round := v.round - below
		late := &Block{ref: Ref{Slot: Slot{round, 3}}, network: v.rules.Network, timeMs: nowMs(testStart),
			payload: [][]byte{op("late")}, parents: []Ref{Genesis(v.rules.Network, 0, 3)}}
		for a := range Author(3) {
			late.parents = append(late.parents, v.made[Slot{round - 1, a}])
		}
		late.raw = appendBlock(nil, late, make64())
		late.ref.Digest = digestOf(late.raw)
		v.core.Receive(testStart, late)
		v.late = &late.ref
		before := v.core.last.Leader.Round
		pointing := Slot{v.round + 1, 0}
		for found := false; !found; {
			for _, c := range v.next(nil).Commits {
				ordered := slices.Contains(c.Refs, late.ref)
				if slices.Contains(c.Refs, v.made[pointing]) {
					found = true
					outcomes[ordered]++
					if want := round+60 > before; ordered != want {
						t.Errorf("a block of round %d, the commit before led by round %d: ordered %v, want %v", round, before, ordered, want)
					}
				} else if ordered {
					t.Errorf("ordered by leader %v, which does not have it", c.Leader)
				}
				before = c.Leader.Round
			}
		}
	}
	if outcomes[true] < 3 || outcomes[false] < 1 {
		t.Errorf("outcomes %v", outcomes)
	}
}

// Commit times never fall, whatever clocks do.
func TestCommitTimeNeverFalls(t *testing.T) {
	v := newVoting(t, equal(4)...)
	var last uint64
	for i := range uint64(40) {
		v.timeMs = nowMs(testStart) + (i*37)%100 - 50
		for _, c := range v.next(nil).Commits {
			if c.TimeMs < last {
				t.Errorf("commit %d at %d after %d", c.Index, c.TimeMs, last)
			}
			last = c.TimeMs
		}
	}
	if last < nowMs(testStart)+40 {
		t.Errorf("the last commit is at %d", last)
	}
}

// A median ignores what a minority of the weight says, at either end.
func TestMedianTime(t *testing.T) {
	c := testCommittee(t, 40, 30, 20, 10)
	parents := func(times ...uint64) (out []*vertex) {
		for a, ms := range times {
			if ms > 0 {
				out = append(out, &vertex{ref: Ref{Slot: Slot{4, Author(a)}}, block: &Block{timeMs: ms}})
			}
		}
		return append(out, &vertex{ref: Ref{Slot: Slot{3, 0}}, block: &Block{timeMs: 1}})
	}
	for _, tc := range []struct {
		times []uint64
		want  uint64
	}{
		{[]uint64{5, 6, 7, 8}, 6},    // 40, 70 of 100
		{[]uint64{9, 1, 1, 1}, 1},    // 60 say 1
		{[]uint64{9, 1, 5, 6}, 5},    // 30, 50: half is enough
		{[]uint64{9, 1, 0, 0}, 9},    // 30 of 70 is less than half
		{[]uint64{1, 1e15, 2, 2}, 2}, // one clock far off
		{[]uint64{7, 7, 7, 7}, 7},
	} {
		if got := medianTime(c, parents(tc.times...), 4); got != tc.want {
			t.Errorf("times %v: %d, want %d", tc.times, got, tc.want)
		}
	}
	if got := medianTime(c, nil, 0); got != 0 {
		t.Errorf("of no parents: %d", got)
	}
}
