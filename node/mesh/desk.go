package mesh

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// The desk is where this machine's programs see to services: a unix socket that
// only the node's user can open, spoken in HTTP and JSON. `holdfast svc` is its
// client. Whoever can open it can register services and listen in the node's name.

// Summary is one line of a list of services.
type Summary struct {
	Name      string `json:"name"`
	Instances int    `json:"instances"`
	Serving   int    `json:"serving"`
	Providers int    `json:"providers"`
	Here      bool   `json:"here"` // an instance is registered on this node
	Stale     bool   `json:"stale"`
}

// InstanceView is an instance as the desk shows it.
type InstanceView struct {
	Owner     string   `json:"owner"`
	Epoch     uint64   `json:"epoch"`
	Seq       uint64   `json:"seq"`
	State     string   `json:"state"`
	Standing  string   `json:"standing"`
	In        bool     `json:"in"`
	Rank      int      `json:"rank"`
	Why       []string `json:"why"`
	Provider  string   `json:"provider"`
	Region    string   `json:"region"`
	Zone      string   `json:"zone"`
	Protocol  string   `json:"protocol"`
	Check     string   `json:"check"`
	Endpoints []string `json:"endpoints"`
	HeardMs   int64    `json:"heard_ms"` // Unix time
	LatencyUs int64    `json:"latency_us"`
	Inflight  int      `json:"inflight"`
	Body      []byte   `json:"body,omitempty"`
}

// Resolution is what is known of a name, and what is made of it.
type Resolution struct {
	Name      string         `json:"name"`
	Found     bool           `json:"found"`
	Stale     bool           `json:"stale"`
	Why       string         `json:"why,omitempty"`
	Instances []InstanceView `json:"instances"`
}

// RejectionView is a refused record as the desk shows it.
type RejectionView struct {
	AtMs   int64  `json:"at_ms"`
	From   string `json:"from"`
	Reason Reason `json:"reason"`
	Detail string `json:"detail"`
	Times  int    `json:"times"`
}

// RejectedView is what was refused, last of all kinds, and how often each.
type RejectedView struct {
	Last   []RejectionView   `json:"last"`
	Counts map[Reason]uint64 `json:"counts"`
}

// PolicyChange asks for one change of a policy; exactly one field is set.
type PolicyChange struct {
	Allow string `json:"allow,omitempty"`
	Deny  string `json:"deny,omitempty"`
	Mode  *Mode  `json:"mode,omitempty"`
}

// Listen asks the node to listen for as long as the request lasts.
type Listen struct {
	Kind     string `json:"kind"` // tcp, http or dns
	Name     string `json:"name,omitempty"`
	At       string `json:"at"` // host:port; port 0 chooses one
	HTTPPort uint16 `json:"http_port,omitempty"`
}

// Listening says where.
type Listening struct {
	At string `json:"at"`
}

// fault is an error as the desk says it.
type fault struct {
	Error string `json:"error"`
}

// deskBytesMax bounds a request: a service with the longest policy.
const deskBytesMax = 1 << 20

// ServeDesk serves the desk on a listener until ctx ends.
func (m *Mesh) ServeDesk(ctx context.Context, l net.Listener) error {
	server := &http.Server{Handler: m.Desk(), ReadHeaderTimeout: headerTimeout, MaxHeaderBytes: headerBytesMax,
		BaseContext: func(net.Listener) context.Context { return ctx }}
	defer context.AfterFunc(ctx, func() { server.Close() })()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("mesh: desk: %w", err)
	}
	return nil
}

