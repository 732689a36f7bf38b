package mesh

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
)

// Client speaks with the desk of a node on this machine. Many goroutines may use
// one.
type Client struct{ http *http.Client }

// NewClient returns a client of the desk at a unix socket.
func NewClient(socket string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		conn, err := d.DialContext(ctx, "unix", socket)
		if err != nil {
			return nil, fmt.Errorf("no node answers at %s: start one with holdfast run, or name its directory: %w", socket, err)
		}
		return conn, nil
	}
	return &Client{&http.Client{Transport: &http.Transport{DialContext: dial, Proxy: nil}}}
}

// List returns all services the node knows.
func (c *Client) List(ctx context.Context) (list []Summary, err error) {
	return list, c.do(ctx, http.MethodGet, "/services", nil, &list)
}

// Rejected returns the records the node has refused.
func (c *Client) Rejected(ctx context.Context) (v RejectedView, err error) {
	return v, c.do(ctx, http.MethodGet, "/rejected", nil, &v)
}

// Resolve returns what the node knows of a name; of one it does not know, after it
// has searched for a moment.
func (c *Client) Resolve(ctx context.Context, name string) (v Resolution, err error) {
	return v, c.do(ctx, http.MethodGet, at(name, ""), nil, &v)
}

// Watch calls each with what is known of a name, now and at every change, until
// each returns an error, ctx ends or the node does.
func (c *Client) Watch(ctx context.Context, name string, each func(Resolution) error) error {
	body, err := c.open(ctx, http.MethodGet, at(name, "/watch"), nil)
	if err != nil {
		return err
	}
	defer body.Close()
	for lines := json.NewDecoder(body); ; {
		var v Resolution
		if err := lines.Decode(&v); err != nil {
			return ended(ctx, err)
		}
		if err := each(v); err != nil {
			return err
		}
	}
}

// ended is how a long answer ended: because the caller wanted it, or the node went.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("the node has gone: %w", err)
}

// Register makes the node an instance of a service.
func (c *Client) Register(ctx context.Context, s Service) error {
	return c.do(ctx, http.MethodPost, "/services", s, nil)
}

// Deregister drains the node's instance and takes it away.
func (c *Client) Deregister(ctx context.Context, name string) error {
	return c.do(ctx, http.MethodDelete, at(name, ""), nil, nil)
}

// Drain lets the node's instance end what it has begun.
func (c *Client) Drain(ctx context.Context, name string) error {
	return c.do(ctx, http.MethodPost, at(name, "/drain"), struct{}{}, nil)
}

// ChangePolicy changes who may call the node's instance and returns the policy.
func (c *Client) ChangePolicy(ctx context.Context, name string, change PolicyChange) (p Policy, err error) {
	return p, c.do(ctx, http.MethodPost, at(name, "/policy"), change, &p)
}

// Authz says whether a peer may call the node's instance.
func (c *Client) Authz(ctx context.Context, peerID, name string) (d Decision, err error) {
	return d, c.do(ctx, http.MethodGet, at(name, "/authz/"+url.PathEscape(peerID)), nil, &d)
}

// Listen makes the node listen until ctx ends; started is told where.
func (c *Client) Listen(ctx context.Context, l Listen, started func(Listening)) error {
	body, err := c.open(ctx, http.MethodPost, "/listen", l)
	if err != nil {
		return err
	}
	defer body.Close()
	var where Listening
	lines := json.NewDecoder(body)
	if err := lines.Decode(&where); err != nil {
		return ended(ctx, err)
	}
	started(where)
	return ended(ctx, lines.Decode(&where))
}

func at(name, what string) string { return "/services/" + url.PathEscape(name) + what }

func (c *Client) do(ctx context.Context, method, path string, in, out any) error {
	body, err := c.open(ctx, method, path, in)
	if err != nil {
		return err
	}
	defer body.Close()
	if out == nil {
		return nil
	}
	return json.NewDecoder(body).Decode(out)
}

// open sends a request and returns the answer's body, or the node's error.
func (c *Client) open(ctx context.Context, method, path string, in any) (io.ReadCloser, error) {
	var body io.Reader
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(text)
	}
	r, err := http.NewRequestWithContext(ctx, method, "http://node"+path, body)
	if err != nil {
		return nil, err
	}
	answer, err := c.http.Do(r)
	if err != nil {
		if inner := (*url.Error)(nil); errors.As(err, &inner) {
			err = inner.Err // without the address nobody asked for
		}
		return nil, err
	}
	if answer.StatusCode == http.StatusOK {
		return answer.Body, nil
	}
	defer answer.Body.Close()
	var f fault
	if err := json.NewDecoder(io.LimitReader(answer.Body, deskBytesMax)).Decode(&f); err != nil || f.Error == "" {
		return nil, fmt.Errorf("the node answers %s", answer.Status)
	}
	return nil, errors.New(f.Error)
}
