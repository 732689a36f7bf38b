package dag

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"math"
	"math/bits"

	voi "github.com/oasisprotocol/curve25519-voi/primitives/ed25519"
)

// CommitteeMax bounds the validators of one epoch. A block names up to one
// parent per validator, so its size and the work of a round grow with the
// square of this number.
const CommitteeMax = 256

// Author is a validator's position in its epoch's committee, from 0.
type Author uint16

// Member is one validator: the key its blocks are signed with and its voting
// weight, at least 1.
type Member struct {
	Key    [ed25519.PublicKeySize]byte
	Weight uint64
}

// Committee is the validators of one epoch, in the order that gives them their
// Author numbers. It never changes once made, so many goroutines may read it.
//
// With N the total weight, F the most that may be faulty:
//
//	F = floor((N-1)/3)    Q = floor(2N/3)+1    V = F+1
//
// Any two sets that weigh Q share more than F, and what weighs V has an honest
// author in it. Both are compared with >=.
type Committee struct {
	members  []Member
	keys     []*voi.ExpandedPublicKey // of members, ready for use; nil for one that is no point
	byKey    map[[ed25519.PublicKeySize]byte]Author
	total    uint64
	faulty   uint64
	quorum   uint64
	validity uint64
}

// NewCommittee checks the members and fixes their order. It refuses an empty or
// oversized list, a weight of zero, a key that appears twice and a total
// beyond 2^63-1, naming the member.
func NewCommittee(members []Member) (*Committee, error) {
	if len(members) == 0 {
		return nil, errors.New("dag: a committee needs at least one member")
	}
	if len(members) > CommitteeMax {
		return nil, fmt.Errorf("dag: %d members, a committee has at most %d", len(members), CommitteeMax)
	}
	c := &Committee{
		members: append([]Member(nil), members...),
		byKey:   make(map[[ed25519.PublicKeySize]byte]Author, len(members)),
	}
	for i, m := range members {
		if m.Weight == 0 {
			return nil, fmt.Errorf("dag: member %d has no weight: give it at least 1 or leave it out", i)
		}
		if first, twice := c.byKey[m.Key]; twice {
			return nil, fmt.Errorf("dag: members %d and %d have the same key", first, i)
		}
		c.byKey[m.Key] = Author(i)
		key, err := voi.NewExpandedPublicKey(m.Key[:])
		if err != nil {
			key = nil // nobody can sign with it; the others need not halt for that
		}
		c.keys = append(c.keys, key)
		sum, carry := bits.Add64(c.total, m.Weight, 0)
		if carry != 0 || sum > math.MaxInt64 {
			return nil, fmt.Errorf("dag: the weights up to member %d exceed 2^63-1", i)
		}
		c.total = sum
	}
	c.faulty = (c.total - 1) / 3
	c.quorum = c.total - c.faulty // the same number as floor(2N/3)+1, without the product
	c.validity = c.faulty + 1
	return c, nil
}

// Size is the number of validators.
func (c *Committee) Size() int { return len(c.members) }

// Total is N, the weight of all validators.
func (c *Committee) Total() uint64 { return c.total }

// Faulty is F, the most weight that may be faulty.
func (c *Committee) Faulty() uint64 { return c.faulty }

// Quorum is Q: any two sets of this weight share an honest validator.
func (c *Committee) Quorum() uint64 { return c.quorum }

// Validity is V: a set of this weight has an honest validator in it.
func (c *Committee) Validity() uint64 { return c.validity }

// Has reports whether a is a validator of this committee.
func (c *Committee) Has(a Author) bool { return int(a) < len(c.members) }

// Member returns the validator a, which must be of this committee.
func (c *Committee) Member(a Author) Member { return c.members[a] }

// Weight returns the weight of a, which must be of this committee.
func (c *Committee) Weight(a Author) uint64 { return c.members[a].Weight }

// AuthorOf finds the validator that signs with key.
func (c *Committee) AuthorOf(key [ed25519.PublicKeySize]byte) (Author, bool) {
	a, ok := c.byKey[key]
	return a, ok
}

// signed reports whether a signature over a message is a's, which must be of this
// committee. It accepts exactly what ZIP-215 does (https://zips.z.cash/zip-0215), as
// for operations: no signature is good for one node and bad for another.
func (c *Committee) signed(a Author, message, signature []byte) bool {
	return c.keys[a] != nil && voi.VerifyExpandedWithOptions(c.keys[a], message, signature, zip215)
}

var zip215 = &voi.Options{Verify: voi.VerifyOptionsZIP_215}

// tally adds up the weight of distinct authors. The sum cannot overflow: it is
// at most the committee's total.
type tally struct {
	seen   [CommitteeMax / 64]uint64
	weight uint64
}

func (t *tally) has(a Author) bool { return t.seen[a/64]&(1<<(a%64)) != 0 }

// add counts a once and reports whether it was new.
func (t *tally) add(c *Committee, a Author) bool {
	if t.has(a) {
		return false
	}
	t.seen[a/64] |= 1 << (a % 64)
	t.weight += c.members[a].Weight
	return true
}
