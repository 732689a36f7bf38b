package main

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-mesh/holdfast/testnet/sim"
)

// TestSimReplays: one seed, the same bytes twice, with and without status lines.
func TestSimReplays(t *testing.T) {
	for _, args := range [][]string{{"sim", "--seed", "7"}, {"sim", "--seed", "7", "-v"}, {"sim", "--seed", "7", "--json"}} {
		first, stderr, code := call(t, args...)
		second, _, _ := call(t, args...)
		if code != exitOK || stderr != "" {
			t.Fatalf("%q: exit %d, stderr %q", args, code, stderr)
		}
		if first != second || len(first) < 200 {
			t.Errorf("%q: two runs, two outputs", args)
		}
	}
	var r sim.Report
	stdout, _, _ := call(t, "sim", "--seed", "7", "--json")
	if err := json.Unmarshal([]byte(stdout), &r); err != nil || r.Seed != 7 || r.Commits == 0 {
		t.Errorf("%v: %s", err, stdout)
	}
}

// TestSimMany: the tally of a range does not depend on how many run at a time.
func TestSimMany(t *testing.T) {
	one, _, code := call(t, "sim", "--seeds", "1..12", "--jobs", "1")
	if code != exitOK || !strings.Contains(one, "12 runs, 0 broke a promise") || !strings.Contains(one, "| class of fault |") {
		t.Fatalf("exit %d:\n%s", code, one)
	}
	if three, _, _ := call(t, "sim", "--seeds", "1..12", "--jobs", "3"); three != one {
		t.Errorf("three at a time:\n%s\none:\n%s", three, one)
	}
	var m simMany
	stdout, _, _ := call(t, "sim", "--seeds", "1..3", "--json")
	if err := json.Unmarshal([]byte(stdout), &m); err != nil || m.Tally.Seeds != 3 || m.Failures != 0 {
		t.Errorf("%v: %s", err, stdout)
	}
}

func TestSimPlanInParts(t *testing.T) {
	whole, _, _ := call(t, "sim", "--seed", "7")
	part, _, code := call(t, "sim", "--seed", "7", "--only", "0,2")
	if code != exitOK || !strings.Contains(part, "fault 2:") || strings.Contains(part, "fault 1:") || !strings.Contains(whole, "fault 1:") {
		t.Errorf("exit %d:\n%s\nof\n%s", code, part, whole)
	}
	if none, _, _ := call(t, "sim", "--seed", "7", "--only", "-"); strings.Contains(none, "fault 0:") {
		t.Errorf("without faults:\n%s", none)
	}
}

func TestSimWrongCommandLine(t *testing.T) {
	for _, tc := range []struct {
		args []string
		want string
	}{
		{[]string{"sim", "--seeds", "9..3"}, "give a range"},
		{[]string{"sim", "--seeds", "9"}, "give a range"},
		{[]string{"sim", "--seeds", "1..x"}, "give a range"},
		{[]string{"sim", "--seeds", "1..2", "-v"}, "are for one"},
		{[]string{"sim", "--seeds", "1..2", "--jobs", "0"}, "at least 1"},
		{[]string{"sim", "--replicas", "1000"}, "1000 replicas"},
		{[]string{"sim", "--load", "-1"}, "a load of -1"},
		{[]string{"sim", "--only", "x"}, "numbers of faults"},
	} {
		_, stderr, code := call(t, tc.args...)
		if code != exitUsage || !strings.Contains(stderr, tc.want) {
			t.Errorf("%q: exit %d, %q", tc.args, code, stderr)
		}
	}
}

// TestSimBrokenPromise: a failed run has its own exit code and says how to replay it.
func TestSimBrokenPromise(t *testing.T) {
	f := simFlags{replicas: 5, load: 9, only: "1,2"}
	err := f.judge(sim.Report{Seed: 41, Violation: &sim.Violation{Promise: "P2 money", At: time.Second, Node: 3, What: "a coin is missing"}})
	var coded exitError
	if !errors.As(err, &coded) || coded.code != exitPromiseBroken {
		t.Fatalf("got %v", err)
	}
	for _, want := range []string{"seed 41", "P2 money", "node 3", "a coin is missing",
		"holdfast sim --seed 41 -v --replicas 5 --load 9 --only 1,2"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not say %q", err, want)
		}
	}
	if f.judge(sim.Report{}) != nil {
		t.Error("a run that held its promises is judged")
	}
	m := simMany{}
	for _, seed := range []uint64{5, 3, 9, 1} {
		m.keep(sim.Report{Seed: seed})
	}
	if m.Failed[0].Seed != 1 || m.Failed[3].Seed != 9 {
		t.Errorf("kept in the order %v", m.Failed)
	}
}
