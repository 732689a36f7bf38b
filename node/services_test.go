package node

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-mesh/holdfast/node/mesh"
)

// eventually asks a condition often, for a time that only a broken machine needs.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
		time.Sleep(10 * time.Millisecond) // between two looks at a condition
	}
}

// What a node promises of services: every node's API is an instance of gateway, a
// client reaches one by name, roles decide who may call, the desk is the user's alone,
// and when a node goes others are told.
func TestNodesAreServices(t *testing.T) {
	c := newCluster(t, 4)
	desks := make([]*mesh.Client, len(c.nodes))
	for i, m := range c.nodes {
		desks[i] = mesh.NewClient(m.cfg.DeskPath())
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	serving := func(node int) (n int) {
		v, err := desks[node].Resolve(ctx, gatewayService)
		if err != nil {
			return 0 // its desk is not open yet
		}
		for _, in := range v.Instances {
			if in.In && in.State == mesh.Serving.String() && in.Protocol == "http" {
				n++
			}
		}
		return n
	}
	for i := range c.nodes {
		eventually(t, "every node knows four gateways", func() bool { return serving(i) == 4 })
	}
	info, err := os.Stat(c.nodes[0].cfg.DeskPath())
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the desk: %v, %v", info.Mode(), err)
	}

	// A client of node 1's proxy reaches an API by name.
	at := make(chan string, 1)
	ended := make(chan error, 1)
	listening, stop := context.WithCancel(ctx)
	go func() {
		ended <- desks[1].Listen(listening, mesh.Listen{Kind: "http", At: "127.0.0.1:0"}, func(l mesh.Listening) { at <- l.At })
	}()
	proxy := <-at
	ask := func() (string, error) {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+proxy+"/v1/status", nil)
		if err != nil {
			return "", err
		}
		r.Host = gatewayService + ".mesh"
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			return "", err
		}
		defer answer.Body.Close()
		body, err := io.ReadAll(answer.Body)
		return answer.Status + " " + string(body), err
	}
	if got, err := ask(); err != nil || !strings.HasPrefix(got, "200") || !strings.Contains(got, c.bundle.ID().String()) {
		t.Errorf("the API by name: %q, %v", got, err)
	}

	// A validator is one by its peer id; whoever is not is an observer.
	name := PeerIDOf(c.bundle.Validators()[2].Key).String()
	enforce := mesh.ModeEnforce
	for _, change := range []mesh.PolicyChange{{Allow: "validator"}, {Mode: &enforce}} {
		if _, err := desks[0].ChangePolicy(ctx, gatewayService, change); err != nil {
			t.Fatal(err)
		}
	}
	if d, err := desks[0].Authz(ctx, name, gatewayService); err != nil || !d.Allowed {
		t.Errorf("a validator: %+v, %v", d, err)
	}
	if d, err := desks[0].Authz(ctx, "12D3KooWH3uVF6wv47WnArKHk5p6cvgCJEb74UTmxztmQDc298L3", gatewayService); err != nil || d.Allowed {
		t.Errorf("a stranger: %+v, %v", d, err)
	}

	// A node that goes says so before it does, and comes back with what it had.
	c.nodes[3].stop()
	eventually(t, "the others know that it takes nothing new", func() bool {
		v, err := desks[1].Resolve(ctx, gatewayService)
		if err != nil {
			return false
		}
		draining := 0
		for _, in := range v.Instances {
			if in.State == mesh.Draining.String() {
				draining++
			}
		}
		return draining == 1
	})
	if got, err := ask(); err != nil || !strings.HasPrefix(got, "200") {
		t.Errorf("with one node away: %q, %v", got, err)
	}
	if files, err := os.ReadDir(filepath.Join(c.nodes[3].cfg.DataDir, ServicesName)); err != nil || len(files) == 0 {
		t.Errorf("what it knew of services is not on its disk: %v, %v", files, err)
	}
	c.start(3)
	eventually(t, "it serves again", func() bool { return serving(1) == 4 && serving(3) == 4 })
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// The socket of a node that was killed is replaced; one whose name is too long for the
// system is an error that says what to do.
func TestListenDesk(t *testing.T) {
	path := filepath.Join(t.TempDir(), deskName)
	for range 2 { // the second finds what the first has left
		l, err := listenDesk(path)
		if err != nil {
			t.Fatal(err)
		}
		l.(*net.UnixListener).SetUnlinkOnClose(false)
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%v, %v", info, err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	long := filepath.Join(t.TempDir(), strings.Repeat("x", DeskPathMax), deskName)
	if _, err := listenDesk(long); err == nil || !strings.Contains(err.Error(), "shorter data directory") {
		t.Errorf("a name of %d bytes: %v", len(long), err)
	}
}
