package replica

import (
	"fmt"
	"slices"
	"time"

	"github.com/holdfast-mesh/holdfast/node/dag"
	"github.com/holdfast-mesh/holdfast/node/ledger"
)

// Open makes a replica from what is on disk: nothing (a new network, or with
// Config.Recover a lost disk), or what the effects of an earlier one left there. The
// newest complete snapshot, the commits after it, then the blocks no commit has:
// the state is that after the last durable batch. Our newest block is in Send
// again, since nobody knows whether it left; it is never made again.
//
// The effects are performed like those of a Step. An error leaves the disk as it is.
func Open(cfg Config, now time.Time, st Store) (*Replica, Effects, error) {
	if err := cfg.Validate(); err != nil {
		return nil, Effects{}, fmt.Errorf("replica: %w", err)
	}
	id, err := cfg.Genesis.ID()
	if err != nil {
		return nil, Effects{}, fmt.Errorf("replica: the genesis: %w", err)
	}
	r := &Replica{cfg: cfg, network: dag.Digest(id), store: st, pool: newPool()}
	r.snapshots.every = cfg.SnapshotEvery
	r.asking.timeout, r.asking.wait = cfg.AskTimeout, cfg.AskTimeout
	r.begin(now)
	if err := r.open(); err != nil {
		return nil, Effects{}, err
	}
	if r.alarm == AlarmNone {
		r.work()
	}
	return r, r.end(), nil
}

func (r *Replica) open() error {
	if err := r.openMeta(); err != nil {
		return err
	}
	if err := r.openEpochs(); err != nil {
		return err
	}
	if err := r.openSnapshots(); err != nil {
		return err
	}
	tail, err := r.replay()
	if err != nil {
		return err
	}
	return r.openCore(tail)
}

// openMeta reads what is kept about this disk as a whole.
func (r *Replica) openMeta() error {
	network, err := get(r.store, []byte(keyNetwork))
	switch {
	case err != nil:
		return err
	case network == nil:
		r.persist([]byte(keyNetwork), r.network[:])
	case string(network) != string(r.network[:]):
		return fmt.Errorf("replica: this disk belongs to the network %v, the configuration says %v: use another data directory",
			ledger.Digest(network), ledger.Digest(r.network))
	}
	alarm, err := get(r.store, []byte(keyAlarm))
	if err != nil {
		return err
	}
	r.alarm = Alarm(alarm)
	lost, err := get(r.store, []byte(keyRecover))
	if err != nil {
		return err
	}
	if (lost != nil || r.cfg.Recover) && bug != BugAmnesia {
		if lost == nil {
			r.persist([]byte(keyRecover), []byte{1})
		}
		r.marked = true
		r.recovering = &recovering{} // startCore sizes it with the committee
	}
	return nil
}

// openEpochs reads the committees; that of epoch 0 is the genesis'.
func (r *Replica) openEpochs() error {
	committee, err := dag.NewCommittee(membersOf(r.cfg.Genesis.Committee))
	if err != nil {
		return fmt.Errorf("replica: the genesis' committee: %w", err)
	}
	r.committee = committee
	r.verifier = newVerifier(r.network).with(r.network, 0, committee)
	for rec, err := range r.store.Scan([]byte(prefixEpoch), nil) {
		if err != nil {
			return fmt.Errorf("replica: scanning epochs: %w", err)
		}
		epoch, ok := parseIndexKey(prefixEpoch, rec.Key)
		committee, err := decodeCommittee(rec.Value)
		if !ok || err != nil {
			return fmt.Errorf("%w: the committee of epoch %d: %w", ErrDamaged, epoch, err)
		}
		r.verifier = r.verifier.with(r.network, epoch, committee)
	}
	return nil
}

// openSnapshots restores the newest usable snapshot, and remembers what else is there.
func (r *Replica) openSnapshots() error {
	manifests, err := storedManifests(r.store)
	if err != nil {
		return err
	}
	for _, m := range manifests {
		m.Chunks = nil
		r.snapshots.stored = append(r.snapshots.stored, m)
	}
	if err := r.pruneOrphans(); err != nil {
		return err
	}
	l, at, err := restoreNewest(r.store, r.cfg.Genesis, maxUint64)
	if err != nil {
		return err
	}
	r.ledger = l
	r.last = dag.Commit{Index: at.Index, Digest: at.Commit}
	for rec, err := range r.store.Scan([]byte(prefixCheckpoint), nil) {
		if err != nil {
			return fmt.Errorf("replica: scanning checkpoints: %w", err)
		}
		c, err := DecodeCertificate(rec.Value)
		if err != nil {
			return fmt.Errorf("%w: checkpoint %q: %w", ErrDamaged, rec.Key, err)
		}
		r.certified = c.Checkpoint
	}
	return nil
}

// replay executes the stored commits after the snapshot and returns the newest
// ones, as many as a core is opened on.
func (r *Replica) replay() ([]dag.Commit, error) {
	var votes []Checkpoint
	for {
		raw, err := get(r.store, indexKey(prefixCommit, r.last.Index+1))
		if err != nil {
			return nil, err
		}
		if raw == nil {
			break
		}
		c, ops, err := storedCommit(r.store, r.last.Index+1, r.last.Digest)
		if err != nil {
			return nil, err
		}
		if c.Epoch != r.last.Epoch {
			votes = nil // what was not certified in its epoch never is; see handover
		}
		done := commitOf(&c, ops)
		r.ledger.Apply(batchOf(&done))
		r.last, r.clockMs = c, done.TimeMs
		if c.Index%r.cfg.CheckpointEvery == 0 && c.Index >= r.certified.Index {
			ours := Checkpoint{Index: c.Index, Commit: c.Digest, Root: r.ledger.Root()}
			if ours.Index == r.certified.Index && ours != r.certified {
				r.raise(AlarmRoot)
			}
			votes = append(votes, ours)
		}
	}
	r.roots = votes[max(0, len(votes)-rootsKept):]
	return r.tail()
}

