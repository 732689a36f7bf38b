package ledger

import (
	"encoding/binary"
	"fmt"
	"math"
	"strconv"
	"unicode/utf8"
)

// DecodeError says why bytes are not an object of ours, and where.
type DecodeError struct {
	Offset int    // in bytes from the start, of what is wrong
	Reason string // a sentence for people
}

func (e *DecodeError) Error() string {
	return "byte " + strconv.Itoa(e.Offset) + ": " + e.Reason
}

// codec writes and reads DAG-CBOR by one description: each object has a single
// function that names its fields in canonical order, and that function both
// encodes and decodes. What is written can so be read back, and there is one
// byte string per value:
//
//   - integers and lengths take their shortest form, lengths are definite;
//   - an object is a map; its keys are in DAG-CBOR order, shorter first, then
//     bytewise;
//   - a field that is zero, empty or false is left out, and is refused when
//     it is there;
//   - an Amount is a byte string, big endian, without leading zeros;
//   - nothing follows the object.
//
// Every map of ours has fewer than 24 fields and every key is shorter than 24
// bytes, so each of their heads is one byte.
//
// The first fault sticks: after it, reads give zeros and change nothing.
type codec struct {
	writing bool
	buf     []byte // what is read, or what has been written
	off     int    // reading: how far
	fault   *DecodeError
}

// CBOR major types, in the upper three bits of a head.
const (
	majorUint  = 0 << 5
	majorNeg   = 1 << 5
	majorBytes = 2 << 5
	majorText  = 3 << 5
	majorArray = 4 << 5
	majorMap   = 5 << 5
	cborTrue   = 0xf5
)

// linkPrefix stands before the 32 digest bytes of a link: tag 42, a byte
// string of 37, the identity multibase, CIDv1, dag-cbor, sha2-256, 32 bytes.
const linkPrefix = "\xd8\x2a\x58\x25\x00\x01\x71\x12\x20"

func (c *codec) fail(at int, reason string) {
	if c.fault == nil {
		c.fault = &DecodeError{Offset: at, Reason: reason}
	}
}

func (c *codec) failf(at int, format string, args ...any) {
	if c.fault == nil {
		c.fault = &DecodeError{Offset: at, Reason: fmt.Sprintf(format, args...)}
	}
}

// end refuses trailing bytes and returns the fault, if any.
func (c *codec) end() error {
	if c.fault == nil && c.off != len(c.buf) {
		c.failf(c.off, "%d bytes follow the object", len(c.buf)-c.off)
	}
	if c.fault != nil {
		return c.fault
	}
	return nil
}

// head writes a head in its shortest form.
func (c *codec) head(major byte, n uint64) {
	switch {
	case n < 24:
		c.buf = append(c.buf, major|byte(n))
	case n <= math.MaxUint8:
		c.buf = append(c.buf, major|24, byte(n))
	case n <= math.MaxUint16:
		c.buf = binary.BigEndian.AppendUint16(append(c.buf, major|25), uint16(n))
	case n <= math.MaxUint32:
		c.buf = binary.BigEndian.AppendUint32(append(c.buf, major|26), uint32(n))
	default:
		c.buf = binary.BigEndian.AppendUint64(append(c.buf, major|27), n)
	}
}

// readHead reads a head of the wanted major type.
func (c *codec) readHead(major byte, what string) uint64 {
	if c.fault != nil {
		return 0
	}
	if c.off >= len(c.buf) {
		c.fail(c.off, "the bytes end where "+what+" should be")
		return 0
	}
	first := c.buf[c.off]
	if first&0xe0 != major {
		c.fail(c.off, "this should be "+what)
		return 0
	}
	low := first & 0x1f
	if low < 24 {
		c.off++
		return uint64(low)
	}
	if low > 27 {
		c.fail(c.off, "indefinite lengths and reserved heads are not canonical")
		return 0
	}
	width := 1 << (low - 24)
	if len(c.buf)-c.off-1 < width {
		c.fail(c.off, "the bytes end inside a number")
		return 0
	}
	var n uint64
	for _, b := range c.buf[c.off+1 : c.off+1+width] {
		n = n<<8 | uint64(b)
	}
	if least := shortestAbove[low-24]; n < least {
		c.fail(c.off, "a number is longer than it needs to be")
		return 0
	}
	c.off += 1 + width
	return n
}

