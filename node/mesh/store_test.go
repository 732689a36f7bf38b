package mesh

import (
	"fmt"
	"runtime"
	"testing"
	"time"
)

func testStore() *Store {
	s := NewStore(DefaultBounds())
	s.Warm()
	return s
}

// take expects an outcome.
func take(t testing.TB, s *Store, r *Record, way Way, now time.Time, want Kind, why Reason) {
	t.Helper()
	o := s.Take(r, way, now)
	got := Reason("")
	if o.Refusal != nil {
		got = o.Refusal.Reason
	}
	if o.Kind != want || got != why {
		t.Fatalf("%s at %v: kind %d, %q; want %d, %q", r.Owner, r.Stamp, o.Kind, got, want, why)
	}
}

func TestTakeOrdersByEpochThenSeq(t *testing.T) {
	s, now := testStore(), epochStart
	steps := []struct {
		epoch, seq uint64
		want       Kind
		why        Reason
	}{
		{2, 5, Taken, ""}, {2, 5, Known, ""}, {2, 4, Refused, Regression}, {2, 6, Taken, ""},
		{1, 900, Refused, Regression}, {3, 0, Taken, ""}, {2, 900, Refused, Regression},
	}
	for _, step := range steps {
		take(t, s, record(t, 1, stamped(step.epoch, step.seq)), ByNews, now, step.want, step.why)
	}
	if held, _ := s.Instance("pricefeed", testOwner(t, 1)); held.Record.Stamp != (Stamp{3, 0}) {
		t.Errorf("holds %v", held.Record.Stamp)
	}
}

func TestTombstoneDeletesForGood(t *testing.T) {
	s, now := testStore(), epochStart
	gone := func(c *Claim) { c.Stamp, c.State, c.Endpoints = Stamp{1, 9}, Gone, nil }
	take(t, s, record(t, 1, stamped(1, 8)), ByNews, now, Taken, "")
	take(t, s, record(t, 1, gone), ByNews, now, Taken, "")
	for seq := range uint64(9) {
		take(t, s, record(t, 1, stamped(1, seq)), ByMemory, now, Refused, Regression)
	}
	if a := s.Resolve("pricefeed", now); !a.Found || len(a.Instances) != 0 || a.Stale {
		t.Errorf("%+v", a)
	}
	take(t, s, record(t, 1, stamped(2, 0)), ByNews, now, Taken, "") // the owner itself may come back
	if a := s.Resolve("pricefeed", now); len(a.Usable()) != 1 {
		t.Errorf("%+v", a)
	}
}

func TestDoorRefusesOldAndFutureNews(t *testing.T) {
	s := testStore()
	r := record(t, 1, nil)
	take(t, s, r, ByNews, epochStart.Add(-time.Hour), Refused, Future)
	take(t, s, r, ByNews, epochStart.Add(time.Hour), Refused, Expired)
	take(t, s, r, ByMemory, epochStart.Add(KeepMax+time.Hour), Refused, Expired)
	if names, instances := s.Len(); names+instances != 0 {
		t.Error("what was refused is held")
	}
	take(t, s, r, ByMemory, epochStart.Add(time.Hour), Taken, "")
	if a := s.Resolve("pricefeed", epochStart.Add(time.Hour)); a.Instances[0].Standing == Live {
		t.Error("what was heard an hour ago counts as living")
	}
}

