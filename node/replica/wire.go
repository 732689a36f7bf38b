package replica

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// errBytes is what every decoder of this package returns for bytes that are not
// the canonical form of a value.
var errBytes = errors.New("replica: malformed")

// reader takes values off the front of untrusted bytes. After the first fault
// it returns zero values only; done reports the fault. Lengths are checked
// against what is left before anything is allocated.
type reader struct {
	rest []byte
	at   int
	err  error
}

func (r *reader) fail(why string) {
	if r.err == nil {
		r.err = fmt.Errorf("%w at byte %d: %s", errBytes, r.at, why)
	}
	r.rest = nil
}

func (r *reader) take(n int) []byte {
	if r.err != nil || n > len(r.rest) {
		r.fail("cut short")
		return nil
	}
	b := r.rest[:n:n]
	r.rest, r.at = r.rest[n:], r.at+n
	return b
}

func (r *reader) byte() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

// uint takes a number in the shortest form of a uvarint, of at most max.
func (r *reader) uint(max uint64) uint64 {
	n, size := binary.Uvarint(r.rest)
	switch {
	case r.err != nil:
		return 0
	case size <= 0:
		r.fail("a number is cut short or beyond 64 bits")
		return 0
	case size > 1 && r.rest[size-1] == 0:
		r.fail("a number is longer than it needs to be")
		return 0
	case n > max:
		r.fail(fmt.Sprintf("%d is above the bound %d", n, max))
		return 0
	}
	r.rest, r.at = r.rest[size:], r.at+size
	return n
}

func (r *reader) digest() (d [32]byte) {
	copy(d[:], r.take(len(d)))
	return d
}

// bytes takes a length of at most max and as many bytes, not copied.
func (r *reader) bytes(max int) []byte { return r.take(int(r.uint(uint64(max)))) }

// list takes a count of at most max and as many byte strings, not copied.
func (r *reader) list(max, bytesMax int) [][]byte {
	n := int(r.uint(uint64(min(max, len(r.rest))))) // each takes a byte at least
	if n == 0 || r.err != nil {
		return nil
	}
	l := make([][]byte, 0, n)
	for range n {
		l = append(l, r.bytes(bytesMax))
	}
	return l
}

func (r *reader) done() error {
	if r.err == nil && len(r.rest) > 0 {
		r.fail(fmt.Sprintf("%d bytes too many", len(r.rest)))
	}
	return r.err
}

func appendBytes(b, s []byte) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendList(b []byte, l [][]byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(l)))
	for _, s := range l {
		b = appendBytes(b, s)
	}
	return b
}
