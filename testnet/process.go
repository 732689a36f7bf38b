package testnet

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/holdfast-mesh/holdfast/testnet/faults"
)

// State is what a node's process does.
type State string

// The states of a process.
const (
	Running State = "running"
	Paused  State = "paused" // stopped by a signal; its peers hear nothing
	Dead    State = "dead"
)

// drainMax is how long a node may take to end when it is asked to: its own bound is
// five seconds, and an engine that is busy takes a while to remove a container. Then it
// is killed.
const drainMax = 30 * time.Second

// process is one node: its files, its addresses, and the process that runs, if one
// does: the node itself, or what holds its container. Any number of goroutines may use
// it, but start by one at a time.
type process struct {
	Spot
	placed
	dir    string // its data, or what it begins with
	keeper *keeper

	mu     sync.Mutex // guards what is below
	cmd    *exec.Cmd  // nil: dead
	stdin  io.Closer  // the node ends when it closes
	state  State
	exited chan struct{} // closed when cmd has ended
	lives  int           // processes there have been
	ending bool          // we asked for the end
	died   error         // why the last process ended without being asked
}

// logPath is the file of everything the node's processes print.
func (p *process) logPath() string { return filepath.Join(p.dir, logName) }

const logName = "log"

// start runs the node; more are arguments for this life alone. It does not wait for
// the node to be ready.
func (p *process) start(begin faults.Start, more ...string) error {
	if state, _ := p.now(); state != Dead {
		return fmt.Errorf("testnet: node %d runs already", p.Number)
	}
	cmd, err := p.body.command(begin, more)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	log, err := os.OpenFile(p.logPath(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("testnet: node %d: %w", p.Number, err)
	}
	defer log.Close() // the process has its own
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = endWithParent()
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return fmt.Errorf("testnet: node %d: %w", p.Number, err)
	}
	if err := p.keeper.do(cmd.Start); err != nil {
		return fmt.Errorf("testnet: starting node %d: %w", p.Number, err)
	}
	p.cmd, p.stdin, p.state, p.exited = cmd, stdin, Running, make(chan struct{})
	p.lives, p.ending, p.died = p.lives+1, false, nil
	go p.await(cmd, p.exited)
	return nil
}

// await notes the end of a process. The goroutine ends with it.
func (p *process) await(cmd *exec.Cmd, exited chan struct{}) {
	err := cmd.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stdin.Close()
	p.cmd, p.state = nil, Dead
	if !p.ending {
		p.died = fmt.Errorf("testnet: node %d ended by itself (%v); the end of %s:\n%s", p.Number, cmpErr(err), p.logPath(), p.logTail())
	}
	close(exited)
}

func cmpErr(err error) string {
	if err == nil {
		return "exit 0"
	}
	return err.Error()
}

// logTail is the last lines of the log.
func (p *process) logTail() string {
	const most = 2 << 10
	b, err := os.ReadFile(p.logPath())
	if err != nil {
		return err.Error()
	}
	if len(b) > most {
		b = b[len(b)-most:]
		if at := bytes.IndexByte(b, '\n'); at >= 0 {
			b = b[at+1:]
		}
	}
	return strings.TrimSpace(string(b))
}

// signal sends a signal to the running process and notes the state it leads to.
func (p *process) signal(s syscall.Signal, from, to State) error {
	p.mu.Lock()
	cmd, state := p.cmd, p.state
	p.mu.Unlock()
	if state != from {
		return fmt.Errorf("testnet: node %d is %s, not %s", p.Number, state, from)
	}
	if err := p.body.signal(cmd, s); err != nil {
		return fmt.Errorf("testnet: node %d: %w", p.Number, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == cmd { // it has not ended meanwhile
		p.state = to
	}
	return nil
}

// pause returns when the node stands still.
func (p *process) pause() error  { return p.signal(syscall.SIGSTOP, Running, Paused) }
func (p *process) resume() error { return p.signal(syscall.SIGCONT, Paused, Running) }

// kill ends the process at once, as a power cut does, and waits for its end.
func (p *process) kill() error { return p.end(syscall.SIGKILL, drainMax) }

// stop asks the process to end in its own time, and kills it if it takes too long.
func (p *process) stop() error { return p.end(syscall.SIGTERM, drainMax) }

func (p *process) end(s syscall.Signal, within time.Duration) error {
	p.mu.Lock()
	if p.cmd == nil {
		p.mu.Unlock()
		return nil
	}
	life, exited, paused := p.cmd, p.exited, p.state == Paused
	p.ending = true
	p.mu.Unlock()
	if paused && s != syscall.SIGKILL {
		_ = p.body.signal(life, syscall.SIGCONT) // it may have ended meanwhile: the wait tells
	}
	err := p.body.signal(life, s)
	if err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("testnet: node %d: %w", p.Number, err)
	}
	select {
	case <-exited:
		return nil
	case <-time.After(within):
	}
	if err := p.body.signal(life, syscall.SIGKILL); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("testnet: node %d: %w", p.Number, err)
	}
	<-exited
	return fmt.Errorf("testnet: node %d did not end within %v and was killed", p.Number, within)
}

// now returns the state, and why the node died if nobody asked it to.
func (p *process) now() (State, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state == "" {
		return Dead, p.died
	}
	return p.state, p.died
}

// pid is the running process's, or 0. Of a container it is that of what holds it.
func (p *process) pid() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return 0
	}
	return p.cmd.Process.Pid
}

// writeJSON writes a file whole or not at all.
func writeJSON(path string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("testnet: %w", err)
	}
	if err := os.WriteFile(path+".new", append(b, '\n'), 0o600); err != nil {
		return fmt.Errorf("testnet: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("testnet: %w", err)
	}
	return nil
}

// readJSON reads what writeJSON wrote.
func readJSON(path string, v any) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("testnet: %w", err)
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("testnet: %s is damaged: %w", path, err)
	}
	return nil
}
