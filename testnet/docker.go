package testnet

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/holdfast-mesh/holdfast/testnet/faults"
)

// The labels of everything a network makes in an engine: which network it is of, and
// the process that holds it up, as host/pid.
const (
	labelNetwork = "holdfast.testnet"
	labelOwner   = "holdfast.testnet.owner"
)

// DefaultImage is the image that nodes run, unless something else is said.
const DefaultImage = "holdfast"

// Ports of a node in its container.
const (
	dockerPeerPort = 4001
	dockerAPIPort  = 8080
	// dockerFilter is where a node listens for faults: /data is the one place it may
	// write.
	dockerFilter = "/data/faults"
)

// dockerMax bounds a command to the engine: making a container takes half a second,
// on a machine that is busy many times that.
const dockerMax = time.Minute

var (
	errNoFilter = errors.New("containers are cut by taking them off their networks, and nothing between them slows, loses, copies or turns back packets; use --driver proc")
	errOneWay   = errors.New("a container that leaves a network neither hears nor is heard, so no cut is one way; use --driver proc")
	errOnlyProc = errors.New("the driver docker does not do this; use --driver proc")
)

// docker runs nodes as containers, by the docker command: it knows contexts, remote
// engines and their certificates, and a library for the same would be forty modules.
type docker struct {
	config Config
	layout layout
	id     string // of the network, in its names and labels
	base   int    // subnets are of 10.base.0.0/16
	nodes  []*dockerBody

	mu     sync.Mutex        // guards what is below; not held while the engine works
	on     [][]bool          // who is on which network, by network and node; see layout.plan
	passed map[[2]int]uint64 // packets sent when the link (from, to) was cut
	vain   map[[2]int]bool   // links that are cut
}

// newDocker checks that there is an engine and the image, removes what networks that
// died have left, and makes the network's networks.
func newDocker(ctx context.Context, c *Config) (*docker, error) {
	if c.Image == "" {
		c.Image = DefaultImage
	}
	if err := findEngine(ctx); err != nil {
		return nil, err
	}
	if _, err := engine(ctx, "image", "inspect", "--format", "{{.Id}}", c.Image); err != nil {
		return nil, fmt.Errorf("testnet: the engine has no image %s: build it with: docker build -t %s .  (%w)", c.Image, c.Image, err)
	}
	if _, err := RemoveLeftovers(ctx); err != nil {
		return nil, err
	}
	id := make([]byte, 4)
	_, _ = rand.Read(id) // never fails
	d := &docker{
		config: *c, layout: layoutOf(c.spots()), id: hex.EncodeToString(id),
		passed: make(map[[2]int]uint64), vain: make(map[[2]int]bool),
	}
	err := d.layout.validate()
	if err != nil {
		return nil, err
	}
	if d.on, err = d.layout.plan(newWeather(len(d.layout.spots))); err != nil {
		panic("testnet: invariant broken: a whole network needs no cut: " + err.Error())
	}
	if err := d.makeNets(ctx); err != nil {
		return nil, errors.Join(err, d.clear())
	}
	return d, nil
}

// ErrNoEngine says that no Docker engine can be used.
var ErrNoEngine = errors.New("testnet: no Docker engine")

// findEngine says what to do where no engine answers.
func findEngine(ctx context.Context) error {
	if _, err := exec.LookPath("docker"); err != nil {
		return fmt.Errorf("%w: the docker command is missing here: install Docker, or use --driver proc", ErrNoEngine)
	}
	if _, err := engine(ctx, "version", "--format", "{{.Server.Version}}"); err != nil {
		return fmt.Errorf("%w: none answers: start it, or use --driver proc (%w)", ErrNoEngine, err)
	}
	return nil
}

// engine has the docker command do something and returns what it printed.
func engine(ctx context.Context, args ...string) (string, error) {
	return engineWith(ctx, nil, args...)
}

// engineWith is engine with a standard input.
func engineWith(ctx context.Context, input []byte, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, dockerMax)
	defer cancel()
	var out, wrong bytes.Buffer
	cmd := exec.CommandContext(ctx, "docker", args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(input), &out, &wrong
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a terminal's interrupt is for us
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return "", fmt.Errorf("docker %s: %w: %s", args[0], err, strings.TrimSpace(wrong.String()))
	}
	return strings.TrimSpace(out.String()), nil
}

func (d *docker) labels() []string {
	return []string{"--label", labelNetwork + "=" + d.id, "--label", labelOwner + "=" + owner(os.Getpid())}
}

func owner(pid int) string {
	host, err := os.Hostname()
	if err != nil {
		host = "?"
	}
	return host + "/" + strconv.Itoa(pid)
}

// apiSubnets is the subnet of the first node's API: layouts use those below.
const apiSubnets = layoutProvidersMax * layoutProvidersMax

// Subnets are taken from 10.x.0.0/16 for the first x in which all are free.
const (
	baseMin = 201
	baseMax = 249
)

