package p2p

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/ipfs/go-cid"
	dht "github.com/libp2p/go-libp2p-kad-dht"
	dhtpb "github.com/libp2p/go-libp2p-kad-dht/pb"
	record "github.com/libp2p/go-libp2p-record"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
)

// RecordRules are the rules of one namespace of the DHT. Both functions may be
// called from many goroutines at once.
type RecordRules interface {
	// Validate returns an error unless the value is whole, signed by the one
	// whom the name belongs to, and not out of date.
	Validate(name string, value []byte) error
	// Newer reports whether a must replace b; both are valid. It must be strict:
	// of two values at most one is newer.
	Newer(a, b []byte) bool
}

const (
	// dhtTimeout bounds one operation. During a cut a put takes up to 46 s, and
	// only operations that wait for the dead get them out of the tables.
	dhtTimeout = time.Minute
	// republishEvery is how often what we put is put again: the network does not
	// do it, and who has joined since should have it.
	republishEvery = 30 * time.Minute
	// republishRetry is how soon after a failure.
	republishRetry = 30 * time.Second
	// walkEvery is how often the DHT is searched at random for peers unknown to us.
	walkEvery = time.Minute
	// seekEvery is how often the DHT is asked where absent validators are.
	seekEvery       = 10 * time.Second
	seeksMax        = 8
	publishedMax    = 4096
	recordBytesMax  = 16 << 10
	providersAskMax = 32
)

var errNoDHT = errors.New("p2p: the DHT is off")

// finder finds records, holders of objects and peers in the network's own DHT,
// in which every host serves. It is always in the background: no order waits
// for it. What it is given to publish it publishes again and again.
type finder struct {
	h   *Host
	dht *dht.IpfsDHT

	mu        sync.Mutex
	published map[string]*publication
	wake      chan struct{}
}

// publication is a record, or an object that we hold.
type publication struct {
	key   string // of the record
	value []byte
	held  cid.Cid // instead, when defined
	due   time.Time
}

func openFinder(h *Host) (*finder, error) {
	if !h.config.DHT {
		return nil, nil
	}
	f := &finder{h: h, published: make(map[string]*publication), wake: make(chan struct{}, 1)}
	validators := record.NamespacedValidator{}
	for ns, rules := range h.config.Records { // order: a map to a map
		validators[ns] = recordValidator{rules}
	}
	var err error
	f.dht, err = dht.New(h.host,
		dht.Mode(dht.ModeServer),
		dht.ProtocolPrefix(protocol.ID(h.protocols.dht)),
		dht.Validator(validators),
		dht.ValueDatastore(newBoundedStore(valuesMax, valuesBytesMax)),
		dht.ProviderDatastore(newBoundedStore(providersMax, providersBytesMax)),
		dht.BootstrapPeersFunc(f.bootstrapPeers),
		dht.OnRequestHook(f.judge),
	)
	return f, err
}

func (f *finder) bootstrapPeers() []peer.AddrInfo {
	var infos []peer.AddrInfo
	for _, p := range f.h.connectedPeers() {
		infos = append(infos, f.h.host.Peerstore().PeerInfo(p))
	}
	return infos
}

// judge looks at what peers want to store here before the library does, for it
// drops what is forged without a word.
func (f *finder) judge(_ context.Context, s network.Stream, m *dhtpb.Message) {
	if m.GetType() != dhtpb.Message_PUT_VALUE {
		return
	}
	if err := f.validate(string(m.GetKey()), m.GetRecord().GetValue()); err != nil {
		f.h.log.Debug("forged record", "peer", s.Conn().RemotePeer(), "err", err)
		f.h.punish(s.Conn().RemotePeer(), offenceRecord)
	}
}

func (f *finder) validate(key string, value []byte) error {
	ns, _, err := record.SplitKey(key)
	if err != nil {
		return err
	}
	rules := f.h.config.Records[ns]
	if rules == nil {
		return fmt.Errorf("no namespace %q", ns)
	}
	return recordValidator{rules}.Validate(key, value)
}

// recordValidator gives the library our rules.
type recordValidator struct{ rules RecordRules }

func (v recordValidator) Validate(key string, value []byte) error {
	_, name, err := record.SplitKey(key)
	if err != nil {
		return err
	}
	if len(value) > recordBytesMax {
		return fmt.Errorf("record of %d bytes: at most %d", len(value), recordBytesMax)
	}
	return v.rules.Validate(name, value)
}

func (v recordValidator) Select(_ string, values [][]byte) (int, error) {
	if len(values) == 0 {
		return 0, errors.New("no record to choose from")
	}
	best := 0
	for i := range values {
		if v.rules.Newer(values[i], values[best]) {
			best = i
		}
	}
	return best, nil
}

func recordKey(ns, name string) string { return "/" + ns + "/" + name }

// PutRecord publishes a record now and again until the host is closed, in the
// background. A newer value of the same name replaces it.
func (h *Host) PutRecord(ns, name string, value []byte) error {
	if h.finder == nil {
		return errNoDHT
	}
	if strings.Contains(ns, "/") {
		return fmt.Errorf("p2p: namespace %q: a word without slashes", ns)
	}
	key := recordKey(ns, name)
	if err := h.finder.validate(key, value); err != nil {
		return fmt.Errorf("p2p: record %s: %w", key, err)
	}
	return h.finder.publish(&publication{key: key, value: value})
}

// Provide tells the DHT now and again that we hold an object, in the background.
func (h *Host) Provide(c cid.Cid) error {
	if h.finder == nil {
		return errNoDHT
	}
	return h.finder.publish(&publication{key: c.String(), held: c})
}

