package ledger

import "sort"

// nonces is what is remembered of an account's operations: the highest nonces
// used, ascending, with how each op ended. It is what makes an op that two
// validators include run once, and it is bounded by Params.NonceWindow.
type nonces struct {
	all  []Result
	from int    // all[from:] are kept
	top  uint64 // the highest kept, so that a higher one looks no further
	// floor is the highest nonce ever forgotten: at or below it nothing is
	// accepted, also after governors widen the window.
	floor uint64
}

func (n *nonces) kept() []Result { return n.all[n.from:] }

// How far a nonce, read as milliseconds, may be from the commit's time. Beyond
// it, an account could lock itself out with one large nonce.
const (
	nonceBehindMs = 2 * 24 * 3600_000
	nonceAheadMs  = 24 * 3600_000
)

// find returns where in kept the nonce is, or belongs.
func (n *nonces) find(nonce uint64) (at int, found bool) {
	kept := n.kept()
	last := len(kept)
	if last == 0 || n.top < nonce {
		return last, false
	}
	at = sort.Search(last, func(i int) bool { return kept[i].Nonce >= nonce })
	return at, kept[at].Nonce == nonce
}

// admits says why an op may not use this nonce at this commit time, or
// ReasonNone.
func (n *nonces) admits(nonce uint64, timeMs int64, window int) Reason {
	if _, used := n.find(nonce); used {
		return ReasonNonceUsed
	}
	if int64(nonce) <= timeMs-nonceBehindMs || int64(nonce) >= timeMs+nonceAheadMs {
		return ReasonNonceWindow
	}
	if kept := n.kept(); n.floor != 0 && nonce <= n.floor || len(kept) >= window && nonce < kept[0].Nonce {
		return ReasonNonceTooLow
	}
	return ReasonNone
}

// forget drops the lowest nonce kept.
func (n *nonces) forget() {
	n.floor = max(n.floor, n.kept()[0].Nonce)
	n.from++
}

// keep enters a result under its nonce, which admits has let through.
func (n *nonces) keep(r Result, window int) {
	at, _ := n.find(r.Nonce)
	if len(n.all) == cap(n.all) {
		n.makeRoom(window)
	}
	n.all = append(n.all, Result{})
	kept := n.kept()
	copy(kept[at+1:], kept[at:])
	kept[at] = r
	n.top = max(n.top, r.Nonce)
}

// makeRoom moves what is kept down, into twice the space while it grows. A
// full window has as much again free, so it moves once per window of ops.
func (n *nonces) makeRoom(window int) {
	kept := n.kept()
	to := n.all
	if len(kept) > len(n.all)/2 {
		to = make([]Result, min(2*window, max(4, 2*len(kept)))+1)
	}
	n.all, n.from = to[:copy(to, kept)], 0
}

// result returns what is kept under a nonce; it panics if there is nothing.
func (n *nonces) result(nonce uint64) *Result {
	at, found := n.find(nonce)
	if !found {
		panic("ledger: invariant broken: a nonce in use is not kept")
	}
	return &n.kept()[at]
}

// useNonce enters an op's nonce and forgets what is beyond the window.
func (l *Ledger) useNonce(of AccountRef, op *Op) {
	n, window := &l.nonces[of], int(l.params.NonceWindow)
	for len(n.kept()) >= window {
		old := &n.kept()[0]
		l.byOp.remove(l.hash.digest(&old.ID), uint32(of))
		n.forget()
	}
	n.keep(Result{ID: op.id, Nonce: op.nonce, Commit: l.index, Op: l.op}, window)
	l.byOp.add(l.hash.digest(&op.id), uint32(of))
}

// Result returns how the op with this id ended, while its account's nonces
// are kept; ok is false when the ledger does not know it, or not any more.
func (l *Ledger) Result(id Digest) (r Result, ok bool) {
	tag := l.hash.digest(&id)
	for at := l.byOp.home(tag); ; {
		of := l.byOp.next(tag, &at)
		if of == 0 {
			return Result{}, false
		}
		for _, r := range l.nonces[of].kept() {
			if r.ID == id {
				return r, true
			}
		}
	}
}