func TestConflictIsKeptAsProof(t *testing.T) {
	bodies := [3]*Record{}
	for i := range bodies {
		bodies[i] = record(t, 1, func(c *Claim) { c.Stamp, c.Body = Stamp{1, 5}, []byte{byte(i)} })
	}
	next, reborn := record(t, 1, stamped(1, 6)), record(t, 1, stamped(2, 0))
	orders := [][]int{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}}
	var first *Proof
	for _, order := range orders {
		s := testStore()
		for i, at := range order {
			kind := Conflict
			if i == 0 {
				kind = Taken
			}
			if o := s.Take(bodies[at], ByNews, epochStart); o.Kind != kind && !(i == 2 && o.Kind == Known) {
				t.Fatalf("order %v, step %d: kind %d", order, i, o.Kind)
			}
		}
		held, _ := s.Instance("pricefeed", testOwner(t, 1))
		if first == nil {
			first = held.Proof
		}
		if held.Proof == nil || held.Proof.A != first.A || held.Proof.B != first.B || held.Record != first.A {
			t.Errorf("order %v ends with another proof", order)
		}
		take(t, s, next, ByNews, epochStart, Taken, "")
		if in := s.Resolve("pricefeed", epochStart.Add(time.Minute)).Instances; in[0].Standing == Live {
			t.Errorf("a later seq of the epoch lifts the quarantine: %v", in[0].Standing)
		}
		take(t, s, reborn, ByNews, epochStart, Taken, "")
		if in := s.Resolve("pricefeed", epochStart).Instances; in[0].Standing != Live {
			t.Errorf("a new epoch does not lift the quarantine: %v", in[0].Standing)
		}
		if o := s.TakeProof(first, epochStart); o.Kind != Known {
			t.Errorf("a known proof: kind %d", o.Kind)
		}
	}
	if _, ok := NewProof(bodies[0], bodies[0]); ok {
		t.Error("a record proves something against itself")
	}
	if _, ok := NewProof(bodies[0], next); ok {
		t.Error("two stamps prove something")
	}
}

// A store that never saw the second body learns of it by the proof.
func TestProofTravels(t *testing.T) {
	a := record(t, 1, func(c *Claim) { c.Stamp, c.Body = Stamp{1, 5}, []byte("a") })
	b := record(t, 1, func(c *Claim) { c.Stamp, c.Body = Stamp{1, 5}, []byte("b") })
	p, ok := NewProof(a, b)
	if !ok {
		t.Fatal("no proof")
	}
	for name, prepare := range map[string]func(*Store){
		"empty":  func(*Store) {},
		"older":  func(s *Store) { s.Take(record(t, 1, stamped(1, 1)), ByNews, epochStart) },
		"one":    func(s *Store) { s.Take(b, ByNews, epochStart) },
		"beyond": func(s *Store) { s.Take(record(t, 1, stamped(1, 9)), ByNews, epochStart) },
	} {
		s := testStore()
		prepare(s)
		if o := s.TakeProof(p, epochStart); o.Kind != Conflict {
			t.Errorf("%s: kind %d", name, o.Kind)
		}
		if held, _ := s.Instance("pricefeed", a.Owner); held.Proof == nil || held.Proof.A.digest != p.A.digest || held.Proof.B.digest != p.B.digest {
			t.Errorf("%s: the proof is not kept", name)
		}
		if a := s.Resolve("pricefeed", epochStart.Add(41*time.Second)); a.Instances[0].Standing == Live {
			t.Errorf("%s: not quarantined", name)
		}
	}
}

// crowd fills a store with n instances of testClaim's name.
func crowd(t testing.TB, s *Store, n int, now time.Time, change func(i int, c *Claim)) {
	t.Helper()
	for i := range n {
		take(t, s, record(t, i, func(c *Claim) {
			c.IssuedMs = uint64(now.UnixMilli())
			if change != nil {
				change(i, c)
			}
		}), ByNews, now, Taken, "")
	}
}

// R5: whatever part of a set falls silent, however slowly, it is answered.
func checkNeverEmpty(t fataler) {
	t.Helper()
	const n = 10
	for silent := range n + 1 {
		for _, gap := range []time.Duration{0, time.Second, 3 * time.Second} {
			checkSilence(t, n, silent, gap)
		}
	}
}

