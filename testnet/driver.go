package testnet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/holdfast-mesh/holdfast/testnet/faults"
)

// The drivers, by name.
const (
	DriverProc   = "proc"   // nodes are processes of this program on loopback
	DriverDocker = "docker" // nodes are containers, with a network for each pair of providers
)

// driver is a way to run nodes and to do to what lies between them what faults say.
// Its methods may be called by many goroutines, but obey by one at a time.
type driver interface {
	// refuses says why a fault cannot be done this way; nil: it can.
	refuses(f Fault) error
	// place finds a node its place. Nodes come in the order of their numbers.
	place(s Spot, dir string) (placed, error)
	// address is ip:port of one node's QUIC socket as another sees it.
	address(of, seenBy int) string
	// obey has what lies between the nodes be as w says.
	obey(ctx context.Context, w *weather, nodes []*process) error
	// dropped is how many packets to another node a node has sent in vain, by its
	// filter's counters.
	dropped(from, to int, c faults.Counters) uint64
	// patience is how long the nodes' filters may take for one round of questions, beyond
	// what is asked of them.
	patience() time.Duration
	// clear removes what place has made, when no node runs any more.
	clear() error
}

// placed is where a node is.
type placed struct {
	body  body
	peers []string // ip:port of its QUIC socket: one for each network it is on
	api   string   // ip:port of its API, as seen from here
}

// body is one node as its driver runs it.
type body interface {
	// command makes ready what runs the node for one life, which begins with it: it ends
	// when the node does, and the node when its standard input closes. More are
	// arguments for this life alone.
	command(begin faults.Start, more []string) (*exec.Cmd, error)
	// signal sends a signal to a life of the node. With SIGSTOP it returns when the node
	// stands still.
	signal(life *exec.Cmd, s syscall.Signal) error
	// filter has f command the packet filter of the running node.
	filter(ctx context.Context, f func(*faults.Client) error) error
	// loseStore removes the store of a node that does not run, not its key.
	loseStore() error
	// here reports whether its process and its files are this machine's own.
	here() bool
}

// newDriver makes the driver that c names, and checks that it can work here.
func newDriver(ctx context.Context, c *Config) (driver, error) {
	if c.Driver == DriverDocker {
		return newDocker(ctx, c)
	}
	return newProc(c)
}

// refuses says why a driver cannot do what a network and some faults ask for.
func refuses(c *Config, all []Timed, services bool) error {
	if c.Driver != DriverDocker {
		return nil
	}
	d := &docker{layout: layoutOf(c.spots())}
	var wrong []error
	if services {
		wrong = append(wrong, fmt.Errorf("testnet: services: %w", errOnlyProc))
	}
	for _, l := range c.Links {
		wrong = append(wrong, fmt.Errorf("testnet: the link %s-%s of %v ms: %w", l.A, l.B, l.Millis, errNoFilter))
	}
	for i, f := range all {
		if err := d.refuses(f.Fault); err != nil {
			wrong = append(wrong, fmt.Errorf("testnet: fault %d: %w", i, err))
		}
	}
	return errors.Join(wrong...)
}

// proc runs nodes as processes of this binary, and has the packet filters under their
// sockets do faults of links.
type proc struct {
	binary   string
	logLevel string
	sockets  string // a directory with a short name, for unix sockets
	peers    []string
}

func newProc(c *Config) (*proc, error) {
	d := &proc{binary: c.Binary, logLevel: c.LogLevel}
	var err error
	if d.binary == "" {
		if d.binary, err = os.Executable(); err != nil {
			return nil, fmt.Errorf("testnet: which program am I: %w", err)
		}
	}
	if d.sockets, err = os.MkdirTemp("", "hf"); err != nil {
		return nil, fmt.Errorf("testnet: a directory for sockets: %w", err)
	}
	return d, nil
}

func (d *proc) refuses(Fault) error { return nil }

