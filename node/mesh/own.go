package mesh

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

// Service is an instance of ours: what a name leads to on this node.
type Service struct {
	Name string `json:"name"`
	// To is where the instance listens, host:port. Peers are not told.
	To string `json:"to"`
	// Protocol is tcp or http. An http service is told by X-Mesh-Peer who calls.
	Protocol string `json:"protocol"`
	// Check is how the instance is checked: tcp, http:/path or none.
	Check string `json:"check"`
	// ProxyProtocol begins each connection to a tcp service with a PROXY v2 header
	// that says who calls.
	ProxyProtocol bool `json:"proxy_protocol,omitempty"`
	// Body is the service's own, for whoever resolves it.
	Body []byte `json:"body,omitempty"`
	// Policy says who may call.
	Policy Policy `json:"policy"`
}

// Validate returns what is wrong with a service, with its defaults filled in.
func (s *Service) Validate() error {
	if err := CheckName(s.Name); err != nil {
		return err
	}
	if s.Protocol == "" {
		s.Protocol = "tcp"
		if strings.HasPrefix(s.Check, "http:") {
			s.Protocol = "http"
		}
	}
	if s.Check == "" {
		s.Check = "tcp"
	}
	if s.Protocol != "tcp" && s.Protocol != "http" {
		return fmt.Errorf("service %s: protocol %q: it must be tcp or http", s.Name, s.Protocol)
	}
	if path, ok := strings.CutPrefix(s.Check, "http:"); s.Check != "tcp" && s.Check != "none" && (!ok || !strings.HasPrefix(path, "/")) || len(s.Check) > checkBytesMax {
		return fmt.Errorf("service %s: check %q: it must be tcp, none, or http: and a path such as http:/healthz", s.Name, s.Check)
	}
	if host, port, err := net.SplitHostPort(s.To); err != nil || host == "" || port == "" || port == "0" {
		return fmt.Errorf("service %s: %q is not where it listens: give host:port", s.Name, s.To)
	}
	if s.ProxyProtocol && s.Protocol == "http" {
		return fmt.Errorf("service %s: an http service is told who calls by X-Mesh-Peer; PROXY is for tcp", s.Name)
	}
	if len(s.Body) > bodyBytesMax {
		return fmt.Errorf("service %s: a body of %d bytes: at most %d", s.Name, len(s.Body), bodyBytesMax)
	}
	return s.Policy.validate()
}

// service is a Service while it is registered.
type service struct {
	Service
	state   State
	seq     uint64
	due     time.Time // of the next beat
	calls   atomic.Int64
	checks  streak
	checkAt chan struct{} // a call has failed: check now
	cancel  context.CancelFunc
	web     *webFront // of an http service
}

// Register makes this node an instance of a service, or changes what it says of
// the instance it is. It is checked before anybody hears of it, and remembered
// over restarts.
func (m *Mesh) Register(s Service) error {
	if err := s.Validate(); err != nil {
		return fmt.Errorf("mesh: %w", err)
	}
	m.mu.RLock()
	full := m.own[s.Name] == nil && len(m.own) >= m.config.Bounds.NamesOfOwner
	m.mu.RUnlock()
	if full {
		return fmt.Errorf("mesh: %d services are registered here: at most %d, or others would refuse them", len(m.own), m.config.Bounds.NamesOfOwner)
	}
	if err := m.start(s); err != nil {
		return err
	}
	return m.saveOwn()
}

// start begins to check and to say that the instance is there.
func (m *Mesh) start(s Service) error {
	ctx, cancel := context.WithCancel(m.ctx)
	fresh := &service{Service: s, checkAt: make(chan struct{}, 1), cancel: cancel, state: Failing}
	if m.check(ctx, &s) == nil {
		fresh.state = Serving
	}
	if s.Protocol == "http" {
		fresh.web = newWebFront(s.Name, s.To, func() { signal(fresh.checkAt) }, func(caller peer.ID) bool {
			d, err := m.Authz(caller, s.Name)
			return err == nil && d.Allowed
		})
	}
	m.mu.Lock()
	old := m.own[s.Name]
	fresh.seq = m.saidLast(s.Name)
	m.own[s.Name] = fresh
	m.mu.Unlock()
	if old != nil {
		old.stop()
	}
	if fresh.web != nil {
		m.spawn(fresh.web.run)
	}
	m.spawn(func() { m.checkLoop(ctx, fresh) })
	return m.publish(s.Name, true)
}

// saidLast is the sequence number of what this process has said last of an instance
// of its own, a tombstone too: what is said next must be above it. m.mu is held.
func (m *Mesh) saidLast(name string) (seq uint64) {
	if s := m.own[name]; s != nil {
		seq = s.seq
	}
	if h, ok := m.store.Instance(name, m.self); ok && h.Record.Epoch == m.epoch {
		seq = max(seq, h.Record.Seq)
	}
	return seq
}

