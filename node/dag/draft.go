package dag

import "crypto/ed25519"

// Draft is a block as its author wants it, before it is signed. The core makes
// its own blocks without one; it is for those who test or simulate what a faulty
// author may send.
type Draft struct {
	Network Digest
	Epoch   uint64
	Slot    Slot
	TimeMs  uint64
	Parents []Ref
	Payload [][]byte
	Votes   []Vote
	Flags   Flags
}

// Sign returns the block's canonical bytes with key's signature. It judges
// nothing: only Rules.Verify makes a block of them, or refuses to.
func (d Draft) Sign(key ed25519.PrivateKey) []byte {
	b := &Block{
		ref: Ref{Slot: d.Slot}, network: d.Network, epoch: d.Epoch, timeMs: d.TimeMs,
		parents: d.Parents, payload: d.Payload, votes: d.Votes, flags: d.Flags,
	}
	return seal(b, key).raw
}
