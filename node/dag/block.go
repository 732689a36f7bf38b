package dag

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"math"
)

// Bounds of a block's parts.
const (
	// VotesMax bounds the votes of one block: one for the newest commit and a
	// few for checkpoints that became due since the author's last block.
	VotesMax = 8
	// OpBytesMax and PayloadBytesMax are the bounds of DefaultLimits: an
	// operation is at most 64 actions of well below 256 bytes, and a block of
	// half a mebibyte still leaves a 100 Mbit/s line in 40 ms.
	OpBytesMax      = 16 << 10
	PayloadBytesMax = 512 << 10
	// payloadOpsMax bounds the operations of one block, whatever their size:
	// half a mebibyte of the smallest signed operations, about 64 bytes each.
	payloadOpsMax = 8192
	// timeMsMax bounds a block's time, far beyond any clock (the year 10889).
	timeMsMax = 1 << 48
)

// BlockBytesMax bounds a block's canonical bytes under any Limits: four times
// the default payload, and everything else a block of the largest committee has.
const BlockBytesMax = 4*PayloadBytesMax + 64<<10

// Flags are an author's standing statements, repeated in each of its blocks.
type Flags uint64

// FlagClose asks that the epoch close: the author has seen the commit that
// changes the committee. A flagged block carries no payload.
const FlagClose Flags = 1

// flagsKnown is every flag this version understands; others are refused.
const flagsKnown = FlagClose

// Vote states that its author's commit Index has the digest Commit and so, by
// the chain of digests, all commits before it. A vote for a checkpoint also
// states the root of the state after that commit.
type Vote struct {
	Index      uint64
	Commit     Digest
	Checkpoint bool
	Root       [32]byte // zero unless Checkpoint
}

// Block is one validator's message for one round. Only verification makes one
// (Rules.Verify, or the core for its own), so whoever holds a *Block need not
// doubt its signature, its bounds or its payload's form. Blocks never change;
// many goroutines may read one. The slices its methods return belong to it.
type Block struct {
	ref     Ref
	network Digest
	epoch   uint64
	timeMs  uint64
	parents []Ref
	payload [][]byte
	votes   []Vote
	flags   Flags
	raw     []byte

	checked any
}

// Ref is the block's slot and digest.
func (b *Block) Ref() Ref { return b.ref }

// Network is the digest of the genesis of the network the block is of.
func (b *Block) Network() Digest { return b.network }

// Epoch is the epoch whose committee the author belongs to.
func (b *Block) Epoch() uint64 { return b.epoch }

// Author is the author's place in the committee of the epoch.
func (b *Block) Author() Author { return b.ref.Author }

// Round is the block's round, at least 1.
func (b *Block) Round() uint64 { return b.ref.Round }

// TimeMs is the author's clock when it made the block, in Unix milliseconds.
func (b *Block) TimeMs() uint64 { return b.timeMs }

// Parents are the blocks this one builds on, the author's own previous first.
func (b *Block) Parents() []Ref { return b.parents }

// Payload is the operations, in the author's order.
func (b *Block) Payload() [][]byte { return b.payload }

// Votes are the author's votes for commits, by rising index.
func (b *Block) Votes() []Vote { return b.votes }

// Flags are the author's flags.
func (b *Block) Flags() Flags { return b.flags }

// Bytes is the canonical encoding, signature included; Ref().Digest is its SHA-256.
func (b *Block) Bytes() []byte { return b.raw }

// Checked is what the payload check returned for this block's payload (see
// Rules.CheckPayload), so that nobody decodes an operation twice. It is nil for
// blocks the core made itself.
func (b *Block) Checked() any { return b.checked }

// Genesis names the block that stands at round 0 for each author of an epoch.
// It is never sent, committed or pointed to from above the first block of its
// author's chain; it exists so that every block has parents.
func Genesis(network Digest, epoch uint64, author Author) Ref {
	b := make([]byte, 0, 64)
	b = append(b, "holdfast genesis block"...)
	b = append(b, network[:]...)
	b = binary.BigEndian.AppendUint64(b, epoch)
	b = binary.BigEndian.AppendUint16(b, uint16(author))
	return Ref{Slot{0, author}, sha256.Sum256(b)}
}

// signedMessage is what a block's signature is over: a domain of its own per
// purpose, network and epoch, then the digest of the block without its
// signature. A signature is therefore good for nothing else, anywhere.
func signedMessage(network Digest, epoch uint64, unsigned Digest) []byte {
	b := make([]byte, 0, 128)
	b = append(b, "holdfast block signature"...)
	b = append(b, network[:]...)
	b = binary.BigEndian.AppendUint64(b, epoch)
	return append(b, unsigned[:]...)
}

// mapHead is the first byte of a block: a map of ten, or of nine without the signature.
const (
	mapHeadSigned   = majorMap<<5 | 10
	mapHeadUnsigned = majorMap<<5 | 9
)