func (s *service) stop() {
	s.cancel()
	if s.web != nil {
		s.web.close()
	}
}

// Drain lets an instance end what it has begun and takes nothing new. It returns
// when all has ended, or after Config.DrainMax.
func (m *Mesh) Drain(ctx context.Context, name string) error {
	m.mu.Lock()
	s := m.own[name]
	if s != nil {
		s.state = Draining
	}
	m.mu.Unlock()
	if s == nil {
		return fmt.Errorf("mesh: %s is not registered on this node", name)
	}
	if err := m.publish(name, true); err != nil {
		return err
	}
	if s.web != nil {
		s.web.server.SetKeepAlivesEnabled(false) // idle callers would hold us for minutes
	}
	ctx, cancel := context.WithTimeout(ctx, m.config.DrainMax)
	defer cancel()
	look := time.NewTicker(drainLook)
	defer look.Stop()
	for s.calls.Load() > 0 {
		select {
		case <-look.C:
		case <-ctx.Done():
			return nil
		case <-m.ctx.Done():
			return errClosed
		}
	}
	return nil
}

// drainLook is how often a drain looks whether it is over.
const drainLook = 20 * time.Millisecond

// DrainAll drains all our instances at once, before the node goes.
func (m *Mesh) DrainAll(ctx context.Context) {
	done := make(chan struct{})
	names := m.Registered()
	for _, s := range names {
		go func() {
			m.Drain(ctx, s.Name)
			done <- struct{}{}
		}()
	}
	for range names {
		<-done
	}
}

// Deregister drains an instance and takes it away for good, with a tombstone.
func (m *Mesh) Deregister(ctx context.Context, name string) error {
	if err := m.Drain(ctx, name); err != nil {
		return err
	}
	m.mu.Lock()
	s := m.own[name]
	if s != nil {
		s.state = Gone
	}
	m.mu.Unlock()
	if err := m.publish(name, true); err != nil {
		return err
	}
	m.mu.Lock()
	if m.own[name] == s {
		delete(m.own, name)
	}
	m.mu.Unlock()
	if s != nil {
		s.stop()
	}
	return m.saveOwn()
}

// Registered are our own services by name.
func (m *Mesh) Registered() []Service {
	m.mu.RLock()
	defer m.mu.RUnlock()
	services := make([]Service, 0, len(m.own))
	for _, name := range slices.Sorted(maps.Keys(m.own)) {
		services = append(services, m.own[name].Service)
	}
	return services
}

// publish says something new of our instance: to our own store, to the disk, and
// by gossip. What is more than a beat also goes to the DHT.
func (m *Mesh) publish(name string, more bool) error {
	m.mu.Lock()
	s := m.own[name]
	if s == nil {
		m.mu.Unlock()
		return nil
	}
	s.seq++
	first := s.seq == 1
	s.due = time.Now().Add(m.nextBeat())
	claim := m.claim(s)
	m.mu.Unlock()
	r, err := Sign(m.config.Key, claim)
	if err != nil {
		return fmt.Errorf("mesh: registering %s: %w", name, err)
	}
	if o := m.take(r, ByMemory, m.self); o.Kind == Refused && o.Refusal.Reason == Full {
		return o.Refusal
	}
	if first { // the epoch must outlive a loss of power before anybody sees it
		m.flush(true)
	}
	m.announce(r, more)
	return nil
}

// claim is what we say of an instance now. m.mu is held.
func (m *Mesh) claim(s *service) Claim {
	c := m.config
	claim := Claim{
		Network: c.Network, Name: s.Name, Owner: m.self, Stamp: Stamp{m.epoch, s.seq}, State: s.state,
		Provider: c.Provider, Region: c.Region, Zone: c.Zone, Protocol: s.Protocol, Check: s.Check,
		IssuedMs: uint64(time.Now().UnixMilli()), TTL: c.TTL, Beat: c.Beat, Body: s.Body,
	}
	if s.state != Gone {
		claim.Endpoints = m.endpoints()
	}
	return claim
}

// endpoints are where this host is reached, or at least who it is.
func (m *Mesh) endpoints() (addrs []string) {
	for _, full := range m.host.Addrs() {
		addr, _ := ma.SplitLast(full) // without the peer id
		if addr != nil && len(addrs) < endpointsMax && len(addr.String()) <= endpointBytesMax {
			addrs = append(addrs, addr.String())
		}
	}
	if len(addrs) == 0 {
		addrs = []string{"/p2p/" + m.self.String()}
	}
	return addrs
}

// nextEpoch is above every epoch of ours that we know of, and, as a disk may be
// lost, not below the clock.
func (m *Mesh) nextEpoch(now time.Time) uint64 {
	epoch := uint64(now.Unix())
	for _, name := range m.store.Names() {
		if h, ok := m.store.Instance(name, m.self); ok {
			epoch = max(epoch, h.Record.Epoch+1)
		}
	}
	return epoch
}

