package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"

	"github.com/holdfast-mesh/holdfast/node"
)

// initNode makes a node's directory and returns it and who the node is.
func initNode(t *testing.T, args ...string) identity {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "node")
	stdout, stderr, code := call(t, append([]string{"init", "--data-dir", dir, "--json"}, args...)...)
	if code != exitOK {
		t.Fatalf("exit %d: %s", code, stderr)
	}
	var who identity
	if err := json.Unmarshal([]byte(stdout), &who); err != nil {
		t.Fatal(err)
	}
	return who
}

func TestInit(t *testing.T) {
	isolated(t)
	who := initNode(t, "--plain")
	key, err := node.LoadKey(who.KeyFile, node.Lock{})
	if err != nil || fmt.Sprintf("%x", key.Public()) != who.Key || !strings.HasPrefix(who.Peer, "12D3KooW") {
		t.Errorf("%v: %+v", err, who)
	}
	before, _ := os.ReadFile(who.KeyFile)
	_, stderr, code := call(t, "init", "--plain", "--data-dir", who.DataDir)
	if code != exitFailure || !strings.Contains(stderr, "there is a key already") {
		t.Errorf("exit %d: %s", code, stderr)
	}
	if after, _ := os.ReadFile(who.KeyFile); !bytes.Equal(before, after) {
		t.Error("the key was overwritten")
	}
	_, stderr, code = call(t, "init", "--data-dir", filepath.Join(t.TempDir(), "x"))
	if code != exitFailure || !strings.Contains(stderr, "no terminal to ask") {
		t.Errorf("without a terminal: exit %d: %s", code, stderr)
	}
	_, stderr, code = call(t, "init", "--plain", "--passphrase-file", "x", "--data-dir", t.TempDir())
	if code != exitUsage || !strings.Contains(stderr, "leave one of them out") {
		t.Errorf("two locks: exit %d: %s", code, stderr)
	}
}

func TestInitEncrypts(t *testing.T) {
	home := isolated(t)
	who := initNode(t, "--identity-file", ageIdentity(t, home))
	if info, err := node.InspectKey(who.KeyFile); err != nil || !info.Encrypted {
		t.Errorf("%v: %+v", err, info)
	}
	c := node.Config{DataDir: who.DataDir, IdentityFile: filepath.Join(home, "identity")}
	if _, err := c.LoadKey(); err != nil {
		t.Error(err)
	}
	t.Setenv("HOLDFAST_PASSPHRASE", "short")
	if _, stderr, code := call(t, "init", "--data-dir", filepath.Join(home, "x")); code != exitFailure || !strings.Contains(stderr, "has 5 bytes: take at least 8") {
		t.Errorf("exit %d: %s", code, stderr)
	}
}

// ageIdentity is what age-keygen makes.
func ageIdentity(t *testing.T, home string) string {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return write(t, filepath.Join(home, "identity"), id.String()+"\n")
}

// TestExampleIsANetwork: what a reader is given to begin with works as it stands.
func TestExampleIsANetwork(t *testing.T) {
	home := isolated(t)
	example, _, code := call(t, "network", "new", "--example")
	if code != exitOK {
		t.Fatalf("exit %d", code)
	}
	file, out := write(t, filepath.Join(home, "network.toml"), example), filepath.Join(home, "network.bundle")
	stdout, stderr, code := call(t, "network", "check", file)
	if code != exitOK || !strings.Contains(stdout, "2 providers: aws+gcp, aws+ovh") {
		t.Fatalf("exit %d: %s\n%s", code, stderr, stdout)
	}
	signer := initNode(t, "--plain")
	stdout, stderr, code = call(t, "network", "new", "--spec", file, "--out", out, "--key-file", signer.KeyFile)
	if code != exitOK || !strings.Contains(stdout, "what halts it") || !strings.Contains(stdout, "nobody the network names") {
		t.Fatalf("exit %d: %s\n%s", code, stderr, stdout)
	}
	b, err := node.ReadBundle(out)
	if err != nil {
		t.Fatal(err)
	}
	g := b.Genesis()
	if len(g.Markets) != 1 || g.Markets[0].Tick.Units != 1 || g.Markets[0].Tick.Decimals != 2 || g.Markets[0].Lot != 10_000 || g.Markets[0].Reference != 6_000_000 || g.Custodians.Threshold != 2 {
		t.Errorf("the genesis is %+v", g)
	}
	if !strings.Contains(stdout, b.ID().String()) {
		t.Errorf("the id is not printed:\n%s", stdout)
	}
	for _, command := range []string{"show", "check"} {
		if stdout, stderr, code = call(t, "network", command, out, "--json"); code != exitOK || !json.Valid([]byte(stdout)) {
			t.Errorf("%s: exit %d: %s", command, code, stderr)
		}
	}
	_, stderr, code = call(t, "network", "new", "--spec", file, "--out", out, "--key-file", signer.KeyFile)
	if code != exitFailure || !strings.Contains(stderr, "--force to replace") {
		t.Errorf("over a bundle: exit %d: %s", code, stderr)
	}
	if _, stderr, code = call(t, "network", "new", "--spec", file, "--out", out, "--force"); code != exitFailure || !strings.Contains(stderr, "run holdfast init") {
		t.Errorf("without a key: exit %d: %s", code, stderr)
	}
}

