package node

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// verdicts are what an examination finds, by what it looked at.
func verdicts(t *testing.T, cfg Config) map[string]Finding {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	all := make(map[string]Finding)
	for _, f := range Examine(ctx, cfg) {
		if f.Verdict != Fine && f.Remedy == "" {
			t.Errorf("%+v says nothing to do", f)
		}
		all[f.Check] = f
	}
	return all
}

// TestExamine: a node that lacks something is told what; one that runs among others is
// fine.
func TestExamine(t *testing.T) {
	c := newCluster(t, 4)
	c.untilQuorum()
	c.final(0, c.transfer(0))
	running := c.nodes[0].cfg
	running.APIListen = c.nodes[0].APIAddr()
	c.eventually("a node is ready", func() bool { return (backend{c.nodes[0].Node}).Status().Ready })
	found := verdicts(t, running)
	for _, check := range []string{"version", "bundle", "ports", "disk room", "reachability"} {
		if found[check].Verdict != Fine {
			t.Errorf("%+v", found[check])
		}
	}
	if f := found["node"]; f.Verdict == Failed || !strings.Contains(f.Detail, "commit") {
		t.Errorf("%+v", f)
	}
	if f := found["key"]; f.Verdict != Warned || !strings.Contains(f.Detail, "not encrypted") {
		t.Errorf("%+v", f)
	}
	if f := found["placement"]; f.Verdict != Warned || !strings.Contains(f.Detail, "operates them") {
		t.Errorf("%+v", f)
	}

	bare := DefaultConfig()
	bare.DataDir = filepath.Join(t.TempDir(), "none")
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	bare.APIListen = taken.Addr().String()
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	bare.Listen = []string{"/ip4/127.0.0.1/udp/" + strings.TrimPrefix(udp.LocalAddr().String(), "127.0.0.1:") + "/quic-v1"}
	go func() { // who has the port is no node
		for {
			conn, err := taken.Accept()
			if err != nil {
				return
			}
			conn.Close()
		}
	}()
	found = verdicts(t, bare)
	for check, want := range map[string]Verdict{"key": Failed, "bundle": Failed, "disk": Failed, "ports": Failed, "node": Warned, "clock": Warned} {
		if found[check].Verdict != want {
			t.Errorf("%s: %+v, want %s", check, found[check], want)
		}
	}
	if f := found["ports"]; strings.Count(f.Detail, "in use") != 2 {
		t.Errorf("%+v", f)
	}

	// The network is gone.
	for i := range 4 {
		c.halt(i, false)
	}
	found = verdicts(t, running)
	if f := found["reachability"]; f.Verdict != Failed || !strings.Contains(f.Detail, "none of the bundle's 3 peers") {
		t.Errorf("%+v", f)
	}
	if left, err := filepath.Glob(filepath.Join(running.DataDir, "doctor-*")); err != nil || len(left) > 0 {
		t.Errorf("%v is left: %v", left, err)
	}
	if err := os.Chmod(running.DataDir, 0o500); err != nil {
		t.Fatal(err)
	}
	defer os.Chmod(running.DataDir, 0o700)
	if f := verdicts(t, running)["disk"]; os.Getuid() != 0 && f.Verdict != Failed {
		t.Errorf("a directory that cannot be written: %+v", f)
	}
}
