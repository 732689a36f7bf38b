package mesh

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	mrand "math/rand/v2"
	"net"
	"testing"
)

// pieces is a connection whose reads come in small pieces and end as said.
type pieces struct {
	net.Conn
	left []byte
	end  error
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.left) == 0 {
		return 0, p.end
	}
	n := min(len(p.left), len(b), 1+mrand.IntN(1400))
	copy(b, p.left[:n])
	p.left = p.left[n:]
	return n, nil
}

func (p *pieces) Close() error { return nil }

// sink takes what is written, until it has had enough.
type sink struct {
	net.Conn
	got    bytes.Buffer
	enough int
}

var errEnough = errors.New("enough")

func (s *sink) Write(b []byte) (int, error) {
	if s.got.Len()+len(b) > s.enough {
		return 0, errEnough
	}
	return s.got.Write(b)
}

func TestGatherKeepsEveryByteInOrder(t *testing.T) {
	for range 200 {
		sent := make([]byte, mrand.IntN(100_000))
		rand.Read(sent)
		to := &sink{enough: len(sent)}
		err := gather(to, &pieces{left: sent, end: io.EOF}, make([]byte, 1+mrand.IntN(5000)))
		if err != nil || !bytes.Equal(to.got.Bytes(), sent) {
			t.Fatalf("%d of %d bytes, %v", to.got.Len(), len(sent), err)
		}
	}
}

// A break is not an end, on either side.
func TestGatherPassesBreaksOn(t *testing.T) {
	broken := errors.New("broken")
	sent := make([]byte, 50_000)
	if err := gather(&sink{enough: 1 << 20}, &pieces{left: sent, end: broken}, make([]byte, 1000)); !errors.Is(err, broken) {
		t.Errorf("a break of the source: %v", err)
	}
	if err := gather(&sink{enough: 10_000}, &pieces{left: sent, end: io.EOF}, make([]byte, 1000)); !errors.Is(err, errEnough) {
		t.Errorf("a break of the sink: %v", err)
	}
}
