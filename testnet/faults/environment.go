package faults

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"
)

// Environment is the variable by which a testnet tells a node where to listen for
// faults: the path of a unix socket. A node of a real network never has it.
const Environment = "HOLDFAST_TESTNET_FAULTS"

// Start is what holds from a process's first packet on, in the file StartPath: a
// node that starts during a cut starts inside it.
type Start struct {
	Seed  uint64 `json:"seed"`
	Rules Table  `json:"rules"`
}

// StartPath is the file beside the socket that FromEnvironment reads.
func StartPath(socketPath string) string { return socketPath + ".start" }

// FromEnvironment returns how to make the sockets under QUIC: nil, for the usual
// way, unless a testnet started this process. Call closeAll when the sockets are
// closed. In a testnet's process it also watches standard input, which the testnet
// holds open: when it closes, nobody is there to end this process any more, and it
// gets the signal to end.
func FromEnvironment() (listen func(network string, addr *net.UDPAddr) (net.PacketConn, error), closeAll func() error, err error) {
	path := os.Getenv(Environment)
	if path == "" {
		return nil, func() error { return nil }, nil
	}
	start, err := readStart(StartPath(path))
	if err != nil {
		return nil, nil, err
	}
	f := New(start.Seed)
	if err := f.Set(start.Rules); err != nil {
		return nil, nil, err
	}
	s, err := Listen(path, f)
	if err != nil {
		return nil, nil, err
	}
	var over atomic.Bool
	go endWithInput(os.Stdin, &over)
	return f.ListenUDP, func() error { over.Store(true); return s.Close() }, nil
}

// endWithInput ends when the input closes, and with it this process, unless it is
// over anyway.
func endWithInput(input io.Reader, over *atomic.Bool) {
	_, _ = io.Copy(io.Discard, input) // that it ends counts, not how
	if self, err := os.FindProcess(os.Getpid()); err == nil && !over.Load() {
		_ = self.Signal(syscall.SIGTERM)
	}
}

// readStart reads the file, or nothing if there is none.
func readStart(path string) (s Start, err error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return s, fmt.Errorf("faults: %w", err)
	}
	if err := json.Unmarshal(b, &s); err != nil {
		return s, fmt.Errorf("faults: %s does not say how to start: %w", path, err)
	}
	return s, nil
}
