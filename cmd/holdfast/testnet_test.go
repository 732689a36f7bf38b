package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-mesh/holdfast/testnet"
)

// TestMain lets this test binary be the program: a testnet starts its nodes, and a
// test starts a testnet, as processes of it.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && (os.Args[1] == "run" || os.Args[1] == "testnet") {
		main()
	}
	os.Exit(m.Run())
}

// eventually asks a condition often, for a time that only a broken machine needs.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(90 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
		time.Sleep(20 * time.Millisecond) // between two looks at a condition
	}
}

// processesOf are the processes whose command line names a directory.
func processesOf(t *testing.T, dir string) (pids []int) {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	if len(all) == 0 {
		t.Skip("there is no /proc to find processes in")
	}
	for _, path := range all {
		line, err := os.ReadFile(path)
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err == nil && pid != os.Getpid() && bytes.Contains(line, []byte(dir)) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// ownTemp gives a test a temporary directory of its own, in which testnets put their
// sockets, so with a short name; other tests run meanwhile.
func ownTemp(t *testing.T) {
	t.Helper()
	dir, err := os.MkdirTemp("", "own")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	t.Setenv("TMPDIR", dir)
}

// noSockets sees that no testnet has left its sockets in the test's temporary directory.
func noSockets(t *testing.T) {
	t.Helper()
	dirs, err := filepath.Glob(filepath.Join(os.TempDir(), "hf*"))
	if err != nil || len(dirs) > 0 {
		t.Errorf("%v are left: %v", dirs, err)
	}
}

// held is a testnet that "up" holds up in this process.
type held struct {
	dir      string
	manifest testnet.Manifest
	end      context.CancelFunc
	code     chan int
}

func holdUp(t *testing.T) *held {
	t.Helper()
	h := &held{dir: filepath.Join(t.TempDir(), "net"), code: make(chan int, 1)}
	ctx, end := context.WithCancel(t.Context())
	h.end = end
	r, w := io.Pipe()
	var stderr bytes.Buffer
	go func() {
		code := run(ctx, []string{"testnet", "up", "--json", "--dir", h.dir}, w, &stderr)
		w.Close()
		h.code <- code
	}()
	t.Cleanup(func() { end(); <-h.code })
	if err := json.NewDecoder(r).Decode(&h.manifest); err != nil {
		code := <-h.code
		h.code <- code
		t.Fatalf("up: exit %d: %s", code, stderr.String())
	}
	go io.Copy(io.Discard, r)
	return h
}

func (h *held) status(t *testing.T) (s testnet.Status) {
	t.Helper()
	stdout, stderr, code := call(t, "testnet", "status", "--json", "--dir", h.dir)
	if code != exitOK {
		t.Fatalf("status: exit %d: %s", code, stderr)
	}
	if err := json.Unmarshal([]byte(stdout), &s); err != nil {
		t.Fatal(err)
	}
	return s
}

func (h *held) do(t *testing.T, args ...string) string {
	t.Helper()
	stdout, stderr, code := call(t, append(append([]string{"testnet"}, args...), "--dir", h.dir)...)
	if code != exitOK {
		t.Fatalf("%q: exit %d: %s", args, code, stderr)
	}
	return stdout
}

// A network comes up, trades, is cut and healed, loses a node and gets it back, and
// goes without a trace.
func TestTestnetUpCutHealDown(t *testing.T) {
	ownTemp(t)
	h := holdUp(t)
	first := h.manifest.Nodes[0]
	gateway := []string{"--api", first.API, "--wallets", filepath.Dir(h.manifest.Faucet.KeyFile)}
	if stdout, stderr, code := call(t, append([]string{"order", "place", "BTC-USDT", "buy", "0.5", "--at", "60000.00"}, gateway...)...); code != exitOK {
		t.Fatalf("the first trade: exit %d: %s%s", code, stdout, stderr)
	}

	h.do(t, "cut", "aws")
	var m testnet.Matrix
	if err := json.Unmarshal([]byte(h.do(t, "matrix", "--json")), &m); err != nil {
		t.Fatal(err)
	}
	if m.Cells[0][1].Heard != 0 || m.Cells[1][0].Heard != 0 || m.Cells[1][2].Heard == 0 {
		t.Errorf("the matrix does not show the cut:\n%s", &m)
	}
	eventually(t, "the node that is cut off says so, the others go on", func() bool {
		s := h.status(t)
		return s.Nodes[0].Answers && !s.Nodes[0].Quorum && s.Nodes[1].Quorum
	})
	if s := h.status(t); !reflect.DeepEqual(s.Islands, [][]int{{1, 2, 3}, {0}}) || len(s.Faults) != 1 {
		t.Errorf("islands %v, faults %v", s.Islands, s.Faults)
	}
	h.do(t, "heal")
	eventually(t, "all have a quorum again", func() bool { return all(h.status(t), func(n testnet.NodeStatus) bool { return n.Quorum && n.Ready }) })

	h.do(t, "kill", "2")
	if s := h.status(t); s.Nodes[2].State != testnet.Dead || s.Nodes[2].Died != "" {
		t.Errorf("the killed node is %+v", s.Nodes[2])
	}
	h.do(t, "pause", "3")
	if s := h.status(t); s.Nodes[3].State != testnet.Paused || s.Nodes[3].Answers {
		t.Errorf("the paused node is %+v", s.Nodes[3])
	}
	if _, stderr, code := call(t, "testnet", "pause", "2", "--dir", h.dir); code != exitFailure || !strings.Contains(stderr, "node 2 is dead") {
		t.Errorf("pausing a dead node: exit %d: %s", code, stderr)
	}
	h.do(t, "heal")
	eventually(t, "all are back", func() bool { return all(h.status(t), func(n testnet.NodeStatus) bool { return n.Quorum && n.Ready }) })

	if _, stderr, code := call(t, "testnet", "up", "--dir", h.dir); code != exitNotStarted || !strings.Contains(stderr, "a network is up") {
		t.Errorf("a second network in the same directory: exit %d: %s", code, stderr)
	}
	if len(h.status(t).Nodes) != 4 {
		t.Error("the refused one disturbed the first")
	}
	h.do(t, "down")
	if code := <-h.code; code != exitOK {
		t.Errorf("up ended with %d", code)
	}
	h.code <- exitOK
	nothingLeft(t, h.dir)
	if _, stderr, code := call(t, "testnet", "status", "--dir", h.dir); code != exitFailure || !strings.Contains(stderr, "holdfast testnet up") {
		t.Errorf("status of nothing: exit %d: %s", code, stderr)
	}
}

func all(s testnet.Status, is func(testnet.NodeStatus) bool) bool {
	return !slices.ContainsFunc(s.Nodes, func(n testnet.NodeStatus) bool { return !is(n) })
}

func nothingLeft(t *testing.T, dir string) {
	t.Helper()
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("%s is left: %v", dir, err)
	}
	if pids := processesOf(t, dir); len(pids) > 0 {
		t.Errorf("processes are left: %v", pids)
	}
	noSockets(t)
}

// Whoever holds the network up may be killed: a paused node ends with it as well.
func TestTestnetNodesEndWithTheirParent(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "net")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	up := exec.Command(self, "testnet", "up", "--json", "--dir", dir)
	out, err := up.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := up.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { up.Process.Kill(); up.Wait() })
	var m testnet.Manifest
	if err := json.NewDecoder(out).Decode(&m); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(filepath.Dir(m.Control)) }) // what a killed process cannot do
	if _, stderr, code := call(t, "testnet", "pause", "1", "--dir", dir); code != exitOK {
		t.Fatal(stderr)
	}
	if n := len(processesOf(t, dir)); n != 5 {
		t.Fatalf("%d processes: the network and four nodes should be", n)
	}
	if err := up.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	up.Wait()
	eventually(t, "no node is left", func() bool { return len(processesOf(t, dir)) == 0 })
	if _, stderr, code := call(t, "testnet", "status", "--dir", dir); code != exitFailure || !strings.Contains(stderr, "has died") {
		t.Errorf("status of a dead network: exit %d: %s", code, stderr)
	}
}

