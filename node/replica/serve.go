package replica

import (
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/holdfast-mesh/holdfast/node/dag"
)

// What keeps Serve from answering.
var (
	ErrUnable  = errors.New("replica: this validator cannot know the answer")
	ErrDamaged = errors.New("replica: the disk returns other bytes than were written")
)

// Own says which blocks of ours may leave the machine: those that are durable.
// A store may show a batch before it is, and a block of ours that was given out and
// then lost in a crash would be signed a second time, differently.
//
// The caller keeps the newest Effects.Own: it takes it over once that Step's
// Persist is durable, before it sends anything.
type Own struct {
	Validator bool // in the committee of Epoch, as Author
	Author    dag.Author
	Epoch     uint64
	Round     uint64
}

// hides reports whether a block may be one of ours that is not durable yet.
func (o Own) hides(epoch uint64, ref dag.Ref) bool {
	switch {
	case epoch < o.Epoch:
		return false
	case epoch > o.Epoch:
		return true // we may be any author there
	}
	return o.Validator && ref.Author == o.Author && ref.Round > o.Round
}

// Serve answers another validator's request from the disk alone. It does not
// look at a running replica, so any goroutine may call it at any time. The records it
// puts into a reply take at most room bytes, of ReplyRoomMax at most; but a commit and a
// block are in it however little room there is, or who asks would never come further.
// What we do not have is left out. With an error nothing is to be sent: ErrUnable
// means that no answer is right, any other that the disk cannot be read, or holds
// something else than was written (ErrDamaged).
//
// Whoever asks checks everything again. What we check here keeps an honest
// validator from being taken for a faulty one because its disk has decayed.
func Serve(st Store, q Request, own Own, room int) (Reply, error) {
	s := serving{st: st, own: own, room: min(room, ReplyRoomMax), reply: Reply{ID: q.ID, Kind: q.Kind}}
	var err error
	switch q.Kind {
	case AskBlocks:
		err = s.blocks(q.Epoch, q.Refs)
	case AskRounds:
		err = s.rounds(q.Epoch, q.From, q.Author)
	case AskCommits:
		err = s.commits(q.From, q.Skip)
	case AskNewest:
		err = s.newest(q.Epoch, q.Author)
	case AskCheckpoint:
		err = s.checkpoint(q.Skip)
	case AskManifest:
		s.reply.Manifest, err = get(st, indexKey(prefixManifest, q.From))
	case AskChunk:
		s.reply.Chunk, err = get(st, chunkKey(q.From, q.Chunk))
	case AskHandover:
		err = s.handover(q.Epoch)
	}
	if err != nil {
		return Reply{}, err
	}
	return s.reply, nil
}

type serving struct {
	st    Store
	own   Own
	room  int
	reply Reply
}

// put adds a block to the reply while there is room for it.
func (s *serving) put(b []byte) bool { return s.append(&s.reply.Blocks, b) }

// append adds a record to a list of the reply while there is room for it, and the first
// in any case.
func (s *serving) append(list *[][]byte, record []byte) bool {
	cost := len(record) + 5
	if len(*list) > 0 && (cost > s.room || len(*list) == replyRecordsMax) {
		return false
	}
	s.room -= cost
	*list = append(*list, record)
	return true
}

func (s *serving) blocks(epoch uint64, refs []dag.Ref) error {
	for _, ref := range refs[:min(len(refs), askRefsMax)] {
		if s.own.hides(epoch, ref) {
			continue
		}
		b, err := getBlock(s.st, epoch, ref)
		if err != nil {
			return err
		}
		if b != nil && !s.put(b) {
			return nil
		}
	}
	return nil
}

func (s *serving) rounds(epoch, from uint64, author dag.Author) error {
	return Rounds(s.st, s.own, epoch, from, func(ref dag.Ref, raw []byte) bool {
		if ref.Round == from && ref.Author < author {
			return true
		}
		if !s.put(raw) {
			s.reply.Head = ref.Round
			return false
		}
		return true
	})
}

