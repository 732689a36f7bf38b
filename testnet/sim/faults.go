package sim

import "time"

// schedule puts a fault's moments into the queue: its begin, its end and, of
// those that come in waves, what is between. The from of an evFault is its phase.
func (s *Sim) schedule(i int) {
	f := &s.plan.Faults[i]
	at := func(d time.Duration, phase int) {
		s.push(event{at: f.At + d, kind: evFault, node: int32(i), from: int32(phase)})
		s.healed = max(s.healed, f.At+d)
	}
	switch f.Class {
	case LateStart:
		s.nodes[f.Node].hold++ // before anything starts
		at(f.For, 1)
	case CrashLoop, Flapping:
		waves := max(2, f.Times)
		for w := range waves {
			at(f.For*time.Duration(2*w)/time.Duration(2*waves), 0)
			at(f.For*time.Duration(2*w+1)/time.Duration(2*waves), 1)
		}
	default:
		at(0, 0)
		at(f.For, 1)
	}
}

// fault begins (phase 0) or ends (phase 1) a fault of the plan.
func (s *Sim) fault(i, phase int) {
	f := &s.plan.Faults[i]
	begin := phase == 0
	switch f.Class {
	case Loss, Delay, Jitter, Duplicate, Reorder:
		if begin {
			s.net.spoil(f.Links, f.Over)
		} else {
			s.net.calm(f.Links, f.Over)
		}
	case Halves, OneOff, Bridge, Ring, OneWay, Deaf, Mute, Flapping:
		if begin {
			s.net.cut(f.Links, f.Class)
		} else {
			s.net.mend(f.Links, f.Class)
		}
	case Skew, ClockJump:
		s.nodes[f.Node].setClock(f, begin)
	case SlowDisk:
		if begin {
			s.nodes[f.Node].slow++
		} else {
			s.nodes[f.Node].slow--
		}
	case PowerLoss:
		for _, n := range s.nodes {
			n.strike(f, begin)
		}
	case Unruly:
		for _, c := range s.clients {
			if c.role == trader && c.number%3 == 0 {
				c.unruly = begin
			}
		}
	default:
		s.nodes[f.Node].strike(f, begin)
	}
}

// setClock sets a clock wrong, or right again, and the alarm with it.
func (n *node) setClock(f *Fault, begin bool) {
	if n.clock = (clock{}); begin {
		n.clock = f.Clock
		n.s.tally.bite(f.Class)
	}
	if n.up {
		n.wake = 0
		n.some = true
		n.run() // the next step says when to wake on the new clock
	}
}

// strike begins or ends a fault that stops a node.
func (n *node) strike(f *Fault, begin bool) {
	if n.lie != nil && !n.lie.runs() {
		return
	}
	if !begin {
		if f.Class == LateStart {
			n.s.tally.bite(LateStart)
		}
		if n.up && (n.crashIn >= 0 || n.crashAt != crashNowhere) {
			n.crash(n.rnd.chance(percent(50))) // it never came to the place drawn
		}
		n.hold--
		n.start()
		return
	}
	n.hold++
	if f.Class == PowerLoss || f.Class == CrashLoop {
		n.s.tally.bite(f.Class)
	}
	if !n.up {
		n.whileDown(f)
		return
	}
	switch f.Class {
	case Crash:
		n.crashIn = f.Times
	case SyncLost:
		n.crashAt = crashSyncLost
	case SyncKept:
		n.crashAt = crashSyncKept
	case GatewayLost:
		n.crashAt = crashAfterAck
	case FlippedBit:
		if f.Times%2 == 0 { // under a running process: served from, found later
			n.flip(f)
			n.hold--
			n.hold++
		}
		n.crash(n.rnd.chance(percent(50)))
		n.whileDown(f)
	default: // PowerLoss, CrashLoop, LostDisk
		n.crash(n.rnd.chance(percent(50)))
		n.whileDown(f)
	}
}

// whileDown is what happens to the disk of a node that is off.
func (n *node) whileDown(f *Fault) {
	switch f.Class {
	case LostDisk:
		n.loseDisk()
		n.s.tally.bite(LostDisk)
		n.s.trace("node %d loses its disk", n.id)
	case FlippedBit:
		n.flip(f)
	}
}

// flip damages a record. An operation in the journal is damaged as well as a
// block: the operator replaces the disk then.
func (n *node) flip(f *Fault) {
	if key, ok := n.disk.flip(f.Times); ok {
		n.s.tally.bite(FlippedBit)
		n.s.trace("node %d: a bit of %q flips", n.id, key)
	}
}
