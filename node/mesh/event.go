package mesh

import (
	"fmt"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// EventKind says what happened to a service.
type EventKind string

// The kinds.
const (
	Appeared     EventKind = "appeared"     // an instance is new
	Changed      EventKind = "changed"      // its owner says something else of it
	Left         EventKind = "left"         // its owner has taken it away
	Contradicted EventKind = "contradicted" // two bodies for one stamp: quarantined
	Impersonated EventKind = "impersonated" // a record of ours that this process did not make
)

// Event is one thing that happened to an instance.
type Event struct {
	Kind  EventKind
	Name  string
	Owner peer.ID
	Stamp Stamp
	State State
	At    time.Time
}

func (e Event) String() string {
	return fmt.Sprintf("%s %s of %s: %s, %s", e.At.Format(time.RFC3339), e.Name, e.Owner, e.Kind, e.State)
}

// eventOf is what taking a record means, if it means more than a beat.
func eventOf(before Held, held bool, r *Record, now time.Time) (Event, bool) {
	e := Event{Kind: Changed, Name: r.Name, Owner: r.Owner, Stamp: r.Stamp, State: r.State, At: now}
	switch {
	case r.State == Gone:
		e.Kind = Left
		return e, held && before.Record.State != Gone
	case !held || before.Record.State == Gone:
		e.Kind = Appeared
	case before.Record.State == r.State && sameElse(before.Record, r):
		return Event{}, false
	}
	return e, true
}

// sameElse reports whether two records differ in nothing but their beat.
func sameElse(a, b *Record) bool {
	x, y := a.Claim, b.Claim
	x.Stamp, x.IssuedMs, y.Stamp, y.IssuedMs = Stamp{}, 0, Stamp{}, 0
	return string(encodeClaim(&x)) == string(encodeClaim(&y))
}
