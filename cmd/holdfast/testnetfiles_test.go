package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-mesh/holdfast/node"
)

func TestTestnetFilesAreThoseThatComposeExpects(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "network")
	args := []string{"testnet", "files", "--dir", dir, "--subnets", "10.99", "--providers", "aws:2,gcp:2,azure:2,hetzner:2"}
	first := must(t, args...)
	bundle, err := node.ReadBundle(filepath.Join(dir, "network.bundle"))
	if err != nil {
		t.Fatal(err)
	}
	wants(t, squeeze(first), bundle.ID().String())
	compose, err := os.ReadFile(filepath.Join("..", "..", "testnet", "compose", "compose.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	text := strings.ReplaceAll(string(compose), "${HOLDFAST_SUBNETS:-10.213}", "10.99")
	addresses := 0
	for i, v := range bundle.Validators() {
		for _, a := range v.Addrs {
			ip, _, _ := strings.Cut(strings.TrimPrefix(a, "/ip4/"), "/")
			if addresses++; !strings.Contains(text, `"`+ip+`"`) {
				t.Errorf("validator %d is at %s, which compose.yaml gives to nobody", i, ip)
			}
		}
	}
	if want := 8 * 4; addresses != want {
		t.Errorf("%d addresses, not %d", addresses, want)
	}
	for _, name := range []string{"aws-1", "aws-2", "hetzner-2"} {
		if _, err := os.Stat(filepath.Join(dir, name, "node.key")); err != nil {
			t.Error(err)
		}
		wants(t, text, name+":/network/"+name)
	}
	if again := must(t, args...); again != first {
		t.Errorf("a second time it is another network: %s", again)
	}

	must(t, "testnet", "files", "--dir", dir, "--lose", "aws-2")
	if _, err := os.Stat(filepath.Join(dir, "aws-2", "store")); !os.IsNotExist(err) {
		t.Errorf("the store is still there: %v", err)
	}
	for _, wrong := range [][]string{{"--subnets", "10"}, {"--subnets", "10.300"}, {"--owner", "root"}, {"--providers", "aws:x"}} {
		if _, stderr, code := call(t, append([]string{"testnet", "files", "--dir", t.TempDir()}, wrong...)...); code != exitUsage {
			t.Errorf("%q: exit %d: %s", wrong, code, stderr)
		}
	}
}
