package dag

import (
	"crypto/ed25519"
	"errors"
	"testing"
)

// TestDraftIsOnlyBytes: a draft that keeps the rules verifies into the block it
// says, and one that breaks them is refused like any other bytes.
func TestDraftIsOnlyBytes(t *testing.T) {
	r := testRules(keyedCommittee(t, equal(4)...))
	rules := &r
	d := Draft{Network: rules.Network, Slot: Slot{Round: 1, Author: 2}, TimeMs: 5, Payload: [][]byte{{7}}}
	for _, a := range []Author{2, 0, 1} {
		d.Parents = append(d.Parents, Genesis(rules.Network, 0, a))
	}
	b, err := rules.Verify(d.Sign(testKey(2)))
	if err != nil {
		t.Fatal(err)
	}
	if b.Ref().Slot != d.Slot || b.TimeMs() != 5 || len(b.Payload()) != 1 || len(b.Parents()) != 3 {
		t.Errorf("verified as %v", b.Ref())
	}
	if _, err := rules.Verify(d.Sign(testKey(1))); !errors.Is(err, ErrSignature) {
		t.Errorf("signed by another: %v", err)
	}
	d.Parents = d.Parents[:2]
	if _, err := rules.Verify(d.Sign(testKey(2))); !errors.Is(err, ErrBlock) {
		t.Errorf("without a quorum of parents: %v", err)
	}
}

// TestSignaturesAreEd25519: what seals a block is the signature that the standard
// library makes and takes, and a member whose key is no point signs nothing.
func TestSignaturesAreEd25519(t *testing.T) {
	rules := testRules(keyedCommittee(t, 1, 1))
	parent := Genesis(rules.Network, rules.Epoch, 0)
	raw := Draft{Network: rules.Network, Slot: Slot{Round: 1}, Parents: []Ref{parent, Genesis(rules.Network, rules.Epoch, 1)}}.Sign(testKey(0))
	signature := raw[len(raw)-ed25519.SignatureSize:]
	message := signedMessage(rules.Network, rules.Epoch, unsignedDigest(raw))
	if want := ed25519.Sign(testKey(0), message); string(signature) != string(want) {
		t.Errorf("sealed with %x, want %x", signature, want)
	}
	if _, err := rules.Verify(raw); err != nil {
		t.Error(err)
	}
	members := append([]Member(nil), rules.Committee.members...)
	members[0].Key = [32]byte{0: 2} // no point has this y
	committee, err := NewCommittee(members)
	if err != nil {
		t.Fatal(err)
	}
	rules.Committee = committee
	if _, err := rules.Verify(raw); !errors.Is(err, ErrSignature) {
		t.Errorf("signed by no point: %v", err)
	}
}
