package ledger

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"
)

// keyOf returns the private key of the n-th test account.
func keyOf(n int) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte{byte(n), byte(n >> 8), 'k'})
	return ed25519.NewKeyFromSeed(seed[:])
}

var testNetwork = Digest(sha256.Sum256([]byte("a network of tests")))

// pick returns zero often, the bounds sometimes, anything else at random.
func pick(rng *rand.Rand, most uint64) uint64 {
	switch rng.IntN(4) {
	case 0:
		return 0
	case 1:
		return most
	}
	n := rng.Uint64() >> rng.IntN(64)
	if n > most {
		return n % most
	}
	return n
}

func pickAmount(rng *rand.Rand) Amount {
	a := Amount{pick(rng, 1<<64-1), pick(rng, 1<<64-1)}
	if rng.IntN(2) == 0 {
		a.hi = 0
	}
	return a
}

func pickText(rng *rand.Rand, most int) string {
	b := make([]rune, 1+rng.IntN(most/3))
	for i := range b {
		b[i] = []rune("abcXYZ0189:-_é€")[rng.IntN(15)]
	}
	return string(b)
}

func pickBytes(rng *rand.Rand, b []byte) {
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	b[0] |= 1
}

// randomAction returns a well-formed action of any kind with any contents.
func randomAction(rng *rand.Rand, kind Kind) Action {
	a := Action{Kind: kind}
	target := func() {
		if rng.IntN(2) == 0 {
			a.Order = OrderID(1 + pick(rng, idMax-1))
		} else {
			pickBytes(rng, a.Target[:])
		}
	}
	switch kind {
	case KindReplace, KindPlace:
		if kind == KindReplace {
			target()
			a.ContinueOnFailure = rng.IntN(2) == 0
		}
		a.Market, a.Side, a.STP = MarketID(pick(rng, 1<<16-1)), Side(rng.IntN(2)), STP(rng.IntN(6))
		a.Type, a.Quantity = OrderType(rng.IntN(3)), Lots(pick(rng, uint64(LotsMax)))
		if rng.IntN(2) == 0 {
			pickBytes(rng, a.ClientID[:])
		}
		switch a.Type {
		case Limit:
			a.TIF = TimeInForce(rng.IntN(4))
		case PostOnly:
			a.TIF = []TimeInForce{GTC, GTD}[rng.IntN(2)]
		case MarketOrder:
			if a.Side == Buy && rng.IntN(2) == 0 {
				a.Quantity, a.Amount = 0, pickAmount(rng)
			}
		}
		if a.Type != MarketOrder {
			a.Price = Ticks(pick(rng, uint64(TicksMax)))
		}
		if a.TIF == GTD {
			a.ExpireAtMs = int64(1 + pick(rng, TimeMsMax-1))
		}
	case KindAmend:
		target()
		a.Quantity = Lots(pick(rng, uint64(LotsMax)))
	case KindCancel:
		target()
	case KindCancelAll:
		if a.AllMarkets = rng.IntN(2) == 0; !a.AllMarkets {
			a.Market = MarketID(pick(rng, 1<<16-1))
		}
	case KindTransfer, KindWithdraw, KindAttestDeposit:
		a.Asset, a.Amount, a.Detail = AssetID(pick(rng, 1<<16-1)), pickAmount(rng), new(Detail)
		if kind != KindWithdraw {
			pickBytes(rng, a.Detail.Account[:])
		}
		if kind != KindTransfer {
			a.Detail.Reference = pickText(rng, ReferenceMax)
		}
		if kind == KindWithdraw {
			a.Detail.Fee = pickAmount(rng)
		}
	case KindCancelWithdrawal, KindSignWithdrawal, KindFailWithdrawal, KindCompleteWithdrawal:
		a.Withdrawal = WithdrawalID(1 + pick(rng, idMax-1))
		if kind == KindCompleteWithdrawal {
			a.Detail = new(Detail)
			if rng.IntN(2) == 0 {
				a.Detail.Reference = pickText(rng, ReferenceMax)
			}
		}
	case KindSetMarketStatus:
		a.Market, a.Status = MarketID(pick(rng, 1<<16-1)), Status(rng.IntN(4))
	case KindListAsset:
		a.Detail = &Detail{NewAsset: &Asset{"B2X", uint8(rng.IntN(19)), pickAmount(rng)}}
	case KindListMarket:
		m := &Market{Base: 3, Quote: AssetID(4 + rng.IntN(9)), Tick: Decimal{1 + 2*(pick(rng, 1<<63-1)/2/5*5), uint8(rng.IntN(20))},
			Lot: 1 + pick(rng, 1<<64-2), MinNotional: pickAmount(rng), BandPPM: uint32(rng.IntN(1_000_001)),
			Reference: Ticks(pick(rng, uint64(TicksMax))), STP: STP(1 + rng.IntN(5)), Status: Status(rng.IntN(4)), OpenOrdersMax: uint32(pick(rng, openOrdersMaxMax))}
		m.TakerPPM = int32(rng.IntN(PerMillion + 1))
		m.MakerPPM = rng.Int32N(m.TakerPPM+1) - m.TakerPPM
		if rng.IntN(2) == 0 {
			m.FeeAsset = FeeQuote
		}
		a.Detail = &Detail{NewMarket: m}
	case KindSetCommittee:
		c := &Committee{}
		for range rng.IntN(5) {
			v := Validator{Weight: 1 + uint64(rng.IntN(100))}
			pickBytes(rng, v.Key[:])
			if rng.IntN(2) == 0 {
				v.About = []byte(pickText(rng, 60))
			}
			c.Validators = append(c.Validators, v)
		}
		a.Detail = &Detail{NewCommittee: c}
	case KindSetParams:
		p := DefaultParams()
		p.NonceWindow, p.ReopenMs = uint32(1+rng.IntN(nonceWindowMax)), int64(rng.IntN(3))
		a.Detail = &Detail{NewParams: &p}
	}
	return a
}

