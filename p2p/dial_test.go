package p2p

import (
	"bytes"
	"context"
	"io"
	"net"
	"testing"
	"time"
)

// Two hosts that have never met speak a protocol of their caller's own, each
// knowing who the other is.
func TestDialReachesStrangers(t *testing.T) {
	a, b := start(t, loopbackConfig()), start(t, loopbackConfig())
	err := b.Handle("echo", func(c *Conn) {
		if c.Peer() != a.ID() {
			t.Errorf("%s calls, not %s", c.Peer(), a.ID())
		}
		io.Copy(c, c)
		c.Close()
	})
	if err != nil {
		t.Fatal(err)
	}
	to, err := ParsePeer(b.Addrs()[0].String())
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{0, 1, 1 << 20} {
		c, err := a.Dial(testContext(t), to, "echo")
		if err != nil {
			t.Fatal(err)
		}
		var conn net.Conn = c
		if c.Peer() != b.ID() || conn.RemoteAddr().(*net.UDPAddr).Port == 0 || conn.LocalAddr() == nil {
			t.Errorf("dialled %s at %v", c.Peer(), conn.RemoteAddr())
		}
		sent := randomBytes(n)
		go func() { conn.Write(sent); c.CloseWrite() }()
		got, err := io.ReadAll(conn)
		if err != nil || !bytes.Equal(got, sent) {
			t.Errorf("%d of %d bytes came back, %v", len(got), n, err)
		}
		conn.Close()
	}
}

func TestDialSaysWhatIsWrong(t *testing.T) {
	a, b := start(t, loopbackConfig()), start(t, loopbackConfig())
	to, err := ParsePeer(b.Addrs()[0].String())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Dial(testContext(t), to, "nobody"); err == nil {
		t.Error("a protocol that nobody serves is dialled")
	}
	for _, name := range []string{"", "a/b", "a b", string(make([]byte, protocolBytesMax+1))} {
		if _, err := a.Dial(testContext(t), to, name); err == nil {
			t.Errorf("protocol %q is dialled", name)
		}
		if err := a.Handle(name, func(*Conn) {}); err == nil {
			t.Errorf("protocol %q is handled", name)
		}
	}
	if _, err := a.Dial(testContext(t), Peer{ID: a.ID()}, "echo"); err == nil {
		t.Error("we dial ourselves")
	}
	_, stranger := testIdentity(t)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if _, err := a.Dial(ctx, Peer{ID: stranger}, "echo"); err == nil {
		t.Error("a peer without an address is dialled")
	}
}

// Close ends the streams that are being served.
func TestCloseEndsServedStreams(t *testing.T) {
	a, b := start(t, loopbackConfig()), startOnly(t, loopbackConfig())
	serving := make(chan struct{})
	if err := b.Handle("hold", func(c *Conn) { close(serving); io.Copy(io.Discard, c) }); err != nil {
		t.Fatal(err)
	}
	to, err := ParsePeer(b.Addrs()[0].String())
	if err != nil {
		t.Fatal(err)
	}
	c, err := a.Dial(testContext(t), to, "hold")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Reset()
	if _, err := c.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	<-serving
	b.close(t)
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("the stream outlives its host")
	}
}