// surpass sees a record of ours that may not be of this process: from before a
// lost disk, from a copy of this node, or for a service we no longer have. We say
// something newer at the next beat. m.mu is held.
func (m *Mesh) surpass(r *Record, now time.Time) {
	s := m.own[r.Name]
	switch {
	case s != nil && !r.After(Stamp{m.epoch, s.seq}):
		return // our own words
	case s == nil && r.State == Gone:
		return
	case r.Epoch >= m.epoch:
		m.epoch = r.Epoch + 1
	}
	m.orphaned = m.orphaned || s == nil
	m.happened(Event{Impersonated, r.Name, r.Owner, r.Stamp, r.State, now})
	m.log.Warn("another process speaks in this node's name, or did before its disk was lost", "service", r.Name, "stamp", r.Stamp)
	for _, s := range m.own { // order: each apart
		s.seq, s.due = 0, now.Add(time.Second)
	}
}

// nextBeat is the time to the next beat: jittered, so that a thousand instances
// that started together do not speak together.
func (m *Mesh) nextBeat() time.Duration {
	return m.config.Beat - time.Duration(rand.Int64N(int64(m.config.Beat)/5+1))
}

// beatLoop repeats what our instances say when it is due.
func (m *Mesh) beatLoop() {
	tick := time.NewTicker(beatLook)
	defer tick.Stop()
	for {
		select {
		case now := <-tick.C:
			m.farewell()
			for _, name := range m.dueBeats(now) {
				if err := m.publish(name, false); err != nil {
					m.log.Warn("an instance could not say that it lives", "service", name, "err", err)
				}
			}
		case <-m.ctx.Done():
			return
		}
	}
}

const beatLook = 100 * time.Millisecond

// farewell takes away instances of ours that are known and no longer registered:
// from before a restart, or from before the file of our services was lost.
func (m *Mesh) farewell() {
	m.mu.Lock()
	orphaned := m.orphaned
	m.orphaned = false
	var claims []Claim
	for _, name := range m.store.Names() {
		h, ok := m.store.Instance(name, m.self)
		if !orphaned || !ok || m.own[name] != nil || h.Record.State == Gone {
			continue
		}
		c := h.Record.Claim
		c.State, c.Endpoints, c.Body = Gone, nil, nil
		c.Stamp, c.IssuedMs = Stamp{m.epoch, 1}, uint64(time.Now().UnixMilli())
		claims = append(claims, c)
	}
	m.mu.Unlock()
	for _, c := range claims {
		if r, err := Sign(m.config.Key, c); err == nil {
			m.take(r, ByMemory, m.self)
			m.announce(r, true)
		}
	}
}

func (m *Mesh) dueBeats(now time.Time) (names []string) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	for name, s := range m.own { // order: each apart
		if !now.Before(s.due) {
			names = append(names, name)
		}
	}
	return names
}

// ownName is the file of our own services.
const ownName = "own.json"

// saveOwn keeps our services for the next start.
func (m *Mesh) saveOwn() error {
	if m.config.Dir == "" {
		return nil
	}
	text, err := marshalServices(m.Registered())
	if err != nil {
		return err
	}
	path := filepath.Join(m.config.Dir, ownName)
	m.disk.Lock()
	defer m.disk.Unlock()
	if err := writeWhole(path, text); err != nil {
		return fmt.Errorf("mesh: the service works until this node restarts, but is not saved: %w", err)
	}
	return nil
}

func marshalServices(services []Service) ([]byte, error) {
	text, err := json.MarshalIndent(services, "", "  ")
	return append(text, '\n'), err
}

// writeWhole replaces a file, durably, or leaves it as it was.
func writeWhole(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+newSuffix)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return syncDir(filepath.Dir(path))
}

// ownBytesMax bounds the file of our own services: 64 with the longest policies.
const ownBytesMax = 4 << 20

// restoreOwn registers again what was registered at the last start. A file that
// cannot be read is moved aside: the others' services must not wait for it.
func (m *Mesh) restoreOwn() error {
	if m.config.Dir == "" {
		return nil
	}
	path := filepath.Join(m.config.Dir, ownName)
	removeLeftovers(path)
	services, err := readOwn(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		aside := fmt.Sprintf("%s.damaged-%d", path, time.Now().UnixNano())
		err = errors.Join(err, os.Rename(path, aside))
		m.log.Error("this node's own services are forgotten: register them again", "file", aside, "err", err)
		return nil
	}
	for _, s := range services {
		if err := m.start(s); err != nil {
			m.log.Error("a service of this node is not registered again", "service", s.Name, "err", err)
		}
	}
	return nil
}

func readOwn(path string) (services []Service, err error) {
	text, err := readEnd(path, ownBytesMax)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(text, &services); err != nil {
		return nil, err
	}
	for i := range services {
		if err := services[i].Validate(); err != nil {
			return nil, err
		}
	}
	return services, nil
}
