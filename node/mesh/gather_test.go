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

func TestCopiesKeepEveryByteInOrder(t *testing.T) {
	for range 200 {
		sent := make([]byte, mrand.IntN(100_000))
		rand.Read(sent)
		l := lender{smallBytes: 1 + mrand.IntN(2000), largeBytes: 2001 + mrand.IntN(5000), largeMax: mrand.Int32N(2)}
		for name, through := range map[string]func(to, from net.Conn) error{"gather": l.gather, "copy": l.copy} {
			to := &sink{enough: len(sent)}
			err := through(to, &pieces{left: sent, end: io.EOF})
			if err != nil || !bytes.Equal(to.got.Bytes(), sent) {
				t.Fatalf("%s: %d of %d bytes, %v", name, to.got.Len(), len(sent), err)
			}
			if n := l.largeLent.Load(); n != 0 {
				t.Fatalf("%s keeps %d large buffers", name, n)
			}
		}
	}
}

// A ring is as large as what it has to hold, and gives back what it does not need.
func TestRingGrowsAndShrinks(t *testing.T) {
	l := lender{smallBytes: 10, largeBytes: 100, largeMax: 1}
	one := &ring{lender: &l, buffer: l.Get()}
	other := &ring{lender: &l, buffer: l.Get()}
	fill := func(r *ring, n int) {
		for range n {
			r.free()[0] = byte(r.tail)
			r.tail++
			r.most = max(r.most, r.tail-r.head)
		}
	}
	one.head, one.tail = 7, 7 // where the small buffer has a seam
	fill(one, 60)
	for r := range 60 {
		held, _ := one.held()
		if held[0] != byte(7+r) {
			t.Fatalf("byte %d is %d", r, held[0])
		}
		one.head++
	}
	fill(other, 10)
	if other.grow() {
		t.Error("a second large buffer was lent, of one")
	}
	one.free()
	if len(one.buffer) != 100 {
		t.Errorf("it gave up a buffer it had used, for one of %d", len(one.buffer))
	}
	one.free()
	if len(one.buffer) != 10 || l.largeLent.Load() != 0 {
		t.Errorf("it keeps %d bytes", len(one.buffer))
	}
	if !other.grow() {
		t.Error("what was given back is not lent again")
	}
}

// A break is not an end, on either side.
func TestGatherPassesBreaksOn(t *testing.T) {
	broken := errors.New("broken")
	l := lender{smallBytes: 500, largeBytes: 1000, largeMax: 1}
	sent := make([]byte, 50_000)
	if err := l.gather(&sink{enough: 1 << 20}, &pieces{left: sent, end: broken}); !errors.Is(err, broken) {
		t.Errorf("a break of the source: %v", err)
	}
	if err := l.gather(&sink{enough: 10_000}, &pieces{left: sent, end: io.EOF}); !errors.Is(err, errEnough) {
		t.Errorf("a break of the sink: %v", err)
	}
}
