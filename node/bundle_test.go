package node

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/holdfast-mesh/holdfast/node/ledger"
	"github.com/holdfast-mesh/holdfast/p2p"
)

// testGenesis has validators with keys from testKey and the given providers.
func testGenesis(t testing.TB, providers ...string) *ledger.Genesis {
	t.Helper()
	g := &ledger.Genesis{Name: "test", Params: ledger.DefaultParams()}
	for i, provider := range providers {
		about := About{Provider: provider, Region: "region-" + provider, Operator: "op", Addrs: []string{
			fmt.Sprintf("/ip4/127.0.0.1/udp/%d/quic-v1", 4001+i),
		}}
		b, err := about.Encode()
		if err != nil {
			t.Fatal(err)
		}
		g.Committee.Validators = append(g.Committee.Validators, ledger.Validator{Key: ledger.AccountOf(testKey(i)), Weight: 1, About: b})
	}
	return g
}

func testBundle(t testing.TB, bootstrap ...string) *Bundle {
	t.Helper()
	b, err := NewBundle(testGenesis(t, "a", "b", "c", "d"), bootstrap, testKey(99))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestBundleRoundTrip(t *testing.T) {
	stranger, validator := PeerIDOf(ledger.AccountOf(testKey(50))), PeerIDOf(ledger.AccountOf(testKey(2)))
	b := testBundle(t,
		"/ip4/192.0.2.1/udp/4001/quic-v1/p2p/"+stranger.String(),
		"/ip6/2001:db8::1/tcp/4001/p2p/"+stranger.String(),
		"/ip4/192.0.2.2/tcp/4001/p2p/"+validator.String())
	path := filepath.Join(t.TempDir(), "network.bundle")
	if err := b.WriteBundle(path); err != nil {
		t.Fatal(err)
	}
	got, err := ReadBundle(path)
	if err != nil {
		t.Fatal(err)
	}
	id, err := testGenesis(t, "a", "b", "c", "d").ID()
	if err != nil || got.ID() != id || got.Signer() != ledger.AccountOf(testKey(99)) || !bytes.Equal(got.Bytes(), b.Bytes()) {
		t.Errorf("%v: id %s, want %s; signer %s", err, got.ID(), id, got.Signer())
	}
	committee := got.Committee()
	if len(committee) != 4 || committee[2].ID != validator || committee[2].Provider != "c" || len(committee[2].Addrs) != 2 || len(committee[0].Addrs) != 1 {
		t.Errorf("committee %v", committee)
	}
	if peers := got.BootstrapPeers(); len(peers) != 1 || peers[0].ID != stranger || len(peers[0].Addrs) != 2 {
		t.Errorf("bootstrap %v", peers)
	}
	// What p2p gets, p2p takes.
	h := p2p.DefaultConfig()
	h.Identity, h.Network = identityOf(testKey(0)), got.ID().String()
	h.Committee, h.Bundle = committee, got.BootstrapPeers()
	if err := h.Validate(); err != nil {
		t.Error(err)
	}
	if v, ok := got.Validator(ledger.AccountOf(testKey(3))); !ok || v.Provider != "d" {
		t.Errorf("validator 3: %v %v", v, ok)
	}
	if _, ok := got.Validator(ledger.AccountOf(testKey(4))); ok {
		t.Error("a stranger is a validator")
	}
}

// TestBundleAddressesAreNotTheNetwork: renewed addresses, the same network.
func TestBundleAddressesAreNotTheNetwork(t *testing.T) {
	one := testBundle(t)
	two := testBundle(t, "/ip4/192.0.2.1/tcp/4001/p2p/"+PeerIDOf(ledger.AccountOf(testKey(50))).String())
	if one.ID() != two.ID() || bytes.Equal(one.Bytes(), two.Bytes()) {
		t.Error("the bootstrap addresses changed the network's id, or not the file")
	}
}

// TestBundleEveryBit: no changed bit, and no cut, goes unnoticed.
func TestBundleEveryBit(t *testing.T) {
	whole := testBundle(t, "/ip4/192.0.2.1/tcp/4001/p2p/"+PeerIDOf(ledger.AccountOf(testKey(50))).String()).Bytes()
	for i := range whole {
		for bit := range 8 {
			b := bytes.Clone(whole)
			b[i] ^= 1 << bit
			if _, err := DecodeBundle(b); !errors.Is(err, ErrBundle) {
				t.Fatalf("byte %d bit %d: %v", i, bit, err)
			}
		}
		if _, err := DecodeBundle(whole[:i]); !errors.Is(err, ErrBundle) {
			t.Fatalf("cut at %d: %v", i, err)
		}
	}
	if _, err := DecodeBundle(append(bytes.Clone(whole), 0)); !errors.Is(err, ErrBundle) {
		t.Errorf("a byte more: %v", err)
	}
}

func TestBundleRefuses(t *testing.T) {
	id := PeerIDOf(ledger.AccountOf(testKey(50))).String()
	many := make([]string, BootstrapMax+1)
	for i := range many {
		many[i] = fmt.Sprintf("/ip4/192.0.2.1/tcp/%d/p2p/%s", i+1, id)
	}
	noAbout := testGenesis(t, "a", "b", "c", "d")
	noAbout.Committee.Validators[1].About = []byte("hello")
	for name, tc := range map[string]struct {
		genesis   *ledger.Genesis
		bootstrap []string
		want      string
	}{
		"a DNS name":         {bootstrap: []string{"/dns4/example.org/tcp/4001/p2p/" + id}, want: "without a resolver"},
		"no peer id":         {bootstrap: []string{"/ip4/192.0.2.1/tcp/4001"}, want: "must end in /p2p/"},
		"nowhere to dial":    {bootstrap: []string{"/p2p/" + id}, want: "it says who, but not where"},
		"no address at all":  {bootstrap: []string{"example"}, want: "bootstrap address 0"},
		"a long address":     {bootstrap: []string{strings.Repeat("/ip4/1.2.3.4", 30)}, want: "at most 256"},
		"too many":           {bootstrap: many, want: "256"},
		"too many of a peer": {bootstrap: many[:AddrsMax+1], want: "more than 16"},
		"three validators":   {genesis: testGenesis(t, "a", "b", "c"), want: "at least 4"},
		"a heavy provider":   {genesis: testGenesis(t, "a", "b", "c", "a"), want: `provider "a" alone could halt`},
		"unread words":       {genesis: noAbout, want: "validator 1: what it says"},
		"no name":            {genesis: &ledger.Genesis{}, want: "name"},
	} {
		g := tc.genesis
		if g == nil {
			g = testGenesis(t, "a", "b", "c", "d")
		}
		if _, err := NewBundle(g, tc.bootstrap, testKey(99)); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", name, err, tc.want)
		}
	}
	if _, err := NewBundle(testGenesis(t, "a", "b", "c", "d"), nil, nil); !errors.Is(err, ErrBundle) {
		t.Errorf("without a key: %v", err)
	}
}

