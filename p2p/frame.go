package p2p

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// A frame on a stream of ours is a length of four bytes, big endian, which
// counts the rest; a byte that tells its kind; and the body.
const (
	frameHello    byte = 1 // receiver to sender, once: the rounds it has
	frameBlock    byte = 2 // sender to receiver
	frameHave     byte = 3 // receiver to sender: rounds it has by now
	frameBeat     byte = 4 // either way on a heartbeat stream
	frameRequest  byte = 5 // the CIDs of wanted objects
	frameItem     byte = 6 // one object of an answer to a request
	frameEnd      byte = 7 // an answer is over, and how
	frameQuestion byte = 8 // a question of the caller's making
	frameAnswer   byte = 9 // its answer, if there is one
)

const (
	frameHeaderBytes = 5
	// frameOverheadMax is what names a block in its frame: author, round, CID.
	frameOverheadMax = frameHeaderBytes + 2*(1+idBytesMax) + 8
	// idBytesMax bounds a peer id or a CID in a frame; ours have 38 and 36 bytes.
	idBytesMax = 64
	// haveFrameBytesMax is a have vector of the largest committee.
	haveFrameBytesMax = 1 + 2 + committeePeersMax*(1+idBytesMax+8)
	beatFrameBytesMax = 1 + 8 + providerBytesMax
)

// errFrame marks what a peer wrote and no honest peer writes.
var errFrame = errors.New("bad frame")

func frameError(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errFrame, fmt.Sprintf(format, args...))
}

// readFrame reads one frame of the given kind, of which the body has at most
// limit bytes. The limit is checked before anything is allocated.
func readFrame(r io.Reader, kind byte, limit int) ([]byte, error) {
	got, body, err := readAnyFrame(r, limit)
	if err == nil && got != kind {
		return nil, frameError("kind %d where %d must come", got, kind)
	}
	return body, err
}

func readAnyFrame(r io.Reader, limit int) (kind byte, body []byte, err error) {
	kind, n, err := readHeader(r)
	if err != nil {
		return 0, nil, err
	}
	if n > limit {
		return 0, nil, frameTooLong(n, limit)
	}
	body = make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		return 0, nil, cutShort(err)
	}
	return kind, body, nil
}

// readHeader returns a frame's kind and the length of its body, which has yet
// to be read and to be found short enough.
func readHeader(r io.Reader) (kind byte, bodyBytes int, err error) {
	var header [frameHeaderBytes]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return 0, 0, err
	}
	n := binary.BigEndian.Uint32(header[:4])
	if n < 1 {
		return 0, 0, frameError("a frame without a kind")
	}
	return header[4], int(n) - 1, nil
}

// readGrowing reads a long body of n bytes. It takes memory as the bytes come:
// who announces much and sends little costs little.
func readGrowing(r io.Reader, n int) ([]byte, error) {
	var body bytes.Buffer
	if _, err := io.CopyN(&body, r, int64(n)); err != nil {
		return nil, cutShort(err)
	}
	return body.Bytes(), nil
}

func frameTooLong(n, limit int) error {
	return frameError("a body of %d bytes, at most %d may come", n, limit)
}

func cutShort(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// newFrame starts a frame; finishFrame fills in its length.
func newFrame(kind byte, capacity int) []byte {
	b := make([]byte, frameHeaderBytes, frameHeaderBytes+capacity)
	b[4] = kind
	return b
}

// frameHeader is what goes before a body that is written on its own.
func frameHeader(kind byte, bodyBytes int) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(bodyBytes+1)), kind)
}

func finishFrame(b []byte) []byte {
	binary.BigEndian.PutUint32(b[:4], uint32(len(b)-4))
	return b
}

// appendID writes the bytes of a peer id or a CID behind their length.
func appendID(b []byte, id string) []byte {
	if len(id) > idBytesMax {
		panic(fmt.Sprintf("p2p: invariant broken: an id of %d bytes reached a frame", len(id)))
	}
	return append(append(b, byte(len(id))), id...)
}

// bodyReader takes a frame's body apart. The first fault sticks; the values
// after it are zero.
type bodyReader struct {
	b   []byte
	err error
}

func (r *bodyReader) take(n int, what string) []byte {
	if r.err != nil {
		return nil
	}
	if n > len(r.b) {
		r.err = frameError("%s is cut short", what)
		return nil
	}
	v := r.b[:n]
	r.b = r.b[n:]
	return v
}

func (r *bodyReader) byte(what string) byte {
	if v := r.take(1, what); v != nil {
		return v[0]
	}
	return 0
}

func (r *bodyReader) uint16(what string) int {
	if v := r.take(2, what); v != nil {
		return int(binary.BigEndian.Uint16(v))
	}
	return 0
}

func (r *bodyReader) uint64(what string) uint64 {
	if v := r.take(8, what); v != nil {
		return binary.BigEndian.Uint64(v)
	}
	return 0
}

func (r *bodyReader) id(what string) []byte {
	n := int(r.byte(what))
	if r.err == nil && (n == 0 || n > idBytesMax) {
		r.err = frameError("%s has %d bytes", what, n)
	}
	return r.take(n, what)
}

// rest returns what is left and ends the body.
func (r *bodyReader) rest() []byte {
	v := r.b
	r.b = nil
	return v
}

// end returns the first fault; bytes that are left over are one.
func (r *bodyReader) end() error {
	if r.err == nil && len(r.b) > 0 {
		r.err = frameError("%d bytes too many", len(r.b))
	}
	return r.err
}
