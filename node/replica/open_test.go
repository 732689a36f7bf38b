package replica

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestOpenRefuses holds Open to a clear error for a disk that is another
// network's, unreadable or damaged; nothing is taken over from it, and it is left
// as it was.
func TestOpenRefuses(t *testing.T) {
	c := newCluster(t, 4)
	c.load(2*time.Second, 20*time.Millisecond)
	n := c.nodes[0]
	index, _ := n.r.Executed()
	broken := errors.New("input/output error")
	spoil := func(key []byte) func(*memStore, *Config) {
		return func(s *memStore, _ *Config) {
			v := slices.Clone(s.values[string(key)])
			v[len(v)/2] ^= 8
			s.write([]Record{{key, v}})
		}
	}
	remove := func(key []byte) func(*memStore, *Config) {
		return func(s *memStore, _ *Config) { s.write([]Record{{key, nil}}) }
	}
	block := blockKey(0, n.r.last.Refs[0])
	for _, tc := range []struct {
		name string
		do   func(*memStore, *Config)
		is   error
		says string
	}{
		{"another network", func(_ *memStore, c *Config) { c.Genesis = testGenesis(5) }, nil, "belongs to the network"},
		{"a bad configuration", func(_ *memStore, c *Config) { c.CheckpointEvery = 0 }, nil, "CheckpointEvery"},
		{"an unreadable disk", func(s *memStore, _ *Config) { s.fail = broken }, broken, "meta/network"},
		{"a block with a flipped bit", spoil(block), ErrDamaged, "block"},
		{"a block of a commit missing", remove(block), ErrDamaged, "is missing"},
		{"a commit with a flipped bit", spoil(indexKey(prefixCommit, index-1)), ErrDamaged, "commit"},
	} {
		s, cfg := n.store.clone(), n.cfg
		tc.do(s, &cfg)
		before := s.clone()
		r, _, err := Open(cfg, c.now, s)
		if r != nil || err == nil || tc.is != nil && !errors.Is(err, tc.is) || !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%s: %v", tc.name, err)
		}
		if !slices.Equal(s.keys, before.keys) {
			t.Errorf("%s: the disk was changed", tc.name)
		}
	}
	if _, _, err := Open(n.cfg, c.now, n.store.clone()); err != nil {
		t.Errorf("a sound disk: %v", err)
	}
}

// BenchmarkOpen measures a restart without a snapshot: what is executed again.
func BenchmarkOpen(b *testing.B) {
	c := newCluster(b, 1)
	n := c.nodes[0]
	n.noSnaps = true
	const ops = 20_000
	for i := range ops {
		if n.r.pool.insert(c.transfer(i%clients, uint64(i))); i%2000 == 1999 {
			c.run(200 * time.Millisecond)
		}
	}
	c.run(time.Second)
	b.ReportAllocs()
	for b.Loop() {
		r, _, err := Open(n.cfg, c.now, n.store)
		if err != nil {
			b.Fatal(err)
		}
		if index, _ := r.Executed(); index == 0 {
			b.Fatal("nothing was executed")
		}
	}
	b.ReportMetric(float64(b.N*ops)/b.Elapsed().Seconds(), "ops/s")
}
