package main

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/holdfast-mesh/holdfast/testnet"
)

// A load goes on when one of the nodes it is sent to dies: what that node did not take
// goes to another. What it had just taken is in its journal, and does not end before it is
// back. The first is the one that commits are watched at.
func TestBenchOutlivesANode(t *testing.T) {
	for _, node := range []string{"0", "2"} {
		t.Run(node, func(t *testing.T) { benchOutlives(t, node) })
	}
}

func benchOutlives(t *testing.T, node string) {
	h := holdUp(t)
	killed := make(chan struct{})
	go func() {
		defer close(killed)
		time.Sleep(2 * time.Second)
		call(t, "testnet", "kill", node, "--dir", h.dir)
	}()
	stdout, stderr, code := call(t, "bench", "--dir", h.dir, "--rate", "200", "--for", "5s", "--json")
	<-killed
	var r testnet.BenchResult
	if err := json.Unmarshal([]byte(stdout), &r); err != nil || code != exitOK {
		t.Fatalf("exit %d, %v: %s%s", code, err, stdout, stderr)
	}
	const justTaken = 20 // it takes fifty a second, and each is on its way for 50 ms
	if r.Sent != 1000 || r.Final < r.Sent-justTaken || r.Final+r.Unended != r.Sent || r.P99Ms <= 0 {
		t.Errorf("%+v", r)
	}
	if s := h.status(t); !slices.ContainsFunc(s.Nodes, func(n testnet.NodeStatus) bool { return n.State == testnet.Dead }) {
		t.Error("no node was killed")
	}
}
