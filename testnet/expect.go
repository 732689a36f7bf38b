package testnet

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-mesh/holdfast/node/api"
)

// Expectation is what is expected of nodes that somebody else runs, judged by what
// their APIs say.
type Expectation string

// The expectations.
const (
	ExpectQuorum    Expectation = "quorum"     // within Within, each is ready and sees a quorum
	ExpectNoQuorum  Expectation = "no-quorum"  // within Within, each answers and says that it sees no quorum
	ExpectSilence   Expectation = "silence"    // within Within, none answers
	ExpectCommits   Expectation = "commits"    // throughout For, together they are never without a new commit for longer than Within
	ExpectNoCommits Expectation = "no-commits" // throughout For, none has a new commit
	ExpectTogether  Expectation = "together"   // within Within, each sees a quorum and has what the furthest had
	ExpectSame      Expectation = "same"       // the newest commit that all have is one, and so is the state after a checkpoint, once there is one
)

// Expectations are all of them.
func Expectations() []Expectation {
	return []Expectation{ExpectQuorum, ExpectNoQuorum, ExpectSilence, ExpectCommits, ExpectNoCommits, ExpectTogether, ExpectSame}
}

// Expecting says what to expect, of whom.
type Expecting struct {
	What   Expectation
	APIs   []string      // base addresses; a node is called by its host
	For    time.Duration // how long to look
	Within time.Duration // see the expectation
}

// expectMax bounds how long an expectation may be looked at.
const expectMax = time.Hour

// Validate lists every fault at once.
func (e *Expecting) Validate() error {
	var faults []error
	if !slices.Contains(Expectations(), e.What) {
		var all []string
		for _, x := range Expectations() {
			all = append(all, string(x))
		}
		faults = append(faults, fmt.Errorf("there is no expectation %q: choose one of %s", e.What, strings.Join(all, ", ")))
	}
	if len(e.APIs) == 0 || len(e.APIs) > NodesMax {
		faults = append(faults, fmt.Errorf("%d nodes: name 1 to %d", len(e.APIs), NodesMax))
	}
	if e.For <= 0 || e.For > expectMax || e.Within <= 0 || e.Within > expectMax {
		faults = append(faults, fmt.Errorf("for %v, within %v: choose above 0, at most %v", e.For, e.Within, expectMax))
	}
	return errors.Join(faults...)
}

// Expected is what an expectation came to.
type Expected struct {
	Met bool   `json:"met"`
	Saw string `json:"saw"` // what was seen, for people: one line
}

// Expect looks at the nodes until the expectation is met or cannot be any more. An
// error says that it could not look.
func Expect(ctx context.Context, e Expecting) (Expected, error) {
	if err := e.Validate(); err != nil {
		return Expected{}, err
	}
	x := &expecting{Expecting: e}
	for _, base := range e.APIs {
		c, err := api.NewClient(base)
		if err != nil {
			return Expected{}, err
		}
		c.HTTP = newHTTP()
		defer c.HTTP.CloseIdleConnections()
		x.clients = append(x.clients, c)
		x.names = append(x.names, nameOf(base))
	}
	switch e.What {
	case ExpectQuorum:
		return x.await(ctx, func(s *seen) bool { return s.answers && s.Ready && s.AsOf.Quorum })
	case ExpectNoQuorum:
		return x.await(ctx, func(s *seen) bool { return s.answers && !s.AsOf.Quorum })
	case ExpectSilence:
		return x.await(ctx, func(s *seen) bool { return !s.answers })
	case ExpectTogether:
		return x.together(ctx)
	case ExpectCommits, ExpectNoCommits:
		return x.commits(ctx)
	}
	return x.same(ctx)
}

// nameOf is what a person calls a node: its host, with the port where hosts are equal
// anyway.
func nameOf(base string) string {
	u, err := url.Parse(base)
	switch {
	case err != nil || u.Host == "":
		return base
	case u.Hostname() == "localhost" || strings.HasPrefix(u.Hostname(), "127."):
		return u.Host
	}
	return u.Hostname()
}

type expecting struct {
	Expecting
	clients []*api.Client
	names   []string
}

// seen is a node's own word at one moment.
type seen struct {
	api.Status
	answers bool
}

// look asks every node once, all at the same time.
func (x *expecting) look(ctx context.Context) []seen {
	ctx, cancel := context.WithTimeout(ctx, statusMax)
	defer cancel()
	out := make([]seen, len(x.clients))
	var all sync.WaitGroup
	for i, c := range x.clients {
		all.Go(func() {
			s, err := c.Status(ctx)
			out[i] = seen{s, err == nil}
		})
	}
	all.Wait()
	return out
}

// expectEvery is the time between two looks.
const expectEvery = 50 * time.Millisecond

// each looks again and again until done says so or the time is over; it says whether it
// was done.
func (x *expecting) each(ctx context.Context, length time.Duration, done func([]seen) bool) (bool, error) {
	end := time.Now().Add(length)
	for {
		if done(x.look(ctx)) {
			return true, nil
		}
		if err := ctx.Err(); err != nil {
			return false, err
		}
		if time.Now().After(end) {
			return false, nil
		}
		select {
		case <-ctx.Done():
		case <-time.After(expectEvery):
		}
	}
}

// words is how a node stands, for people.
func (s *seen) words() string {
	switch {
	case !s.answers:
		return "does not answer"
	case s.Alarm != "":
		return "has an alarm: " + s.Alarm
	case !s.AsOf.Quorum:
		return fmt.Sprintf("is at commit %d without a quorum", s.AsOf.Commit)
	case !s.Ready:
		return fmt.Sprintf("is at commit %d and not ready", s.AsOf.Commit)
	}
	return fmt.Sprintf("is at commit %d with a quorum", s.AsOf.Commit)
}

