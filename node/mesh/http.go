package mesh

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"strings"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// The HTTP proxy: a request whose host is NAME.mesh goes to the best instance of
// NAME. A request is tried again elsewhere if no instance can have seen it, or if
// it is one that may be done twice; within the budget.

// errUnreached says that an instance has seen nothing of a request.
var errUnreached = errors.New("mesh: the instance was not reached")

// zone is the last part of a service's host name.
const zone = "mesh"

// nameOf is the service a host means, with or without port.
func nameOf(host string) (string, error) {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	name, found := strings.CutSuffix(strings.ToLower(strings.TrimSuffix(host, ".")), "."+zone)
	if !found {
		return "", fmt.Errorf("mesh: host %q: it must be the name of a service and .%s", host, zone)
	}
	return name, CheckName(name)
}

// HTTPHandler is the HTTP proxy.
func (m *Mesh) HTTPHandler() http.Handler {
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme = "http"
			r.Out.Host = r.In.Host
			r.Out.Header.Del(HeaderPeer)
			r.Out.Header.Del(headerOutcome)
		},
		Transport:      newWebTransport(m),
		ModifyResponse: func(r *http.Response) error { r.Header.Del(headerOutcome); return nil },
		ErrorHandler:   m.webError,
		ErrorLog:       log.New(discardLog{}, "", 0),
		BufferPool:     bufferPool{},
		FlushInterval:  -1, // a stream of events must not wait for a buffer to fill
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name, err := nameOf(r.Host)
		if err != nil {
			http.Error(w, err.Error()+"; for example curl -H 'Host: pricefeed.mesh'", http.StatusBadRequest)
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), findTimeout)
		_, err = m.Await(ctx, name)
		cancel()
		if err != nil {
			m.webError(w, r, err)
			return
		}
		proxy.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), serviceKey{}, name)))
	})
}

type serviceKey struct{}

// webError says why no instance has answered.
func (m *Mesh) webError(w http.ResponseWriter, r *http.Request, err error) {
	code := http.StatusBadGateway
	switch {
	case errors.Is(err, errDenied):
		code = http.StatusForbidden
	case errors.Is(err, ErrNone), errors.Is(err, context.DeadlineExceeded):
		code = http.StatusServiceUnavailable
		w.Header().Set("Retry-After", "1")
	case r.Context().Err() != nil:
		return // nobody listens
	}
	http.Error(w, err.Error(), code)
}

// ServeHTTP runs the HTTP proxy on a listener until ctx ends.
func (m *Mesh) ServeHTTP(ctx context.Context, l net.Listener) error {
	server := &http.Server{Handler: m.HTTPHandler(), ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout,
		MaxHeaderBytes: headerBytesMax, ErrorLog: log.New(discardLog{}, "", 0)}
	defer context.AfterFunc(ctx, func() { server.Close() })()
	defer context.AfterFunc(m.ctx, func() { server.Close() })()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("mesh: HTTP proxy: %w", err)
	}
	return nil
}

// webTransport sends a request to an instance of the service in its context.
type webTransport struct {
	m     *Mesh
	inner *http.Transport // keeps streams to each instance
}

func newWebTransport(m *Mesh) *webTransport {
	t := &webTransport{m: m}
	t.inner = &http.Transport{
		Proxy: nil, DialContext: t.dial, DisableCompression: true,
		MaxIdleConnsPerHost: 32, MaxIdleConns: 1024, IdleConnTimeout: idleTimeout / 2, // before the other side's
		ReadBufferSize: 16 << 10, WriteBufferSize: 16 << 10, MaxResponseHeaderBytes: headerBytesMax,
	}
	return t
}

// dial opens a stream to the instance an address of ours means: OWNER.NAME:80.
func (t *webTransport) dial(ctx context.Context, _, address string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	owner, name, _ := strings.Cut(host, ".")
	id, err := peer.Decode(owner)
	if err != nil {
		return nil, err
	}
	t.m.mu.RLock()
	held, ok := t.m.store.Instance(name, id)
	t.m.mu.RUnlock()
	if !ok {
		return nil, fmt.Errorf("%w: it is not known any more", errUnreached)
	}
	conn, err := t.m.reach(ctx, held.Record, false)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errUnreached, err)
	}
	return conn, nil
}

// RoundTrip tries instances until one answers, or the request must not be tried
// again.
func (t *webTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	name, _ := r.Context().Value(serviceKey{}).(string)
	body := guard(r.Body)
	t.m.health.request(name)
	var not avoid
	var last error
	for range attemptsMax {
		response, err := t.hedged(r, name, &not, body)
		if err == nil {
			return response, nil
		}
		if last == nil || !errors.Is(err, ErrNone) {
			last = err
		}
		if errors.Is(err, ErrNone) || r.Context().Err() != nil || !again(r, err, body) || !t.m.health.mayRetry(name) {
			break
		}
	}
	return nil, last
}

