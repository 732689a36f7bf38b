package testnet

import (
	"reflect"
	"testing"
	"time"

	"github.com/holdfast-mesh/holdfast/testnet/faults"
)

var fourSpots = []Spot{{0, "aws", "a"}, {1, "aws", "b"}, {2, "gcp", "a"}, {3, "azure", "a"}}

func TestPick(t *testing.T) {
	for _, tc := range []struct {
		words []string
		want  []int
	}{
		{[]string{"aws"}, []int{0, 1}},
		{[]string{"aws/b", "azure"}, []int{1, 3}},
		{[]string{"2", "aws/a", "aws/a"}, []int{0, 2}},
		{nil, nil},
	} {
		if got, err := pick(fourSpots, tc.words); err != nil || !reflect.DeepEqual(got, tc.want) {
			t.Errorf("%v: %v, %v", tc.words, got, err)
		}
	}
	for _, bad := range []string{"oracle", "4", "aws/c", ""} {
		if _, err := pick(fourSpots, []string{bad}); err == nil {
			t.Errorf("%q names a node", bad)
		}
	}
}

func TestOverlappingFaultsAddUpAndGoOneByOne(t *testing.T) {
	w := newWeather(4)
	w.set("slow", []int{0}, []int{2}, false, faults.Rule{Delay: 40 * time.Millisecond, Rate: 1000})
	w.set("loss", []int{0, 1}, []int{2, 3}, true, faults.Rule{Drop: 0.5, Delay: 10 * time.Millisecond, Rate: 500})
	w.set("more loss", []int{0}, []int{2}, true, faults.Rule{Drop: 0.5})
	if got, want := w.between(0, 2), (faults.Rule{Drop: 0.75, Delay: 50 * time.Millisecond, Rate: 500}); got != want {
		t.Errorf("together: %+v", got)
	}
	if got, want := w.between(2, 0), (faults.Rule{Delay: 40 * time.Millisecond, Rate: 1000}); got != want {
		t.Errorf("back: %+v", got)
	}
	w.clear("slow")
	w.clear("loss")
	if got := w.between(0, 2); got != (faults.Rule{Drop: 0.5}) {
		t.Errorf("what is left: %+v", got)
	}
	w.clear("more loss")
	if got := w.table(0, []string{"a", "b", "c", "d"}); len(got) != 0 {
		t.Errorf("after all are gone: %v", got)
	}
}

func TestIslands(t *testing.T) {
	all := []bool{true, true, true, true}
	cut := faults.Rule{Drop: 1}
	for _, tc := range []struct {
		name  string
		do    func(*weather)
		alive []bool
		want  [][]int
	}{
		{"whole", func(*weather) {}, all, [][]int{{0, 1, 2, 3}}},
		{"one cut off", func(w *weather) { w.set("", []int{1}, []int{0, 2, 3}, false, cut) }, all, [][]int{{0, 2, 3}, {1}}},
		{"halves", func(w *weather) { w.set("", []int{0, 3}, []int{1, 2}, false, cut) }, all, [][]int{{0, 3}, {1, 2}}},
		{"one way parts as well", func(w *weather) { w.set("", []int{0}, []int{1, 2, 3}, true, cut) }, all, [][]int{{1, 2, 3}, {0}}},
		{"a bridge joins", func(w *weather) { w.set("", []int{0, 1}, []int{3}, false, cut) }, all, [][]int{{0, 1, 2, 3}}},
		{"the dead are on none", func(*weather) {}, []bool{true, false, true, true}, [][]int{{0, 2, 3}}},
	} {
		w := newWeather(4)
		tc.do(w)
		if got := w.islands(tc.alive); !reflect.DeepEqual(got, tc.want) {
			t.Errorf("%s: %v", tc.name, got)
		}
	}
}