// smallRun is a short cut under load; its limits are for a machine that is busy.
var smallRun = filepath.Join("..", "..", "testnet", "testdata", "small.toml")

func TestTestnetRunIsJudged(t *testing.T) {
	ownTemp(t)
	out := t.TempDir()
	stdout, stderr, code := call(t, "testnet", "run", smallRun, "--out", out, "--seed", "3", "--json")
	if code != exitOK {
		t.Fatalf("exit %d: %s%s", code, stdout, stderr)
	}
	var v map[string]any
	if err := json.Unmarshal([]byte(stdout), &v); err != nil {
		t.Fatal(err)
	}
	keys := slices.Sorted(func(yield func(string) bool) {
		for k := range v {
			if !yield(k) {
				return
			}
		}
	})
	if want := []string{"max_gap_ms", "ops", "promises", "recovery_ms", "report", "scenario", "seed", "verdict"}; !slices.Equal(keys, want) {
		t.Errorf("the object has %v, not %v", keys, want)
	}
	if v["verdict"] != "held" || v["seed"] != 3.0 || v["scenario"] != "small" {
		t.Errorf("verdict %v, seed %v, scenario %v", v["verdict"], v["seed"], v["scenario"])
	}
	dir := filepath.Dir(v["report"].(string))
	nothingLeft(t, filepath.Join(dir, "nodes"))
	if stdout, _, code := call(t, "testnet", "check", dir); code != exitOK || !strings.Contains(stdout, "small, seed 3: held") {
		t.Errorf("judged again: exit %d: %s", code, stdout)
	}
}