func randomDraft(rng *rand.Rand, account Account) Draft {
	d := Draft{Network: testNetwork, Account: account, Nonce: pick(rng, TimeMsMax), TimeMs: int64(pick(rng, TimeMsMax)), WindowMs: int64(1 + pick(rng, WindowMsMax-1))}
	for range 1 + rng.IntN(4) {
		d.Actions = append(d.Actions, randomAction(rng, Kind(1+rng.IntN(int(kindEnd)-1))))
	}
	return d
}

// TestOpRoundTrip: what is signed decodes to the same op, and its bytes are
// what an independent DAG-CBOR encoder makes of the same values.
func TestOpRoundTrip(t *testing.T) {
	const seed = 7
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	enc, dec := plainDAGCBOR(t)
	seen := map[Kind]int{}
	for range 3_000 {
		d := randomDraft(rng, AccountOf(keyOf(1)))
		b, err := d.Sign(keyOf(1))
		if err != nil {
			t.Fatalf("%+v: %v", d, err)
		}
		u, err := DecodeOp(b)
		if err != nil {
			t.Fatalf("%x: %v", b, err)
		}
		if !reflect.DeepEqual(u.Draft, d) {
			t.Fatalf("decoded\n%+v\nwant\n%+v", u.Draft, d)
		}
		again, err := u.Draft.encode(&u.Signature)
		if err != nil || !bytes.Equal(again.raw, b) {
			t.Fatalf("encoded again %v, %v; want %x", again, err, b)
		}
		var plain any
		if err := dec.Unmarshal(b, &plain); err != nil {
			t.Fatalf("an independent decoder refuses %x: %v", b, err)
		}
		if theirs, err := enc.Marshal(plain); err != nil || !bytes.Equal(theirs, b) {
			t.Fatalf("an independent encoder writes\n%x, %v; ours is\n%x", theirs, err, b)
		}
		for i := range d.Actions {
			seen[d.Actions[i].Kind]++
		}
	}
	for k := KindPlace; k < kindEnd; k++ {
		if seen[k] == 0 {
			t.Errorf("no %v in the sample", k)
		}
	}
}

