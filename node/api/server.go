package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// headerBytesMax bounds a request's header: the longest path, and what browsers
// and proxies add.
const headerBytesMax = 16 << 10

// provingMax is how many proofs are made at once, since each holds the node up.
const provingMax = 1

// Server is the API's listener and handlers. New makes one; Run or Serve works
// until its context ends, once.
type Server struct {
	backend  Backend
	config   Config
	handler  http.Handler
	rates    *rates
	document []byte
	listed   atomic.Pointer[listing]
	books    books
	feed     feed
	proving  chan struct{} // holds a token for each proof being made

	// draining ends when the server does not take requests any more: waits end
	// early, streams say good-bye.
	draining context.Context
	drain    context.CancelFunc
	streams  streams
	gate     *gate
}

// New returns a server of what the backend shows. It fails when config is not
// valid, with all reasons.
func New(backend Backend, config Config) (*Server, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	s := &Server{backend: backend, config: config, rates: newRates(&config), document: Document(), proving: make(chan struct{}, provingMax), gate: newGate()}
	s.streams.of = make(map[string]int)
	s.draining, s.drain = context.WithCancel(context.Background())
	s.handler = s.routes()
	return s, nil
}

// Run listens at config.Listen and serves until ctx ends; see Serve.
func (s *Server) Run(ctx context.Context) error {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", s.config.Listen)
	if err != nil {
		return fmt.Errorf("api: listening; choose another address for the API if it is taken: %w", err)
	}
	return s.Serve(ctx, listener)
}

// Serve serves a listener, which it closes, until ctx ends. Then it takes no
// more connections, lets requests end for as long as DrainTimeout, cuts the
// rest off, and returns when no handler uses the backend any more. The error is
// nil unless the listener fails.
func (s *Server) Serve(ctx context.Context, listener net.Listener) error {
	server := &http.Server{
		Handler:           s.handler,
		ReadHeaderTimeout: s.config.HeaderTimeout,
		ReadTimeout:       s.config.RequestTimeout,
		IdleTimeout:       s.config.IdleTimeout,
		MaxHeaderBytes:    headerBytesMax,
		ConnState:         newConnections(&s.config).changed,
		ErrorLog:          log.New(quiet{s.config.Log}, "", 0),
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	s.drain()
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.config.DrainTimeout)
	defer cancel()
	if server.Shutdown(bounded) != nil {
		server.Close()
	}
	s.gate.close()
	if err != nil && !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("api: serving %v: %w", listener.Addr(), err)
	}
	return nil
}

// Handler returns the server's handler, for those who have a listener and an
// http.Server of their own. Connections are then theirs to bound.
func (s *Server) Handler() http.Handler { return s.handler }

// quiet takes what http.Server logs: clients that break off or speak no HTTP,
// which is nobody's trouble, and handlers that panicked, which is.
type quiet struct{ log *slog.Logger }

func (q quiet) Write(b []byte) (int, error) {
	level := slog.LevelDebug
	if bytes.Contains(b, []byte("panic")) {
		level = slog.LevelError
	}
	q.log.Log(context.Background(), level, "api: a connection failed", "err", string(b))
	return len(b), nil
}

// untilDrained returns a context that ends with ctx, after d, or when the server
// drains.
func (s *Server) untilDrained(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	bounded, cancel := context.WithTimeout(ctx, d)
	stop := context.AfterFunc(s.draining, cancel)
	return bounded, func() { stop(); cancel() }
}

// streams counts the open streams.
type streams struct {
	mu  sync.Mutex
	all int
	of  map[string]int // by address
}

// enter takes a place for a stream of an address. leave must be called unless
// there is an error.
func (t *streams) enter(config *Config, address string) (leave func(), err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.all >= config.Streams:
		return nil, tooManyStreams.of("%d streams are open, which is all there may be.", t.all).after(retryDefault)
	case t.of[address] >= config.StreamsPerAddress:
		return nil, tooManyStreams.of("This address has %d streams open, which is all it may have.", t.of[address]).after(retryDefault)
	}
	t.all++
	t.of[address]++
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.all--
		if t.of[address]--; t.of[address] == 0 {
			delete(t.of, address)
		}
	}, nil
}
