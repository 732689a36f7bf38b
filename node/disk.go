package node

import (
	"errors"
	"iter"

	"github.com/holdfast-mesh/holdfast/node/replica"
	"github.com/holdfast-mesh/holdfast/storage"
)

// disk is the store as a replica reads it. Many goroutines may use it.
type disk struct{ store *storage.Store }

func (d disk) Get(key []byte) (value []byte, ok bool, err error) {
	value, err = d.store.Get(key)
	if errors.Is(err, storage.ErrNotFound) {
		return nil, false, nil
	}
	return value, err == nil, err
}

func (d disk) Scan(prefix, from []byte) iter.Seq2[replica.Record, error] {
	return func(yield func(replica.Record, error) bool) {
		keys := storage.Prefix(prefix)
		if string(from) > string(keys.From) {
			keys.From = from
		}
		for entry, err := range d.store.Scan(keys) {
			if err != nil {
				yield(replica.Record{}, err)
				return
			}
			// The store's slices live until the next step; what reads a replica's
			// store keeps them.
			record := replica.Record{Key: clone(entry.Key), Value: clone(entry.Value)}
			if !yield(record, nil) {
				return
			}
		}
	}
}

func clone(b []byte) []byte { return append(make([]byte, 0, len(b)), b...) }

// put adds a replica's record to a batch.
func put(batch *storage.Batch, r replica.Record) {
	if r.Value == nil {
		batch.Delete(r.Key)
		return
	}
	batch.Set(r.Key, r.Value)
}
