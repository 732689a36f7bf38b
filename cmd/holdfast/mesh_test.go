package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-mesh/holdfast/node"
	"github.com/holdfast-mesh/holdfast/node/api"
	"github.com/holdfast-mesh/holdfast/node/ledger"
)

// running is a node that this process runs by the command.
type running struct {
	dir, api  string
	key       string // public
	port      int    // for peers
	stop      context.CancelFunc
	out, logs *syncBuffer
	ended     chan int
}

// freePort is a port that nobody has now.
func freePort(t *testing.T, network string) int {
	t.Helper()
	if network == "udp" {
		l, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		return l.LocalAddr().(*net.UDPAddr).Port
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// address is where peers reach the node.
func (r *running) address() string { return fmt.Sprintf("/ip4/127.0.0.1/udp/%d/quic-v1", r.port) }

// start runs the node until the test ends or stop is called.
func (r *running) start(t *testing.T, args ...string) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	r.stop, r.out, r.logs, r.ended = stop, newSyncBuffer(), newSyncBuffer(), make(chan int, 1)
	args = append([]string{"run", "--data-dir", r.dir, "--listen", r.address(), "--api.listen", strings.TrimPrefix(r.api, "http://"),
		"--mdns=false", "--nat=false", "--dht=false", "--min-round", "10ms"}, args...)
	go func() { r.ended <- run(ctx, args, r.out, r.logs) }()
	t.Cleanup(func() { r.end(t) })
}

// end stops the node as an interrupt would and waits for it.
func (r *running) end(t *testing.T) {
	r.stop()
	if code := <-r.ended; code != exitOK {
		t.Errorf("%s ended with %d:\n%s", r.dir, code, r.logs)
	}
	r.ended <- exitOK // for whoever ends it again
}

// well waits until the node at an address is.
func well(t *testing.T, address string) {
	t.Helper()
	must(t, "healthy", "--wait", "--timeout", "2m", "--api", address)
}

// final sends an operation through one node and waits until another has executed
// it too.
func final(t *testing.T, seenAt string, args ...string) string {
	t.Helper()
	var out outcome
	if err := json.Unmarshal([]byte(must(t, append(args, "--json")...)), &out); err != nil || out.Status != api.OpFinal {
		t.Fatalf("%v: %+v", err, out)
	}
	return must(t, "op", "show", out.Op, "--wait", "--timeout", "2m", "--api", seenAt)
}

// makeNodes makes the directories of n nodes and a bundle in which the first four are the
// example's validators, with these replacements, and have joined. None is started.
func makeNodes(t *testing.T, n int, pairs ...string) (nodes []*running, bundle string) {
	t.Helper()
	for i := range n {
		who := initNode(t, "--plain")
		r := &running{dir: who.DataDir, key: who.Key, port: freePort(t, "udp"), api: fmt.Sprintf("http://127.0.0.1:%d", freePort(t, "tcp"))}
		nodes = append(nodes, r)
		if i < 4 {
			pairs = append(pairs, strings.Repeat(fmt.Sprint(i+1), 64), who.Key, fmt.Sprintf("/ip4/192.0.2.%d/udp/4001/quic-v1", i+1), r.address())
		}
	}
	pairs = append(pairs, `, "/ip4/192.0.2.1/tcp/4001"`, "")
	bundle = exampleBundle(t, pairs...)
	for _, r := range nodes[:4] {
		must(t, "join", bundle, "--data-dir", r.dir)
	}
	return nodes, bundle
}

// TestFourNodes is a network as its operators and users make one, by commands
// alone: four nodes, money, orders through one node that are seen on another, a
// node away and back, and an observer that joins by the network's id.
func TestFourNodes(t *testing.T) {
	if testing.Short() {
		t.Skip("five real nodes")
	}
	home := isolated(t)
	for _, name := range []string{"alice", "bob"} {
		person(t, home, name)
	}
	nodes, bundle := makeNodes(t, 5, `"`+strings.Repeat("9", 64)+`"`, `"`+ledger.AccountOf(personKey("alice")).String()+`"`)
	for _, n := range nodes[:4] {
		n.start(t)
	}
	for _, n := range nodes[:4] {
		well(t, n.api)
	}
	t.Setenv("HOLDFAST_BUNDLE", bundle)
	final(t, nodes[1].api, "wallet", "send", "60000", "USDT", "--to", "bob", "-w", "alice", "--api", nodes[0].api)
	wants(t, final(t, nodes[2].api, "order", "place", "BTC-USDT", "buy", "0.5", "--at", "50000", "-w", "bob", "--api", nodes[1].api), "NEW")

	nodes[3].end(t) // a provider goes dark
	final(t, nodes[2].api, "order", "place", "BTC-USDT", "buy", "0.1", "--at", "49000", "-w", "alice", "--api", nodes[3].api+","+nodes[0].api)
	wants(t, squeeze(must(t, "market", "book", "BTC-USDT", "--api", nodes[2].api)), "buy 50000.00 0.5000 1\nbuy 49000.00 0.1000 1")

	b, err := node.ReadBundle(bundle)
	if err != nil {
		t.Fatal(err)
	}
	network, peer := b.ID().String(), b.Validators()[0].PeerID().String()
	wants(t, must(t, "join", network, nodes[0].address()+"/p2p/"+peer, "--data-dir", nodes[4].dir), network)
	nodes[4].start(t, "--provider", "home")
	well(t, nodes[4].api)
	wants(t, squeeze(must(t, "status", "--api", nodes[4].api)), "observer", network)
	wants(t, squeeze(must(t, "market", "book", "BTC-USDT", "--api", nodes[4].api)), "buy 50000.00 0.5000 1")
	wants(t, must(t, "order", "cancel", "--all", "-w", "bob", "--api", nodes[4].api), "1 orders canceled")

	// What the stopped node has on disk is whole, and the node cannot be looked into
	// while it runs.
	wants(t, squeeze(must(t, "snapshot", "verify", "--data-dir", nodes[3].dir)), "files", "commit ", "root ")
	if _, stderr, code := call(t, "snapshot", "verify", "--data-dir", nodes[2].dir); code != exitFailure || !strings.Contains(stderr, "in use") {
		t.Errorf("verifying a running node: exit %d: %s", code, stderr)
	}

	nodes[3].start(t)
	well(t, nodes[3].api)
	wants(t, squeeze(must(t, "wallet", "balance", "bob", "--api", nodes[3].api)), "USDT 60000 0")

	// What join refuses of a real node.
	_, stderr, code := call(t, "join", "bafyreigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi", nodes[0].address()+"/p2p/"+peer, "--data-dir", nodes[4].dir, "--timeout", "1s")
	if code != exitOtherNetwork || !strings.Contains(stderr, "it is not of network") {
		t.Errorf("another network: exit %d: %s", code, stderr)
	}

	for _, n := range nodes {
		n.end(t)
	}
	sameRoots(t, nodes)
}

// sameRoots holds stopped nodes' disks against each other: those that stopped at
// one commit have one root. Then it damages one and wants it seen.
func sameRoots(t *testing.T, nodes []*running) {
	t.Helper()
	roots := make(map[uint64]string)
	for _, n := range nodes {
		var v verified
		if err := json.Unmarshal([]byte(must(t, "snapshot", "verify", "--data-dir", n.dir, "--json")), &v); err != nil || v.Commit == 0 || len(v.Root) != 64 {
			t.Fatalf("%v: %+v", err, v)
		}
		if other := roots[v.Commit]; other != "" && other != v.Root {
			t.Errorf("after commit %d: roots %s and %s", v.Commit, v.Root, other)
		}
		roots[v.Commit] = v.Root
	}
	files, err := filepath.Glob(filepath.Join(nodes[0].dir, "store", "*.sst"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%v: no table in %s", err, nodes[0].dir)
	}
	b, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/3] ^= 1
	write(t, files[0], string(b))
	_, stderr, code := call(t, "snapshot", "verify", "--data-dir", nodes[0].dir)
	if code != exitDamaged || !strings.Contains(stderr, "the disk is damaged") || !strings.Contains(stderr, files[0]) {
		t.Errorf("after damage: exit %d: %s", code, stderr)
	}
}

// TestRunRefuses: what a node needs is said before it starts.
func TestRunRefuses(t *testing.T) {
	home := isolated(t)
	dir := filepath.Join(home, "node")
	for _, tc := range []struct {
		code int
		want string
		args []string
	}{
		{exitFailure, "holdfast join", []string{"run", "--data-dir", dir}},
		{exitFailure, "there is no setting", []string{"run", "--config", write(t, filepath.Join(home, "bad.toml"), "x = 1")}},
		{exitUsage, "unknown flag", []string{"run", "--frobnicate"}},
		{exitUsage, "takes no argument", []string{"run", "now"}},
	} {
		if _, stderr, code := call(t, tc.args...); code != tc.code || !strings.Contains(stderr, tc.want) {
			t.Errorf("%q: exit %d: %s", tc.args, code, stderr)
		}
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("a directory was made")
	}
}
