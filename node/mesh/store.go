package mesh

import (
	"bytes"
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// Bounds of a store. A member of the network may be anybody: what one owner, one
// name and all together may take is bounded.
type Bounds struct {
	Names          int // known at once
	Instances      int // of all names together, tombstones too
	InstancesName  int // of one name
	NamesOfOwner   int // one owner may have instances of
	BurstOfOwner   int // records of one instance at once, as news
	SecondsOfOwner float64
}

// DefaultBounds keep a full store below 200 MB, of which nobody's lies get more
// than their share: 64 instances an owner.
func DefaultBounds() Bounds {
	return Bounds{
		Names: 4096, Instances: 20_000, InstancesName: 2000,
		NamesOfOwner: 64, BurstOfOwner: 32, SecondsOfOwner: 1,
	}
}

// Way is how a record came; news must be fresh, the rest may be last known good.
type Way uint8

// The ways.
const (
	ByNews   Way = iota + 1 // gossip: the owner speaks now
	ByMemory                // a peer's store, the DHT or our disk: somebody once heard it
)

// Kind says what became of a record.
type Kind uint8

// The kinds.
const (
	Refused  Kind = iota // see Outcome.Refusal
	Known                // held already, to the byte
	Taken                // it is now what the store holds
	Conflict             // a second body for one stamp: both are kept as proof
)

// Outcome is what a store did with a record.
type Outcome struct {
	Kind    Kind
	Refusal *Refusal // when Refused
	Proof   *Proof   // when Conflict
}

// Proof is two records of one owner, name and stamp that say different things
// (R8). Anybody can check it; nobody but the owner can have made it.
type Proof struct{ A, B *Record }

// NewProof returns a proof, or false if the two records prove nothing.
func NewProof(a, b *Record) (*Proof, bool) {
	if !a.sameSlot(b) || a.digest == b.digest {
		return nil, false
	}
	if bytes.Compare(a.digest[:], b.digest[:]) > 0 {
		a, b = b, a
	}
	return &Proof{a, b}, true
}

// entry is what a store knows of one owner's instance of a name: the newest
// record, and the newest proof against it.
type entry struct {
	record *Record
	proof  *Proof
	heard  time.Time // when the owner last spoke, as far as we know
	struck time.Time // when it was first found to be quarantined, or zero
	tokens float64   // of news it may still send now
	filled time.Time // when tokens was right
}

// quarantined reports whether the owner has contradicted itself in the epoch it
// is in, or in a later one. A new epoch begins anew.
func (e *entry) quarantined() bool { return e.proof != nil && e.proof.A.Epoch >= e.record.Epoch }

// strike notes when a quarantine began; one that has ended is forgotten.
func (e *entry) strike(now time.Time) {
	switch {
	case !e.quarantined():
		e.struck = time.Time{}
	case e.struck.IsZero():
		e.struck = now
	}
}

// set is all entries of one name.
type set map[peer.ID]*entry

// Store holds the newest record of every instance. It is a value: what goes in
// comes with the time, nothing comes out but answers, and there is no I/O. It is
// not safe for use by many goroutines.
//
// What holds, whatever comes in, in any order, any number of times:
//
//	S1  the stamp of an entry never falls
//	S2  an entry goes only for want of room, and then only if it is too old to be
//	    taken from anybody; a tombstone is an entry
//	S3  two stores that have seen the same records hold the same
type Store struct {
	bounds Bounds
	names  map[string]set
	owned  map[peer.ID]int // names an owner has entries of
	count  int             // entries
	cold   bool            // see Warm
}

// NewStore returns an empty, cold store: until Warm is called it says that it may
// know less than others.
func NewStore(b Bounds) *Store {
	return &Store{bounds: b, names: make(map[string]set), owned: make(map[peer.ID]int), cold: true}
}

// Warm says that the store has been compared with a peer's, or that there is none.
func (s *Store) Warm() { s.cold = false }

// Newer reports whether a record would be taken if it came now. It is a hint that
// saves work; only Take decides (R1).
func (s *Store) Newer(r *Record) bool {
	e := s.names[r.Name][r.Owner]
	return e == nil || r.After(e.record.Stamp) || r.Stamp == e.record.Stamp && r.digest != e.record.digest
}

// Take puts a record into the store if it is newer than what is held at this
// moment. What the caller found out before counts for nothing (R1).
func (s *Store) Take(r *Record, way Way, now time.Time) Outcome {
	e := s.names[r.Name][r.Owner]
	if e != nil && off != ruleCompare {
		if o := e.compare(r); o.Kind != Taken {
			e.strike(now)
			return o
		}
	}
	if err := r.Timely(now, way == ByNews); err != nil {
		return Outcome{Refusal: err.(*Refusal)}
	}
	if e == nil {
		if refusal := s.room(r, now); refusal != nil {
			return Outcome{Refusal: refusal}
		}
		e = &entry{tokens: float64(s.bounds.BurstOfOwner), filled: now}
		s.insert(r, e)
	}
	if way == ByNews && !e.spend(s.bounds, now) {
		return Outcome{Refusal: refuse(Flood, "%s of %s: more than %d at once and one in %v s", r.Name, r.Owner, s.bounds.BurstOfOwner, s.bounds.SecondsOfOwner)}
	}
	e.record = r
	e.hear(r, way, now)
	e.strike(now)
	return Outcome{Kind: Taken}
}

// compare says what a record is to an entry: Taken if it is newer.
func (e *entry) compare(r *Record) Outcome {
	held := e.record
	switch {
	case r.After(held.Stamp):
		return Outcome{Kind: Taken}
	case r.Stamp != held.Stamp:
		return Outcome{Refusal: refuse(Regression, "%s of %s at %v: %v is held", r.Name, r.Owner, r.Stamp, held.Stamp)}
	case r.digest == held.digest:
		return Outcome{Kind: Known}
	case off == ruleProof:
		return Outcome{Kind: Known}
	}
	proof, _ := NewProof(held, r)
	if !e.accept(proof) {
		return Outcome{Kind: Known}
	}
	return Outcome{Kind: Conflict, Proof: proof}
}

// accept keeps a proof unless a newer one is held. All stores keep the same: of
// several of one stamp the least.
func (e *entry) accept(p *Proof) bool {
	if e.proof != nil && !p.outranks(e.proof) {
		return false
	}
	e.proof = p
	if p.A.Stamp == e.record.Stamp {
		e.record = p.A
	}
	return true
}

func (p *Proof) outranks(o *Proof) bool {
	if p.A.Stamp != o.A.Stamp {
		return p.A.After(o.A.Stamp)
	}
	a := slices.Concat(p.A.digest[:], p.B.digest[:])
	return bytes.Compare(a, slices.Concat(o.A.digest[:], o.B.digest[:])) < 0
}

// hear notes when the owner spoke. News is of now; what somebody remembers is as
// old as it says, and a clock that is ahead does not make it young.
func (e *entry) hear(r *Record, way Way, now time.Time) {
	at := now
	if way == ByMemory && r.Issued().Before(now) {
		at = r.Issued()
	}
	if at.After(e.heard) {
		e.heard = at
	}
}

// spend takes one token of an owner's news.
func (e *entry) spend(b Bounds, now time.Time) bool {
	gained := max(0, now.Sub(e.filled).Seconds()/b.SecondsOfOwner)
	e.tokens = min(float64(b.BurstOfOwner), e.tokens+gained)
	e.filled = now
	if e.tokens < 1 {
		return false
	}
	e.tokens--
	return true
}

// TakeProof keeps a proof that came from a peer.
func (s *Store) TakeProof(p *Proof, now time.Time) Outcome {
	if off == ruleProof {
		return Outcome{Kind: Known}
	}
	o := s.Take(p.A, ByMemory, now)
	e := s.names[p.A.Name][p.A.Owner]
	if e == nil || o.Kind == Refused && o.Refusal.Reason != Regression {
		return o
	}
	if e.accept(p) {
		o = Outcome{Kind: Conflict, Proof: p}
	} else if o.Kind != Conflict {
		o = Outcome{Kind: Known}
	}
	e.strike(now)
	return o
}

// Merge takes what a peer holds of a name. What the peer does not hold stays:
// not found never replaces found (R4).
func (s *Store) Merge(name string, records []*Record, now time.Time) []Outcome {
	outcomes := make([]Outcome, len(records))
	for i, r := range records {
		outcomes[i] = s.Take(r, ByMemory, now)
	}
	if off == ruleDelete {
		s.dropOthers(name, records)
	}
	return outcomes
}

func (s *Store) dropOthers(name string, records []*Record) {
	for owner := range s.names[name] { // order: each apart
		if !slices.ContainsFunc(records, func(r *Record) bool { return r.Owner == owner }) {
			s.remove(name, owner)
		}
	}
}

// room makes room for a new entry or says why there is none.
func (s *Store) room(r *Record, now time.Time) *Refusal {
	if s.owned[r.Owner] >= s.bounds.NamesOfOwner {
		return refuse(Full, "owner %s has instances of %d names: at most %d", r.Owner, s.owned[r.Owner], s.bounds.NamesOfOwner)
	}
	if len(s.names[r.Name]) >= s.bounds.InstancesName && !s.forget(now, r.Name) {
		return refuse(Full, "%s has %d instances: at most %d", r.Name, len(s.names[r.Name]), s.bounds.InstancesName)
	}
	if s.names[r.Name] == nil && len(s.names) >= s.bounds.Names && !s.forget(now, s.Names()...) {
		return refuse(Full, "%d names are known: at most %d", len(s.names), s.bounds.Names)
	}
	if s.count >= s.bounds.Instances && !s.forget(now, s.Names()...) {
		return refuse(Full, "%d instances are known: at most %d", s.count, s.bounds.Instances)
	}
	return nil
}

// forget drops what is so old that it would not be taken from anybody. A set's
// last living entry stays for ever.
func (s *Store) forget(now time.Time, names ...string) (dropped bool) {
	for _, name := range names {
		for owner, e := range s.names[name] { // order: all that are old enough
			old := now.Sub(e.record.Issued()) > KeepMax && now.Sub(e.heard) > KeepMax
			if old && (e.record.State == Gone || s.living(name) > 1) {
				s.remove(name, owner)
				dropped = true
			}
		}
	}
	return dropped
}

func (s *Store) living(name string) (n int) {
	for _, e := range s.names[name] { // order: a count
		if e.record.State != Gone {
			n++
		}
	}
	return n
}

func (s *Store) insert(r *Record, e *entry) {
	if s.names[r.Name] == nil {
		s.names[r.Name] = make(set)
	}
	s.names[r.Name][r.Owner] = e
	s.owned[r.Owner]++
	s.count++
}

func (s *Store) remove(name string, owner peer.ID) {
	delete(s.names[name], owner)
	if len(s.names[name]) == 0 {
		delete(s.names, name)
	}
	if s.owned[owner]--; s.owned[owner] == 0 {
		delete(s.owned, owner)
	}
	s.count--
}

// Names are the known names in order.
func (s *Store) Names() []string { return slices.Sorted(maps.Keys(s.names)) }

// Held is what a store holds of one instance.
type Held struct {
	Record *Record
	Proof  *Proof // or nil
}

// Set is what the store holds of a name, tombstones too, by owner.
func (s *Store) Set(name string) []Held {
	held := make([]Held, 0, len(s.names[name]))
	for _, e := range s.names[name] { // order: sorted below
		held = append(held, Held{e.record, e.proof})
	}
	slices.SortFunc(held, func(a, b Held) int { return cmp.Compare(a.Record.Owner, b.Record.Owner) })
	return held
}

// Instance is what the store holds of one owner's instance of a name.
func (s *Store) Instance(name string, owner peer.ID) (Held, bool) {
	e := s.names[name][owner]
	if e == nil {
		return Held{}, false
	}
	return Held{e.record, e.proof}, true
}

// Len is the number of names and of instances held.
func (s *Store) Len() (names, instances int) { return len(s.names), s.count }
