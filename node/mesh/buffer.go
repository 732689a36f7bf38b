package mesh

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
)

// lender lends what bytes are copied through. Most connections are quiet, so each begins
// with a small buffer; one that fills it gets a large one, which takes a fifth off what
// the copying costs, for as long as it needs it. Any goroutine may use a lender.
type lender struct {
	smallBytes, largeBytes int
	// largeMax bounds the large buffers in use. A connection that gets none goes on
	// with what it has.
	largeMax int32

	small, large sync.Pool // of *[]byte
	largeLent    atomic.Int32
}

// buffers serves all proxies of the program; its large ones have 64 MiB at most.
var buffers = lender{smallBytes: 32 << 10, largeBytes: 512 << 10, largeMax: 128}

// Get lends a small buffer; with Put it is what the standard library's proxy wants.
func (l *lender) Get() []byte { return lent(&l.small, l.smallBytes) }

// larger lends a large buffer, or nil when enough are lent.
func (l *lender) larger() []byte {
	if l.largeLent.Add(1) > l.largeMax {
		l.largeLent.Add(-1)
		return nil
	}
	return lent(&l.large, l.largeBytes)
}

func lent(from *sync.Pool, size int) []byte {
	if b, ok := from.Get().(*[]byte); ok {
		return *b
	}
	return make([]byte, size)
}

// Put takes back a buffer of either size, which nobody may use any more.
func (l *lender) Put(b []byte) {
	if !l.isLarge(b) {
		l.small.Put(&b)
		return
	}
	l.large.Put(&b)
	l.largeLent.Add(-1)
}

func (l *lender) isLarge(b []byte) bool { return len(b) == l.largeBytes }

// copy copies until from ends, which is no error. It holds a large buffer only while
// reads need it.
func (l *lender) copy(to, from net.Conn) error {
	buffer := l.Get()
	defer func() { l.Put(buffer) }()
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			if _, err := to.Write(buffer[:n]); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if l.isLarge(buffer) && n < l.smallBytes {
			l.Put(buffer)
			buffer = l.Get()
		} else if !l.isLarge(buffer) && n == len(buffer) {
			if large := l.larger(); large != nil {
				l.Put(buffer)
				buffer = large
			}
		}
	}
}
