package replica

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/holdfast-mesh/holdfast/node/dag"
)

// Bounds of requests and replies.
const (
	// ReplyBytesMax bounds an encoded reply. It holds the largest block, and a
	// link of 100 Mbit/s carries it within AskTimeout's default.
	ReplyBytesMax = 4 << 20
	// ReplyRoomMax is the most room that Serve has for records in a reply; the rest
	// is for its numbers.
	ReplyRoomMax = ReplyBytesMax - 4<<10
	// replyRecordsMax bounds the blocks of a reply, and its commits, so that reading them
	// on one side and verifying them on the other stays well within AskTimeout on a busy
	// machine.
	replyRecordsMax = 1024
	// askRefsMax bounds the blocks asked for by name at once.
	askRefsMax = 256
	// RequestBytesMax bounds an encoded request.
	RequestBytesMax = 64 + askRefsMax*(10+3+32)
	// commitBytesMax bounds an encoded commit: a reply must hold it beside a
	// block. It is the blocks of a hundred validators in three hundred rounds.
	commitBytesMax = ReplyRoomMax - dag.BlockBytesMax - 16
)

// Kind is what a request asks for.
type Kind uint8

const (
	_             Kind = iota
	AskBlocks          // the blocks of an epoch named by Refs
	AskRounds          // all blocks of an epoch from Author's of round From on, in order
	AskCommits         // the commits from index From on, and their blocks in order, without the first Skip
	AskNewest          // the newest block of Author in an epoch, and that of whoever answers
	AskCheckpoint      // the newest certified checkpoint that has a complete snapshot, and the blocks with its votes without the first Skip
	AskManifest        // the manifest of the snapshot at commit From
	AskChunk           // a chunk of the snapshot at commit From
	AskHandover        // how Epoch has handed over to the next
	kindEnd
)

// String names the kind for logs.
func (k Kind) String() string {
	return [...]string{"nothing", "blocks", "rounds", "commits", "newest", "checkpoint", "manifest", "chunk", "handover"}[k%kindEnd]
}

// Request is a question to one validator. What Kind does not name is zero.
// An answer that is late or missing is asked for again elsewhere, so whoever
// carries requests may lose them.
type Request struct {
	To   dag.Author // whom to ask; not part of the bytes
	ID   uint64     // repeated in the reply; different in all open requests of a validator
	Kind Kind
	// Within is when somebody else is asked; not part of the bytes. A later answer is of
	// use as well: it should be waited for twice as long.
	Within time.Duration
	Epoch  uint64     // AskBlocks, AskRounds, AskNewest, AskHandover
	Refs   []dag.Ref  // AskBlocks
	From   uint64     // AskRounds: a round; AskCommits, AskManifest, AskChunk: a commit's index
	Skip   uint64     // AskCommits, AskCheckpoint: blocks the asker has already
	Chunk  uint32     // AskChunk
	Author dag.Author // AskRounds, AskNewest
}

// Bytes is the canonical encoding of the request.
func (q *Request) Bytes() []byte {
	b := append(make([]byte, 0, 32+len(q.Refs)*45), byte(q.Kind))
	b = binary.AppendUvarint(b, q.ID)
	switch q.Kind {
	case AskBlocks:
		b = binary.AppendUvarint(b, q.Epoch)
		b = binary.AppendUvarint(b, uint64(len(q.Refs)))
		for _, ref := range q.Refs {
			b = appendRef(b, ref)
		}
	case AskRounds:
		b = binary.AppendUvarint(b, q.Epoch)
		b = binary.AppendUvarint(b, q.From)
		b = binary.AppendUvarint(b, uint64(q.Author))
	case AskCommits:
		b = binary.AppendUvarint(b, q.From)
		b = binary.AppendUvarint(b, q.Skip)
	case AskNewest:
		b = binary.AppendUvarint(b, q.Epoch)
		b = binary.AppendUvarint(b, uint64(q.Author))
	case AskCheckpoint:
		b = binary.AppendUvarint(b, q.Skip)
	case AskManifest:
		b = binary.AppendUvarint(b, q.From)
	case AskChunk:
		b = binary.AppendUvarint(b, q.From)
		b = binary.AppendUvarint(b, uint64(q.Chunk))
	case AskHandover:
		b = binary.AppendUvarint(b, q.Epoch)
	}
	return b
}

