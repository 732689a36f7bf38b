package api

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
	"sync"
	"time"
)

// endpoint is a method of a path: how it is served, and what the OpenAPI
// document says about it.
type endpoint struct {
	name   string // its operationId, and its name in metrics
	method string
	path   string // as http.ServeMux and OpenAPI write it alike
	about  string
	params []param
	answer any // a value of the answer's type; nil: media says what it is
	media  string
	says   []*problemKind // beyond those every endpoint can say

	// serve returns the answer, or what is wrong. One that has a stream, or
	// something else to write, writes it and returns nil, nil.
	serve func(s *Server, c *call) (any, error)
}

// param is a parameter in the path or the query.
type param struct {
	name  string
	about string
	value paramKind
	enum  []string
}

type paramKind string

const (
	paramText    paramKind = "string"
	paramInteger paramKind = "integer"
)

func (e *endpoint) inPath(p *param) bool { return strings.Contains(e.path, "{"+p.name+"}") }

// endpoints are all there are, but for the subtree /debug/.
func endpoints() []endpoint {
	var all []endpoint
	for _, some := range [][]endpoint{nodeEndpoints, marketEndpoints, accountEndpoints, opEndpoints, chainEndpoints, streamEndpoints, plainEndpoints} {
		all = append(all, some...)
	}
	return all
}

// call is one request on its way through a handler.
type call struct {
	w http.ResponseWriter
	r *http.Request
	q url.Values
	// share is what the address may still have.
	share *share
	// status is what was sent, if not 200.
	status int
}

// routes returns the handler of all endpoints.
func (s *Server) routes() http.Handler {
	methods := make(map[string]map[string]*endpoint) // by path, then method
	for _, e := range endpoints() {
		if methods[e.path] == nil {
			methods[e.path] = make(map[string]*endpoint)
		}
		methods[e.path][e.method] = &e
	}
	mux := http.NewServeMux()
	for path, of := range methods {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) { s.dispatch(of, w, r) })
	}
	mux.HandleFunc("/debug/", s.debug)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.gate.enter() {
			s.late(w)
			return
		}
		defer s.gate.leave()
		// ServeMux would answer a path that is not clean with a redirect, and an
		// unknown one in plain text.
		if clean := path.Clean(r.URL.Path); clean == r.URL.Path || clean+"/" == r.URL.Path {
			if _, pattern := mux.Handler(r); pattern != "" {
				mux.ServeHTTP(w, r)
				return
			}
		}
		s.refuse(w, notFound.of("There is no path %q.", shorten(r.URL.Path)))
	})
}

// late answers who comes when all is over, and the backend is not asked any more.
func (s *Server) late(w http.ResponseWriter) {
	w.Header().Set("Connection", "close")
	stopped.of("The node is shutting down.").write(w)
}

// shorten keeps what a client sent from filling its answer.
func shorten(s string) string {
	const most = 128
	if len(s) > most {
		return s[:most] + "..."
	}
	return s
}

// dispatch serves the method of a path, or says which there are.
func (s *Server) dispatch(methods map[string]*endpoint, w http.ResponseWriter, r *http.Request) {
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	e := methods[method]
	if e == nil {
		var allowed []string
		for _, m := range []string{http.MethodGet, http.MethodPost} {
			if methods[m] != nil {
				allowed = append(allowed, m)
			}
		}
		w.Header().Set("Allow", strings.Join(allowed, ", "))
		s.refuse(w, badMethod.of("%s is not taken here.", shorten(r.Method)))
		return
	}
	began := time.Now()
	status := s.handle(e, w, r, began)
	if s.config.Observe != nil {
		s.config.Observe(e.name, status, time.Since(began))
	}
}

// handle serves one request and returns the status that was sent.
func (s *Server) handle(e *endpoint, w http.ResponseWriter, r *http.Request, now time.Time) (status int) {
	// A reader that takes longer is cut off. Whoever waits moves the deadline.
	s.allowMore(w, now)
	ctx, cancel := context.WithTimeout(r.Context(), s.config.RequestTimeout+s.config.WaitTimeout)
	defer cancel()
	c := &call{w: w, r: r.WithContext(ctx), share: s.rates.of(r.RemoteAddr), status: http.StatusOK}
	answer, err := s.answer(e, c, now)
	switch {
	case err != nil:
		p, unforeseen := problemFor(err)
		if unforeseen {
			s.config.Log.Error("api: a request failed", "endpoint", e.name, "err", err)
		}
		s.refuse(w, p)
		return p.Status
	case answer != nil:
		s.write(c, answer)
	}
	return c.status
}

