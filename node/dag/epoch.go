package dag

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// epochState is how far the epoch is from its end.
type epochState struct {
	closing bool // we have seen the commit that changes the committee
	closed  bool // the last commit of the epoch is made
}

// CloseEpoch makes our blocks ask that the epoch close, and carry no payload
// from now on. Call it when the operation that changes the committee has been
// executed; say so again after a restart.
func (c *Core) CloseEpoch(now time.Time) Effects {
	c.at(now)
	c.epoch.closing = true
	return c.finish()
}

// flaggedAfter adds the authors of flagged blocks to those the chain already
// has, by rising number.
func flaggedAfter(before []Author, blocks []*Block) []Author {
	after := before
	for _, b := range blocks {
		if b.flags&FlagClose == 0 {
			continue
		}
		if at, found := slices.BinarySearch(after, b.ref.Author); !found {
			after = slices.Insert(slices.Clone(after), at, b.ref.Author)
		}
	}
	return after
}

// NextEpoch starts the epoch after the one that has closed: under rules that
// name the next epoch and its committee, from round 1, in a signing domain of
// its own. Commits go on with the next index. Operations of our blocks that the
// old epoch did not commit are in Returned.
func (c *Core) NextEpoch(now time.Time, rules Rules) (Effects, error) {
	switch {
	case !c.epoch.closed:
		return Effects{}, fmt.Errorf("dag: epoch %d has not closed", c.rules.Epoch)
	case rules.Epoch != c.rules.Epoch+1:
		return Effects{}, fmt.Errorf("dag: epoch %d follows %d, not %d", c.rules.Epoch+1, c.rules.Epoch, rules.Epoch)
	case rules.Network != c.rules.Network:
		return Effects{}, errors.New("dag: the next epoch must be of the same network")
	}
	cfg := c.cfg
	cfg.Rules = rules
	cfg.Recovering = c.own.recovery != nil && !c.own.recovery.done
	if err := cfg.Validate(); err != nil {
		return Effects{}, err
	}
	c.at(now)
	returned := c.leftOver()
	before := c.own
	c.begin(cfg, c.last)
	c.own.proposed = before.proposed
	if before.recovered {
		c.own.recovery = &recovery{done: true}
		c.own.floor = 2
	}
	c.effects.Returned = returned
	return c.finish(), nil
}

// leftOver is the payload of our blocks that no commit of the epoch took.
func (c *Core) leftOver() [][]byte {
	var ops [][]byte
	for _, round := range c.own.rounds {
		for v := c.graph.slot(Slot{round, c.self}); v != nil; v = v.version {
			if !v.committed {
				ops = append(ops, v.block.payload...)
			}
		}
	}
	return ops
}
