package faults

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// Client commands the Filter of another process. Any number of goroutines may use
// it; their commands go one after the other.
type Client struct {
	mu    sync.Mutex // guards the connection: one request, one response
	conn  net.Conn
	lines *bufio.Scanner
}

// answerWithin bounds how long a process may take for a command, beyond the time
// that sending probes takes.
const answerWithin = 10 * time.Second

// Dial calls the process that listens at path.
func Dial(ctx context.Context, path string) (*Client, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("faults: %w", err)
	}
	return Over(c), nil
}

// Over speaks to a process by a connection that leads to its socket. The Client closes
// it.
func Over(c net.Conn) *Client {
	lines := bufio.NewScanner(c)
	lines.Buffer(nil, lineBytesMax)
	return &Client{conn: c, lines: lines}
}

// Close hangs up; the rules stay.
func (c *Client) Close() error { return c.conn.Close() }

// Set replaces all rules of the process.
func (c *Client) Set(ctx context.Context, t Table) error {
	if len(t) == 0 {
		_, err := c.do(ctx, request{Clear: true}, 0)
		return err
	}
	_, err := c.do(ctx, request{Set: t}, 0)
	return err
}

// Counters returns what became of packets, by remote.
func (c *Client) Counters(ctx context.Context) (map[string]Counters, error) {
	r, err := c.do(ctx, request{Counters: true}, 0)
	return r.Counters, err
}

// Probe has the process send probes and returns when all are sent.
func (c *Client) Probe(ctx context.Context, p Probing) error {
	_, err := c.do(ctx, request{Probe: &p}, time.Duration(p.Count)*p.Every)
	return err
}

// Flood has the process send rubbish and returns when its time is over.
func (c *Client) Flood(ctx context.Context, p Flooding) error {
	_, err := c.do(ctx, request{Flood: &p}, p.For)
	return err
}

// Heard returns what a run of probes came to at the process, by where it came from.
func (c *Client) Heard(ctx context.Context, run uint64) (map[string]Heard, error) {
	r, err := c.do(ctx, request{Heard: &heardRun{run}}, 0)
	return r.Heard, err
}

func (c *Client) do(ctx context.Context, r request, extra time.Duration) (out response, err error) {
	line, err := json.Marshal(r)
	if err != nil {
		return out, fmt.Errorf("faults: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.conn.SetDeadline(time.Now().Add(answerWithin + extra)); err != nil {
		return out, fmt.Errorf("faults: %w", err)
	}
	// An end of ctx leaves the connection useless: half of a dialogue is in it.
	defer context.AfterFunc(ctx, func() { c.conn.Close() })()
	if _, err := c.conn.Write(append(line, '\n')); err != nil {
		return out, fmt.Errorf("faults: %w", err)
	}
	if !c.lines.Scan() {
		if err := ctx.Err(); err != nil {
			return out, err
		}
		return out, fmt.Errorf("faults: the process hung up: %w", errors.Join(c.lines.Err(), net.ErrClosed))
	}
	if err := json.Unmarshal(c.lines.Bytes(), &out); err != nil {
		return out, fmt.Errorf("faults: an answer that is no answer: %w", err)
	}
	if out.Error != "" {
		return out, errors.New(out.Error)
	}
	return out, nil
}
