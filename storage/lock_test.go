package storage

import (
	"bufio"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// holdDirEnv makes the test binary a second process that holds a directory.
const holdDirEnv = "HOLDFAST_TEST_HOLD_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(holdDirEnv); dir != "" {
		os.Exit(holdDir(dir))
	}
	os.Exit(m.Run())
}

// holdDir opens dir, writes to it, says so, and dies when its input ends,
// without closing: as a killed node does.
func holdDir(dir string) int {
	s, err := Open(dir, DefaultOptions())
	if err == nil {
		var b Batch
		b.Set([]byte("held"), []byte("durable"))
		err = s.Write(&b)
	}
	if err != nil {
		os.Stdout.WriteString(err.Error() + "\n")
		return 1
	}
	os.Stdout.WriteString("held\n")
	_, _ = io.Copy(io.Discard, os.Stdin)
	return 0
}

// TestTwoProcesses: the second process on a directory fails at once and names
// it; when the first has died, killed, the directory is free, and what it had
// acknowledged is there.
func TestTwoProcesses(t *testing.T) {
	dir := t.TempDir()
	first := exec.Command(os.Args[0])
	first.Env = append(os.Environ(), holdDirEnv+"="+dir)
	first.Stderr = os.Stderr
	in, err := first.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := first.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "held\n" {
		t.Fatalf("the first process says %q, %v", line, err)
	}

	second := exec.Command(os.Args[0])
	second.Env = first.Env
	said, err := second.CombinedOutput()
	if err == nil || !strings.Contains(string(said), dir) || !strings.Contains(string(said), ErrLocked.Error()) {
		t.Errorf("the second process says %q, %v", said, err)
	}
	if _, err := Open(dir, DefaultOptions()); !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), dir) {
		t.Errorf("this process: %v", err)
	}

	if err := first.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = first.Wait() // killed
	s, err := Open(dir, DefaultOptions())
	if err != nil {
		t.Fatal(err)
	}
	defer mustClose(t, s)
	if v, err := s.Get([]byte("held")); err != nil || string(v) != "durable" {
		t.Errorf("what the killed process wrote: %q, %v", v, err)
	}
	if _, err := Open(dir, DefaultOptions()); !errors.Is(err, ErrLocked) {
		t.Errorf("twice in one process: %v", err)
	}
}

func TestUnusableDirectoryIsNotCalledLocked(t *testing.T) {
	file := t.TempDir() + "/file"
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Open(file+"/store", DefaultOptions())
	if err == nil || errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), file) {
		t.Errorf("a directory under a file: %v", err)
	}
}
