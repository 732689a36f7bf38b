package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// readmeBlock is the commands of the README's code block below the line
// <!-- name -->: what a reader is told to type.
func readmeBlock(t *testing.T, name string) string { return docBlock(t, "README.md", name) }

// docBlock is the same of any page.
func docBlock(t *testing.T, page, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../..", page))
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)<!-- " + name + " -->\n```sh\n(.*?)```").FindSubmatch(text)
	if block == nil {
		t.Fatalf("%s has no code block below <!-- %s -->", page, name)
	}
	return string(block[1])
}

// typed runs commands in a shell in dir, as a reader does in a terminal. What it is
// in the middle of when ctx ends is interrupted, as by Ctrl-C.
func typed(ctx context.Context, dir, commands string) *exec.Cmd {
	shell := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", commands)
	shell.Dir = dir
	for _, v := range os.Environ() { // what the machine's owner has set for a network of his own
		if !strings.HasPrefix(v, envPrefix) {
			shell.Env = append(shell.Env, v)
		}
	}
	shell.Env = append(shell.Env, "TMPDIR="+dir)
	shell.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	shell.Cancel = func() error { return syscall.Kill(-shell.Process.Pid, syscall.SIGINT) }
	shell.WaitDelay = time.Minute
	return shell
}

// bringUp builds the program in dir and types the README's line that brings a network
// up. down takes it down and waits for that.
func bringUp(t *testing.T, dir string) (down func()) {
	t.Helper()
	build := exec.Command("go", "build", "-o", filepath.Join(dir, "holdfast"), ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	ctx, interrupt := context.WithCancel(t.Context())
	var log bytes.Buffer
	network := typed(ctx, dir, readmeBlock(t, "up"))
	network.Stdout, network.Stderr = &log, &log
	if err := network.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- network.Wait(); close(ended) }()
	down = func() { interrupt(); <-ended }
	t.Cleanup(down)
	for up := false; !up; {
		select {
		case err := <-ended:
			t.Fatalf("the network ended: %v\n%s", err, log.String())
		case <-time.After(200 * time.Millisecond):
			up = typed(ctx, dir, "./holdfast testnet env").Run() == nil
		}
	}
	return down
}

// TestReadme types the README's lines: a network comes up, two wallets trade through
// two of its nodes, a third shows the trade, and a cut is not noticed. Nothing is
// left behind.
func TestReadme(t *testing.T) {
	if testing.Short() {
		t.Skip("it starts a network of processes")
	}
	dir := t.TempDir()
	down := bringUp(t, dir)
	ctx := t.Context()
	trade := readmeBlock(t, "trade")
	out, err := typed(ctx, dir, trade+readmeBlock(t, "cut")).CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	trades, _ := typed(ctx, dir, `eval "$(./holdfast testnet env)"; ./holdfast market trades BTC-USDT --api "$NODE2" --json`).CombinedOutput()
	if !regexp.MustCompile(`"price": "60000.00"`).Match(trades) || !regexp.MustCompile(`"quantity": "0.5000"`).Match(trades) {
		t.Errorf("node 2 does not show the trade:\n%s\nthe lines printed:\n%s", trades, out)
	}
	down()
	if left, err := exec.Command("pgrep", "-f", filepath.Join(dir, "holdfast")).Output(); err == nil {
		t.Errorf("processes are left: %s", left)
	}
}
