package main

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/holdfast-mesh/holdfast/testnet"
)

// kills is how often a node is killed: HOLDFAST_KILLS=200 takes four minutes.
func kills(t *testing.T) int {
	text := os.Getenv("HOLDFAST_KILLS")
	if text == "" {
		return 12
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("HOLDFAST_KILLS is %q: give a number of kills", text)
	}
	return n
}

// storm is a scenario in which nodes are killed without warning at random moments,
// under load of every kind.
func storm(kills int) testnet.Scenario {
	rnd := rand.New(rand.NewPCG(7, 7))
	s := testnet.Scenario{
		Name: "kill-storm", Title: "Nodes are killed without warning, over and over, under load.", Seed: 1,
		Network: testnet.Layout{Providers: []string{"aws:1", "gcp:1", "azure:1", "hetzner:1"}},
		Load:    testnet.Load{Clients: 4, Orders: 40, Cancels: 12, Transfers: 16, Deposits: 2, Withdrawals: 2, Reads: 20},
	}
	at := 3.0
	for range kills {
		s.Faults = append(s.Faults, testnet.Timed{
			AtSeconds: at, ForSeconds: 0.1 + 0.5*rnd.Float64(),
			Fault: testnet.Fault{Kind: testnet.Kill, From: []string{strconv.Itoa(rnd.IntN(4))}},
		})
		at += 1 + 0.04*rnd.Float64()
	}
	s.Seconds = at + 4
	return s
}

// TestKillStorm kills nodes at random moments under load: nothing that was
// acknowledged is lost, no validator signs twice for a round, and all roots are equal.
func TestKillStorm(t *testing.T) {
	if testing.Short() {
		t.Skip("it runs a network for half a minute")
	}
	dir := t.TempDir()
	v, err := testnet.Run(t.Context(), storm(kills(t)), testnet.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range v.Promises {
		if !p.Held {
			t.Errorf("%s: %v %s, %s: %q", p.Name, p.Value, p.Unit, p.Outcome, p.Why)
		}
	}
	if v.Ops.Final == 0 || v.Ops.Unknown > 0 {
		t.Errorf("operations: %+v", v.Ops)
	}
	logs, err := filepath.Glob(filepath.Join(dir, "*.log"))
	if err != nil || len(logs) != 4 {
		t.Fatalf("the logs are %q, %v", logs, err)
	}
	for _, path := range logs {
		log, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, bad := range []string{"signed two blocks", "ALARM", "panic:"} {
			if bytes.Contains(log, []byte(bad)) {
				t.Errorf("%s says %q", filepath.Base(path), bad)
			}
		}
	}
	t.Logf("%d kills: %+v, longest gap %.0f ms", kills(t), v.Ops, v.MaxGapMs)
}
