package replica

import (
	"iter"
	"maps"
	"slices"
	"strings"
	"testing"
)

// sparseStore holds keys alone.
type sparseStore map[string]bool

func (s sparseStore) Get(key []byte) ([]byte, bool, error) { return nil, s[string(key)], nil }

func (s sparseStore) Scan(prefix, from []byte) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		for _, k := range slices.Sorted(maps.Keys(s)) {
			if strings.HasPrefix(k, string(prefix)) && k >= string(from) && !yield(Record{Key: []byte(k)}, nil) {
				return
			}
		}
	}
}

// TestNewestIndex: chains of every length, from the first commit or from where
// pruning has left off, with other records on both sides.
func TestNewestIndex(t *testing.T) {
	for _, first := range []uint64{1, 2, 57, 1 << 40, maxUint64 - 80} {
		st := sparseStore{string(indexKey("checkpoint/", 900)): true, string(indexKey("manifest/", 901)): true}
		if got, err := newestIndex(st, prefixCommit); got != 0 || err != nil {
			t.Fatalf("of nothing: %d %v", got, err)
		}
		for last := first; last < first+70; last++ {
			st[string(indexKey(prefixCommit, last))] = true
			if got, err := newestIndex(st, prefixCommit); got != last || err != nil {
				t.Fatalf("from %d to %d: %d %v", first, last, got, err)
			}
		}
	}
}
