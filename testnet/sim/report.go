package sim

import (
	"fmt"
	"strings"
	"time"
)

// String is the report for people: what went wrong, what came of it, and the
// fingerprint that a replay must have too.
func (r Report) String() string {
	var b strings.Builder
	verdict := "every promise held"
	if r.Violation != nil {
		verdict = "BROKEN: " + r.Violation.String()
	}
	fmt.Fprintf(&b, "seed %d, %d validators: %s\n", r.Seed, r.Replicas, verdict)
	fmt.Fprintf(&b, "virtual time %v, the last fault over at %v, %d commits, fingerprint %016x\n",
		r.Virtual.Round(time.Millisecond), r.Healed, r.Commits, r.Fingerprint)
	b.WriteString(r.Plan.String())
	t := r.Tally
	fmt.Fprintf(&b, "%d events, %d messages, %d blocks, %d restarts; %d operations acknowledged: %d final, %d rejected, %d expired; %d refused; %d trades, %d withdrawals paid\n",
		t.Events, t.Messages, t.Blocks, t.Restarts, t.Acked, t.Final, t.Rejected, t.Expired, t.Refused, t.Trades, t.Payouts)
	for c := range Class(Classes) {
		if t.Faults[c] > 0 {
			fmt.Fprintf(&b, "  %-22v %d\n", c, t.Faults[c])
		}
	}
	return b.String()
}

// Shrink drops faults from a plan that breaks a promise, as long as the same
// promise still breaks without them, and returns what is left; the liars stay.
// Any violation of that promise counts: a shorter plan runs differently.
func Shrink(cfg Config, plan Plan) Plan {
	run := func(p Plan) *Violation {
		cfg.Plan = &p
		return New(cfg).Run().Violation
	}
	first := run(plan)
	if first == nil {
		return plan
	}
	breaks := func(p Plan) bool {
		v := run(p)
		return v != nil && v.Promise == first.Promise
	}
	for shorter := true; shorter; {
		shorter = false
		for i := len(plan.Faults) - 1; i >= 0; i-- {
			without := plan
			without.Faults = append(append([]Fault(nil), plan.Faults[:i]...), plan.Faults[i+1:]...)
			if breaks(without) {
				plan, shorter = without, true
			}
		}
	}
	return plan
}
