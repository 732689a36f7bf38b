package node

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/holdfast-mesh/holdfast/node/ledger"
	"github.com/holdfast-mesh/holdfast/p2p"
)

// Bounds of a bundle.
const (
	// BundleBytesMax leaves room beside the largest genesis for the addresses.
	BundleBytesMax = ledger.GenesisBytesMax + 1<<20
	// BootstrapMax is how many bootstrap addresses there may be: all are dialled
	// every second when away.
	BootstrapMax = 256
	// AddrBytesMax bounds one address; the longest raw ones are under 200 bytes.
	AddrBytesMax = 256
	// AddrsMax bounds the addresses of one validator.
	AddrsMax = 16
	// LabelBytesMax bounds the name of a provider, region, zone or operator.
	LabelBytesMax = 64
)

// bundleTag begins what the signer of a bundle signs, and nothing else that is
// ever signed with such a key.
const bundleTag = "holdfast/bundle/1\n"

// ErrBundle says that bytes are not a network's bundle, or not an acceptable one.
var ErrBundle = errors.New("not a valid network bundle")

// Bundle is a network in one file: its genesis, and addresses to begin with,
// signed. Only NewBundle and DecodeBundle make one, so whoever holds a Bundle
// holds a valid genesis, a committee that no provider can halt and a good
// signature. It never changes; many goroutines may read it.
//
// The network's id is the CID of the genesis alone, which is also what every
// operation is signed for. So the addresses can be renewed and signed again by
// anybody, and it stays the same network.
type Bundle struct {
	genesis    *ledger.Genesis
	id         ledger.Digest
	validators []Validator
	bootstrap  []p2p.Peer
	signer     ledger.Account
	issued     time.Time
	raw        []byte
}

// bundleWire is the file: DAG-CBOR, in its one canonical form.
type bundleWire struct {
	Genesis   []byte   `cbor:"genesis"`             // ledger.Genesis.Encode
	Bootstrap []string `cbor:"bootstrap,omitempty"` // multiaddrs with /p2p/, raw
	IssuedMs  int64    `cbor:"issued_ms,omitempty"` // Unix milliseconds of the signer's clock
	Signer    []byte   `cbor:"signer"`
	Signature []byte   `cbor:"signature,omitempty"`
}

// NewBundle makes and signs, as of now, the bundle of a network. Bootstrap holds multiaddrs
// that end in /p2p/ and a peer id; validators' own addresses are in the genesis
// already, see About. The error lists every fault of genesis, placement and
// addresses at once.
func NewBundle(genesis *ledger.Genesis, bootstrap []string, signer ed25519.PrivateKey) (*Bundle, error) {
	if len(signer) != ed25519.PrivateKeySize {
		return nil, fmt.Errorf("%w: the signer's key has %d bytes, an Ed25519 private key has %d", ErrBundle, len(signer), ed25519.PrivateKeySize)
	}
	g, err := genesis.Encode()
	if err != nil {
		return nil, err
	}
	account := ledger.AccountOf(signer)
	w := bundleWire{Genesis: g, Bootstrap: bootstrap, IssuedMs: time.Now().UnixMilli(), Signer: account[:]}
	message, err := signedPart(bundleTag, w.unsigned())
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBundle, err)
	}
	w.Signature = ed25519.Sign(signer, message)
	raw, err := cborWrite.Marshal(w)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBundle, err)
	}
	return DecodeBundle(raw)
}

// DecodeBundle reads a bundle, checks everything about it and verifies its
// signature. It keeps b.
func DecodeBundle(b []byte) (*Bundle, error) {
	if len(b) > BundleBytesMax {
		return nil, fmt.Errorf("%w: %d bytes, at most %d are allowed", ErrBundle, len(b), BundleBytesMax)
	}
	var w bundleWire
	if err := decodeCanonical(b, &w); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBundle, err)
	}
	if err := w.verify(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBundle, err)
	}
	genesis, err := ledger.DecodeGenesis(w.Genesis)
	if err != nil {
		return nil, fmt.Errorf("%w: its genesis: %w", ErrBundle, err)
	}
	out := &Bundle{genesis: genesis, signer: ledger.Account(w.Signer), issued: time.UnixMilli(w.IssuedMs), raw: b}
	out.id, _ = genesis.ID() // what was decoded can be encoded
	var faults [3]error
	out.validators, faults[0] = ValidatorsOf(&genesis.Committee)
	if faults[0] == nil {
		faults[1] = PlacementOf(out.validators).Err()
	}
	out.bootstrap, faults[2] = parseBootstrap(w.Bootstrap)
	if err := errors.Join(faults[:]...); err != nil {
		return nil, fmt.Errorf("%w:\n%w", ErrBundle, err)
	}
	return out, nil
}

