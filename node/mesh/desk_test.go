package mesh

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
)

// desk serves a node's desk on a unix socket and returns a client of it.
func (n *testNode) desk(t testing.TB) *Client {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "svc.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- n.ServeDesk(t.Context(), l) }()
	t.Cleanup(func() {
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return NewClient(socket)
}

// Everything `holdfast svc` does, against two real nodes.
func TestDesk(t *testing.T) {
	nodes := startNodes(t, 2, nil)
	ctx := testContext(t)
	here, there := nodes[0].desk(t), nodes[1].desk(t)
	web := startWeb(t, "one")
	if err := here.Register(ctx, web.service("pricefeed")); err != nil {
		t.Fatal(err)
	}
	if err := here.Register(ctx, Service{Name: "Bad Name", To: "x"}); err == nil || !strings.Contains(err.Error(), "Bad Name") {
		t.Errorf("a bad name: %v", err)
	}
	v, err := there.Resolve(ctx, "pricefeed")
	if err != nil || len(v.Instances) != 1 || !v.Instances[0].In || v.Instances[0].Owner != nodes[0].addr.ID.String() || len(v.Instances[0].Why) == 0 {
		t.Fatalf("%+v, %v", v, err)
	}
	list, err := there.List(ctx)
	if err != nil || len(list) != 1 || list[0].Serving != 1 || list[0].Here {
		t.Errorf("%+v, %v", list, err)
	}
	p, err := here.ChangePolicy(ctx, "pricefeed", PolicyChange{Allow: "validator"})
	if err != nil || p.Mode != ModeObserve || len(p.Allow) != 1 {
		t.Errorf("%+v, %v", p, err)
	}
	if d, err := here.Authz(ctx, nodes[1].addr.ID.String(), "pricefeed"); err != nil || !d.Allowed || d.Would {
		t.Errorf("%+v, %v", d, err)
	}
	if _, err := there.ChangePolicy(ctx, "pricefeed", PolicyChange{}); err == nil {
		t.Error("a change that changes nothing is taken")
	}
	if rejected, err := there.Rejected(ctx); err != nil || len(rejected.Last) != 0 {
		t.Errorf("%+v, %v", rejected, err)
	}
	deskProxy(t, ctx, there, nodes[1])
	states := make(chan string, 16)
	watching, stop := context.WithCancel(ctx)
	watched := make(chan error, 1)
	go func() {
		watched <- there.Watch(watching, "pricefeed", func(v Resolution) error {
			state := "gone"
			if len(v.Instances) > 0 {
				state = v.Instances[0].State
			}
			states <- state
			return nil
		})
	}()
	wait := func(want string) {
		t.Helper()
		for got := range states {
			if got == want {
				return
			}
		}
	}
	wait("serving")
	if err := here.Deregister(ctx, "pricefeed"); err != nil {
		t.Fatal(err)
	}
	wait("gone")
	stop()
	if err := <-watched; err != nil {
		t.Error(err)
	}
	if err := here.Drain(ctx, "pricefeed"); err == nil {
		t.Error("what is not registered drains")
	}
}

// deskProxy asks for an HTTP proxy, uses it and lets it go.
func deskProxy(t *testing.T, ctx context.Context, c *Client, caller *testNode) {
	t.Helper()
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	where := make(chan string, 1)
	go func() {
		done <- c.Listen(ctx, Listen{Kind: "http", At: "127.0.0.1:0"}, func(l Listening) { where <- l.At })
	}()
	at := <-where
	if parts, code := get(t, at, "pricefeed", nil); code != 200 || parts[1] != caller.addr.ID.String() {
		t.Errorf("%d %q", code, parts)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	eventually(t, "the proxy ends with who asked for it", func() bool {
		http.DefaultClient.CloseIdleConnections()
		conn, err := net.Dial("tcp", at)
		if err == nil {
			conn.Close()
		}
		return err != nil
	})
	for _, l := range []Listen{{Kind: "ftp", At: "127.0.0.1:0"}, {Kind: "tcp", At: "127.0.0.1:0"}, {Kind: "http", At: "nowhere"}} {
		err := c.Listen(testContext(t), l, func(Listening) { t.Errorf("%+v listens", l) })
		if err == nil || errors.Is(err, context.Canceled) {
			t.Errorf("%+v: %v", l, err)
		}
	}
}

func TestClientSaysThatNoNodeIsThere(t *testing.T) {
	_, err := NewClient(filepath.Join(t.TempDir(), "none.sock")).List(testContext(t))
	if err == nil || !strings.Contains(err.Error(), "holdfast run") {
		t.Error(fmt.Sprint(err))
	}
}
