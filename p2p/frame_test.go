package p2p

import (
	"bytes"
	"encoding/binary"
	"errors"
	"reflect"
	"testing"
	"testing/iotest"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
)

func testBlock(t testing.TB) Block {
	_, id := testIdentity(t)
	i := object([]byte("a block"))
	return Block{Author: id, Round: 7, CID: i.CID, Data: i.Data}
}

func TestFramesComeBackAsTheyWere(t *testing.T) {
	b := testBlock(t)
	frame := encodeBlock(b)
	body, err := readFrame(iotest.OneByteReader(bytes.NewReader(frame)), frameBlock, len(frame))
	if err != nil {
		t.Fatal(err)
	}
	got, err := decodeBlock(body)
	if err != nil || !reflect.DeepEqual(got, b) {
		t.Fatalf("%+v, %v", got, err)
	}
	_, c := testIdentity(t)
	rounds := Rounds{b.Author: 9, c: 0}
	frame = encodeRounds(frameHello, rounds)
	if got, err := decodeRounds(frame[frameHeaderBytes:]); err != nil || !reflect.DeepEqual(got, rounds) {
		t.Fatalf("%v, %v", got, err)
	}
	asked := []cid.Cid{b.CID, object([]byte("another")).CID}
	if got, err := decodeRequest(encodeRequest(asked)[frameHeaderBytes:]); err != nil || !reflect.DeepEqual(got, asked) {
		t.Fatalf("%v, %v", got, err)
	}
	for _, e := range []ending{{endDone, 0}, {endBusy, time.Second}, {endUnable, 0}} {
		if got, err := decodeEnd(encodeEnd(e)[frameHeaderBytes:]); err != nil || got != e {
			t.Fatalf("%+v, %v", got, err)
		}
	}
}

func TestFramesOverTheLimitAreRefusedBeforeTheyAreRead(t *testing.T) {
	var header [frameHeaderBytes]byte
	for _, n := range []uint32{0, 102, 1 << 31, 1<<32 - 1} {
		binary.BigEndian.PutUint32(header[:], n)
		header[4] = frameBlock
		allocated := testing.AllocsPerRun(1, func() {
			if _, err := readFrame(bytes.NewReader(header[:]), frameBlock, 100); !errors.Is(err, errFrame) {
				t.Errorf("%d bytes: %v", n, err)
			}
		})
		if allocated > 20 {
			t.Errorf("%d bytes: %v allocations", n, allocated)
		}
	}
	if _, err := readFrame(bytes.NewReader(encodeBlock(testBlock(t))), frameHello, 1000); !errors.Is(err, errFrame) {
		t.Errorf("a frame of another kind: %v", err)
	}
}

// Whatever is decoded encodes to the same bytes: there is one form of each frame.
func FuzzDecodeBlock(f *testing.F) {
	f.Add(encodeBlock(testBlock(f))[frameHeaderBytes:])
	f.Add([]byte{1, 2})
	f.Fuzz(func(t *testing.T, body []byte) {
		b, err := decodeBlock(body)
		if err != nil {
			if !errors.Is(err, errFrame) {
				t.Fatalf("not a frame error: %v", err)
			}
			return
		}
		if again := encodeBlock(b)[frameHeaderBytes:]; !bytes.Equal(again, body) {
			t.Fatalf("%x became %x", body, again)
		}
	})
}

func FuzzDecodeRounds(f *testing.F) {
	f.Add(encodeRounds(frameHave, Rounds{testBlock(f).Author: 3})[frameHeaderBytes:])
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := decodeRounds(body)
		if err == nil {
			if again := encodeRounds(frameHave, r)[frameHeaderBytes:]; !bytes.Equal(again, body) {
				t.Fatalf("%x became %x", body, again)
			}
		}
	})
}

func FuzzDecodeRequest(f *testing.F) {
	b := testBlock(f)
	f.Add(encodeRequest([]cid.Cid{b.CID})[frameHeaderBytes:])
	f.Add(encodeRequest([]cid.Cid{b.CID, object([]byte("another")).CID})[frameHeaderBytes:])
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := decodeRequest(body)
		if err == nil {
			if again := encodeRequest(r)[frameHeaderBytes:]; !bytes.Equal(again, body) {
				t.Fatalf("%x became %x", body, again)
			}
		}
	})
}

func FuzzDecodeItem(f *testing.F) {
	f.Add(encodeItem(object([]byte("x")))[frameHeaderBytes:])
	f.Fuzz(func(t *testing.T, body []byte) {
		i, err := decodeItem(body)
		if err == nil && object(i.Data).CID.Hash().B58String() != i.CID.Hash().B58String() {
			t.Fatalf("%s does not name %x", i.CID, i.Data)
		}
	})
}

func FuzzReadFrame(f *testing.F) {
	f.Add(encodeBlock(testBlock(f)))
	f.Add(encodeEnd(ending{endBusy, 5 * time.Millisecond}))
	f.Fuzz(func(t *testing.T, stream []byte) {
		kind, body, err := readAnyFrame(bytes.NewReader(stream), 1<<10)
		if err == nil && (len(body) > 1<<10 || kind != stream[4]) {
			t.Fatalf("kind %d, %d bytes", kind, len(body))
		}
		if kind == frameEnd && err == nil {
			decodeEnd(body)
		}
	})
}

func TestAuthorsMustBePeerIDs(t *testing.T) {
	b := testBlock(t)
	b.Author = peer.ID("not an id")
	if _, err := decodeBlock(encodeBlock(b)[frameHeaderBytes:]); !errors.Is(err, errFrame) {
		t.Fatal(err)
	}
}