// makeNets makes the networks between providers, which lead nowhere else, and one for
// each node alone, by which its API is published and which is never cut.
func (d *docker) makeNets(ctx context.Context) error {
	var busy error
	for d.base = baseMin; d.base <= baseMax; d.base++ {
		err := d.makeNetsAt(ctx)
		if err == nil || !strings.Contains(err.Error(), "overlap") {
			return err
		}
		busy = err
		if err := d.clear(); err != nil {
			return err
		}
	}
	return fmt.Errorf("testnet: no free subnets in 10.%d.0.0 to 10.%d.255.255: remove networks you do not need (%w)", baseMin, baseMax, busy)
}

func (d *docker) makeNetsAt(ctx context.Context) error {
	for net := range d.layout.nets {
		if err := d.makeNet(ctx, d.netName(net), d.layout.subnet(net), "--internal"); err != nil {
			return err
		}
	}
	for node := range d.layout.spots {
		if err := d.makeNet(ctx, d.apiNet(node), apiSubnets+node); err != nil {
			return err
		}
	}
	return nil
}

func (d *docker) makeNet(ctx context.Context, name string, number int, more ...string) error {
	args := slices.Concat([]string{"network", "create", "--subnet", fmt.Sprintf("10.%d.%d.0/24", d.base, number)}, d.labels(), more, []string{name})
	if _, err := engine(ctx, args...); err != nil {
		return fmt.Errorf("testnet: a network: %w", err)
	}
	return nil
}

func (d *docker) netName(net int) string {
	return "holdfast-" + d.id + "-" + d.layout.nets[net].String()
}
func (d *docker) apiNet(node int) string { return fmt.Sprintf("holdfast-%s-api-%d", d.id, node) }
func (d *docker) subnets() string        { return "10." + strconv.Itoa(d.base) }

func (d *docker) ip(net, node int) string {
	ip, _, _ := strings.Cut(d.layout.address(d.subnets(), net, node), ":")
	return ip
}

func (d *docker) refuses(f Fault) error {
	switch f.Kind {
	case Cut, Flap:
	case Kill, Pause, Restart, CrashLoop, DiskLost:
		return nil
	case Slow, Loss, Mess:
		return fmt.Errorf("%s: %w", f.Kind, errNoFilter)
	default:
		return fmt.Errorf("%s: %w", f.Kind, errOnlyProc)
	}
	if _, err := d.layout.plan(d.layout.weatherOf(f)); err != nil {
		return fmt.Errorf("%s: %w", f, err)
	}
	return nil
}

// weatherOf is what faults of links come to together. The faults name nodes there are.
func (l *layout) weatherOf(all ...Fault) *weather {
	w := newWeather(len(l.spots))
	for i, f := range all {
		from, _ := pick(l.spots, f.From)
		to, _ := pick(l.spots, f.To)
		if len(f.To) == 0 {
			to = others(len(l.spots), from)
		}
		w.set(strconv.Itoa(i), from, to, f.OneWay, f.rule())
	}
	return w
}

func (d *docker) place(s Spot, dir string) (placed, error) {
	port, err := freeTCP()
	if err != nil {
		return placed{}, err
	}
	b := &dockerBody{docker: d, number: s.Number, dir: dir, published: port}
	d.nodes = append(d.nodes, b)
	p := placed{body: b, peers: d.layout.addresses(d.subnets(), s.Number), api: port}
	ctx, cancel := context.WithTimeout(context.Background(), dockerMax)
	defer cancel()
	return p, b.makeVolume(ctx)
}

