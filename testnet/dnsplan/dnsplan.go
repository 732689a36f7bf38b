// Package dnsplan is the way of keeping a name's addresses that failed on 20 October
// 2025, as a small model: plans, enactors and a clean-up, with a check that is made
// long before the act. It is the baseline that the mesh is measured against.
//
// A caller drives the parts in whatever order its schedule has:
//
//	t := dnsplan.NewTable()
//	t.Plan("192.0.2.1")          // the planner
//	if e.Check(t) {              // an enactor: is the newest plan newer than the one in force?
//		...                      // anything may happen here
//		e.Act(t)                 // it puts its plan in force, without a second look
//	}
//	t.CleanUp()                  // deletes the plans that are many versions old
//	addresses, version := t.Resolve()
//
// What goes wrong is what went wrong: an enactor that stops between Check and Act puts
// its old plan over a newer one. The clean-up deletes it, since a plan that old is
// surely not in force. Then the name has no address, and as there is no plan in force
// to compare with or to replace, no enactor can put a newer one there: it waits for a
// person. Each part by itself does what seems right.
//
// The account is Amazon's own: https://aws.amazon.com/message/101925/.
package dnsplan

// Keeps is how many versions the clean-up leaves.
const Keeps = 10

// Table holds the plans of one name, and which of them is in force. The name points to
// the plan: deleting the plan empties the name. It is not for many goroutines.
type Table struct {
	plans   map[int][]string // by version
	newest  int
	inForce int // 0: none yet
}

// NewTable returns a table without a plan.
func NewTable() *Table { return &Table{plans: make(map[int][]string)} }

// Plan adds the next plan and returns its version, from 1. It is not in force yet.
func (t *Table) Plan(addresses ...string) (version int) {
	t.newest++
	t.plans[t.newest] = addresses
	return t.newest
}

// CleanUp deletes the plans that are more than Keeps versions older than the newest,
// in force or not.
func (t *Table) CleanUp() {
	for version := range t.plans { // order: each apart
		if version < t.newest-Keeps {
			delete(t.plans, version)
		}
	}
}

// Resolve returns the addresses of the plan in force, none if that was deleted, and
// its version.
func (t *Table) Resolve() (addresses []string, version int) {
	return t.plans[t.inForce], t.inForce
}

// intact reports whether the plan in force is there, or none was ever.
func (t *Table) intact() bool {
	_, there := t.plans[t.inForce]
	return there || t.inForce == 0
}

// Enactor puts plans in force: check, then act. The zero value is one that has nothing
// to do.
type Enactor struct {
	version   int // checked and found newer; 0: none
	addresses []string
}

// Check takes up the newest plan if it is newer than the one in force, and reports
// whether it did.
func (e *Enactor) Check(t *Table) bool {
	if !t.intact() || t.newest <= t.inForce {
		return false
	}
	e.version, e.addresses = t.newest, t.plans[t.newest]
	return true
}

// Act puts the plan that was checked in force. It may be called again: a slow enactor
// tries again.
func (e *Enactor) Act(t *Table) {
	if e.version == 0 || !t.intact() {
		return // nothing to do, or nothing there to replace: it reports an error
	}
	t.plans[e.version], t.inForce = e.addresses, e.version
}

// Busy reports whether the enactor has checked a plan.
func (e *Enactor) Busy() bool { return e.version != 0 }

// Done lets go of the plan.
func (e *Enactor) Done() { *e = Enactor{} }
