package node

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/holdfast-mesh/holdfast/node/ledger"
)

// Bounds of applications.
const (
	// ApplicationBytesMax bounds one application: what a validator may say about
	// itself, the network's name, key, time and signature.
	ApplicationBytesMax = 2 * ledger.ValidatorAboutMax
	// ApplicationSuffix ends the name of an application's file.
	ApplicationSuffix = ".application"
	// applicationsMax bounds the files of a directory that are looked at; a committee
	// has fewer.
	applicationsMax = 1024
)

// applicationTag begins what an applicant signs, and nothing else that is ever
// signed with such a key.
const applicationTag = "holdfast/application/1\n"

// ErrApplication says that bytes are not an application to be a validator, or not
// an acceptable one.
var ErrApplication = errors.New("not a valid application")

// Application is what an operator sends to whoever makes a network: this node, at
// this place, wants to be a validator of it. It is signed with the key it names,
// so nobody applies for another, and nobody changes what another has said. Only
// NewApplication and DecodeApplication make one. It never changes.
type Application struct {
	// Network is the name of the network that is to be. An application for one is
	// none for another.
	Network string
	// Key is the node's: it signs blocks and proves who it is to peers.
	Key ledger.Account
	// MadeMs tells which of two is the newer, in Unix milliseconds of the
	// applicant's clock.
	MadeMs int64
	About

	raw []byte
}

// applicationWire is the file: DAG-CBOR, in its one canonical form.
type applicationWire struct {
	Network   string `cbor:"network"`
	Key       []byte `cbor:"key"`
	MadeMs    int64  `cbor:"made_ms"`
	About     []byte `cbor:"about"` // About.Encode, as it will stand in the genesis
	Signature []byte `cbor:"signature,omitempty"`
}

// NewApplication makes and signs an application for the node with this key. The
// error lists what is wrong with about.
func NewApplication(network string, about About, made time.Time, key ed25519.PrivateKey) (*Application, error) {
	if len(key) != ed25519.PrivateKeySize {
		return nil, fmt.Errorf("%w: the key has %d bytes, an Ed25519 private key has %d", ErrApplication, len(key), ed25519.PrivateKeySize)
	}
	words, err := about.Encode()
	if err != nil {
		return nil, fmt.Errorf("%w:\n%w", ErrApplication, err)
	}
	account := ledger.AccountOf(key)
	w := applicationWire{Network: network, Key: account[:], MadeMs: made.UnixMilli(), About: words}
	message, err := signedPart(applicationTag, w.unsigned())
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrApplication, err)
	}
	w.Signature = ed25519.Sign(key, message)
	raw, err := cborWrite.Marshal(w)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrApplication, err)
	}
	return DecodeApplication(raw)
}

// DecodeApplication reads an application, checks everything about it and verifies
// its signature. It keeps b.
func DecodeApplication(b []byte) (*Application, error) {
	if len(b) > ApplicationBytesMax {
		return nil, fmt.Errorf("%w: %d bytes, at most %d are allowed: this is another kind of file", ErrApplication, len(b), ApplicationBytesMax)
	}
	var w applicationWire
	if err := decodeCanonical(b, &w); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrApplication, err)
	}
	if err := w.verify(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrApplication, err)
	}
	about, err := DecodeAbout(w.About)
	if err != nil {
		return nil, fmt.Errorf("%w:\n%w", ErrApplication, err)
	}
	return &Application{Network: w.Network, Key: ledger.Account(w.Key), MadeMs: w.MadeMs, About: about, raw: b}, nil
}

func (w applicationWire) unsigned() applicationWire {
	w.Signature = nil
	return w
}

func (w applicationWire) verify() error {
	if len(w.Key) != ed25519.PublicKeySize || len(w.Signature) != ed25519.SignatureSize {
		return errors.New("it is not signed")
	}
	message, err := signedPart(applicationTag, w.unsigned())
	if err != nil {
		return err
	}
	if !ed25519.Verify(w.Key, message, w.Signature) {
		return errors.New("its signature is wrong: it was changed after it was signed, or somebody applies with a key that is not his; ask the operator for it again")
	}
	if n := len(w.Network); n == 0 || n > ledger.GenesisNameMax || !utf8.ValidString(w.Network) {
		return fmt.Errorf("it is for the network %q: a network's name has 1 to %d bytes", w.Network, ledger.GenesisNameMax)
	}
	if w.MadeMs <= 0 {
		return errors.New("it does not say when it was made: is the applicant's clock right?")
	}
	return nil
}

// signedPart is what a signature is over: the tag, and the canonical form of all
// but the signature.
func signedPart(tag string, unsigned any) ([]byte, error) {
	b, err := cborWrite.Marshal(unsigned)
	if err != nil {
		return nil, err
	}
	return append([]byte(tag), b...), nil
}

// Bytes are the application's file. Read only.
func (a *Application) Bytes() []byte { return a.raw }

// Validator is the application as a member of a committee; every applicant weighs
// the same.
func (a *Application) Validator() Validator { return Validator{Key: a.Key, Weight: 1, About: a.About} }

// ReadApplication reads an application from a file.
func ReadApplication(path string) (*Application, error) {
	b, err := readBounded(path, ApplicationBytesMax)
	if err != nil {
		return nil, fmt.Errorf("application: %w", err)
	}
	a, err := DecodeApplication(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return a, nil
}

// WriteApplication writes the application to a new file, whole or not at all.
func (a *Application) WriteApplication(path string) error {
	if err := createFile(path, a.raw, 0o644); err != nil {
		return fmt.Errorf("application: %w", err)
	}
	return nil
}

// ReadApplications reads all applications of a directory that is for nothing else,
// for the network with this name. They come in the order of their keys: whoever has
// the same files makes the same network of them. The error lists every fault of
// every file at once; nothing is left out silently.
func ReadApplications(dir, network string) ([]*Application, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("applications: %w", err)
	}
	if len(entries) > applicationsMax {
		return nil, fmt.Errorf("applications: %s has %d files, at most %d are looked at: is this the right directory?", dir, len(entries), applicationsMax)
	}
	var all []*Application
	var faults []error
	from := make(map[ledger.Account]string) // the file
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if !strings.HasSuffix(e.Name(), ApplicationSuffix) {
			faults = append(faults, fmt.Errorf("%s does not end in %s: rename it or take it out, so that no applicant is forgotten", path, ApplicationSuffix))
			continue
		}
		a, err := ReadApplication(path)
		if err != nil {
			faults = append(faults, err)
			continue
		}
		if a.Network != network {
			faults = append(faults, fmt.Errorf("%s is for the network %q, this one is called %q: ask the operator for one for this network", path, a.Network, network))
		}
		if first, twice := from[a.Key]; twice {
			faults = append(faults, fmt.Errorf("%s and %s are of one node, %s: keep the newer one", first, path, PeerIDOf(a.Key)))
			continue
		}
		from[a.Key] = path
		all = append(all, a)
	}
	if len(entries) == 0 {
		faults = append(faults, fmt.Errorf("%s holds no applications: ask the operators for what `holdfast network apply` made", dir))
	}
	slices.SortFunc(all, func(a, b *Application) int { return slices.Compare(a.Key[:], b.Key[:]) })
	return all, errors.Join(faults...)
}
