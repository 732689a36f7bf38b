package main

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/holdfast-mesh/holdfast/node"
	"github.com/holdfast-mesh/holdfast/node/mesh"
	"github.com/holdfast-mesh/holdfast/p2p"
)

func TestSvcSaysWhatIsWrong(t *testing.T) {
	dir := t.TempDir()
	for _, test := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"ls"}, exitFailure, "holdfast run"},
		{[]string{"resolve", "pricefeed"}, exitFailure, "holdfast run"},
		{[]string{"resolve"}, exitUsage, "the name of a service"},
		{[]string{"register", "pricefeed"}, exitUsage, "host:port"},
		{[]string{"register", "Price Feed", "--to", "127.0.0.1:1"}, exitUsage, "a-z"},
		{[]string{"register", "a", "--to", "127.0.0.1:1", "--check", "ping"}, exitUsage, "http:/healthz"},
		{[]string{"proxy", "a.b"}, exitUsage, "a-z"},
		{[]string{"allow", "pricefeed"}, exitUsage, "a role"},
	} {
		_, stderr, code := call(t, append([]string{"svc", "--data-dir", dir}, test.args...)...)
		if code != test.code || !strings.Contains(stderr, test.want) {
			t.Errorf("%q: exit %d, %q; want %d with %q", test.args, code, stderr, test.code, test.want)
		}
	}
}

// startDesk runs a mesh on a host of its own, with its desk where a node's would
// be, and returns the directory.
func startDesk(t *testing.T) (dir string, self peer.ID) {
	t.Helper()
	dir = t.TempDir()
	key, err := p2p.NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	h := p2p.DefaultConfig()
	h.Identity, h.Network, h.Listen = key, "test", []string{"/ip4/127.0.0.1/udp/0/quic-v1"}
	h.MDNS, h.NAT = false, false
	host, err := p2p.Open(h)
	if err != nil {
		t.Fatal(err)
	}
	c := mesh.DefaultConfig()
	c.Host, c.Key, c.Network, c.Provider = host, key, h.Network, "aws"
	m, err := mesh.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", node.Config{DataDir: dir}.DeskPath())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- m.ServeDesk(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		for _, err := range []error{<-done, m.Close(), host.Close()} {
			if err != nil {
				t.Error(err)
			}
		}
	})
	return dir, host.ID()
}

func TestSvcTalksToANode(t *testing.T) {
	dir, self := startDesk(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	svc := func(want string, args ...string) {
		t.Helper()
		stdout, stderr, code := call(t, append([]string{"svc", "--data-dir", dir}, args...)...)
		if code != exitOK || !strings.Contains(stdout, want) {
			t.Errorf("%q: exit %d, %q, %q; want %q", args, code, stdout, stderr, want)
		}
	}
	svc("", "register", "lines", "--to", l.Addr().String(), "--body", "v1")
	svc("lines", "ls")
	svc("healthy", "resolve", "lines", "--explain")
	svc(self.String(), "resolve", "lines", "--json")
	svc("allowed: validator", "allow", "lines", "validator", "--enforce")
	svc("may not call", "authz", self.String(), "lines")
	svc("denied: observer", "deny", "lines", "observer")
	svc("REASON", "ls", "--rejected")
	svc("", "drain", "lines")
	svc("", "deregister", "lines")
	if _, err := os.Stat(filepath.Join(dir, "svc.sock")); err != nil {
		t.Error(err)
	}
}
