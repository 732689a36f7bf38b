//go:build unix

package mesh

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// postgres is a real PostgreSQL server with a database of its own.
type postgres struct {
	bin, dir string
	port     string
	as       *syscall.SysProcAttr
	server   *exec.Cmd
	log      *bytes.Buffer
}

// newPostgres makes a database, or skips the test and says what is missing. The server
// refuses to be root, so root runs it as somebody else.
func newPostgres(t *testing.T) *postgres {
	t.Helper()
	if testing.Short() {
		t.Skip("a database server")
	}
	p := &postgres{bin: findPostgres(t), as: &syscall.SysProcAttr{}, log: &bytes.Buffer{}}
	dir, err := os.MkdirTemp("", "hfpg")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	p.dir = filepath.Join(dir, "data")
	if os.Getuid() == 0 {
		p.as.Credential = nobody(t)
		if err := os.Chown(dir, int(p.as.Credential.Uid), int(p.as.Credential.Gid)); err != nil {
			t.Fatal(err)
		}
	}
	made := p.command("initdb", "-D", p.dir, "-U", "holdfast", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
	if out, err := made.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, p.port, _ = net.SplitHostPort(l.Addr().String())
	l.Close()
	return p
}

// findPostgres is the directory of the newest server that is installed.
func findPostgres(t *testing.T) string {
	t.Helper()
	places, _ := filepath.Glob("/usr/lib/postgresql/*/bin/postgres") // the pattern is well formed
	if in, err := exec.LookPath("postgres"); err == nil {
		places = append(places, in)
	}
	for i := len(places) - 1; i >= 0; i-- {
		dir := filepath.Dir(places[i])
		if _, err := os.Stat(filepath.Join(dir, "initdb")); err == nil {
			if _, err := exec.LookPath("psql"); err != nil {
				t.Skip("PostgreSQL's client psql is not installed")
			}
			return dir
		}
	}
	t.Skip("no PostgreSQL server is installed: there is no postgres with initdb in PATH or below /usr/lib/postgresql")
	return ""
}

func nobody(t *testing.T) *syscall.Credential {
	t.Helper()
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, _ := strconv.ParseUint(u.Uid, 10, 32)
		gid, _ := strconv.ParseUint(u.Gid, 10, 32)
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	}
	t.Skip("PostgreSQL does not run as root, and there is no user postgres or nobody to run it as")
	return nil
}

func (p *postgres) command(name string, args ...string) *exec.Cmd {
	c := exec.Command(filepath.Join(p.bin, name), args...)
	c.Dir, c.SysProcAttr = filepath.Dir(p.dir), p.as
	return c
}

// start runs the server until stop; that it listens the caller sees by asking it.
func (p *postgres) start(t *testing.T) {
	t.Helper()
	p.server = p.command("postgres", "-D", p.dir, "-p", p.port, "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "fsync=off")
	p.server.Stderr = p.log
	if err := p.server.Start(); err != nil {
		t.Fatal(err)
	}
}

// stop ends the server at once, with its callers' connections.
func (p *postgres) stop() {
	if p.server != nil {
		p.server.Process.Signal(syscall.SIGINT)
		p.server.Wait()
		p.server = nil
	}
}

// ask runs a statement with PostgreSQL's own client at an address.
func ask(ctx context.Context, at, statement string) (string, error) {
	host, port, _ := net.SplitHostPort(at)
	c := exec.CommandContext(ctx, "psql", "-X", "-h", host, "-p", port, "-U", "holdfast", "-d", "postgres", "-v", "ON_ERROR_STOP=1", "-Atqc", statement)
	out, err := c.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, out)
	}
	return strings.TrimSpace(string(out)), err
}

// A database behind a name: its own client, in many connections and with much to
// carry, does not notice the mesh between; and a server that has gone is an error at
// once, and there again when it is back.
func TestPostgreSQLThroughTheProxy(t *testing.T) {
	p := newPostgres(t)
	p.start(t)
	defer p.stop()
	direct := net.JoinHostPort("127.0.0.1", p.port)
	ctx := t.Context() // the test's own limit is the only one: a database may take its time
	must := func(at, statement string) string {
		t.Helper()
		out, err := ask(ctx, at, statement)
		if err != nil {
			t.Fatalf("%s: %v\n%s", statement, err, p.log)
		}
		return out
	}
	eventually(t, "the server listens", func() bool { _, err := ask(ctx, direct, "select 1"); return err == nil })

	nodes := startNodes(t, 2, nil)
	if err := nodes[0].Register(Service{Name: "ledgerdb", To: direct}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the database is known", func() bool { return nodes[1].states("ledgerdb")[Serving] == 1 })
	proxy := make(chan string, 1)
	listening, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { // as `holdfast svc proxy` does
		ended <- nodes[1].desk(t).Listen(listening, Listen{Kind: "tcp", Name: "ledgerdb", At: "127.0.0.1:0"}, func(l Listening) { proxy <- l.At })
	}()
	at := <-proxy
	must(at, "create table deposits (id int primary key, amount bigint, note text)")
	var writing sync.WaitGroup
	for i := range 5 {
		writing.Go(func() {
			statement := fmt.Sprintf("begin; insert into deposits select n, n * 7, md5(n::text) from generate_series(%d, %d) n; commit", i*2000+1, (i+1)*2000)
			if _, err := ask(ctx, at, statement); err != nil {
				t.Error(err)
			}
		})
	}
	writing.Wait()
	const sum = "select count(*), sum(amount), md5(string_agg(note, '' order by id)) from deposits"
	if through, without := must(at, sum), must(direct, sum); through != without || !strings.HasPrefix(through, "10000|350035000|") {
		t.Errorf("%q through the mesh, %q without", through, without)
	}
	const much = "copy (select n, repeat(md5(n::text), 32) from generate_series(1, 8000) n) to stdout"
	if through, without := must(at, much), must(direct, much); through != without || len(through) < 8000*32*32 {
		t.Errorf("%d bytes through the mesh, %d without, or others", len(through), len(without))
	}

	p.stop()
	soon, done := context.WithTimeout(ctx, 2*time.Minute)
	if out, err := ask(soon, at, "select 1"); err == nil || soon.Err() != nil {
		t.Errorf("from a server that has gone: %q, %v", out, err)
	}
	done()
	p.start(t)
	eventually(t, "the database is reached again", func() bool { _, err := ask(ctx, at, "select 1"); return err == nil })
	if got := must(at, "select count(*) from deposits"); got != "10000" {
		t.Errorf("%s rows are left", got)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