func (w bundleWire) unsigned() bundleWire {
	w.Signature = nil
	return w
}

func (w bundleWire) verify() error {
	if len(w.Signer) != ed25519.PublicKeySize || len(w.Signature) != ed25519.SignatureSize {
		return errors.New("it is not signed")
	}
	message, err := signedPart(bundleTag, w.unsigned())
	if err != nil {
		return err
	}
	if !ed25519.Verify(w.Signer, message, w.Signature) {
		return errors.New("its signature is wrong: the file was changed after it was signed; get it again")
	}
	if w.IssuedMs < 0 {
		return errors.New("it was signed before 1970: is the signer's clock right?")
	}
	return nil
}

// ReadBundle reads a bundle from a file.
func ReadBundle(path string) (*Bundle, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("bundle: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, BundleBytesMax+1))
	if err != nil {
		return nil, fmt.Errorf("bundle: %w", err)
	}
	bundle, err := DecodeBundle(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return bundle, nil
}

// WriteBundle writes the bundle to a file, whole or not at all, in place of one
// that may be there.
func (b *Bundle) WriteBundle(path string) error {
	if err := replaceFile(path, b.raw, 0o644); err != nil {
		return fmt.Errorf("bundle: %w", err)
	}
	return nil
}

// Bytes are the bundle's file. Read only.
func (b *Bundle) Bytes() []byte { return b.raw }

// ID is the network's id. Its CID as text names the network for people, in p2p
// protocols and in the API.
func (b *Bundle) ID() ledger.Digest { return b.id }

// Genesis is what the network starts from. Read only.
func (b *Bundle) Genesis() *ledger.Genesis { return b.genesis }

// Signer is who vouches for the addresses. Whether to believe them is for the
// one who joins to say; the genesis speaks for itself by its CID.
func (b *Bundle) Signer() ledger.Account { return b.signer }

// Issued is when it was signed, by the signer's clock. A bundle of the first versions
// does not say so, and counts as signed in 1970: as older than any that does.
func (b *Bundle) Issued() time.Time { return b.issued }

// OlderThan says whether it is an earlier word of the same signer on the same
// network. Of two signers neither is the older: whom to believe is for the one who
// joins to say.
func (b *Bundle) OlderThan(other *Bundle) bool {
	return b.id == other.id && b.signer == other.signer && b.issued.Before(other.issued)
}

// Validators are the first committee, in its order. Read only.
func (b *Bundle) Validators() []Validator { return b.validators }

// Validator finds the validator with this key.
func (b *Bundle) Validator(key ledger.Account) (Validator, bool) {
	at := slices.IndexFunc(b.validators, func(v Validator) bool { return v.Key == key })
	if at < 0 {
		return Validator{}, false
	}
	return b.validators[at], true
}

// Placement says what it takes to halt the network.
func (b *Bundle) Placement() Placement { return PlacementOf(b.validators) }

// Committee are the validators as p2p wants them, with the bootstrap addresses
// that are theirs.
func (b *Bundle) Committee() []p2p.Peer {
	peers := make([]p2p.Peer, len(b.validators))
	for i := range b.validators {
		peers[i] = b.validators[i].Peer()
		for _, boot := range b.bootstrap {
			if boot.ID == peers[i].ID {
				peers[i].Addrs = mergeAddrs(peers[i].Addrs, boot.Addrs)
			}
		}
	}
	return peers
}

// BootstrapPeers are the peers to begin with that are no validators.
func (b *Bundle) BootstrapPeers() []p2p.Peer {
	var peers []p2p.Peer
	for _, boot := range b.bootstrap {
		if !slices.ContainsFunc(b.validators, func(v Validator) bool { return v.PeerID() == boot.ID }) {
			peers = append(peers, boot)
		}
	}
	return peers
}

// parseBootstrap reads bootstrap addresses, those of one peer together.
func parseBootstrap(addrs []string) ([]p2p.Peer, error) {
	if len(addrs) > BootstrapMax {
		return nil, fmt.Errorf("%d bootstrap addresses, at most %d are allowed", len(addrs), BootstrapMax)
	}
	var peers []p2p.Peer
	var faults []error
	for i, addr := range addrs {
		p, err := parseDialable(addr)
		if err != nil {
			faults = append(faults, fmt.Errorf("bootstrap address %d: %w", i, err))
			continue
		}
		at := slices.IndexFunc(peers, func(q p2p.Peer) bool { return q.ID == p.ID })
		if at < 0 {
			peers = append(peers, p)
			continue
		}
		if peers[at].Addrs = append(peers[at].Addrs, p.Addrs...); len(peers[at].Addrs) > AddrsMax {
			faults = append(faults, fmt.Errorf("bootstrap address %d: peer %s has more than %d", i, p.ID, AddrsMax))
		}
	}
	return peers, errors.Join(faults...)
}

// parseDialable reads a peer's address, which must say where to dial.
func parseDialable(addr string) (p2p.Peer, error) {
	if len(addr) > AddrBytesMax {
		return p2p.Peer{}, fmt.Errorf("it has %d bytes, at most %d are allowed", len(addr), AddrBytesMax)
	}
	p, err := p2p.ParsePeer(addr)
	if err == nil && len(p.Addrs) == 0 {
		err = fmt.Errorf("peer address %q: it says who, but not where: put /ip4/.../udp/.../quic-v1 before /p2p/", addr)
	}
	return p, err
}

// mergeAddrs appends the addresses that are not there yet, to AddrsMax.
func mergeAddrs(to, more []ma.Multiaddr) []ma.Multiaddr {
	to = slices.Clip(to)
	for _, a := range more {
		if len(to) < AddrsMax && !slices.ContainsFunc(to, a.Equal) {
			to = append(to, a)
		}
	}
	return to
}

// PeerIDOf is the peer id of a validator's or node's key: its one Ed25519 key
// signs blocks and proves who it is to peers, each under tags of its own.
func PeerIDOf(key ledger.Account) peer.ID {
	public, err := crypto.UnmarshalEd25519PublicKey(key[:])
	if err != nil {
		panic("node: invariant broken: any 32 bytes are a public key: " + err.Error())
	}
	id, err := peer.IDFromPublicKey(public)
	if err != nil {
		panic("node: invariant broken: a public key has a peer id: " + err.Error())
	}
	return id
}

// KeyOfPeer is the inverse of PeerIDOf; ok is false for peers with another kind
// of key, which no node of ours has.
func KeyOfPeer(id peer.ID) (key ledger.Account, ok bool) {
	public, err := id.ExtractPublicKey()
	if err != nil || public.Type() != crypto.Ed25519 {
		return key, false
	}
	raw, err := public.Raw()
	if err != nil || len(raw) != len(key) {
		return key, false
	}
	return ledger.Account(raw), true
}

// What we write and read in CBOR. The core deterministic form of maps with text
// keys is DAG-CBOR's.
var (
	cborWrite = must(cbor.CoreDetEncOptions().EncMode())
	cborRead  = must(cbor.DecOptions{
		DupMapKey:         cbor.DupMapKeyEnforcedAPF,
		IndefLength:       cbor.IndefLengthForbidden,
		TagsMd:            cbor.TagsForbidden,
		ExtraReturnErrors: cbor.ExtraDecErrorUnknownField,
		FieldNameMatching: cbor.FieldNameMatchingCaseSensitive,
		MaxNestedLevels:   4,            // a list in a map
		MaxArrayElements:  BootstrapMax, // the longest list
		MaxMapPairs:       16,
	}.DecMode())
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// decodeCanonical reads bytes that must be the one form of what they say.
func decodeCanonical(b []byte, v any) error {
	err := cborRead.Unmarshal(b, v)
	if unknown := (*cbor.UnknownFieldError)(nil); errors.As(err, &unknown) {
		return errors.New("it says something this version does not know: it was made by a newer holdfast, or by no holdfast; upgrade, or ask for another")
	}
	if err != nil {
		return err
	}
	again, err := cborWrite.Marshal(v)
	if err != nil {
		return err
	}
	if !bytes.Equal(again, b) {
		return errors.New("the bytes are not in canonical form")
	}
	return nil
}
