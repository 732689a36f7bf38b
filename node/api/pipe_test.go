package api

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
)

// pipes is a listener whose connections are pipes in memory: in a synctest
// bubble time stands still until all wait, so that timeouts are exact, and a
// goroutine that is left behind fails the test. A pipe holds nothing: a write
// waits for its reader.
type pipes struct {
	accepted chan net.Conn
	closed   chan struct{}
	once     sync.Once
}

func newPipes() *pipes { return &pipes{accepted: make(chan net.Conn), closed: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.accepted:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 8080} }

// fromLoopback is a pipe's end that says it is a loopback connection.
type fromLoopback struct{ net.Conn }

func (fromLoopback) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9} }

// dial connects to the server.
func (p *pipes) dial(context.Context, string, string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case p.accepted <- fromLoopback{theirs}:
		return ours, nil
	case <-p.closed:
		return nil, errors.New("nobody listens")
	}
}

// servePiped is serve over pipes, for use in a bubble.
func servePiped(t *testing.T, config Config) (*served, *pipes) {
	t.Helper()
	node := newFakeNode(t)
	server, err := New(node, config)
	if err != nil {
		t.Fatal(err)
	}
	client, err := NewClient("http://127.0.0.1:8080")
	if err != nil {
		t.Fatal(err)
	}
	listener := newPipes()
	client.HTTP = &http.Client{Transport: &http.Transport{DialContext: listener.dial}}
	ctx, stop := context.WithCancel(context.Background())
	s := &served{node: node, Client: client, server: server, stop: stop, ended: make(chan error, 1)}
	go func() { s.ended <- server.Serve(ctx, listener) }()
	t.Cleanup(func() {
		stop()
		client.HTTP.CloseIdleConnections()
		if err := <-s.ended; err != nil {
			t.Error(err)
		}
	})
	return s, listener
}

// raw is a connection on which a test says what it likes.
type rawConn struct {
	net.Conn
	t testing.TB
}

func (p *pipes) raw(t testing.TB) *rawConn {
	t.Helper()
	c, err := p.dial(t.Context(), "", "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return &rawConn{c, t}
}

// say sends text, which the server must take.
func (c *rawConn) say(text string) {
	c.t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		c.t.Fatalf("%q is not taken: %v", text, err)
	}
}

// answer reads a response.
func (c *rawConn) answer() *http.Response {
	c.t.Helper()
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		c.t.Fatal(err)
	}
	return r
}

// cut reads until the server has cut the connection, and returns how much came.
func (c *rawConn) cut() int {
	c.t.Helper()
	b, err := io.ReadAll(c)
	if err != nil && !errors.Is(err, io.ErrClosedPipe) {
		c.t.Fatal(err)
	}
	return len(b)
}
