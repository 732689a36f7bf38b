package sim

// absent is a validator that was never started: it says and hears nothing.
type absent struct{ honest }

func (absent) runs() bool { return false }

func (absent) handles(n *node, e event) bool {
	if e.kind == evDeliver {
		n.s.tally.bite(Absent)
	}
	return true
}
