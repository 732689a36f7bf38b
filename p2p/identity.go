package p2p

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/libp2p/go-libp2p/core/crypto"
)

// identityMode is read and write for the owner alone: whoever reads the file is the peer.
const identityMode = 0o600

// identityBytesMax bounds a key file; an encoded Ed25519 key has 68 bytes.
const identityBytesMax = 4096

// NewIdentity makes a fresh Ed25519 key.
func NewIdentity() (crypto.PrivKey, error) {
	key, _, err := crypto.GenerateEd25519Key(rand.Reader)
	return key, err
}

// EncodeIdentity returns the bytes of a key as LoadOrCreateIdentity stores them.
// A caller that encrypts keys at rest encrypts these.
func EncodeIdentity(key crypto.PrivKey) ([]byte, error) {
	return crypto.MarshalPrivateKey(key)
}

// DecodeIdentity reads what EncodeIdentity wrote. It takes Ed25519 keys only.
func DecodeIdentity(b []byte) (crypto.PrivKey, error) {
	if len(b) > identityBytesMax {
		return nil, fmt.Errorf("identity: %d bytes: at most %d", len(b), identityBytesMax)
	}
	key, err := crypto.UnmarshalPrivateKey(b)
	if err != nil {
		return nil, fmt.Errorf("identity: not a key: %w", err)
	}
	if key.Type() != crypto.Ed25519 {
		return nil, fmt.Errorf("identity: a %s key: it must be Ed25519", key.Type())
	}
	return key, nil
}

// LoadOrCreateIdentity reads the key at path, or makes one there with mode 0600
// if there is no file. A damaged file, or one that others may read, is an error
// and is left as it is. Two processes that create at once get the same key.
func LoadOrCreateIdentity(path string) (crypto.PrivKey, error) {
	key, err := loadIdentity(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	if err := createIdentity(path); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("identity: creating %s: %w", path, err)
	}
	return loadIdentity(path)
}

func loadIdentity(path string) (crypto.PrivKey, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("identity: %w", err)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return nil, fmt.Errorf("identity: %s has mode %04o, so others may read the key: run chmod 600 %s", path, mode, path)
	}
	if info.Size() > identityBytesMax {
		return nil, fmt.Errorf("identity: %s has %d bytes: this is not a key file", path, info.Size())
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("identity: %w", err)
	}
	key, err := DecodeIdentity(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w; restore it from a copy, or move it away to get a new identity", path, err)
	}
	return key, nil
}

// createIdentity writes a whole key beside path and links it there, so that no
// crash leaves half a key and no race replaces one.
func createIdentity(path string) error {
	key, err := NewIdentity()
	if err != nil {
		return err
	}
	b, err := EncodeIdentity(key)
	if err != nil {
		return err
	}
	tmp, err := writeTemp(path, b, identityMode)
	if err != nil {
		return err
	}
	defer os.Remove(tmp)
	if err := os.Link(tmp, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// writeTemp writes and syncs b to a new file beside path and returns its name.
func writeTemp(path string, b []byte, mode fs.FileMode) (string, error) {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".new-*")
	if err != nil {
		return "", err
	}
	err = errors.Join(f.Chmod(mode), writeAndSync(f, b), f.Close())
	if err != nil {
		os.Remove(f.Name())
		return "", err
	}
	return f.Name(), nil
}

func writeAndSync(f *os.File, b []byte) error {
	if _, err := f.Write(b); err != nil {
		return err
	}
	return f.Sync()
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
