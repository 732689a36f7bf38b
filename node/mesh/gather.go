package mesh

import (
	"errors"
	"io"
	"net"
	"sync"
)

// gather copies from a stream, which gives a packet at a time, to a connection
// that costs a system call for each write: what comes while one is under way goes
// out together. One goroutine reads and one writes, over a ring of a lent buffer's
// bytes. It returns nil at the end of from.
func (l *lender) gather(to, from net.Conn) error {
	r := &ring{lender: l, buffer: l.Get()}
	r.moved.L = &r.mu
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.fill(from)
	}()
	err := r.drain(to)
	if err != nil {
		abort(from) // its reader may be waiting for more
	}
	<-done
	l.Put(r.buffer)
	return err
}

// ring is a buffer between one reader and one writer.
//
//	0 <= head <= tail <= head + len(buffer)
//
// Bytes head to tail are the writer's, the rest the reader's, so both work without
// the lock on what is theirs. The reader changes the buffer's size when it has nothing
// in hand: to large when it is full, to small when it is empty and was not used.
type ring struct {
	lender *lender

	mu         sync.Mutex
	moved      sync.Cond
	buffer     []byte
	head, tail int
	most       int   // the most that was in the buffer since it was empty
	in, out    error // how reading and writing ended
}

// fill reads until the source or the writer ends.
func (r *ring) fill(from io.Reader) {
	for {
		free := r.free()
		if free == nil {
			return
		}
		n, err := from.Read(free)
		r.mu.Lock()
		r.tail += n
		r.most = max(r.most, r.tail-r.head)
		r.in = err
		r.mu.Unlock()
		r.moved.Signal()
		if err != nil {
			return
		}
	}
}

// free waits for room; nil says that nobody will take more.
func (r *ring) free() []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.tail == r.head {
		r.shrink()
	}
	for r.tail-r.head == len(r.buffer) && r.out == nil && !r.grow() {
		r.moved.Wait()
	}
	if r.out != nil {
		return nil
	}
	return part(r.buffer, r.tail, r.head+len(r.buffer))
}

// grow takes a large buffer, if there is one to have. The small one is left to the
// collector, because the writer may be in the middle of it.
func (r *ring) grow() bool {
	if r.lender.isLarge(r.buffer) {
		return false
	}
	large := r.lender.larger()
	if large == nil {
		return false
	}
	small := r.buffer
	r.buffer = large
	for at := r.head; at < r.tail; {
		at += copy(part(large, at, r.tail), part(small, at, r.tail))
	}
	return true
}

// shrink gives an empty large buffer back, unless it was of use since it was last empty.
func (r *ring) shrink() {
	if r.lender.isLarge(r.buffer) && r.most < r.lender.smallBytes {
		r.lender.Put(r.buffer)
		r.buffer = r.lender.Get()
	}
	r.most = 0
}

// part is a ring's bytes from one position on, up to another or the buffer's end.
func part(buffer []byte, from, to int) []byte {
	start := from % len(buffer)
	return buffer[start:min(len(buffer), start+to-from)]
}

// drain writes until the source has ended and all is written, or writing fails.
func (r *ring) drain(to io.Writer) error {
	for {
		held, err := r.held()
		if held == nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		n, err := to.Write(held)
		r.mu.Lock()
		r.head += n
		r.out = err
		r.mu.Unlock()
		r.moved.Signal()
		if err != nil {
			return err
		}
	}
}

// held waits for bytes; nil says that there will be no more, and why.
func (r *ring) held() ([]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.tail == r.head && r.in == nil {
		r.moved.Wait()
	}
	if r.tail == r.head {
		return nil, r.in
	}
	return part(r.buffer, r.head, r.tail), nil
}
