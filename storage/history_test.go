package storage

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
)

// workload is a fixed list of batches from one seed, and the digest of the
// store's contents after each.
type workload struct {
	steps   []workStep
	digests [][sha256.Size]byte // digests[n] is after n batches
}

type workStep struct {
	batch    Batch
	unsynced bool
}

// newWorkload is like a node's: blocks and commits in rising order, a position
// that is overwritten, an index written unsynced, and pruning. Its large values
// are more than half a memtable, and three blocks of the log.
func newWorkload(seed uint64, n int) *workload { return newSizedWorkload(seed, n, 6000, 70_000) }

// newSizedWorkload has values up to usual bytes, and now and then one of large.
func newSizedWorkload(seed uint64, n, usual, large int) *workload {
	r := rand.New(rand.NewPCG(seed, 1))
	w := &workload{steps: make([]workStep, n)}
	state := map[string]string{}
	w.digests = append(w.digests, digestOf(state))
	pruned := 0
	for i := range w.steps {
		step := &w.steps[i]
		set := func(key string, value []byte) {
			step.batch.Set([]byte(key), value)
			state[key] = string(value)
		}
		switch {
		case i%5 == 4:
			step.unsynced = true
			for range 1 + r.IntN(8) {
				set(fmt.Sprintf("index/%04d", r.IntN(200)), randomBytes(r, 64))
			}
		case i%17 == 16:
			from, to := fmt.Sprintf("block/%06d", pruned), fmt.Sprintf("block/%06d", i-12)
			pruned = i - 12
			step.batch.DeleteRange([]byte(from), []byte(to))
			maps.DeleteFunc(state, func(k, _ string) bool { return k >= from && k < to })
		default:
			size := 100 + r.IntN(usual)
			if i%23 == 11 {
				size = large
			}
			set(fmt.Sprintf("block/%06d", i), randomBytes(r, size))
			set(fmt.Sprintf("commit/%06d", i), randomBytes(r, 40))
			if i%7 == 3 {
				key := fmt.Sprintf("commit/%06d", r.IntN(i))
				step.batch.Delete([]byte(key))
				delete(state, key)
			}
		}
		set("meta/position", binary.BigEndian.AppendUint64(nil, uint64(i)))
		w.digests = append(w.digests, digestOf(state))
	}
	return w
}

func randomBytes(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func digestOf(state map[string]string) [sha256.Size]byte {
	h := sha256.New()
	for _, k := range slices.Sorted(maps.Keys(state)) {
		fmt.Fprintf(h, "%d %s %d %s", len(k), k, len(state[k]), state[k])
	}
	return [sha256.Size]byte(h.Sum(nil))
}

func digestStore(s *Store) ([sha256.Size]byte, error) {
	h := sha256.New()
	for e, err := range s.Scan(Range{}) {
		if err != nil {
			return [sha256.Size]byte{}, err
		}
		fmt.Fprintf(h, "%d %s %d %s", len(e.Key), e.Key, len(e.Value), e.Value)
	}
	return [sha256.Size]byte(h.Sum(nil)), nil
}

// progress counts what a run has handed in and what is known durable.
type progress struct{ issued, acked atomic.Int64 }

// run writes steps from..to of w.
func (w *workload) run(s *Store, p *progress, from, to int) error {
	for i := from; i < to; i++ {
		p.issued.Store(int64(i + 1))
		if w.steps[i].unsynced {
			if err := s.WriteUnsynced(&w.steps[i].batch); err != nil {
				return err
			}
			continue
		}
		if err := s.Write(&w.steps[i].batch); err != nil {
			return err
		}
		p.acked.Store(int64(i + 1))
	}
	return nil
}

// check says whether s holds exactly the first n batches of w for one n of
// acked..issued, and returns n.
func (w *workload) check(s *Store, acked, issued int64) (int64, error) {
	got, err := digestStore(s)
	if err != nil {
		return 0, err
	}
	u, err := s.Usage()
	if err != nil {
		return 0, err
	}
	n := int64(u.Batches)
	if n < acked || n > issued {
		return n, fmt.Errorf("%d batches are there; %d were acknowledged and %d written", n, acked, issued)
	}
	if got != w.digests[n] {
		return n, fmt.Errorf("the contents are not those after batch %d", n)
	}
	return n, nil
}

func TestReopenKeepsEverything(t *testing.T) {
	w := newWorkload(1, 120)
	fs := newTestFS()
	var p progress
	for from := 0; from < 120; from += 40 {
		s := mustOpen(t, fs)
		if _, err := w.check(s, int64(from), int64(from)); err != nil {
			t.Fatal(err)
		}
		if err := w.run(s, &p, from, from+40); err != nil {
			t.Fatal(err)
		}
		mustClose(t, s)
	}
	s := mustOpen(t, fs)
	defer mustClose(t, s)
	if _, err := w.check(s, 120, 120); err != nil {
		t.Fatal(err)
	}
}
