package sim

import (
	"reflect"
	"slices"
	"testing"
	"time"
)

func TestPlanIsOfItsSeed(t *testing.T) {
	weights := []int{1, 1, 1, 1}
	if !reflect.DeepEqual(draw(7, weights), draw(7, weights)) {
		t.Error("one seed, two plans")
	}
	if reflect.DeepEqual(draw(7, weights), draw(8, weights)) {
		t.Error("two seeds, one plan")
	}
}

// TestPlanKeepsItsBounds: liars and those who may forget weigh at most a third,
// every class is drawn, everything ends with the chaos, and every number is in
// its bounds.
func TestPlanKeepsItsBounds(t *testing.T) {
	var drawn [Classes]int
	observed := 0
	for seed := range uint64(3_000) {
		r := newRandom(seed, "weights", 0)
		weights := make([]int, r.between(4, 8))
		for i := range weights {
			weights[i] = r.between(1, 3)
		}
		p := draw(seed, weights)
		faulty := map[int]bool{}
		for _, l := range p.Liars {
			drawn[l.How]++
			faulty[l.Node] = true
			if !l.How.liar() {
				t.Fatalf("seed %d: %v is no way to lie", seed, l.How)
			}
		}
		for _, f := range p.Faults {
			drawn[f.Class]++
			if f.Class == LostDisk || f.Class == FlippedBit {
				if f.Node >= len(weights) {
					continue // an observer's loss is nobody's
				}
				if faulty[f.Node] && slices.ContainsFunc(p.Liars, func(l Liar) bool { return l.Node == f.Node }) {
					t.Fatalf("seed %d: a liar forgets", seed)
				}
				faulty[f.Node] = true
			}
			if f.At < 0 || f.For <= 0 && f.Class != Unruly || f.At+f.For > p.Chaos {
				t.Fatalf("seed %d: %v is not inside %v", seed, f, p.Chaos)
			}
			if f.Node >= len(weights)+p.Observers || f.Over.loss > percent(lossMax) || f.Clock.offset > jumpMax {
				t.Fatalf("seed %d: %v", seed, f)
			}
			for _, l := range f.Links {
				if l.from == l.to || max(l.from, l.to) >= len(weights)+p.Observers {
					t.Fatalf("seed %d: %v", seed, f)
				}
			}
		}
		if p.Observers > 0 {
			observed++
		}
		weight := 0
		for node := range faulty {
			weight += weights[node]
		}
		if weight > faultyWeight(weights) {
			t.Fatalf("seed %d: %d of %v faulty", seed, weight, weights)
		}
		if p.Chaos < chaosMin || p.Chaos > chaosMax {
			t.Fatalf("seed %d: %v of chaos", seed, p.Chaos)
		}
	}
	if observed < 900 || observed > 1_200 {
		t.Errorf("%d plans of 3000 have observers", observed)
	}
	for c, n := range drawn {
		if n < 30 {
			t.Errorf("%v was drawn %d times", Class(c), n)
		}
	}
}

func TestPlanOnly(t *testing.T) {
	p := draw(7, []int{1, 1, 1, 1})
	o := p.Only([]int{0, 2})
	if len(o.Faults) != 2 || !reflect.DeepEqual(o.Faults[1], p.Faults[2]) || !reflect.DeepEqual(o.Liars, p.Liars) {
		t.Errorf("kept %v of %v", o, p)
	}
	if (Fault{Class: Loss, Node: -1, For: time.Second, Over: weather{loss: percent(12)}}).String() != "loss at 0s for 1s 12%" {
		t.Errorf("a fault reads %v", Fault{Class: Loss, Node: -1, For: time.Second, Over: weather{loss: percent(12)}})
	}
}
