package dag

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"github.com/ipfs/go-cid"
)

// cidPrefix is CIDv1, dag-cbor, sha2-256, 32 bytes.
const cidPrefix = "\x01\x71\x12\x20"

// Digest is the SHA-256 of an object's canonical bytes: of a block, a commit or
// a genesis. It is the CID without its fixed prefix; see CID.
type Digest [32]byte

// String is the digest in hexadecimal, shortened for people to read.
func (d Digest) String() string { return hex.EncodeToString(d[:6]) }

// Slot is one author's place in one round. An honest author fills it at most once.
type Slot struct {
	Round  uint64
	Author Author
}

// Ref names a block of an epoch by its slot and digest. Only the digest
// identifies it: a faulty author can put several blocks in one slot.
type Ref struct {
	Slot
	Digest Digest
}

// String is for logs and test histories: round, author, start of the digest.
func (r Ref) String() string {
	return fmt.Sprintf("%d/%d:%s", r.Round, r.Author, r.Digest)
}

// compareRefs orders by round, author, digest.
func compareRefs(a, b Ref) int {
	if c := cmp.Compare(a.Round, b.Round); c != 0 {
		return c
	}
	if c := cmp.Compare(a.Author, b.Author); c != 0 {
		return c
	}
	return compareDigests(a.Digest, b.Digest)
}

func digestOf(raw []byte) Digest { return sha256.Sum256(raw) }

// CID is the digest as a content identifier: version 1, dag-cbor, sha2-256.
func (d Digest) CID() cid.Cid {
	raw := append([]byte(cidPrefix), d[:]...)
	_, c, err := cid.CidFromBytes(raw)
	if err != nil {
		panic("dag: a digest must always make a CID: " + err.Error())
	}
	return c
}

// DigestFromCID is the inverse of CID. It refuses identifiers of any other
// version, codec or hash.
func DigestFromCID(c cid.Cid) (d Digest, err error) {
	raw := c.Bytes()
	if len(raw) != len(cidPrefix)+len(d) || string(raw[:len(cidPrefix)]) != cidPrefix {
		return d, fmt.Errorf("dag: CID %v is not of version 1, dag-cbor and sha2-256", c)
	}
	copy(d[:], raw[len(cidPrefix):])
	return d, nil
}
