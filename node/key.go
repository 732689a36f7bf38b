package node

import (
	"bufio"
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"filippo.io/age"
	"filippo.io/age/armor"
	"github.com/libp2p/go-libp2p/core/crypto"

	"github.com/holdfast-mesh/holdfast/node/ledger"
)

// A key file is text. Its first line tells the public half, so that nobody needs
// a passphrase to say whose it is:
//
//	# holdfast ed25519 9f86d081884c7d65...
//
// Then comes the private half, PKCS #8 in PEM, either as it is or encrypted by
// age (armored). Other tools read both: openssl pkey -in FILE, and
// tail -n +2 FILE | age -d. Nodes and wallets keep their keys the same way.
const (
	keyHeader = "# holdfast ed25519 "
	pemType   = "PRIVATE KEY"
	ageStart  = armor.Header

	keyMode = 0o600 // whoever reads the file is the node, or has the money

	keyFileBytesMax    = 16 << 10 // an encrypted key is about 700 bytes
	identityBytesMax   = 64 << 10 // of an age identity file, which may hold several
	passphraseBytesMax = 1 << 10  // of a file with one line
)

// PassphraseMin is the least length of a new passphrase, in bytes: the file may
// be stolen and then only its length, and age's slow scrypt, stand in the way.
const PassphraseMin = 8

var (
	// ErrKeyExists says that a key file is there already. Keys are never overwritten.
	ErrKeyExists = errors.New("there is a key already")
	// ErrKeyLocked says that a key file is encrypted and what would open it is
	// missing or wrong.
	ErrKeyLocked = errors.New("the key is locked")
)

// Lock says how a key is encrypted at rest, or how to open one that is. A plain
// key opens without.
type Lock struct {
	// Plain makes a new key without encryption, which is for test networks.
	Plain bool
	// IdentityFile is a file of age identities, as age-keygen makes it. A new key
	// is encrypted to all of them; any opens it.
	IdentityFile string
	// Passphrase is asked when no identity file is given. fresh says that it is
	// for a new key, so a person may be asked twice.
	Passphrase func(fresh bool) (string, error)
}

// scryptWork is the cost of a passphrase, as a power of two: age's own default,
// about a second. Tests make it less.
var scryptWork = 18

// CreateKey makes a fresh key at path with mode 0600, and the directory it is in
// with mode 0700. It never overwrites: the error is then ErrKeyExists.
func CreateKey(path string, lock Lock) (ed25519.PrivateKey, error) {
	if _, err := os.Lstat(path); err == nil {
		return nil, fmt.Errorf("%s: %w: it is left as it is", path, ErrKeyExists)
	}
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making a key: %w", err)
	}
	b, err := sealKey(key, lock)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("making a key: %w", err)
	}
	err = createFile(path, b, keyMode)
	if errors.Is(err, fs.ErrExist) {
		err = fmt.Errorf("%s: %w: it is left as it is", path, ErrKeyExists)
	}
	if err != nil {
		return nil, err
	}
	return key, nil
}

// LoadKey reads a key. It refuses a file that others may read.
func LoadKey(path string, lock Lock) (ed25519.PrivateKey, error) {
	account, body, err := readKeyFile(path)
	if err != nil {
		return nil, err
	}
	key, err := openKey(body, lock)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if ledger.AccountOf(key) != account {
		return nil, fmt.Errorf("%s: its first line names %s, but the key in it is %s: somebody changed the file; restore it from a copy",
			path, account, ledger.AccountOf(key))
	}
	return key, nil
}

// KeyInfo is what a key file says without being opened.
type KeyInfo struct {
	Account   ledger.Account // the public half
	Encrypted bool
}

// InspectKey reads what needs no passphrase.
func InspectKey(path string) (KeyInfo, error) {
	account, body, err := readKeyFile(path)
	return KeyInfo{Account: account, Encrypted: bytes.HasPrefix(body, []byte(ageStart))}, err
}

