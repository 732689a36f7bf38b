//go:build holdfast_audit

package ledger

// audit checks the whole state after every commit.
func (l *Ledger) audit() {
	if err := l.CheckInvariants(); err != nil {
		panic("ledger: invariant broken: " + err.Error())
	}
}