func (d *proc) place(s Spot, dir string) (placed, error) {
	b, err := d.body(filepath.Join(d.sockets, fmt.Sprint(s.Number)), dir)
	if err != nil {
		return placed{}, err
	}
	d.peers = append(d.peers, b.peer)
	return placed{body: b, peers: []string{b.peer}, api: b.api}, nil
}

// body makes a process's place beside those that place has made.
func (d *proc) body(socket, dir string) (*procBody, error) {
	peer, api, err := freePorts()
	if err != nil {
		return nil, err
	}
	return &procBody{binary: d.binary, logLevel: d.logLevel, dir: dir, socket: socket, peer: peer, api: api}, nil
}

// freePorts finds a UDP and a TCP port of loopback that nobody has. Somebody may
// take one before the node does, which then says so and ends.
func freePorts() (udp, tcp string, err error) {
	u, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return "", "", err
	}
	defer u.Close()
	t, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return "", "", err
	}
	defer t.Close()
	return u.LocalAddr().String(), t.Addr().String(), nil
}

func (d *proc) address(of, _ int) string { return d.peers[of] }

// obey tells every node that runs its rules. A paused node reads them when it goes
// on, one that is dead when it starts.
func (d *proc) obey(ctx context.Context, w *weather, nodes []*process) error {
	wrong := make([]error, len(nodes))
	done := make(chan struct{})
	for i, p := range nodes {
		table := w.table(i, d.peers)
		go func() {
			defer func() { done <- struct{}{} }()
			wrong[i] = p.obey(ctx, table)
		}()
	}
	for range nodes {
		<-done
	}
	return errors.Join(wrong...)
}

func (d *proc) dropped(_, _ int, c faults.Counters) uint64 { return c.Dropped }

func (d *proc) patience() time.Duration { return 3 * time.Second } // many times what it takes

func (d *proc) clear() error { return os.RemoveAll(d.sockets) }

// procBody is a node as a process.
type procBody struct {
	binary   string
	logLevel string
	dir      string // its data
	socket   string // where it listens for faults
	peer     string
	api      string
}

func (b *procBody) command(begin faults.Start, more []string) (*exec.Cmd, error) {
	if err := writeJSON(faults.StartPath(b.socket), begin); err != nil {
		return nil, err
	}
	host, port, _ := strings.Cut(b.peer, ":")
	cmd := exec.Command(b.binary, slices.Concat(nodeArguments("/ip4/"+host+"/udp/"+port+"/quic-v1", b.api, b.logLevel), []string{"--data-dir", b.dir}, more)...)
	cmd.Env = append(plainEnvironment(), faults.Environment+"="+b.socket)
	return cmd, nil
}

// nodeArguments are those of every start of a node: QUIC alone (faults are under it),
// and nothing that looks for peers beyond the network.
func nodeArguments(listen, api, logLevel string) []string {
	args := []string{
		"run", "--listen", listen, "--api.listen", api,
		"--mdns=false", "--nat=false", "--log.format", "json", "--min-round", "7ms",
	}
	if logLevel != "" {
		args = append(args, "--log.level", logLevel)
	}
	return args
}

// plainEnvironment is ours without what would configure a node.
func plainEnvironment() []string {
	return slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "HOLDFAST_") })
}

func (b *procBody) here() bool { return true }

// signal waits after SIGSTOP, which is no more than a request: a thread that runs on
// another core may still answer after it.
func (b *procBody) signal(life *exec.Cmd, s syscall.Signal) error {
	if err := life.Process.Signal(s); err != nil || s != syscall.SIGSTOP {
		return err
	}
	return awaitStopped(life.Process.Pid)
}

func (b *procBody) filter(ctx context.Context, f func(*faults.Client) error) error {
	c, err := faults.Dial(ctx, b.socket)
	if err != nil {
		return err
	}
	defer c.Close()
	return f(c)
}

func (b *procBody) loseStore() error { return os.RemoveAll(storePath(b.dir)) }
