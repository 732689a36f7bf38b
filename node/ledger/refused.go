package ledger

// refusal is an op that was refused as a whole without its nonce being used up,
// though a later commit might let it through: its account did not exist, or its
// nonce was too far ahead. What has been refused must not run later, when
// somebody orders the same bytes again: its signer was told, and may have sent
// another in its place.
type refusal struct {
	id     Digest
	commit uint64 // in which it was refused
	reason Reason
}

// refusalsMax bounds how many are remembered. An honest validator's Check keeps
// such ops out of its blocks, and none can run once its window is over.
const refusalsMax = 4096

// refuseForNow refuses an op and remembers that it did.
func (l *Ledger) refuseForNow(op *Op, reason Reason) {
	if len(l.refusals) == refusalsMax {
		delete(l.refusedBefore, l.refusals[0].id)
		l.refusals = l.refusals[1:]
	}
	l.addRefusal(refusal{op.id, l.index, reason})
	l.merkle.rules = true
	l.refuse(reason)
}

func (l *Ledger) addRefusal(r refusal) {
	l.refusals = append(l.refusals, r)
	l.refusedBefore[r.id] = r
}

// refused returns how an op was refused before.
func (l *Ledger) refused(op *Op) (r refusal, before bool) {
	if len(l.refusals) == 0 {
		return refusal{}, false
	}
	r, before = l.refusedBefore[op.id]
	return r, before
}
