package mesh

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/holdfast-mesh/holdfast/p2p"
)

// A caller opens a stream to an instance's owner and says which service it wants:
// a length of two bytes and a hello. The owner answers with one byte, and from
// then on the stream is the caller's connection to the service. Until that byte
// nothing of the caller's has been sent, so that another instance may be tried.

// hello is what a caller wants.
type hello struct {
	Name  string `cbor:"name"`
	Probe bool   `cbor:"probe"` // only the status, for a witness
}

// status is an owner's answer to a hello.
type status byte

const (
	statusOK       status = iota
	statusUnknown         // no such service here
	statusDenied          // its policy refuses the caller
	statusDown            // the instance does not answer its owner
	statusDraining        // it takes nothing new
	statusBusy            // it has as many connections as it may
)

var statusErrors = [...]error{
	statusUnknown:  errors.New("its owner does not have it any more"),
	statusDenied:   errors.New("its policy refuses this caller"),
	statusDown:     errors.New("its owner cannot reach it"),
	statusDraining: errors.New("it is draining"),
	statusBusy:     errors.New("it has as many connections as it may"),
}

var (
	errDenied = fmt.Errorf("mesh: denied: %w", statusErrors[statusDenied])
	// errDrained says that an instance is well but takes nothing new.
	errDrained = errors.New("mesh: the instance takes nothing new")
)

const (
	helloBytesMax = 256
	// helloTimeout bounds the time for a hello, its answer and the way to both.
	helloTimeout = 5 * time.Second
	// backendTimeout bounds the dial to an instance of ours.
	backendTimeout = 2 * time.Second
	// callsMax bounds the connections of one instance of ours.
	callsMax = 4096
	// spliceBytes is what is copied at once: more gains nothing on loopback.
	spliceBytes = 128 << 10
)

// reach opens a stream to the owner of an instance and gets its word.
func (m *Mesh) reach(ctx context.Context, r *Record, probe bool) (net.Conn, error) {
	if r.Owner == m.self {
		return m.reachSelf(ctx, r.Name)
	}
	to, err := peerOf(r)
	if err != nil {
		return nil, err
	}
	if off == ruleAlone {
		to.Addrs = nil // then somebody else must know where it is
	}
	ctx, cancel := context.WithTimeout(ctx, helloTimeout)
	defer cancel()
	conn, err := m.host.Dial(ctx, to, protocolName)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { conn.Reset() })
	defer stop()
	if err := greet(conn, hello{r.Name, probe}); err != nil {
		conn.Reset()
		return nil, err
	}
	conn.SetDeadline(time.Time{})
	return conn, nil
}

func greet(conn *p2p.Conn, h hello) error {
	conn.SetDeadline(time.Now().Add(helloTimeout))
	body := encode(&h)
	frame := append(binary.BigEndian.AppendUint16(nil, uint16(len(body))), body...)
	if _, err := conn.Write(frame); err != nil {
		return fmt.Errorf("mesh: hello: %w", err)
	}
	var answer [1]byte
	if _, err := io.ReadFull(conn, answer[:]); err != nil {
		return fmt.Errorf("mesh: answer to the hello: %w", err)
	}
	return status(answer[0]).err()
}

func (s status) err() error {
	switch {
	case s == statusOK:
		return nil
	case s == statusDenied:
		return errDenied
	case s == statusDraining || s == statusBusy:
		return fmt.Errorf("%w: %w", errDrained, statusErrors[s])
	case int(s) < len(statusErrors):
		return fmt.Errorf("mesh: %w", statusErrors[s])
	}
	return fmt.Errorf("mesh: an answer to the hello of kind %d", s)
}

// serveStream is the owner's side.
func (m *Mesh) serveStream(conn *p2p.Conn) {
	conn.SetDeadline(time.Now().Add(helloTimeout))
	h, err := readHello(conn)
	if err != nil {
		m.host.Punish(conn.Peer(), "a hello to services that cannot be read")
		conn.Reset()
		return
	}
	s, backend, answer := m.enter(m.ctx, conn.Peer(), h)
	defer m.leave(s)
	_, err = conn.Write([]byte{byte(answer)})
	if err != nil || answer != statusOK || h.Probe {
		if backend != nil {
			backend.Close()
		}
		return
	}
	conn.SetDeadline(time.Time{})
	if s.web != nil {
		s.web.serve(conn, conn.Peer())
		return
	}
	if err := s.preface(backend, conn.Peer(), conn); err != nil {
		conn.Reset()
		backend.Close()
		return
	}
	m.splice(conn, backend)
}

