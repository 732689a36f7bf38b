package mesh

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-mesh/holdfast/p2p"
)

// R10: a node that starts with its bootstrap node gone, and one provider too, still
// resolves what it knew, and reaches what is left.
func checkWorksAlone(t fataler) {
	t.Helper()
	tb := testingTB(t)
	hub := startNode(tb, setupNode(tb, 0))
	defer hub.stop()
	start := func(i int, dir string) *testNode {
		s := setupNode(tb, i)
		s.host.Bundle = []p2p.Peer{hub.addr}
		s.mesh.Dir = dir
		return startNode(tb, s)
	}
	dir := tb.TempDir()
	gone, left, seeker := start(1, ""), start(2, ""), start(3, dir)
	defer gone.stop()
	defer left.stop()
	defer seeker.stop()
	for _, n := range []*testNode{gone, left} {
		if err := n.Register(Service{Name: "lines", To: startLines(tb, n.addr.Provider)}); err != nil {
			t.Fatalf("%v", err)
		}
	}
	eventually(tb, "the seeker knows both", func() bool { return seeker.states("lines")[Serving] == 2 })
	for _, n := range []*testNode{seeker, hub, gone} {
		n.stop()
	}
	seeker = start(3, dir)
	defer seeker.stop()
	if a := seeker.Resolve("lines"); len(a.Usable()) != 2 || !a.Stale {
		t.Fatalf("after a start alone: %d usable, stale %v", len(a.Usable()), a.Stale)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	conn, r, err := seeker.Dial(ctx, "lines")
	if err != nil {
		t.Fatalf("what is left is not reached: %v", err)
	}
	defer conn.Close()
	fmt.Fprintln(conn, "hello")
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil || line != left.addr.Provider+": hello\n" || r.Owner != left.addr.ID {
		t.Errorf("%q of %s, %v", line, r.Owner, err)
	}
}

func TestWorksAlone(t *testing.T) { checkWorksAlone(t) }

// A node that restarts goes on where it was: a new epoch, the same services, its
// policies; and what it no longer has it takes away.
func TestOwnServicesSurviveARestart(t *testing.T) {
	observer := startNodes(t, 1, nil)[0]
	dir := t.TempDir()
	begin := func() *testNode {
		s := setupNode(t, 1)
		s.host.Bundle = []p2p.Peer{observer.addr}
		s.mesh.Dir = dir
		return startNode(t, s)
	}
	first := begin()
	defer first.stop()
	for _, name := range []string{"kept", "lost"} {
		if err := first.Register(Service{Name: name, To: startLines(t, "x")}); err != nil {
			t.Fatal(err)
		}
	}
	if err := first.Allow("kept", "validator"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "both are known", func() bool {
		return observer.states("kept")[Serving] == 1 && observer.states("lost")[Serving] == 1
	})
	before := observer.Resolve("kept").Instances[0].Stamp
	first.stop()
	path := dir + "/" + ownName
	services, err := readOwn(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := writeWhole(path, must(marshalServices(services[:1]))); err != nil {
		t.Fatal(err)
	}
	second := begin()
	defer second.stop()
	if own := second.Registered(); len(own) != 1 || own[0].Policy.Mode != ModeObserve || own[0].Policy.Allow[0] != "validator" {
		t.Errorf("registered again: %+v", own)
	}
	eventually(t, "the new process is heard", func() bool {
		in := observer.Resolve("kept").Instances
		return len(in) == 1 && in[0].Epoch > before.Epoch
	})
	eventually(t, "the lost service is taken away", func() bool { return len(observer.Resolve("lost").Instances) == 0 })
}

// What was taken away may be offered again at once: the owner's next word is above
// its farewell.
func TestOfferedAgainAfterItWasTakenAway(t *testing.T) {
	nodes := startNodes(t, 2, func(_ int, s *nodeSetup) { s.mesh.Beat, s.mesh.TTL = time.Minute, 5*time.Minute })
	lines := Service{Name: "lines", To: startLines(t, "x")}
	for range 5 {
		if err := nodes[0].Register(lines); err != nil {
			t.Fatal(err)
		}
	}
	if err := nodes[0].Deregister(testContext(t), "lines"); err != nil {
		t.Fatal(err)
	}
	if err := nodes[0].Register(lines); err != nil {
		t.Fatal(err)
	}
	for i, n := range nodes {
		eventually(t, fmt.Sprintf("node %d knows it again", i), func() bool { return n.states("lines")[Serving] == 1 })
	}
}

// A node whose disk was lost hears old farewells first: it does not say that nobody
// serves the name before it has asked somebody.
func TestOldFarewellsAreNotBelievedAlone(t *testing.T) {
	lost := startNodes(t, 1, nil)[0]
	now := func(c *Claim) { c.IssuedMs = uint64(time.Now().UnixMilli()) }
	farewell := record(t, 20, func(c *Claim) { now(c); c.State, c.Endpoints = Gone, nil })
	lost.take(farewell, ByNews, farewell.Owner)
	asked, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if a, err := lost.Await(asked, "pricefeed"); err == nil {
		t.Errorf("believed without asking: %+v", a)
	}
	found := make(chan int, 1)
	go func() {
		a, err := lost.Await(testContext(t), "pricefeed")
		if err != nil {
			t.Error(err)
		}
		found <- len(a.Usable())
	}()
	s := setupNode(t, 1)
	s.host.Bundle = []p2p.Peer{lost.addr}
	other := startNode(t, s)
	defer other.stop()
	served := record(t, 20, func(c *Claim) { now(c); c.Seq++ })
	other.take(served, ByNews, served.Owner)
	if n := <-found; n != 1 {
		t.Errorf("%d instances are usable", n)
	}
}

// Three HTTP servers behind one name on three providers. One
// provider dies under load: requests in flight may fail, none begun after the
// first failure was noticed; when it is back, traffic returns to it.
func TestProviderDiesUnderLoad(t *testing.T) {
	caller := startNodes(t, 1, nil)[0]
	webs, owners := make([]*webService, 3), make([]*testNode, 3)
	begin := func(i int) {
		s := setupNode(t, i+1)
		s.host.Bundle = []p2p.Peer{caller.addr}
		owners[i] = startNode(t, s)
		t.Cleanup(owners[i].stop)
		if err := owners[i].Register(webs[i].service("pricefeed")); err != nil {
			t.Fatal(err)
		}
	}
	for i := range webs {
		webs[i] = startWeb(t, fmt.Sprint(i))
		begin(i)
	}
	eventually(t, "all are known", func() bool { return caller.states("pricefeed")[Serving] == 3 })
	proxy := caller.proxyHTTP(t)
	l := startLoad(t, proxy, 4)
	defer l.stop()
	eventually(t, "all are called", func() bool {
		return webs[0].calls.Load() > 20 && webs[1].calls.Load() > 20 && webs[2].calls.Load() > 20
	})
	if n := l.failed.Load(); n != 0 {
		t.Fatalf("%d requests failed before anything happened", n)
	}
	owners[0].stop()
	ok := l.succeeded.Load()
	eventually(t, "requests go on", func() bool { return l.succeeded.Load() > ok+300 })
	inFlight := l.failed.Load()
	if inFlight > 4 {
		t.Errorf("%d requests failed: at most the 4 in flight may", inFlight)
	}
	calls := webs[0].calls.Load()
	begin(0)
	eventually(t, "traffic returns", func() bool { return webs[0].calls.Load() > calls+20 })
	if n := l.failed.Load(); n != inFlight {
		t.Errorf("%d requests failed while it came back", n-inFlight)
	}
}

// webLoad calls a service through the HTTP proxy, so many at a time.
type webLoad struct {
	succeeded, failed atomic.Int64
	stop              func()
}

func startLoad(t testing.TB, proxy string, workers int) *webLoad {
	l := &webLoad{}
	ctx, cancel := context.WithCancel(context.Background())
	var working sync.WaitGroup
	for range workers {
		working.Go(func() {
			for ctx.Err() == nil {
				l.call(ctx, proxy)
			}
		})
	}
	l.stop = sync.OnceFunc(func() { cancel(); working.Wait() })
	return l
}

func (l *webLoad) call(ctx context.Context, proxy string) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+proxy+"/", nil)
	if err != nil {
		panic(err)
	}
	r.Host = "pricefeed.mesh"
	answer, err := http.DefaultClient.Do(r)
	if err == nil {
		_, err = io.Copy(io.Discard, answer.Body)
		answer.Body.Close()
	}
	switch {
	case ctx.Err() != nil:
	case err != nil || answer.StatusCode != http.StatusOK:
		l.failed.Add(1)
	default:
		l.succeeded.Add(1)
	}
}
