package storage

import (
	"bytes"
	"errors"
	"fmt"
	"iter"

	"github.com/cockroachdb/pebble/v2"
)

// Entry is a key and its value.
type Entry struct{ Key, Value []byte }

// Range is the keys From <= key < To. An empty From is the first key, an
// empty To is past the last.
type Range struct{ From, To []byte }

// Prefix is the range of all keys that begin with p.
func Prefix(p []byte) Range { return Range{From: p, To: prefixEnd(p)} }

// prefixEnd is the first key after all that begin with p: p without its last
// 0xff bytes, plus one. There is none if p is nothing but 0xff.
func prefixEnd(p []byte) []byte {
	for i := len(p); i > 0; i-- {
		if p[i-1] != 0xff {
			end := bytes.Clone(p[:i])
			end[i-1]++
			return end
		}
	}
	return nil
}

// Get returns a copy of key's value, or ErrNotFound.
func (s *Store) Get(key []byte) ([]byte, error) {
	if len(key) == 0 || key[0] == reservedByte {
		return nil, ErrNotFound
	}
	for {
		e, err := s.acquire()
		if err != nil {
			return nil, err
		}
		value, err := e.get(key)
		s.release(e)
		// An engine that a full disk stopped in the middle of the read cannot
		// answer for what it had not yet written; its successor can.
		if err != nil && !errors.Is(err, ErrNotFound) && e.guard.fault() != nil {
			if s.isCurrent(e) {
				return nil, readError(s.dir, err)
			}
			continue
		}
		if err != nil && !errors.Is(err, ErrNotFound) {
			return nil, readError(s.dir, err)
		}
		return value, err
	}
}

// isCurrent says whether e is still to be asked after its fault was looked into.
func (s *Store) isCurrent(e *engine) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.usable() == nil && s.current == e
}

func (e *engine) get(key []byte) ([]byte, error) {
	v, closer, err := e.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	defer closer.Close()
	return append([]byte{}, v...), nil
}

// Scan yields the entries of r in key order, as they are at the first step.
// Writes during the scan are not seen. An error ends it and comes with an empty
// entry. The slices are the store's and good until the next step: copy to keep.
//
// A scan left open keeps files on disk that would else be deleted; finish it.
func (s *Store) Scan(r Range) iter.Seq2[Entry, error] { return s.scan(r, false) }

// ScanBack is Scan from the last key to the first.
func (s *Store) ScanBack(r Range) iter.Seq2[Entry, error] { return s.scan(r, true) }

// First returns a copy of the first entry of r, or ErrNotFound.
func (s *Store) First(r Range) (Entry, error) { return one(s.Scan(r)) }

// Last returns a copy of the last entry of r, or ErrNotFound: the newest, where
// keys end in a rising number.
func (s *Store) Last(r Range) (Entry, error) { return one(s.ScanBack(r)) }

func one(scan iter.Seq2[Entry, error]) (Entry, error) {
	for entry, err := range scan {
		if err != nil {
			return Entry{}, err
		}
		return Entry{Key: bytes.Clone(entry.Key), Value: append([]byte{}, entry.Value...)}, nil
	}
	return Entry{}, ErrNotFound
}

func (s *Store) scan(r Range, back bool) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		e, err := s.acquire()
		if err != nil {
			yield(Entry{}, err)
			return
		}
		defer s.release(e)
		stopped, err := s.walk(e, r, back, yield)
		if err != nil && !stopped {
			yield(Entry{}, err)
		}
	}
}

// walk steps through r until yield stops it or there is an error.
func (s *Store) walk(e *engine, r Range, back bool, yield func(Entry, error) bool) (stopped bool, err error) {
	opts := pebble.IterOptions{LowerBound: r.From, UpperBound: r.To}
	if len(r.From) == 0 || r.From[0] == reservedByte {
		opts.LowerBound = []byte{reservedByte + 1}
	}
	if len(r.To) == 0 {
		opts.UpperBound = nil
	} else if bytes.Compare(opts.LowerBound, r.To) >= 0 {
		return false, nil
	}
	it, err := e.db.NewIter(&opts)
	if err != nil {
		return false, readError(s.dir, err)
	}
	start, step := it.First, it.Next
	if back {
		start, step = it.Last, it.Prev
	}
	for ok := start(); ok; ok = step() {
		if s.closing.Load() {
			return false, errors.Join(fmt.Errorf("%w: %s", ErrClosed, s.dir), it.Close())
		}
		value, err := it.ValueAndErr()
		if err != nil {
			_ = it.Close() // says the same
			return false, readError(s.dir, err)
		}
		if !yield(Entry{Key: it.Key(), Value: value}, nil) {
			return true, it.Close()
		}
	}
	if err := it.Close(); err != nil { // with what ended the iteration, if not the range
		return false, readError(s.dir, err)
	}
	return false, nil
}
