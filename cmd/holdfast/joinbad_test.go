package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/libp2p/go-libp2p/core/crypto"

	"github.com/holdfast-mesh/holdfast/node"
	"github.com/holdfast-mesh/holdfast/node/ledger"
	"github.com/holdfast-mesh/holdfast/p2p"
)

// signedBundle is a bundle as a program that checks nothing would sign it.
func signedBundle(t *testing.T, g *ledger.Genesis, issued int64, more map[string]any) []byte {
	t.Helper()
	raw, err := g.Encode()
	if err != nil {
		t.Fatal(err)
	}
	key := personKey("signer")
	fields := map[string]any{"genesis": raw, "signer": key.Public().(ed25519.PublicKey)}
	if issued != 0 {
		fields["issued_ms"] = issued
	}
	for k, v := range more {
		fields[k] = v
	}
	mode, err := cbor.CoreDetEncOptions().EncMode()
	if err != nil {
		t.Fatal(err)
	}
	unsigned, err := mode.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	fields["signature"] = ed25519.Sign(key, append([]byte("holdfast/bundle/1\n"), unsigned...))
	b, err := mode.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// lopsided is a genesis in which one provider holds half.
func lopsided(t *testing.T, providers ...string) *ledger.Genesis {
	t.Helper()
	g := &ledger.Genesis{Name: "lopsided", Params: ledger.DefaultParams()}
	for i, provider := range providers {
		about, err := node.About{Provider: provider, Region: fmt.Sprint("r", i)}.Encode()
		if err != nil {
			t.Fatal(err)
		}
		g.Committee.Validators = append(g.Committee.Validators,
			ledger.Validator{Key: ledger.AccountOf(personKey(fmt.Sprint("validator", i))), Weight: 1, About: about})
	}
	return g
}

// stranger is the address of a peer that listens, but for another network.
func stranger(t *testing.T, network string) string {
	t.Helper()
	identity, _, err := crypto.GenerateEd25519Key(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := p2p.DefaultConfig()
	c.Identity, c.Network, c.Listen = identity, network, []string{"/ip4/127.0.0.1/udp/0/quic-v1"}
	c.Gossip, c.DHT, c.MDNS, c.NAT = false, false, false, false
	host, err := p2p.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { host.Close() })
	return host.Addrs()[0].String()
}

// TestBadBundles: whatever one may be given instead of a network's bundle is refused
// with a sentence that says what to do, an exit code of its own, and no change.
func TestBadBundles(t *testing.T) {
	home := isolated(t)
	file := func(name string, b []byte) string { return write(t, filepath.Join(home, name), string(b)) }
	now := time.Now().UnixMilli()
	sound := lopsided(t, "aws", "gcp", "ovh", "hetzner")
	fresh := signedBundle(t, sound, now, nil)
	bundle, err := node.DecodeBundle(fresh)
	if err != nil {
		t.Fatal(err)
	}
	good := file("good", fresh)
	forged := []byte(strings.Replace(string(fresh), "hetzner", "hetznar", 1))
	other := lopsided(t, "aws", "gcp", "ovh", "hetzner")
	other.Name = "other"
	otherID, err := other.ID()
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := stranger(t, sound.Name)
	closed, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := closed.LocalAddr().(*net.UDPAddr).Port
	closed.Close()
	nobody := fmt.Sprintf("/ip4/127.0.0.1/udp/%d/quic-v1/p2p/%s", port, node.PeerIDOf(ledger.AccountOf(personKey("nobody"))))

	who := initNode(t, "--plain")
	dir := []string{"--data-dir", who.DataDir}
	if _, stderr, code := call(t, append([]string{"join", good}, dir...)...); code != exitOK {
		t.Fatalf("the good one: exit %d: %s", code, stderr)
	}
	before, err := os.ReadFile(filepath.Join(who.DataDir, "network.bundle"))
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name string
		args []string
		code int
		want []string
	}{
		{"no file", []string{filepath.Join(home, "none")}, exitFailure, []string{"no such file"}},
		{"no bundle", []string{file("text", []byte("hello"))}, exitNoBundle, []string{"not a valid network bundle"}},
		{"an empty file", []string{file("empty", nil)}, exitNoBundle, []string{"not a valid network bundle"}},
		{"cut short", []string{file("cut", fresh[:len(fresh)/2])}, exitNoBundle, []string{"not a valid network bundle"}},
		{"changed after it was signed", []string{file("forged", forged)}, exitNoBundle, []string{"its signature is wrong", "get it again"}},
		{"of a newer holdfast", []string{file("newer", signedBundle(t, sound, now, map[string]any{"colour": "blue"}))}, exitNoBundle, []string{"newer holdfast", "upgrade"}},
		{"of an older holdfast", []string{file("undated", signedBundle(t, sound, 0, nil))}, exitOldBundle, []string{"the same signer signed", "get the newest"}},
		{"a provider above F", []string{file("heavy", signedBundle(t, lopsided(t, "aws", "aws", "gcp", "ovh"), now, nil))}, exitRefused,
			[]string{`provider "aws" alone could halt the network`, "Move validators to another provider"}},
		{"too few validators", []string{file("few", signedBundle(t, lopsided(t, "aws", "gcp", "ovh"), now, nil))}, exitRefused, []string{"at least 4 are needed"}},
		{"of another network than the directory", []string{file("other", signedBundle(t, other, now, nil))}, exitOtherNetwork, []string{"choose another --data-dir"}},
		{"not of the id that was published", []string{good, "--network", otherID.String()}, exitOtherNetwork, []string{"not of " + otherID.String(), "get the bundle from where its id is published"}},
		{"an old one", []string{file("old", signedBundle(t, sound, now-1, nil))}, exitOldBundle, []string{"the same signer signed", "get the newest"}},
		{"an unreachable address", []string{bundle.ID().String(), nobody, "--timeout", "500ms"}, exitUnreachable, []string{"no node of the network answers there", "Try another"}},
		{"a node of another network", []string{otherID.String(), elsewhere}, exitOtherNetwork, []string{"the node at " + elsewhere + " is up, but it is not of network " + otherID.String()}},
		{"an id that is none", []string{"bafybad", nobody}, exitUsage, []string{"CID"}},
		{"an address that is none", []string{bundle.ID().String(), "192.0.2.1:4001"}, exitUsage, []string{"peer address"}},
		{"two ids", []string{bundle.ID().String(), nobody, "--network", otherID.String()}, exitUsage, []string{"--network is for a bundle"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			stdout, stderr, code := call(t, append(append([]string{"join"}, tc.args...), dir...)...)
			if code != tc.code || stdout != "" {
				t.Errorf("exit %d, want %d; stdout %q", code, tc.code, stdout)
			}
			wants(t, stderr, tc.want...)
			if after, err := os.ReadFile(filepath.Join(who.DataDir, "network.bundle")); err != nil || string(after) != string(before) {
				t.Errorf("the bundle that was there has changed: %v", err)
			}
		})
	}
	again := file("again", signedBundle(t, sound, now+1, nil))
	if _, stderr, code := call(t, append([]string{"join", again, "--network", bundle.ID().String()}, dir...)...); code != exitOK {
		t.Errorf("a newer one: exit %d: %s", code, stderr)
	}
}
