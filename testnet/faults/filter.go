package faults

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
)

// Filter holds the rules of one process and counts what they do. All sockets of
// the process share it. Any number of goroutines may use it.
type Filter struct {
	seed  uint64
	heard heard
	links atomic.Pointer[map[netip.AddrPort]*link] // replaced, never changed

	mu      sync.Mutex // guards what is below, and the replacing of links
	rules   rules
	sockets map[*Socket]bool
}

// linksMax bounds the remotes that are told apart. A node that meets more counts
// the rest as one, under the rule for others.
const linksMax = 4 * tableMax

// New returns a Filter without rules. Its chance comes from seed.
func New(seed uint64) *Filter {
	f := &Filter{seed: seed, sockets: make(map[*Socket]bool)}
	f.links.Store(&map[netip.AddrPort]*link{})
	return f
}

// Set replaces all rules at once, or none if one is wrong.
func (f *Filter) Set(t Table) error {
	parsed, err := t.parse()
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rules = parsed
	for remote, l := range *f.links.Load() {
		l.obey(parsed.rule(remote))
	}
	return nil
}

// ListenUDP makes a socket under the rules, for p2p.Config.ListenUDP.
func (f *Filter) ListenUDP(network string, addr *net.UDPAddr) (net.PacketConn, error) {
	u, err := net.ListenUDP(network, addr)
	if err != nil {
		return nil, fmt.Errorf("faults: %w", err)
	}
	return f.Wrap(u), nil
}

// Counters says what became of the packets to and from each remote.
func (f *Filter) Counters() map[string]Counters {
	out := make(map[string]Counters)
	for remote, l := range *f.links.Load() {
		out[name(remote)] = l.counters()
	}
	return out
}

// name is a remote in a Table or in Counters.
func name(remote netip.AddrPort) string {
	if !remote.IsValid() {
		return Others
	}
	return remote.String()
}

// link returns the state of the link to a remote, which the first packet makes.
func (f *Filter) link(remote netip.AddrPort) *link {
	remote = plain(remote)
	if l := (*f.links.Load())[remote]; l != nil {
		return l
	}
	return f.newLink(remote)
}

func (f *Filter) newLink(remote netip.AddrPort) *link {
	f.mu.Lock()
	defer f.mu.Unlock()
	links := *f.links.Load()
	if len(links) >= linksMax {
		remote = netip.AddrPort{}
	}
	if l := links[remote]; l != nil {
		return l
	}
	l := newLink(f.seed, remote)
	l.obey(f.rules.rule(remote))
	links = maps.Clone(links)
	links[remote] = l
	f.links.Store(&links)
	return l
}

// anySocket returns a socket that can reach remotes of the family.
func (f *Filter) anySocket(v4 bool) *Socket {
	f.mu.Lock()
	defer f.mu.Unlock()
	for s := range f.sockets {
		if ip := s.LocalAddr().(*net.UDPAddr).IP; (ip.To4() != nil) == v4 {
			return s
		}
	}
	return nil
}

func (f *Filter) add(s *Socket) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sockets[s] = true
}

func (f *Filter) remove(s *Socket) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.sockets, s)
}
