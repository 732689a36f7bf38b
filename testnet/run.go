package testnet

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// Options say how a scenario is run.
type Options struct {
	// Dir is the run's directory; it is made, and stays.
	Dir string
	// Driver and Image are those of Config.
	Driver, Image string
	// Binary is the program that is a node; empty: this one.
	Binary string
	// Progress, if set, is called about once a second while the run goes on, from one
	// goroutine.
	Progress func(Progress)
	// Harmless is Config.Harmless.
	Harmless bool
}

// Progress is how a run stands.
type Progress struct {
	Phase     string // starting, running, draining, judging
	Elapsed   time.Duration
	Total     time.Duration
	Providers []ProviderProgress
	Commits   []uint64 // by node
	Faults    []Forced
	Note      string // what has just happened, if something has
}

// ProviderProgress is what the clients at a provider have come to.
type ProviderProgress struct {
	Provider                         string
	Sent, Acked, Final, Other, Reads int64 // Other: rejected or expired
}

// drainFor bounds how long operations may take to end after the load: an order's
// window, and time for the last to be told.
const drainFor = 45 * time.Second

// collectFor is how long commits are still recorded after the last operation ended,
// completeFor how long their blocks may take to be recorded then.
const (
	collectFor  = 2 * time.Second
	completeFor = time.Minute
)

// running is a scenario that is run.
type running struct {
	scenario Scenario
	options  Options
	network  *Network
	record   *recorder
	watcher  *watcher
	crowd    *crowd
	callers  *callers // nil: the scenario has no services
	begun    time.Time

	notes chan string
}

// Run runs a scenario, writes everything down, judges it, and takes the network down.
// When ctx ends before, the network is taken down all the same and the run's directory
// holds what was recorded.
func Run(ctx context.Context, s Scenario, o Options) (*Verdict, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(o.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("testnet: %w", err)
	}
	r := &running{scenario: s, options: o, notes: make(chan string, faultsMax)}
	if err := r.play(ctx); err != nil {
		return nil, err
	}
	r.show(Progress{Phase: "judging"})
	return Judge(ctx, o.Dir)
}

func (r *running) show(p Progress) {
	if r.options.Progress != nil {
		r.options.Progress(p)
	}
}

// play does all but judging. The network is down when it returns.
func (r *running) play(ctx context.Context) (err error) {
	c, err := r.scenario.config()
	if err != nil {
		return err
	}
	c.Dir = filepath.Join(r.options.Dir, "nodes")
	c.Binary, c.Harmless, c.Keep = r.options.Binary, r.options.Harmless, true
	c.Driver, c.Image = r.options.Driver, r.options.Image
	if err := refuses(&c, r.scenario.Faults, r.scenario.Services != nil); err != nil {
		return fmt.Errorf("%w: %w", ErrNotStarted, err)
	}
	r.show(Progress{Phase: "starting", Note: fmt.Sprintf("%d nodes", len(c.spots()))})
	if r.network, err = Up(ctx, c); err != nil {
		return fmt.Errorf("%w: %w", ErrNotStarted, err)
	}
	defer func() { err = errors.Join(err, r.network.Down(), r.tidy()) }()
	r.record = newRecorder(r.options.Dir)
	defer func() { err = errors.Join(err, r.record.close()) }()
	if err := r.describe(); err != nil {
		return err
	}
	r.measure(ctx, "before")
	r.watcher = watch(ctx, r.network, r.record)
	defer r.watcher.end()
	r.crowd = newCrowd(r.network, r.scenario.Load, r.record)
	if s := r.scenario.Services; s != nil {
		if r.callers, err = newCallers(ctx, r.network, *s, r.record); err != nil {
			return fmt.Errorf("%w: %w", ErrNotStarted, err)
		}
		defer r.callers.close()
	}
	return r.act(ctx)
}

// ErrNotStarted says that a run did not get as far as its first operation.
var ErrNotStarted = errors.New("testnet: the network did not come up")

// describe writes what the run is, for those who judge it later.
func (r *running) describe() error {
	return errors.Join(
		writeJSON(filepath.Join(r.options.Dir, fileScenario), r.scenario),
		writeJSON(filepath.Join(r.options.Dir, fileManifest), r.network.manifest),
		r.network.bundle.WriteBundle(filepath.Join(r.options.Dir, fileBundle)),
	)
}

// tidy keeps the nodes' logs and removes the rest of their directories.
func (r *running) tidy() error {
	var wrong []error
	for _, p := range r.network.nodes {
		wrong = append(wrong, moveFile(p.logPath(), filepath.Join(r.options.Dir, fmt.Sprintf("node-%d.log", p.Number))))
	}
	return errors.Join(append(wrong, os.RemoveAll(r.network.config.Dir))...)
}

func moveFile(from, to string) error {
	if err := os.Rename(from, to); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("testnet: %w", err)
	}
	return nil
}