// Rounds visits the stored blocks of an epoch from a round on, in the order of
// rounds and authors, until visit returns false. Blocks of ours that may not leave
// yet are left out. Any goroutine may call it. The bytes are not to be changed.
func Rounds(st Store, own Own, epoch, from uint64, visit func(ref dag.Ref, raw []byte) bool) error {
	for rec, err := range st.Scan(epochPrefix(epoch), roundKey(epoch, from)) {
		if err != nil {
			return fmt.Errorf("replica: scanning blocks: %w", err)
		}
		_, ref, ok := parseBlockKey(rec.Key)
		if !ok || own.hides(epoch, ref) {
			continue
		}
		if err := checkBlock(rec); err != nil {
			return err
		}
		if !visit(ref, rec.Value) {
			return nil
		}
	}
	return nil
}

// commits sends whole commits while they fit, and of the last what fits.
func (s *serving) commits(from, skip uint64) error {
	head, err := newestIndex(s.st, prefixCommit)
	if err != nil {
		return err
	}
	s.reply.Head = head
	next := from
	for rec, err := range s.st.Scan([]byte(prefixCommit), indexKey(prefixCommit, from)) {
		if err != nil {
			return err
		}
		index, ok := parseIndexKey(prefixCommit, rec.Key)
		if !ok || index != next {
			return nil // pruned: what comes later is of no use to the asker
		}
		next++
		c, err := dag.DecodeCommit(rec.Value)
		if err != nil {
			return fmt.Errorf("replica: commit %d on disk is damaged: %w", index, err)
		}
		if !s.append(&s.reply.Commits, rec.Value) {
			return nil
		}
		for _, ref := range c.Refs[min(skip, uint64(len(c.Refs))):] {
			b, err := getBlock(s.st, c.Epoch, ref)
			if err != nil {
				return err
			}
			if b == nil || !s.put(b) {
				return nil
			}
		}
		skip = 0
	}
	return nil
}

// newest sends the author's newest block that we have, and our own newest: by
// the first the asker learns what it said, by the second how far it can have
// come without our hearing of it. Who lost its own disk knows neither; and who is in
// another epoch does not know what the author, if it was further on than who asks, has
// signed in the one after.
func (s *serving) newest(epoch uint64, author dag.Author) error {
	lost, err := get(s.st, []byte(keyRecover))
	if err != nil {
		return err
	}
	if lost != nil || epoch != s.own.Epoch {
		return ErrUnable
	}
	ours := s.own.Validator
	most := uint64(maxUint64)
	if ours && author == s.own.Author {
		most = s.own.Round
	}
	b, err := newestBlock(s.st, epoch, author, most)
	if err != nil {
		return err
	}
	if b != nil {
		s.put(b)
	}
	if ours && author != s.own.Author {
		if b, err = newestBlock(s.st, epoch, s.own.Author, s.own.Round); b != nil {
			s.put(b)
		}
	}
	return err
}

// handover sends how an epoch that is over has handed over.
func (s *serving) handover(epoch uint64) error {
	next, err := get(s.st, indexKey(prefixEpoch, epoch+1))
	if err != nil || next == nil {
		return err
	}
	s.reply.Handover, err = get(s.st, indexKey(prefixHandover, epoch))
	return err
}

func (s *serving) checkpoint(skip uint64) error {
	index, err := newestIndex(s.st, prefixManifest)
	if err != nil || index == 0 {
		return err
	}
	raw, err := get(s.st, indexKey(prefixCheckpoint, index))
	if err != nil || raw == nil {
		return err
	}
	c, err := DecodeCertificate(raw)
	if err != nil {
		return fmt.Errorf("replica: checkpoint %d on disk is damaged: %w", index, err)
	}
	s.reply.Certificate = raw
	s.room -= len(raw)
	for _, ref := range c.Votes[min(skip, uint64(len(c.Votes))):] {
		b, err := getBlock(s.st, c.Epoch, ref)
		if err != nil {
			return err
		}
		if b == nil || !s.put(b) {
			return nil
		}
	}
	return nil
}

// get reads a value that may be missing: then it is nil.
func get(st Store, key []byte) ([]byte, error) {
	v, ok, err := st.Get(key)
	if err != nil {
		return nil, fmt.Errorf("replica: reading %q: %w", key, err)
	}
	if !ok {
		return nil, nil
	}
	return v, nil
}

