package mesh

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Standing is what a store makes of one instance.
type Standing uint8

// The standings, best first.
const (
	Live        Standing = iota + 1 // heard of within its ttl
	LastGood                        // not heard of, but then we suspect ourselves (R5)
	Suspect                         // not heard of for its ttl: not gone, and the last to be asked (R9)
	Quarantined                     // its owner has contradicted itself (R8)
	Departed                        // its owner has taken it away (R4)
)

func (s Standing) String() string {
	if s < Live || s > Departed {
		return fmt.Sprintf("standing %d", uint8(s))
	}
	return [...]string{"live", "last known good", "suspect", "quarantined", "gone"}[s-1]
}

// Instance is one instance in an answer.
type Instance struct {
	*Record
	Standing Standing
	Heard    time.Time // when its owner last spoke
	lost     bool      // was live not long ago, see entry.lost
}

// Answer is what a store says of a name. Answers never change; many goroutines
// may read one.
type Answer struct {
	Name string
	// Found says that the name is known: somebody has signed that it was there.
	Found bool
	// Stale says that the answer is the last known good one, and Why.
	Stale bool
	Why   string
	// Instances are all that are not gone, the best standing first, then by owner.
	Instances []Instance
	// Until is when the answer must be made anew even if no record comes.
	Until time.Time
}

// answerAgeMax is how long an answer may be kept when nothing is about to change.
const answerAgeMax = time.Minute

// Resolve makes the answer for a name as of now.
//
// R5: what was heard of within the last two ttl is the last known good set. If
// more than half of it has fallen silent without its owners saying goodbye, it is
// more likely that we are cut off, or that somebody's clean-up runs wild, than
// that they are gone: then the answer is the whole last known good set, and stale.
func (s *Store) Resolve(name string, now time.Time) *Answer {
	a := &Answer{Name: name, Found: len(s.names[name]) > 0, Until: now.Add(answerAgeMax)}
	live, lost := 0, 0
	for _, e := range s.names[name] { // order: sorted below
		in := Instance{Record: e.record, Standing: e.standing(now), Heard: e.heard, lost: e.lost(now)}
		if in.Standing == Departed {
			continue
		}
		a.Instances = append(a.Instances, in)
		switch {
		case in.Standing == Live:
			live++
		case in.lost:
			lost++
		}
		a.until(e, now)
	}
	a.judge(live, lost)
	if s.cold && !a.Stale {
		a.Stale, a.Why = true, "this node has just begun and has asked no other yet"
	}
	slices.SortFunc(a.Instances, func(x, y Instance) int {
		return cmp.Or(cmp.Compare(x.Standing, y.Standing), cmp.Compare(x.Owner, y.Owner))
	})
	return a
}

func (e *entry) standing(now time.Time) Standing {
	switch {
	case e.record.State == Gone:
		return Departed
	case e.quarantined():
		return Quarantined
	case now.Sub(e.heard) <= e.record.TTL:
		return Live
	case off == ruleSuspect:
		return Departed
	}
	return Suspect
}

// lost reports whether an instance that is not live was so within the last ttl,
// and its owner has not said that it goes.
func (e *entry) lost(now time.Time) bool {
	if e.record.State == Draining || now.Sub(e.heard) > 2*e.record.TTL {
		return false
	}
	return !e.quarantined() || now.Sub(e.struck) <= e.record.TTL
}

// judge marks the last known good set where the living one is not to be believed.
func (a *Answer) judge(live, lost int) {
	if off == ruleNonempty || len(a.Instances) == 0 || live > 0 && 2*lost <= live+lost {
		return
	}
	a.Stale = true
	a.Why = fmt.Sprintf("%d of %d instances fell silent together: more likely we are cut off than they are gone", lost, live+lost)
	if live+lost == 0 {
		a.Why = "no instance has been heard of for long"
	}
	for i := range a.Instances {
		if in := &a.Instances[i]; in.Standing != Live && (in.lost || live+lost == 0) {
			in.Standing = LastGood
		}
	}
}

// until notes when an entry changes its standing by itself.
func (a *Answer) until(e *entry, now time.Time) {
	ttl := e.record.TTL
	for _, at := range [...]time.Time{e.heard.Add(ttl), e.heard.Add(2 * ttl), e.struck.Add(ttl)} {
		if after := at.Add(1); after.After(now) && after.Before(a.Until) {
			a.Until = after
		}
	}
}

// Usable are the instances a caller may be given: the living, the last known good
// and, behind them, the suspects.
func (a *Answer) Usable() []Instance {
	n := len(a.Instances)
	for n > 0 && a.Instances[n-1].Standing > Suspect {
		n--
	}
	return a.Instances[:n]
}
