package ledger

// slab holds records of one size side by side and hands out their positions,
// from 1. Records hold no pointers, so the garbage collector never looks
// inside, and a freed record's place is used again.
type slab[T any] struct {
	records []T // records[0] is never used
	free    []uint32
}

// take returns the position of a zeroed record.
func (s *slab[T]) take() uint32 {
	if n := len(s.free); n > 0 {
		at := s.free[n-1]
		s.free = s.free[:n-1]
		return at
	}
	if len(s.records) == 0 {
		s.records = make([]T, 1, 64)
	}
	var zero T
	s.records = append(s.records, zero)
	return uint32(len(s.records) - 1)
}

// give takes a record back.
func (s *slab[T]) give(at uint32) {
	var zero T
	s.records[at] = zero
	s.free = append(s.free, at)
}

// live is how many records are in use.
func (s *slab[T]) live() int { return max(0, len(s.records)-1) - len(s.free) }
