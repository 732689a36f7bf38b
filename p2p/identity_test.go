package p2p

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/libp2p/go-libp2p/core/crypto"
)

func TestIdentityIsCreatedOnceAndKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	keys := make([]crypto.PrivKey, 8)
	var created sync.WaitGroup
	for i := range keys {
		created.Go(func() {
			key, err := LoadOrCreateIdentity(path)
			if err != nil {
				t.Error(err)
			}
			keys[i] = key
		})
	}
	created.Wait()
	for _, k := range keys {
		if !k.Equals(keys[0]) {
			t.Error("eight that create at once have different keys")
		}
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	left, _ := filepath.Glob(path + ".*")
	if len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

func TestIdentityRefusesWhatItMustNotTouch(t *testing.T) {
	dir := t.TempDir()
	rsa, _, err := crypto.GenerateKeyPair(crypto.Secp256k1, 0)
	if err != nil {
		t.Fatal(err)
	}
	other, err := EncodeIdentity(rsa)
	if err != nil {
		t.Fatal(err)
	}
	key, err := NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	good, err := EncodeIdentity(key)
	if err != nil {
		t.Fatal(err)
	}
	cases := map[string]struct {
		content []byte
		mode    os.FileMode
		want    string
	}{
		"empty":       {nil, 0o600, "not a key"},
		"cut short":   {good[:40], 0o600, "restore it from a copy"},
		"other kind":  {other, 0o600, "must be Ed25519"},
		"too large":   {make([]byte, 5000), 0o600, "not a key file"},
		"others read": {good, 0o644, "chmod 600"},
	}
	for name, c := range cases {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, c.content, c.mode); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadOrCreateIdentity(path); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
		if now, _ := os.ReadFile(path); string(now) != string(c.content) {
			t.Errorf("%s: the file was changed", name)
		}
	}
	if _, err := LoadOrCreateIdentity(filepath.Join(dir, "no", "such", "dir")); err == nil {
		t.Error("a directory that is not there is no error")
	}
}

func FuzzDecodeIdentity(f *testing.F) {
	key, _ := NewIdentity()
	good, _ := EncodeIdentity(key)
	f.Add(good)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		if key, err := DecodeIdentity(b); err == nil && key.Type() != crypto.Ed25519 {
			t.Errorf("a %s key", key.Type())
		}
	})
}
