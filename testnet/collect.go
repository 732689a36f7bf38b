package testnet

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-mesh/holdfast/node/api"
	"github.com/holdfast-mesh/holdfast/node/ledger"
)

// watcher follows every node while a scenario runs and records what it sees.
type watcher struct {
	network *Network
	record  *recorder
	over    sync.WaitGroup
	stop    context.CancelFunc

	mu     sync.Mutex // guards what is below
	newest []uint64   // commit, by node
	wanted uint64     // highest commit any node has
	got    uint64     // commits whose blocks are recorded
	moved  chan struct{}
}

// Periods of watching.
const (
	resourcesEvery = time.Second
	rootsEvery     = 2 * time.Second
	againAfter     = 100 * time.Millisecond // after a node did not answer
	fetchMax       = 5 * time.Second        // for one answer with blocks in it
)

func watch(ctx context.Context, n *Network, record *recorder) *watcher {
	ctx, stop := context.WithCancel(ctx)
	w := &watcher{network: n, record: record, stop: stop, newest: make([]uint64, len(n.nodes)), moved: make(chan struct{})}
	for i := range n.nodes {
		w.over.Go(func() { w.follow(ctx, i) })
		w.over.Go(func() { w.every(ctx, resourcesEvery, func() { w.resources(ctx, i) }) })
		w.over.Go(func() { w.every(ctx, rootsEvery, func() { w.root(ctx, i) }) })
	}
	w.over.Go(func() { w.fetchAll(ctx) })
	return w
}

// end stops all watching and waits for it.
func (w *watcher) end() {
	w.stop()
	w.over.Wait()
}

func (w *watcher) every(ctx context.Context, period time.Duration, do func()) {
	tick := time.NewTicker(period)
	defer tick.Stop()
	for {
		do()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// follow records every commit of a node, over any number of its lives.
func (w *watcher) follow(ctx context.Context, i int) {
	var after *api.Cursor
	for ctx.Err() == nil {
		if err := w.followOnce(ctx, i, &after); err != nil {
			select {
			case <-ctx.Done():
			case <-time.After(againAfter):
			}
		}
	}
}

func (w *watcher) followOnce(ctx context.Context, i int, after **api.Cursor) error {
	dial, cancel := context.WithTimeout(ctx, statusMax)
	stream, err := w.network.clients[i].Stream(dial)
	cancel()
	if err != nil {
		return err
	}
	defer stream.Close()
	if err := stream.Subscribe(ctx, api.Subscription{Channel: api.ChannelCommits, After: *after}); err != nil {
		return err
	}
	for {
		m, err := stream.Next(ctx)
		if err != nil {
			return err
		}
		if m.Problem != nil {
			*after = nil // what we asked to go on after is not kept any more
			return m.Problem
		}
		seen := time.Now().UnixNano()
		for _, c := range m.Commits {
			if c.Commit == "" {
				continue // where the stream begins: heard of before, or not told in full
			}
			w.record.add(fileCommits, CommitRecord{Node: i, Index: c.Index, Commit: c.Commit, TimeMs: c.TimeMs, Seen: seen, Ops: c.Ops})
			w.note(i, c.Index)
		}
		if m.Cursor != (api.Cursor{}) {
			*after = &m.Cursor
		}
	}
}

func (w *watcher) note(i int, index uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.newest[i] = max(w.newest[i], index)
	if index > w.wanted {
		w.wanted = index
		close(w.moved)
		w.moved = make(chan struct{})
	}
}

// commits returns each node's newest commit seen.
func (w *watcher) commits() []uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]uint64(nil), w.newest...)
}

// fetchAll records the blocks of every commit, in order, from whichever node has them.
func (w *watcher) fetchAll(ctx context.Context) {
	for next := uint64(1); ; {
		w.mu.Lock()
		wanted, moved := w.wanted, w.moved
		w.mu.Unlock()
		if next > wanted {
			select {
			case <-ctx.Done():
				return
			case <-moved:
			}
			continue
		}
		r, err := w.fetch(ctx, next)
		if err == nil {
			w.record.add(fileBlocks, r)
			w.mu.Lock()
			w.got = next
			w.mu.Unlock()
			next++
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(againAfter):
		}
	}
}

// complete waits until the blocks of every commit so far are recorded, or ctx ends.
func (w *watcher) complete(ctx context.Context) {
	w.mu.Lock()
	wanted := w.wanted
	w.mu.Unlock()
	for {
		w.mu.Lock()
		done := w.got >= wanted
		w.mu.Unlock()
		if done {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(againAfter):
		}
	}
}

func (w *watcher) fetch(ctx context.Context, index uint64) (r BlocksRecord, err error) {
	var wrong []error
	for i := range w.network.nodes {
		if state, _ := w.network.nodes[i].now(); state != Running {
			continue
		}
		r, err := w.fetchFrom(ctx, i, index)
		if err == nil {
			return r, nil
		}
		wrong = append(wrong, err)
	}
	return r, errors.Join(append(wrong, fmt.Errorf("testnet: nobody gives commit %d", index))...)
}

