package ledger

// recency finds open orders by id. Ids are given in order and most orders are gone
// soon, so the newest ids stand side by side in a ring, where an order is found, added
// and removed without a hash or a search; one that is still open when the ring has come
// round moves to an index. Per open order it takes at most 32 bytes, however old it is.
//
//	floor <= id <= newest: the order, or 0, is at ring[id modulo its length]
//	id < floor:            it is in old, if it is open
//	newest - floor < len(ring)
type recency struct {
	ring          []uint32 // a power of two long, or nil
	floor, newest OrderID
	old           index
	open          int
}

// ringMin is the length a ring begins with; ringPerOrder how many times as long as there
// are open orders it is at least, so that few orders outlive it.
const (
	ringMin      = 64
	ringPerOrder = 4
)

func newRecency() recency { return recency{floor: 1} }

// reserve makes room for a number of orders with ids up to newest. Nothing is added yet.
func (x *recency) reserve(orders int, newest OrderID) {
	size := ringMin
	for size < ringPerOrder*orders {
		size *= 2
	}
	x.ring, x.newest = make([]uint32, size), newest
	x.floor = max(1, newest-min(newest, OrderID(size)-1))
}

// add enters an order that is not there. An id above the newest moves the ring on.
func (x *recency) add(h *hasher, id OrderID, at uint32) {
	if x.open++; ringPerOrder*x.open > len(x.ring) {
		x.grow()
	}
	if id > x.newest {
		x.moveOn(h, id)
	}
	if id < x.floor {
		x.old.add(h.number(uint64(id)), at)
		return
	}
	*x.place(id) = at
}

func (x *recency) place(id OrderID) *uint32 { return &x.ring[id&OrderID(len(x.ring)-1)] }

// moveOn makes id the newest. What falls behind the floor and is open becomes old.
func (x *recency) moveOn(h *hasher, id OrderID) {
	for x.newest = id; x.newest-x.floor >= OrderID(len(x.ring)); x.floor++ {
		if v := x.place(x.floor); *v != 0 {
			x.old.add(h.number(uint64(x.floor)), *v)
			*v = 0
		}
	}
}

// grow doubles the ring. What is old already stays so.
func (x *recency) grow() {
	was := *x
	x.ring = make([]uint32, max(ringMin, 2*len(was.ring)))
	for id := was.floor; id <= was.newest; id++ {
		*x.place(id) = *was.place(id)
	}
}

// remove takes an order out.
func (x *recency) remove(h *hasher, id OrderID, at uint32) {
	x.open--
	if id < x.floor {
		x.old.remove(h.number(uint64(id)), at)
		return
	}
	v := x.place(id)
	if *v != at {
		panic("ledger: invariant broken: an order is not where its id says")
	}
	*v = 0
}

// orderByID returns the open order with this id, or 0.
func (l *Ledger) orderByID(id OrderID) uint32 {
	x := &l.byID
	switch {
	case id > x.newest:
		return 0
	case id >= x.floor:
		return *x.place(id)
	}
	tag := l.hash.number(uint64(id))
	for at := x.old.home(tag); ; {
		ref := x.old.next(tag, &at)
		if ref == 0 || l.orders.records[ref].id == id {
			return ref
		}
	}
}
