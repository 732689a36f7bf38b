package mesh

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
)

// proxiedMax bounds the connections one TCP proxy carries at once.
const proxiedMax = 4096

// ServeTCP gives each connection of a listener to the best instance of a service
// until ctx ends. It is then the service, as far as the callers can see.
func (m *Mesh) ServeTCP(ctx context.Context, l net.Listener, name string) error {
	if err := CheckName(name); err != nil {
		return fmt.Errorf("mesh: %w", err)
	}
	m.ports.add(name, l.Addr())
	defer m.ports.remove(name, l.Addr())
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(m.ctx, cancel)()
	defer context.AfterFunc(ctx, func() { l.Close() })()
	var serving sync.WaitGroup
	defer serving.Wait()
	room := make(chan struct{}, proxiedMax)
	for {
		conn, err := l.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return fmt.Errorf("mesh: TCP proxy of %s: %w", name, err)
			}
			continue // one connection that did not come about
		}
		select {
		case room <- struct{}{}:
		default:
			abort(conn)
			m.log.Warn("a connection is refused: the proxy carries as many as it may", "service", name, "max", proxiedMax)
			continue
		}
		serving.Go(func() {
			defer func() { <-room }()
			m.carry(ctx, conn, name)
		})
	}
}

// carry connects one caller with an instance and copies until both are done.
func (m *Mesh) carry(ctx context.Context, conn net.Conn, name string) {
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	instance, r, err := m.Dial(ctx, name)
	if err != nil {
		m.log.Info("a connection finds no instance", "service", name, "err", err)
		abort(conn)
		return
	}
	defer m.meter.carrying(r)()
	m.splice(conn, instance)
}

// ports are where the services' TCP proxies of this node listen, for DNS.
type ports struct {
	mu sync.Mutex
	at map[string][]net.Addr
}

func (p *ports) add(name string, a net.Addr) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.at == nil {
		p.at = make(map[string][]net.Addr)
	}
	p.at[name] = append(p.at[name], a)
}

func (p *ports) remove(name string, a net.Addr) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, at := range p.at[name] {
		if at == a {
			p.at[name] = append(p.at[name][:i:i], p.at[name][i+1:]...)
			break
		}
	}
	if len(p.at[name]) == 0 {
		delete(p.at, name)
	}
}

// of is where a name's proxies listen.
func (p *ports) of(name string) []net.Addr {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]net.Addr(nil), p.at[name]...)
}
