package replica

import (
	"bytes"
	"reflect"
	"testing"

	"github.com/holdfast-mesh/holdfast/node/dag"
)

func someCertificate() Certificate {
	return Certificate{
		Checkpoint: Checkpoint{Index: 300, Commit: dag.Digest{1}, Root: [32]byte{2}},
		Epoch:      1, Votes: []dag.Ref{someRef(0), someRef(1), someRef(3)},
	}
}

func someManifest() Manifest {
	return Manifest{
		Checkpoint: Checkpoint{Index: 300, Commit: dag.Digest{1}, Root: [32]byte{2}},
		Chunks:     [][32]byte{{1}, {2}, {3}},
	}
}

func TestCertificateBytes(t *testing.T) {
	c := someCertificate()
	got, err := DecodeCertificate(c.Bytes())
	if err != nil || !reflect.DeepEqual(got, c) {
		t.Errorf("decoded %+v, %v, want %+v", got, err, c)
	}
	c.Votes[0], c.Votes[1] = c.Votes[1], c.Votes[0]
	if _, err := DecodeCertificate(c.Bytes()); err == nil {
		t.Error("votes out of order decode")
	}
	for range dag.CommitteeMax {
		c.Votes = append(c.Votes, someRef(9))
	}
	if _, err := DecodeCertificate(c.Bytes()); err == nil {
		t.Error("more votes than a committee has decode")
	}
}

func TestManifestBytes(t *testing.T) {
	m := someManifest()
	got, err := DecodeManifest(m.Bytes())
	if err != nil || !reflect.DeepEqual(got, m) {
		t.Errorf("decoded %+v, %v, want %+v", got, err, m)
	}
	for n := range m.Bytes() {
		if _, err := DecodeManifest(m.Bytes()[:n]); err == nil {
			t.Errorf("the first %d bytes decode", n)
		}
	}
}

func FuzzDecodeCertificate(f *testing.F) {
	c := someCertificate()
	f.Add(c.Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := DecodeCertificate(b)
		if err == nil && !bytes.Equal(c.Bytes(), b) {
			t.Errorf("%x decodes to %+v, which encodes to %x", b, c, c.Bytes())
		}
	})
}

func FuzzDecodeManifest(f *testing.F) {
	m := someManifest()
	f.Add(m.Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := DecodeManifest(b)
		if err == nil && !bytes.Equal(m.Bytes(), b) {
			t.Errorf("%x decodes to %+v, which encodes to %x", b, m, m.Bytes())
		}
	})
}

func FuzzDecodeCommittee(f *testing.F) {
	c, err := dag.NewCommittee(membersOf(testCommitteeOf(4)))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(encodeCommittee(c))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := decodeCommittee(b)
		if err == nil && !bytes.Equal(encodeCommittee(c), b) {
			t.Errorf("%x decodes to a committee that encodes to %x", b, encodeCommittee(c))
		}
	})
}
