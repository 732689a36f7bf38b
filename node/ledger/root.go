package ledger

import (
	"crypto/sha256"
	"errors"
	"fmt"
)

// state is what is kept of the root between calls, so that its cost follows
// what has changed since.
type state struct {
	accounts tree
	deposits tree
	touches  []uint32 // deposits whose leaves are out of date
	rules    bool     // the rules' digest is out of date
	rulesSum Digest
	leaf     writer       // scratch
	scratch  AccountState // scratch
}

// Head is the part of the state that everything else hangs on: the root is its
// digest.
type Head struct {
	Network        Digest
	Commit         uint64 // index of the last commit applied
	TimeMs         int64  // its time
	CommitDigest   Digest
	LastOrder      OrderID
	LastWithdrawal WithdrawalID
	ReopenUntilMs  int64
	Accounts       uint32
	AccountsRoot   Digest
	Deposits       uint32
	DepositsRoot   Digest
	Rules          Digest
	Sums           Digest
}

const headBytes = 32 + 8 + 8 + 32 + 8 + 8 + 8 + 4 + 32 + 4 + 32 + 32 + 32

func (w *writer) head(h *Head) {
	w.raw(h.Network[:])
	w.u64(h.Commit)
	w.i64(h.TimeMs)
	w.raw(h.CommitDigest[:])
	w.u64(uint64(h.LastOrder))
	w.u64(uint64(h.LastWithdrawal))
	w.i64(h.ReopenUntilMs)
	w.u32(h.Accounts)
	w.raw(h.AccountsRoot[:])
	w.u32(h.Deposits)
	w.raw(h.DepositsRoot[:])
	w.raw(h.Rules[:])
	w.raw(h.Sums[:])
}

func (r *reader) head() (h Head) {
	h.Network, h.Commit, h.TimeMs, h.CommitDigest = r.digest(), r.u64(), r.i64(), r.digest()
	h.LastOrder, h.LastWithdrawal, h.ReopenUntilMs = OrderID(r.u64()), WithdrawalID(r.u64()), r.i64()
	h.Accounts, h.AccountsRoot = r.u32(), r.digest()
	h.Deposits, h.DepositsRoot = r.u32(), r.digest()
	h.Rules, h.Sums = r.digest(), r.digest()
	return h
}

// root is the head's digest.
func (h *Head) root() Digest {
	w := writer{b: make([]byte, 0, 1+headBytes)}
	w.u8(hashedHead)
	w.head(h)
	return sha256.Sum256(w.b)
}

// Root returns the digest of the whole state. Ledgers that applied the same
// commits have the same root, whatever was read in between, and whether or not
// they were restored from a snapshot on the way.
//
// The cost follows what changed since the last call: the accounts, with the
// nodes above them, and not how much there is.
func (l *Ledger) Root() Digest {
	h := l.Head()
	return h.root()
}

// Head returns what the root is the digest of.
func (l *Ledger) Head() Head {
	s := &l.merkle
	for _, of := range l.touches {
		l.touched[of] = false
		s.accounts.set(uint32(of)-1, sha256.Sum256(l.leaf(of)))
	}
	l.touches = l.touches[:0]
	for _, at := range s.touches {
		d := &l.deposits[at]
		d.touched = false
		s.leaf.b = append(s.leaf.b[:0], hashedLeaf)
		s.leaf.deposit(d)
		s.deposits.set(at-1, sha256.Sum256(s.leaf.b))
	}
	s.touches = s.touches[:0]
	if s.rules {
		s.leaf.b = append(s.leaf.b[:0], hashedRule)
		s.leaf.rules(l)
		s.rules, s.rulesSum = false, sha256.Sum256(s.leaf.b)
	}
	s.leaf.b = append(s.leaf.b[:0], hashedSums)
	s.leaf.sums(l)
	return Head{
		Network: l.network, Commit: l.index, TimeMs: l.timeMs, CommitDigest: l.digest,
		LastOrder: l.lastID, LastWithdrawal: l.lastWithdrawal, ReopenUntilMs: l.reopenUntilMs,
		Accounts: uint32(len(l.accounts) - 1), AccountsRoot: s.accounts.root(),
		Deposits: uint32(len(l.deposits) - 1), DepositsRoot: s.deposits.root(),
		Rules: s.rulesSum, Sums: sha256.Sum256(s.leaf.b),
	}
}

