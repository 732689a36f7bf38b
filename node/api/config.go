package api

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// Config says where the server listens and what it bears. Start from
// DefaultConfig.
type Config struct {
	// Listen is the address and port; port 0 takes a free one. The API has no
	// passwords: every operation is signed, and everything else is public, but
	// for /debug, which only this machine may read.
	Listen string

	// Connections bounds the open connections, streams not counted, and
	// ConnectionsPerAddress those of one address. When there is one more, the one
	// that has been idle for longest is closed.
	Connections, ConnectionsPerAddress int
	// Streams bounds the open streams, StreamsPerAddress those of one address.
	Streams, StreamsPerAddress int

	// Requests and Ops are what one address may ask for and submit per second;
	// it may save up for BurstSeconds. An IPv6 address counts with all of its /64.
	Requests, Ops, BurstSeconds float64

	// HeaderTimeout is for the header of a request, RequestTimeout for all of one
	// and, again, for its answer to be read; IdleTimeout is how long a
	// connection stays open without a request.
	HeaderTimeout, RequestTimeout, IdleTimeout time.Duration
	// WaitTimeout is how long ?wait=final waits at most.
	WaitTimeout time.Duration
	// StreamTimeout is how long one message to a stream may take to be sent.
	// AlivePeriod is how often a stream says that all is well when nothing happens.
	StreamTimeout, AlivePeriod time.Duration
	// DrainTimeout is how long requests may take to end after Run's context has.
	DrainTimeout time.Duration

	// Metrics serves /metrics and Debug everything under /debug/; nil: nothing is
	// there. Observe, if set, is told of each request that has ended, by the name
	// of its endpoint, on its goroutine.
	Metrics, Debug http.Handler
	Observe        func(endpoint string, status int, took time.Duration)

	Log *slog.Logger
}

// DefaultConfig fits a node that serves its own machine, or an office: a load
// generator on it that sends batches is not slowed down.
func DefaultConfig() Config {
	return Config{
		Listen:                "127.0.0.1:8080",
		Connections:           4096,
		ConnectionsPerAddress: 1024,
		Streams:               1024,
		StreamsPerAddress:     256,
		Requests:              20_000,
		Ops:                   100_000,
		BurstSeconds:          2,
		HeaderTimeout:         5 * time.Second,
		RequestTimeout:        30 * time.Second,
		IdleTimeout:           2 * time.Minute,
		WaitTimeout:           25 * time.Second,
		StreamTimeout:         10 * time.Second,
		AlivePeriod:           5 * time.Second,
		DrainTimeout:          4 * time.Second,
		Log:                   slog.Default(),
	}
}

// Validate lists every fault at once.
func (c *Config) Validate() error {
	var faults []error
	check := func(good bool, name, must string) {
		if !good {
			faults = append(faults, fmt.Errorf("api: %s %s", name, must))
		}
	}
	if _, _, err := net.SplitHostPort(c.Listen); err != nil {
		check(false, fmt.Sprintf("Listen %q", c.Listen), "must be an address and a port, such as 127.0.0.1:8080")
	}
	for _, bound := range []struct {
		name string
		n    int
	}{{"Connections", c.Connections}, {"ConnectionsPerAddress", c.ConnectionsPerAddress}, {"Streams", c.Streams}, {"StreamsPerAddress", c.StreamsPerAddress}} {
		check(bound.n > 0, bound.name, fmt.Sprintf("is %d, it must be above zero", bound.n))
	}
	for _, rate := range []struct {
		name string
		n    float64
	}{{"Requests", c.Requests}, {"Ops", c.Ops}, {"BurstSeconds", c.BurstSeconds}} {
		check(rate.n > 0, rate.name, fmt.Sprintf("is %v, it must be above zero", rate.n))
	}
	check(!(c.Ops > 0 && c.BurstSeconds > 0) || c.Ops*c.BurstSeconds >= OpsMax, "Ops x BurstSeconds", fmt.Sprintf("is %v, a request of %d operations would never pass", c.Ops*c.BurstSeconds, OpsMax))
	check(!(c.Requests > 0 && c.BurstSeconds > 0) || c.Requests*c.BurstSeconds >= 1, "Requests x BurstSeconds", "is below 1, no request would ever pass")
	for _, span := range []struct {
		name string
		d    time.Duration
	}{
		{"HeaderTimeout", c.HeaderTimeout}, {"RequestTimeout", c.RequestTimeout}, {"IdleTimeout", c.IdleTimeout},
		{"WaitTimeout", c.WaitTimeout}, {"StreamTimeout", c.StreamTimeout}, {"AlivePeriod", c.AlivePeriod}, {"DrainTimeout", c.DrainTimeout},
	} {
		check(span.d > 0, span.name, fmt.Sprintf("is %v, it must be above zero", span.d))
	}
	check(c.Log != nil, "Log", "is missing")
	return errors.Join(faults...)
}
