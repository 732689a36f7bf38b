package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-mesh/holdfast/node"
	"github.com/holdfast-mesh/holdfast/node/api"
	"github.com/holdfast-mesh/holdfast/node/ledger"
)

// lonely is a node without a network: the product's API over the product's
// ledger, its verifier and its bundle. What it lacks is agreement and a disk: it
// executes what it takes at once, unless it is held.
type lonely struct {
	t        *testing.T
	bundle   *node.Bundle
	verifier *ledger.Verifier
	address  string

	mu      sync.Mutex
	l       *ledger.Ledger
	quorum  bool
	held    bool // take operations and execute none
	ready   bool
	refuse  error // of Submit
	pending []ledger.Op
	ops     map[ledger.Digest]*api.OpStatus
	done    []*api.Executed
	changed chan struct{} // closed by the next change
}

// personKey is a test person's key.
func personKey(name string) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte("person " + name))
	return ed25519.NewKeyFromSeed(seed[:])
}

// person puts a test person's wallet into the directory of wallets.
func person(t *testing.T, home, name string) string {
	t.Helper()
	account := ledger.AccountOf(personKey(name)).String()
	path := filepath.Join(home, ".holdfast", "wallets", name+walletSuffix)
	write(t, path, "# holdfast ed25519 "+account+"\n"+pemOf(t, personKey(name)))
	return account
}

// exchange is a network with alice, bob, two custodians and two governors.
func exchange(t *testing.T) *ledger.Genesis {
	t.Helper()
	s, err := parseSpec([]byte(specExample))
	if err != nil {
		t.Fatal(err)
	}
	text := func(name string) string { return ledger.AccountOf(personKey(name)).String() }
	s.Custodians = specCouncil{Threshold: 2, Members: []string{text("custodian1"), text("custodian2")}}
	s.Governors = specCouncil{Threshold: 2, Members: []string{text("governor1"), text("governor2")}}
	s.Balances = nil
	for _, name := range []string{"alice", "bob"} {
		s.Balances = append(s.Balances, specBalance{text(name), "BTC", "10"}, specBalance{text(name), "USDT", "1000000"})
	}
	g, err := s.build()
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// startLonely serves a network until the test ends.
func startLonely(t *testing.T) *lonely {
	t.Helper()
	bundle, err := node.NewBundle(exchange(t), nil, personKey("signer"))
	if err != nil {
		t.Fatal(err)
	}
	l, err := ledger.New(bundle.Genesis())
	if err != nil {
		t.Fatal(err)
	}
	n := &lonely{
		t: t, bundle: bundle, verifier: ledger.NewVerifier(bundle.ID()), l: l, quorum: true, ready: true,
		ops: make(map[ledger.Digest]*api.OpStatus), changed: make(chan struct{}),
	}
	n.serve(t.Context())
	return n
}

// serve starts the API on a free port; it ends with ctx.
func (n *lonely) serve(ctx context.Context) {
	config := api.DefaultConfig()
	config.Log = slog.New(slog.DiscardHandler)
	server, err := api.New(n, config)
	if err != nil {
		n.t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		n.t.Fatal(err)
	}
	n.address = "http://" + listener.Addr().String()
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := server.Serve(ctx, listener); err != nil && !errors.Is(err, http.ErrServerClosed) && ctx.Err() == nil {
			n.t.Error(err)
		}
	}()
	n.t.Cleanup(func() {
		cancel()
		<-ended
	})
}

// change changes the node and wakes who waits.
func (n *lonely) change(do func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	do()
	close(n.changed)
	n.changed = make(chan struct{})
}

// release executes what was held.
func (n *lonely) release() {
	n.change(func() {
		n.held = false
		n.execute(n.pending)
		n.pending = nil
	})
}

// execute makes a commit. The lock is held.
func (n *lonely) execute(ops []ledger.Op) {
	last, lastMs := n.l.Commit()
	index, ms := last+1, max(time.Now().UnixMilli(), lastMs)
	events := n.l.Apply(ledger.Batch{Index: index, TimeMs: ms, Digest: sha256.Sum256([]byte(strconv.FormatUint(index, 10))), Ops: ops})
	records := api.AppendRecords(nil, n.l, index, ms, ops, events)
	n.done = append(n.done, &api.Executed{Index: index, TimeMs: ms, Ops: len(ops), Records: records})
	for i := range ops {
		id := ops[i].ID()
		result, _ := n.l.Result(id)
		s := &api.OpStatus{ID: id, State: api.OpFinal, Reason: result.Reason, Commit: index, Position: uint32(i), TimeMs: ms,
			Actions: len(ops[i].Actions()), Refused: result.Refused, ExpiresMs: ops[i].ExpiresMs()}
		if result.Reason != ledger.ReasonNone {
			s.State = api.OpRejected
		}
		for j := range records {
			if records[j].Op == id {
				s.Records = append(s.Records, records[j])
			}
		}
		n.ops[id] = s
	}
}

func (n *lonely) asOf() api.AsOf {
	index, ms := n.l.Commit()
	return api.AsOf{Commit: index, Time: api.Stamp(ms), AgeMs: 1500, Quorum: n.quorum}
}

func (n *lonely) View(read func(*ledger.Ledger, api.AsOf)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	read(n.l, n.asOf())
}

func (n *lonely) Prove(ledger.Account) (p api.Proven, ok bool) { return p, false }

func (n *lonely) AsOf() api.AsOf {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.asOf()
}