// leaf is what is hashed of an account. It is valid until the next leaf.
func (l *Ledger) leaf(of AccountRef) []byte {
	s := &l.merkle
	l.readAccount(of, &s.scratch)
	s.leaf.b = append(s.leaf.b[:0], hashedLeaf)
	s.leaf.account(&s.scratch)
	s.scratch.Results = nil // it aliases what the account goes on using
	return s.leaf.b
}

// Proof is an account's state and what shows that it is under a root: the
// head, the account's position, its leaf, and the siblings on the way up.
// Its bytes are for VerifyProof.

// ErrProof says that bytes do not prove what they should under a root.
var ErrProof = errors.New("ledger: this proves nothing under this root")

// AppendProof appends a proof of an account's state under the present root to
// b; ok is false when there is no such account.
func (l *Ledger) AppendProof(b []byte, key Account) (proof []byte, ok bool) {
	of := l.accountOf(&key)
	if of == 0 {
		return b, false
	}
	w := writer{b: b}
	h := l.Head()
	w.head(&h)
	w.u32(uint32(of) - 1)
	leaf := l.leaf(of)[1:]
	w.u32(uint32(len(leaf)))
	w.raw(leaf)
	return l.merkle.accounts.path(w.b, uint32(of)-1), true
}

// VerifyProof returns the state an account had under a root, and the head
// with the commit it is of. It needs nothing but its arguments, so that a
// client that trusts a root, such as one that a quorum has signed, need not
// trust whoever serves it. Any change to the proof makes the error ErrProof.
func VerifyProof(root Digest, key Account, proof []byte) (AccountState, Head, error) {
	r := reader{b: proof}
	h := r.head()
	at := r.u32()
	leaf := r.take(r.list(1))
	if r.fault != nil {
		return AccountState{}, Head{}, fmt.Errorf("%w: %w", ErrProof, r.fault)
	}
	if h.root() != root {
		return AccountState{}, Head{}, ErrProof
	}
	hashed := sha256.Sum256(append([]byte{hashedLeaf}, leaf...))
	if got, ok := climb(hashed, at, h.Accounts, r.b); !ok || got != h.AccountsRoot {
		return AccountState{}, Head{}, ErrProof
	}
	var a AccountState
	r = reader{b: leaf}
	r.account(&a)
	if err := r.end(); err != nil || a.Key != key {
		return AccountState{}, Head{}, ErrProof
	}
	return a, h, nil
}

// AppendCommitteeProof appends a proof of the committee that the present state names to
// b: the head, and all the rules, whose digest is in it. It has a few kilobytes, of at most
// CommitteeProofMax.
func (l *Ledger) AppendCommitteeProof(b []byte) []byte {
	w := writer{b: b}
	h := l.Head()
	w.head(&h)
	w.rules(l)
	return w.b
}

// CommitteeProofMax bounds a committee's proof, in bytes, for who reads one from others:
// listings, councils and validators in full, and all refusals that are remembered.
const CommitteeProofMax = 1 << 20

// VerifyCommitteeProof returns the committee that the state with a root names, and the
// head with the commit it is of. As VerifyProof it needs nothing but its arguments; any
// change to the proof makes the error ErrProof.
func VerifyCommitteeProof(root Digest, proof []byte) (Committee, Head, error) {
	r := reader{b: proof}
	h := r.head()
	if r.fault != nil || len(proof) > CommitteeProofMax || h.root() != root {
		return Committee{}, Head{}, ErrProof
	}
	if sha256.Sum256(append([]byte{hashedRule}, r.b...)) != h.Rules {
		return Committee{}, Head{}, ErrProof
	}
	g, err := DecodeGenesis(r.take(r.list(1)))
	if err != nil {
		return Committee{}, Head{}, fmt.Errorf("%w: %w", ErrProof, err)
	}
	return g.Committee, h, nil
}
