package node

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// manager is a service manager's socket, and what it hears.
func manager(t *testing.T) <-chan string {
	t.Helper()
	dir, err := os.MkdirTemp("", "nt") // a socket's name must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(notifySocketEnv, path)
	heard := make(chan string, 1000)
	read := make(chan struct{})
	go func() {
		defer close(read)
		for b := make([]byte, 4096); ; {
			n, err := conn.Read(b)
			if err != nil {
				return
			}
			heard <- string(b[:n])
		}
	}()
	t.Cleanup(func() { conn.Close(); <-read })
	return heard
}

// hears waits for a message that has this line.
func hears(t *testing.T, heard <-chan string, line string) {
	t.Helper()
	limit := time.After(time.Minute)
	for {
		select {
		case message := <-heard:
			for got := range strings.SplitSeq(message, "\n") {
				if strings.HasPrefix(got, line) {
					return
				}
			}
		case <-limit:
			t.Fatalf("the manager has not heard %q", line)
		}
	}
}

// TestNotify: the manager hears that the node is up, that its loop turns, nothing of
// that while it is stuck, and that it stops.
func TestNotify(t *testing.T) {
	heard := manager(t)
	t.Setenv(watchdogEnv, "60000") // so every 20 ms
	t.Setenv(watchdogPIDEnv, "")
	notifier, err := NotifierFromEnvironment(discard)
	if err != nil {
		t.Fatal(err)
	}
	n := startAlone(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	watched := make(chan struct{})
	go func() { notifier.Watch(ctx, n); close(watched) }()
	hears(t, heard, notifyReady)
	hears(t, heard, notifyAlive)
	hears(t, heard, notifyStatus+"is catching up")

	n.mu.Lock() // the loop cannot step any more
	for turned := n.turns.Load(); ; turned = n.turns.Load() {
		time.Sleep(50 * time.Millisecond) // for what was under way
		if n.turns.Load() == turned {
			break
		}
	}
	for len(heard) > 0 {
		<-heard
	}
	time.Sleep(300 * time.Millisecond) // five times the manager's patience
	stuck := 0
	for len(heard) > 0 {
		if strings.Contains(<-heard, notifyAlive) {
			stuck++
		}
	}
	n.mu.Unlock()
	if stuck > 1 { // one may have been on its way
		t.Errorf("a stuck loop was said to turn %d times", stuck)
	}
	hears(t, heard, notifyAlive)
	cancel()
	hears(t, heard, notifyStopping)
	<-watched
}

// startAlone runs an observer whose network is away.
func startAlone(t *testing.T) *Node {
	t.Helper()
	cfg := DefaultConfig()
	cfg.DataDir, cfg.APIListen = t.TempDir(), "127.0.0.1:0"
	cfg.Listen = []string{"/ip4/127.0.0.1/udp/0/quic-v1"}
	cfg.MDNS, cfg.NAT, cfg.DHT = false, false, false
	if err := testBundle(t).WriteBundle(cfg.BundlePath()); err != nil {
		t.Fatal(err)
	}
	if _, err := CreateKey(cfg.KeyPath(), Lock{Plain: true}); err != nil {
		t.Fatal(err)
	}
	n, err := Open(cfg, discard)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- n.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return n
}

func TestNotifierFromEnvironment(t *testing.T) {
	for _, tc := range []struct {
		socket, usec, pid string
		watchdog          time.Duration
		want              string
	}{
		{"", "", "", 0, ""},
		{"/run/notify", "", "", 0, ""},
		{"@abstract", "30000000", "", 30 * time.Second, ""},
		{"/run/notify", "30000000", "1", 0, ""}, // of another process
		{"relative", "", "", 0, "must be the path"},
		{"/run/notify", "soon", "", 0, "microseconds"},
		{"/run/notify", "-1", "", 0, "microseconds"},
	} {
		t.Setenv(notifySocketEnv, tc.socket)
		t.Setenv(watchdogEnv, tc.usec)
		t.Setenv(watchdogPIDEnv, tc.pid)
		n, err := NotifierFromEnvironment(discard)
		if tc.want != "" {
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%+v: %v", tc, err)
			}
			continue
		}
		if err != nil || n.watchdog != tc.watchdog {
			t.Errorf("%+v: %v: %+v", tc, err, n)
		}
	}
	// A manager that has gone is no fault of the node's.
	(&Notifier{socket: "/nonexistent/notify", log: discard}).tell(notifyReady)
	(*Notifier)(nil).tell(notifyReady)
}
