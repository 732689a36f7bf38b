package ledger

import (
	"fmt"
	"math/bits"
)

// Bounds of what can be listed.
const (
	AssetsMax       = 1024 // and so
	MarketsMax      = 1024 // cancel_all over every market stays a bounded action
	SymbolBytesMax  = 16
	DecimalsMax     = 18 // of an asset, and of a tick beyond its quote asset
	TickDecimalsMax = 19 // what a Decimal of 64 bits can say
)

// Asset is something that can be held.
type Asset struct {
	Symbol           string // 1 to SymbolBytesMax of A-Z and 0-9
	Decimals         uint8  // one unit is 10^-Decimals of a token; at most DecimalsMax
	WithdrawalFeeMin Amount // a withdrawal's fee is at least this, in units
}

// Decimal is the exact number Units x 10^-Decimals.
type Decimal struct {
	Units    uint64
	Decimals uint8
}

// FeeAsset says in which asset a market's fees are taken.
type FeeAsset uint8

const (
	FeeReceived FeeAsset = iota // each side pays in what it receives
	FeeQuote                    // both sides pay in the quote asset
)

// Status says what a market takes. Cancels, transfers and withdrawals always work.
type Status uint8

const (
	StatusTrading    Status = iota // all orders
	StatusPostOnly                 // only orders that rest
	StatusCancelOnly               // no new orders
	StatusHalt                     // no new orders
)

// Market is a pair of assets that trade, and the rules they trade by.
type Market struct {
	Base, Quote   AssetID
	Tick          Decimal  // the price step: whole quote tokens per whole base token
	Lot           uint64   // the quantity step, in units of the base asset
	MinNotional   Amount   // an order's least worth, in units of the quote asset
	MakerPPM      int32    // negative: a rebate
	TakerPPM      int32    // of what is received, or of the quote: see FeeAsset
	FeeAsset      FeeAsset //
	BandPPM       uint32   // market orders trade within this of the reference price; 0: no band
	Reference     Ticks    // the reference price until the first trade; 0: none
	STP           STP      // for orders that say STPDefault; never STPDefault itself
	Status        Status   // when listed
	OpenOrdersMax uint32   // per account; 0: Params.OpenOrdersMax
}

// faults lists what is wrong with an asset, whatever the ledger's state.
func (a *Asset) faults() (all []string) {
	if n := len(a.Symbol); n == 0 || n > SymbolBytesMax {
		all = append(all, fmt.Sprintf("the symbol %q has %d letters, it needs 1 to %d", a.Symbol, n, SymbolBytesMax))
	}
	for _, r := range a.Symbol {
		if (r < 'A' || r > 'Z') && (r < '0' || r > '9') {
			all = append(all, fmt.Sprintf("the symbol %q has a %q, only A-Z and 0-9 are allowed", a.Symbol, r))
			break
		}
	}
	if a.Decimals > DecimalsMax {
		all = append(all, fmt.Sprintf("%d decimals, at most %d are allowed", a.Decimals, DecimalsMax))
	}
	return all
}

// faults lists what is wrong with a market, whatever the ledger's state.
func (m *Market) faults() (all []string) {
	add := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	if m.Base == m.Quote {
		add("base and quote are the same asset")
	}
	if m.Tick.Units == 0 || m.Lot == 0 {
		add("tick and lot must be above zero")
	}
	if m.Tick.Decimals > TickDecimalsMax {
		add("the tick has %d decimals, at most %d are allowed", m.Tick.Decimals, TickDecimalsMax)
	}
	if m.Tick.Decimals > 0 && m.Tick.Units%10 == 0 {
		add("the tick ends in zeros: write it as short as it can be")
	}
	if m.MakerPPM < -PerMillion || m.MakerPPM > PerMillion || m.TakerPPM < -PerMillion || m.TakerPPM > PerMillion {
		add("a fee is beyond %d ppm", PerMillion)
	}
	if int64(m.MakerPPM)+int64(m.TakerPPM) < 0 {
		add("maker %d + taker %d ppm: a trade would cost the house", m.MakerPPM, m.TakerPPM)
	}
	if m.FeeAsset > FeeQuote || m.STP == STPDefault || m.STP > AllowSelf || m.Status > StatusHalt {
		add("the fee asset, self-trade mode or status is none there is")
	}
	if m.FeeAsset == FeeQuote && m.MakerPPM > 0 {
		add("a maker's fee in the quote asset would be owed beyond what a buyer holds")
	}
	if m.BandPPM > PerMillion {
		add("a band of %d ppm, at most %d is allowed", m.BandPPM, PerMillion)
	}
	if m.Reference > TicksMax {
		add("the reference price is above %d ticks", TicksMax)
	}
	return all
}

// TickLot returns what one lot at one tick is worth, in units of the quote
// asset: the number all notionals are multiples of. It must be whole and fit
// 64 bits, or the market is refused with the reason.
func (m *Market) TickLot(base, quote *Asset) (uint64, error) {
	// tick x 10^-td x lot x 10^-bd x 10^qd, with both sides made whole.
	hi, lo := bits.Mul64(m.Tick.Units, m.Lot)
	worth := Amount{hi, lo}
	down := int(m.Tick.Decimals) + int(base.Decimals) - int(quote.Decimals)
	for ; down < 0; down++ {
		var ok bool
		if worth, ok = worth.Mul(10); !ok {
			return 0, fmt.Errorf("tick x lot is beyond %d units of %s", uint64(1<<64-1), quote.Symbol)
		}
	}
	for ; down > 0; down-- {
		var rest uint64
		if worth, rest = worth.Div(10); rest != 0 {
			return 0, fmt.Errorf("tick x lot is not a whole number of units of %s", quote.Symbol)
		}
	}
	n, ok := worth.Uint64()
	if !ok || n == 0 {
		return 0, fmt.Errorf("tick x lot must be 1 to %d units of %s", uint64(1<<64-1), quote.Symbol)
	}
	return n, nil
}

// asset is an Asset's fields.
func (f *fields) asset(a *Asset) {
	f.amount("fee", &a.WithdrawalFeeMin)
	f.text("symbol", &a.Symbol, SymbolBytesMax)
	number(f, "decimals", &a.Decimals, DecimalsMax)
}

// market is a Market's fields.
func (f *fields) market(m *Market) {
	number(f, "lot", &m.Lot, 1<<64-1)
	number(f, "stp", &m.STP, AllowSelf)
	number(f, "band", &m.BandPPM, PerMillion)
	number(f, "base", &m.Base, ^AssetID(0))
	number(f, "tick", &m.Tick.Units, 1<<64-1)
	f.rate("maker", &m.MakerPPM)
	number(f, "quote", &m.Quote, ^AssetID(0))
	f.rate("taker", &m.TakerPPM)
	number(f, "status", &m.Status, StatusHalt)
	number(f, "fee_asset", &m.FeeAsset, FeeQuote)
	number(f, "reference", &m.Reference, TicksMax)
	number(f, "open_orders", &m.OpenOrdersMax, 1<<32-1)
	f.amount("min_notional", &m.MinNotional)
	number(f, "tick_decimals", &m.Tick.Decimals, TickDecimalsMax)
}
