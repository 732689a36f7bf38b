package api

import (
	"net"
	"net/http"
	"net/netip"
	"time"
)

// plainEndpoints are for machines that watch the node, and for readers of this API.
var plainEndpoints = []endpoint{
	{
		name: "openapi", method: http.MethodGet, path: "/v1/openapi.json", media: typeJSON,
		about: "This document.",
		serve: func(s *Server, _ *call) (any, error) {
			return &raw{media: typeJSON, bytes: s.document, asOf: s.backend.AsOf()}, nil
		},
	},
	{
		name: "health", method: http.MethodGet, path: "/healthz", answer: Health{},
		about: "Whether the process answers. A restart helps when it does not.",
		serve: func(s *Server, _ *call) (any, error) { return &Health{s.backend.AsOf(), true}, nil },
	},
	{
		name: "ready", method: http.MethodGet, path: "/readyz", answer: Health{},
		about: "Whether the node has caught up and should be sent requests.",
		says:  []*problemKind{notReady},
		serve: (*Server).ready,
	},
	{
		name: "metrics", method: http.MethodGet, path: "/metrics", media: "text/plain",
		about: "The node's metrics as Prometheus reads them.",
		says:  []*problemKind{noSuchThing},
		serve: (*Server).metrics,
	},
}

// Health is the answer of /healthz and /readyz.
type Health struct {
	AsOf AsOf `json:"as_of"`
	OK   bool `json:"ok"`
}

func (s *Server) ready(*call) (any, error) {
	switch status := s.backend.Status(); {
	case s.draining.Err() != nil:
		return nil, notReady.of("The node is shutting down.").after(retryDefault)
	case status.Alarm != "":
		return nil, notReady.of("The node has stopped: %s.", status.Alarm)
	case !status.Ready:
		return nil, notReady.of("The node has not caught up.").after(retryDefault)
	}
	return &Health{s.backend.AsOf(), true}, nil
}

func (s *Server) metrics(c *call) (any, error) {
	if s.config.Metrics == nil {
		return nil, noSuchThing.of("This node keeps no metrics.")
	}
	s.config.Metrics.ServeHTTP(c.w, c.r)
	return nil, nil
}

// debug serves what only this machine may see.
func (s *Server) debug(w http.ResponseWriter, r *http.Request) {
	switch {
	case !local(r):
		s.refuse(w, localOnly.of("The request is not from this machine."))
	case s.config.Debug == nil:
		s.refuse(w, notFound.of("This node shows nothing to debug."))
	default:
		// A profile takes as long as it was asked to.
		control := http.NewResponseController(w)
		_ = control.SetReadDeadline(time.Time{})
		_ = control.SetWriteDeadline(time.Time{})
		s.config.Debug.ServeHTTP(w, r)
	}
}

// local says whether a request is from this machine and meant for it: over the
// loopback address, not through a proxy that stands on it, and not from a page
// whose name was made to point here.
func local(r *http.Request) bool {
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || !from.Addr().Unmap().IsLoopback() {
		return false
	}
	if r.Header.Get("Forwarded") != "" || r.Header.Get("X-Forwarded-For") != "" {
		return false
	}
	host := r.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	if host == "localhost" {
		return true
	}
	address, err := netip.ParseAddr(host)
	return err == nil && address.Unmap().IsLoopback()
}
