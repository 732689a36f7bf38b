package p2p

import (
	"context"
	"encoding/binary"
	"errors"
	"slices"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
)

// Block is one message of a validator as this package sees it: whose, of which
// round, under which name, and bytes. Nothing here is believed: streams do not
// check that Data hashes to CID, the one who decodes the block does.
type Block struct {
	Author peer.ID
	Round  uint64
	CID    cid.Cid
	Data   []byte // not to be changed once handed over
}

// Rounds is the highest round held of each author.
type Rounds map[peer.ID]uint64

// Blocks is what a host needs of the one who makes and takes blocks. All
// methods may be called from many goroutines at once.
type Blocks interface {
	// LastRound is the highest round held here of an author, 0 for none. It goes
	// out in hellos and acknowledgements: only what is safe may be counted.
	LastRound(author peer.ID) uint64
	// Backlog returns, in the order to send, our own blocks of rounds above
	// after and those blocks of others they build on that have does not show,
	// about bytesMax bytes at most but one own block at least. Nothing means the
	// receiver has all. Each own block returned must be of a later round than
	// the one before.
	Backlog(ctx context.Context, to peer.ID, after uint64, have Rounds, bytesMax int) ([]Block, error)
	// Receive takes a block. It is called once at a time per stream, so that
	// taking long slows down the sender. An error that wraps ErrInvalid counts
	// against the peer.
	Receive(ctx context.Context, from peer.ID, block Block) error
}

// ErrInvalid marks what an honest peer would never have sent. Wrap it in an
// error from Receive to have the peer punished.
var ErrInvalid = errors.New("invalid")

func (b Block) frameBytes() int { return frameOverheadMax + len(b.Data) }

func encodeBlock(b Block) []byte {
	f := newFrame(frameBlock, b.frameBytes())
	f = appendID(f, string(b.Author))
	f = binary.BigEndian.AppendUint64(f, b.Round)
	f = appendID(f, b.CID.KeyString())
	return finishFrame(append(f, b.Data...))
}

// decodeBlock reads a block's frame body; the block keeps the bytes.
func decodeBlock(body []byte) (Block, error) {
	r := bodyReader{b: body}
	author, round, name := r.id("author"), r.uint64("round"), r.id("CID")
	data := r.rest()
	if err := r.end(); err != nil {
		return Block{}, err
	}
	id, err := peer.IDFromBytes(author)
	if err != nil {
		return Block{}, frameError("author: %v", err)
	}
	c, err := cid.Cast(name)
	if err != nil {
		return Block{}, frameError("CID: %v", err)
	}
	return Block{Author: id, Round: round, CID: c, Data: data}, nil
}

// encodeRounds writes a hello or a have frame. Authors come in the order of
// their ids, so that equal vectors are equal bytes.
func encodeRounds(kind byte, rounds Rounds) []byte {
	authors := make([]peer.ID, 0, len(rounds))
	for a := range rounds { // order: sorted below
		authors = append(authors, a)
	}
	slices.Sort(authors)
	f := newFrame(kind, 2+len(authors)*(1+idBytesMax+8))
	f = binary.BigEndian.AppendUint16(f, uint16(len(authors)))
	for _, a := range authors {
		f = appendID(f, string(a))
		f = binary.BigEndian.AppendUint64(f, rounds[a])
	}
	return finishFrame(f)
}

func decodeRounds(body []byte) (Rounds, error) {
	r := bodyReader{b: body}
	n := r.uint16("number of authors")
	if n > committeePeersMax {
		return nil, frameError("%d authors, at most %d", n, committeePeersMax)
	}
	rounds := make(Rounds, n)
	last := ""
	for range n {
		author, round := r.id("author"), r.uint64("round")
		if r.err != nil {
			break
		}
		id, err := peer.IDFromBytes(author)
		if err != nil {
			return nil, frameError("author: %v", err)
		}
		if string(id) <= last {
			return nil, frameError("authors out of order")
		}
		last = string(id)
		rounds[id] = round
	}
	return rounds, r.end()
}