func (w *watcher) fetchFrom(ctx context.Context, i int, index uint64) (r BlocksRecord, err error) {
	ctx, cancel := context.WithTimeout(ctx, fetchMax)
	defer cancel()
	c, err := w.network.clients[i].Commit(ctx, index)
	if err != nil {
		return r, err
	}
	r = BlocksRecord{Index: index, Commit: c.Commit, TimeMs: c.TimeMs, CIDs: c.Blocks}
	r.Blocks = make([][]byte, len(c.Blocks))
	wrong := make([]error, len(c.Blocks))
	var all sync.WaitGroup
	for k, text := range c.Blocks {
		all.Go(func() { r.Blocks[k], wrong[k] = w.block(ctx, i, text) })
	}
	all.Wait()
	return r, errors.Join(wrong...)
}

func (w *watcher) block(ctx context.Context, i int, text string) ([]byte, error) {
	id, err := ledger.ParseDigest(text)
	if err != nil {
		return nil, err
	}
	return w.network.clients[i].Block(ctx, id)
}

func (w *watcher) root(ctx context.Context, i int) {
	if state, _ := w.network.nodes[i].now(); state != Running {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, statusMax)
	defer cancel()
	c, err := w.network.clients[i].Checkpoint(ctx)
	if err != nil || c.Index == 0 {
		return // none yet, or the node is away
	}
	w.record.add(fileRoots, RootRecord{Node: i, Index: c.Index, Commit: c.Commit, Root: c.Root})
}

// resources records what a node's process takes, by /proc and its own metrics; of one
// in a container, which may be on another machine, by its metrics alone.
func (w *watcher) resources(ctx context.Context, i int) {
	p := w.network.nodes[i]
	pid := p.pid()
	if pid == 0 {
		return
	}
	r := ResourceRecord{Node: i, PID: pid, At: time.Now().UnixNano()}
	here := p.body.here()
	if here {
		if !readProc(pid, &r) {
			return
		}
		r.DiskBytes = diskBytes(p.dir)
	}
	if state, _ := p.now(); state == Running {
		m := metrics(ctx, w.network.manifest.Nodes[i].API, w.network.clients[i].HTTP, "go_goroutines", "holdfast_evidence_total",
			"process_resident_memory_bytes", "process_open_fds", "process_cpu_seconds_total", "go_threads")
		r.Goroutines, r.Evidence = int(m[0]), int(m[1])
		if !here {
			r.RSSBytes, r.Files, r.CPUSeconds, r.Threads = int64(m[2]), int(m[3]), m[4], int(m[5])
		}
	}
	if !here && r.RSSBytes == 0 {
		return // it did not answer
	}
	w.record.add(fileResources, r)
}

// readProc reads Linux's /proc; elsewhere nothing is recorded.
func readProc(pid int, r *ResourceRecord) bool {
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	status, err := os.ReadFile(filepath.Join(dir, "status"))
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(status)) {
		name, value, _ := strings.Cut(line, ":")
		fields := strings.Fields(value)
		if len(fields) == 0 {
			continue
		}
		n, _ := strconv.ParseInt(fields[0], 10, 64)
		switch name {
		case "VmRSS":
			r.RSSBytes = n << 10
		case "Threads":
			r.Threads = int(n)
		}
	}
	if files, err := os.ReadDir(filepath.Join(dir, "fd")); err == nil {
		r.Files = len(files)
	}
	r.CPUSeconds = cpuSeconds(filepath.Join(dir, "stat"))
	return true
}

// ticksPerSecond is the unit of times in /proc, the same on every Linux of ours.
const ticksPerSecond = 100

func cpuSeconds(path string) float64 {
	stat, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	_, after, _ := strings.Cut(string(stat), ") ") // the name may have spaces
	fields := strings.Fields(after)
	if len(fields) < 13 {
		return 0
	}
	user, _ := strconv.ParseFloat(fields[11], 64)
	system, _ := strconv.ParseFloat(fields[12], 64)
	return (user + system) / ticksPerSecond
}

func diskBytes(dir string) (sum int64) {
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			if info, err := d.Info(); err == nil {
				sum += info.Size()
			}
		}
		return nil // a file may vanish between two looks
	})
	return sum
}

// metrics reads some of the node's own metrics; one it does not tell is 0.
func metrics(ctx context.Context, base string, client *http.Client, names ...string) []float64 {
	out := make([]float64, len(names))
	ctx, cancel := context.WithTimeout(ctx, statusMax)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/metrics", nil)
	if err != nil {
		return out
	}
	response, err := client.Do(request)
	if err != nil {
		return out
	}
	defer response.Body.Close()
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		for i, name := range names {
			if value, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
				out[i], _ = strconv.ParseFloat(value, 64)
			}
		}
	}
	return out
}
