package ledger

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"slices"
)

// The order of operations inside a commit. Each account's ops stand in a line
// by nonce, and the first of each line waits for its turn. Next is the one
//
//	of the lowest class: pure cancels, then ops that cannot take, then others;
//	then of the account with the fewest ops served in this commit;
//	then of the account with the lowest SHA-256(commit digest, account).
//
// So a maker's cancel beats a taker's strike, no author of blocks gains by
// where it puts an op, and each account's own sequence is kept.

// classes of operations, the first to go first.
const (
	classCancel = iota // nothing but cancel and cancel_all
	classMaker         // nothing but those, amend, and post-only place and replace
	classOther
)

func classOf(actions []Action) uint64 {
	class := uint64(classCancel)
	for i := range actions {
		switch a := &actions[i]; a.Kind {
		case KindCancel, KindCancelAll:
		case KindAmend:
			class = classMaker
		case KindPlace, KindReplace:
			if a.Type != PostOnly {
				return classOther
			}
			class = classMaker
		default:
			return classOther
		}
	}
	return class
}

// line is the ops of one account in a commit.
type line struct {
	rank   uint64 // class of the head, then ops served
	tie    uint64 // the first eight bytes of the account's digest
	head   uint32 // position in turns.order
	end    uint32
	sample uint32 // position in the batch of one of its ops, to read the account
}

// turns hands out a commit's ops in order. Its slices are kept from commit to
// commit, so that this costs no allocation.
type turns struct {
	ops    []Op
	digest Digest
	lines  []line   // a binary heap once begun
	order  []uint32 // positions of ops, line by line
	lineOf []uint32 // of each op
	table  []uint32 // lines by account, 0: free
}

// begin sorts a batch into lines.
func (t *turns) begin(b *Batch, h *hasher) {
	t.ops, t.digest = b.Ops, b.Digest
	t.lines = t.lines[:0]
	if len(b.Ops) == 0 {
		return
	}
	t.group(h)
	t.fill()
	for i := range t.lines {
		t.sort(&t.lines[i])
	}
	if len(t.lines) == 1 {
		return
	}
	for i := range t.lines {
		t.lines[i].tie = t.prefix(&t.lines[i])
	}
	for i := len(t.lines)/2 - 1; i >= 0; i-- {
		t.down(i)
	}
}

// group finds each op's line by its account, in a small table of its own:
// accounts nobody knows yet wait in line as well.
func (t *turns) group(h *hasher) {
	size := 16
	for size < 2*len(t.ops) {
		size *= 2
	}
	t.table = slices.Grow(t.table[:0], size)[:size]
	clear(t.table)
	t.lineOf = slices.Grow(t.lineOf[:0], len(t.ops))[:len(t.ops)]
	mask := uint32(size - 1)
	for i := range t.ops {
		account := &t.ops[i].account
		at := h.key(account) & mask
		for t.table[at] != 0 && t.ops[t.lines[t.table[at]-1].sample].account != *account {
			at = (at + 1) & mask
		}
		if t.table[at] == 0 {
			t.lines = append(t.lines, line{sample: uint32(i)})
			t.table[at] = uint32(len(t.lines))
		}
		n := t.table[at] - 1
		t.lineOf[i] = n
		t.lines[n].end++
	}
}

// fill puts the ops of each line side by side, in committed order.
func (t *turns) fill() {
	from := uint32(0)
	for i := range t.lines {
		v := &t.lines[i]
		v.head, v.end, from = from, from, from+v.end
	}
	t.order = slices.Grow(t.order[:0], len(t.ops))[:len(t.ops)]
	for i, n := range t.lineOf {
		v := &t.lines[n]
		t.order[v.end] = uint32(i)
		v.end++
	}
}

// sort orders a line by nonce, then by committed order.
func (t *turns) sort(v *line) {
	ops := t.order[v.head:v.end]
	before := func(a, b uint32) int {
		return cmp.Or(cmp.Compare(t.ops[a].nonce, t.ops[b].nonce), cmp.Compare(a, b))
	}
	if !slices.IsSortedFunc(ops, before) {
		slices.SortFunc(ops, before)
	}
	v.rank = classOf(t.ops[ops[0]].actions) << 32
}

// next returns the position in the batch of the op whose turn it is.
func (t *turns) next() (op uint32, ok bool) {
	if len(t.lines) == 0 {
		return 0, false
	}
	v := &t.lines[0]
	op = t.order[v.head]
	if v.head++; v.head == v.end {
		last := len(t.lines) - 1
		t.lines[0] = t.lines[last]
		t.lines = t.lines[:last]
	} else {
		served := uint64(uint32(v.rank)) + 1
		v.rank = classOf(t.ops[t.order[v.head]].actions)<<32 | served
	}
	if len(t.lines) > 1 {
		t.down(0)
	}
	return op, true
}

// before says whether line a goes before line b.
func (t *turns) before(a, b *line) bool {
	if a.rank != b.rank {
		return a.rank < b.rank
	}
	if a.tie != b.tie {
		return a.tie < b.tie
	}
	x, y := t.lot(a), t.lot(b)
	return bytes.Compare(x[:], y[:]) < 0
}

// lot is what decides among accounts: SHA-256(commit digest, account).
func (t *turns) lot(v *line) Digest {
	var b [sha256.Size + 32]byte
	copy(b[:], t.digest[:])
	copy(b[sha256.Size:], t.ops[v.sample].account[:])
	return sha256.Sum256(b[:])
}

func (t *turns) prefix(v *line) uint64 {
	lot := t.lot(v)
	return binary.BigEndian.Uint64(lot[:8])
}

func (t *turns) down(at int) {
	moving := t.lines[at]
	for {
		child := 2*at + 1
		if child >= len(t.lines) {
			break
		}
		if child+1 < len(t.lines) && t.before(&t.lines[child+1], &t.lines[child]) {
			child++
		}
		if !t.before(&t.lines[child], &moving) {
			break
		}
		t.lines[at] = t.lines[child]
		at = child
	}
	t.lines[at] = moving
}
