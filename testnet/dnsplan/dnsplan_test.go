package dnsplan

import "testing"

// In time the parts work: the newest plan is in force, the old ones go.
func TestTheNewestPlanIsInForce(t *testing.T) {
	table, e := NewTable(), Enactor{}
	for version := range 50 {
		if e.Check(table) {
			t.Fatal("there is nothing newer than what is in force")
		}
		table.Plan("192.0.2.1")
		if !e.Check(table) || !e.Busy() {
			t.Fatal("a newer plan is not taken up")
		}
		e.Act(table)
		e.Done()
		table.CleanUp()
		if addresses, got := table.Resolve(); got != version+1 || len(addresses) != 1 {
			t.Fatalf("version %d with %v is in force", got, addresses)
		}
	}
	if len(table.plans) != Keeps+1 {
		t.Errorf("%d plans are kept", len(table.plans))
	}
}

// The race: one enactor stops after its check, and acts when its plan is old.
func TestALateEnactorEmptiesTheName(t *testing.T) {
	table := NewTable()
	var late, other Enactor
	table.Plan("192.0.2.1")
	late.Check(table)
	for range 20 {
		table.Plan("192.0.2.2")
		other.Check(table)
		other.Act(table)
		table.CleanUp()
	}
	table.Plan("192.0.2.2")
	other.Check(table)
	late.Act(table)
	if _, version := table.Resolve(); version != 1 {
		t.Fatalf("version %d is in force, not the late one", version)
	}
	table.CleanUp()
	other.Act(table) // it has checked a newer plan, and can do nothing with it
	for range 20 {
		table.Plan("192.0.2.3")
		if other.Check(table) {
			t.Fatal("an enactor goes on although there is nothing to compare with")
		}
		if addresses, _ := table.Resolve(); len(addresses) != 0 {
			t.Fatalf("the name has %v again", addresses)
		}
	}
}

// A plan that another enactor puts in force before the clean-up comes saves the name.
func TestAnotherEnactorInTimeSavesTheName(t *testing.T) {
	table := NewTable()
	var late, other Enactor
	table.Plan("192.0.2.1")
	late.Check(table)
	for range 20 {
		table.Plan("192.0.2.2")
	}
	late.Act(table)
	if !other.Check(table) {
		t.Fatal("the newest plan is newer than the late one")
	}
	other.Act(table)
	table.CleanUp()
	if addresses, version := table.Resolve(); version != 21 || len(addresses) != 1 {
		t.Errorf("version %d with %v", version, addresses)
	}
}
