package testnet

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/holdfast-mesh/holdfast/testnet/faults"
)

// dockerBody is a node as containers: one for each life, on a volume that all have.
type dockerBody struct {
	docker    *docker
	number    int
	dir       string // on this machine: its key, its bundle, its first store
	published string // ip:port of its API, on this machine

	mu    sync.Mutex // guards what is below
	lives int
	empty bool // the volume is new: the store goes into it too
	line  *filterLine
}

// dockerShares is a container's weight beside what else runs on the machine. By default it
// is that of a single thread, and a machine that compiles starves the nodes.
const dockerShares = "8192"

// dockerUser is who a node is in its container; see the Dockerfile.
const dockerUser = 65532

// name is of the container of the node's newest life.
func (b *dockerBody) name() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return fmt.Sprintf("holdfast-%s-%d-%d", b.docker.id, b.number, b.lives)
}

func (b *dockerBody) volume() string { return fmt.Sprintf("holdfast-%s-%d", b.docker.id, b.number) }

func (b *dockerBody) makeVolume(ctx context.Context) error {
	_, err := engine(ctx, slices.Concat([]string{"volume", "create"}, b.docker.labels(), []string{b.volume()})...)
	if err != nil {
		return fmt.Errorf("testnet: node %d: %w", b.number, err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.empty = b.lives == 0
	return nil
}

// command makes the container of the node's next life, on the networks it is on now,
// and returns what starts it.
func (b *dockerBody) command(_ faults.Start, more []string) (*exec.Cmd, error) {
	ctx, cancel := context.WithTimeout(context.Background(), dockerMax)
	defer cancel()
	b.mu.Lock()
	b.lives++
	withStore := b.empty
	b.empty = false
	b.mu.Unlock()
	if err := b.make(ctx, withStore, more); err != nil {
		return nil, fmt.Errorf("testnet: the container of node %d: %w", b.number, err)
	}
	return exec.Command("docker", "start", "--attach", "--interactive", b.name()), nil
}

func (b *dockerBody) make(ctx context.Context, withStore bool, more []string) error {
	d := b.docker
	listen := fmt.Sprintf("/ip4/0.0.0.0/udp/%d/quic-v1", dockerPeerPort)
	args := slices.Concat([]string{
		"container", "create", "--name", b.name(), "--rm", "--interactive", "--pull", "never",
		"--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--no-healthcheck", "--log-driver", "none",
		"--cpu-shares", dockerShares, "--volume", b.volume() + ":/data", "--env", faults.Environment + "=" + dockerFilter,
		"--network", d.apiNet(b.number), "--publish", b.published + ":" + strconv.Itoa(dockerAPIPort),
	}, d.labels(), []string{d.config.Image}, nodeArguments(listen, "0.0.0.0:"+strconv.Itoa(dockerAPIPort), d.config.LogLevel), more)
	if _, err := engine(ctx, args...); err != nil {
		return err
	}
	files, err := b.files(withStore)
	if err != nil {
		return err
	}
	if _, err := engineWith(ctx, files, "cp", "-", b.name()+":/data"); err != nil {
		return err
	}
	d.mu.Lock()
	on := d.on
	d.mu.Unlock()
	for net := range on {
		if !on[net][b.number] {
			continue
		}
		if _, err := engine(ctx, "network", "connect", "--ip", d.ip(net, b.number), d.netName(net), b.name()); err != nil {
			return err
		}
	}
	return nil
}

// files are what a node begins with, as a tape archive.
func (b *dockerBody) files(withStore bool) ([]byte, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	err := filepath.WalkDir(b.dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(b.dir, path)
		switch {
		case err != nil:
			return err
		case name == "." || name == logName:
			return nil
		case path == storePath(b.dir) && !withStore:
			return filepath.SkipDir
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		header, err := tar.FileInfoHeader(info, "")
		if err != nil {
			return err
		}
		header.Name, header.Uid, header.Gid = filepath.ToSlash(name), dockerUser, dockerUser
		header.Uname, header.Gname = "", ""
		if err := w.WriteHeader(header); err != nil || !info.Mode().IsRegular() {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		_, err = w.Write(content)
		return err
	})
	return out.Bytes(), errors.Join(err, w.Close())
}

// signalMax bounds the wait for a container that has been told to start and does not
// run yet.
const signalMax = 20 * time.Second

func (b *dockerBody) signal(life *exec.Cmd, s syscall.Signal) error {
	ctx, cancel := context.WithTimeout(context.Background(), signalMax)
	defer cancel()
	name := b.name()
	for {
		_, err := engine(ctx, signalCommand(s, name)...)
		switch {
		case err == nil:
			return nil
		case isGone(err) || ctx.Err() != nil:
			return fmt.Errorf("%w: %w", os.ErrProcessDone, err)
		case !strings.Contains(err.Error(), "not running"):
			return err
		case life.Process.Signal(syscall.Signal(0)) != nil:
			return fmt.Errorf("%w: %w", os.ErrProcessDone, err) // it has ended by itself
		}
		select {
		case <-ctx.Done():
		case <-time.After(listenEvery):
		}
	}
}

// signalCommand is what does to a container what a signal does to a process.
func signalCommand(s syscall.Signal, name string) []string {
	switch s {
	case syscall.SIGSTOP:
		return []string{"pause", name}
	case syscall.SIGCONT:
		return []string{"unpause", name}
	case syscall.SIGKILL:
		return []string{"kill", name}
	case syscall.SIGTERM:
		return []string{"kill", "--signal", "TERM", name}
	}
	panic("testnet: invariant broken: no container is ever sent " + s.String())
}

// filter speaks to the node's filter by a second process in its container, which passes
// on what it reads and hears: so no socket need be shared with this machine. It stays for
// the next time, since it takes a while to start.
func (b *dockerBody) filter(ctx context.Context, f func(*faults.Client) error) error {
	b.mu.Lock()
	line, life := b.line, b.lives
	b.mu.Unlock()
	if line == nil || line.life != life {
		var err error
		if line, err = b.dial(life); err != nil {
			return err
		}
	}
	err := f(line.client)
	b.keep(line, err == nil)
	return err
}

// keep has a line be used again, in place of another, or not.
func (b *dockerBody) keep(line *filterLine, well bool) {
	b.mu.Lock()
	old := b.line
	switch {
	case well && line.life == b.lives:
		b.line = line
	case old == line:
		b.line = nil
	}
	kept := b.line
	b.mu.Unlock()
	for _, l := range []*filterLine{old, line} {
		if l != nil && l != kept {
			_ = l.client.Close() // nobody speaks on it any more, or it has failed
		}
	}
}

// hangUp ends the line to the filter, if there is one.
func (b *dockerBody) hangUp() {
	b.mu.Lock()
	line := b.line
	b.line = nil
	b.mu.Unlock()
	if line != nil {
		_ = line.client.Close()
	}
}

// filterLine is a way to the filter of one life of a node.
type filterLine struct {
	client *faults.Client
	life   int
}

func (b *dockerBody) dial(life int) (*filterLine, error) {
	ours, theirs := net.Pipe()
	cmd := exec.Command("docker", "exec", "--interactive", b.name(), "/holdfast", "testnet", "filter")
	cmd.Stdin, cmd.Stdout = theirs, theirs
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = time.Second // after it has ended, for what waits to be read
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("testnet: node %d: %w", b.number, err), ours.Close(), theirs.Close())
	}
	over := make(chan struct{})
	go func() {
		defer close(over)
		_ = cmd.Wait()
		theirs.Close() // whoever waits for an answer hears that there is none
	}()
	return &filterLine{faults.Over(hangUp{ours, cmd, over}), life}, nil
}

// hangUp is a connection that ends with the process that carries it.
type hangUp struct {
	net.Conn
	cmd  *exec.Cmd
	over chan struct{}
}

func (h hangUp) Close() error {
	err := h.Conn.Close()
	select {
	case <-h.over:
	case <-time.After(hangUpMax):
		_ = h.cmd.Process.Kill() // the engine does not answer
		<-h.over
	}
	return err
}

// hangUpMax is how long the process may take to notice that nobody speaks to it.
const hangUpMax = 5 * time.Second

func (b *dockerBody) here() bool { return false }

func (b *dockerBody) loseStore() error {
	ctx, cancel := context.WithTimeout(context.Background(), dockerMax)
	defer cancel()
	if _, err := engine(ctx, "volume", "rm", b.volume()); err != nil {
		return fmt.Errorf("testnet: node %d: %w", b.number, err)
	}
	return b.makeVolume(ctx)
}
