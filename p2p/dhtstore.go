package p2p

import (
	"context"
	"errors"
	"sync"

	ds "github.com/ipfs/go-datastore"
	"github.com/ipfs/go-datastore/query"
)

// What peers may make us keep of the DHT. Anybody can make names, so a bound on
// the whole is the only one that holds; what is there stays, what comes is
// refused until old entries go.
const (
	valuesMax         = 16 << 10
	valuesBytesMax    = 64 << 20
	providersMax      = 64 << 10
	providersBytesMax = 32 << 20
)

var errStoreFull = errors.New("p2p: the DHT's store is full")

// boundedStore keeps the DHT's entries in memory, up to a number and a size. A
// host that starts anew is told anew: publishers republish.
type boundedStore struct {
	entriesMax, bytesMax int

	mu    sync.Mutex
	inner *ds.MapDatastore
	sizes map[ds.Key]int
	bytes int
}

func newBoundedStore(entriesMax, bytesMax int) *boundedStore {
	return &boundedStore{entriesMax: entriesMax, bytesMax: bytesMax,
		inner: ds.NewMapDatastore(), sizes: make(map[ds.Key]int)}
}

func (s *boundedStore) Put(ctx context.Context, key ds.Key, value []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	size := len(key.String()) + len(value)
	old, known := s.sizes[key]
	if s.bytes-old+size > s.bytesMax || (!known && len(s.sizes) >= s.entriesMax) {
		return errStoreFull
	}
	s.bytes += size - old
	s.sizes[key] = size
	return s.inner.Put(ctx, key, value)
}

func (s *boundedStore) Delete(ctx context.Context, key ds.Key) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bytes -= s.sizes[key]
	delete(s.sizes, key)
	return s.inner.Delete(ctx, key)
}

func (s *boundedStore) Get(ctx context.Context, key ds.Key) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.inner.Get(ctx, key)
}

func (s *boundedStore) Has(ctx context.Context, key ds.Key) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.inner.Has(ctx, key)
}

func (s *boundedStore) GetSize(ctx context.Context, key ds.Key) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.inner.GetSize(ctx, key)
}

func (s *boundedStore) Query(ctx context.Context, q query.Query) (query.Results, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.inner.Query(ctx, q)
}

func (s *boundedStore) Batch(context.Context) (ds.Batch, error) { return ds.NewBasicBatch(s), nil }
func (s *boundedStore) Sync(context.Context, ds.Key) error      { return nil }
func (s *boundedStore) Close() error                            { return nil }
