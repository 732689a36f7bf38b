package replica

import (
	"encoding/binary"

	"github.com/holdfast-mesh/holdfast/node/dag"
	"github.com/holdfast-mesh/holdfast/node/ledger"
)

// Bounds of what is kept beside snapshots.
const (
	// chunkBytesMax is the length of a snapshot's chunks: small enough to ask for
	// again when one gets lost, long enough that a gigabyte is a thousand.
	chunkBytesMax = ledger.SnapshotChunkBytes
	// chunksMax bounds the chunks of a snapshot, at 64 GiB of state: beyond what
	// is held in memory.
	chunksMax = 1 << 16
	// manifestBytesMax and certificateBytesMax follow from their encodings.
	manifestBytesMax    = 16 + chunksMax*(4+32)
	certificateBytesMax = 5*10 + 32 + 32 + dag.CommitteeMax*(10+3+32)

	maxUint64 = 1<<64 - 1
)

// Checkpoint is a state of the ledger: after the commit with this index and
// digest its root is Root.
type Checkpoint struct {
	Index  uint64
	Commit dag.Digest
	Root   [32]byte
}

// Certificate names the blocks in which validators of an epoch voted for a
// checkpoint; their weight is at least the epoch's quorum. The blocks are
// stored as all others are, and are pruned later than the certificate.
type Certificate struct {
	Checkpoint
	Epoch uint64
	Votes []dag.Ref // ascending authors, none twice
}

// Bytes is the canonical encoding.
func (c *Certificate) Bytes() []byte {
	b := binary.AppendUvarint(nil, c.Index)
	b = append(b, c.Commit[:]...)
	b = append(b, c.Root[:]...)
	b = binary.AppendUvarint(b, c.Epoch)
	b = binary.AppendUvarint(b, uint64(len(c.Votes)))
	for _, ref := range c.Votes {
		b = appendRef(b, ref)
	}
	return b
}

// DecodeCertificate reads canonical bytes. Whether the named blocks exist and
// vote so is for its reader to check.
func DecodeCertificate(b []byte) (Certificate, error) {
	r := &reader{rest: b}
	c := Certificate{Checkpoint: Checkpoint{Index: r.uint(maxUint64)}}
	c.Commit = r.digest()
	c.Root = r.digest()
	c.Epoch = r.uint(maxUint64)
	n := int(r.uint(dag.CommitteeMax))
	for i := range n {
		if r.err != nil {
			break
		}
		ref := r.ref()
		if i > 0 && ref.Author <= c.Votes[i-1].Author {
			r.fail("its votes are not in the order of their authors")
		}
		c.Votes = append(c.Votes, ref)
	}
	if err := r.done(); err != nil {
		return Certificate{}, err
	}
	return c, nil
}

// Manifest says what a complete snapshot consists of. Snapshots are canonical,
// so honest validators have the same one for the same commit.
type Manifest struct {
	Checkpoint
	Chunks [][32]byte // the SHA-256 of each chunk, in order
}

// Bytes is the canonical encoding.
func (m *Manifest) Bytes() []byte {
	b := binary.AppendUvarint(make([]byte, 0, 96+32*len(m.Chunks)), m.Index)
	b = append(b, m.Commit[:]...)
	b = append(b, m.Root[:]...)
	b = binary.AppendUvarint(b, uint64(len(m.Chunks)))
	for _, c := range m.Chunks {
		b = append(b, c[:]...)
	}
	return b
}

// DecodeManifest reads canonical bytes.
func DecodeManifest(b []byte) (Manifest, error) {
	r := &reader{rest: b}
	m := Manifest{Checkpoint: Checkpoint{Index: r.uint(maxUint64)}}
	m.Commit = r.digest()
	m.Root = r.digest()
	n := int(r.uint(chunksMax))
	if n > len(r.rest)/32 {
		r.fail("cut short")
		n = 0
	}
	for range n {
		m.Chunks = append(m.Chunks, r.digest())
	}
	if err := r.done(); err != nil {
		return Manifest{}, err
	}
	return m, nil
}
