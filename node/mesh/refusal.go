package mesh

import "fmt"

// Reason is why a record was refused; there are few, so that they can be counted.
type Reason string

// The reasons.
const (
	Malformed  Reason = "malformed"  // not the one canonical form
	Oversized  Reason = "oversized"  // more bytes than a record may have
	Foreign    Reason = "foreign"    // of another network
	Forged     Reason = "forged"     // not signed by its owner
	Unsound    Reason = "unsound"    // a field out of its bounds
	Empty      Reason = "empty"      // says it serves, but not where
	Expired    Reason = "expired"    // too old to be news, or to be taken at all
	Future     Reason = "future"     // made after now
	Regression Reason = "regression" // older than what is held
	Flood      Reason = "flood"      // its owner speaks faster than allowed
	Full       Reason = "full"       // no room, see Bounds
)

// reasons lists them all, for metrics.
var reasons = []Reason{Malformed, Oversized, Foreign, Forged, Unsound, Empty, Expired, Future, Regression, Flood, Full}

// Refusal is the error of a record that was not taken.
type Refusal struct {
	Reason Reason
	Detail string // for a person
}

func (r *Refusal) Error() string { return fmt.Sprintf("mesh: %s record: %s", r.Reason, r.Detail) }

func refuse(reason Reason, format string, args ...any) *Refusal {
	return &Refusal{reason, fmt.Sprintf(format, args...)}
}

// blameless reports whether an honest peer may have passed the record on: it may
// know less than we do, or have another clock.
func (r Reason) blameless() bool {
	switch r {
	case Expired, Future, Regression, Flood, Full:
		return true
	}
	return false
}
