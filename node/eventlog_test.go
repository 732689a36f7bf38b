package node

import (
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/holdfast-mesh/holdfast/node/ledger"
)

// fill sets every field of a struct to a random value, zero one time in three.
func fill(v reflect.Value, rnd *rand.Rand) {
	for i := range v.NumField() {
		f := v.Field(i)
		if rnd.IntN(3) == 0 {
			continue
		}
		switch {
		case f.Type() == reflect.TypeFor[ledger.Amount]():
			var b [ledger.AmountBytes]byte
			for j := rnd.IntN(len(b)); j < len(b); j++ {
				b[j] = byte(rnd.Uint32())
			}
			f.Set(reflect.ValueOf(ledger.AmountFromBytes(b)))
		case f.CanUint():
			f.SetUint(rnd.Uint64() >> (64 - f.Type().Bits()))
		case f.CanInt():
			f.SetInt(int64(rnd.Uint64() >> 1))
		case f.Kind() == reflect.Bool:
			f.SetBool(true)
		default:
			panic("a field of a new kind: " + v.Type().Field(i).Name)
		}
	}
}

// Every field of an event is kept, also one that is added later.
func TestEventLogKeepsEveryField(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		h := &happened{index: 7, timeMs: 1_700_000_000_000, digest: ledger.Digest{1}, ops: []ledger.Digest{{2}, {3}}}
		h.events = make([]ledger.Event, rnd.IntN(5))
		for i := range h.events {
			fill(reflect.ValueOf(&h.events[i]).Elem(), rnd)
		}
		again, err := decodeHappened(7, h.append(nil))
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(h, again) {
			t.Fatalf("wrote %+v\nread  %+v", h, again)
		}
	}
}

func FuzzDecodeHappened(f *testing.F) {
	h := &happened{timeMs: 5, ops: []ledger.Digest{{2}}, events: []ledger.Event{{Kind: 3, Op: 0, Amount: ledger.MaxAmount}}}
	f.Add(h.append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := decodeHappened(1, b)
		if err != nil {
			return
		}
		if again, err := decodeHappened(1, h.append(nil)); err != nil || !reflect.DeepEqual(h, again) {
			t.Fatalf("%+v became %+v, %v", h, again, err)
		}
	})
}
