package dag

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
)

func rawOf(blocks []*Block) (raw [][]byte) {
	for _, b := range blocks {
		raw = append(raw, b.raw)
	}
	return raw
}

// A batch is taken with one signature of each author verified, and comes to the same
// as if all had been.
func TestVouched(t *testing.T) {
	n := busyNetwork(t, []uint64{1, 2, 1, 3, 1}, 80)
	all := n.nodes[0].commits
	batch := all[:60]
	raw := rawOf(blocksOf(batch))
	verified := 0
	verify := func(raw []byte) (*Block, error) {
		verified++
		return n.rules.Verify(raw)
	}
	vouched, err := n.rules.Vouched(bare(batch), raw, verify, func([][]byte) (any, error) { return "decoded", nil })
	if err != nil {
		t.Fatal(err)
	}
	if most := n.rules.Committee.Size(); verified > most {
		t.Errorf("%d signatures were verified of %d authors' blocks", verified, most)
	}
	var blocks []*Block
	open := 0
	for i, b := range vouched {
		if b == nil {
			open++
			if b, err = n.rules.Verify(raw[i]); err != nil {
				t.Fatal(err)
			}
		} else if len(b.payload) > 0 && b.Checked() != "decoded" {
			t.Errorf("block %v has not been given to checkPayload", b)
		}
		if !bytes.Equal(b.raw, raw[i]) {
			t.Fatalf("block %d is another than was sent", i)
		}
		blocks = append(blocks, b)
	}
	if few := len(blocksOf(batch[50:])); open > few {
		t.Errorf("%d of %d blocks are vouched for by nobody; the last ten commits have %d", open, len(raw), few)
	}
	late := follower(t, n.rules)
	e, err := late.CatchUp(n.now, bare(batch), blocks)
	if err != nil {
		t.Fatal(err)
	}
	if len(e.Commits) < 50 || e.Commits[len(e.Commits)-1].Digest != all[len(e.Commits)-1].Digest {
		t.Errorf("%d commits of %d came of it", len(e.Commits), len(batch))
	}
}

// Whatever is done to a batch, nothing is vouched for that the network has not made.
func TestVouchedIsNotForged(t *testing.T) {
	n := busyNetwork(t, equal(4), 60)
	all := n.nodes[0].commits
	batch := bare(all[:40])
	raw := rawOf(blocksOf(all[:40]))
	made := make(map[Digest]bool)
	for _, c := range all {
		for _, ref := range c.Refs {
			made[ref.Digest] = true
		}
	}
	forged := func(c Commit, ref Ref) Commit {
		c.Refs = append(slices.Clone(c.Refs[:len(c.Refs)-1]), ref, c.Leader)
		c.Digest = digestOf(c.Bytes())
		return c
	}
	ours := *blocksOf(all[:40])[30]
	ours.payload = [][]byte{op("mint a million")}
	invented := seal(&ours, testKey(ours.ref.Author)) // a validator that is faulty
	with := append(slices.Clone(raw), invented.raw)

	for _, tc := range []struct {
		name    string
		commits []Commit
		raw     [][]byte
		all     bool // or nothing
	}{
		{"as it is", batch, raw, true},
		{"and a block nobody committed", batch, with, true},
		{"the last commit takes it in", append(slices.Clone(batch[:39]), forged(batch[39], invented.ref)), with, true},
		{"the first commit takes it in", append([]Commit{forged(batch[0], invented.ref)}, batch[1:]...), with, false},
		{"a commit alone takes it in", []Commit{forged(batch[0], invented.ref)}, with, false},
		{"a gap before all that is voted for", append(slices.Clone(batch[:1]), batch[2:]...), raw, false},
		{"of another epoch", func() []Commit {
			c := slices.Clone(batch)
			c[0].Epoch++
			return c
		}(), raw, false},
		{"votes of half of them", batch, rawOf(slices.DeleteFunc(blocksOf(all[:40]), func(b *Block) bool {
			return b.Author() > 1 && len(b.votes) > 0
		})), false},
	} {
		vouched, err := n.rules.Vouched(tc.commits, tc.raw, n.rules.Verify, nil)
		if err != nil {
			t.Errorf("%s: %v", tc.name, err)
		}
		some := 0
		for _, b := range vouched {
			if b == nil {
				continue
			}
			some++
			if !made[b.ref.Digest] {
				t.Errorf("%s: it vouches for block %v, which was forged", tc.name, b)
			}
		}
		if tc.all != (some > 0) {
			t.Errorf("%s: it vouches for %d blocks", tc.name, some)
		}
	}

	rng := rand.New(rand.NewPCG(1, 2))
	refused := 0
	for range 300 {
		bad := slices.Clone(raw)
		for range 1 + rng.IntN(8) {
			at := rng.IntN(len(bad))
			bad[at] = bytes.Clone(bad[at])
			bad[at][rng.IntN(len(bad[at]))] ^= 1 << rng.IntN(8)
		}
		vouched, err := n.rules.Vouched(batch, bad, n.rules.Verify, nil)
		if err != nil {
			refused++
		}
		for _, b := range vouched {
			if b != nil && !made[b.ref.Digest] {
				t.Fatalf("altered, and vouched for: %v", b)
			}
		}
	}
	t.Logf("%d of 300 altered batches were refused as a whole", refused)

	// A block whose votes count is verified, so a signature that is not good is seen.
	blocks := blocksOf(all[:40])
	last := len(blocks) - 1
	for len(blocks[last].votes) == 0 {
		last--
	}
	bad := slices.Clone(raw)
	bad[last] = bytes.Clone(bad[last])
	bad[last][len(bad[last])-1] ^= 1
	if _, err := n.rules.Vouched(batch, bad, n.rules.Verify, nil); !errors.Is(err, ErrSignature) {
		t.Errorf("a vote with an altered signature: %v", err)
	}
}
