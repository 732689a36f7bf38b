package testnet

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/holdfast-mesh/holdfast/node"
)

// Outcome is how a promise did.
type Outcome string

// The outcomes.
const (
	Held         Outcome = "held"
	Broken       Outcome = "broken"
	Inconclusive Outcome = "inconclusive" // it was not put to the test, or not judged to the end
)

// Promise is one thing that should have held, and what was measured.
type Promise struct {
	Name    string  `json:"name"`
	Limit   float64 `json:"limit"`
	Value   float64 `json:"value"`
	Unit    string  `json:"unit"`
	Held    bool    `json:"held"`
	Outcome Outcome `json:"outcome"`
	// Why names what broke it, or what was missing to judge it: the first findings.
	Why []string `json:"why,omitempty"`
}

// findingsMax is how many findings a promise names; all are counted in its value.
const findingsMax = 5

// history is a run as it was recorded. Checkers read it and change nothing.
type history struct {
	dir       string
	scenario  Scenario
	manifest  Manifest
	bundle    *node.Bundle
	ops       []OpRecord
	reads     []ReadRecord
	commits   [][]CommitRecord // by node, by index, the first time each was heard
	again     []CommitRecord   // heard again with another CID
	blocks    []BlocksRecord   // by index, from 1 without gaps
	roots     []RootRecord
	resources []ResourceRecord
	faults    []FaultRecord
	matrices  []Matrix
	alarms    []AlarmRecord
	deeds     []ServiceRecord
	resolves  []ResolveRecord

	patience time.Duration // of the search for an order, for each subject
	cut      []stretch     // see stretches
}

// readHistory reads a run's directory.
func readHistory(dir string) (h *history, err error) {
	h = &history{dir: dir, patience: linearMax}
	if err := readJSON(filepath.Join(dir, fileScenario), &h.scenario); err != nil {
		return nil, err
	}
	if err := readJSON(filepath.Join(dir, fileManifest), &h.manifest); err != nil {
		return nil, err
	}
	if h.bundle, err = node.ReadBundle(filepath.Join(dir, fileBundle)); err != nil {
		return nil, fmt.Errorf("testnet: %w", err)
	}
	var commits []CommitRecord
	for _, step := range []func() error{
		func() (err error) { h.ops, err = readLines[OpRecord](dir, fileOps); return err },
		func() (err error) { h.reads, err = readLines[ReadRecord](dir, fileReads); return err },
		func() (err error) { commits, err = readLines[CommitRecord](dir, fileCommits); return err },
		func() (err error) { h.blocks, err = readLines[BlocksRecord](dir, fileBlocks); return err },
		func() (err error) { h.roots, err = readLines[RootRecord](dir, fileRoots); return err },
		func() (err error) { h.resources, err = readLines[ResourceRecord](dir, fileResources); return err },
		func() (err error) { h.faults, err = readLines[FaultRecord](dir, fileFaults); return err },
		func() (err error) { h.alarms, err = readLines[AlarmRecord](dir, fileAlarms); return err },
		func() (err error) { h.deeds, err = readLines[ServiceRecord](dir, fileServices); return err },
		func() (err error) { h.resolves, err = readLines[ResolveRecord](dir, fileResolves); return err },
		func() (err error) { h.matrices, err = readLines[Matrix](dir, fileMatrices); return err },
	} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	h.sort(commits)
	return h, nil
}

// sort puts commits by node and index, and everything by time.
func (h *history) sort(commits []CommitRecord) {
	h.commits = make([][]CommitRecord, len(h.manifest.Nodes))
	slices.SortStableFunc(commits, func(a, b CommitRecord) int {
		return cmp.Or(cmp.Compare(a.Node, b.Node), cmp.Compare(a.Index, b.Index), cmp.Compare(a.Seen, b.Seen))
	})
	for _, c := range commits {
		if c.Node < 0 || c.Node >= len(h.commits) {
			continue
		}
		of := &h.commits[c.Node]
		if last := len(*of) - 1; last >= 0 && (*of)[last].Index == c.Index {
			if (*of)[last].Commit != c.Commit {
				h.again = append(h.again, c)
			}
			continue
		}
		*of = append(*of, c)
	}
	slices.SortStableFunc(h.ops, func(a, b OpRecord) int { return cmp.Compare(a.Invoked, b.Invoked) })
	slices.SortStableFunc(h.reads, func(a, b ReadRecord) int { return cmp.Compare(a.Invoked, b.Invoked) })
	slices.SortStableFunc(h.blocks, func(a, b BlocksRecord) int { return cmp.Compare(a.Index, b.Index) })
	slices.SortStableFunc(h.faults, func(a, b FaultRecord) int { return cmp.Compare(a.At, b.At) })
	slices.SortStableFunc(h.deeds, func(a, b ServiceRecord) int { return cmp.Compare(a.At, b.At) })
	slices.SortStableFunc(h.resolves, func(a, b ResolveRecord) int { return cmp.Compare(a.Invoked, b.Invoked) })
}

// judge holds a history against every promise.
func judge(ctx context.Context, h *history) (all []Promise) {
	replayed := replay(h)
	all = append(all, checkOrder(h, replayed), checkMoney(replayed))
	all = append(all, checkLinear(ctx, h, replayed)...)
	all = append(all, checkWithdrawals(h, replayed))
	all = append(all, checkOutcomes(h, replayed)...)
	all = append(all, checkReads(h, replayed)...)
	all = append(all, checkLife(h)...)
	all = append(all, checkResources(h)...)
	all = append(all, checkServices(h)...)
	return append(all, checkFaults(h))
}

// verdictOf sums promises up: one broken breaks all; else one inconclusive leaves all so.
func verdictOf(promises []Promise) Outcome {
	sum := Held
	for _, p := range promises {
		switch {
		case p.Outcome == Broken:
			return Broken
		case p.Outcome == Inconclusive:
			sum = Inconclusive
		}
	}
	return sum
}

// findings collects what is wrong with one promise.
type findings struct {
	broken  []string
	missing []string
	count   int
}

func (f *findings) broke(format string, args ...any) {
	f.count++
	if len(f.broken) < findingsMax {
		f.broken = append(f.broken, fmt.Sprintf(format, args...))
	}
}

// lacks notes what was missing to judge.
func (f *findings) lacks(format string, args ...any) {
	if len(f.missing) < findingsMax {
		f.missing = append(f.missing, fmt.Sprintf(format, args...))
	}
}

// none is the promise that nothing is wrong: its value counts what is.
func (f *findings) none(name, unit string) Promise {
	p := Promise{Name: name, Value: float64(f.count), Unit: unit, Outcome: Held, Why: append(f.broken, f.missing...)}
	switch {
	case f.count > 0:
		p.Outcome = Broken
	case len(f.missing) > 0:
		p.Outcome = Inconclusive
	}
	p.Held = p.Outcome == Held
	return p
}

// atMost is the promise that a measured value stays within a limit.
func (f *findings) atMost(name string, value, limit float64, unit string) Promise {
	if value > limit {
		f.broke("%.4g %s, at most %.4g are promised", value, unit, limit)
	}
	p := f.none(name, unit)
	p.Value, p.Limit = value, limit
	return p
}
