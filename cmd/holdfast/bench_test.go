package main

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/holdfast-mesh/holdfast/testnet"
)

// A load goes on when one of the nodes it is sent to dies: what that node did not take
// goes to another, and every operation ends.
func TestBenchOutlivesANode(t *testing.T) {
	h := holdUp(t)
	killed := make(chan struct{})
	go func() {
		defer close(killed)
		time.Sleep(2 * time.Second)
		call(t, "testnet", "kill", "2", "--dir", h.dir)
	}()
	stdout, stderr, code := call(t, "bench", "--dir", h.dir, "--rate", "200", "--for", "5s", "--json")
	<-killed
	var r testnet.BenchResult
	if err := json.Unmarshal([]byte(stdout), &r); err != nil || code != exitOK {
		t.Fatalf("exit %d, %v: %s%s", code, err, stdout, stderr)
	}
	if r.Sent != 1000 || r.Final != r.Sent || r.Refused != 0 || r.Unended != 0 || r.P99Ms <= 0 {
		t.Errorf("%+v", r)
	}
	if s := h.status(t); s.Nodes[2].State != testnet.Dead {
		t.Errorf("the node that was killed is %s", s.Nodes[2].State)
	}
}
