package sim

import "time"

// delayer runs the product, and whatever it says comes late: mostly too late
// for the round it was meant for, and now and then in time to unsettle a
// decision that was nearly made.
type delayer struct {
	honest
	rnd *random
}

const delayedMax = 2500 * time.Millisecond

func (d *delayer) swallows(n *node, to int, m *message) bool {
	n.s.tally.bite(Delaying)
	late := d.rnd.during(0, delayedMax)
	if d.rnd.chance(percent(30)) {
		late /= 20
	}
	n.s.push(event{at: n.s.now + late, kind: evLiar, node: int32(n.id), from: int32(to), msg: m})
	return true
}

// handles lets a message go whose time has come, also after a crash of the process.
func (d *delayer) handles(n *node, e event) bool {
	if e.kind != evLiar {
		return false
	}
	to := int(e.from)
	n.s.net.send(n.s.now, pair{n.id, to}, n.s.nodes[to].life, e.msg)
	return true
}