// sealKey is the content of a key file.
func sealKey(key ed25519.PrivateKey, lock Lock) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	private := pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: der})
	var out bytes.Buffer
	fmt.Fprintf(&out, "%s%s\n", keyHeader, ledger.AccountOf(key))
	if lock.Plain {
		out.Write(private)
		return out.Bytes(), nil
	}
	to, err := lock.recipients()
	if err != nil {
		return nil, err
	}
	armored := armor.NewWriter(&out)
	w, err := age.Encrypt(armored, to...)
	if err != nil {
		return nil, fmt.Errorf("encrypting the key: %w", err)
	}
	if _, err := w.Write(private); err != nil {
		return nil, fmt.Errorf("encrypting the key: %w", err)
	}
	if err := errors.Join(w.Close(), armored.Close()); err != nil {
		return nil, fmt.Errorf("encrypting the key: %w", err)
	}
	return out.Bytes(), nil
}

// readKeyFile reads the public half and, unopened, the private one.
func readKeyFile(path string) (account ledger.Account, body []byte, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return account, nil, fmt.Errorf("key: %w", err)
	}
	if !info.Mode().IsRegular() {
		return account, nil, fmt.Errorf("%s: not a file, so not a key", path)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return account, nil, fmt.Errorf("%s has mode %04o, so others may read the key: run chmod 600 %s", path, mode, path)
	}
	b, err := readBounded(path, keyFileBytesMax)
	if err != nil {
		return account, nil, fmt.Errorf("key: %w", err)
	}
	first, body, _ := bytes.Cut(b, []byte("\n"))
	public, ok := strings.CutPrefix(strings.TrimSpace(string(first)), keyHeader)
	if ok {
		account, err = ledger.ParseAccount(public)
	}
	if !ok || err != nil {
		return account, nil, fmt.Errorf("%s: not a key file of holdfast: it should begin with %q and the public key", path, keyHeader)
	}
	return account, body, nil
}

// openKey reads the private half.
func openKey(body []byte, lock Lock) (ed25519.PrivateKey, error) {
	if bytes.HasPrefix(body, []byte(ageStart)) {
		var err error
		if body, err = decrypt(body, lock); err != nil {
			return nil, err
		}
	}
	block, rest := pem.Decode(body)
	if block == nil || block.Type != pemType || len(bytes.TrimSpace(rest)) != 0 {
		return nil, errors.New("the key in it is damaged: restore the file from a copy")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("the key in it is damaged: restore the file from a copy: %w", err)
	}
	key, ok := parsed.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("the key in it is a %T: it must be Ed25519", parsed)
	}
	return key, nil
}

func decrypt(armored []byte, lock Lock) ([]byte, error) {
	identities, err := lock.identities()
	if err != nil {
		return nil, err
	}
	r, err := age.Decrypt(armor.NewReader(bytes.NewReader(armored)), identities...)
	if noMatch := (*age.NoIdentityMatchError)(nil); errors.As(err, &noMatch) {
		return nil, fmt.Errorf("%w: the passphrase is wrong, or the identity is another's", ErrKeyLocked)
	}
	if err != nil {
		return nil, fmt.Errorf("decrypting the key: %w", err)
	}
	b, err := io.ReadAll(io.LimitReader(r, keyFileBytesMax))
	if err != nil {
		return nil, fmt.Errorf("decrypting the key: %w", err)
	}
	return b, nil
}