// plainDAGCBOR is another implementation of DAG-CBOR's rules.
func plainDAGCBOR(t *testing.T) (cbor.EncMode, cbor.DecMode) {
	enc, err := cbor.EncOptions{Sort: cbor.SortLengthFirst, IndefLength: cbor.IndefLengthForbidden}.EncMode()
	if err != nil {
		t.Fatal(err)
	}
	dec, err := cbor.DecOptions{DupMapKey: cbor.DupMapKeyEnforcedAPF, IndefLength: cbor.IndefLengthForbidden}.DecMode()
	if err != nil {
		t.Fatal(err)
	}
	return enc, dec
}

// TestDecodeOpRefuses edits a good op, one fault at a time, and expects the
// offset and the reason.
func TestDecodeOpRefuses(t *testing.T) {
	d := Draft{Network: testNetwork, Account: AccountOf(keyOf(1)), Nonce: 1_000_000, TimeMs: 2_000_000, WindowMs: 60_000, Actions: []Action{
		{Kind: KindPlace, Side: Sell, Price: 300, Quantity: 5, Market: 1},
	}}
	good, err := d.Sign(keyOf(1))
	if err != nil {
		t.Fatal(err)
	}
	h := hex.EncodeToString(good)
	edit := func(old, new string) string {
		old, new = hex.EncodeToString([]byte(old)), hex.EncodeToString([]byte(new))
		if strings.Count(h, old) != 1 {
			t.Fatalf("%s is not once in %s", old, h)
		}
		return strings.Replace(h, old, new, 1)
	}
	at := func(s string) int { return bytes.Index(good, []byte(s)) }
	for name, c := range map[string]struct {
		hex    string
		offset int
		reason string
	}{
		"nothing":             {"", 0, "the bytes end where an operation should be"},
		"a list":              {"80", 0, "this should be an operation"},
		"trailing bytes":      {h + "00", len(good), "1 bytes follow the object"},
		"cut short":           {h[:len(h)-2], len(good) - 1, "the bytes end"},
		"unknown field":       {edit("\x65nonce", "\x65monce"), at("\x65nonce"), `field "monce" is unknown`},
		"wrong order":         {edit("\x64time\x1a\x00\x1e\x84\x80\x65nonce\x1a\x00\x0f\x42\x40", "\x65nonce\x1a\x00\x0f\x42\x40\x64time\x1a\x00\x1e\x84\x80"), at("\x64time") + 11, `field "time" is unknown, repeated or not in canonical order`},
		"twice":               {edit("\x64time\x1a\x00\x1e\x84\x80\x65nonce\x1a\x00\x0f\x42\x40", "\x64time\x1a\x00\x1e\x84\x80\x64time\x1a\x00\x1e\x84\x80"), at("\x65nonce"), `field "time" is unknown, repeated`},
		"long number":         {edit("\x63qty\x05", "\x63qty\x18\x05"), at("\x63qty") + 4, "longer than it needs"},
		"longer number":       {edit("\x65price\x19\x01\x2c", "\x65price\x1a\x00\x00\x01\x2c"), at("\x65price") + 6, "longer than it needs"},
		"indefinite map":      {edit("\xa1\x65place\xa4", "\xa1\x65place\xbf"), at("\x65place") + 6, "indefinite"},
		"reserved head":       {edit("\x63qty\x05", "\x63qty\x1c"), at("\x63qty") + 4, "reserved"},
		"float":               {edit("\x63qty\x05", "\x63qty\xf9\x45\x00"), at("\x63qty") + 4, "this should be a number"},
		"negative":            {edit("\x63qty\x05", "\x63qty\x24"), at("\x63qty") + 4, "this should be a number"},
		"zero said":           {edit("\x63qty\x05", "\x63qty\x00"), at("\x63qty") + 4, "must be left out"},
		"no such side":        {edit("\x64side\x01", "\x64side\x02"), at("\x64side") + 5, "side is 2, at most 1"},
		"price too large":     {edit("\x65price\x19\x01\x2c", "\x65price\x1b\x80\x00\x00\x00\x00\x00\x00\x00"), at("\x65price") + 6, "price is 9223372036854775808"},
		"no such action":      {edit("\x65place", "\x65plaice"), at("\x65place"), `there is no action "plaic"`},
		"no actions":          {edit("\x67actions\x81", "\x67actions\x80"), at("\x67actions") + 8, "has 0 entries"},
		"too many actions":    {edit("\x67actions\x81", "\x67actions\x98\x41"), at("\x67actions") + 8, "has 65 entries"},
		"endless actions":     {edit("\x67actions\x81", "\x67actions\x9b\xff\xff\xff\xff\xff\xff\xff\xff"), at("\x67actions") + 8, "entries, 1 to 64"},
		"window too long":     {edit("\x66window\x19\xea\x60", "\x66window\x1a\x05\x26\x5c\x01"), at("\x66window") + 7, "window is 86400001"},
		"not a link":          {edit("\xd8\x2a\x58\x25\x00\x01\x71", "\xd8\x2a\x58\x25\x00\x01\x55"), at("\x63net") + 4, "not a link"},
		"short account":       {edit("\x64acct\x58\x20", "\x64acct\x58\x1f"), at("\x64acct") + 5, "acct has 31 bytes"},
		"long account":        {edit("\x64acct\x58\x20", "\x64acct\x58\x21"), at("\x64acct") + 5, "acct has 33 bytes, at most 32"},
		"no network":          {"a0", 0, "the network (net) is missing"},
		"far too long a name": {"a1" + "7bffffffffffffffff", 1, "has 18446744073709551615 bytes"},
	} {
		b, err := hex.DecodeString(c.hex)
		if err != nil {
			t.Fatal(err)
		}
		_, err = DecodeOp(b)
		var de *DecodeError
		if !errors.As(err, &de) || de.Offset != c.offset || !strings.Contains(de.Reason, c.reason) {
			t.Errorf("%s: got %v, want byte %d: ...%s", name, err, c.offset, c.reason)
		}
	}
	if _, err := DecodeOp(make([]byte, OpBytesMax+1)); err == nil || !strings.Contains(err.Error(), "at most 16384") {
		t.Errorf("a huge op: %v", err)
	}
}

