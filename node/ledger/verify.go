package ledger

import (
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/oasisprotocol/curve25519-voi/primitives/ed25519"
	"github.com/oasisprotocol/curve25519-voi/primitives/ed25519/extra/cache"
)

// signTag begins everything an account signs, so that no signature made for an
// operation can pass as one for a block, a checkpoint or anything else.
const signTag = "holdfast op 1\x00"

// keysCached is how many accounts' keys a Verifier keeps ready for use. A key
// ready for use takes about 1.3 kB, so all of them 20 MB.
const keysCached = 1 << 14

// Why a decoded operation does not become an Op.
var (
	ErrSignature = errors.New("ledger: the signature is not of this account over this operation for this network")
	ErrNetwork   = errors.New("ledger: the operation is for another network")
)

// zip215 accepts exactly the signatures that satisfy the cofactored equation,
// with points in any encoding and of any order and S below the group's order
// (https://zips.z.cash/zip-0215). It is the one rule under which checking
// singly and in batches gives the same answer for every signature: any other
// lets a signature be made that some nodes accept and others refuse.
var zip215 = &ed25519.Options{Verify: ed25519.VerifyOptionsZIP_215}

// Verifier turns operations of one network into Ops by checking their
// signatures. Many goroutines may use one at the same time.
type Verifier struct {
	network Digest
	keys    *cache.Verifier
}

// NewVerifier returns a verifier for the network whose genesis has this id.
func NewVerifier(network Digest) *Verifier {
	return &Verifier{network: network, keys: cache.NewVerifier(cache.NewLRUCache(keysCached))}
}

// Verify checks one operation. The error is ErrNetwork or ErrSignature.
func (v *Verifier) Verify(u *Unverified) (*Op, error) {
	if u.Network != v.network {
		return nil, ErrNetwork
	}
	message := u.appendMessage(make([]byte, 0, len(u.raw)+len(signTag)+len(v.network)))
	if !v.keys.VerifyWithOptions(u.Account[:], message, u.Signature[:], zip215) {
		return nil, ErrSignature
	}
	return u.op(), nil
}

// VerifyBatch checks many operations together, several times as fast as one by
// one while all are good, and with the same answer for each. ops[i] is nil
// when us[i] was refused. err is nil when none was; else it names the first.
func (v *Verifier) VerifyBatch(us []*Unverified) (ops []*Op, err error) {
	ops = make([]*Op, len(us))
	batch := ed25519.NewBatchVerifierWithCapacity(len(us))
	at := make([]int, 0, len(us)) // where in us each entry of the batch is
	var message []byte
	for i, u := range us {
		if u.Network != v.network {
			err = first(err, i, ErrNetwork)
			continue
		}
		message = u.appendMessage(message[:0])
		v.keys.AddWithOptions(batch, u.Account[:], message, u.Signature[:], zip215)
		at = append(at, i)
	}
	if len(at) == 0 {
		return ops, err
	}
	_, good := batch.Verify(nil) // nil: the factors come from crypto/rand
	for j, i := range at {
		if good[j] {
			ops[i] = us[i].op()
		} else {
			err = first(err, i, ErrSignature)
		}
	}
	return ops, err
}

func first(err error, i int, why error) error {
	if err != nil {
		return err
	}
	return fmt.Errorf("operation %d: %w", i, why)
}

// TrustedOp returns the operation in bytes that this node verified before and
// read back under a checksum, such as from its own log: what is left is to
// decode them. Nothing that came from outside may go through here.
func TrustedOp(b []byte) (*Op, error) {
	u, err := DecodeOp(b)
	if err != nil {
		return nil, err
	}
	return u.op(), nil
}

// op is the verified op. Only Verify, VerifyBatch and TrustedOp call it.
func (u *Unverified) op() *Op {
	return &Op{
		id:       sha256.Sum256(u.raw),
		network:  u.Network,
		account:  u.Account,
		nonce:    u.Nonce,
		timeMs:   u.TimeMs,
		windowMs: u.WindowMs,
		actions:  u.Actions,
		raw:      u.raw,
	}
}

// appendMessage appends what was signed: the tag, the network, and the op's
// bytes without the signature's field.
func (u *Unverified) appendMessage(b []byte) []byte {
	b = append(append(b, signTag...), u.Network[:]...)
	b = append(b, u.raw[0]-1) // the map's head, one field fewer
	b = append(b, u.raw[1:u.sigFrom]...)
	return append(b, u.raw[u.sigTo:]...)
}

// ID returns the digest of the whole operation, which is its id if its
// signature turns out good.
func (u *Unverified) ID() Digest { return sha256.Sum256(u.raw) }