// checkSilence lets some of n instances fall silent, one each gap.
func checkSilence(t fataler, n, silent int, gap time.Duration) {
	t.Helper()
	tb := testingTB(t)
	s, now := testStore(), epochStart
	seq := uint64(1)
	beat := func(i int) {
		s.Take(record(tb, i, func(c *Claim) {
			c.Stamp, c.IssuedMs = Stamp{1, seq}, uint64(now.UnixMilli())
		}), ByNews, now)
	}
	for second := range 240 {
		for i := range n {
			quiet := i < silent && time.Duration(second-10)*time.Second >= time.Duration(i)*gap
			if second%10 == 0 && !quiet {
				beat(i)
			}
		}
		seq++
		a := s.Resolve("pricefeed", now)
		good := 0
		for _, in := range a.Usable() {
			if in.Standing == Live || in.Standing == LastGood {
				good++
			}
		}
		if second > 0 && good < max(1, n-silent) {
			t.Fatalf("%d of %d silent, one each %v: %d good after %d s", silent, n, gap, good, second)
		}
		if lost := n - good; second > 0 && lost > n/2 && !a.Stale && second < 60 {
			t.Fatalf("%d of %d silent, one each %v: %d lost within a minute, and not stale", silent, n, gap, lost)
		}
		now = now.Add(time.Second)
	}
}

func TestSetNeverEmpties(t *testing.T) { checkNeverEmpty(t) }

// What all owners have said is no reason for doubt.
func TestOwnersMayEmptyASet(t *testing.T) {
	s, now := testStore(), epochStart
	crowd(t, s, 4, now, nil)
	for i := range 4 {
		take(t, s, record(t, i, func(c *Claim) { c.Stamp, c.State, c.Endpoints = Stamp{1, 2}, Gone, nil }), ByNews, now, Taken, "")
	}
	if a := s.Resolve("pricefeed", now); a.Stale || len(a.Instances) != 0 || !a.Found {
		t.Errorf("%+v", a)
	}
}

// R9: who has not been heard of for a day is suspect, held and the last to be asked.
func checkSuspectIsNotGone(t fataler) {
	t.Helper()
	tb := testingTB(t)
	s := testStore()
	crowd(tb, s, 4, epochStart, nil)
	later := epochStart.Add(24 * time.Hour)
	for i := range 3 {
		s.Take(record(tb, i, func(c *Claim) {
			c.Stamp, c.IssuedMs = Stamp{1, 7}, uint64(later.UnixMilli())
		}), ByNews, later)
	}
	a := s.Resolve("pricefeed", later)
	if len(a.Usable()) != 4 || a.Usable()[3].Standing != Suspect || a.Usable()[3].Owner != testOwner(tb, 3) {
		t.Errorf("after a day of silence: %d usable of 4", len(a.Usable()))
	}
}

func TestSuspectIsNotGone(t *testing.T) { checkSuspectIsNotGone(t) }

func TestColdStoreSaysSo(t *testing.T) {
	s := NewStore(DefaultBounds())
	crowd(t, s, 1, epochStart, nil)
	if a := s.Resolve("pricefeed", epochStart); !a.Stale || a.Why == "" {
		t.Error("a store that has asked nobody is sure of itself")
	}
	s.Warm()
	if a := s.Resolve("pricefeed", epochStart); a.Stale {
		t.Errorf("stale: %s", a.Why)
	}
	if a := s.Resolve("nobody", epochStart); a.Found || len(a.Instances) != 0 {
		t.Errorf("%+v", a)
	}
}

// An answer holds until the time it names.
func TestAnswerHoldsUntil(t *testing.T) {
	s := testStore()
	crowd(t, s, 5, epochStart, func(i int, c *Claim) { c.TTL = time.Duration(40+i) * time.Second })
	standings := func(a *Answer) string {
		out := fmt.Sprint(a.Stale)
		for _, in := range a.Instances {
			out += fmt.Sprint(" ", in.Owner, in.Standing)
		}
		return out
	}
	now := epochStart
	a := s.Resolve("pricefeed", now)
	for range 2000 {
		now = now.Add(100 * time.Millisecond)
		fresh := s.Resolve("pricefeed", now)
		if now.Before(a.Until) && standings(a) != standings(fresh) {
			t.Fatalf("the answer changed %v before it says", a.Until.Sub(now))
		}
		if !now.Before(a.Until) {
			a = fresh
		}
	}
}

