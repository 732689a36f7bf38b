package ledger

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"
)

// Digest is a SHA-256 digest. Together with the DAG-CBOR codec it is a CID;
// inside this package only the digest is carried.
type Digest [sha256.Size]byte

// CID returns the content identifier of the DAG-CBOR object with this digest.
func (d Digest) CID() cid.Cid {
	mh, err := multihash.Encode(d[:], multihash.SHA2_256)
	if err != nil {
		panic("ledger: invariant broken: SHA-256 is a known multihash: " + err.Error())
	}
	return cid.NewCidV1(cid.DagCBOR, mh)
}

// String returns the CID as text, as programs and people see it.
func (d Digest) String() string { return d.CID().String() }

// cidTextMax bounds the text of a CID in the longest encoding there is of it.
const cidTextMax = 512

// ParseDigest reads the CID of a network, an operation or a block, as Digest.String
// writes it: version 1, of DAG-CBOR, by SHA-256. Other encodings of the same bytes
// are read too.
func ParseDigest(s string) (d Digest, err error) {
	if len(s) > cidTextMax {
		return d, fmt.Errorf("a text of %d bytes is no CID", len(s))
	}
	c, err := cid.Decode(s)
	if err != nil {
		return d, fmt.Errorf("%q is no CID: %w", s, err)
	}
	hash, err := multihash.Decode(c.Hash())
	if err != nil || c.Version() != 1 || c.Type() != cid.DagCBOR || hash.Code != multihash.SHA2_256 || len(hash.Digest) != len(d) {
		return d, fmt.Errorf("%q is a CID, but not of a dag-cbor object by SHA-256, as all of Holdfast are", s)
	}
	return Digest(hash.Digest), nil
}

// Account is who holds and trades: an Ed25519 public key.
type Account [32]byte

// String returns the key in hexadecimal.
func (a Account) String() string { return hex.EncodeToString(a[:]) }

// AssetID and MarketID are positions in the order of listing, from 0. Listing
// never reorders and nothing is ever unlisted, so a position means the same
// for ever.
type (
	AssetID  uint16
	MarketID uint16
)

// OrderID and WithdrawalID are given by the ledger, from 1, in committed
// order. Zero names nothing.
type (
	OrderID      uint64
	WithdrawalID uint64
)

// ClientID is an account's own name for an order, such as a UUID or a short
// text padded with zero bytes. The zero ClientID means none.
type ClientID [16]byte

// Bounds of an operation. They hold for every value DecodeOp lets through.
const (
	OpBytesMax     = 16 << 10      // an encoded op; what dag puts into a block is bounded by it
	ActionsMax     = 64            // actions in an op: a quoter's whole ladder fits
	TimeMsMax      = 1<<53 - 1     // times and nonces stay exact in every JSON reader
	WindowMsMax    = 24 * 3600_000 // an op can stay in flight for a day
	ReferenceMax   = 128           // bytes of a deposit id, an address, a transaction id
	SignatureBytes = 64
)

// Draft is what an account wants to sign: an operation without its signature.
type Draft struct {
	Network  Digest  // the CID of the genesis of the network it is meant for
	Account  Account // who acts
	Nonce    uint64  // unused by this account so far; read as milliseconds
	TimeMs   int64   // the signer's clock, in Unix milliseconds
	WindowMs int64   // how long after TimeMs it may still execute
	Actions  []Action
}

// Unverified is a decoded operation nobody has checked the signature of. Only
// a Verifier turns it into an Op.
type Unverified struct {
	Draft
	Signature [SignatureBytes]byte
	raw       []byte // the bytes it was decoded from, shared with the caller of DecodeOp
	// raw[sigFrom:sigTo] is the signature's field, name and value.
	sigFrom, sigTo int
}

// Op is an operation of this network whose signature is good. Only
// verification makes one, so whoever holds an Op need not check it again.
// It is immutable and may be shared among goroutines.
type Op struct {
	id       Digest
	network  Digest
	account  Account
	nonce    uint64
	timeMs   int64
	windowMs int64
	actions  []Action
	raw      []byte
}

// ID returns the digest of the op's bytes, signature included: its CID.
func (o *Op) ID() Digest { return o.id }

// Network returns the id of the network the op is for.
func (o *Op) Network() Digest { return o.network }

// Account returns who signed.
func (o *Op) Account() Account { return o.account }

// Nonce returns the op's nonce.
func (o *Op) Nonce() uint64 { return o.nonce }

// TimeMs returns the signer's time in Unix milliseconds.
func (o *Op) TimeMs() int64 { return o.timeMs }

// WindowMs returns how long after TimeMs the op may execute, in milliseconds.
func (o *Op) WindowMs() int64 { return o.windowMs }

// Actions returns the actions in order. The slice belongs to the op: read only.
func (o *Op) Actions() []Action { return o.actions }

// Bytes returns the canonical encoding, signature included. Read only.
func (o *Op) Bytes() []byte { return o.raw }

// ExpiresMs returns the last commit time at which the op can execute.
func (o *Op) ExpiresMs() int64 { return o.timeMs + o.windowMs }