// edit replaces in the example what must be there.
func edit(t *testing.T, pairs ...string) string {
	t.Helper()
	text := specExample
	for i := 0; i < len(pairs); i += 2 {
		if !strings.Contains(text, pairs[i]) {
			t.Fatalf("the example has no %q", pairs[i])
		}
		text = strings.ReplaceAll(text, pairs[i], pairs[i+1])
	}
	return text
}

func TestNetworkRefused(t *testing.T) {
	home := isolated(t)
	signer := initNode(t, "--plain")
	for _, tc := range []struct {
		name, text string
		code       int
		want       []string
	}{
		{"a provider too heavy", edit(t, `"gcp"`, `"aws"`), exitRefused, []string{`provider "aws" alone could halt the network: it holds 2 of weight 4, at most 1 may be lost`, "Move validators"}},
		{"a region too heavy", edit(t, `"zurich"`, `"paris"`), exitRefused, []string{`region "paris" alone`}},
		{"a misspelt key", edit(t, "weight = 1", "wieght = 1"), exitFailure, []string{`there is no "validators.wieght"`, "line "}},
		{"not TOML", "a = = b", exitFailure, []string{"line 1, column 5"}},
		{"nothing", "", exitFailure, []string{"name"}},
		{"all faults at once", edit(t, `"1111111111111111111111111111111111111111111111111111111111111111"`, `"12D3"`,
			`"0.01" `, `"0.001x" `, `"1000000"`, `"1000000.1234567"`, `asset = "USDT"`, `asset = "EUR"`, `"frankfurt"`, `"Frankfurt"`, `fee_asset = "received"`, `fee_asset = "both"`,
			`/ip4/192.0.2.2/udp/4001/quic-v1`, `/dns/example.org/tcp/1`, `"expire-maker"`, `"never"`),
			exitFailure, []string{`validator 0: "12D3" is no key`, "market BTC-USDT: tick", "balance 0", `region "Frankfurt"`, "neither received nor quote", "without a resolver", "stp"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			file := write(t, filepath.Join(home, "n.toml"), tc.text)
			out := filepath.Join(t.TempDir(), "x.bundle")
			for _, args := range [][]string{{"network", "new", "--spec", file, "--out", out, "--key-file", signer.KeyFile}, {"network", "check", file}} {
				_, stderr, code := call(t, args...)
				if code != tc.code {
					t.Errorf("%q: exit %d: %s", args, code, stderr)
				}
				for _, want := range tc.want {
					if !strings.Contains(stderr, want) {
						t.Errorf("%q: no word of %q in:\n%s", args, want, stderr)
					}
				}
			}
			if _, err := os.Stat(out); err == nil {
				t.Error("a bundle was written")
			}
		})
	}
}

// TestNetworkByAnswers: the same network by answers and by a file.
func TestNetworkByAnswers(t *testing.T) {
	home := isolated(t)
	signer := initNode(t, "--plain")
	var answers strings.Builder
	fmt.Fprintln(&answers, "asked")
	for i, at := range []string{"aws frankfurt", "gcp zurich", "ovh paris", "hetzner helsinki"} {
		provider, region, _ := strings.Cut(at, " ")
		fmt.Fprintf(&answers, "%s\n\n%s\n%s\n\n/ip4/192.0.2.%d/udp/4001/quic-v1\n", strings.Repeat(fmt.Sprint(i+1), 64), provider, region, i+1)
	}
	answers.WriteString("\nbtc\n8\n0.0001\nusdt\nmany\n6\n\n\nbtc-usdt\n\n\n5\n\n\n\n")
	answers.WriteString(strings.Repeat("5", 64) + "\n\n\n" + strings.Repeat("8", 64) + "\n\n\n")
	out := filepath.Join(home, "x.bundle")
	ask := func(answers string) (string, error) {
		root := newRoot()
		var prompts bytes.Buffer
		root.SetArgs([]string{"network", "new", "--out", out, "--key-file", signer.KeyFile})
		root.SetIn(strings.NewReader(answers))
		root.SetOut(&bytes.Buffer{})
		root.SetErr(&prompts)
		err := root.ExecuteContext(t.Context())
		return prompts.String(), err
	}
	prompts, err := ask(answers.String())
	if err != nil {
		t.Fatalf("%v after\n%s", err, prompts)
	}
	if !strings.Contains(prompts, "give a number from 0 to 255") {
		t.Errorf("the wrong number was taken:\n%s", prompts)
	}
	b, err := node.ReadBundle(out)
	if err != nil {
		t.Fatal(err)
	}
	if g := b.Genesis(); g.Name != "asked" || len(g.Assets) != 2 || g.Assets[1].Decimals != 6 || g.Markets[0].TakerPPM != 1000 || g.Governors.Threshold != 1 || b.Validators()[3].Provider != "hetzner" {
		t.Errorf("the genesis is %+v", g)
	}
	os.Remove(out)
	if _, err = ask("half\n" + strings.Repeat("1", 64) + "\n"); err == nil || !strings.Contains(err.Error(), "ended early") {
		t.Errorf("answers that end: %v", err)
	}
	if _, err := os.Stat(out); err == nil {
		t.Error("a bundle was written")
	}
}

