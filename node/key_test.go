package node

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"

	"github.com/holdfast-mesh/holdfast/node/ledger"
)

// testKey is a key that is the same in every run.
func testKey(seed int) ed25519.PrivateKey {
	s := sha256.Sum256(binary.BigEndian.AppendUint64([]byte("node test key"), uint64(seed)))
	return ed25519.NewKeyFromSeed(s[:])
}

// cheapPassphrases makes a passphrase cost less than a second.
func cheapPassphrases(t *testing.T) {
	before := scryptWork
	scryptWork = 4
	t.Cleanup(func() { scryptWork = before })
}

func passphrase(s string) Lock {
	return Lock{Passphrase: func(bool) (string, error) { return s, nil }}
}

func writeTestFile(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// postQuantumFile is what age-keygen -pq makes.
func postQuantumFile(t *testing.T) string {
	t.Helper()
	one, err := age.GenerateHybridIdentity()
	if err != nil {
		t.Fatal(err)
	}
	return writeTestFile(t, filepath.Join(t.TempDir(), "identity"), one.String()+"\n")
}

// identityFile is what age-keygen makes.
func identityFile(t *testing.T) string {
	t.Helper()
	one, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return writeTestFile(t, filepath.Join(t.TempDir(), "identity"), "# created: now\n"+one.String()+"\n")
}

func TestKeyAtRest(t *testing.T) {
	cheapPassphrases(t)
	file, pq := identityFile(t), postQuantumFile(t)
	for name, tc := range map[string]struct {
		create, load Lock
		encrypted    bool
	}{
		"plain":      {Lock{Plain: true}, Lock{}, false},
		"passphrase": {passphrase("correct horse"), passphrase("correct horse"), true},
		"identity":   {Lock{IdentityFile: file}, Lock{IdentityFile: file}, true},
		"new kind":   {Lock{IdentityFile: pq}, Lock{IdentityFile: pq}, true},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "a", "b", "node.key")
			key, err := CreateKey(path, tc.create)
			if err != nil {
				t.Fatal(err)
			}
			info, err := os.Stat(path)
			if err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("%v: mode %v", err, info.Mode())
			}
			if dir, _ := os.Stat(filepath.Dir(path)); dir.Mode().Perm() != 0o700 {
				t.Errorf("the directory has mode %v", dir.Mode())
			}
			loaded, err := LoadKey(path, tc.load)
			if err != nil || !loaded.Equal(key) {
				t.Errorf("loading: %v", err)
			}
			told, err := InspectKey(path)
			if err != nil || told.Account != ledger.AccountOf(key) || told.Encrypted != tc.encrypted {
				t.Errorf("inspecting: %v %+v", err, told)
			}
			raw, _ := os.ReadFile(path)
			if tc.encrypted && (bytes.Contains(raw, []byte(pemType)) || bytes.Contains(raw, key.Seed())) {
				t.Error("the key can be read in the file")
			}
			again, err := CreateKey(path, tc.create)
			if !errors.Is(err, ErrKeyExists) || again != nil {
				t.Errorf("creating it again: %v", err)
			}
			if now, _ := os.ReadFile(path); !bytes.Equal(now, raw) {
				t.Error("the key was overwritten")
			}
			if left, _ := filepath.Glob(path + "*"); len(left) != 1 {
				t.Errorf("files left behind: %v", left)
			}
		})
	}
}