// DecodeRequest reads canonical bytes, of at most RequestBytesMax.
func DecodeRequest(b []byte) (Request, error) {
	if len(b) > RequestBytesMax {
		return Request{}, fmt.Errorf("%w: a request of %d bytes, at most %d are allowed", errBytes, len(b), RequestBytesMax)
	}
	r := &reader{rest: b}
	q := Request{Kind: Kind(r.byte()), ID: r.uint(maxUint64)}
	switch q.Kind {
	case AskBlocks:
		q.Epoch = r.uint(maxUint64)
		n := r.uint(askRefsMax)
		if n == 0 {
			r.fail("no blocks are asked for")
		}
		for range n {
			if r.err != nil {
				break
			}
			q.Refs = append(q.Refs, r.ref())
		}
	case AskRounds:
		q.Epoch = r.uint(maxUint64)
		q.From = r.uint(maxUint64)
		q.Author = r.author()
	case AskCommits:
		q.From = r.uint(maxUint64)
		q.Skip = r.uint(maxUint64)
	case AskNewest:
		q.Epoch = r.uint(maxUint64)
		q.Author = r.author()
	case AskCheckpoint:
		q.Skip = r.uint(maxUint64)
	case AskManifest:
		q.From = r.uint(maxUint64)
	case AskChunk:
		q.From = r.uint(maxUint64)
		q.Chunk = uint32(r.uint(chunksMax - 1))
	case AskHandover:
		q.Epoch = r.uint(maxUint64)
	default:
		r.fail(fmt.Sprintf("no kind of request has the number %d", q.Kind))
	}
	if err := r.done(); err != nil {
		return Request{}, err
	}
	return q, nil
}

// Reply is what Serve found, not yet verified by anyone: only Verifier.Answer
// turns it into something a replica takes. An empty reply says "I do not have
// it". The byte strings may be shared with whoever made them: read only.
type Reply struct {
	ID   uint64
	Kind Kind
	// Head is, of AskCommits, the newest commit the answering validator has on disk; of
	// AskRounds, the round that Blocks stop in because the reply is full, 0 when they do not.
	Head   uint64
	Blocks [][]byte // all kinds of blocks and AskCommits; AskNewest: up to two; AskCheckpoint: those with the votes
	// Commits, of AskCommits, name what Blocks has. The blocks of the last may be
	// incomplete, for a commit can be larger than a reply.
	Commits     [][]byte
	Certificate []byte // AskCheckpoint
	Manifest    []byte // AskManifest
	Chunk       []byte // AskChunk
	Handover    []byte // AskHandover
}

// Bytes is the canonical encoding of the reply.
func (p *Reply) Bytes() []byte {
	size := 64 + len(p.Certificate) + len(p.Manifest) + len(p.Chunk) + len(p.Handover)
	for _, b := range p.Blocks {
		size += len(b) + 4
	}
	for _, b := range p.Commits {
		size += len(b) + 4
	}
	b := append(make([]byte, 0, size), byte(p.Kind))
	b = binary.AppendUvarint(b, p.ID)
	b = binary.AppendUvarint(b, p.Head)
	b = appendList(b, p.Blocks)
	b = appendList(b, p.Commits)
	b = appendBytes(b, p.Certificate)
	b = appendBytes(b, p.Manifest)
	b = appendBytes(b, p.Chunk)
	return appendBytes(b, p.Handover)
}

// DecodeReply reads canonical bytes, of at most ReplyBytesMax. The reply keeps b.
func DecodeReply(b []byte) (Reply, error) {
	if len(b) > ReplyBytesMax {
		return Reply{}, fmt.Errorf("%w: a reply of %d bytes, at most %d are allowed", errBytes, len(b), ReplyBytesMax)
	}
	r := &reader{rest: b}
	p := Reply{Kind: Kind(r.byte()), ID: r.uint(maxUint64), Head: r.uint(maxUint64)}
	if r.err == nil && (p.Kind == 0 || p.Kind >= kindEnd) {
		r.fail(fmt.Sprintf("no kind of request has the number %d", p.Kind))
	}
	p.Blocks = r.list(replyRecordsMax, dag.BlockBytesMax)
	p.Commits = r.list(replyRecordsMax, commitBytesMax)
	p.Certificate = r.bytes(certificateBytesMax)
	p.Manifest = r.bytes(manifestBytesMax)
	p.Chunk = r.bytes(chunkBytesMax)
	p.Handover = r.bytes(handoverBytesMax)
	if err := r.done(); err != nil {
		return Reply{}, err
	}
	return p, nil
}

func appendRef(b []byte, ref dag.Ref) []byte {
	b = binary.AppendUvarint(b, ref.Round)
	b = binary.AppendUvarint(b, uint64(ref.Author))
	return append(b, ref.Digest[:]...)
}

func (r *reader) author() dag.Author { return dag.Author(r.uint(dag.CommitteeMax - 1)) }

func (r *reader) ref() (ref dag.Ref) {
	ref.Round = r.uint(maxUint64)
	ref.Author = r.author()
	ref.Digest = r.digest()
	return ref
}
