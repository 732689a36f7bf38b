package sim

import (
	"errors"
	"fmt"
	"iter"
	"slices"
	"sort"
	"strings"
)

// disk is one node's store: keys in order, written by atomic batches, as package
// storage promises them. What the node sees is what storage would show it:
//
//   - a batch is not durable before its sync has ended; a crash in between loses
//     it or keeps it, whole either way;
//   - a flipped bit is found by checksum: the read fails and names the key;
//   - a lost disk is empty.
type disk struct {
	data    sorted
	pending []record
	syncing bool
	flipped map[string]bool
}

// record is a key and its value; a nil value deletes.
type record struct {
	key   string
	value []byte
}

// errFlipped is what a read of a damaged record fails with.
var errFlipped = errors.New("sim: checksum mismatch")

func newDisk() *disk { return &disk{flipped: make(map[string]bool)} }

// begin hands a batch to the disk. It is readable at once, as a store's memory
// table is, and durable when end returns.
func (d *disk) begin(batch []record) {
	if d.syncing {
		panic("sim: invariant broken: two batches at once on one disk")
	}
	d.write(batch)
	d.syncing = true
}

// write hands over a batch that becomes durable with the next sync.
func (d *disk) write(batch []record) { d.pending = append(d.pending, batch...) }

// end makes the batch durable.
func (d *disk) end() {
	d.apply(d.pending)
	d.empty()
}

// crash loses power. What is not synced is kept or lost, as the caller has drawn;
// it reports how many records were lost.
func (d *disk) crash(keep bool) (lost int) {
	if keep {
		d.end()
		return 0
	}
	lost = len(d.pending)
	d.empty()
	return lost
}

// empty leaves nothing pending, and the space for the next batch.
func (d *disk) empty() {
	clear(d.pending)
	d.pending, d.syncing = d.pending[:0], false
}

// wipe is the loss of the disk.
func (d *disk) wipe() { *d = *newDisk() }

// flip damages the record numbered by at, modulo how many there are, and
// returns its key; ok is false on an empty disk.
func (d *disk) flip(at int) (key string, ok bool) {
	if d.data.size == 0 {
		return "", false
	}
	at %= d.data.size
	for _, c := range d.data.chunks {
		if at < len(c.records) {
			key = c.records[at].key
			d.flipped[key] = true
			return key, true
		}
		at -= len(c.records)
	}
	panic("sim: invariant broken: a disk that miscounts its records")
}

func (d *disk) apply(batch []record) {
	for _, r := range batch {
		delete(d.flipped, r.key)
		if r.value == nil {
			d.data.remove(r.key)
		} else {
			d.data.put(r.key, r.value)
		}
	}
}

// get reads one record. The value belongs to the disk: read only.
func (d *disk) get(key []byte) (value []byte, ok bool, err error) {
	if len(d.flipped) > 0 && d.flipped[string(key)] {
		return nil, false, fmt.Errorf("%w in record %q", errFlipped, key)
	}
	for i := len(d.pending) - 1; i >= 0; i-- {
		if d.pending[i].key == string(key) {
			return d.pending[i].value, d.pending[i].value != nil, nil
		}
	}
	value, ok = d.data.get(string(key))
	return value, ok, nil
}

// scan reads the records whose keys start with prefix, from the key from on, in
// key order. The values belong to the disk. It stops at a damaged record with
// its error.
func (d *disk) scan(prefix, from string) iter.Seq2[record, error] {
	if from < prefix {
		from = prefix
	}
	return func(yield func(record, error) bool) {
		if len(d.pending) > 0 {
			// A read between a write and its sync sees the write.
			d.scanPending(prefix, from, yield)
			return
		}
		for r := range d.data.from(from) {
			if !strings.HasPrefix(r.key, prefix) || !d.hand(r, yield) {
				return
			}
		}
	}
}

func (d *disk) hand(r record, yield func(record, error) bool) bool {
	if len(d.flipped) > 0 && d.flipped[r.key] {
		yield(record{}, fmt.Errorf("%w in record %q", errFlipped, r.key))
		return false
	}
	return yield(r, nil)
}

