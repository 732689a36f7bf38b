package ledger

import "hash/maphash"

// index finds records of a slab by a hash of their key: open addressing with
// linear probing, half full at most, eight bytes an entry, so that a look-up is
// one cache miss here and one in the slab. It keeps no keys: next yields the
// records whose hash agrees, and the caller compares the key in the slab.
//
// Its order is never seen: not in events, not in roots, not in snapshots. So
// hashes are seeded per process, and nobody can choose keys that collide.
type index struct {
	entries []indexEntry // a power of two long, or nil
	used    int
}

type indexEntry struct {
	tag uint32 // the hash
	ref uint32 // the record; 0: the entry is free
}

// indexEntriesMin is the size an index begins with.
const indexEntriesMin = 64

// next returns the record of the entry *at or of one after it that has this
// tag, and moves *at behind it; 0 when there is no more. A search begins with
// *at = home(tag).
func (x *index) next(tag uint32, at *uint32) uint32 {
	if len(x.entries) == 0 {
		return 0
	}
	mask := uint32(len(x.entries) - 1)
	for i := *at; ; i++ {
		e := x.entries[i&mask]
		if e.tag == tag || e.ref == 0 {
			*at = i + 1
			return e.ref
		}
	}
}

// home is where a search for the tag begins, modulo the length.
func (x *index) home(tag uint32) uint32 { return tag }

// add enters a record that is not there.
func (x *index) add(tag, ref uint32) {
	if 2*(x.used+1) > len(x.entries) {
		x.grow()
	}
	x.put(indexEntry{tag, ref})
	x.used++
}

func (x *index) put(e indexEntry) {
	mask := uint32(len(x.entries) - 1)
	i := x.home(e.tag)
	for x.entries[i&mask].ref != 0 {
		i++
	}
	x.entries[i&mask] = e
}

func (x *index) grow() {
	old := x.entries
	x.entries = make([]indexEntry, max(indexEntriesMin, 2*len(old)))
	for _, e := range old {
		if e.ref != 0 {
			x.put(e)
		}
	}
}

// remove takes a record out and closes the gap, so that no tombstones slow
// later searches down.
func (x *index) remove(tag, ref uint32) {
	mask := uint32(len(x.entries) - 1)
	gap := x.home(tag) & mask
	for x.entries[gap] != (indexEntry{tag, ref}) {
		if x.entries[gap].ref == 0 {
			panic("ledger: invariant broken: a record is missing in its index")
		}
		gap = (gap + 1) & mask
	}
	for i := (gap + 1) & mask; x.entries[i].ref != 0; i = (i + 1) & mask {
		// An entry may move back into the gap unless its home lies behind it.
		if (i-x.home(x.entries[i].tag))&mask >= (i-gap)&mask {
			x.entries[gap] = x.entries[i]
			gap = i
		}
	}
	x.entries[gap] = indexEntry{}
	x.used--
}

// hasher makes the tags. Its seed differs from process to process.
type hasher struct {
	seed maphash.Seed
	salt uint64
}

func newHasher() hasher {
	h := hasher{seed: maphash.MakeSeed()}
	h.salt = maphash.Bytes(h.seed, nil)
	return h
}

// number hashes a number the ledger has given out, or a price. Eight in a row
// share a cache line of the index, as new orders and near prices come in rows;
// more do not, so that no row of theirs makes a long search.
func (h *hasher) number(n uint64) uint32 {
	x := (n>>3 ^ h.salt) * 0x9e3779b97f4a7c15
	x ^= x >> 32
	x *= 0xd6e8feb86659fd93
	return uint32(x>>32)<<3 | uint32(n&7)
}

// key hashes an account.
func (h *hasher) key(a *Account) uint32 { return uint32(maphash.Bytes(h.seed, a[:])) }

// digest hashes a digest.
func (h *hasher) digest(d *Digest) uint32 { return uint32(maphash.Bytes(h.seed, d[:])) }

// name hashes an account's name for an order.
func (h *hasher) name(of AccountRef, id *ClientID) uint32 {
	return uint32(maphash.Bytes(h.seed, id[:])) ^ h.number(uint64(of))
}
