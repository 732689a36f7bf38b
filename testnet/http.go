package testnet

import (
	"net"
	"net/http"
	"time"
)

// newHTTP is for the requests to one node. Connections are kept; a node that is
// paused takes a connection and never answers, so every use has a context.
func newHTTP() *http.Client {
	return &http.Client{Transport: &http.Transport{
		DialContext:         (&net.Dialer{Timeout: time.Second}).DialContext,
		MaxIdleConnsPerHost: idleConnsMax,
		MaxConnsPerHost:     connsMax,
		IdleConnTimeout:     time.Minute,
	}}
}

const (
	idleConnsMax = 64  // of a provider's clients at rest
	connsMax     = 512 // what a cut-off node's waiting clients may hold
)