// signatureTail is the bytes of the last entry: key, head and signature.
const signatureTail = 1 + len("signature") + 2 + ed25519.SignatureSize

// unsignedDigest hashes a signed block as if it had no signature: canonical order
// puts that entry last, so only the count in front differs.
func unsignedDigest(raw []byte) (d Digest) {
	h := sha256.New()
	h.Write([]byte{mapHeadUnsigned})
	h.Write(raw[1 : len(raw)-signatureTail])
	h.Sum(d[:0])
	return d
}

// appendBlock writes b's canonical bytes with a given signature. Keys stand in
// DAG-CBOR's order: shorter first, then by bytes.
func appendBlock(out []byte, b *Block, signature []byte) []byte {
	out = append(out, mapHeadSigned)
	out = appendHead(appendKey(out, "epoch"), majorUint, b.epoch)
	out = appendHead(appendKey(out, "flags"), majorUint, uint64(b.flags))
	out = appendHead(appendKey(out, "round"), majorUint, b.ref.Round)
	out = appendHead(appendKey(out, "votes"), majorArray, uint64(len(b.votes)))
	for _, v := range b.votes {
		out = appendVote(out, v)
	}
	out = appendHead(appendKey(out, "author"), majorUint, uint64(b.ref.Author))
	out = appendLink(appendKey(out, "network"), b.network)
	out = appendHead(appendKey(out, "parents"), majorArray, uint64(len(b.parents)))
	for _, p := range b.parents {
		out = appendRef(out, p)
	}
	out = appendHead(appendKey(out, "payload"), majorArray, uint64(len(b.payload)))
	for _, op := range b.payload {
		out = appendBytes(out, op)
	}
	out = appendHead(appendKey(out, "time_ms"), majorUint, b.timeMs)
	return appendBytes(appendKey(out, "signature"), signature)
}

func appendVote(out []byte, v Vote) []byte {
	parts := uint64(2)
	if v.Checkpoint {
		parts = 3
	}
	out = appendHead(out, majorArray, parts)
	out = appendHead(out, majorUint, v.Index)
	out = appendLink(out, v.Commit)
	if v.Checkpoint {
		out = appendBytes(out, v.Root[:])
	}
	return out
}

// decodeBlock reads canonical bytes, and nothing else, into a block nobody has
// verified yet; it must not leave the package before it is. The block keeps raw
// and points into it.
func decodeBlock(raw []byte) (*Block, error) {
	r := &reader{object: "block", data: raw}
	b := &Block{raw: raw}
	if n := r.head(majorMap, "the block", math.MaxInt16); r.err == nil && n != 10 {
		r.failAt(0, "a map of %d, not of 10", n)
	}
	r.key("epoch")
	b.epoch = r.uint("the epoch")
	r.key("flags")
	b.flags = Flags(r.head(majorUint, "flags", uint64(flagsKnown)))
	r.key("round")
	b.ref.Round = r.uint("the round")
	r.key("votes")
	b.votes = r.votes()
	r.key("author")
	b.ref.Author = Author(r.head(majorUint, "the author", CommitteeMax-1))
	r.key("network")
	b.network = r.link("the network")
	r.key("parents")
	if n := r.head(majorArray, "parents", CommitteeMax); n > 0 {
		b.parents = make([]Ref, 0, n)
		for range n {
			b.parents = append(b.parents, r.ref(parentRef))
		}
	}
	r.key("payload")
	if n := r.head(majorArray, "the payload", payloadOpsMax); n > 0 {
		b.payload = make([][]byte, 0, n)
		for range n {
			b.payload = append(b.payload, r.bytes("an operation", 1, BlockBytesMax))
		}
	}
	r.key("time_ms")
	b.timeMs = r.head(majorUint, "the time", timeMsMax)
	r.key("signature")
	r.bytes("the signature", ed25519.SignatureSize, ed25519.SignatureSize)
	r.end()
	if r.err != nil {
		return nil, r.err
	}
	b.ref.Digest = sha256.Sum256(raw)
	return b, nil
}

func (r *reader) votes() []Vote {
	n := r.head(majorArray, "the votes", VotesMax)
	if n == 0 {
		return nil
	}
	votes := make([]Vote, n)
	for i := range votes {
		start := r.at
		parts := r.head(majorArray, "a vote", 3)
		if r.err == nil && parts < 2 {
			r.failAt(start, "a vote has %d parts, not 2 or 3", parts)
		}
		v := &votes[i]
		v.Index = r.uint("the index of a vote")
		v.Commit = r.link("the commit of a vote")
		if v.Checkpoint = parts == 3; v.Checkpoint {
			r.fixed("the root of a vote", v.Root[:])
		}
		if r.err == nil && (v.Index == 0 || i > 0 && votes[i-1].Index >= v.Index) {
			r.failAt(start, "votes must rise from index 1, each index once")
		}
	}
	return votes
}