// A run whose cut is noted and not done proves nothing, and says so.
func TestTestnetRunWithoutItsFaultIsInconclusive(t *testing.T) {
	s, err := testnet.LoadScenario(smallRun)
	if err != nil {
		t.Fatal(err)
	}
	s = s.Scaled(0.6, 1)
	v, err := testnet.Run(t.Context(), s, testnet.Options{Dir: t.TempDir(), Harmless: true})
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(v.Promises, func(p testnet.Promise) bool { return p.Name == "faults that did not bite" })
	if v.Verdict == testnet.Held || v.Promises[i].Outcome != testnet.Inconclusive {
		t.Errorf("the verdict is %s, the faults are %+v", v.Verdict, v.Promises[i])
	}
}

// An interrupted run leaves no process and no socket.
func TestTestnetRunInterrupted(t *testing.T) {
	ownTemp(t)
	out := t.TempDir()
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	ended := make(chan int, 1)
	go func() { ended <- run(ctx, []string{"testnet", "run", smallRun, "--out", out}, io.Discard, io.Discard) }()
	eventually(t, "operations are recorded", func() bool {
		found, _ := filepath.Glob(filepath.Join(out, "*", "manifest.json"))
		return len(found) == 1
	})
	interrupt()
	if code := <-ended; code == exitOK {
		t.Error("an interrupted run ended as if all promises had held")
	}
	if pids := processesOf(t, out); len(pids) > 0 {
		t.Errorf("processes are left: %v", pids)
	}
	noSockets(t)
}

func TestTestnetWrongCommandLine(t *testing.T) {
	for _, tc := range []struct {
		args []string
		want string
	}{
		{[]string{"up", "--providers", "AWS:1"}, "lower-case"},
		{[]string{"up", "--providers", "aws:x"}, "no number"},
		{[]string{"run", "cloud-cat"}, "the scenarios are"},
		{[]string{"run", "cloud-cut", "--time-scale", "0"}, "above 0"},
		{[]string{"slow", "aws", "gcp", "80"}, "such as 80ms"},
		{[]string{"loss", "aws", "gcp", "200%"}, "such as 5%"},
		{[]string{"cut"}, "takes NODES"},
		{[]string{"generate", "-n", "0"}, "choose 1 to"},
	} {
		_, stderr, code := call(t, append([]string{"testnet"}, tc.args...)...)
		if code != exitUsage || !strings.Contains(stderr, tc.want) {
			t.Errorf("%q: exit %d: %s", tc.args, code, stderr)
		}
	}
}