func readHello(r io.Reader) (h hello, err error) {
	var head [2]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return h, err
	}
	n := binary.BigEndian.Uint16(head[:])
	if n > helloBytesMax {
		return h, fmt.Errorf("mesh: a hello of %d bytes: at most %d", n, helloBytesMax)
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		return h, err
	}
	return h, decode(body, &h)
}

// enter decides about a caller, counts it and connects it with the instance. The
// service is nil if it was not counted.
func (m *Mesh) enter(ctx context.Context, caller peer.ID, h hello) (*service, net.Conn, status) {
	m.mu.RLock()
	s := m.own[h.Name]
	var state State
	var decision Decision
	if s != nil {
		state, decision = s.state, s.Policy.Decide(caller, m.roles(caller))
	}
	m.mu.RUnlock()
	if s == nil {
		return nil, nil, statusUnknown
	}
	if !decision.Would {
		m.meter.denied(h.Name, decision.Allowed)
		m.log.Info("a caller its policy does not allow", "service", h.Name, "peer", caller, "allowed", decision.Allowed, "why", decision.Why)
	}
	switch {
	case !decision.Allowed:
		return nil, nil, statusDenied
	case state == Draining || state == Gone:
		return nil, nil, statusDraining
	}
	if s.calls.Add(1) > callsMax {
		return s, nil, statusBusy
	}
	if s.web != nil && !h.Probe {
		return s, nil, statusOK // it says for itself how the instance is
	}
	backend, err := s.dial(ctx)
	if err != nil {
		signal(s.checkAt)
		return s, nil, statusDown
	}
	return s, backend, statusOK
}

func (m *Mesh) leave(s *service) {
	if s != nil {
		s.calls.Add(-1)
	}
}

func (s *service) dial(ctx context.Context) (net.Conn, error) {
	d := net.Dialer{Timeout: backendTimeout}
	return d.DialContext(ctx, "tcp", s.To)
}

// reachSelf connects with an instance of ours without the network between.
func (m *Mesh) reachSelf(ctx context.Context, name string) (net.Conn, error) {
	s, backend, answer := m.enter(ctx, m.self, hello{Name: name})
	if err := answer.err(); err != nil {
		m.leave(s)
		return nil, err
	}
	if s.web != nil {
		ours, theirs := net.Pipe()
		if !m.spawn(func() { s.web.serve(theirs, m.self); m.leave(s) }) {
			m.leave(s)
			return nil, errClosed
		}
		return ours, nil
	}
	if err := s.preface(backend, m.self, backend); err != nil {
		m.leave(s)
		return nil, errors.Join(err, backend.Close())
	}
	return &counted{Conn: backend, leave: sync.OnceFunc(func() { m.leave(s) })}, nil
}

// counted is a connection to an instance of ours that counts until it is closed.
type counted struct {
	net.Conn
	leave func()
}

func (c *counted) Close() error {
	defer c.leave()
	return c.Conn.Close()
}

func (c *counted) CloseWrite() error { return closeWrite(c.Conn) }

// splice copies both ways until both are done, and passes each side's end on to
// the other. Both are closed when it returns.
func (m *Mesh) splice(a, b net.Conn) {
	defer context.AfterFunc(m.ctx, func() { a.Close(); b.Close() })()
	defer a.Close()
	defer b.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		pipe(a, b)
	}()
	pipe(b, a)
	<-done
}

var buffers = sync.Pool{New: func() any { b := make([]byte, spliceBytes); return &b }}

// pipe copies from one connection to the other. An end is passed on as an end, a
// break as a break, or the other side would take what it has for the whole.
func pipe(to, from net.Conn) {
	buffer := buffers.Get().(*[]byte)
	defer buffers.Put(buffer)
	var err error
	if _, isStream := from.(*p2p.Conn); isStream {
		err = gather(to, from, *buffer)
	} else {
		_, err = io.CopyBuffer(onlyWriter{to}, onlyReader{from}, *buffer)
	}
	if err == nil {
		err = closeWrite(to)
	}
	if err != nil {
		abort(to)
		abort(from)
	}
}

// onlyReader and onlyWriter hide what else a connection can do: the library's
// own ways of copying would not use our buffer.
type (
	onlyReader struct{ io.Reader }
	onlyWriter struct{ io.Writer }
)

func closeWrite(c net.Conn) error {
	if half, ok := c.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return c.Close()
}

// abort breaks a connection off, so that its other end notices.
func abort(c net.Conn) {
	switch c := c.(type) {
	case interface{ Reset() error }:
		c.Reset()
	case *net.TCPConn:
		c.SetLinger(0)
		c.Close()
	default:
		c.Close()
	}
}