// Unpublish stops publishing a record or an object; what is out stays out until
// it is too old.
func (h *Host) Unpublish(nsOrEmpty, nameOrCID string) {
	if h.finder == nil {
		return
	}
	key := nameOrCID
	if nsOrEmpty != "" {
		key = recordKey(nsOrEmpty, nameOrCID)
	}
	h.finder.mu.Lock()
	defer h.finder.mu.Unlock()
	delete(h.finder.published, key)
}

// GetRecord returns the newest valid value that can be found, or ErrNotFound.
// Give it a context of a minute, and do not wait for it on the path of an order.
func (h *Host) GetRecord(ctx context.Context, ns, name string) ([]byte, error) {
	if h.finder == nil {
		return nil, errNoDHT
	}
	value, err := h.finder.dht.GetValue(ctx, recordKey(ns, name))
	if err != nil {
		return nil, fmt.Errorf("%w: record %s: %v", ErrNotFound, recordKey(ns, name), err)
	}
	return value, nil
}

// FindProviders returns up to n peers that say they hold an object. Nobody has
// signed that: check what they send.
func (h *Host) FindProviders(ctx context.Context, c cid.Cid, n int) ([]peer.AddrInfo, error) {
	if h.finder == nil {
		return nil, errNoDHT
	}
	ctx, cancel := context.WithTimeout(ctx, dhtTimeout)
	defer cancel()
	var found []peer.AddrInfo
	for info := range h.finder.dht.FindProvidersAsync(ctx, c, min(n, providersAskMax)) {
		if info.ID != h.host.ID() {
			found = append(found, info)
		}
	}
	return found, ctx.Err()
}

func (f *finder) publish(p *publication) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.published[p.key] == nil && len(f.published) >= publishedMax {
		return fmt.Errorf("p2p: %d records and objects are published already", publishedMax)
	}
	f.published[p.key] = p
	signal(f.wake)
	return nil
}

// run publishes what is due and searches for unknown peers.
func (f *finder) run() {
	tick := time.NewTicker(republishRetry)
	defer tick.Stop()
	f.h.spawn(f.seek)
	var walked time.Time
	for {
		select {
		case <-f.wake:
		case <-tick.C:
		case <-f.h.ctx.Done():
			return
		}
		for p := f.nextDue(time.Now()); p != nil && f.h.ctx.Err() == nil; p = f.nextDue(time.Now()) {
			f.put(p)
		}
		if time.Since(walked) >= walkEvery {
			walked = time.Now()
			f.walk()
		}
	}
}

// nextDue takes the publication that has waited for longest and sets its next time.
func (f *finder) nextDue(now time.Time) *publication {
	f.mu.Lock()
	defer f.mu.Unlock()
	var next *publication
	for _, p := range f.published { // order: the least due time, ties are alike
		if !p.due.After(now) && (next == nil || p.due.Before(next.due)) {
			next = p
		}
	}
	if next != nil {
		next.due = now.Add(republishRetry)
	}
	return next
}

func (f *finder) put(p *publication) {
	ctx, cancel := context.WithTimeout(f.h.ctx, dhtTimeout)
	defer cancel()
	var err error
	if p.held.Defined() {
		err = f.dht.Provide(ctx, p.held, true)
	} else {
		err = f.dht.PutValue(ctx, p.key, p.value)
	}
	if err == nil && f.dht.RoutingTable().Size() == 0 {
		err = errors.New("nobody was there to store it")
	}
	if err != nil {
		f.h.log.Debug("publishing failed; trying again", "key", p.key, "err", err)
		return
	}
	f.mu.Lock()
	p.due = time.Now().Add(republishEvery)
	f.mu.Unlock()
}

// seek asks the DHT for the addresses of validators that are not connected:
// they may have moved, or we may never have been told. The healing loop dials
// what is found.
func (f *finder) seek() {
	tick := time.NewTicker(seekEvery)
	defer tick.Stop()
	first := time.After(f.h.config.HealEvery) // as soon as there may be someone to ask
	for {
		select {
		case <-first:
		case <-tick.C:
		case <-f.h.ctx.Done():
			return
		}
		if f.dht.RoutingTable().Size() > 0 {
			f.seekOnce()
		}
	}
}

func (f *finder) seekOnce() {
	ctx, cancel := context.WithTimeout(f.h.ctx, dhtTimeout)
	defer cancel()
	var seeks sync.WaitGroup
	defer seeks.Wait()
	room := make(chan struct{}, seeksMax)
	for _, p := range f.h.roles.members() {
		if p.ID == f.h.host.ID() || f.h.session(p.ID) != nil {
			continue
		}
		select {
		case room <- struct{}{}:
		case <-ctx.Done():
			return
		}
		seeks.Go(func() {
			defer func() { <-room }()
			info, err := f.dht.FindPeer(ctx, p.ID)
			if err != nil {
				f.h.log.Debug("validator not found in the DHT", "peer", p.ID, "err", err)
				return
			}
			f.h.found(info)
		})
	}
}

// walk searches for a random place of the DHT and puts the peers on the way
// there into the address book.
func (f *finder) walk() {
	ctx, cancel := context.WithTimeout(f.h.ctx, dhtTimeout)
	defer cancel()
	var where [32]byte
	rand.Read(where[:])
	peers, err := f.dht.GetClosestPeers(ctx, string(where[:]))
	if err != nil {
		f.h.log.Debug("searching the DHT for peers failed", "err", err)
	}
	for _, p := range peers {
		f.h.book.tell(p, f.h.host.Peerstore().Addrs(p), time.Now())
	}
}

func (f *finder) close() error { return f.dht.Close() }
