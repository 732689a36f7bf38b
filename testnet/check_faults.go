package testnet

import "slices"

// checkFaults: every fault of the scenario was done, and every matrix measured while
// it was in force shows what it should do, and nothing else. Without that the other
// promises were not put to the test: the outcome is inconclusive, never broken.
func checkFaults(h *history) Promise {
	var f findings
	begun := 0
	for _, r := range h.faults {
		if r.Error != "" {
			f.lacks("%s: %s", r.Fault, r.Error)
		}
		if r.Began {
			begun++
		}
	}
	if begun < len(h.scenario.Faults) {
		f.lacks("%d of %d faults were done", begun, len(h.scenario.Faults))
	}
	parted := false
	for i := range h.matrices {
		m := &h.matrices[i]
		for _, why := range m.Contradictions() {
			f.lacks("%s: %s", m.Label, why)
		}
		for _, why := range m.Unbitten() {
			f.lacks("%s: %s", m.Label, why)
		}
		parted = parted || m.harms()
	}
	if h.scenario.onLinks() && !parted {
		f.lacks("no matrix was measured with a fault of links in force")
	}
	checkIntruders(h, &f)
	p := f.none("faults that did not bite", "faults")
	p.Value = float64(len(f.missing))
	return p
}

// onLinks says whether some fault of the scenario is one of links that stays long
// enough to be measured.
func (s *Scenario) onLinks() bool {
	for _, f := range s.Faults {
		if f.OnLinks() && f.Kind != Flap {
			return true
		}
	}
	return false
}

// harms says whether the matrix was measured with a fault of links in force.
func (m *Matrix) harms() bool { return slices.ContainsFunc(m.Faults, Fault.OnLinks) }