func (s *Server) answer(e *endpoint, c *call, now time.Time) (any, error) {
	if err := take(c.share.requests, now, 1); err != nil {
		return nil, err
	}
	if err := c.parse(e); err != nil {
		return nil, err
	}
	return e.serve(s, c)
}

// allowMore gives a client RequestTimeout to send the rest of its request, and
// again to take the answer. The error, of a writer that knows no deadlines, means
// that there is no connection to hold up.
func (s *Server) allowMore(w http.ResponseWriter, now time.Time) {
	_ = http.NewResponseController(w).SetWriteDeadline(now.Add(2 * s.config.RequestTimeout))
}

// refuse writes a problem, with what it is as of.
func (s *Server) refuse(w http.ResponseWriter, p *Problem) {
	asOf := s.backend.AsOf()
	p.AsOf = &asOf
	p.write(w)
}

var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// bufferBytesKept bounds what a pooled buffer keeps of a large answer.
const bufferBytesKept = 256 << 10

// raw is an answer that is no JSON.
type raw struct {
	media string
	bytes []byte
	asOf  AsOf
	// forever says that what the address names can never change.
	forever bool
}

// write sends an answer.
func (s *Server) write(c *call, answer any) {
	h := c.w.Header()
	if r, ok := answer.(*raw); ok {
		h.Set("Content-Type", r.media)
		h.Set("Cache-Control", "no-store")
		if r.forever {
			h.Set("Cache-Control", "public, max-age=31536000, immutable")
		}
		// There is no room for as_of in the bytes.
		text, _ := json.Marshal(r.asOf)
		h.Set("Holdfast-As-Of", string(text))
		h.Set("Content-Length", strconv.Itoa(len(r.bytes)))
		c.w.Write(r.bytes) // a client that has left needs no answer
		return
	}
	b := buffers.Get().(*bytes.Buffer)
	defer func() {
		if b.Cap() <= bufferBytesKept {
			b.Reset()
			buffers.Put(b)
		}
	}()
	encoder := json.NewEncoder(b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(answer); err != nil {
		panic("api: invariant broken: an answer can be written: " + err.Error())
	}
	h.Set("Content-Type", typeJSON)
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Length", strconv.Itoa(b.Len()))
	c.w.Write(b.Bytes())
}

// parse reads the query and refuses what the endpoint does not know: a
// misspelt parameter must not pass for one that was not given.
func (c *call) parse(e *endpoint) error {
	if c.r.URL.RawQuery == "" {
		return nil
	}
	q, err := url.ParseQuery(c.r.URL.RawQuery)
	if err != nil {
		return badParameter.of("The query cannot be read: %v.", err)
	}
	for name, values := range q {
		if !e.takes(name) {
			return badParameter.of("There is no parameter %q here.", shorten(name))
		}
		if len(values) > 1 {
			return badParameter.of("The parameter %s is there %d times.", name, len(values))
		}
	}
	c.q = q
	return nil
}

func (e *endpoint) takes(name string) bool {
	for i := range e.params {
		if e.params[i].name == name && !e.inPath(&e.params[i]) {
			return true
		}
	}
	return false
}

// number returns an integer of the query.
func (c *call) number(name string, least, most, otherwise int64) (int64, error) {
	if !c.q.Has(name) {
		return otherwise, nil
	}
	n, err := strconv.ParseInt(c.q.Get(name), 10, 64)
	if err != nil || n < least || n > most {
		return 0, badParameter.of("%s must be a number from %d to %d.", name, least, most)
	}
	return n, nil
}

// flag returns whether ?name, ?name=true or ?name=1 is in the query.
func (c *call) flag(name string) (bool, error) {
	if !c.q.Has(name) {
		return false, nil
	}
	switch c.q.Get(name) {
	case "", "true", "1":
		return true, nil
	case "false", "0":
		return false, nil
	}
	return false, badParameter.of("%s must be true or false.", name)
}

// wait returns whether ?wait=final is in the query.
func (c *call) wait() (bool, error) {
	if !c.q.Has("wait") {
		return false, nil
	}
	if c.q.Get("wait") != "final" {
		return false, badParameter.of("wait must be final.")
	}
	return true, nil
}

// page returns which part of a list is asked for.
func (c *call) page() (before Cursor, most int, err error) {
	if c.q.Has("before") {
		if before, err = ParseCursor(c.q.Get("before")); err != nil {
			return before, 0, badParameter.of("before: %s", shorten(err.Error()))
		}
	}
	n, err := c.number("limit", 1, PageMax, 100)
	return before, int(n), err
}

var pageParams = []param{
	{name: "before", about: "A cursor: only what came before it; the next of an earlier answer.", value: paramText},
	{name: "limit", about: "How many at most: 1 to 1000, 100 unless told.", value: paramInteger},
}