// again reports whether a request that failed so may be put to another instance.
func again(r *http.Request, err error, body *guarded) bool {
	if errors.Is(err, errDenied) || body.touched() {
		return false
	}
	return errors.Is(err, errUnreached) || repeatable(r)
}

// repeatable reports whether a request may be done twice: it changes nothing, or
// its sender has said so.
func repeatable(r *http.Request) bool {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return r.Header.Get("Upgrade") == ""
	}
	return r.Header.Get("Idempotency-Key") != ""
}

// answered is how an attempt ended.
type answered struct {
	response *http.Response
	call     *call
	err      error
}

// hedged puts a request to one instance, and, if that takes long and it may be
// done twice, to one of another provider.
func (t *webTransport) hedged(r *http.Request, name string, not *avoid, body *guarded) (*http.Response, error) {
	first, err := t.m.begin(name, *not)
	if err != nil {
		return nil, err
	}
	ended := make(chan answered, 2) // both can end, though one is taken
	cancels := make(map[*call]func())
	try := func(c *call) {
		not.owners = append(not.owners, c.seat.Owner)
		ctx, cancel := context.WithCancel(r.Context())
		cancels[c] = cancel
		go func() {
			response, err := t.once(r.WithContext(ctx), c, body)
			ended <- answered{response, c, err}
		}()
	}
	try(first)
	var hedge <-chan time.Time
	if repeatable(r) && body == nil {
		timer := time.NewTimer(first.hedgeAfter())
		defer timer.Stop()
		hedge = timer.C
	}
	for {
		select {
		case <-hedge:
			if second := t.m.hedge(name, *not, first); second != nil {
				try(second)
			}
		case a := <-ended:
			a.call.finish(a.err)
			cancel := cancels[a.call]
			delete(cancels, a.call)
			if a.err == nil {
				a.response.Body = withEnd(a.response.Body, cancel)
				go t.abandon(ended, cancels)
				return a.response, nil
			}
			cancel()
			if len(cancels) == 0 {
				return nil, fmt.Errorf("mesh: %s at %s: %w", name, a.call.seat.Owner, a.err)
			}
		}
	}
}

// abandon ends the slower attempts. That says nothing about their instances.
func (t *webTransport) abandon(ended <-chan answered, cancels map[*call]func()) {
	for _, cancel := range cancels { // order: all
		cancel()
	}
	for range cancels {
		a := <-ended
		a.call.seat.edge.inflight.Add(-1)
		if a.response != nil {
			a.response.Body.Close()
		}
	}
}

// once puts a request to the instance of a call.
func (t *webTransport) once(r *http.Request, c *call, body *guarded) (*http.Response, error) {
	out := r.Clone(r.Context())
	out.URL.Host = c.seat.Owner.String() + "." + c.seat.Name
	if body != nil {
		out.Body = body
	}
	response, err := t.inner.RoundTrip(out)
	if err != nil {
		return nil, err
	}
	outcome := response.Header.Get(headerOutcome)
	if outcome == "" {
		return response, nil
	}
	response.Body.Close()
	switch outcome {
	case outcomeUnreached:
		return nil, fmt.Errorf("%w: its owner cannot reach it", errUnreached)
	case outcomeDenied:
		return nil, errDenied
	}
	return nil, errors.New("mesh: the instance broke the request off")
}

// guarded is a request's body that can be given to another instance as long as
// none has read of it: the library closes a body whatever happens.
type guarded struct {
	io.ReadCloser
	read atomic.Bool
}

// guard returns nil if there is no body.
func guard(body io.ReadCloser) *guarded {
	if body == nil || body == http.NoBody {
		return nil
	}
	return &guarded{ReadCloser: body}
}

func (g *guarded) Read(b []byte) (int, error) {
	g.read.Store(true)
	return g.ReadCloser.Read(b)
}

// Close does nothing: the server closes its request's body itself.
func (g *guarded) Close() error { return nil }

func (g *guarded) touched() bool { return g != nil && g.read.Load() }

// withEnd calls end when a response's body is closed. One that can be written to
// has switched protocols and must stay so.
func withEnd(body io.ReadCloser, end func()) io.ReadCloser {
	if both, ok := body.(io.ReadWriteCloser); ok {
		return &endingBoth{both, end}
	}
	return &ending{body, end}
}

type ending struct {
	io.ReadCloser
	end func()
}

func (e *ending) Close() error {
	defer e.end()
	return e.ReadCloser.Close()
}

type endingBoth struct {
	io.ReadWriteCloser
	end func()
}

func (e *endingBoth) Close() error {
	defer e.end()
	return e.ReadWriteCloser.Close()
}
