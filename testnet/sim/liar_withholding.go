package sim

// withholder runs the product, but lets each of its blocks out to a few
// validators only and answers nobody's questions: the others must get its
// blocks from each other.
type withholder struct {
	honest
	rnd  *random
	last *message
	lets []bool // to whom the last block may go
}

func (w *withholder) swallows(n *node, to int, m *message) bool {
	switch m.kind {
	case msgReply:
		n.s.tally.bite(Withholding)
		return true
	case msgBlock:
		if m != w.last {
			w.last = m
			w.lets = make([]bool, len(n.s.nodes))
			for _, i := range w.rnd.shuffled(len(w.lets))[:w.rnd.between(0, 2)] {
				w.lets[i] = true
			}
		}
		if !w.lets[to] {
			n.s.tally.bite(Withholding)
			return true
		}
	}
	return false
}