// getBlock reads a block and checks that it is the one the key names.
func getBlock(st Store, epoch uint64, ref dag.Ref) ([]byte, error) {
	key := blockKey(epoch, ref)
	b, err := get(st, key)
	if b == nil {
		return nil, err
	}
	return b, checkBlock(Record{key, b})
}

// checkBlock finds a flipped bit: the bytes of a block must be what its key says.
func checkBlock(rec Record) error {
	epoch, ref, ok := parseBlockKey(rec.Key)
	if !ok {
		return fmt.Errorf("replica: %q is no key of a block", rec.Key)
	}
	if sha256.Sum256(rec.Value) != ref.Digest {
		return fmt.Errorf("%w: block %v of epoch %d", ErrDamaged, ref, epoch)
	}
	return nil
}

// newestIndex is the highest index under a prefix, 0 when there is none. A Store
// is read in ascending order only, so it looks ahead in steps that double, and
// then halves what is left: some twenty short reads, however long the chain is.
// Indexes have no gaps that would stop it from finding one that exists (see pruning).
func newestIndex(st Store, prefix string) (uint64, error) {
	low, err := firstIndex(st, prefix, 0)
	if err != nil || low == 0 {
		return 0, err
	}
	high := uint64(maxUint64) // nothing is at or above high, something is at low
	for step := uint64(1); low < maxUint64-step; step *= 2 {
		found, err := firstIndex(st, prefix, low+step)
		if err != nil {
			return 0, err
		}
		if found == 0 {
			high = low + step
			break
		}
		low = found
	}
	for low+1 < high {
		middle := low + (high-low)/2
		found, err := firstIndex(st, prefix, middle)
		if err != nil {
			return 0, err
		}
		if found == 0 {
			high = middle
		} else {
			low = found
		}
	}
	return low, nil
}

// firstIndex is the lowest index under a prefix that is not below from, or 0.
func firstIndex(st Store, prefix string, from uint64) (uint64, error) {
	for rec, err := range st.Scan([]byte(prefix), indexKey(prefix, from)) {
		if err != nil {
			return 0, fmt.Errorf("replica: scanning %q: %w", prefix, err)
		}
		found, _ := parseIndexKey(prefix, rec.Key)
		return found, nil
	}
	return 0, nil
}

// newestBlock finds the author's block of the highest round up to most. It
// looks at windows of rounds from the top down.
func newestBlock(st Store, epoch uint64, author dag.Author, most uint64) ([]byte, error) {
	var newest []byte
	top, err := topRound(st, epoch)
	if err != nil {
		return nil, err
	}
	prefix := epochPrefix(epoch)
	for to := min(top, most) + 1; to > 0 && newest == nil; {
		from := to - min(to, newestWindow)
		for rec, err := range st.Scan(prefix, roundKey(epoch, from)) {
			if err != nil {
				return nil, fmt.Errorf("replica: scanning blocks: %w", err)
			}
			_, ref, ok := parseBlockKey(rec.Key)
			if !ok || ref.Round >= to {
				break
			}
			if ref.Author == author {
				if err := checkBlock(rec); err != nil {
					return nil, err
				}
				newest = rec.Value
			}
		}
		to = from
	}
	return newest, nil
}

// newestWindow is how many rounds newestBlock reads at a time: a validator that
// takes part has a block in the first.
const newestWindow = 64

// topRound is the highest round of an epoch with a block on disk, 0 without any.
func topRound(st Store, epoch uint64) (uint64, error) {
	prefix := epochPrefix(epoch)
	low, high := uint64(0), uint64(maxUint64)
	for low+1 < high {
		middle := low + (high-low)/2
		found := uint64(0)
		for rec, err := range st.Scan(prefix, roundKey(epoch, middle)) {
			if err != nil {
				return 0, fmt.Errorf("replica: scanning blocks: %w", err)
			}
			if _, ref, ok := parseBlockKey(rec.Key); ok {
				found = ref.Round
			}
			break
		}
		if found == 0 {
			high = middle
		} else {
			low = found
		}
	}
	return low, nil
}