// TestShapes: actions that mean nothing are refused, on writing as on reading.
func TestShapes(t *testing.T) {
	var to Account
	to[0] = 1
	client := ClientID{1}
	for _, c := range []struct {
		action Action
		reason string
	}{
		{Action{}, "no kind"},
		{Action{Kind: kindEnd}, "no kind"},
		{Action{Kind: KindPlace, Type: MarketOrder, Price: 1, Quantity: 1}, "neither price nor time in force"},
		{Action{Kind: KindPlace, Type: MarketOrder, TIF: IOC, Quantity: 1}, "neither price nor time in force"},
		{Action{Kind: KindPlace, Price: 1, Quantity: 1, Amount: Units(1)}, "budget"},
		{Action{Kind: KindPlace, Type: MarketOrder, Side: Sell, Amount: Units(1)}, "budget"},
		{Action{Kind: KindPlace, Type: MarketOrder, Quantity: 1, Amount: Units(1)}, "one is enough"},
		{Action{Kind: KindPlace, Type: PostOnly, TIF: IOC, Price: 1, Quantity: 1}, "post-only"},
		{Action{Kind: KindPlace, Type: PostOnly, TIF: FOK, Price: 1, Quantity: 1}, "post-only"},
		{Action{Kind: KindPlace, TIF: GTD, Price: 1, Quantity: 1}, "expiry"},
		{Action{Kind: KindPlace, ExpireAtMs: 9, Price: 1, Quantity: 1}, "expiry"},
		{Action{Kind: KindReplace, Price: 1, Quantity: 1}, "names no order"},
		{Action{Kind: KindReplace, Order: 1, TIF: GTD}, "expiry"},
		{Action{Kind: KindCancel}, "names no order"},
		{Action{Kind: KindCancel, Order: 1, Target: client}, "one is enough"},
		{Action{Kind: KindAmend, Quantity: 1}, "names no order"},
		{Action{Kind: KindCancelAll, AllMarkets: true, Market: 1}, "all of them"},
		{Action{Kind: KindTransfer, Amount: Units(1)}, "without its Detail"},
		{Action{Kind: KindTransfer, Amount: Units(1), Detail: &Detail{}}, "nobody"},
		{Action{Kind: KindWithdraw, Amount: Units(1), Detail: &Detail{}}, "no address"},
		{Action{Kind: KindWithdraw, Amount: Units(1), Detail: &Detail{Reference: strings.Repeat("a", ReferenceMax+1)}}, "at most 128"},
		{Action{Kind: KindWithdraw, Amount: Units(1), Detail: &Detail{Reference: "\xff"}}, "UTF-8"},
		{Action{Kind: KindAttestDeposit, Amount: Units(1), Detail: &Detail{Reference: "x"}}, "needs the deposit's id"},
		{Action{Kind: KindAttestDeposit, Amount: Units(1), Detail: &Detail{Account: to}}, "needs the deposit's id"},
		{Action{Kind: KindSignWithdrawal}, "names no withdrawal"},
		{Action{Kind: KindCompleteWithdrawal, Detail: &Detail{}}, "names no withdrawal"},
		{Action{Kind: KindSetMarketStatus, Status: 4}, "status is 4"},
		{Action{Kind: KindListAsset, Detail: &Detail{}}, "without its Detail"},
		{Action{Kind: KindListAsset, Detail: &Detail{NewAsset: &Asset{Symbol: "btc"}}}, "only A-Z"},
		{Action{Kind: KindListMarket, Detail: &Detail{NewMarket: &Market{}}}, "same asset"},
		{Action{Kind: KindSetCommittee, Detail: &Detail{NewCommittee: &Committee{Validators: []Validator{{}}}}}, "no key or no weight"},
		{Action{Kind: KindSetParams, Detail: &Detail{NewParams: &Params{}}}, "nonce window is 0"},
		{Action{Kind: KindCancel, Order: 1, Quantity: 1}, "does not have"},
		{Action{Kind: KindCancel, Order: 1, Detail: &Detail{}}, "does not have"},
		{Action{Kind: KindPlace, Price: 1, Quantity: 1, Order: 1}, "does not have"},
		{Action{Kind: KindTransfer, Amount: Units(1), Detail: &Detail{Account: to, Fee: Units(1)}}, "does not have"},
	} {
		d := Draft{Network: testNetwork, Account: AccountOf(keyOf(1)), Nonce: 1, TimeMs: 1, Actions: []Action{c.action}}
		if _, err := d.Sign(keyOf(1)); !errors.Is(err, ErrNotEncodable) || !strings.Contains(err.Error(), c.reason) {
			t.Errorf("%+v: got %v, want ...%s", c.action, err, c.reason)
		}
	}
}

