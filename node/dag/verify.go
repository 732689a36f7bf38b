package dag

import (
	"crypto/ed25519"
	"errors"
	"fmt"

	voi "github.com/oasisprotocol/curve25519-voi/primitives/ed25519"
)

// Reasons to refuse a block, for errors.Is. All but ErrOtherEpoch mean that
// whoever signed or altered the block is faulty.
var (
	ErrOtherNetwork = errors.New("dag: the block is of another network")
	ErrOtherEpoch   = errors.New("dag: the block is of another epoch")
	ErrSignature    = errors.New("dag: the block's signature is not its author's")
	ErrBlock        = errors.New("dag: the block breaks the rules")
)

// Limits are the network's parameters for the size of a payload, in bytes.
type Limits struct {
	OpBytesMax      int // of one operation
	PayloadBytesMax int // of all operations of a block
}

// DefaultLimits allows operations of 16 KiB and blocks of 512 KiB.
func DefaultLimits() Limits {
	return Limits{OpBytesMax: OpBytesMax, PayloadBytesMax: PayloadBytesMax}
}

// Validate lists every fault of the limits at once.
func (l Limits) Validate() error {
	var errs []error
	if l.OpBytesMax < 1 {
		errs = append(errs, fmt.Errorf("dag: an operation of at most %d bytes can hold nothing", l.OpBytesMax))
	}
	if l.PayloadBytesMax < l.OpBytesMax {
		errs = append(errs, fmt.Errorf("dag: a payload of at most %d bytes cannot hold an operation of %d", l.PayloadBytesMax, l.OpBytesMax))
	}
	if most := 4 * PayloadBytesMax; l.PayloadBytesMax > most {
		errs = append(errs, fmt.Errorf("dag: a payload of %d bytes is more than the format's %d", l.PayloadBytesMax, most))
	}
	return errors.Join(errs...)
}

// Rules are what the blocks of one epoch are judged by, without any state. They
// do not change; many goroutines may verify with one Rules.
type Rules struct {
	Network   Digest
	Epoch     uint64
	Committee *Committee
	Limits    Limits
	// CheckPayload judges a block's operations: well-formed, and each one's
	// signature good. What it returns is kept with the block as Checked. It may
	// be called from many goroutines and may keep slices of ops, which nobody
	// changes afterwards. Nil accepts any bytes.
	CheckPayload func(ops [][]byte) (checked any, err error)
}

// Verify turns received or stored bytes into a block, or says what is wrong:
// a *DecodeError for bytes that are no canonical block, else an error that wraps
// ErrOtherNetwork, ErrOtherEpoch, ErrSignature or ErrBlock. The block keeps raw,
// which must not change any more.
func (r *Rules) Verify(raw []byte) (*Block, error) {
	if len(raw) > BlockBytesMax {
		return nil, fmt.Errorf("%w: %d bytes, at most %d are allowed", ErrBlock, len(raw), BlockBytesMax)
	}
	b, err := decodeBlock(raw)
	if err != nil {
		return nil, err
	}
	if b.network != r.Network {
		return nil, fmt.Errorf("%w: %v, ours is %v", ErrOtherNetwork, b.network, r.Network)
	}
	if b.epoch != r.Epoch {
		return nil, fmt.Errorf("%w: %d, ours is %d", ErrOtherEpoch, b.epoch, r.Epoch)
	}
	if !r.Committee.Has(b.ref.Author) {
		return nil, fmt.Errorf("%w: author %d of a committee of %d", ErrBlock, b.ref.Author, r.Committee.Size())
	}
	signature := raw[len(raw)-ed25519.SignatureSize:]
	if !r.Committee.signed(b.ref.Author, signedMessage(b.network, b.epoch, unsignedDigest(raw)), signature) {
		return nil, fmt.Errorf("%w: block %v", ErrSignature, b.ref)
	}
	// From here on a fault is the author's own.
	if err := r.checkParents(b); err != nil {
		return nil, fmt.Errorf("%w: block %v: %w", ErrBlock, b.ref, err)
	}
	if err := r.checkPayload(b); err != nil {
		return nil, fmt.Errorf("%w: block %v: %w", ErrBlock, b.ref, err)
	}
	return b, nil
}

// checkParents: the own previous block first, at most one per author, all of
// earlier rounds, the round before with the weight of a quorum.
func (r *Rules) checkParents(b *Block) error {
	if b.ref.Round == 0 {
		return errors.New("round 0 is the genesis, which nobody sends")
	}
	if len(b.parents) == 0 {
		return errors.New("it has no parents")
	}
	if b.parents[0].Author != b.ref.Author {
		return fmt.Errorf("its first parent is of author %d, not its own previous block", b.parents[0].Author)
	}
	var all, before tally
	for _, p := range b.parents {
		if !r.Committee.Has(p.Author) {
			return fmt.Errorf("parent %v has an author outside the committee of %d", p, r.Committee.Size())
		}
		if p.Round >= b.ref.Round {
			return fmt.Errorf("parent %v is not of an earlier round", p)
		}
		if !all.add(r.Committee, p.Author) {
			return fmt.Errorf("parent %v is the second of its author", p)
		}
		if p.Round == 0 && p != Genesis(b.network, b.epoch, p.Author) {
			return fmt.Errorf("parent %v is not the genesis", p)
		}
		if p.Round == b.ref.Round-1 {
			before.add(r.Committee, p.Author)
		}
	}
	if before.weight < r.Committee.quorum {
		return fmt.Errorf("its parents of round %d weigh %d, a quorum is %d", b.ref.Round-1, before.weight, r.Committee.quorum)
	}
	return nil
}

func (r *Rules) checkPayload(b *Block) (err error) {
	if b.flags&FlagClose != 0 && len(b.payload) > 0 {
		return errors.New("it asks to close the epoch and yet carries operations")
	}
	size := 0
	for i, op := range b.payload {
		if len(op) > r.Limits.OpBytesMax {
			return fmt.Errorf("operation %d has %d bytes, at most %d are allowed", i, len(op), r.Limits.OpBytesMax)
		}
		size += len(op)
	}
	if size > r.Limits.PayloadBytesMax {
		return fmt.Errorf("the payload has %d bytes, at most %d are allowed", size, r.Limits.PayloadBytesMax)
	}
	if r.CheckPayload != nil && len(b.payload) > 0 {
		b.checked, err = r.CheckPayload(b.payload)
	}
	return err
}

// seal signs a block of our own and gives it its bytes and name. The signature is
// the one that RFC 8032 defines, whoever computes it; this library does in half the
// time of the standard one.
func seal(b *Block, key ed25519.PrivateKey) *Block {
	var blank [ed25519.SignatureSize]byte
	size := 256 + 52*len(b.parents) + 88*len(b.votes)
	for _, op := range b.payload {
		size += len(op) + 5
	}
	b.raw = appendBlock(make([]byte, 0, size), b, blank[:])
	signature := voi.Sign(voi.PrivateKey(key), signedMessage(b.network, b.epoch, unsignedDigest(b.raw)))
	copy(b.raw[len(b.raw)-len(signature):], signature)
	b.ref.Digest = digestOf(b.raw)
	return b
}