// Desk is the desk's handler.
func (m *Mesh) Desk() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /services", m.deskList)
	mux.HandleFunc("GET /rejected", m.deskRejected)
	mux.HandleFunc("POST /services", m.deskRegister)
	mux.HandleFunc("GET /services/{name}", m.deskResolve)
	mux.HandleFunc("GET /services/{name}/watch", m.deskWatch)
	mux.HandleFunc("DELETE /services/{name}", func(w http.ResponseWriter, r *http.Request) {
		say(w, struct{}{}, m.Deregister(r.Context(), r.PathValue("name")))
	})
	mux.HandleFunc("POST /services/{name}/drain", func(w http.ResponseWriter, r *http.Request) {
		say(w, struct{}{}, m.Drain(r.Context(), r.PathValue("name")))
	})
	mux.HandleFunc("POST /services/{name}/policy", m.deskPolicy)
	mux.HandleFunc("GET /services/{name}/authz/{peer}", m.deskAuthz)
	mux.HandleFunc("POST /listen", m.deskListen)
	return mux
}

// say answers with a value or with what went wrong.
func say(w http.ResponseWriter, v any, err error) {
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		v = fault{err.Error()}
	}
	json.NewEncoder(w).Encode(v) // whoever has gone does not read it
}

// hear reads a request.
func hear(w http.ResponseWriter, r *http.Request, into any) bool {
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, deskBytesMax))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		say(w, nil, fmt.Errorf("the request cannot be read: %w", err))
		return false
	}
	return true
}

func (m *Mesh) deskList(w http.ResponseWriter, _ *http.Request) {
	own := m.Registered()
	list := []Summary{}
	for _, name := range m.Names() {
		a := m.Resolve(name)
		s := Summary{Name: name, Stale: a.Stale, Instances: len(a.Instances),
			Here: slices.ContainsFunc(own, func(s Service) bool { return s.Name == name })}
		providers := make(map[string]bool)
		for _, in := range a.Usable() {
			providers[in.Provider] = true
			if in.State == Serving && in.Standing <= LastGood {
				s.Serving++
			}
		}
		s.Providers = len(providers)
		list = append(list, s)
	}
	say(w, list, nil)
}

func (m *Mesh) deskRejected(w http.ResponseWriter, _ *http.Request) {
	last, counts := m.Rejected()
	view := RejectedView{Last: []RejectionView{}, Counts: counts}
	for _, r := range last {
		view.Last = append(view.Last, RejectionView{r.At.UnixMilli(), r.From.String(), r.Reason, r.Detail, r.Times})
	}
	say(w, view, nil)
}

func (m *Mesh) deskRegister(w http.ResponseWriter, r *http.Request) {
	var s Service
	if hear(w, r, &s) {
		say(w, struct{}{}, m.Register(s))
	}
}

// deskResolve waits for a name that is not known, as a call would.
func (m *Mesh) deskResolve(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	ctx, cancel := context.WithTimeout(r.Context(), findTimeout)
	defer cancel()
	_, err := m.Await(ctx, name)
	if errors.Is(err, context.DeadlineExceeded) {
		err = nil // not found is an answer
	}
	say(w, m.resolution(name), err)
}

func (m *Mesh) resolution(name string) Resolution {
	a, all := m.Explain(name)
	v := Resolution{Name: name, Found: a.Found, Stale: a.Stale, Why: a.Why, Instances: []InstanceView{}}
	for _, x := range all {
		v.Instances = append(v.Instances, InstanceView{
			Owner: x.Owner.String(), Epoch: x.Epoch, Seq: x.Seq, State: x.State.String(), Standing: x.Standing.String(),
			In: x.In, Rank: x.Rank, Why: x.Why, Provider: x.Provider, Region: x.Region, Zone: x.Zone,
			Protocol: x.Protocol, Check: x.Check, Endpoints: x.Endpoints, HeardMs: x.Heard.UnixMilli(),
			LatencyUs: x.Latency.Microseconds(), Inflight: x.Inflight, Body: x.Body,
		})
	}
	return v
}