// TestSignRefuses: what is not the signer's, or too long, is not signed.
func TestSignRefuses(t *testing.T) {
	d := Draft{Network: testNetwork, Account: AccountOf(keyOf(1)), Nonce: 1, TimeMs: 1, Actions: []Action{{Kind: KindCancelAll, AllMarkets: true}}}
	if _, err := d.Sign(keyOf(2)); !errors.Is(err, ErrWrongKey) {
		t.Errorf("another's key: %v", err)
	}
	for range ActionsMax {
		d.Actions = append(d.Actions, d.Actions[0])
	}
	if _, err := d.Sign(keyOf(1)); !errors.Is(err, ErrNotEncodable) {
		t.Errorf("65 actions: %v", err)
	}
	big := &Committee{}
	for i := range 20 {
		big.Validators = append(big.Validators, Validator{Key: AccountOf(keyOf(i)), Weight: 1, About: make([]byte, ValidatorAboutMax)})
	}
	d.Actions = []Action{{Kind: KindSetCommittee, Detail: &Detail{NewCommittee: big}}}
	if b, err := d.Sign(keyOf(1)); !errors.Is(err, ErrNotEncodable) {
		t.Errorf("%d bytes: %v", len(b), err)
	}
	d.Actions, d.Network = []Action{{Kind: KindCancelAll, AllMarkets: true}}, Digest{}
	if _, err := d.Sign(keyOf(1)); !errors.Is(err, ErrNotEncodable) {
		t.Errorf("no network: %v", err)
	}
}

