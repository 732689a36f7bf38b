package ledger

import "slices"

// ladder is the sorted price levels of one side of a book. Prices become keys
// of which the highest is the best: a bid's price itself, an ask's complement.
//
// Keys stand in runs of at most runLevelsMax, worst first, so that the best is
// at the very end, where orders come and go, and a level far from the touch of
// a book of a hundred thousand levels still moves a few kilobytes at most.
//
// An order at a price that is there finds its level by the index, without a
// search; only a price that comes or goes moves anything.
type ladder struct {
	runs    []*run
	firsts  []uint64 // the first key of each run
	spare   *run     // an empty run, kept for the next split
	byPrice index    // levels
}

// runLevelsMax makes a run fit a few cache lines per search step.
const runLevelsMax = 128

type run struct {
	n      int
	keys   [runLevelsMax]uint64
	levels [runLevelsMax]uint32
}

// levelKey turns a price into a key, and back.
func levelKey(side Side, price Ticks) uint64 {
	if side == Buy {
		return uint64(price)
	}
	return ^uint64(price)
}

func (d *ladder) empty() bool { return len(d.runs) == 0 }

// best returns the best level and its key.
func (d *ladder) best() (level uint32, key uint64) {
	r := d.runs[len(d.runs)-1]
	return r.levels[r.n-1], r.keys[r.n-1]
}

// place is a position in a ladder.
type place struct{ run, at int }

// find returns where the key is, or where it belongs.
func (d *ladder) find(key uint64) (p place, found bool) {
	p.run = len(d.runs) - 1
	if p.run < 0 {
		return place{}, false
	}
	if key < d.firsts[p.run] {
		at, exact := slices.BinarySearch(d.firsts, key)
		if !exact && at > 0 {
			at--
		}
		p.run = at
	}
	r := d.runs[p.run]
	lo, hi := 0, r.n
	for lo < hi {
		m := int(uint(lo+hi) >> 1)
		if r.keys[m&(runLevelsMax-1)] < key {
			lo = m + 1
		} else {
			hi = m
		}
	}
	p.at = lo
	return p, lo < r.n && r.keys[lo] == key
}

// insert puts a level where find said it belongs.
func (d *ladder) insert(p place, key uint64, level uint32) {
	if len(d.runs) == 0 {
		d.addRun(0, d.newRun())
	}
	r := d.runs[p.run]
	if r.n == runLevelsMax {
		p = d.split(p)
		r = d.runs[p.run]
	}
	copy(r.keys[p.at+1:r.n+1], r.keys[p.at:r.n])
	copy(r.levels[p.at+1:r.n+1], r.levels[p.at:r.n])
	r.keys[p.at], r.levels[p.at] = key, level
	r.n++
	d.firsts[p.run] = r.keys[0]
}

// split halves a full run and returns where p is now.
func (d *ladder) split(p place) place {
	const half = runLevelsMax / 2
	r, upper := d.runs[p.run], d.newRun()
	upper.n = copy(upper.keys[:], r.keys[half:])
	copy(upper.levels[:], r.levels[half:])
	r.n = half
	d.addRun(p.run+1, upper)
	if p.at > half {
		return place{p.run + 1, p.at - half}
	}
	return p
}

// remove takes the level at a position out. A run that shrinks joins the one
// below it when both fit into half of one, so that removals leave no long
// chain of nearly empty runs.
func (d *ladder) remove(p place) {
	r := d.runs[p.run]
	copy(r.keys[p.at:r.n-1], r.keys[p.at+1:r.n])
	copy(r.levels[p.at:r.n-1], r.levels[p.at+1:r.n])
	r.n--
	if r.n == 0 {
		d.removeRun(p.run)
		return
	}
	d.firsts[p.run] = r.keys[0]
	if p.run > 0 && r.n+d.runs[p.run-1].n <= runLevelsMax/2 {
		below := d.runs[p.run-1]
		copy(below.keys[below.n:], r.keys[:r.n])
		copy(below.levels[below.n:], r.levels[:r.n])
		below.n += r.n
		d.removeRun(p.run)
	}
}

// removeBest takes the best level out.
func (d *ladder) removeBest() {
	last := len(d.runs) - 1
	if r := d.runs[last]; r.n > 1 {
		r.n--
		return
	}
	d.removeRun(last)
}

func (d *ladder) newRun() *run {
	if r := d.spare; r != nil {
		d.spare = nil
		return r
	}
	return new(run)
}

func (d *ladder) addRun(at int, r *run) {
	d.runs = slices.Insert(d.runs, at, r)
	d.firsts = slices.Insert(d.firsts, at, r.keys[0])
}

func (d *ladder) removeRun(at int) {
	d.spare = d.runs[at]
	d.spare.n = 0
	d.runs = slices.Delete(d.runs, at, at+1)
	d.firsts = slices.Delete(d.firsts, at, at+1)
}

// walk calls visit with each level from the best on, until it returns false.
func (d *ladder) walk(visit func(level uint32, key uint64) bool) {
	for i := len(d.runs) - 1; i >= 0; i-- {
		r := d.runs[i]
		for j := r.n - 1; j >= 0; j-- {
			if !visit(r.levels[j], r.keys[j]) {
				return
			}
		}
	}
}
