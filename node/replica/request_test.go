package replica

import (
	"bytes"
	"reflect"
	"strings"
	"testing"

	"github.com/holdfast-mesh/holdfast/node/dag"
)

func someRef(n byte) dag.Ref {
	return dag.Ref{Slot: dag.Slot{Round: 1000 + uint64(n), Author: dag.Author(n)}, Digest: dag.Digest{n, 2, 3}}
}

var someRequests = []Request{
	{ID: 1, Kind: AskBlocks, Epoch: 3, Refs: []dag.Ref{someRef(1), someRef(2)}},
	{ID: 1 << 63, Kind: AskRounds, Epoch: 1, From: 70_000},
	{ID: 2, Kind: AskRounds, Epoch: 1, From: 9, Author: 3},
	{ID: 3, Kind: AskCommits, From: 12, Skip: 700},
	{ID: 4, Kind: AskNewest, Epoch: 2, Author: 255},
	{ID: 5, Kind: AskCheckpoint, Skip: 3},
	{ID: 6, Kind: AskManifest, From: 4000},
	{ID: 7, Kind: AskChunk, From: 4000, Chunk: 9},
	{ID: 8, Kind: AskHandover, Epoch: 5},
}

var someReplies = []Reply{
	{ID: 1, Kind: AskBlocks, Head: 8, Blocks: [][]byte{{1, 2}, {3}}},
	{ID: 1 << 40, Kind: AskCommits, Blocks: [][]byte{bytes.Repeat([]byte{1}, 300)}, Commits: [][]byte{{9}}},
	{Kind: AskCheckpoint, Certificate: []byte{1, 2, 3}},
	{Kind: AskManifest, Manifest: []byte{4}},
	{Kind: AskChunk, Chunk: []byte{5, 6}},
	{Kind: AskHandover, Handover: []byte{7}},
}

func TestRequestBytes(t *testing.T) {
	kinds := map[Kind]bool{}
	for _, q := range someRequests {
		kinds[q.Kind] = true
		got, err := DecodeRequest(q.Bytes())
		if err != nil || !reflect.DeepEqual(got, q) {
			t.Errorf("%v: decoded %+v, %v, want %+v", q.Kind, got, err, q)
		}
		for n := range q.Bytes() {
			if _, err := DecodeRequest(q.Bytes()[:n]); err == nil {
				t.Errorf("%v: the first %d bytes decode", q.Kind, n)
			}
		}
		if _, err := DecodeRequest(append(q.Bytes(), 0)); err == nil {
			t.Errorf("%v: a byte too many decodes", q.Kind)
		}
	}
	if len(kinds) != int(kindEnd)-1 {
		t.Errorf("%d of %d kinds are tested", len(kinds), kindEnd-1)
	}
	for name, b := range map[string][]byte{
		"no kind":            {0, 1},
		"an unknown kind":    {byte(kindEnd), 1},
		"a long number":      {byte(AskManifest), 0x81, 0x00, 1},
		"no blocks":          {byte(AskBlocks), 1, 1, 0},
		"an author beyond n": {byte(AskNewest), 1, 1, 0x80, 2},
		"too long":           bytes.Repeat([]byte{1}, RequestBytesMax+1),
	} {
		if q, err := DecodeRequest(b); err == nil {
			t.Errorf("%s: decoded %+v", name, q)
		} else if !strings.Contains(err.Error(), "malformed") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestRequestBound: the largest request an honest validator makes is allowed.
func TestRequestBound(t *testing.T) {
	q := Request{ID: maxUint64, Kind: AskBlocks, Epoch: maxUint64}
	for range askRefsMax {
		q.Refs = append(q.Refs, dag.Ref{Slot: dag.Slot{Round: maxUint64, Author: dag.CommitteeMax - 1}})
	}
	if _, err := DecodeRequest(q.Bytes()); err != nil {
		t.Error(err)
	}
}

func TestReplyBytes(t *testing.T) {
	for _, p := range someReplies {
		got, err := DecodeReply(p.Bytes())
		if err != nil || !bytes.Equal(got.Bytes(), p.Bytes()) || got.ID != p.ID || len(got.Blocks) != len(p.Blocks) {
			t.Errorf("%v: decoded %+v, %v, want %+v", p.Kind, got, err, p)
		}
		for n := range p.Bytes() {
			if _, err := DecodeReply(p.Bytes()[:n]); err == nil {
				t.Errorf("%v: the first %d bytes decode", p.Kind, n)
			}
		}
	}
	if _, err := DecodeReply(make([]byte, ReplyBytesMax+1)); err == nil {
		t.Error("a reply beyond the bound decodes")
	}
}

func FuzzDecodeRequest(f *testing.F) {
	for _, q := range someRequests {
		f.Add(q.Bytes())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		q, err := DecodeRequest(b)
		if err == nil && !bytes.Equal(q.Bytes(), b) {
			t.Errorf("%x decodes to %+v, which encodes to %x", b, q, q.Bytes())
		}
	})
}

func FuzzDecodeReply(f *testing.F) {
	for _, p := range someReplies {
		f.Add(p.Bytes())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := DecodeReply(b)
		if err == nil && !bytes.Equal(p.Bytes(), b) {
			t.Errorf("%x decodes to %+v, which encodes to %x", b, p, p.Bytes())
		}
	})
}