// deskWatch writes a line when anything about a name changes, until the client
// goes.
func (m *Mesh) deskWatch(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	if err := CheckName(name); err != nil {
		say(w, nil, err)
		return
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	look := time.NewTicker(watchLook)
	defer look.Stop()
	last := ""
	for {
		changed := m.Changed()
		now := m.resolution(name)
		if seen := now.outline(); seen != last {
			last = seen
			if json.NewEncoder(w).Encode(now) != nil || http.NewResponseController(w).Flush() != nil {
				return
			}
		}
		select {
		case <-changed:
		case <-look.C:
		case <-r.Context().Done():
			return
		case <-m.ctx.Done():
			return
		}
	}
}

// watchLook is how often a watch looks for what time alone changes.
const watchLook = time.Second

// outline is what of a resolution is worth a line: not beats and latencies.
func (v *Resolution) outline() string {
	text := fmt.Sprint(v.Found, v.Stale)
	for _, in := range v.Instances {
		text += fmt.Sprint("|", in.Owner, in.Epoch, in.State, in.Standing, in.In)
	}
	return text
}

func (m *Mesh) deskPolicy(w http.ResponseWriter, r *http.Request) {
	var c PolicyChange
	if !hear(w, r, &c) {
		return
	}
	name := r.PathValue("name")
	err := errors.New("mesh: a change of a policy is one of allow, deny and mode")
	switch {
	case c.Allow != "" && c.Deny == "" && c.Mode == nil:
		err = m.Allow(name, c.Allow)
	case c.Deny != "" && c.Allow == "" && c.Mode == nil:
		err = m.Deny(name, c.Deny)
	case c.Mode != nil && c.Allow == "" && c.Deny == "":
		err = m.SetMode(name, *c.Mode)
	}
	var policy Policy
	for _, s := range m.Registered() {
		if s.Name == name {
			policy = s.Policy
		}
	}
	say(w, policy, err)
}

func (m *Mesh) deskAuthz(w http.ResponseWriter, r *http.Request) {
	caller, err := peer.Decode(r.PathValue("peer"))
	if err != nil {
		say(w, nil, fmt.Errorf("mesh: %q is no peer id: %w", r.PathValue("peer"), err))
		return
	}
	d, err := m.Authz(caller, r.PathValue("name"))
	say(w, d, err)
}

// deskListen listens for as long as the client stays: a proxy ends with the
// command that asked for it.
func (m *Mesh) deskListen(w http.ResponseWriter, r *http.Request) {
	var l Listen
	if !hear(w, r, &l) {
		return
	}
	at, serve, err := m.listen(l)
	if err != nil {
		say(w, nil, fmt.Errorf("mesh: %w", err))
		return
	}
	say(w, Listening{at}, nil)
	http.NewResponseController(w).Flush()
	if err := serve(r.Context()); err != nil {
		m.log.Warn("a proxy has ended", "kind", l.Kind, "at", at, "err", err)
	}
}

func (m *Mesh) listen(l Listen) (at string, serve func(context.Context) error, err error) {
	if l.Kind == "tcp" {
		if err := CheckName(l.Name); err != nil {
			return "", nil, err
		}
	}
	if l.Kind != "tcp" && l.Kind != "http" && l.Kind != "dns" {
		return "", nil, fmt.Errorf("a listener of kind %q: it must be tcp, http or dns", l.Kind)
	}
	tcp, err := net.Listen("tcp", l.At)
	if err != nil {
		return "", nil, err
	}
	at = tcp.Addr().String()
	switch l.Kind {
	case "tcp":
		return at, func(ctx context.Context) error { return m.ServeTCP(ctx, tcp, l.Name) }, nil
	case "http":
		return at, func(ctx context.Context) error { return m.ServeHTTP(ctx, tcp) }, nil
	}
	udp, err := net.ListenPacket("udp", at)
	if err != nil {
		return "", nil, errors.Join(err, tcp.Close())
	}
	host := tcp.Addr().(*net.TCPAddr).IP
	return at, func(ctx context.Context) error { return m.NewDNS(answersFor(host), l.HTTPPort).Serve(ctx, udp, tcp) }, nil
}

// answersFor are the addresses DNS answers with: where the proxies are taken to
// listen, which is where DNS does.
func answersFor(ip net.IP) []net.IP {
	if ip.IsUnspecified() || ip.IsLoopback() {
		return []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
	}
	return []net.IP{ip}
}