func (n *lonely) Status() api.Status {
	n.mu.Lock()
	defer n.mu.Unlock()
	return api.Status{
		Network: n.bundle.ID().String(), Name: n.bundle.Genesis().Name, Peer: n.bundle.Validators()[0].PeerID().String(), Validator: true,
		Ready: n.ready, Provider: "aws", Region: "frankfurt", Weight: api.Weight{Connected: 4, Quorum: 3, Total: 4},
	}
}

func (n *lonely) Peers() (all []api.Peer) {
	for i, v := range n.bundle.Validators() {
		all = append(all, api.Peer{Peer: v.PeerID().String(), Validator: true, Connected: i != 3, Provider: v.Provider, Region: v.Region, Path: "direct", RTTMs: 1.25})
	}
	return all
}

func (n *lonely) Committee() (out api.Committee) {
	n.mu.Lock()
	defer n.mu.Unlock()
	committee := n.l.Committee()
	validators, err := node.ValidatorsOf(&committee)
	if err != nil {
		n.t.Error(err)
	}
	for i, v := range validators {
		out.Validators = append(out.Validators, api.Validator{
			Author: i, Key: v.Key.String(), Peer: v.PeerID().String(), Weight: v.Weight,
			Provider: v.Provider, Region: v.Region, Zone: v.Zone, Operator: v.Operator, Addresses: append([]string{}, v.Addrs...),
		})
	}
	return out
}

func (n *lonely) Submit(_ context.Context, ops [][]byte) (all []api.OpStatus, err error) {
	n.change(func() {
		if err = n.refuse; err != nil {
			return
		}
		for _, raw := range ops {
			all = append(all, n.take(raw))
		}
	})
	return all, err
}

func (n *lonely) take(raw []byte) api.OpStatus {
	id := ledger.Digest(sha256.Sum256(raw))
	if known := n.ops[id]; known != nil {
		return *known
	}
	op, err := n.verify(raw)
	if err != nil {
		return api.OpStatus{ID: id, State: api.OpRejected, Code: "BAD_SIGNATURE", Detail: err.Error()}
	}
	s := api.OpStatus{ID: id, State: api.OpRejected}
	if err := n.l.Check(*op); errors.As(err, &s.Reason) {
		return s
	}
	s.State, s.ExpiresMs = api.OpPending, op.ExpiresMs()
	n.ops[id] = &s
	if n.held {
		n.pending = append(n.pending, *op)
		return s
	}
	n.execute([]ledger.Op{*op})
	return s
}

func (n *lonely) verify(raw []byte) (*ledger.Op, error) {
	u, err := ledger.DecodeOp(raw)
	if err != nil {
		return nil, err
	}
	return n.verifier.Verify(u)
}

func (n *lonely) Op(_ context.Context, id ledger.Digest) (api.OpStatus, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if s := n.ops[id]; s != nil {
		return *s, nil
	}
	return api.OpStatus{ID: id, State: api.OpUnknown}, nil
}

// wait waits for a change after which done says so.
func (n *lonely) wait(ctx context.Context, done func() bool) error {
	for {
		n.mu.Lock()
		ok, changed := done(), n.changed
		n.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (n *lonely) Wait(ctx context.Context, id ledger.Digest) (api.OpStatus, error) {
	_ = n.wait(ctx, func() bool { return n.ops[id] != nil && n.ops[id].State.Ended() }) // else its present status
	return n.Op(ctx, id)
}

func (n *lonely) Next(ctx context.Context, after uint64) (e *api.Executed, err error) {
	err = n.wait(ctx, func() bool {
		if after < uint64(len(n.done)) {
			e = n.done[after]
		}
		return e != nil
	})
	return e, err
}

func (n *lonely) Commit(context.Context, uint64) (api.Commit, error) {
	return api.Commit{}, api.ErrNotFound
}
func (n *lonely) Block(context.Context, ledger.Digest) ([]byte, error) { return nil, api.ErrNotFound }
func (n *lonely) Checkpoint(context.Context) (api.Checkpoint, error) {
	return api.Checkpoint{}, api.ErrNotFound
}

func (n *lonely) before(before api.Cursor, most int, want func(*api.Record) bool) (all []api.Record) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, e := range slices.Backward(n.done) {
		for i := len(e.Records) - 1; i >= 0 && len(all) < most; i-- {
			if r := &e.Records[i]; want(r) && (before == api.Cursor{} || r.Cursor.Less(before)) {
				all = append(all, *r)
			}
		}
	}
	return all
}

func (n *lonely) Trades(_ context.Context, market ledger.MarketID, before api.Cursor, most int) ([]api.Record, error) {
	return n.before(before, most, func(r *api.Record) bool { return r.Kind == ledger.EventTrade && r.Market == market }), nil
}

func (n *lonely) History(_ context.Context, account ledger.Account, before api.Cursor, most int) ([]api.Record, error) {
	return n.before(before, most, func(r *api.Record) bool { return r.Concerns(account) }), nil
}

func (n *lonely) Candles(context.Context, ledger.MarketID, api.Interval, int64, int) ([]api.Bar, error) {
	return nil, nil
}

// syncBuffer is a buffer that may be read while it is written.
type syncBuffer struct {
	mu  sync.Mutex
	b   bytes.Buffer
	got chan struct{} // gets one when something was written
}

func newSyncBuffer() *syncBuffer { return &syncBuffer{got: make(chan struct{}, 1)} }

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case s.got <- struct{}{}:
	default:
	}
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
