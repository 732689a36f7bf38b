package testnet

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"
)

// Command is what another process asks of a network that is up: a line of JSON on
// its control socket.
type Command struct {
	Do    string `json:"do"` // status, fault, undo, heal, matrix, down
	Fault *Fault `json:"fault,omitempty"`
	Name  string `json:"name,omitempty"` // of the fault to undo
}

// Answer is the line that answers a Command.
type Answer struct {
	Error  string   `json:"error,omitempty"`
	Status *Status  `json:"status,omitempty"`
	Name   string   `json:"name,omitempty"` // of the fault that has begun
	Healed []string `json:"healed,omitempty"`
	Matrix *Matrix  `json:"matrix,omitempty"`
}

// commandMax bounds one command: a node that is asked to end may take its time, and
// a fault may end several.
const commandMax = 5 * time.Minute

// commandBytesMax bounds a line: a matrix of sixty-four nodes is about a megabyte.
const commandBytesMax = 4 << 20

// control serves commands for a network.
type control struct {
	network  *Network
	listener net.Listener
	asked    chan struct{} // closed when somebody asked for the end
	once     sync.Once
	context  context.Context
	stop     context.CancelFunc
	over     sync.WaitGroup
}

func listenControl(n *Network, path string) (*control, error) {
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("testnet: the control socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("testnet: the control socket: %w", err), l.Close())
	}
	c := &control{network: n, listener: l, asked: make(chan struct{})}
	c.context, c.stop = context.WithCancel(context.Background())
	c.over.Go(c.accept)
	return c, nil
}

// close ends the listener and every dialogue, and waits for them.
func (c *control) close() error {
	c.stop()
	err := c.listener.Close()
	c.over.Wait()
	return err
}

func (c *control) accept() {
	for {
		conn, err := c.listener.Accept()
		if err != nil {
			return
		}
		c.over.Go(func() { c.serve(conn) })
	}
}

func (c *control) serve(conn net.Conn) {
	defer conn.Close()
	defer context.AfterFunc(c.context, func() { conn.Close() })()
	lines := bufio.NewScanner(conn)
	lines.Buffer(nil, commandBytesMax)
	for lines.Scan() {
		var command Command
		answer := Answer{}
		if err := json.Unmarshal(lines.Bytes(), &command); err != nil {
			answer.Error = "testnet: a command is one JSON object on a line: " + err.Error()
		} else {
			answer = c.answer(command)
		}
		err := json.NewEncoder(conn).Encode(answer)
		if command.Do == "down" { // the end closes this connection: the answer comes first
			c.once.Do(func() { close(c.asked) })
		}
		if err != nil {
			return
		}
	}
}

func (c *control) answer(command Command) (a Answer) {
	ctx, cancel := context.WithTimeout(c.context, commandMax)
	defer cancel()
	var err error
	switch command.Do {
	case "status":
		s := c.network.Status(ctx)
		a.Status = &s
	case "fault":
		if command.Fault == nil {
			err = errors.New("testnet: which fault?")
			break
		}
		a.Name, err = c.network.Do(ctx, *command.Fault)
	case "undo":
		err = c.network.Undo(ctx, command.Name)
	case "heal":
		a.Healed, err = c.network.Heal(ctx)
	case "matrix":
		var m Matrix
		m, err = c.network.Measure(ctx, "asked for")
		a.Matrix = &m
	case "down": // once it is answered: see serve
	default:
		err = fmt.Errorf("testnet: there is no command %q", command.Do)
	}
	if err != nil {
		a.Error = err.Error()
	}
	return a
}

// Asked is closed when another process has asked for the network's end; whoever
// called Up then calls Down.
func (n *Network) Asked() <-chan struct{} { return n.control.asked }

// Call has the network that is up in dir do a command.
func Call(ctx context.Context, dir string, command Command) (a Answer, err error) {
	m, err := ReadManifest(dir)
	if err != nil {
		return a, err
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", m.Control)
	if err != nil {
		return a, fmt.Errorf("testnet: calling the process %d that holds the network up: %w", m.PID, err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if err := conn.SetDeadline(time.Now().Add(commandMax)); err != nil {
		return a, fmt.Errorf("testnet: %w", err)
	}
	if err := json.NewEncoder(conn).Encode(command); err != nil {
		return a, fmt.Errorf("testnet: %w", err)
	}
	if err := json.NewDecoder(conn).Decode(&a); err != nil {
		return a, fmt.Errorf("testnet: the network hung up: %w", err)
	}
	if a.Error != "" {
		return a, errors.New(a.Error)
	}
	return a, nil
}

// downEvery is the time between two looks whether a network has gone.
const downEvery = 20 * time.Millisecond

// TakeDown asks the network in dir for its end and returns when it has gone.
func TakeDown(ctx context.Context, dir string) error {
	m, err := ReadManifest(dir)
	if err != nil {
		return err
	}
	if _, err := Call(ctx, dir, Command{Do: "down"}); err != nil {
		return err
	}
	for {
		if _, err := os.Stat(m.Control); errors.Is(err, os.ErrNotExist) {
			if _, err := os.Stat(manifestPath(dir)); errors.Is(err, os.ErrNotExist) {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("testnet: the network is not down yet: %w", ctx.Err())
		case <-time.After(downEvery):
		}
	}
}
