package sim

import (
	"slices"
	"testing"
	"time"
)

// drain returns what arrives, in order.
func drain(q *queue) (out []event) {
	for {
		e, ok := q.pop()
		if !ok {
			return out
		}
		out = append(out, e)
	}
}

func TestNetworkKeepsOrderInCalmWeather(t *testing.T) {
	var q queue
	var tally Tally
	n := newNetwork(1, 3, &q, &tally)
	sent := make([]*message, 500)
	for i := range sent {
		sent[i] = &message{}
		n.send(time.Duration(i)*100*time.Microsecond, pair{0, 2}, 7, sent[i])
	}
	got := drain(&q)
	if len(got) != len(sent) {
		t.Fatalf("%d of %d arrived", len(got), len(sent))
	}
	for i, e := range got {
		if e.msg != sent[i] || e.kind != evDeliver || e.node != 2 || e.from != 0 || e.life != 7 {
			t.Fatalf("arrival %d is %+v", i, e)
		}
		if took := e.at - time.Duration(i)*100*time.Microsecond; took < latencyMin || took > latencyMax+2*time.Millisecond {
			t.Fatalf("arrival %d took %v", i, took)
		}
	}
	if len(tally.Missing()) != Classes {
		t.Errorf("calm weather counted as a fault: %v", tally.Faults)
	}
}

func TestNetworkWeather(t *testing.T) {
	const sent = 4_000
	for _, tc := range []struct {
		over   weather
		class  Class
		low    int // arrivals
		high   int
		inLine bool
	}{
		{weather{loss: percent(30)}, Loss, sent * 67 / 100, sent * 73 / 100, true},
		{weather{duplicate: percent(20)}, Duplicate, sent * 117 / 100, sent * 123 / 100, false},
		{weather{reorder: percent(20)}, Reorder, sent, sent, false},
		{weather{delay: time.Second}, Delay, sent, sent, true},
		{weather{jitter: time.Second}, Jitter, sent, sent, true},
	} {
		var q queue
		var tally Tally
		n := newNetwork(1, 2, &q, &tally)
		n.spoil([]pair{{0, 1}}, tc.over)
		index := map[*message]int{}
		for i := range sent {
			m := &message{}
			index[m] = i
			n.send(time.Duration(i)*time.Millisecond, pair{0, 1}, 0, m)
			n.send(time.Duration(i)*time.Millisecond, pair{1, 0}, 0, &message{})
		}
		arrived, back, last, inLine := 0, 0, -1, true
		for _, e := range drain(&q) {
			if e.node == 0 {
				back++
				continue
			}
			arrived++
			inLine = inLine && index[e.msg] > last
			last = index[e.msg]
		}
		if arrived < tc.low || arrived > tc.high || inLine != tc.inLine {
			t.Errorf("%v: %d of %d arrived, in line %v", tc.class, arrived, sent, inLine)
		}
		if back != sent {
			t.Errorf("%v struck the other direction", tc.class)
		}
		if got := Classes - len(tally.Missing()); got != 1 || tally.Faults[tc.class] == 0 {
			t.Errorf("%v counted as %v", tc.class, tally.Faults)
		}
		n.calm([]pair{{0, 1}}, tc.over)
		if n.links[1].now != n.links[1].calm {
			t.Errorf("%v does not pass", tc.class)
		}
	}
}

func TestNetworkCutsOverlap(t *testing.T) {
	var q queue
	var tally Tally
	n := newNetwork(1, 3, &q, &tally)
	one, all := []pair{{0, 1}}, split(3, []int{0})
	n.cut(all, Halves)
	n.cut(one, OneWay)
	n.mend(all, Halves)
	for from := range 3 {
		for to := range 3 {
			if from != to {
				n.send(0, pair{from, to}, 0, &message{})
			}
		}
	}
	if got := len(drain(&q)); got != 5 || n.open(one[0]) {
		t.Errorf("%d messages passed, want all but one", got)
	}
	n.mend(one, OneWay)
	n.send(0, one[0], 0, &message{})
	if len(drain(&q)) != 1 {
		t.Error("a mended link carries nothing")
	}
}

// matrix draws who can send to whom, a row per sender.
func matrix(nodes int, cut []pair) (out []string) {
	for from := range nodes {
		row := ""
		for to := range nodes {
			switch {
			case from == to:
				row += "."
			case slices.Contains(cut, pair{from, to}):
				row += "x"
			default:
				row += "o"
			}
		}
		out = append(out, row)
	}
	return out
}

func TestPartitionShapes(t *testing.T) {
	for _, tc := range []struct {
		name string
		cut  []pair
		want []string
	}{
		{"halves", split(4, []int{0, 1}), []string{".oxx", "o.xx", "xx.o", "xxo."}},
		{"one against all", split(4, []int{2}), []string{".oxo", "o.xo", "xx.x", "oox."}},
		{"bridge", bridge(5, []int{0, 1}, 4), []string{".oxxo", "o.xxo", "xx.oo", "xxo.o", "oooo."}},
		{"ring", ring([]int{0, 1, 2, 3, 4}), []string{".oxxo", "o.oxx", "xo.ox", "xxo.o", "oxxo."}},
		{"deaf", deaf(3, []int{0}), []string{".oo", "x.o", "xo."}},
		{"mute", mute(3, []int{0}), []string{".xx", "o.o", "oo."}},
	} {
		if got := matrix(len(tc.want), tc.cut); !slices.Equal(got, tc.want) {
			t.Errorf("%s: %v, want %v", tc.name, got, tc.want)
		}
	}
}
