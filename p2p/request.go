package p2p

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/ipfs/go-cid"
	mh "github.com/multiformats/go-multihash"
)

// Item is an object with its name. A received one has been checked: Data hashes to CID.
type Item struct {
	CID  cid.Cid
	Data []byte
}

// Bounds of a request and its answer.
const (
	requestCIDsMax  = 256
	requestFrameMax = 2 + requestCIDsMax*(1+idBytesMax)
	itemsMax        = 4096 // in one answer
	itemsBytesMax   = 16 << 20
	itemBytesMax    = blockBytesLimit
	itemFrameMax    = 1 + idBytesMax + itemBytesMax
)

// How an answer ends.
const (
	endDone   byte = 0 // that was all there is
	endMore   byte = 1 // there is more: ask again for what did not come
	endBusy   byte = 2 // not now: ask again after so many milliseconds
	endUnable byte = 3 // what answers here has failed: ask another

	endFrameMax  = 1 + 4
	busyPauseMax = 2 * time.Second
)

var (
	// ErrNotFound says that no peer that was asked has the objects.
	ErrNotFound = errors.New("p2p: not found")
	// ErrBusy says that a peer refuses requests for a moment.
	ErrBusy = errors.New("p2p: the peer is busy")
	// ErrUnable says that a peer took a request or a question and could not answer it.
	ErrUnable = errors.New("p2p: the peer cannot answer")
	// ErrForeign says that a peer speaks, but not this network's protocols: it is of
	// another network, or too old or new.
	ErrForeign = errors.New("p2p: the peer is not of this network")
	// errWrongCID marks an answer whose bytes are not what their name says.
	errWrongCID = errors.New("the answer does not match its CID")
)

func validateRequest(cids []cid.Cid) error {
	if len(cids) == 0 || len(cids) > requestCIDsMax {
		return frameError("%d CIDs: 1 to %d", len(cids), requestCIDsMax)
	}
	for _, c := range cids {
		if err := checkable(c); err != nil {
			return frameError("%v", err)
		}
	}
	return nil
}

func encodeRequest(cids []cid.Cid) []byte {
	f := newFrame(frameRequest, 2+len(cids)*(1+idBytesMax))
	f = binary.BigEndian.AppendUint16(f, uint16(len(cids)))
	for _, c := range cids {
		f = appendID(f, c.KeyString())
	}
	return finishFrame(f)
}

func decodeRequest(body []byte) ([]cid.Cid, error) {
	r := bodyReader{b: body}
	n := r.uint16("number of CIDs")
	if n > requestCIDsMax {
		return nil, frameError("%d CIDs, at most %d", n, requestCIDsMax)
	}
	cids := make([]cid.Cid, 0, n)
	for range n {
		c, err := cid.Cast(r.id("CID"))
		if r.err != nil {
			break
		}
		if err != nil {
			return nil, frameError("CID: %v", err)
		}
		cids = append(cids, c)
	}
	if err := r.end(); err != nil {
		return nil, err
	}
	return cids, validateRequest(cids)
}

func encodeItem(i Item) []byte {
	f := newFrame(frameItem, 1+idBytesMax+len(i.Data))
	return finishFrame(append(appendID(f, i.CID.KeyString()), i.Data...))
}

func decodeItem(body []byte) (Item, error) {
	r := bodyReader{b: body}
	name := r.id("CID")
	data := r.rest()
	if err := r.end(); err != nil {
		return Item{}, err
	}
	c, err := cid.Cast(name)
	if err != nil {
		return Item{}, frameError("CID: %v", err)
	}
	return Item{c, data}, checkCID(c, data)
}

// checkable refuses names that are no proof: only SHA-256 in full length is one.
func checkable(c cid.Cid) error {
	p := c.Prefix()
	if p.MhType != mh.SHA2_256 || p.MhLength != 32 {
		return fmt.Errorf("CID %s is not a SHA-256", c)
	}
	return nil
}

func checkCID(c cid.Cid, data []byte) error {
	if err := checkable(c); err != nil {
		return fmt.Errorf("%w: %v", errWrongCID, err)
	}
	got, err := c.Prefix().Sum(data)
	if err != nil || !got.Equals(c) {
		return fmt.Errorf("%w: %s", errWrongCID, c)
	}
	return nil
}

// ending is how an answer ends, and when to ask again if it is endBusy.
type ending struct {
	status byte
	wait   time.Duration
}

func encodeEnd(e ending) []byte {
	f := append(newFrame(frameEnd, endFrameMax), e.status)
	return finishFrame(binary.BigEndian.AppendUint32(f, uint32(e.wait.Milliseconds())))
}

func decodeEnd(body []byte) (ending, error) {
	r := bodyReader{b: body}
	status := r.byte("end")
	ms := r.take(4, "wait")
	if err := r.end(); err != nil {
		return ending{}, err
	}
	if status > endUnable {
		return ending{}, frameError("end %d", status)
	}
	wait := time.Duration(binary.BigEndian.Uint32(ms)) * time.Millisecond
	return ending{status, min(wait, busyPauseMax)}, nil
}
