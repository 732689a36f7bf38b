package ledger

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// council returns k of the n test keys from first on.
func council(k uint8, first, n int) Council {
	c := Council{Threshold: k}
	for i := range n {
		c.Members = append(c.Members, AccountOf(keyOf(first+i)))
	}
	slices.SortFunc(c.Members, func(a, b Account) int { return bytes.Compare(a[:], b[:]) })
	return c
}

// sampleGenesis has everything a genesis can have.
func sampleGenesis() *Genesis {
	g := &Genesis{
		Name:   "sample",
		Assets: []Asset{{"BTC", 8, Units(1_000)}, {"USDT", 6, Amount{}}, {"ETH", 18, Units(1 << 40)}},
		Markets: []Market{
			{Base: 0, Quote: 1, Tick: Decimal{1, 2}, Lot: 10_000, MinNotional: Units(5_000_000), MakerPPM: -100, TakerPPM: 500, STP: ExpireMaker, BandPPM: 100_000, Reference: 5_000_000},
			{Base: 2, Quote: 1, Tick: Decimal{1, 1}, Lot: 1e14, TakerPPM: 500, FeeAsset: FeeQuote, STP: Decrement, Status: StatusPostOnly, OpenOrdersMax: 7},
		},
		Custodians: council(2, 300, 3),
		Governors:  council(3, 400, 4),
		Params:     DefaultParams(),
		Committee:  Committee{Validators: []Validator{{AccountOf(keyOf(500)), 10, []byte("about it")}, {AccountOf(keyOf(501)), 1, nil}}},
	}
	for i := range 5 {
		for asset := range AssetID(3) {
			g.Balances = append(g.Balances, Balance{AccountOf(keyOf(i)), asset, Units(uint64(1+i) * 1e9)})
		}
	}
	slices.SortFunc(g.Balances, func(a, b Balance) int { return a.compare(&b) })
	return g
}

func TestGenesisRoundTrip(t *testing.T) {
	enc, dec := plainDAGCBOR(t)
	least := &Genesis{Name: "least", Params: DefaultParams()}
	ids := map[Digest]bool{}
	for _, g := range []*Genesis{sampleGenesis(), least} {
		b, err := g.Encode()
		if err != nil {
			t.Fatal(err)
		}
		back, err := DecodeGenesis(b)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(back, g) {
			t.Fatalf("got\n%+v\nwant\n%+v", back, g)
		}
		var plain any
		if err := dec.Unmarshal(b, &plain); err != nil {
			t.Fatal(err)
		}
		if theirs, err := enc.Marshal(plain); err != nil || !bytes.Equal(theirs, b) {
			t.Fatalf("an independent encoder writes\n%x, %v; ours is\n%x", theirs, err, b)
		}
		id, err := g.ID()
		if err != nil || ids[id] {
			t.Fatalf("id %v, %v", id, err)
		}
		ids[id] = true
		if s := id.String(); !strings.HasPrefix(s, "bafyrei") {
			t.Errorf("the id %s is not a dag-cbor CID", s)
		}
	}
}

// TestGenesisChanges: a change to any field changes the network's id, or is a
// fault. Fields nobody encodes would be agreed on by nobody.
func TestGenesisChanges(t *testing.T) {
	want, err := sampleGenesis().ID()
	if err != nil {
		t.Fatal(err)
	}
	changed := 0
	var walk func(g *Genesis, v reflect.Value, path string)
	walk = func(g *Genesis, v reflect.Value, path string) {
		switch v.Kind() {
		case reflect.Struct:
			if a, ok := v.Addr().Interface().(*Amount); ok {
				old := *a
				a.lo ^= 1
				verify(t, g, want, path)
				*a = old
				return
			}
			for i := range v.NumField() {
				walk(g, v.Field(i), path+"."+v.Type().Field(i).Name)
			}
			return
		case reflect.Slice:
			for i := range v.Len() {
				walk(g, v.Index(i), path+"[]")
			}
			return
		case reflect.Array:
			walk(g, v.Index(v.Len()-1), path+"[]")
			return
		}
		old := reflect.New(v.Type()).Elem()
		old.Set(v)
		switch v.Kind() {
		case reflect.String:
			v.SetString(v.String() + "X")
		case reflect.Int32, reflect.Int64:
			v.SetInt(v.Int() + 1)
		default:
			v.SetUint(v.Uint() ^ 1)
		}
		verify(t, g, want, path)
		v.Set(old)
		changed++
	}
	g := sampleGenesis()
	walk(g, reflect.ValueOf(g).Elem(), "Genesis")
	if now, err := g.ID(); err != nil || now != want || changed < 50 {
		t.Fatalf("after %d changes and back the id is %v, %v; want %v", changed, now, err, want)
	}
}

func verify(t *testing.T, g *Genesis, old Digest, path string) {
	t.Helper()
	if id, err := g.ID(); err == nil && id == old {
		t.Errorf("a change of %s leaves the network's id as it was", path)
	}
}