func TestKeyStaysLocked(t *testing.T) {
	cheapPassphrases(t)
	path := filepath.Join(t.TempDir(), "key")
	if _, err := CreateKey(path, passphrase("correct horse")); err != nil {
		t.Fatal(err)
	}
	for name, lock := range map[string]Lock{
		"nothing":            {},
		"a wrong passphrase": passphrase("correct house"),
		"none":               passphrase(""),
		"another's identity": {IdentityFile: identityFile(t)},
	} {
		if key, err := LoadKey(path, lock); !errors.Is(err, ErrKeyLocked) || key != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	mine, theirs := identityFile(t), identityFile(t)
	path = filepath.Join(t.TempDir(), "key")
	if _, err := CreateKey(path, Lock{IdentityFile: mine}); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadKey(path, Lock{IdentityFile: theirs}); !errors.Is(err, ErrKeyLocked) {
		t.Errorf("got %v", err)
	}
}

func TestCreateKeyRefuses(t *testing.T) {
	dir := t.TempDir()
	asked := errors.New("nobody there")
	for want, lock := range map[string]Lock{
		"neither is given":   {},
		"take at least":      passphrase("1234567"),
		"nobody there":       {Passphrase: func(bool) (string, error) { return "", asked }},
		"no such file":       {IdentityFile: filepath.Join(dir, "none")},
		"age identity":       {IdentityFile: writeTestFile(t, filepath.Join(dir, "bad"), "AGE-SECRET-KEY-1")},
		"not the right file": {IdentityFile: writeTestFile(t, filepath.Join(dir, "big"), strings.Repeat("#", identityBytesMax+1))},
	} {
		path := filepath.Join(dir, "key")
		if _, err := CreateKey(path, lock); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
		if _, err := os.Stat(path); err == nil {
			t.Errorf("%q: a key was made", want)
		}
	}
}

func TestLoadKeyRefuses(t *testing.T) {
	dir := t.TempDir()
	good := filepath.Join(dir, "good")
	if _, err := CreateKey(good, Lock{Plain: true}); err != nil {
		t.Fatal(err)
	}
	raw, _ := os.ReadFile(good)
	first, body, _ := strings.Cut(string(raw), "\n")
	other := keyHeader + ledger.AccountOf(testKey(1)).String()
	for want, text := range map[string]string{
		"not a key file":   "hello",
		"not a key file ":  keyHeader + "12\n" + body,
		"somebody changed": other + "\n" + body,
		"is damaged":       first + "\n" + body[:len(body)/2],
		"damaged: restore": first + "\n-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
		"the key in it":    first + "\n" + body + "more",
		"more than":        first + "\n" + strings.Repeat("x", keyFileBytesMax),
		"":                 "",
	} {
		path := writeTestFile(t, filepath.Join(dir, "bad"), text)
		if _, err := LoadKey(path, Lock{}); err == nil || !strings.Contains(err.Error(), strings.TrimSpace(want)) || !strings.Contains(err.Error(), path) {
			t.Errorf("%v, want %q and the file", err, want)
		}
	}
	for _, mode := range []os.FileMode{0o640, 0o604, 0o644, 0o620} {
		if err := os.Chmod(good, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadKey(good, Lock{}); err == nil || !strings.Contains(err.Error(), "chmod 600 "+good) {
			t.Errorf("mode %v: %v", mode, err)
		}
	}
	if _, err := LoadKey(dir, Lock{}); err == nil || !strings.Contains(err.Error(), "not a file") {
		t.Errorf("a directory: %v", err)
	}
	if _, err := LoadKey(filepath.Join(dir, "none"), Lock{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

func TestReadPassphrase(t *testing.T) {
	path := filepath.Join(t.TempDir(), "passphrase")
	for text, want := range map[string]string{"secret words\n": "secret words", "secret": "secret", "": "", "\n": "", "one\ntwo\n": "", strings.Repeat("x", passphraseBytesMax+1): ""} {
		writeTestFile(t, path, text)
		got, err := ReadPassphrase(path)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
}

// TestManyCreateOneKey: whoever comes second leaves the first one's key alone.
func TestManyCreateOneKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	made := make(chan ed25519.PrivateKey)
	for range 8 {
		go func() {
			key, err := CreateKey(path, Lock{Plain: true})
			if err != nil && !errors.Is(err, ErrKeyExists) {
				t.Error(err)
			}
			made <- key
		}()
	}
	var winner ed25519.PrivateKey
	for range 8 {
		if key := <-made; key != nil {
			if winner != nil {
				t.Error("two made a key")
			}
			winner = key
		}
	}
	if key, err := LoadKey(path, Lock{}); err != nil || !key.Equal(winner) {
		t.Errorf("%v: another key than the one made", err)
	}
}

func FuzzOpenKey(f *testing.F) {
	whole, _ := sealKey(testKey(1), Lock{Plain: true})
	_, body, _ := bytes.Cut(whole, []byte("\n"))
	f.Add(body)
	f.Fuzz(func(t *testing.T, b []byte) {
		if key, err := openKey(b, Lock{}); err == nil && len(key) != ed25519.PrivateKeySize {
			t.Fatalf("a key of %d bytes", len(key))
		}
	})
}
