package replica

import (
	"errors"
	"fmt"
	"time"
)

// ErrNotTaken says that a giver's answers did not make a state that a quorum signed.
var ErrNotTaken = errors.New("replica: what was given does not make a state that a quorum of the network has signed")

// TakeOver fills an empty store with the newest certified state that ask can give, in
// the way a replica does that is behind its peers' logs: everything is checked against
// the votes of a quorum, nothing counts before all is there and right. It returns the
// checkpoint that was taken over.
//
// ask answers requests, as Serve does; the same request is not put twice. keep makes a
// batch durable before it returns. The replica that works here has a key of its own
// and is in no committee, so it signs nothing; cfg's key must be none that has ever
// signed. An error leaves in the store what is of no use to anybody.
func TakeOver(cfg Config, now time.Time, st Store, ask func(Request) (Reply, error), keep func([]Record) error) (Checkpoint, error) {
	r, e, err := Open(cfg, now, st)
	if err != nil {
		return Checkpoint{}, err
	}
	if _, validator := r.core.Self(); validator || r.last.Index != 0 {
		panic("replica: invariant broken: a state is taken over into an empty store, with a key that signs nothing")
	}
	if err := keep(e.Persist); err != nil {
		return Checkpoint{}, err
	}
	// What Open has asked, as a replica does that may be behind a little, is not put.
	r.asking.forget(AskCommits, AskRounds)
	state := r.newStateSync()
	r.catching.state = state
	for in := (Input{}); ; {
		e := r.Step(now, in)
		if err := keep(e.Persist); err != nil {
			return Checkpoint{}, err
		}
		if e.Alarm != AlarmNone {
			return Checkpoint{}, fmt.Errorf("replica: taking over a state: %s", e.Alarm)
		}
		if e.Restored != nil {
			return *e.Restored, nil
		}
		if len(e.Ask) == 0 || r.catching.state != state {
			return Checkpoint{}, ErrNotTaken // it would ask somebody else now, and there is nobody
		}
		in = Input{}
		for _, q := range e.Ask {
			reply, err := ask(q)
			if err != nil {
				return Checkpoint{}, fmt.Errorf("asking for the %v: %w", q.Kind, err)
			}
			reply.ID = q.ID
			answer, err := r.verifier.Answer(q.To, reply)
			if err != nil {
				return Checkpoint{}, fmt.Errorf("%w: the %v: %w", ErrNotTaken, q.Kind, err)
			}
			in.Answers = append(in.Answers, answer)
		}
	}
}

// ServeAll is Serve of a disk at rest: all that is on it may be given out.
func ServeAll(st Store, q Request) (Reply, error) {
	return Serve(st, q, Own{Epoch: maxUint64}, ReplyRoomMax)
}

// RecoverMark is the record that makes a replica ask the others what it said before it
// says more, as Config.Recover does: for a disk that was filled from elsewhere.
func RecoverMark() Record { return Record{Key: []byte(keyRecover), Value: []byte{1}} }