// tail is the newest commits of the newest commit's epoch, back to the collected round.
func (r *Replica) tail() ([]dag.Commit, error) {
	var tail []dag.Commit
	for index := r.last.Index; index > 0; index-- {
		raw, err := get(r.store, indexKey(prefixCommit, index))
		if err != nil {
			return nil, err
		}
		if raw == nil {
			break
		}
		c, err := dag.DecodeCommit(raw)
		if err != nil {
			return nil, fmt.Errorf("%w: commit %d: %w", ErrDamaged, index, err)
		}
		if len(tail) == 0 {
			if c.Digest != r.last.Digest {
				return nil, fmt.Errorf("%w: commit %d is not the one the snapshot is of", ErrDamaged, index)
			}
			r.last, r.clockMs = c, int64(c.TimeMs)
		} else if c.Epoch != r.last.Epoch || c.Leader.Round <= collectedAfter(r.last.Leader.Round) {
			break
		}
		tail = append(tail, c)
	}
	if len(tail) == 0 && r.last.Index > 0 {
		return nil, fmt.Errorf("%w: commit %d, which the snapshot is of, is missing", ErrDamaged, r.last.Index)
	}
	slices.Reverse(tail)
	return tail, nil
}

// openCore gives agreement back what it had, and lets it go on.
func (r *Replica) openCore(tail []dag.Commit) error {
	epoch := r.last.Epoch
	rules, ok := r.verifier.of(epoch)
	if !ok {
		return fmt.Errorf("%w: the committee of epoch %d is missing", ErrDamaged, epoch)
	}
	collected := uint64(0)
	if r.last.Index > 0 {
		collected = collectedAfter(r.last.Leader.Round)
		if r.last.Closes(rules.Committee) {
			epoch, collected = epoch+1, 0
			r.roots = nil // as in replay: a vote is for a state of its own epoch; see handover
			if rules, ok = r.verifier.of(epoch); !ok {
				return fmt.Errorf("%w: the committee of epoch %d is missing", ErrDamaged, epoch)
			}
		}
	}
	r.committee = rules.Committee
	r.verifier = r.verifier.upTo(epoch)
	if err := r.openEnd(epoch); err != nil {
		return err
	}
	blocks, err := r.storedBlocks(epoch, collected)
	if err != nil {
		return err
	}
	return r.startCore(rules, tail, blocks, collected)
}

// startCore makes a core of an epoch that goes on after tail, and tells everything else
// where it stands. Who lost its disk, and has not had a block in a commit since, begins to
// recover anew: what the core before had found out is lost with it.
func (r *Replica) startCore(rules *dag.Rules, tail []dag.Commit, blocks []*dag.Block, collected uint64) error {
	sameLinks := r.committee == rules.Committee
	r.committee = rules.Committee
	if r.marked {
		r.recovering = newRecovering(r.committee.Size())
	}
	core, e, err := dag.Open(r.coreConfig(rules, r.recovering != nil), r.now, dag.Stored{Commits: tail, Blocks: blocks})
	if err != nil {
		return fmt.Errorf("replica: %w", err)
	}
	r.core = core
	r.spoken = newSpoken(r.committee.Size())
	r.askAnew(sameLinks)
	r.takeOff(blocks, tail, collected)
	for _, ours := range r.roots {
		r.core.VoteCheckpoint(ours.Index, ours.Commit, ours.Root)
	}
	r.catching.pollAt = r.now
	r.absorb(e)
	for a, down := range r.asking.down {
		if down {
			r.absorb(core.Connected(r.now, dag.Author(a), false))
		}
	}
	return nil
}

// storedBlocks are the blocks of an epoch above a round.
func (r *Replica) storedBlocks(epoch, collected uint64) ([]*dag.Block, error) {
	var blocks []*dag.Block
	for rec, err := range r.store.Scan(epochPrefix(epoch), roundKey(epoch, collected+1)) {
		if err != nil {
			return nil, fmt.Errorf("replica: scanning blocks: %w", err)
		}
		if err := checkBlock(rec); err != nil {
			return nil, err
		}
		b, err := dag.TrustedBlock(rec.Value, trustedOps)
		if err != nil {
			return nil, fmt.Errorf("%w: block %q: %w", ErrDamaged, rec.Key, err)
		}
		blocks = append(blocks, b)
	}
	return blocks, nil
}

// takeOff tells the pool what is under way, as if it had just been accepted.
func (r *Replica) takeOff(blocks []*dag.Block, tail []dag.Commit, collected uint64) {
	r.flights = flights{base: collected}
	for _, b := range blocks {
		if r.core.Block(b.Ref().Digest) == nil {
			continue // it waits for ancestors and will be accepted later
		}
		ops := r.opsOf(b)
		r.flights.add(b.Ref(), ops)
		r.pool.accepted(ops)
		r.spoken.note(b)
	}
	for i := range tail {
		for _, ref := range tail[i].Refs {
			if ops, known := r.flights.land(ref); known {
				r.pool.landed(ops)
			}
		}
	}
}

// coreConfig is the core's part of the configuration, in an epoch.
func (r *Replica) coreConfig(rules *dag.Rules, recovering bool) dag.Config {
	return dag.Config{
		Rules:         *rules,
		Key:           r.cfg.Key,
		LeaderTimeout: r.cfg.LeaderTimeout,
		MinRound:      r.cfg.MinRound,
		IdleRound:     r.cfg.IdleRound,
		Recovering:    recovering,
	}
}
