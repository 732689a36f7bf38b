//go:build linux

package faults

import (
	"encoding/binary"
	"net"
	"slices"
	"testing"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

func loopback(t testing.TB) *net.UDPConn {
	t.Helper()
	u, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { u.Close() })
	return u
}

func wrapped(t testing.TB, f *Filter) *Socket {
	t.Helper()
	s := f.Wrap(loopback(t))
	t.Cleanup(func() { s.Close() })
	return s
}

// messages is room for a batch, as QUIC makes it.
func messages() []ipv4.Message {
	ms := make([]ipv4.Message, 8)
	for i := range ms {
		ms[i].Buffers, ms[i].OOB = [][]byte{make([]byte, 2048)}, make([]byte, 128)
	}
	return ms
}

func at(c net.PacketConn) string { return c.LocalAddr().String() }

// inSegments is the control message by which QUIC has the kernel cut a write.
func inSegments(size uint16) []byte {
	b := make([]byte, unix.CmsgSpace(2))
	binary.NativeEndian.PutUint64(b, uint64(unix.CmsgLen(2)))
	binary.NativeEndian.PutUint32(b[8:], unix.IPPROTO_UDP)
	binary.NativeEndian.PutUint32(b[12:], unix.UDP_SEGMENT)
	binary.NativeEndian.PutUint16(b[unix.CmsgLen(0):], size)
	return b
}

// received reads n packets.
func received(t *testing.T, u *net.UDPConn, n int) (out []string) {
	t.Helper()
	b := make([]byte, 2048)
	if err := u.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	for len(out) < n {
		k, err := u.Read(b)
		if err != nil {
			t.Fatalf("%d of %d packets: %v", len(out), n, err)
		}
		out = append(out, string(b[:k]))
	}
	return out
}

// A batch that the kernel would cut is cut here, and each packet has its own fate:
// of a batch of eight some are lost and some are not.
func TestSegmentsHaveFatesOfTheirOwn(t *testing.T) {
	to := loopback(t)
	f := New(1)
	if err := f.Set(Table{at(to): {Drop: 0.5}}); err != nil {
		t.Fatal(err)
	}
	s := wrapped(t, f)
	const batches, inBatch = 50, 8
	mixed := 0
	for range batches {
		before := f.Counters()[at(to)]
		b := []byte("aaaabbbbccccddddeeeeffffgggghh") // the last is shorter
		n, _, err := s.WriteMsgUDP(b, inSegments(4), to.LocalAddr().(*net.UDPAddr))
		if err != nil || n != len(b) {
			t.Fatalf("wrote %d: %v", n, err)
		}
		after := f.Counters()[at(to)]
		passed, dropped := after.Passed-before.Passed, after.Dropped-before.Dropped
		if passed+dropped != inBatch {
			t.Fatalf("a batch of %d is counted as %d passed and %d dropped", inBatch, passed, dropped)
		}
		if passed > 0 && dropped > 0 {
			mixed++
		}
		for _, p := range received(t, to, int(passed)) {
			if len(p) != 4 && p != "hh" {
				t.Fatalf("a packet %q", p)
			}
		}
	}
	if mixed < batches/2 {
		t.Errorf("only %d of %d batches lost a part", mixed, batches)
	}
}

// Without a rule the batch goes to the kernel whole, and is counted as packets.
func TestWithoutARuleBatchesStayWhole(t *testing.T) {
	to := loopback(t)
	f := New(1)
	s := wrapped(t, f)
	if _, _, err := s.WriteMsgUDP([]byte("aaaabbbbcc"), inSegments(4), to.LocalAddr().(*net.UDPAddr)); err != nil {
		t.Fatal(err)
	}
	if got := received(t, to, 3); !slices.Equal(got, []string{"aaaa", "bbbb", "cc"}) {
		t.Errorf("received %q", got)
	}
	if c := f.Counters()[at(to)]; c != (Counters{Passed: 3}) {
		t.Errorf("counted %+v", c)
	}
}

func TestDelayedDuplicatedAndReorderedPacketsArrive(t *testing.T) {
	to := loopback(t)
	f := New(1)
	s := wrapped(t, f)
	send := func(text string) {
		t.Helper()
		if _, err := s.WriteTo([]byte(text), to.LocalAddr()); err != nil {
			t.Fatal(err)
		}
	}
	set := func(r Rule) {
		t.Helper()
		if err := f.Set(Table{Others: r}); err != nil {
			t.Fatal(err)
		}
	}
	set(Rule{Delay: 30 * time.Millisecond})
	began := time.Now()
	send("late")
	if got := received(t, to, 1); got[0] != "late" || time.Since(began) < 30*time.Millisecond {
		t.Errorf("received %q after %v", got, time.Since(began))
	}
	set(Rule{Duplicate: 1})
	send("twice")
	if got := received(t, to, 2); !slices.Equal(got, []string{"twice", "twice"}) {
		t.Errorf("received %q", got)
	}
	set(Rule{Reorder: 1})
	send("first")
	set(Rule{})
	send("second")
	if got := received(t, to, 2); !slices.Equal(got, []string{"second", "first"}) {
		t.Errorf("received %q", got)
	}
	if c := f.Counters()[at(to)]; c != (Counters{Passed: 5, Delayed: 2, Duplicated: 1}) {
		t.Errorf("counted %+v", c)
	}
}

// Packets from a remote that may not be heard, and probes, are taken out of a
// batch; what is left keeps its bytes, sender and buffers.
func TestReadBatchLetsInWhatItMay(t *testing.T) {
	good, bad := loopback(t), loopback(t)
	f := New(1)
	s := wrapped(t, f)
	if err := f.Set(Table{at(bad): {DropIn: 1}}); err != nil {
		t.Fatal(err)
	}
	probing := wrapped(t, New(2))
	write := func(from net.PacketConn, text string) {
		t.Helper()
		if _, err := from.WriteTo([]byte(text), s.LocalAddr()); err != nil {
			t.Fatal(err)
		}
	}
	write(bad, "no")
	write(good, "yes")
	if err := probing.filter.Probe(t.Context(), Probing{Run: 9, To: []string{at(s)}, Count: 1}); err != nil {
		t.Fatal(err)
	}
	write(bad, "not this either")
	write(good, "and this")

	var got []string
	for len(got) < 2 {
		ms := messages()
		n, err := s.ReadBatch(ms, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range ms[:n] {
			if m.Addr.String() != at(good) {
				t.Errorf("from %v", m.Addr)
			}
			got = append(got, string(m.Buffers[0][:m.N]))
		}
	}
	if !slices.Equal(got, []string{"yes", "and this"}) {
		t.Errorf("let in %q", got)
	}
	if c := f.Counters()[at(bad)]; c.DroppedIn != 2 || c.Received != 0 {
		t.Errorf("counted %+v", c)
	}
	if h := f.Heard(9)[at(probing)]; h.Count != 1 {
		t.Errorf("heard %+v", h)
	}
}