func (x *expecting) say(all []seen) string {
	var words []string
	for i := range all {
		words = append(words, x.names[i]+" "+all[i].words())
	}
	return strings.Join(words, ", ")
}

// await looks until every node is as wanted.
func (x *expecting) await(ctx context.Context, wanted func(*seen) bool) (Expected, error) {
	began, last := time.Now(), []seen(nil)
	met, err := x.each(ctx, x.Within, func(all []seen) bool {
		last = all
		for i := range all {
			if !wanted(&all[i]) {
				return false
			}
		}
		return true
	})
	return Expected{met, fmt.Sprintf("after %.1f s %s", time.Since(began).Seconds(), x.say(last))}, err
}

// together looks until every node has what the furthest had at the first look.
func (x *expecting) together(ctx context.Context) (Expected, error) {
	var furthest uint64
	for _, s := range x.look(ctx) {
		furthest = max(furthest, s.AsOf.Commit)
	}
	return x.await(ctx, func(s *seen) bool {
		return s.answers && s.Ready && s.AsOf.Quorum && s.AsOf.Commit > furthest
	})
}

// commits looks for the whole of For and measures how long there was no new commit.
func (x *expecting) commits(ctx context.Context) (Expected, error) {
	first := x.look(ctx)
	top := newest(first)
	if top == 0 {
		return Expected{false, x.say(first)}, nil
	}
	began, at, from, gap := time.Now(), time.Now(), top, time.Duration(0)
	over := false
	for !over {
		var now uint64
		var err error
		over, err = x.each(ctx, max(x.For-time.Since(began), 0), func(all []seen) bool { now = newest(all); return now > top })
		if err != nil {
			return Expected{}, err
		}
		moved := over
		over = time.Since(began) >= x.For || moved && x.What == ExpectNoCommits
		gap = max(gap, time.Since(at))
		if moved {
			top, at = now, time.Now()
		}
	}
	saw := fmt.Sprintf("%s: %d commits in %.0f s", strings.Join(x.names, ", "), top-from, time.Since(began).Seconds())
	if x.What == ExpectNoCommits {
		return Expected{top == from, saw}, nil
	}
	return Expected{top > from && gap <= x.Within, fmt.Sprintf("%s, never %.2f s without one", saw, gap.Seconds()+0.005)}, nil
}

// newest is the highest commit that one of the nodes has.
func newest(all []seen) (top uint64) {
	for i := range all {
		if all[i].answers {
			top = max(top, all[i].AsOf.Commit)
		}
	}
	return top
}

// same compares the newest commit that all have, whose CID covers all before it, and
// the state root of the newest checkpoint. A young network has no checkpoint: then the
// commits are compared alone.
func (x *expecting) same(ctx context.Context) (e Expected, err error) {
	var roots []string
	var index, of uint64
	looked, err := x.each(ctx, x.Within, func(all []seen) bool {
		index = 0
		for i := range all {
			if !all[i].answers || all[i].AsOf.Commit == 0 {
				e.Saw = x.say(all)
				return false
			}
			if c := all[i].AsOf.Commit; index == 0 || c < index {
				index = c
			}
		}
		var fault string
		if roots, of, fault = x.checkpoints(ctx); fault != "" {
			e.Saw = fault // they pass a checkpoint one after the other: soon all have
			return false
		}
		return true
	})
	if err != nil || !looked {
		return e, err
	}
	ids := make([]string, len(x.clients))
	for i, c := range x.clients {
		commit, err := c.Commit(ctx, index)
		if err != nil {
			e.Saw = fmt.Sprintf("%s does not tell commit %d: %v", x.names[i], index, err)
			return e, nil
		}
		ids[i] = commit.Commit
	}
	one := func(all []string) bool { return len(slices.Compact(slices.Sorted(slices.Values(all)))) == 1 }
	e.Met = one(ids) && (len(roots) == 0 || one(roots))
	switch {
	case !one(ids):
		e.Saw = fmt.Sprintf("commit %d is %s", index, strings.Join(ids, ", "))
	case len(roots) == 0:
		e.Saw = fmt.Sprintf("%s: commit %d is one; there is no checkpoint of the state yet", strings.Join(x.names, ", "), index)
	case !one(roots):
		e.Saw = fmt.Sprintf("the state after commit %d is %s", of, strings.Join(roots, ", "))
	default:
		e.Saw = fmt.Sprintf("%s: commit %d is one, and so is the state after commit %d", strings.Join(x.names, ", "), index, of)
	}
	return e, nil
}

// checkpoints returns every node's root of the newest checkpoint, if they are of one
// commit now, or none if no node has a checkpoint; fault says why not.
func (x *expecting) checkpoints(ctx context.Context) (roots []string, of uint64, fault string) {
	ctx, cancel := context.WithTimeout(ctx, fetchMax)
	defer cancel()
	without := 0
	for i, c := range x.clients {
		p, err := c.Checkpoint(ctx)
		if problem := (*api.Problem)(nil); errors.As(err, &problem) && problem.Status == http.StatusNotFound {
			if without++; without <= i {
				return nil, 0, fmt.Sprintf("%s has no checkpoint yet, and another has", x.names[i])
			}
			continue
		}
		if err == nil && without > 0 {
			return nil, 0, fmt.Sprintf("%s has a checkpoint, and another has none yet", x.names[i])
		}
		if err != nil {
			return nil, 0, fmt.Sprintf("%s tells no checkpoint: %v", x.names[i], err)
		}
		if of != 0 && p.Index != of {
			return nil, 0, fmt.Sprintf("the newest checkpoint of %s is of commit %d, of another %d", x.names[i], p.Index, of)
		}
		of, roots = p.Index, append(roots, p.Root)
	}
	return roots, of, ""
}
