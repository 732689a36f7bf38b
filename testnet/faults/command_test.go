package faults

import (
	"bufio"
	"encoding/json"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// served is a Filter with a socket, commanded over a unix socket.
func served(t *testing.T, seed uint64) (*Socket, *Client) {
	t.Helper()
	f := New(seed)
	path := filepath.Join(t.TempDir(), "f")
	server, err := Listen(path, f)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	client, err := Dial(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return wrapped(t, f), client
}

// reading stands for QUIC, which reads all the time.
func reading(t *testing.T, s *Socket) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			if _, err := s.ReadBatch(messages(), 0); err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() { s.Close(); <-done })
}

// heardFrom asks until a run is heard completely or the machine must be broken.
func heardFrom(t *testing.T, c *Client, run uint64, from string, enough func(Heard) bool) Heard {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		all, err := c.Heard(t.Context(), run)
		if err != nil {
			t.Fatal(err)
		}
		if h := all[from]; enough(h) || time.Now().After(deadline) {
			return h
		}
	}
}

// A rule set on one side is measured on the other, direction by direction.
func TestProbesMeasureWhatRulesDo(t *testing.T) {
	a, atA := served(t, 1)
	b, atB := served(t, 2)
	reading(t, a)
	reading(t, b)
	probe := func(c *Client, run uint64, to *Socket) {
		t.Helper()
		if err := c.Probe(t.Context(), Probing{Run: run, To: []string{at(to)}, Count: 100, Every: 100 * time.Microsecond}); err != nil {
			t.Fatal(err)
		}
	}
	all := func(h Heard) bool { return h.Count == 100 }

	probe(atA, 1, b)
	if h := heardFrom(t, atB, 1, at(a), all); !all(h) || h.Copies != 0 {
		t.Errorf("without rules b hears %+v", h)
	}
	if err := atA.Set(t.Context(), Table{at(b): {Drop: 1}}); err != nil {
		t.Fatal(err)
	}
	probe(atA, 2, b)
	probe(atB, 2, a)
	if h := heardFrom(t, atA, 2, at(b), all); !all(h) {
		t.Errorf("against a one-way cut a hears %+v", h)
	}
	if h, err := atB.Heard(t.Context(), 2); err != nil || len(h) != 0 {
		t.Errorf("across the cut b hears %+v, %v", h, err)
	}
	if c, err := atA.Counters(t.Context()); err != nil || c[at(b)].Dropped != 100 {
		t.Errorf("counters %+v, %v", c, err)
	}
	if err := atA.Set(t.Context(), Table{at(b): {Delay: 40 * time.Millisecond, Duplicate: 1, Reorder: 0.5}}); err != nil {
		t.Fatal(err)
	}
	probe(atA, 3, b)
	h := heardFrom(t, atB, 3, at(a), func(h Heard) bool { return h.Count == 100 && h.Copies == 100 })
	if h.Count != 100 || h.Copies != 100 || h.Overtaken == 0 || h.Delay < 40*time.Millisecond {
		t.Errorf("under delay, duplication and reordering b hears %+v", h)
	}
	if err := atA.Set(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	probe(atA, 4, b)
	if h := heardFrom(t, atB, 4, at(a), all); !all(h) || h.Copies != 0 || h.Delay >= 40*time.Millisecond {
		t.Errorf("after healing b hears %+v", h)
	}
}

// Rubbish comes out of the node's own socket, at its rate, under its rules.
func TestFloodIsSentThroughTheRules(t *testing.T) {
	a, atA := served(t, 1)
	to, cut := loopback(t), loopback(t)
	if err := atA.Set(t.Context(), Table{at(cut): {Drop: 1}}); err != nil {
		t.Fatal(err)
	}
	flood := Flooding{To: []string{at(to), at(cut)}, Rate: 500, For: 100 * time.Millisecond}
	if err := atA.Flood(t.Context(), flood); err != nil {
		t.Fatal(err)
	}
	for _, b := range received(t, to, 50) {
		if len(b) != floodBytes || b[0]&0x40 == 0 {
			t.Fatalf("a packet of %d bytes that begins with %x", len(b), b[0])
		}
	}
	c, err := atA.Counters(t.Context())
	if err != nil || c[at(to)].Passed != 50 || c[at(cut)].Dropped != 50 {
		t.Errorf("from %s: %+v, %v", at(a), c, err)
	}
	if err := atA.Flood(t.Context(), Flooding{To: flood.To, Rate: FloodRateMax + 1, For: time.Second}); err == nil {
		t.Error("a flood beyond the bound is sent")
	}
}

func TestBadRequestsAreAnsweredAndChangeNothing(t *testing.T) {
	_, client := served(t, 1)
	raw, err := net.Dial("unix", client.conn.RemoteAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	lines := bufio.NewScanner(raw)
	for _, bad := range []string{
		``, `{`, `{}`, `[]`, `{"cut":"aws"}`, `{"set":{"x":{"drop":1}}}`, `{"set":{"127.0.0.1:1":{"drop":7}}}`,
		`{"set":{"127.0.0.1:1":{"loss":1}}}`, `{"probe":{"count":0}}`, `{"probe":{"count":1,"to":["nowhere"]}}`,
	} {
		if _, err := raw.Write([]byte(bad + "\n")); err != nil {
			t.Fatal(err)
		}
		if !lines.Scan() {
			t.Fatalf("%q ended the dialogue", bad)
		}
		var r response
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil || r.Error == "" {
			t.Errorf("%q is answered with %s", bad, lines.Bytes())
		}
	}
	if _, err := client.Counters(t.Context()); err != nil {
		t.Error(err)
	}
}

// heldInput stands for the pipe a testnet holds: closing it is the testnet's death.
func heldInput(t *testing.T) *os.File {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	before := os.Stdin
	os.Stdin = r
	t.Cleanup(func() { os.Stdin = before; w.Close() })
	return w
}

func TestEnvironment(t *testing.T) {
	t.Setenv(Environment, "")
	listen, closeAll, err := FromEnvironment()
	if listen != nil || err != nil || closeAll() != nil {
		t.Fatalf("a node of a real network has faults: %v", err)
	}

	input := heldInput(t)
	path := filepath.Join(t.TempDir(), "f")
	t.Setenv(Environment, path)
	to := loopback(t)
	text, err := json.Marshal(Start{Seed: 3, Rules: Table{at(to): {Drop: 1}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(StartPath(path), text, 0o600); err != nil {
		t.Fatal(err)
	}
	listen, closeAll, err = FromEnvironment()
	if err != nil {
		t.Fatal(err)
	}
	s, err := listen("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.WriteTo([]byte("the first packet"), to.LocalAddr()); err != nil {
		t.Fatal(err)
	}
	client, err := Dial(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if c, err := client.Counters(t.Context()); err != nil || c[at(to)].Dropped != 1 {
		t.Errorf("the first packet was not under the rules: %+v, %v", c, err)
	}
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM)
	defer signal.Stop(ended)
	input.Close()
	<-ended // a node whose testnet has died is told to end
	if err := closeAll(); err != nil {
		t.Error(err)
	}

	if err := os.WriteFile(StartPath(path), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := FromEnvironment(); err == nil || !strings.Contains(err.Error(), StartPath(path)) {
		t.Errorf("half a file is reported as %v", err)
	}
}