func (d *disk) scanPending(prefix, from string, yield func(record, error) bool) {
	fresh := d.pendingFrom(prefix, from)
	next := func() record { r := fresh[0]; fresh = fresh[1:]; return r }
	for r := range d.data.from(from) {
		if !strings.HasPrefix(r.key, prefix) {
			break
		}
		for len(fresh) > 0 && fresh[0].key < r.key {
			if f := next(); f.value != nil && !d.hand(f, yield) {
				return
			}
		}
		if len(fresh) > 0 && fresh[0].key == r.key {
			r = next()
		}
		if r.value != nil && !d.hand(r, yield) {
			return
		}
	}
	for len(fresh) > 0 {
		if f := next(); f.value != nil && !d.hand(f, yield) {
			return
		}
	}
}

// pendingFrom is the newest pending change of each key of a range, in key order.
func (d *disk) pendingFrom(prefix, from string) []record {
	newest := make(map[string]int)
	for i, r := range d.pending {
		if r.key >= from && strings.HasPrefix(r.key, prefix) {
			newest[r.key] = i
		}
	}
	fresh := make([]record, 0, len(newest))
	for _, i := range newest { // order: the records are sorted below
		fresh = append(fresh, d.pending[i])
	}
	slices.SortFunc(fresh, func(a, b record) int { return strings.Compare(a.key, b.key) })
	return fresh
}

// chunkMax bounds the records of a chunk: an insertion moves at most so many.
const chunkMax = 128

// sorted is a map in key order: a list of short sorted chunks. Keys arrive
// nearly in order, so most insertions are at a chunk's end.
type sorted struct {
	chunks []chunk
	size   int
}

type chunk struct{ records []record }

// find returns the chunk that holds key or would, and the place in it.
func (s *sorted) find(key string) (c, i int, ok bool) {
	c = max(0, sort.Search(len(s.chunks), func(i int) bool { return s.chunks[i].records[0].key > key })-1)
	if c == len(s.chunks) {
		return c, 0, false
	}
	rs := s.chunks[c].records
	i, ok = slices.BinarySearchFunc(rs, key, func(r record, k string) int { return strings.Compare(r.key, k) })
	return c, i, ok
}

func (s *sorted) get(key string) ([]byte, bool) {
	c, i, ok := s.find(key)
	if !ok {
		return nil, false
	}
	return s.chunks[c].records[i].value, true
}

func (s *sorted) put(key string, value []byte) {
	c, i, ok := s.find(key)
	if ok {
		s.chunks[c].records[i].value = value
		return
	}
	s.size++
	if c == len(s.chunks) {
		s.chunks = append(s.chunks, chunk{})
	}
	ch := &s.chunks[c]
	ch.records = slices.Insert(ch.records, i, record{key, value})
	if len(ch.records) <= chunkMax {
		return
	}
	half := len(ch.records) / 2
	if i == len(ch.records)-1 {
		half = i // in order: leave a full chunk behind
	}
	upper := chunk{slices.Clone(ch.records[half:])}
	ch.records = slices.Delete(ch.records, half, len(ch.records))
	s.chunks = slices.Insert(s.chunks, c+1, upper)
}

func (s *sorted) remove(key string) {
	c, i, ok := s.find(key)
	if !ok {
		return
	}
	s.size--
	s.chunks[c].records = slices.Delete(s.chunks[c].records, i, i+1)
	if len(s.chunks[c].records) == 0 {
		s.chunks = slices.Delete(s.chunks, c, c+1)
	}
}

// from yields the records from key on; the map must not change meanwhile.
func (s *sorted) from(key string) iter.Seq[record] {
	return func(yield func(record) bool) {
		c, i, _ := s.find(key)
		for ; c < len(s.chunks); c, i = c+1, 0 {
			for ; i < len(s.chunks[c].records); i++ {
				if !yield(s.chunks[c].records[i]) {
					return
				}
			}
		}
	}
}
