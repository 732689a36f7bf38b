package api

import (
	"container/list"
	"net"
	"net/http"
	"net/netip"
	"sync"
)

// connections bounds the open connections, of one address and of all. When there
// is one too many, the one that has been idle for longest is closed, so ten
// thousand silent connections cost others nothing but a new handshake. If none is
// idle, the newest is: who holds all there may be gets no more.
type connections struct {
	most, mostOfOne int

	mu   sync.Mutex
	open map[net.Conn]*connection
	of   map[netip.Addr]int
	idle *list.List // of *connection, idle for longest first
}

// connection is one that is open.
type connection struct {
	conn    net.Conn
	address netip.Addr
	idle    *list.Element // nil while a request is on it
}

func newConnections(c *Config) *connections {
	return &connections{
		most: c.Connections, mostOfOne: c.ConnectionsPerAddress,
		open: make(map[net.Conn]*connection), of: make(map[netip.Addr]int), idle: list.New(),
	}
}

// changed is the http.Server's ConnState hook.
func (c *connections) changed(conn net.Conn, state http.ConnState) {
	if tooMany := c.note(conn, state); tooMany != nil {
		tooMany.Close() // its own goroutine notices, and tells us
	}
}

// note records the change and returns a connection to close, or nil. A new
// connection has said nothing yet: it is as idle as one that says nothing more.
func (c *connections) note(conn net.Conn, state http.ConnState) (tooMany net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	at := c.open[conn]
	switch {
	case state == http.StateNew:
		at = &connection{conn: conn, address: addressOf(conn.RemoteAddr().String())}
		c.open[conn] = at
		c.of[at.address]++
	case at == nil:
		return nil // it was one too many, and forgotten
	}
	if at.idle != nil {
		c.idle.Remove(at.idle)
		at.idle = nil
	}
	switch state {
	case http.StateClosed, http.StateHijacked:
		c.forget(at)
	case http.StateNew, http.StateIdle:
		at.idle = c.idle.PushBack(at)
	}
	return c.tooMany(at.address)
}

func (c *connections) forget(at *connection) {
	delete(c.open, at.conn)
	if c.of[at.address]--; c.of[at.address] == 0 {
		delete(c.of, at.address)
	}
}

// tooMany forgets and returns the connection that has to go, if one has to: one
// of the address, if that has more than its share.
func (c *connections) tooMany(address netip.Addr) net.Conn {
	ofOne := c.of[address] > c.mostOfOne
	if !ofOne && len(c.open) <= c.most {
		return nil
	}
	for e := c.idle.Front(); e != nil; e = e.Next() {
		if at := e.Value.(*connection); !ofOne || at.address == address {
			c.idle.Remove(e)
			c.forget(at)
			return at.conn
		}
	}
	return nil
}
