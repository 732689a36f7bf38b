package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-mesh/holdfast/node"
	"github.com/holdfast-mesh/holdfast/testnet"
)

// TestJoinPage types the lines of docs/join.md. A local network stands for the public
// one: an observer joins it from nothing, is given money by its faucet over the mesh,
// and trades.
func TestJoinPage(t *testing.T) {
	if testing.Short() {
		t.Skip("it starts a network of processes")
	}
	dir, err := os.MkdirTemp("", "jn") // the desks' sockets must have short names
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	bringUp(t, dir)
	page := func(name string) string { return docBlock(t, "docs/join.md", name) }
	var env testnetEnv
	out, err := typed(t.Context(), dir, "./holdfast testnet env --json").Output()
	if err == nil {
		err = json.Unmarshal(out, &env)
	}
	if err != nil {
		t.Fatal(err)
	}
	bundle, err := node.ReadBundle(env.Bundle)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := testnet.ReadManifest(filepath.Dir(env.Bundle))
	if err != nil {
		t.Fatal(err)
	}
	if err := bundle.WriteBundle(filepath.Join(dir, "network.bundle")); err != nil {
		t.Fatal(err)
	}
	// What a reader has: a home, free ports, what the network's makers publish.
	home := filepath.Join(dir, "home")
	if err := os.Mkdir(home, 0o700); err != nil {
		t.Fatal(err)
	}
	member := bundle.Validators()[1]
	with := func(ctx context.Context, commands string, more ...string) *exec.Cmd {
		shell := typed(ctx, dir, commands)
		shell.Env = append(append(shell.Env, "HOME="+home, "NETWORK="+bundle.ID().String(),
			"ADDRESS="+member.Addrs[0]+"/p2p/"+member.PeerID().String(), envPrefix+"PASSPHRASE=correct horse"), more...)
		return shell
	}
	api := fmt.Sprintf("127.0.0.1:%d", freePort(t, "tcp"))
	ours := []string{envPrefix + "API=http://" + api, envPrefix + "API_LISTEN=" + api, envPrefix + "LISTEN=" + fmt.Sprintf("/ip4/127.0.0.1/udp/%d/quic-v1", freePort(t, "udp"))}
	say := func(name string, more ...string) string {
		t.Helper()
		out, err := with(t.Context(), page(name), more...).CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", name, err, out)
		}
		return string(out)
	}
	// goes runs what does not end by itself until the test does.
	goes := func(commands string, more ...string) *bytes.Buffer {
		t.Helper()
		ctx, interrupt := context.WithCancel(context.Background())
		shell := with(ctx, commands, more...)
		var log bytes.Buffer
		shell.Stdout, shell.Stderr = &log, &log
		if err := shell.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			interrupt()
			shell.Wait()
			if t.Failed() {
				t.Logf("%s\n%s", commands, log.String())
			}
		})
		return &log
	}
	goes(page("faucet"), envPrefix+"WALLETS="+env.Wallets, envPrefix+"API="+env.Nodes[0], envPrefix+"DATA_DIR="+manifest.Nodes[0].Dir)

	began := time.Now()
	say("init", ours...)
	wants(t, say("join", ours...), bundle.ID().String(), "start the node with holdfast run")
	say("address", ours...)
	goes(page("run"), ours...)
	synced := say("synced", ours...)
	t.Logf("from nothing to a synced observer: %v", time.Since(began).Round(time.Millisecond))
	wants(t, synced, "The node is well.", "observer", bundle.ID().String())
	eventually(t, "the observer finds the faucet", func() bool {
		return with(t.Context(), "./holdfast faucet show", ours...).Run() == nil
	})
	money := squeeze(say("money", ours...))
	wants(t, money, "1000 USDT and 0.01 BTC, to an account once in 24h0m0s", "USDT 1000 0", "order", "NEW")
	refused, err := with(t.Context(), "./holdfast faucet ask me", ours...).CombinedOutput()
	if err == nil || !strings.Contains(string(refused), "ACCOUNT_LIMIT") {
		t.Errorf("asking again: %v\n%s", err, refused)
	}
	wants(t, say("apply"), "first.application", `to be a validator of "example"`)
}