func freeTCP() (string, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

func (d *docker) address(of, seenBy int) string {
	return d.layout.address(d.subnets(), d.layout.between(of, seenBy), of)
}

// obey has containers leave and join networks. Those that do not run do when they are
// made.
func (d *docker) obey(ctx context.Context, w *weather, nodes []*process) error {
	on, err := d.layout.plan(w)
	if err != nil {
		return fmt.Errorf("testnet: %w", err)
	}
	d.mu.Lock()
	before := d.on
	d.on = on
	d.mu.Unlock()
	wrong := make([]error, len(nodes))
	var all sync.WaitGroup
	for i, p := range nodes {
		if state, _ := p.now(); state != Dead {
			all.Go(func() { wrong[i] = d.move(ctx, i, before, on) })
		}
	}
	all.Wait()
	return errors.Join(append(wrong, d.noteCuts(ctx, w, nodes))...)
}

// move has one container leave and join what has changed.
func (d *docker) move(ctx context.Context, node int, before, on [][]bool) error {
	name := d.nodes[node].name()
	for net := range on {
		var err error
		switch was, is := before[net][node], on[net][node]; {
		case was && !is:
			_, err = engine(ctx, "network", "disconnect", d.netName(net), name)
		case !was && is:
			_, err = engine(ctx, "network", "connect", "--ip", d.ip(net, node), d.netName(net), name)
		}
		if err != nil {
			return fmt.Errorf("testnet: node %d: %w", node, err)
		}
	}
	return nil
}

// noteCuts reads how many packets each node had sent over the links that have just been
// cut: what it sends from now on vanishes.
func (d *docker) noteCuts(ctx context.Context, w *weather, nodes []*process) error {
	fresh := make([][]int, len(nodes))
	d.mu.Lock()
	for i := range nodes {
		for j := range nodes {
			link := [2]int{i, j}
			if i != j && w.parted(i, j) && !d.vain[link] {
				fresh[i] = append(fresh[i], j)
			}
			d.vain[link] = w.parted(i, j)
		}
	}
	d.mu.Unlock()
	wrong := make([]error, len(nodes))
	var all sync.WaitGroup
	for i, p := range nodes {
		if state, _ := p.now(); len(fresh[i]) == 0 || state != Running {
			continue
		}
		all.Go(func() {
			wrong[i] = p.commanded(ctx, func(c *faults.Client) error {
				counters, err := c.Counters(ctx)
				if err != nil {
					return err
				}
				d.mu.Lock()
				defer d.mu.Unlock()
				for _, j := range fresh[i] {
					d.passed[[2]int{i, j}] = counters[d.address(j, i)].Passed
				}
				return nil
			})
		})
	}
	all.Wait()
	return errors.Join(wrong...)
}

// dropped is what a node has sent since the link was cut. A node that was started again
// meanwhile counts from nothing.
func (d *docker) dropped(from, to int, c faults.Counters) uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	link := [2]int{from, to}
	if !d.vain[link] {
		return 0
	}
	if before := d.passed[link]; before <= c.Passed {
		return c.Passed - before
	}
	return c.Passed
}

// patience: to speak to a filter for the first time a process starts in its container.
func (d *docker) patience() time.Duration { return 20 * time.Second }

// clear removes everything that carries the network's label, and says so if something
// stays.
func (d *docker) clear() error {
	for _, b := range d.nodes {
		b.hangUp()
	}
	ctx, cancel := context.WithTimeout(context.Background(), dockerMax)
	defer cancel()
	_, err := removeLabelled(ctx, labelNetwork+"="+d.id, func(string) bool { return true })
	return err
}

// Removed is what was taken out of an engine.
type Removed struct {
	Containers int `json:"containers"`
	Networks   int `json:"networks"`
	Volumes    int `json:"volumes"`
}

// None says whether there was nothing to remove.
func (r Removed) None() bool { return r == Removed{} }

func (r Removed) String() string {
	return fmt.Sprintf("%d containers, %d networks, %d volumes", r.Containers, r.Networks, r.Volumes)
}

// RemoveLeftovers removes from the engine what networks of this machine have left whose
// process has died. Networks that are up are not touched.
func RemoveLeftovers(ctx context.Context) (Removed, error) {
	if err := findEngine(ctx); err != nil {
		return Removed{}, err
	}
	host, _, _ := strings.Cut(owner(0), "/")
	return removeLabelled(ctx, labelNetwork, func(owner string) bool {
		where, pid, _ := strings.Cut(owner, "/")
		number, err := strconv.Atoi(pid)
		return err == nil && where == host && !alive(number)
	})
}

// removeLabelled removes what carries a label and whose owner is chosen: containers
// first, since they hold the rest.
func removeLabelled(ctx context.Context, label string, chosen func(owner string) bool) (r Removed, err error) {
	var wrong []error
	for _, kind := range []struct {
		count     *int
		id        string
		list, rem []string
	}{
		{&r.Containers, "{{.ID}}", []string{"container", "ls", "--all"}, []string{"container", "rm", "--force", "--volumes"}},
		{&r.Networks, "{{.ID}}", []string{"network", "ls"}, []string{"network", "rm"}},
		{&r.Volumes, "{{.Name}}", []string{"volume", "ls"}, []string{"volume", "rm"}},
	} {
		format := fmt.Sprintf(`%s {{.Label %q}}`, kind.id, labelOwner)
		out, err := engine(ctx, append(kind.list, "--filter", "label="+label, "--format", format)...)
		if err != nil {
			wrong = append(wrong, err)
			continue
		}
		for line := range strings.Lines(out) {
			id, owner, _ := strings.Cut(strings.TrimSpace(line), " ")
			if id == "" || !chosen(owner) {
				continue
			}
			if _, err := engine(ctx, append(kind.rem, id)...); err != nil && !isGone(err) {
				wrong = append(wrong, err)
				continue
			}
			*kind.count++
		}
	}
	if err := errors.Join(wrong...); err != nil {
		return r, fmt.Errorf("testnet: removing what is left in the engine: %w", err)
	}
	return r, nil
}

// isGone says whether the engine no longer has what was to be removed: a container that
// ends is removed by the engine itself.
func isGone(err error) bool {
	return strings.Contains(err.Error(), "No such") || strings.Contains(err.Error(), "not found") || strings.Contains(err.Error(), "already in progress")
}
