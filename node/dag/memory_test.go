package dag

import (
	"runtime"
	"testing"
)

// What a core keeps does not grow with the rounds it has seen: the live heap
// after 100 000 rounds is that after 10 000.
func TestMemoryIsFlat(t *testing.T) {
	maker := newBlockMaker(t, 4)
	live := func() int64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	rounds := 100_000
	if testing.Short() {
		rounds = 20_000
	}
	for range 10_000 {
		maker.next()
	}
	early := live()
	for range rounds - 10_000 {
		maker.next()
	}
	late := live()
	core := maker.core
	t.Logf("live heap %d KiB after 10 000 rounds, %d KiB after %d", early>>10, late>>10, rounds)
	if late > early+early/10+256<<10 {
		t.Errorf("live heap grew from %d to %d bytes", early, late)
	}
	if n := len(core.graph.byDigest); n > 4*(CollectDepth+4) {
		t.Errorf("%d blocks kept", n)
	}
	if len(core.rule.rounds) > CollectDepth+4 || len(core.graph.rounds) > CollectDepth+4 || len(core.proved)+len(core.ordered) > 0 {
		t.Errorf("%d leader rounds, %d rounds kept", len(core.rule.rounds), len(core.graph.rounds))
	}
	if core.last.Index < uint64(rounds)-4 {
		t.Errorf("only %d commits", core.last.Index)
	}
	runtime.KeepAlive(core)
}
