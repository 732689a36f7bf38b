package ledger

import (
	"errors"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/ipfs/go-cid"
)

func sampleNames() *Names {
	g := sampleGenesis()
	return &Names{Assets: g.Assets, Markets: g.Markets}
}

// TestActionText: what people read, and that it is read back as the same.
func TestActionText(t *testing.T) {
	n := sampleNames()
	to := AccountOf(keyOf(1)).String()
	for _, line := range []string{
		"place BTC-USDT buy 0.5000 at 100.00",
		"place BTC-USDT sell 0.5000 at 100.00 ioc stp=decrement name=mine",
		"place ETH-USDT buy 2.0000 at 1800.5 fok stp=none",
		"place BTC-USDT buy market for 250.000001",
		"place BTC-USDT sell market 1.0000 stp=expire-taker",
		"place BTC-USDT sell 1.0000 at 99.99 post-only until=1700000000000 name=0x000102030405060708090a0b0c0d0e0f",
		"replace order=17 BTC-USDT sell 1.0000 at 101.00 post-only",
		"replace target=mine BTC-USDT sell 1.0000 at 101.00 name=mine-2 force",
		"amend order=3 to 12 lots",
		"cancel order=3",
		"cancel target=mine",
		"cancel_all everywhere",
		"cancel_all ETH-USDT",
		"transfer 12.5 USDT to " + to,
		`withdraw 0.5 BTC fee 0.0001 BTC to "bc1q of \"mine\""`,
		"cancel_withdrawal 4",
		`attest_deposit "tx1:0" 1 BTC to ` + to,
		"sign_withdrawal 4",
		`complete_withdrawal 4 "tx9"`,
		`complete_withdrawal 4 ""`,
		"fail_withdrawal 4",
		"set_market_status BTC-USDT CANCEL_ONLY",
	} {
		a, err := n.ParseAction(line)
		if err != nil {
			t.Errorf("%s: %v", line, err)
			continue
		}
		if got := n.Format(&a); got != line {
			t.Errorf("%s\nis written back as\n%s", line, got)
		}
	}
}

func TestActionTextRefuses(t *testing.T) {
	n := sampleNames()
	for line, want := range map[string]error{
		"": ErrText, "buy": ErrText, "place": ErrText, " place": ErrText,
		"place BTC-USDT": ErrText, "place BTC-USDT hold 1 at 1": ErrText,
		"place BTC-EUR buy 1 at 1":                                    ReasonUnknownMarket,
		"place BTC-USDT buy 1 at 100.001":                             ReasonPriceFilter,
		"place BTC-USDT buy 0.00001 at 100":                           ReasonLotSize,
		"place BTC-USDT buy 1.123456789 at 100":                       ReasonBadPrecision,
		"place BTC-USDT buy x at 100":                                 ErrNumber,
		"place BTC-USDT buy 1 for 100":                                ErrText,
		"place BTC-USDT buy 1 at 100 fast":                            ErrText,
		"place BTC-USDT buy 1 at 100 force":                           ErrText,
		"place BTC-USDT buy 1 at 100 until=soon":                      ErrText,
		"place BTC-USDT buy 1 at 100 stp=never":                       ErrText,
		"place BTC-USDT buy 1 at 100 name=" + strings.Repeat("a", 17): ErrText,
		"place BTC-USDT buy 1 at 100 name=0x00":                       ErrText,
		"place BTC-USDT sell market for 100":                          ErrText,
		"place BTC-USDT sell 1 at 5 post-only ioc":                    ErrText,
		"cancel":                             ErrText,
		"cancel 3":                           ErrText,
		"cancel order=x":                     ErrText,
		"cancel order=0":                     ErrText,
		"cancel order=3 now":                 ErrText,
		"transfer 1 DOGE to me":              ReasonUnknownAsset,
		"transfer 1 BTC to me":               ErrText,
		"withdraw 1 BTC fee 1 USDT to \"x\"": ErrText,
		"withdraw 1 BTC fee 0 BTC to x":      ErrText,
		"withdraw 1 BTC fee 0 BTC to \"\"":   ErrText,
		"set_market_status BTC-USDT SHUT":    ErrText,
		"list_asset DOGE":                    ErrText,
	} {
		if a, err := n.ParseAction(line); !errors.Is(err, want) {
			t.Errorf("%q: got %+v, %v; want %v", line, a, err, want)
		}
	}
}

// TestActionTextRandom: the text of any action of people and custodians says
// all of it, and that of the others can be read by people without a panic.
func TestActionTextRandom(t *testing.T) {
	n, rng := sampleNames(), rand.New(rand.NewPCG(8, 8))
	for range 5_000 {
		kind := Kind(1 + rng.IntN(int(kindEnd)-1))
		a := randomAction(rng, kind)
		text := n.Format(&a) // also of unknown markets and assets
		if !strings.HasPrefix(text, kind.String()) {
			t.Fatalf("%+v is written as %q", a, text)
		}
		a.Market, a.Asset = MarketID(rng.IntN(len(n.Markets))), AssetID(rng.IntN(len(n.Assets)))
		switch kind {
		case KindListAsset, KindListMarket, KindSetCommittee, KindSetParams:
			continue
		case KindCancelAll:
			a.Asset = 0
			if a.AllMarkets {
				a.Market = 0
			}
		case KindAmend, KindCancel, KindCancelWithdrawal, KindSignWithdrawal, KindFailWithdrawal, KindCompleteWithdrawal:
			a.Market, a.Asset = 0, 0
		case KindTransfer, KindWithdraw, KindAttestDeposit:
			a.Market = 0
		default:
			a.Asset = 0
		}
		text = n.Format(&a)
		back, err := n.ParseAction(text)
		if err != nil || !reflect.DeepEqual(back, a) {
			t.Fatalf("%+v\nis written as %s\nand read back as %+v, %v", a, text, back, err)
		}
	}
}

func FuzzParseAction(f *testing.F) {
	f.Add("place BTC-USDT sell 0.5000 at 100.00 ioc stp=decrement name=mine")
	f.Add(`withdraw 0.5 BTC fee 0.0001 BTC to "bc1q"`)
	n := sampleNames()
	f.Fuzz(func(t *testing.T, line string) {
		a, err := n.ParseAction(line)
		if err != nil {
			return
		}
		if back, err := n.ParseAction(n.Format(&a)); err != nil || !reflect.DeepEqual(back, a) {
			t.Fatalf("%q is %+v, written back as %q and read as %+v, %v", line, a, n.Format(&a), back, err)
		}
	})
}

func TestParseDigest(t *testing.T) {
	want := Digest{1, 2, 3}
	if got, err := ParseDigest(want.String()); err != nil || got != want {
		t.Errorf("%v, %v", got, err)
	}
	raw := cid.NewCidV1(cid.Raw, want.CID().Hash())
	for _, bad := range []string{"", "x", want.String()[1:], want.String() + "a", raw.String()} {
		if got, err := ParseDigest(bad); err == nil {
			t.Errorf("%q was read as %v", bad, got)
		}
	}
}
