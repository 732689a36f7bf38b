package mesh

import (
	"context"
	"errors"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// HeaderPeer tells an HTTP service which peer calls. It is set by the owner's
// node, from the peer id the connection has proven; what a caller writes into it
// is thrown away.
const HeaderPeer = "X-Mesh-Peer"

// Bounds of HTTP towards services and from them.
const (
	headerTimeout  = 10 * time.Second
	headerBytesMax = 64 << 10
	idleTimeout    = 2 * time.Minute
)

// webFront stands before an HTTP service of ours: it takes the callers' streams
// and says who they are.
type webFront struct {
	incoming chan net.Conn
	server   *http.Server
	ended    chan struct{}
	end      func()
}

type callerKey struct{}

// newWebFront stands before the service at an address. down is called when it does
// not answer there; allowed says of each request whether its caller may: a stream
// that is kept may be older than the policy.
func newWebFront(name, to string, down func(), allowed func(peer.ID) bool) *webFront {
	f := &webFront{incoming: make(chan net.Conn), ended: make(chan struct{})}
	f.end = sync.OnceFunc(func() { close(f.ended) })
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host = "http", to
			caller, _ := r.In.Context().Value(callerKey{}).(peer.ID)
			r.Out.Header.Set(HeaderPeer, caller.String())
			r.Out.Host = r.In.Host
		},
		Transport: &http.Transport{
			Proxy: nil, MaxIdleConnsPerHost: 64, IdleConnTimeout: idleTimeout, DisableCompression: true,
			DialContext: (&net.Dialer{Timeout: backendTimeout}).DialContext,
		},
		ModifyResponse: func(r *http.Response) error {
			r.Header.Del(headerOutcome) // ours to say
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			w.Header().Set(headerOutcome, outcomeBroken)
			if isDial(err) {
				w.Header().Set(headerOutcome, outcomeUnreached)
				down()
			}
			http.Error(w, name+".mesh: its instance does not answer", http.StatusBadGateway)
		},
		ErrorLog:   log.New(discardLog{}, "", 0),
		BufferPool: bufferPool{},
	}
	f.server = &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if caller, _ := r.Context().Value(callerKey{}).(peer.ID); !allowed(caller) {
				w.Header().Set(headerOutcome, outcomeDenied)
				http.Error(w, name+".mesh: its policy refuses this caller", http.StatusForbidden)
				return
			}
			proxy.ServeHTTP(w, r)
		}), ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: headerBytesMax,
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, callerKey{}, c.(*called).caller)
		},
		ErrorLog: log.New(discardLog{}, "", 0),
	}
	return f
}

// headerOutcome tells the caller's node that it is the instance's node that
// answers, because the instance does not. Callers' clients do not see it.
const headerOutcome = "X-Mesh-Outcome"

const (
	outcomeUnreached = "unreached" // the instance has seen nothing of the request
	outcomeBroken    = "broken"    // it may have
	outcomeDenied    = "denied"    // its policy refuses the caller
)

// isDial reports whether an error came before anything was sent.
func isDial(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

// discardLog takes the library's lines about broken connections.
type discardLog struct{}

func (discardLog) Write(b []byte) (int, error) { return len(b), nil }

// bufferPool lends the library our buffers.
type bufferPool struct{}

func (bufferPool) Get() []byte  { return *buffers.Get().(*[]byte) }
func (bufferPool) Put(b []byte) { buffers.Put(&b) }

// called is a caller's stream while the server has it.
type called struct {
	net.Conn
	caller peer.ID
	closed chan struct{}
	end    func()
}

func (c *called) Close() error {
	defer c.end()
	return c.Conn.Close()
}

// serve gives a caller's stream to the server and returns when it is done.
func (f *webFront) serve(conn net.Conn, caller peer.ID) {
	c := &called{Conn: conn, caller: caller, closed: make(chan struct{})}
	c.end = sync.OnceFunc(func() { close(c.closed) })
	select {
	case f.incoming <- c:
		<-c.closed
	case <-f.ended:
		conn.Close()
	}
}

func (f *webFront) run() {
	if err := f.server.Serve(f); !errors.Is(err, http.ErrServerClosed) {
		f.end()
	}
}

func (f *webFront) close() {
	f.end()
	f.server.Close()
}

// Accept, Close and Addr make it the server's listener.
func (f *webFront) Accept() (net.Conn, error) {
	select {
	case c := <-f.incoming:
		return c, nil
	case <-f.ended:
		return nil, net.ErrClosed
	}
}

// Close ends the listening.
func (f *webFront) Close() error { f.end(); return nil }

// Addr says nothing: callers come by streams.
func (f *webFront) Addr() net.Addr { return &net.TCPAddr{} }
