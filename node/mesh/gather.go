package mesh

import (
	"errors"
	"io"
	"net"
	"sync"
)

// gather copies from a stream, which gives a packet at a time, to a connection
// that costs a system call for each write: what comes while one is under way goes
// out together. One goroutine reads and one writes, over a ring of the buffer's
// bytes. It returns nil at the end of from.
func gather(to, from net.Conn, buffer []byte) error {
	r := &ring{buffer: buffer}
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
	return err
}

// ring is a buffer between one reader and one writer.
//
//	0 <= head <= tail <= head + len(buffer)
//
// Bytes head to tail are the writer's, the rest the reader's, so both work without
// the lock on what is theirs.
type ring struct {
	buffer []byte

	mu         sync.Mutex
	moved      sync.Cond
	head, tail int
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
	for r.tail-r.head == len(r.buffer) && r.out == nil {
		r.moved.Wait()
	}
	if r.out != nil {
		return nil
	}
	return r.part(r.tail, r.head+len(r.buffer))
}

// part is the bytes from one position on, up to another or the buffer's end.
func (r *ring) part(from, to int) []byte {
	start := from % len(r.buffer)
	return r.buffer[start:min(len(r.buffer), start+to-from)]
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
	return r.part(r.head, r.tail), nil
}
