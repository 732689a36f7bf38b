package sim

import (
	"fmt"
	"strings"
	"time"
)

// Tally counts what happened in a run, or in many: above all how often each
// class of fault bit. A fault that was drawn and met nothing is not counted.
type Tally struct {
	Seeds  int          // runs added up
	Faults [Classes]int // bites: messages lost, links cut that a message met, crashes, lies told
	With   [Classes]int // runs in which the class bit at least once

	Virtual   time.Duration // virtual time simulated
	Events    int           // events performed
	Messages  int           // sent between nodes
	Blocks    int           // made by honest validators
	Commits   int           // different ones, each counted once however many nodes executed it
	Restarts  int
	Observers int // nodes that only follow
	Takeovers int // states taken over from others, with checkpoint and chunks
	Acked     int // operations a gateway acknowledged
	Final     int // of these, executed
	Rejected  int // ordered and refused
	Expired   int // their window passed
	Refused   int // operations no gateway took
	Trades    int
	Payouts   int // withdrawals completed
	Changes   int // runs in which another committee took over
}

func (t *Tally) bite(c Class) { t.Faults[c]++ }

// Add adds the counts of another run.
func (t *Tally) Add(o Tally) {
	for c := range o.Faults {
		t.Faults[c] += o.Faults[c]
		t.With[c] += o.With[c]
	}
	t.Seeds += o.Seeds
	t.Virtual += o.Virtual
	t.Events += o.Events
	t.Messages += o.Messages
	t.Blocks += o.Blocks
	t.Commits += o.Commits
	t.Restarts += o.Restarts
	t.Observers += o.Observers
	t.Takeovers += o.Takeovers
	t.Acked += o.Acked
	t.Final += o.Final
	t.Rejected += o.Rejected
	t.Expired += o.Expired
	t.Refused += o.Refused
	t.Trades += o.Trades
	t.Payouts += o.Payouts
	t.Changes += o.Changes
}

// close turns one run's bites into "this run had it".
func (t *Tally) close() {
	t.Seeds = 1
	for c, n := range t.Faults {
		if n > 0 {
			t.With[c] = 1
		}
	}
}

// Missing names the classes that never bit.
func (t *Tally) Missing() []Class {
	var out []Class
	for c := range Class(Classes) {
		if t.Faults[c] == 0 {
			out = append(out, c)
		}
	}
	return out
}

// String is the tally as two tables of Markdown.
func (t *Tally) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "| class of fault | runs with it | times it bit |\n|---|---:|---:|\n")
	for c := range Class(Classes) {
		fmt.Fprintf(&b, "| %s | %d | %d |\n", c, t.With[c], t.Faults[c])
	}
	fmt.Fprintf(&b, "\n| in all | |\n|---|---:|\n")
	for _, row := range []struct {
		name string
		n    any
	}{
		{"runs", t.Seeds},
		{"virtual time", t.Virtual.Round(time.Second)},
		{"events", t.Events},
		{"messages between nodes", t.Messages},
		{"blocks of honest validators", t.Blocks},
		{"commits", t.Commits},
		{"restarts", t.Restarts},
		{"observers", t.Observers},
		{"states taken over from peers", t.Takeovers},
		{"changes of the committee", t.Changes},
		{"operations acknowledged", t.Acked},
		{"... final", t.Final},
		{"... rejected", t.Rejected},
		{"... expired", t.Expired},
		{"operations no gateway took", t.Refused},
		{"trades", t.Trades},
		{"withdrawals paid", t.Payouts},
	} {
		fmt.Fprintf(&b, "| %s | %v |\n", row.name, row.n)
	}
	return b.String()
}
