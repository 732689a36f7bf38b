package node

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-mesh/holdfast/node/ledger"
)

var madeAt = time.UnixMilli(1_700_000_000_000)

func testApplication(t testing.TB, network string, i int) *Application {
	t.Helper()
	about := About{Provider: "aws", Region: "frankfurt", Zone: "a", Operator: "op.example", Addrs: []string{"/ip4/192.0.2.1/udp/4001/quic-v1"}}
	a, err := NewApplication(network, about, madeAt, testKey(i))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestApplicationRoundTrip(t *testing.T) {
	a := testApplication(t, "example", 1)
	dir := t.TempDir()
	path := filepath.Join(dir, "one"+ApplicationSuffix)
	if err := a.WriteApplication(path); err != nil {
		t.Fatal(err)
	}
	if err := a.WriteApplication(path); !errors.Is(err, os.ErrExist) {
		t.Errorf("over another: %v", err)
	}
	got, err := ReadApplication(path)
	if err != nil {
		t.Fatal(err)
	}
	if got.Network != "example" || got.Key != ledger.AccountOf(testKey(1)) || got.MadeMs != madeAt.UnixMilli() || got.Zone != "a" || len(got.Addrs) != 1 || !bytes.Equal(got.Bytes(), a.Bytes()) {
		t.Errorf("got %+v", got)
	}
}

// TestApplicationEveryBit: no changed bit, and no cut, goes unnoticed.
func TestApplicationEveryBit(t *testing.T) {
	whole := testApplication(t, "example", 1).Bytes()
	for i := range whole {
		for bit := range 8 {
			b := bytes.Clone(whole)
			b[i] ^= 1 << bit
			if _, err := DecodeApplication(b); !errors.Is(err, ErrApplication) {
				t.Fatalf("byte %d bit %d: %v", i, bit, err)
			}
		}
		if _, err := DecodeApplication(whole[:i]); !errors.Is(err, ErrApplication) {
			t.Fatalf("cut at %d: %v", i, err)
		}
	}
}

// signWire signs whatever stands in an application, as a program that checks nothing
// would.
func signWire(t *testing.T, fields map[string]any, key ed25519.PrivateKey) []byte {
	t.Helper()
	message, err := signedPart(applicationTag, fields)
	if err != nil {
		t.Fatal(err)
	}
	fields["signature"] = ed25519.Sign(key, message)
	b, err := cborWrite.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestApplicationRefuses(t *testing.T) {
	about, err := About{Provider: "aws", Region: "frankfurt"}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	fields := func(change func(map[string]any)) map[string]any {
		account := ledger.AccountOf(testKey(1))
		f := map[string]any{"network": "example", "key": account[:], "made_ms": madeAt.UnixMilli(), "about": about}
		if change != nil {
			change(f)
		}
		return f
	}
	if _, err := DecodeApplication(signWire(t, fields(nil), testKey(1))); err != nil {
		t.Fatalf("the sound one: %v", err)
	}
	for _, tc := range []struct {
		name   string
		signer int
		change func(map[string]any)
		want   string
	}{
		{"signed by another", 2, nil, "somebody applies with a key that is not his"},
		{"an unknown field", 1, func(f map[string]any) { f["weight"] = 99 }, "does not know"},
		{"no network", 1, func(f map[string]any) { f["network"] = "" }, "a network's name has"},
		{"a long network", 1, func(f map[string]any) { f["network"] = strings.Repeat("x", 65) }, "a network's name has"},
		{"no time", 1, func(f map[string]any) { f["made_ms"] = 0 }, "does not say when"},
		{"no provider", 1, func(f map[string]any) { f["about"], _ = cborWrite.Marshal(About{Region: "frankfurt"}) }, `provider ""`},
		{"rubbish about itself", 1, func(f map[string]any) { f["about"] = []byte("hello") }, "cannot be read"},
		{"a short key", 1, func(f map[string]any) { f["key"] = []byte{1} }, "not signed"},
		{"oversized", 1, func(f map[string]any) { f["about"] = make([]byte, ApplicationBytesMax) }, "another kind of file"},
	} {
		_, err := DecodeApplication(signWire(t, fields(tc.change), testKey(tc.signer)))
		if !errors.Is(err, ErrApplication) || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", tc.name, err, tc.want)
		}
	}
	if _, err := NewApplication("example", About{Provider: "AWS"}, madeAt, testKey(1)); err == nil || !strings.Contains(err.Error(), `provider "AWS"`) || !strings.Contains(err.Error(), `region ""`) {
		t.Errorf("not all faults at once: %v", err)
	}
}

func TestReadApplications(t *testing.T) {
	dir := t.TempDir()
	put := func(name string, b []byte) {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := ReadApplications(dir, "example"); err == nil || !strings.Contains(err.Error(), "network apply") {
		t.Errorf("an empty directory: %v", err)
	}
	put("x.application", testApplication(t, "example", 1).Bytes())
	put("a.application", testApplication(t, "example", 2).Bytes())
	all, err := ReadApplications(dir, "example")
	if err != nil || len(all) != 2 || !slices.IsSortedFunc(all, func(a, b *Application) int { return bytes.Compare(a.Key[:], b.Key[:]) }) {
		t.Fatalf("%v: %v", err, all)
	}
	put("same.application", testApplication(t, "example", 1).Bytes())
	put("other.application", testApplication(t, "other", 3).Bytes())
	put("big.application", make([]byte, ApplicationBytesMax+1))
	put("notes.txt", []byte("hello"))
	_, err = ReadApplications(dir, "example")
	if err == nil {
		t.Fatal("all was taken")
	}
	for _, want := range []string{"same.application and ", "keep the newer one", `is for the network "other"`, "big.application has more than", "notes.txt does not end in"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no word of %q in:\n%v", want, err)
		}
	}
}

func FuzzDecodeApplication(f *testing.F) {
	f.Add(testApplication(f, "example", 1).Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := DecodeApplication(b)
		if err != nil {
			return
		}
		again, err := DecodeApplication(a.Bytes())
		if err != nil || !bytes.Equal(again.Bytes(), b) {
			t.Fatalf("what was decoded is not decoded again: %v", err)
		}
	})
}
