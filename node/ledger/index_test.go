package ledger

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// TestIndexAgainstMap compares the index with a map through additions and
// removals, with hashes that collide, in whole and in their last bits.
func TestIndexAgainstMap(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 5))
	var x index
	plain := map[indexEntry]bool{}
	var all []indexEntry
	for step := range 200_000 {
		if len(all) == 0 || rng.IntN(1000) < 510-min(step/400, 300) {
			e := indexEntry{tag: uint32(rng.IntN(40)) << (rng.IntN(4) * 8), ref: uint32(step + 1)}
			x.add(e.tag, e.ref)
			plain[e] = true
			all = append(all, e)
			continue
		}
		at := rng.IntN(len(all))
		e := all[at]
		x.remove(e.tag, e.ref)
		delete(plain, e)
		all = slices.Delete(all, at, at+1)
		if step%100 != 0 {
			continue
		}
		if x.used != len(plain) {
			t.Fatalf("step %d: %d used, want %d", step, x.used, len(plain))
		}
		for e := range plain {
			found := false
			for at := x.home(e.tag); ; {
				ref := x.next(e.tag, &at)
				if ref == 0 {
					break
				}
				found = found || ref == e.ref
			}
			if !found {
				t.Fatalf("step %d: %v is missing", step, e)
			}
		}
	}
}

// TestLadderAgainstSlice compares the ladder with a sorted slice of keys, far
// beyond one run.
func TestLadderAgainstSlice(t *testing.T) {
	rng := rand.New(rand.NewPCG(6, 6))
	var d ladder
	var plain []uint64
	for step := range 60_000 {
		grow := 650
		if step > 20_000 {
			grow = 400
		}
		key := uint64(1 + rng.IntN(5_000))
		at, there := slices.BinarySearch(plain, key)
		p, found := d.find(key)
		if found != there {
			t.Fatalf("step %d: %d found %v, want %v", step, key, found, there)
		}
		switch {
		case len(plain) > 0 && rng.IntN(20) == 0:
			d.removeBest()
			plain = plain[:len(plain)-1]
		case !there && rng.IntN(1000) < grow:
			d.insert(p, key, uint32(key))
			plain = slices.Insert(plain, at, key)
		case there && rng.IntN(1000) >= grow:
			d.remove(p)
			plain = slices.Delete(plain, at, at+1)
		}
		if step%50 == 0 {
			compareLadder(t, &d, plain)
		}
	}
}

func compareLadder(t *testing.T, d *ladder, plain []uint64) {
	t.Helper()
	if d.empty() != (len(plain) == 0) {
		t.Fatalf("empty %v with %d keys", d.empty(), len(plain))
	}
	at := len(plain)
	d.walk(func(level uint32, key uint64) bool {
		at--
		if at < 0 || key != plain[at] || level != uint32(key) {
			t.Fatalf("key %d (level %d) at %d from the worst", key, level, at)
		}
		return true
	})
	if at != 0 {
		t.Fatalf("%d keys are missing", at)
	}
	for i, r := range d.runs {
		if r.n == 0 || d.firsts[i] != r.keys[0] {
			t.Fatalf("run %d of %d keys begins with %d, not %d", i, r.n, r.keys[0], d.firsts[i])
		}
	}
}
