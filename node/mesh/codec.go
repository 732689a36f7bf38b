package mesh

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/libp2p/go-libp2p/core/peer"
)

// Objects of this package are CBOR in the one canonical form of DAG-CBOR: keys
// ordered by length, then bytes; shortest numbers; nothing optional. What decodes
// and does not encode to the same bytes again is refused.
var (
	encoding = must(cbor.EncOptions{Sort: cbor.SortLengthFirst, NilContainers: cbor.NilContainerAsEmpty}.EncMode())
	decoding = must(cbor.DecOptions{
		DupMapKey:         cbor.DupMapKeyEnforcedAPF,
		IndefLength:       cbor.IndefLengthForbidden,
		TagsMd:            cbor.TagsForbidden,
		ExtraReturnErrors: cbor.ExtraDecErrorUnknownField,
		FieldNameMatching: cbor.FieldNameMatchingCaseSensitive,
		MaxNestedLevels:   4,
		MaxMapPairs:       32,
		MaxArrayElements:  messageListMax,
	}.DecMode())
)

// messageListMax bounds any list in a message between peers.
const messageListMax = 4096

func must[T any](v T, err error) T {
	if err != nil {
		panic(fmt.Sprintf("mesh: invariant broken: %v", err))
	}
	return v
}

// encode writes one of our own types, which cannot fail.
func encode(v any) []byte { return must(encoding.Marshal(v)) }

// decode reads canonical bytes, and nothing else, into one of our own types.
func decode(raw []byte, into any) error {
	if err := decoding.Unmarshal(raw, into); err != nil {
		return err
	}
	again, err := encoding.Marshal(into)
	if err != nil {
		return err
	}
	if !bytes.Equal(raw, again) {
		return errors.New("not the canonical form")
	}
	return nil
}

// envelope is a record: the bytes of a claim and the signature over them.
type envelope struct {
	_         struct{} `cbor:",toarray"`
	Body      []byte
	Signature []byte
}

func encodeEnvelope(body, signature []byte) []byte {
	return encode(&envelope{Body: body, Signature: signature})
}

func decodeEnvelope(raw []byte) (body, signature []byte, err error) {
	var e envelope
	if err := decode(raw, &e); err != nil {
		return nil, nil, err
	}
	if len(e.Signature) != ed25519.SignatureSize {
		return nil, nil, fmt.Errorf("a signature of %d bytes: it must have %d", len(e.Signature), ed25519.SignatureSize)
	}
	return e.Body, e.Signature, nil
}

// wireClaim is a claim as it is encoded.
type wireClaim struct {
	Network   string   `cbor:"network"`
	Name      string   `cbor:"name"`
	Owner     []byte   `cbor:"owner"`
	Epoch     uint64   `cbor:"epoch"`
	Seq       uint64   `cbor:"seq"`
	State     uint8    `cbor:"state"`
	Endpoints []string `cbor:"endpoints"`
	Provider  string   `cbor:"provider"`
	Region    string   `cbor:"region"`
	Zone      string   `cbor:"zone"`
	Protocol  string   `cbor:"protocol"`
	Check     string   `cbor:"check"`
	IssuedMs  uint64   `cbor:"issued_ms"`
	TTLMs     uint32   `cbor:"ttl_ms"`
	BeatMs    uint32   `cbor:"beat_ms"`
	Body      []byte   `cbor:"body"`
}

func encodeClaim(c *Claim) []byte {
	return encode(&wireClaim{
		Network: c.Network, Name: c.Name, Owner: []byte(c.Owner), Epoch: c.Epoch, Seq: c.Seq,
		State: uint8(c.State), Endpoints: c.Endpoints, Provider: c.Provider, Region: c.Region, Zone: c.Zone,
		Protocol: c.Protocol, Check: c.Check, IssuedMs: c.IssuedMs,
		TTLMs: uint32(c.TTL.Milliseconds()), BeatMs: uint32(c.Beat.Milliseconds()), Body: c.Body,
	})
}

func decodeClaim(raw []byte) (Claim, error) {
	var w wireClaim
	if err := decode(raw, &w); err != nil {
		return Claim{}, err
	}
	if len(w.Owner) > ownerBytesMax {
		return Claim{}, fmt.Errorf("an owner of %d bytes: at most %d", len(w.Owner), ownerBytesMax)
	}
	owner, err := peer.IDFromBytes(w.Owner)
	if err != nil {
		return Claim{}, fmt.Errorf("owner: %w", err)
	}
	return Claim{
		Network: w.Network, Name: w.Name, Owner: owner, Stamp: Stamp{w.Epoch, w.Seq},
		State: State(w.State), Endpoints: w.Endpoints, Provider: w.Provider, Region: w.Region, Zone: w.Zone,
		Protocol: w.Protocol, Check: w.Check, IssuedMs: w.IssuedMs,
		TTL: time.Duration(w.TTLMs) * time.Millisecond, Beat: time.Duration(w.BeatMs) * time.Millisecond, Body: w.Body,
	}, nil
}