// TestBundleOfAnotherSigner: a bundle cannot be made another's.
func TestBundleOfAnotherSigner(t *testing.T) {
	var w bundleWire
	if err := decodeCanonical(testBundle(t).Bytes(), &w); err != nil {
		t.Fatal(err)
	}
	other := ledger.AccountOf(testKey(98))
	w.Signer = other[:]
	b, _ := cborWrite.Marshal(w)
	if _, err := DecodeBundle(b); err == nil || !strings.Contains(err.Error(), "signature is wrong") {
		t.Errorf("got %v", err)
	}
	w.Signature = nil
	b, _ = cborWrite.Marshal(w)
	if _, err := DecodeBundle(b); err == nil || !strings.Contains(err.Error(), "not signed") {
		t.Errorf("got %v", err)
	}
}

// TestBundleCanonical: the same content in other bytes is refused.
func TestBundleCanonical(t *testing.T) {
	b := testBundle(t).Bytes()
	if b[0]>>5 != 5 || b[0]&31 != 4 {
		t.Fatalf("the bundle begins with %#x", b[0])
	}
	long := append([]byte{0xb8, 4}, b[1:]...) // the map's length in two bytes
	if _, err := DecodeBundle(long); err == nil || !strings.Contains(err.Error(), "canonical") {
		t.Errorf("got %v", err)
	}
	var more map[string]any
	if err := cborRead.Unmarshal(b, &more); err != nil {
		t.Fatal(err)
	}
	more["zzz"] = 1
	extra, _ := cborWrite.Marshal(more)
	if _, err := DecodeBundle(extra); err == nil || !strings.Contains(err.Error(), "does not know") {
		t.Errorf("got %v", err)
	}
}

func TestReadBundleSaysWhichFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.bundle")
	if _, err := ReadBundle(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	if err := os.WriteFile(path, []byte("no bundle"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadBundle(path); !errors.Is(err, ErrBundle) || !strings.Contains(err.Error(), path) {
		t.Errorf("got %v", err)
	}
}

func TestPeerID(t *testing.T) {
	key := testKey(7)
	id, err := peer.IDFromPrivateKey(identityOf(key))
	if err != nil || PeerIDOf(ledger.AccountOf(key)) != id {
		t.Errorf("%v: %s and %s", err, PeerIDOf(ledger.AccountOf(key)), id)
	}
	if back, ok := KeyOfPeer(id); !ok || back != ledger.AccountOf(key) {
		t.Errorf("back: %s %v", back, ok)
	}
	if _, ok := KeyOfPeer("nobody"); ok {
		t.Error("nobody has a key")
	}
}

func FuzzDecodeBundle(f *testing.F) {
	f.Add(testBundle(f).Bytes())
	f.Add([]byte{0xa0})
	f.Fuzz(func(t *testing.T, b []byte) {
		bundle, err := DecodeBundle(b)
		if err != nil {
			return
		}
		again, err := DecodeBundle(bytes.Clone(bundle.Bytes()))
		if err != nil || again.ID() != bundle.ID() || bundle.Placement().Err() != nil {
			t.Fatalf("%v", err)
		}
	})
}

func FuzzDecodeAbout(f *testing.F) {
	b, _ := About{Provider: "a", Region: "b", Zone: "c", Operator: "d", Addrs: []string{"/ip4/1.2.3.4/tcp/1"}}.Encode()
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := DecodeAbout(b)
		if err != nil {
			return
		}
		again, err := a.Encode()
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("%v: %x from %x", err, again, b)
		}
	})
}
