package ledger

// A snapshot is a sequence of records: a type, a length, a body. First the
// head, then the rules, the sums, the accounts in their order and the deposits
// in theirs, and an empty record at the end. The same state gives the same
// bytes. Whether they are the state a root stands for is in the bytes: the
// head's digest is the root.
const (
	recordHead = iota + 1
	recordRules
	recordSums
	recordAccount
	recordDeposit
	recordEnd
)

// snapshotMagic begins the head's record; its number is the format's.
const snapshotMagic = "holdfast ledger 1\n"

// SnapshotChunkBytes is about how long a chunk is. It ends with a record, so
// that it is longer by less than one.
const SnapshotChunkBytes = 1 << 20

// SnapshotWriter writes a ledger out in chunks. The ledger must not be applied
// to in the meantime.
type SnapshotWriter struct {
	l    *Ledger
	next int // 0: the head; 1: rules and sums; then accounts, deposits, the end
	done bool
}

// Snapshot returns a writer of the present state.
func (l *Ledger) Snapshot() *SnapshotWriter { return &SnapshotWriter{l: l} }

// AppendChunk appends the next chunk to b; more is false when it was the last.
func (s *SnapshotWriter) AppendChunk(b []byte) (chunk []byte, more bool) {
	w := writer{b: b}
	for !s.done && len(w.b)-len(b) < SnapshotChunkBytes {
		s.record(&w)
	}
	return w.b, !s.done
}

// AppendSnapshot appends the whole state to b.
func (l *Ledger) AppendSnapshot(b []byte) []byte {
	s, more := l.Snapshot(), true
	for more {
		b, more = s.AppendChunk(b)
	}
	return b
}

// record writes the next record.
func (s *SnapshotWriter) record(w *writer) {
	l, accounts, deposits := s.l, len(s.l.accounts)-1, len(s.l.deposits)-1
	switch at := s.next; {
	case at == 0:
		end := w.open(recordHead)
		h := l.Head()
		w.raw([]byte(snapshotMagic))
		w.head(&h)
		w.close(end)
	case at == 1:
		end := w.open(recordRules)
		w.rules(l)
		w.close(end)
		end = w.open(recordSums)
		w.sums(l)
		w.close(end)
	case at < 2+accounts:
		end := w.open(recordAccount)
		w.raw(l.leaf(AccountRef(at - 1))[1:])
		w.close(end)
	case at < 2+accounts+deposits:
		end := w.open(recordDeposit)
		w.deposit(&l.deposits[at-1-accounts])
		w.close(end)
	default:
		w.close(w.open(recordEnd))
		s.done = true
	}
	s.next++
}

// open begins a record, and close writes its length.
func (w *writer) open(kind uint8) (body int) {
	w.u8(kind)
	w.u32(0)
	return len(w.b)
}

func (w *writer) close(body int) {
	n := writer{b: w.b[:body-4]}
	n.u32(uint32(len(w.b) - body))
}
