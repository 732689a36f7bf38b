package replica

import (
	"fmt"
	"time"

	"github.com/holdfast-mesh/holdfast/node/dag"
)

// Bounds of pruning: it is done in small batches so that no Step waits for it.
const (
	pruneKeysMax = 256
	pruneEvery   = 20 * time.Millisecond
)

// pruning deletes what is older than both the second newest snapshot and
// Retain commits. With keep the oldest commit that stays:
//
//  1. keep <= second newest snapshot's index - CollectDepth, so a peer that takes
//     that snapshot finds beside it the commits its core is opened on;
//  2. a block goes when its round is collected after commit keep-1: no commit
//     from keep on has it, and no vote for a checkpoint that stays is in it.
//
// The records go in an order in which what is left is whole: a manifest before
// its chunks, a commit before its blocks.
type pruning struct {
	jobs []pruneJob
	next time.Time
}

// pruneJob deletes the keys of a prefix that are below an end, ascending.
type pruneJob struct {
	prefix, end []byte
}

func (p *pruning) active() bool { return len(p.jobs) > 0 }

func (p *pruning) wakeAt() time.Time {
	if !p.active() {
		return time.Time{}
	}
	return p.next
}

// pruneLater plans what a new snapshot makes superfluous.
func (r *Replica) pruneLater() {
	s := &r.snapshots
	if len(s.stored) < 2 || r.pruning.active() {
		return
	}
	s.stored = s.stored[len(s.stored)-2:]
	oldest := s.stored[0].Index
	var jobs []pruneJob
	upTo := func(prefix string, end []byte) {
		jobs = append(jobs, pruneJob{[]byte(prefix), end})
	}
	upTo(prefixManifest, indexKey(prefixManifest, oldest))
	upTo(prefixCheckpoint, indexKey(prefixCheckpoint, oldest))
	upTo(prefixSnapshot, chunkKey(oldest, 0))
	keep := min(oldest-min(oldest, dag.CollectDepth), r.last.Index-min(r.last.Index, r.cfg.Retain))
	if bug == BugPruneEarly {
		keep = r.last.Index
	}
	if raw, err := get(r.store, indexKey(prefixCommit, keep)); keep > 1 && err == nil && raw != nil {
		if c, err := dag.DecodeCommit(raw); err == nil {
			upTo(prefixCommit, indexKey(prefixCommit, keep))
			upTo(prefixBlock, roundKey(c.Epoch, collectedAfter(c.Leader.Round)))
		}
	}
	r.pruning.jobs = jobs
	r.pruning.next = r.now
}

// pruneOrphans plans to delete the chunks of snapshots that were never completed.
func (r *Replica) pruneOrphans() error {
	whole := make(map[uint64]bool)
	for _, m := range r.snapshots.stored {
		whole[m.Index] = true
	}
	for from := uint64(0); ; from++ {
		found := false
		for rec, err := range r.store.Scan([]byte(prefixSnapshot), chunkKey(from, 0)) {
			if err != nil {
				return fmt.Errorf("replica: scanning snapshots: %w", err)
			}
			from, _, found = parseChunkKey(rec.Key)
			break
		}
		if !found {
			return nil
		}
		if !whole[from] {
			prefix := indexKey(prefixSnapshot, from)
			r.pruning.jobs = append(r.pruning.jobs, pruneJob{prefix, indexKey(prefixSnapshot, from+1)})
		}
	}
}

// prune does a part of what is planned.
func (r *Replica) prune() {
	p := &r.pruning
	if !p.active() || r.now.Before(p.next) || r.snapshots.making || r.catching.state != nil {
		return
	}
	p.next = r.now.Add(pruneEvery)
	room := pruneKeysMax
	for len(p.jobs) > 0 && room > 0 {
		n, err := r.deleteBelow(p.jobs[0], room)
		if err != nil {
			p.jobs = nil // the disk will be heard of when something depends on it
			return
		}
		if room -= n; room > 0 {
			p.jobs = p.jobs[1:]
		}
	}
}

// deleteBelow deletes up to most keys of a job and says how many.
func (r *Replica) deleteBelow(job pruneJob, most int) (int, error) {
	n := 0
	for rec, err := range r.store.Scan(job.prefix, nil) {
		if err != nil {
			return n, err
		}
		if n == most || string(rec.Key) >= string(job.end) {
			break
		}
		r.persist(append([]byte(nil), rec.Key...), nil)
		n++
	}
	return n, nil
}