func TestDefaultWindow(t *testing.T) {
	out := []Action{{Kind: KindCancel}, {Kind: KindWithdraw}, {Kind: KindCancelAll}, {Kind: KindCancelWithdrawal}}
	if got := DefaultWindowMs(out); got != 24*3600_000 {
		t.Errorf("ways out get %d ms", got)
	}
	if got := DefaultWindowMs(append(out, Action{Kind: KindPlace})); got != 60_000 {
		t.Errorf("with an order among them they get %d ms", got)
	}
}

// TestFormat pins the bytes. They are agreed on by everybody and signed for
// ever: if this fails, no node understands any other, and no log can be read.
func TestFormat(t *testing.T) {
	rng, all := rand.New(rand.NewPCG(12, 12)), sha256.New()
	for kind := KindPlace; kind < kindEnd; kind++ {
		for range 20 {
			d := Draft{Network: testNetwork, Account: AccountOf(keyOf(1)), Nonce: 5, TimeMs: 7, WindowMs: 9, Actions: []Action{randomAction(rng, kind)}}
			b, err := d.Sign(keyOf(1))
			if err != nil {
				t.Fatal(err)
			}
			all.Write(b)
		}
	}
	const wantOps = "83e9221beb801915efe1650a572b894e6ea905330885e9be3a16a55ee51025f8"
	if got := hex.EncodeToString(all.Sum(nil)); got != wantOps {
		t.Errorf("ops of every kind hash to %s, they did to %s", got, wantOps)
	}
	const wantGenesis = "bafyreiack3f4b2zbudrws3ncyuxmur74mofvpikpyzmngntsmxymvdt3ba"
	if id, err := sampleGenesis().ID(); err != nil || id.String() != wantGenesis {
		t.Errorf("the sample genesis is %v, %v; it was %s", id, err, wantGenesis)
	}
}

// FuzzDecodeOp: whatever decodes is written back as the same bytes.
func FuzzDecodeOp(f *testing.F) {
	rng := rand.New(rand.NewPCG(9, 9))
	for kind := KindPlace; kind < kindEnd; kind++ {
		d := Draft{Network: testNetwork, Account: AccountOf(keyOf(1)), Nonce: 5, TimeMs: 7, WindowMs: 9, Actions: []Action{randomAction(rng, kind), randomAction(rng, kind)}}
		b, err := d.Sign(keyOf(1))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		u, err := DecodeOp(b)
		if err != nil {
			var de *DecodeError
			if !errors.As(err, &de) || de.Offset < 0 || de.Offset > len(b) || de.Reason == "" {
				t.Fatalf("refused with %#v", err)
			}
			return
		}
		again, err := u.Draft.encode(&u.Signature)
		if err != nil || !bytes.Equal(again.raw, b) {
			t.Fatalf("%x decodes, and is written back as %v, %v", b, again, err)
		}
	})
}

// TestOpMutations changes every byte of ops of every kind: each result is
// refused or is canonical.
func TestOpMutations(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 3))
	decoded := 0
	for kind := KindPlace; kind < kindEnd; kind++ {
		d := Draft{Network: testNetwork, Account: AccountOf(keyOf(1)), Nonce: 5, TimeMs: 7, WindowMs: 9, Actions: []Action{randomAction(rng, kind)}}
		good, err := d.Sign(keyOf(1))
		if err != nil {
			t.Fatal(err)
		}
		for i := range good {
			for _, x := range []byte{good[i] + 1, good[i] - 1, good[i] ^ 0x20, good[i] ^ 0x80, 0, 0xff} {
				b := bytes.Clone(good)
				b[i] = x
				u, err := DecodeOp(b)
				if err != nil {
					continue
				}
				decoded++
				if again, err := u.Draft.encode(&u.Signature); err != nil || !bytes.Equal(again.raw, b) {
					t.Fatalf("%v: byte %d as %x decodes, and is written back as %v, %v", kind, i, x, again, err)
				}
			}
		}
	}
	if decoded == 0 {
		t.Error("no mutation decoded: the test compares nothing")
	}
}
