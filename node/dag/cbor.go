package dag

import (
	"encoding/binary"
	"fmt"
	"math"
)

// This is the part of DAG-CBOR that blocks and commits need, written out because
// the reader must refuse everything but the one canonical form, say at which
// byte, and not copy. https://ipld.io/specs/codecs/dag-cbor/spec/

// The major types of CBOR, in the upper three bits of an item's first byte.
const (
	majorUint  = 0
	majorBytes = 2
	majorText  = 3
	majorArray = 4
	majorMap   = 5
	majorTag   = 6
)

// linkTag marks a CID; the CID's bytes follow, after a zero byte.
const linkTag = 42

// linkPrefix is what stands before the 32 bytes of a digest in a link: byte
// string of 37, the zero byte, CIDv1, dag-cbor, sha2-256, 32 bytes.
var linkPrefix = [...]byte{0xd8, linkTag, 0x58, 37, 0x00, 0x01, 0x71, 0x12, 0x20}

// DecodeError says where bytes stop being a canonical object, and why.
type DecodeError struct {
	Object string // block or commit
	Offset int    // of the first bad byte
	Reason string
}

func (e *DecodeError) Error() string {
	return fmt.Sprintf("dag: bad %s at byte %d: %s", e.Object, e.Offset, e.Reason)
}

func appendHead(b []byte, major byte, n uint64) []byte {
	major <<= 5
	switch {
	case n < 24:
		return append(b, major|byte(n))
	case n <= math.MaxUint8:
		return append(b, major|24, byte(n))
	case n <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(append(b, major|25), uint16(n))
	case n <= math.MaxUint32:
		return binary.BigEndian.AppendUint32(append(b, major|26), uint32(n))
	}
	return binary.BigEndian.AppendUint64(append(b, major|27), n)
}

func appendKey(b []byte, key string) []byte {
	return append(appendHead(b, majorText, uint64(len(key))), key...)
}

func appendBytes(b, value []byte) []byte {
	return append(appendHead(b, majorBytes, uint64(len(value))), value...)
}

func appendLink(b []byte, d Digest) []byte {
	return append(append(b, linkPrefix[:]...), d[:]...)
}

// appendRef writes [round, author, link].
func appendRef(b []byte, r Ref) []byte {
	b = appendHead(b, majorArray, 3)
	b = appendHead(b, majorUint, r.Round)
	b = appendHead(b, majorUint, uint64(r.Author))
	return appendLink(b, r.Digest)
}

// reader reads canonical items one after the other. After the first failure it
// stays where it is and returns zeros; the caller looks at err once, at the end.
type reader struct {
	object string
	data   []byte
	at     int
	err    *DecodeError
}

func (r *reader) failAt(offset int, format string, args ...any) {
	if r.err == nil {
		r.err = &DecodeError{r.object, offset, fmt.Sprintf(format, args...)}
	}
}

// head reads an item's first bytes, which must be of the given major type and as
// short as possible, and returns its number, at most max.
func (r *reader) head(major byte, what string, max uint64) uint64 {
	start := r.at
	if r.err != nil {
		return 0
	}
	if start >= len(r.data) {
		r.failAt(start, "the bytes end where %s should be", what)
		return 0
	}
	first := r.data[start]
	if first>>5 != major {
		r.failAt(start, "%s is of CBOR type %d, not %d", what, first>>5, major)
		return 0
	}
	n, size := uint64(first&31), 0
	if n >= 24 {
		if n > 27 {
			r.failAt(start, "%s has a length form that is not canonical", what)
			return 0
		}
		size = 1 << (n - 24)
		if len(r.data)-start-1 < size {
			r.failAt(start, "the bytes end inside %s", what)
			return 0
		}
		n = 0
		for _, b := range r.data[start+1 : start+1+size] {
			n = n<<8 | uint64(b)
		}
		if size == 1 && n < 24 || size > 1 && n>>(4*size) == 0 {
			r.failAt(start, "%s is not in its shortest form", what)
			return 0
		}
	}
	if n > max {
		r.failAt(start, "%s is %d, at most %d is allowed", what, n, max)
		return 0
	}
	r.at = start + 1 + size
	return n
}

func (r *reader) uint(what string) uint64 { return r.head(majorUint, what, math.MaxInt64) }

// take returns the next n bytes without copying.
func (r *reader) take(n int, what string) []byte {
	if r.err != nil {
		return nil
	}
	if len(r.data)-r.at < n {
		r.failAt(r.at, "the bytes end inside %s", what)
		return nil
	}
	r.at += n
	return r.data[r.at-n : r.at : r.at]
}

// key reads one map key, which must be the given one: the order is canonical
// and nothing is optional.
func (r *reader) key(want string) {
	start := r.at
	if end := r.at + 1 + len(want); r.err == nil && end <= len(r.data) &&
		r.data[r.at] == majorText<<5|byte(len(want)) && string(r.data[r.at+1:end]) == want {
		r.at = end // as it should be: without putting together what an error would say
		return
	}
	n := r.head(majorText, "the key "+want, math.MaxInt16)
	if got := r.take(int(n), "the key "+want); r.err == nil && string(got) != want {
		r.failAt(start, "key %q where %q must be", got, want)
	}
}

// bytes reads a byte string of min to max bytes without copying it.
func (r *reader) bytes(what string, min, max int) []byte {
	start := r.at
	n := int(r.head(majorBytes, what, uint64(max)))
	if r.err == nil && n < min {
		r.failAt(start, "%s has %d bytes, at least %d are needed", what, n, min)
	}
	return r.take(n, what)
}

// fixed reads a byte string of exactly len(into) bytes.
func (r *reader) fixed(what string, into []byte) {
	copy(into, r.bytes(what, len(into), len(into)))
}

func (r *reader) link(what string) (d Digest) {
	start := r.at
	if prefix := r.take(len(linkPrefix), what); r.err == nil && string(prefix) != string(linkPrefix[:]) {
		r.failAt(start, "%s is not a link to dag-cbor by sha2-256", what)
	}
	copy(d[:], r.take(len(d), what))
	return d
}

// refNames are what a reference and its parts are called in an error. They are
// put together once: a block has a reference for every validator.
type refNames struct{ whole, round, author, link string }

func nameRef(what string) *refNames {
	return &refNames{what, "the round of " + what, "the author of " + what, "the link of " + what}
}

var (
	parentRef = nameRef("a parent")
	blockRef  = nameRef("a block")
	leaderRef = nameRef("the leader")
)

func (r *reader) ref(what *refNames) (ref Ref) {
	start := r.at
	if n := r.head(majorArray, what.whole, 3); r.err == nil && n != 3 {
		r.failAt(start, "%s has %d parts, not 3", what.whole, n)
	}
	ref.Round = r.uint(what.round)
	ref.Author = Author(r.head(majorUint, what.author, CommitteeMax-1))
	ref.Digest = r.link(what.link)
	return ref
}

// end refuses what follows the object.
func (r *reader) end() {
	if r.err == nil && r.at != len(r.data) {
		r.failAt(r.at, "%d bytes follow the %s", len(r.data)-r.at, r.object)
	}
}
