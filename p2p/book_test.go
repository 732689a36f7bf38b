package p2p

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

func bookPeer(t testing.TB, i int, provider string) Peer {
	_, id := testIdentity(t)
	return Peer{ID: id, Provider: provider, Addrs: []ma.Multiaddr{ma.StringCast(fmt.Sprintf("/ip4/10.0.%d.%d/udp/1/quic-v1", i/256, i%256))}}
}

func TestBookOutlivesTheProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "book")
	log := slog.New(slog.DiscardHandler)
	b, err := openBook(path, log)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Unix(5000, 0).UTC()
	p := bookPeer(t, 1, "a")
	b.meet(p, now)
	b.tell(p.ID, []ma.Multiaddr{ma.StringCast("/ip4/6.6.6.6/udp/6/quic-v1")}, now) // hearsay does not replace what was seen
	told := bookPeer(t, 2, "")
	b.tell(told.ID, told.Addrs, now)
	if err := b.save(); err != nil {
		t.Fatal(err)
	}
	again, err := openBook(path, log)
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[peer.ID]bookEntry)
	for _, e := range again.entries() {
		got[e.ID] = e
	}
	e := got[p.ID]
	if len(got) != 2 || e.Provider != "a" || !e.Met.Equal(now) || len(e.Addrs) != 1 || !e.Addrs[0].Equal(p.Addrs[0]) {
		t.Errorf("%+v", got)
	}
	if !got[told.ID].Met.IsZero() {
		t.Error("a peer told of counts as met")
	}
	if info, _ := os.Stat(path); info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
}

func TestDamagedBookIsSetAside(t *testing.T) {
	for name, content := range map[string]string{
		"empty": "", "half": `{"version":1,"peers":[{"id":`, "version": `{"version":2}`,
		"dns": `{"version":1,"peers":[{"id":"12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN","addrs":["/dns4/x/tcp/1"]}]}`,
	} {
		path := filepath.Join(t.TempDir(), "book")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		b, err := openBook(path, slog.New(slog.DiscardHandler))
		if err != nil || len(b.entries()) != 0 {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if kept, _ := os.ReadFile(path + ".damaged"); string(kept) != content {
			t.Errorf("%s: the damaged book is lost", name)
		}
	}
}

func TestNoProviderFillsTheBook(t *testing.T) {
	b, err := openBook("", nil)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Unix(5000, 0)
	var rare []Peer
	for i := range 10 {
		rare = append(rare, bookPeer(t, i, "rare"))
		b.meet(rare[i], now) // met first: the oldest of all
	}
	for i := range bookPeersMax + 100 {
		b.meet(bookPeer(t, i, "common"), now.Add(time.Duration(i)*time.Second))
	}
	entries := b.entries()
	n := 0
	for _, e := range entries {
		if e.Provider == "rare" {
			n++
		}
	}
	if len(entries) != bookPeersMax || n != len(rare) {
		t.Errorf("%d entries, %d of the rare provider", len(entries), n)
	}
}

func FuzzDecodeBook(f *testing.F) {
	f.Add([]byte(`{"version":1,"peers":[{"id":"12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN","addrs":["/ip4/1.2.3.4/udp/1/quic-v1"],"met":"2026-01-01T00:00:00Z"}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		peers, err := decodeBook(text)
		for id, e := range peers {
			if err != nil || id.Validate() != nil || len(e.Addrs) > peerAddrsMax {
				t.Fatalf("%+v, %v", e, err)
			}
		}
	})
}

// A host that starts again knows nobody but its book.
func TestRestartWithTheBookAlone(t *testing.T) {
	a := start(t, loopbackConfig())
	c := loopbackConfig()
	c.Identity, _ = testIdentity(t)
	c.BookPath = filepath.Join(t.TempDir(), "book")
	c.Bundle = []Peer{{ID: a.ID(), Addrs: a.host.Addrs()}}
	first := startOnly(t, c)
	eventually(t, "the peer is in the book", func() bool { return len(first.book.addrs(a.ID())) > 0 })
	first.close(t)
	c.Bundle = nil
	again := start(t, c)
	eventually(t, "the peer is found again", func() bool { return again.session(a.ID()) != nil })
}
