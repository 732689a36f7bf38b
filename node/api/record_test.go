package api

import (
	"encoding/json"
	"reflect"
	"slices"
	"testing"

	"github.com/holdfast-mesh/holdfast/node/ledger"
)

func TestCursorsAreTextAndBack(t *testing.T) {
	for _, c := range []Cursor{{}, {1, 0}, {1234, 5}, {1<<53 - 1, 1<<32 - 1}} {
		back, err := ParseCursor(c.String())
		if err != nil || back != c {
			t.Errorf("%v becomes %v, %v", c, back, err)
		}
	}
	for _, bad := range []string{"", "-", "1", "1-", "-1", "1-2-3", "01-2", "1-02", "+1-2", "1-4294967296", "9007199254740992-0", "1 -2", "a-b"} {
		if c, err := ParseCursor(bad); err == nil {
			t.Errorf("%q is read as %v", bad, c)
		}
	}
}

func TestCursorsAreOrdered(t *testing.T) {
	ascending := []Cursor{{}, {0, 1}, {1, 0}, {1, 1}, {2, 0}}
	for i, a := range ascending {
		for j, b := range ascending {
			if a.Less(b) != (i < j) {
				t.Errorf("%v before %v is %v", a, b, a.Less(b))
			}
		}
	}
}

// TestRecordHasAllOfAnEvent: every field of a ledger's event is in a record, so
// that a field that is added there is not forgotten here.
func TestRecordHasAllOfAnEvent(t *testing.T) {
	f := newFakeNode(t)
	var e ledger.Event
	of := reflect.ValueOf(&e).Elem()
	for i := range of.NumField() {
		switch field := of.Field(i); field.Kind() {
		case reflect.Bool:
			field.SetBool(true)
		case reflect.Int64:
			field.SetInt(int64(i + 1))
		case reflect.Struct:
			field.Set(reflect.ValueOf(ledger.Units(uint64(i + 1))))
		default:
			field.SetUint(uint64(i%4 + 1)) // small enough for an account that exists
		}
	}
	e.Op = 0
	op, err := ledger.TrustedOp(f.signed(t, "alice", limit(ledger.Sell, 1, 1)))
	if err != nil {
		t.Fatal(err)
	}
	r := AppendRecords(nil, f.l, 7, 8, []ledger.Op{*op}, []ledger.Event{{}, e})[1]
	got := reflect.ValueOf(r)
	for i := range of.NumField() {
		name := of.Type().Field(i).Name
		switch name {
		case "Op":
			if r.Op != op.ID() {
				t.Errorf("the operation is %v", r.Op)
			}
		case "Account", "Counterparty":
			if want := f.l.Account(of.Field(i).Interface().(ledger.AccountRef)); got.FieldByName(name).Interface() != want {
				t.Errorf("the %s is %v, want %v", name, got.FieldByName(name), want)
			}
		default:
			field := got.FieldByName(name)
			if !field.IsValid() || !reflect.DeepEqual(field.Interface(), of.Field(i).Interface()) {
				t.Errorf("%s is %v, want %v", name, field, of.Field(i))
			}
		}
	}
	if r.Cursor != (Cursor{7, 1}) || r.TimeMs != 8 {
		t.Errorf("it is at %v, %d", r.Cursor, r.TimeMs)
	}
}

func TestParties(t *testing.T) {
	a, b, none := accountOf("alice"), accountOf("bob"), ledger.Account{}
	for _, c := range []struct {
		account, counterparty ledger.Account
		want                  []ledger.Account
	}{
		{a, b, []ledger.Account{a, b}}, {a, none, []ledger.Account{a}}, {a, a, []ledger.Account{a}}, {none, none, nil}, {none, b, []ledger.Account{b}},
	} {
		r := Record{Account: c.account, Counterparty: c.counterparty}
		if got := r.Parties(); !slices.Equal(got, c.want) {
			t.Errorf("the parties are %v, want %v", got, c.want)
		}
		for _, one := range c.want {
			if !r.Concerns(one) {
				t.Errorf("it does not concern %v", one)
			}
		}
	}
}

func TestStampsAreTextAndBack(t *testing.T) {
	for _, s := range []Stamp{0, 1, startMs + 7} {
		raw, err := json.Marshal(s)
		var back Stamp
		if err != nil || json.Unmarshal(raw, &back) != nil || back != s {
			t.Errorf("%d becomes %s and %d, %v", s, raw, back, err)
		}
	}
	var s Stamp
	for _, bad := range []string{`1`, `"yesterday"`, `"2027-01-15"`} {
		if json.Unmarshal([]byte(bad), &s) == nil {
			t.Errorf("%s is read as %d", bad, s)
		}
	}
}

// FuzzNames: a cursor or a CID that is read is written back as it was, or as its
// one canonical text.
func FuzzNames(f *testing.F) {
	f.Add("1234-5")
	f.Add(ledger.Digest{1}.String())
	f.Add("QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG")
	f.Fuzz(func(t *testing.T, text string) {
		if c, err := ParseCursor(text); err == nil && c.String() != text {
			t.Errorf("%q is read as %v", text, c)
		}
		d, err := ledger.ParseDigest(text)
		if err != nil {
			return
		}
		if again, err := ledger.ParseDigest(d.String()); err != nil || again != d {
			t.Errorf("%q is read as %v, which is read as %v, %v", text, d, again, err)
		}
	})
}