func TestStoreIsBounded(t *testing.T) {
	b := Bounds{Names: 3, Instances: 8, InstancesName: 4, NamesOfOwner: 2, BurstOfOwner: 3, SecondsOfOwner: 1}
	s, now := NewStore(b), epochStart
	at := func(owner int, name string, seq uint64) *Record {
		return record(t, owner, func(c *Claim) { c.Name, c.Seq = name, seq })
	}
	take(t, s, at(0, "a", 1), ByNews, now, Taken, "")
	take(t, s, at(0, "b", 1), ByNews, now, Taken, "")
	take(t, s, at(0, "c", 1), ByNews, now, Refused, Full) // names of one owner
	for i := 1; i < 4; i++ {
		take(t, s, at(i, "a", 1), ByNews, now, Taken, "")
	}
	take(t, s, at(4, "a", 1), ByNews, now, Refused, Full) // instances of one name
	take(t, s, at(4, "c", 1), ByNews, now, Taken, "")
	take(t, s, at(5, "d", 1), ByNews, now, Refused, Full) // names
	take(t, s, at(5, "c", 1), ByNews, now, Taken, "")
	take(t, s, at(6, "c", 1), ByNews, now, Taken, "")
	take(t, s, at(7, "c", 1), ByNews, now, Refused, Full) // all
	take(t, s, at(1, "a", 2), ByNews, now, Taken, "")     // what is in may go on
	take(t, s, at(1, "a", 3), ByNews, now, Taken, "")
	take(t, s, at(1, "a", 4), ByNews, now, Refused, Flood)
	take(t, s, at(1, "a", 4), ByMemory, now, Taken, "") // a peer's memory is bounded elsewhere
	take(t, s, at(1, "a", 5), ByNews, now.Add(time.Second), Taken, "")

	// After KeepMax there is room again, but no set has become empty.
	later := now.Add(KeepMax + time.Hour)
	fresh := func(owner int, name string) *Record {
		return record(t, owner, func(c *Claim) { c.Name, c.IssuedMs = name, uint64(later.UnixMilli()) })
	}
	take(t, s, fresh(4, "a"), ByNews, later, Taken, "")
	for _, name := range []string{"a", "b", "c"} {
		if len(s.Resolve(name, later).Usable()) == 0 {
			t.Errorf("%s has become empty", name)
		}
	}
}

// The bar: the records of a name with 1 000 instances take at most 20 MB, even if
// each is as large as it may be.
func TestThousandInstancesFit(t *testing.T) {
	const n, barBytes = 1000, 20 << 20
	raws := make([][]byte, n)
	for i := range raws {
		raws[i] = record(t, i, func(c *Claim) {
			for len(c.Endpoints) < endpointsMax {
				c.Endpoints = append(c.Endpoints, fmt.Sprintf("/ip4/192.0.2.1/udp/%d/quic-v1/p2p/%s/p2p-circuit/p2p/%s", 4000+len(c.Endpoints), testOwner(t, 1), testOwner(t, 2)))
			}
			c.Body = make([]byte, bodyBytesMax)
		}).Bytes()
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	s := testStore()
	for _, raw := range raws {
		r, err := Verify(testNetwork, raw)
		if err != nil {
			t.Fatal(err)
		}
		take(t, s, r, ByNews, epochStart, Taken, "")
	}
	answer := s.Resolve("pricefeed", epochStart)
	runtime.GC()
	runtime.ReadMemStats(&after)
	used := int64(after.HeapAlloc) - int64(before.HeapAlloc)
	if len(answer.Usable()) != n || used > barBytes {
		t.Errorf("%d instances take %d KB, at most %d KB", n, used>>10, barBytes>>10)
	}
	runtime.KeepAlive(raws)
	t.Logf("%d instances of %d bytes take %d KB", n, len(raws[0]), used>>10)
}

var sinkAnswer *Answer

func BenchmarkStoreResolve(b *testing.B) {
	for _, n := range []int{3, 100, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s := testStore()
			crowd(b, s, n, epochStart, nil)
			for b.Loop() {
				sinkAnswer = s.Resolve("pricefeed", epochStart)
			}
		})
	}
}
