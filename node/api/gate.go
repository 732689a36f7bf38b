package api

import "sync"

// gate counts the requests being handled, so that none is left when Serve
// returns: the node closes what they read from right after.
type gate struct {
	mu     sync.Mutex
	inside int
	closed bool
	empty  chan struct{} // closed when the last one leaves a closed gate
}

func newGate() *gate { return &gate{empty: make(chan struct{})} }

// enter says whether a request may be handled; leave must be called if so.
func (g *gate) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return false
	}
	g.inside++
	return true
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.inside--; g.inside == 0 && g.closed {
		close(g.empty)
	}
}

// close lets nobody in any more and waits until all have left. It is called once.
func (g *gate) close() {
	g.mu.Lock()
	g.closed = true
	if g.inside == 0 {
		close(g.empty)
	}
	g.mu.Unlock()
	<-g.empty
}
