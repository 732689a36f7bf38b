package sim

import "slices"

// The shapes a network breaks into. Each returns the directed links that are
// cut; what it leaves out stays open.

// split cuts the nodes of side from all others, both ways: halves, thirds, or
// one against all.
func split(nodes int, side []int) []pair {
	var out []pair
	for from := range nodes {
		for to := range nodes {
			if slices.Contains(side, from) != slices.Contains(side, to) {
				out = append(out, pair{from, to})
			}
		}
	}
	return out
}

// bridge cuts the nodes into side and the rest, which only the node over talks
// to both of. over belongs to neither.
func bridge(nodes int, side []int, over int) []pair {
	return slices.DeleteFunc(split(nodes, side), func(p pair) bool { return p.from == over || p.to == over })
}

// ring leaves each node its two neighbours in the order given.
func ring(order []int) []pair {
	n := len(order)
	var out []pair
	for i, from := range order {
		for j, to := range order {
			if d := (j - i + n) % n; d > 1 && d < n-1 {
				out = append(out, pair{from, to})
			}
		}
	}
	return out
}

// deaf cuts what others send to the nodes of side; mute is the other way round.
func deaf(nodes int, side []int) []pair {
	return slices.DeleteFunc(split(nodes, side), func(p pair) bool { return slices.Contains(side, p.from) })
}

func mute(nodes int, side []int) []pair {
	return slices.DeleteFunc(split(nodes, side), func(p pair) bool { return slices.Contains(side, p.to) })
}
