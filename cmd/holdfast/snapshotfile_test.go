package main

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-mesh/holdfast/node"
	"github.com/holdfast-mesh/holdfast/node/ledger"
)

// TestSnapshotFileRefused: what cannot be exported or imported, with its code. What
// can be, and forgeries, are in package node.
func TestSnapshotFileRefused(t *testing.T) {
	home := isolated(t)
	who := initNode(t, "--plain")
	must(t, "join", exampleBundle(t), "--data-dir", who.DataDir)
	bare := filepath.Join(home, "bare")
	must(t, "join", exampleBundle(t), "--data-dir", bare)
	file := func(content string) string { return write(t, filepath.Join(t.TempDir(), "x.snapshot"), content) }
	nobody := fmt.Sprintf("/ip4/127.0.0.1/udp/%d/quic-v1/p2p/%s", freePort(t, "udp"), node.PeerIDOf(ledger.AccountOf(personKey("nobody"))))
	there := file("hello")
	for _, tc := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"import", there, "--data-dir", who.DataDir}, exitDamaged, "it does not begin as one"},
		{[]string{"import", file("holdfast snapshot 1\n" + strings.Repeat("x", 40)), "--data-dir", who.DataDir}, exitOtherNetwork, "this node is of"},
		{[]string{"import", filepath.Join(home, "none"), "--data-dir", who.DataDir}, exitFailure, "no such file"},
		{[]string{"import", there, "--data-dir", bare}, exitFailure, "holdfast init"},
		{[]string{"import"}, exitUsage, "a snapshot's file"},
		{[]string{"export", filepath.Join(home, "new"), "--data-dir", bare}, exitFailure, "nothing has run there"},
		{[]string{"export", filepath.Join(home, "new"), "--data-dir", who.DataDir}, exitFailure, "the first comes with commit 5000"},
		{[]string{"export", there, "--data-dir", who.DataDir}, exitFailure, "is there already"},
		{[]string{"export", filepath.Join(home, "new"), "--data-dir", who.DataDir, "--from", nobody, "--timeout", "1s"}, exitUnreachable, "no node of the network answers there"},
	} {
		_, stderr, code := call(t, append([]string{"snapshot"}, tc.args...)...)
		if code != tc.code || !strings.Contains(stderr, tc.want) {
			t.Errorf("%q: exit %d, want %d with %q: %s", tc.args, code, tc.code, tc.want, stderr)
		}
	}
	if left, err := filepath.Glob(filepath.Join(home, "new*")); err != nil || len(left) > 0 {
		t.Errorf("%v is left: %v", left, err)
	}
}

// TestDoctorOfNothing: every ill has a remedy, and the exit code says that there are.
func TestDoctorOfNothing(t *testing.T) {
	home := isolated(t)
	stdout, stderr, code := call(t, "doctor", "--data-dir", filepath.Join(home, "none"), "--api.listen", fmt.Sprintf("127.0.0.1:%d", freePort(t, "tcp")),
		"--listen", "/ip4/127.0.0.1/udp/0/quic-v1", "--json")
	var found []node.Finding
	if err := json.Unmarshal([]byte(stdout), &found); err != nil || code != exitIll || !strings.Contains(stderr, "failures to see to") {
		t.Fatalf("%v: exit %d: %s\n%s", err, code, stderr, stdout)
	}
	for _, f := range found {
		if f.Verdict != node.Fine && f.Remedy == "" {
			t.Errorf("%+v says nothing to do", f)
		}
	}
}
