package testnet

// checkWithdrawals: no operation makes two withdrawals, no withdrawal is paid twice,
// what a client was told of its withdrawal is what was executed, and custodians paid
// nothing that nobody asked for.
func checkWithdrawals(h *history, r *replayed) Promise {
	var f findings
	asked := make(map[uint64]string) // operation, by withdrawal
	for id, made := range r.asked {
		if len(made) > 1 {
			f.broke("operation %s made %d withdrawals", id, len(made))
		}
		for _, w := range made {
			if other, known := asked[w]; known {
				f.broke("withdrawal %d is of two operations, %s and %s", w, id, other)
			}
			asked[w] = id
		}
	}
	for w, paid := range r.paid {
		if len(paid) > 1 {
			f.broke("withdrawal %d was paid %d times, in commits %d and %d", w, len(paid), paid[0].commit, paid[1].commit)
		}
		if _, known := asked[w]; !known {
			f.broke("withdrawal %d was paid and nobody has asked for it", w)
		}
	}
	seen := 0
	for i := range h.ops {
		o := &h.ops[i]
		if o.Kind != "withdraw" {
			continue
		}
		seen++
		if o.Withdrawal != 0 && o.Commit < uint64(len(r.states)) && asked[o.Withdrawal] != o.Op {
			f.broke("a client was told that its operation %s is withdrawal %d, which is of %q", o.Op, o.Withdrawal, asked[o.Withdrawal])
		}
	}
	if seen == 0 && h.scenario.Load.Withdrawals > 0 {
		f.lacks("no client asked for a withdrawal")
	}
	return f.none("withdrawals paid more than once", "withdrawals")
}