// shortestAbove[i] is the least number that needs 2^i bytes.
var shortestAbove = [4]uint64{24, 1 << 8, 1 << 16, 1 << 32}

// readString reads the bytes of a byte or text string. They alias the input.
func (c *codec) readString(major byte, what string, bytesMax int) []byte {
	at := c.off
	n := c.readHead(major, what)
	if c.fault != nil {
		return nil
	}
	if n > uint64(bytesMax) {
		c.failf(at, "%s has %d bytes, at most %d are allowed", what, n, bytesMax)
		return nil
	}
	if n > uint64(len(c.buf)-c.off) {
		c.fail(at, "the bytes end inside "+what)
		return nil
	}
	b := c.buf[c.off : c.off+int(n)]
	c.off += int(n)
	return b
}

// length writes or reads the length of a list.
func (c *codec) length(n int, what string, least, most int) int {
	if c.writing {
		c.head(majorArray, uint64(n))
		return n
	}
	at := c.off
	got := c.readHead(majorArray, what)
	if c.fault == nil && (got < uint64(least) || got > uint64(most)) {
		c.failf(at, "%s has %d entries, %d to %d are allowed", what, got, least, most)
	}
	if c.fault != nil {
		return 0
	}
	return int(got)
}

// fields is an open map.
type fields struct {
	c    *codec
	head int // writing: where its head is
	left int // reading: entries to come; writing: entries written
}

// open begins a map.
func (c *codec) open(what string) fields {
	f := fields{c: c, head: len(c.buf)}
	if c.writing {
		c.buf = append(c.buf, majorMap)
		return f
	}
	f.left = int(c.readHead(majorMap, what))
	return f
}

// close ends a map: all its fields must have been used.
func (f *fields) close() {
	c := f.c
	if c.writing {
		if f.left >= 24 {
			panic("ledger: invariant broken: a map of ours has fewer than 24 fields")
		}
		c.buf[f.head] |= byte(f.left)
		return
	}
	if f.left == 0 || c.fault != nil {
		return
	}
	at := c.off
	key := c.readString(majorText, "a field's name", 64)
	c.failf(at, "field %q is unknown, repeated or not in canonical order", key)
}

// next moves to a field: it says whether its value is to be written, or read.
func (f *fields) next(key string, present bool) bool {
	c := f.c
	if c.writing {
		if present {
			f.left++
			c.buf = append(append(c.buf, majorText|byte(len(key))), key...)
		}
		return present
	}
	end := c.off + 1 + len(key)
	if f.left == 0 || c.fault != nil || end > len(c.buf) ||
		c.buf[c.off] != majorText|byte(len(key)) || string(c.buf[c.off+1:end]) != key {
		return false
	}
	c.off = end
	f.left--
	return true
}

// zero refuses a field that says what leaving it out says.
func (c *codec) zero(at int) {
	c.fail(at, "a field that is zero or empty must be left out")
}

// number is a field holding an unsigned number of at most most.
func number[T ~uint8 | ~uint16 | ~uint32 | ~uint64](f *fields, key string, v *T, most T) {
	if !f.next(key, *v != 0) {
		return
	}
	c := f.c
	if c.writing {
		c.head(majorUint, uint64(*v))
		return
	}
	at := c.off
	n := c.readHead(majorUint, "a number")
	switch {
	case c.fault != nil:
	case n == 0:
		c.zero(at)
	case n > uint64(most):
		c.failf(at, "%s is %d, at most %d is allowed", key, n, most)
	default:
		*v = T(n)
	}
}

// millis is a field holding a time or a span in milliseconds.
func (f *fields) millis(key string, v *int64, most int64) {
	n := uint64(*v)
	number(f, key, &n, uint64(most))
	*v = int64(n)
}

// rate is a field holding a signed rate in ppm, of either sign at most PerMillion.
func (f *fields) rate(key string, v *int32) {
	if !f.next(key, *v != 0) {
		return
	}
	c := f.c
	if c.writing {
		if *v < 0 {
			c.head(majorNeg, uint64(-1-int64(*v)))
		} else {
			c.head(majorUint, uint64(*v))
		}
		return
	}
	at := c.off
	major := byte(majorUint)
	if at < len(c.buf) && c.buf[at]&0xe0 == majorNeg {
		major = majorNeg
	}
	n := c.readHead(major, "a number")
	switch {
	case c.fault != nil:
	case major == majorUint && n == 0:
		c.zero(at)
	case n > PerMillion || major == majorNeg && n == PerMillion:
		c.failf(at, "%s is beyond %d ppm", key, PerMillion)
	case major == majorNeg:
		*v = int32(-1 - int64(n))
	default:
		*v = int32(n)
	}
}

