package sim

import (
	"fmt"
	"slices"

	"github.com/holdfast-mesh/holdfast/node/ledger"
)

// history is the one order of operations, as the first node that executed each
// commit reports it. Every other node is held to it, and what clients are told
// is read from it up to the commit their gateway has reached.
type history struct {
	commits     []committed
	outcomes    map[ledger.Digest]outcome
	withdrawals []payout
	paid        map[ledger.WithdrawalID]int
	trades      int
	epoch       uint64 // of the newest commit
}

// committed is one executed commit: what all honest nodes must agree on.
type committed struct {
	index  uint64 // from 1
	digest [32]byte
	root   [32]byte
	timeMs int64
	events []ledger.Event
}

// outcome is how an operation ended in the order.
type outcome struct {
	commit uint64
	reason ledger.Reason // why the whole op was refused, or ReasonNone
}

// payout is a withdrawal as custodians see it.
type payout struct {
	commit uint64 // that made it
	id     ledger.WithdrawalID
}

func newHistory() *history {
	return &history{outcomes: make(map[ledger.Digest]outcome), paid: make(map[ledger.WithdrawalID]int)}
}

// add takes a commit that a node has executed, with the operations its events
// point to. The first report of an index is the order; each later one must
// equal it in everything.
func (h *history) add(c committed, ops []ledger.Op) error {
	if c.index == 0 || c.index > uint64(len(h.commits))+1 {
		return fmt.Errorf("commit %d executed, but nobody has executed commit %d", c.index, len(h.commits)+1)
	}
	if c.index <= uint64(len(h.commits)) {
		return h.commits[c.index-1].differs(c)
	}
	if n := len(h.commits); n > 0 && c.timeMs < h.commits[n-1].timeMs {
		return fmt.Errorf("commit %d is of %d ms, the one before of %d ms", c.index, c.timeMs, h.commits[n-1].timeMs)
	}
	h.commits = append(h.commits, c)
	return h.record(c, ops)
}

// differs says in what another report of the same commit disagrees.
func (c *committed) differs(o committed) error {
	switch {
	case c.digest != o.digest:
		return fmt.Errorf("two orders: commit %d is %x and %x", c.index, c.digest[:6], o.digest[:6])
	case c.timeMs != o.timeMs:
		return fmt.Errorf("commit %d is of %d ms and of %d ms", c.index, c.timeMs, o.timeMs)
	case c.root != o.root:
		return fmt.Errorf("two states after commit %d: root %x and %x", c.index, c.root[:6], o.root[:6])
	case !slices.Equal(c.events, o.events):
		return fmt.Errorf("two histories of commit %d: %d events and %d, or they differ", c.index, len(c.events), len(o.events))
	}
	return nil
}

// record notes how each operation ended, and each withdrawal that was made or paid.
func (h *history) record(c committed, ops []ledger.Op) error {
	refused := make(map[uint32]ledger.Reason)
	duplicate := make(map[uint32]bool)
	for _, e := range c.events {
		switch {
		case e.Kind == ledger.EventRejected && e.Action == ledger.NoAction:
			refused[e.Op] = e.Reason
		case e.Kind == ledger.EventDuplicate:
			duplicate[e.Op] = true
		case e.Kind == ledger.EventTrade:
			h.trades++
		case e.Kind == ledger.EventWithdrawal:
			switch {
			case e.WithdrawalState == ledger.WithdrawalPending && e.Votes == 0:
				h.withdrawals = append(h.withdrawals, payout{c.index, e.Withdrawal})
			case e.WithdrawalState == ledger.WithdrawalCompleted:
				if h.paid[e.Withdrawal]++; h.paid[e.Withdrawal] > 1 {
					return fmt.Errorf("withdrawal %d was paid twice, again in commit %d", e.Withdrawal, c.index)
				}
			}
		}
	}
	for i := range ops {
		if err := h.end(ops[i].ID(), outcome{c.index, refused[uint32(i)]}, duplicate[uint32(i)]); err != nil {
			return err
		}
	}
	return nil
}

// end notes how an operation of a commit ended. An operation that was ordered
// before is a duplicate, unless it never used a nonce up: then it is refused again.
func (h *history) end(id ledger.Digest, o outcome, duplicate bool) error {
	first, before := h.outcomes[id]
	switch {
	case !before && duplicate:
		return fmt.Errorf("operation %v is taken for a duplicate in commit %d and was never ordered before", id, o.commit)
	case before && !duplicate && (first.reason == ledger.ReasonNone || o.reason == ledger.ReasonNone):
		return fmt.Errorf("operation %v ran in commit %d, and before in commit %d", id, o.commit, first.commit)
	case !before:
		h.outcomes[id] = o
	}
	return nil
}

// at returns how an operation has ended for a node that executed the commits up
// to index.
func (h *history) at(id ledger.Digest, index uint64) (outcome, bool) {
	o, ok := h.outcomes[id]
	return o, ok && o.commit <= index
}

// timeMs is the time of a commit; before the first it is 0.
func (h *history) timeMs(index uint64) int64 {
	if index == 0 {
		return 0
	}
	return h.commits[index-1].timeMs
}