func exampleBundle(t *testing.T, pairs ...string) string {
	t.Helper()
	dir := t.TempDir()
	signer := initNode(t, "--plain")
	out := filepath.Join(dir, "network.bundle")
	file := write(t, filepath.Join(dir, "network.toml"), edit(t, pairs...))
	if _, stderr, code := call(t, "network", "new", "--spec", file, "--out", out, "--key-file", signer.KeyFile); code != exitOK {
		t.Fatalf("exit %d: %s", code, stderr)
	}
	return out
}

func TestJoin(t *testing.T) {
	isolated(t)
	bundle, same := exampleBundle(t), exampleBundle(t, "bootstrap = []", `bootstrap = ["/ip4/192.0.2.9/tcp/4001/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN"]`)
	other := exampleBundle(t, `name = "example"`, `name = "other"`)
	dir := filepath.Join(t.TempDir(), "data")
	joined := filepath.Join(dir, "network.bundle")
	stdout, stderr, code := call(t, "join", bundle, "--data-dir", dir)
	if code != exitOK || !strings.Contains(stdout, "start the node with holdfast run") {
		t.Fatalf("exit %d: %s", code, stderr)
	}
	if _, stderr, code = call(t, "join", same, "--data-dir", dir); code != exitOK {
		t.Errorf("new addresses: exit %d: %s", code, stderr)
	}
	if b, err := node.ReadBundle(joined); err != nil || len(b.BootstrapPeers()) != 1 {
		t.Errorf("new addresses: %v", err)
	}
	if _, stderr, code = call(t, "join", other, "--data-dir", dir); code != exitOtherNetwork || !strings.Contains(stderr, "choose another --data-dir") {
		t.Errorf("another network: exit %d: %s", code, stderr)
	}
	if b, err := node.ReadBundle(joined); err != nil || b.Genesis().Name != "example" {
		t.Errorf("another network: %v", err)
	}
	write(t, filepath.Join(dir, "bad"), "hello")
	if _, stderr, code = call(t, "join", filepath.Join(dir, "bad"), "--data-dir", dir); code != exitNoBundle || !strings.Contains(stderr, "not a valid network bundle") {
		t.Errorf("no bundle: exit %d: %s", code, stderr)
	}
	if _, stderr, code = call(t, "join"); code != exitUsage || !strings.Contains(stderr, "takes a network's bundle") {
		t.Errorf("nothing: exit %d: %s", code, stderr)
	}
}

// TestBundleIsASource: a validator's provider and addresses come from the bundle.
func TestBundleIsASource(t *testing.T) {
	isolated(t)
	who := initNode(t, "--plain")
	bundle := exampleBundle(t, strings.Repeat("3", 64), who.Peer)
	if _, stderr, code := call(t, "join", bundle, "--data-dir", who.DataDir); code != exitOK {
		t.Fatalf("exit %d: %s", code, stderr)
	}
	from := "bundle " + filepath.Join(who.DataDir, "network.bundle")
	checkSource(t, settingOf("provider"), []string{"--data-dir", who.DataDir}, "ovh", from)
	checkSource(t, settingOf("announce"), []string{"--data-dir", who.DataDir}, "/ip4/192.0.2.3/udp/4001/quic-v1", from)
	stdout, stderr, code := call(t, "config", "check", "--data-dir", who.DataDir)
	if code != exitOK || !strings.Contains(stdout, "Nothing is wrong") {
		t.Errorf("exit %d: %s", code, stderr)
	}
	if _, stderr, code = call(t, "config", "check", "--data-dir", who.DataDir, "--provider", "aws"); code != exitFailure || !strings.Contains(stderr, `counts this validator in "ovh"`) {
		t.Errorf("exit %d: %s", code, stderr)
	}
}

func FuzzParseSpec(f *testing.F) {
	f.Add([]byte(specExample))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := parseSpec(b)
		if err != nil {
			return
		}
		if g, err := s.build(); err == nil {
			if _, err := g.Encode(); err != nil {
				t.Fatalf("a network that was built cannot be encoded: %v", err)
			}
		}
	})
}