// flag is a field that is there when true.
func (f *fields) flag(key string, v *bool) {
	if !f.next(key, *v) {
		return
	}
	c := f.c
	if c.writing {
		c.buf = append(c.buf, cborTrue)
		return
	}
	if c.off >= len(c.buf) || c.buf[c.off] != cborTrue {
		c.fail(c.off, key+" is either true or left out")
		return
	}
	c.off++
	*v = true
}

// amount is a field holding an Amount.
func (f *fields) amount(key string, v *Amount) {
	if !f.next(key, !v.IsZero()) {
		return
	}
	c := f.c
	if c.writing {
		b := v.AppendBytes(make([]byte, 0, AmountBytes))
		for b[0] == 0 {
			b = b[1:]
		}
		c.head(majorBytes, uint64(len(b)))
		c.buf = append(c.buf, b...)
		return
	}
	at := c.off
	b := c.readString(majorBytes, "an amount", AmountBytes)
	switch {
	case c.fault != nil:
	case len(b) == 0:
		c.zero(at)
	case b[0] == 0:
		c.fail(at, "an amount has no leading zeros")
	default:
		var full [AmountBytes]byte
		copy(full[AmountBytes-len(b):], b)
		*v = AmountFromBytes(full)
	}
}

// exact is a field holding a byte string of exactly len(v) bytes, not all zero.
func (f *fields) exact(key string, v []byte) {
	if !f.next(key, !allZero(v)) {
		return
	}
	c := f.c
	if c.writing {
		c.head(majorBytes, uint64(len(v)))
		c.buf = append(c.buf, v...)
		return
	}
	at := c.off
	b := c.readString(majorBytes, key, len(v))
	switch {
	case c.fault != nil:
	case len(b) != len(v):
		c.failf(at, "%s has %d bytes, it must have %d", key, len(b), len(v))
	case allZero(b):
		c.zero(at)
	default:
		copy(v, b)
	}
}

func allZero(b []byte) bool {
	for _, x := range b {
		if x != 0 {
			return false
		}
	}
	return true
}

// blob is a field holding a byte string of at most bytesMax bytes.
func (f *fields) blob(key string, v *[]byte, bytesMax int) {
	if !f.next(key, len(*v) != 0) {
		return
	}
	c := f.c
	if c.writing {
		c.head(majorBytes, uint64(len(*v)))
		c.buf = append(c.buf, *v...)
		return
	}
	at := c.off
	b := c.readString(majorBytes, key, bytesMax)
	if c.fault == nil && len(b) == 0 {
		c.zero(at)
	}
	if c.fault == nil {
		*v = append([]byte(nil), b...)
	}
}

// text is a field holding a text of at most bytesMax bytes of UTF-8.
func (f *fields) text(key string, v *string, bytesMax int) {
	if !f.next(key, *v != "") {
		return
	}
	c := f.c
	if c.writing {
		c.head(majorText, uint64(len(*v)))
		c.buf = append(c.buf, *v...)
		return
	}
	at := c.off
	b := c.readString(majorText, key, bytesMax)
	switch {
	case c.fault != nil:
	case len(b) == 0:
		c.zero(at)
	case !utf8.Valid(b):
		c.fail(at, key+" is not UTF-8")
	default:
		*v = string(b)
	}
}

// link is a field holding the CID of another object.
func (f *fields) link(key string, v *Digest) {
	if !f.next(key, *v != Digest{}) {
		return
	}
	c := f.c
	if c.writing {
		c.buf = append(append(c.buf, linkPrefix...), v[:]...)
		return
	}
	end := c.off + len(linkPrefix) + len(v)
	if end > len(c.buf) || string(c.buf[c.off:c.off+len(linkPrefix)]) != linkPrefix {
		c.fail(c.off, key+" is not a link to a dag-cbor object by SHA-256")
		return
	}
	copy(v[:], c.buf[c.off+len(linkPrefix):end])
	if *v == (Digest{}) {
		c.zero(c.off)
		return
	}
	c.off = end
}