// TestGenesisFaults: each fault is found, and all of them at once.
func TestGenesisFaults(t *testing.T) {
	var all Genesis
	faults := []struct {
		spoil func(*Genesis)
		want  string
	}{
		{func(g *Genesis) { g.Name = "two\nlines" }, "name: it needs 1 to 64 bytes of text on one line"},
		{func(g *Genesis) { g.Assets[0].Symbol = "btc" }, `asset 0: the symbol "btc" has a 'b'`},
		{func(g *Genesis) { g.Assets[1].Decimals = 19 }, "asset 1: 19 decimals, at most 18"},
		{func(g *Genesis) { g.Assets = append(g.Assets, g.Assets[2]) }, "asset 3: ETH is asset 2 already"},
		{func(g *Genesis) { g.Markets[0].Tick.Units = 0 }, "market 0: tick and lot must be above zero"},
		{func(g *Genesis) { g.Markets[0].MakerPPM = -501 }, "market 0: maker -501 + taker 500 ppm: a trade would cost the house"},
		{func(g *Genesis) { g.Markets[1].Quote = 9 }, "market 1: assets 2 and 9, but there are only"},
		{func(g *Genesis) { g.Markets[1].STP = STPDefault }, "market 1: the fee asset, self-trade mode or status is none there is"},
		{func(g *Genesis) { g.Markets[1].MakerPPM = 1 }, "market 1: a maker's fee in the quote asset"},
		{func(g *Genesis) { g.Custodians.Threshold = 4 }, "custodians: 4 of 3 members can never decide"},
		{func(g *Genesis) { g.Governors.Members[1] = g.Governors.Members[0] }, "governors: member 1 is zero, repeated or not in ascending order"},
		{func(g *Genesis) { g.Params.FillsMax = 0 }, "params: fills per action is 0, it must be 1 to 10000"},
		{func(g *Genesis) { g.Balances[0].Amount = Amount{} }, "balance 0: it has no account or no amount"},
		{func(g *Genesis) { g.Balances[3].Asset = 77 }, "balance 3: asset 77, but there are only"},
		{func(g *Genesis) { g.Balances[4], g.Balances[5] = g.Balances[5], g.Balances[4] }, "balance 5: it is repeated, or not in ascending order"},
		{func(g *Genesis) { g.Balances[7].Amount, g.Balances[10].Amount = MaxAmount, MaxAmount }, "is beyond 2^128 units"},
		{func(g *Genesis) { g.Committee.Validators[1].Key = g.Committee.Validators[0].Key }, "committee: validators 0 and 1 have one key"},
		{func(g *Genesis) { g.Committee.Validators[0].Weight = 1 << 60 }, "committee: the weights sum to more than"},
	}
	all = *sampleGenesis()
	for _, f := range faults {
		g := sampleGenesis()
		f.spoil(g)
		f.spoil(&all)
		if err := g.Validate(); err == nil || !strings.Contains(err.Error(), f.want) {
			t.Errorf("got %v, want %q", err, f.want)
		}
		if _, err := g.Encode(); !errors.Is(err, ErrNotEncodable) {
			t.Errorf("%q is encoded: %v", f.want, err)
		}
	}
	got := all.Validate().Error()
	for _, f := range faults {
		if !strings.Contains(got, f.want) {
			t.Errorf("all faults at once: %q is missing in\n%s", f.want, got)
		}
	}
	if g := (&Genesis{Name: "x", Params: DefaultParams()}); g.Validate() != nil {
		t.Errorf("the least genesis: %v", g.Validate())
	}
}

// TestTickLot: the worth of a lot at a tick, or why there is none.
func TestTickLot(t *testing.T) {
	for _, c := range []struct {
		tick        Decimal
		lot         uint64
		base, quote uint8
		want        uint64
		err         string
	}{
		{Decimal{1, 2}, 10_000, 8, 6, 1, ""},
		{Decimal{1, 2}, 1_000, 8, 6, 0, "not a whole number"},
		{Decimal{5, 1}, 1, 0, 1, 5, ""},
		{Decimal{1, 0}, 1, 0, 18, 1e18, ""},
		{Decimal{18, 0}, 1, 0, 18, 18e18, ""},
		{Decimal{19, 0}, 1, 0, 18, 0, "1 to 18446744073709551615 units"},
		{Decimal{1 << 63, 0}, 1 << 63, 0, 18, 0, "beyond"},
		{Decimal{1, 8}, 1_000_000, 6, 8, 1, ""},
		{Decimal{1, 19}, 1e18, 18, 18, 0, "not a whole number"},
		{Decimal{1, 19}, 1e19, 18, 18, 1, ""},
		{Decimal{1, 18}, 1, 18, 18, 0, "not a whole number"},
		{Decimal{1, 0}, 1, 18, 18, 1, ""},
		{Decimal{1<<64 - 1, 0}, 1, 18, 18, 1<<64 - 1, ""},
		{Decimal{1<<64 - 1, 0}, 1<<64 - 1, 18, 0, 0, "not a whole number"},
	} {
		m := Market{Tick: c.tick, Lot: c.lot}
		got, err := m.TickLot(&Asset{"B", c.base, Amount{}}, &Asset{"Q", c.quote, Amount{}})
		if got != c.want || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%+v: got %d, %v", c, got, err)
		}
	}
}

// FuzzDecodeGenesis: whatever decodes is valid and is written back as the same bytes.
func FuzzDecodeGenesis(f *testing.F) {
	for _, g := range []*Genesis{sampleGenesis(), {Name: "least", Params: DefaultParams()}} {
		b, err := g.Encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(checkGenesisBytes)
}

func checkGenesisBytes(t *testing.T, b []byte) {
	g, err := DecodeGenesis(b)
	if err != nil {
		return
	}
	if again, err := g.Encode(); err != nil || !bytes.Equal(again, b) {
		t.Fatalf("%x decodes, and is written back as %x, %v", b, again, err)
	}
}

func TestGenesisMutations(t *testing.T) {
	good, err := sampleGenesis().Encode()
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(5, 5))
	for i := range good {
		for _, x := range []byte{good[i] + 1, good[i] ^ 0x20, 0, 0xff, byte(rng.Uint32())} {
			b := bytes.Clone(good)
			b[i] = x
			checkGenesisBytes(t, b)
		}
	}
}
