package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/holdfast-mesh/holdfast/node"
)

// specAlone is the example's description without validators.
func specAlone(t *testing.T) string {
	t.Helper()
	alone := regexp.MustCompile(`(?s)\[\[validators\]\].*?\n\n`).ReplaceAllString(specExample, "")
	if strings.Contains(alone, "[[validators]]") || !strings.Contains(alone, "[[markets]]") {
		t.Fatal("the example was not cut as it should be")
	}
	return alone
}

// TestNetworkOfManyOperators: each applies, two make the network independently, and
// all find the same id; whoever changes the committee is found out.
func TestNetworkOfManyOperators(t *testing.T) {
	home := isolated(t)
	spec := write(t, filepath.Join(home, "network.toml"), specAlone(t))
	dir := filepath.Join(home, "applications")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	var operators []identity
	providers := []string{"aws", "gcp", "ovh", "hetzner", "azure"}
	for i, provider := range providers {
		who := initNode(t, "--plain")
		operators = append(operators, who)
		out := filepath.Join(dir, provider+node.ApplicationSuffix)
		stdout := must(t, "network", "apply", "--data-dir", who.DataDir, "--name", "example", "--provider", provider, "--region", fmt.Sprint("region", i),
			"--operator", provider+".example", "--addr", fmt.Sprintf("/ip4/192.0.2.%d/udp/4001/quic-v1", i+1), "--out", out)
		wants(t, stdout, who.Peer, "Send "+out)
		wants(t, must(t, "network", "show", out), who.Peer, provider+".example")
	}
	id := func(args ...string) string {
		t.Helper()
		var v networkView
		if err := json.Unmarshal([]byte(must(t, append(args, "--json")...)), &v); err != nil || v.Network == "" || len(v.Validators) != len(providers) {
			t.Fatalf("%q: %v: %+v", args, err, v)
		}
		return v.Network
	}
	first, second := filepath.Join(home, "first.bundle"), filepath.Join(home, "second.bundle")
	want := id("network", "new", "--spec", spec, "--applications", dir, "--key-file", operators[0].KeyFile, "--out", first)
	for _, args := range [][]string{
		{"network", "new", "--spec", spec, "--applications", dir, "--key-file", operators[1].KeyFile, "--out", second},
		{"network", "check", first, "--applications", dir},
		{"network", "check", second},
		{"network", "check", spec, "--applications", dir},
		{"network", "show", first},
	} {
		if got := id(args...); got != want {
			t.Errorf("%q: the id is %s, want %s", args, got, want)
		}
	}
	wants(t, must(t, "network", "check", first), "network "+want, "2 providers: ")

	// An application that comes later is another network; the bundle is not of it.
	late := initNode(t, "--plain")
	must(t, "network", "apply", "--data-dir", late.DataDir, "--name", "example", "--provider", "upcloud", "--region", "oslo", "--out", filepath.Join(dir, "late.application"))
	if err := os.Remove(filepath.Join(dir, "aws.application")); err != nil {
		t.Fatal(err)
	}
	must(t, "network", "apply", "--data-dir", operators[1].DataDir, "--name", "example", "--provider", "gcp", "--region", "moon", "--out", filepath.Join(home, "moved"))
	if err := os.Rename(filepath.Join(home, "moved"), filepath.Join(dir, "gcp.application")); err != nil {
		t.Fatal(err)
	}
	_, stderr, code := call(t, "network", "check", first, "--applications", dir)
	if code != exitFailure {
		t.Errorf("exit %d", code)
	}
	wants(t, stderr, late.Peer+" has applied and is not in the bundle", operators[0].Peer+" is in the bundle and has not applied",
		operators[1].Peer+" is in the bundle with other words", "do not join it")
}

func TestApplicationsRefused(t *testing.T) {
	home := isolated(t)
	spec := write(t, filepath.Join(home, "network.toml"), specAlone(t))
	who := initNode(t, "--plain")
	out := filepath.Join(home, "x.bundle")
	ours := filepath.Join(home, "ours.application")
	apply := []string{"network", "apply", "--data-dir", who.DataDir, "--provider", "aws", "--region", "frankfurt", "--out", ours}
	must(t, append(apply, "--name", "example")...)
	raw, err := os.ReadFile(ours)
	if err != nil {
		t.Fatal(err)
	}
	// directory makes one with these files in it.
	directory := func(files map[string]string) string {
		dir := t.TempDir()
		for name, content := range files {
			write(t, filepath.Join(dir, name), content)
		}
		return dir
	}
	forged := strings.Replace(string(raw), "frankfurt", "frankfurd", 1)
	for _, tc := range []struct {
		name string
		args []string
		code int
		want string
	}{
		{"no name", apply, exitUsage, "--name is missing"},
		{"a bad provider", []string{"network", "apply", "--data-dir", who.DataDir, "--name", "example", "--provider", "AWS", "--region", "x"}, exitUsage, `provider "AWS"`},
		{"over another", append(apply, "--name", "example"), exitFailure, "is there already"},
		{"no key", []string{"network", "apply", "--data-dir", t.TempDir(), "--name", "example", "--provider", "aws", "--region", "x"}, exitFailure, "run holdfast init first"},
		{"a forged one", []string{"network", "new", "--spec", spec, "--out", out, "--key-file", who.KeyFile, "--applications", directory(map[string]string{"a.application": forged})}, exitFailure, "its signature is wrong"},
		{"a duplicate", []string{"network", "new", "--spec", spec, "--out", out, "--key-file", who.KeyFile, "--applications", directory(map[string]string{"a.application": string(raw), "b.application": string(raw)})}, exitFailure, "keep the newer one"},
		{"too few", []string{"network", "new", "--spec", spec, "--out", out, "--key-file", who.KeyFile, "--applications", directory(map[string]string{"a.application": string(raw)})}, exitRefused, "at least 4 are needed"},
		{"no directory", []string{"network", "check", spec, "--applications", filepath.Join(home, "none")}, exitFailure, "no such file"},
		{"validators of both kinds", []string{"network", "check", write(t, filepath.Join(home, "both.toml"), specExample), "--applications", directory(map[string]string{"a.application": string(raw)})}, exitFailure, "take [[validators]] out"},
		{"a forged one, shown", []string{"network", "show", write(t, filepath.Join(home, "f.application"), forged)}, exitFailure, "its signature is wrong"},
	} {
		_, stderr, code := call(t, tc.args...)
		if code != tc.code || !strings.Contains(stderr, tc.want) {
			t.Errorf("%s: exit %d, want %d with %q: %s", tc.name, code, tc.code, tc.want, stderr)
		}
	}
	if _, err := os.Stat(out); err == nil {
		t.Error("a bundle was written")
	}
}