// act runs the load and the faults, then lets everything come to its end.
func (r *running) act(ctx context.Context) error {
	total := time.Duration(r.scenario.Seconds * float64(time.Second))
	load, stopLoad := context.WithCancel(ctx)
	defer stopLoad()
	ops, giveUp := context.WithCancel(ctx)
	defer giveUp()
	shown, stopShowing := context.WithCancel(ctx)
	var beside sync.WaitGroup
	defer beside.Wait()
	defer stopShowing()

	r.begun = time.Now()
	quiet := make(chan struct{})
	beside.Go(func() { defer close(quiet); r.crowd.run(ops, load) })
	beside.Go(func() { r.callers.run(ops, load) })
	beside.Go(func() { r.follow(shown, total) })
	failed := r.story(ctx, total)
	stopLoad()
	if failed != nil {
		giveUp()
		return failed
	}
	r.crowd.wake.call()
	select {
	case <-quiet:
	case <-time.After(drainFor):
		giveUp()
		<-quiet
	case <-ctx.Done():
		return ctx.Err()
	}
	r.measure(ctx, "after")
	select {
	case <-time.After(collectFor):
	case <-ctx.Done():
	}
	completing, cancel := context.WithTimeout(ctx, completeFor)
	defer cancel()
	r.watcher.complete(completing)
	for _, a := range r.network.Alarms() {
		r.record.add(fileAlarms, a)
	}
	for _, d := range r.network.Deeds(ctx) {
		r.record.add(fileServices, d)
	}
	return ctx.Err()
}

// scene is one moment of the story.
type scene struct {
	at time.Duration
	do func(context.Context)
}

// measureAfter is how long a fault is in force before it is measured: long enough for
// nodes to have run into it.
const measureAfter = 2500 * time.Millisecond

// story begins, measures and heals the faults at their times.
func (r *running) story(ctx context.Context, total time.Duration) error {
	seconds := func(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
	var scenes []scene
	var measuring sync.WaitGroup
	defer measuring.Wait()
	var one sync.Mutex // a matrix at a time: two would disturb each other
	for i := range r.scenario.Faults {
		f := r.scenario.Faults[i]
		var name string
		scenes = append(scenes, scene{seconds(f.AtSeconds), func(ctx context.Context) { name = r.begin(ctx, f.Fault) }})
		if f.OnLinks() {
			wait := min(measureAfter, seconds(f.ForSeconds)/2)
			scenes = append(scenes, scene{seconds(f.AtSeconds) + wait, func(ctx context.Context) {
				measuring.Go(func() {
					one.Lock()
					defer one.Unlock()
					r.measure(ctx, fmt.Sprintf("%.0f s: %s", f.AtSeconds, f.Fault))
				})
			}})
		}
		if f.ForSeconds > 0 {
			scenes = append(scenes, scene{seconds(f.AtSeconds + f.ForSeconds), func(ctx context.Context) { r.heal(ctx, name, f.Fault) }})
		}
	}
	slices.SortStableFunc(scenes, func(a, b scene) int { return cmp.Compare(a.at, b.at) })
	for _, s := range append(scenes, scene{total, func(context.Context) {}}) {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Until(r.begun.Add(s.at))):
		}
		s.do(ctx)
	}
	for _, f := range r.network.InForce() { // those that last to the end
		r.heal(ctx, f.Name, f.Fault)
	}
	return nil
}

func (r *running) begin(ctx context.Context, f Fault) string {
	at := time.Now().UnixNano()
	name, err := r.network.Do(ctx, f)
	record := FaultRecord{At: at, Began: true, Name: name, Fault: f}
	if err != nil {
		record.Error = err.Error()
	}
	r.record.add(fileFaults, record)
	r.tell(f.String())
	return name
}

func (r *running) heal(ctx context.Context, name string, f Fault) {
	at := time.Now()
	err := r.network.Undo(ctx, name)
	if !f.OnLinks() {
		at = time.Now() // a process that was ended first is healed when it has been started
	} // links are healed one after the other: from the first on nobody is surely cut off
	record := FaultRecord{At: at.UnixNano(), Name: name, Fault: f}
	if err != nil {
		record.Error = err.Error()
	}
	r.record.add(fileFaults, record)
	r.tell("healed: " + f.String())
	r.crowd.wake.call()
}

func (r *running) tell(note string) {
	select {
	case r.notes <- note:
	default: // nobody reads
	}
}

// measure records a matrix; one that could not be measured leaves the fault unproved.
func (r *running) measure(ctx context.Context, label string) {
	m, err := r.network.Measure(ctx, label)
	if err != nil {
		r.record.add(fileFaults, FaultRecord{At: time.Now().UnixNano(), Error: "measuring: " + err.Error()})
		return
	}
	r.record.add(fileMatrices, m)
}

// follow shows progress until ctx ends.
func (r *running) follow(ctx context.Context, total time.Duration) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		note := ""
		select {
		case <-ctx.Done():
			return
		case note = <-r.notes:
		case <-tick.C:
		}
		p := Progress{Phase: "running", Elapsed: time.Since(r.begun), Total: total, Commits: r.watcher.commits(), Faults: r.network.InForce(), Note: note}
		if p.Elapsed > total {
			p.Phase = "draining"
		}
		for _, b := range r.crowd.providers {
			t := &b.tally
			p.Providers = append(p.Providers, ProviderProgress{
				Provider: b.provider, Sent: t.sent.Load(), Acked: t.acked.Load(), Final: t.final.Load(), Other: t.other.Load(), Reads: t.reads.Load(),
			})
		}
		r.show(p)
	}
}

// Judge judges a run's directory, again or for the first time, and writes the verdict
// and the report into it.
func Judge(ctx context.Context, dir string) (*Verdict, error) {
	h, err := readHistory(dir)
	if err != nil {
		return nil, err
	}
	v := verdict(ctx, h)
	if err := writeJSON(filepath.Join(dir, fileVerdict), v); err != nil {
		return nil, err
	}
	f, err := os.Create(filepath.Join(dir, fileReport))
	if err != nil {
		return nil, fmt.Errorf("testnet: %w", err)
	}
	if err := errors.Join(writeReport(f, h, v), f.Close()); err != nil {
		return nil, fmt.Errorf("testnet: the report: %w", err)
	}
	return v, nil
}