// recipients are whom a new key is encrypted to.
func (l Lock) recipients() ([]age.Recipient, error) {
	if l.IdentityFile == "" {
		passphrase, err := l.ask(true)
		if err != nil {
			return nil, err
		}
		if len(passphrase) < PassphraseMin {
			return nil, fmt.Errorf("the passphrase has %d bytes: take at least %d", len(passphrase), PassphraseMin)
		}
		r, err := age.NewScryptRecipient(passphrase)
		if err != nil {
			return nil, err
		}
		r.SetWorkFactor(scryptWork)
		return []age.Recipient{r}, nil
	}
	identities, err := readIdentities(l.IdentityFile)
	if err != nil {
		return nil, err
	}
	var to []age.Recipient
	for _, id := range identities {
		switch id := id.(type) {
		case *age.X25519Identity:
			to = append(to, id.Recipient())
		case *age.HybridIdentity:
			to = append(to, id.Recipient())
		default:
			return nil, fmt.Errorf("%s: holds a %T, which nothing can be encrypted to", l.IdentityFile, id)
		}
	}
	return to, nil
}

// identities are what an encrypted key is tried with.
func (l Lock) identities() ([]age.Identity, error) {
	if l.IdentityFile != "" {
		return readIdentities(l.IdentityFile)
	}
	passphrase, err := l.ask(false)
	if err != nil {
		return nil, err
	}
	id, err := age.NewScryptIdentity(passphrase)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKeyLocked, err)
	}
	return []age.Identity{id}, nil
}

func (l Lock) ask(fresh bool) (string, error) {
	if l.Passphrase == nil {
		return "", fmt.Errorf("%w: it needs a passphrase or an identity file, and neither is given", ErrKeyLocked)
	}
	return l.Passphrase(fresh)
}

func readIdentities(path string) ([]age.Identity, error) {
	b, err := readBounded(path, identityBytesMax)
	if err != nil {
		return nil, fmt.Errorf("age identity: %w", err)
	}
	identities, err := age.ParseIdentities(bytes.NewReader(b))
	if err != nil {
		return nil, fmt.Errorf("age identity: %s: %w", path, err)
	}
	return identities, nil
}

// identityOf is a key as p2p wants it; of no key it is a fresh one.
func identityOf(key ed25519.PrivateKey) crypto.PrivKey {
	if key == nil {
		_, key, _ = ed25519.GenerateKey(nil) // never fails
	}
	identity, err := crypto.UnmarshalEd25519PrivateKey(key)
	if err != nil {
		panic("node: invariant broken: an Ed25519 key is an identity: " + err.Error())
	}
	return identity
}

// ReadPassphrase reads the first line of a file, which must be all there is.
func ReadPassphrase(path string) (string, error) {
	b, err := readBounded(path, passphraseBytesMax)
	if err != nil {
		return "", fmt.Errorf("passphrase: %w", err)
	}
	lines := bufio.NewScanner(bytes.NewReader(b))
	lines.Scan()
	passphrase := lines.Text()
	if passphrase == "" || lines.Scan() {
		return "", fmt.Errorf("passphrase: %s: it should hold one line, the passphrase", path)
	}
	return passphrase, nil
}

func readBounded(path string, most int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(b)) > most {
		err = fmt.Errorf("%s has more than %d bytes: this is not the right file", path, most)
	}
	return b, err
}

// createFile writes a whole new file, durably. No crash leaves half of it and no
// race replaces one: the error is then fs.ErrExist.
func createFile(path string, b []byte, mode fs.FileMode) error {
	tmp, err := writeBeside(path, b, mode)
	if err != nil {
		return err
	}
	defer os.Remove(tmp)
	if err := os.Link(tmp, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// replaceFile writes a whole file, durably, in place of one that may be there.
func replaceFile(path string, b []byte, mode fs.FileMode) error {
	tmp, err := writeBeside(path, b, mode)
	if err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		os.Remove(tmp)
		return err
	}
	return syncDir(filepath.Dir(path))
}

// writeBeside writes and syncs a new file in path's directory.
func writeBeside(path string, b []byte, mode fs.FileMode) (string, error) {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".new-*")
	if err != nil {
		return "", err
	}
	_, err = f.Write(b)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err != nil {
		os.Remove(f.Name())
		return "", err
	}
	return f.Name(), nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
