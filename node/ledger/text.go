package ledger

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Names are the assets and markets by which people read and write actions; a
// Ledger and a Genesis both have them. They are read only while in use.
type Names struct {
	Assets  []Asset  // by AssetID
	Markets []Market // by MarketID
}

// ErrText says that a line is no action in the form Format writes.
var ErrText = errors.New("ledger: this is no action")

// Symbol returns a market's name, such as BTC-USDT.
func (n *Names) Symbol(id MarketID) string {
	if int(id) >= len(n.Markets) {
		return fmt.Sprintf("market-%d", id)
	}
	m := &n.Markets[id]
	return n.Assets[m.Base].Symbol + "-" + n.Assets[m.Quote].Symbol
}

// Asset returns the asset with this symbol. The error is ReasonUnknownAsset.
func (n *Names) Asset(symbol string) (AssetID, error) {
	for i := range n.Assets {
		if n.Assets[i].Symbol == symbol {
			return AssetID(i), nil
		}
	}
	return 0, fmt.Errorf("%q: %w", symbol, ReasonUnknownAsset)
}

// Market returns the market with this name. The error is ReasonUnknownMarket.
func (n *Names) Market(symbol string) (MarketID, error) {
	for i := range n.Markets {
		if n.Symbol(MarketID(i)) == symbol {
			return MarketID(i), nil
		}
	}
	return 0, fmt.Errorf("%q: %w", symbol, ReasonUnknownMarket)
}

var (
	sideNames   = []string{Buy: "buy", Sell: "sell"}
	tifNames    = []string{GTC: "gtc", IOC: "ioc", FOK: "fok", GTD: "gtd"}
	stpNames    = []string{STPDefault: "default", ExpireMaker: "expire-maker", ExpireTaker: "expire-taker", ExpireBoth: "expire-both", Decrement: "decrement", AllowSelf: "none"}
	statusNames = []string{StatusTrading: "TRADING", StatusPostOnly: "POST_ONLY", StatusCancelOnly: "CANCEL_ONLY", StatusHalt: "HALT"}
)

// String returns buy or sell.
func (s Side) String() string { return nameIn(sideNames, s) }

// String returns the time in force in lower case, such as ioc.
func (t TimeInForce) String() string { return nameIn(tifNames, t) }

// String returns the mode in lower case, such as expire-maker.
func (s STP) String() string { return nameIn(stpNames, s) }

// String returns the status as programs see it, such as POST_ONLY.
func (s Status) String() string { return nameIn(statusNames, s) }

func nameIn[T ~uint8](names []string, v T) string {
	if int(v) >= len(names) {
		return strconv.Itoa(int(v))
	}
	return names[v]
}

func named[T ~uint8](names []string, s string) (T, error) {
	for i, name := range names {
		if strings.EqualFold(name, s) {
			return T(i), nil
		}
	}
	return 0, fmt.Errorf("%w: %q is none of %s", ErrText, s, strings.Join(names, ", "))
}

// ParseSide is the inverse of Side.String, in upper or lower case; so are the
// three after it of theirs.
func ParseSide(s string) (Side, error) { return named[Side](sideNames, s) }

// ParseTIF reads a time in force, such as ioc.
func ParseTIF(s string) (TimeInForce, error) { return named[TimeInForce](tifNames, s) }

// ParseSTP reads a self-trade mode, such as expire-maker.
func ParseSTP(s string) (STP, error) { return named[STP](stpNames, s) }

// ParseStatus reads a market's status, such as POST_ONLY.
func ParseStatus(s string) (Status, error) { return named[Status](statusNames, s) }

// ClientIDOf returns the client id of a name of 1 to 16 bytes without zeros.
func ClientIDOf(name string) (id ClientID, err error) {
	if name == "" || len(name) > len(id) || strings.ContainsRune(name, 0) {
		return id, fmt.Errorf("%w: a client id is 1 to %d bytes", ErrText, len(id))
	}
	copy(id[:], name)
	return id, nil
}

// String returns the name it was made from when that is plain text of one
// word, or 0x and 32 hexadecimal digits.
func (id ClientID) String() string {
	name := strings.TrimRight(string(id[:]), "\x00")
	plain := name != "" && !strings.HasPrefix(name, "0x")
	for _, r := range []byte(name) {
		plain = plain && r > ' ' && r < 0x7f
	}
	if plain {
		return name
	}
	return "0x" + hex.EncodeToString(id[:])
}

// ParseClientID is the inverse of String.
func ParseClientID(s string) (id ClientID, err error) {
	if digits, ok := strings.CutPrefix(s, "0x"); ok {
		if len(digits) != 2*len(id) {
			return id, fmt.Errorf("%w: a client id in hexadecimal has %d digits", ErrText, 2*len(id))
		}
		_, err = hex.Decode(id[:], []byte(digits))
		return id, err
	}
	return ClientIDOf(s)
}

// ParseAccount reads an account in hexadecimal, as Account.String writes it.
func ParseAccount(s string) (a Account, err error) {
	if len(s) != 2*len(a) {
		return a, fmt.Errorf("%w: an account is %d hexadecimal digits", ErrText, 2*len(a))
	}
	_, err = hex.Decode(a[:], []byte(s))
	return a, err
}

// Format writes an action as one line for people, its numbers in whole tokens:
//
//	place BTC-USDT buy 0.5000 at 100.00 ioc stp=decrement name=mine
//	place BTC-USDT buy market for 250
//	replace order=17 BTC-USDT sell 1.0000 at 101.00 post-only until=1700000000000
//	transfer 12.5 USDT to 9f..
//
// ParseAction reads the lines of people and custodians back. What governors
// propose is written but not read: it comes from documents.
func (n *Names) Format(a *Action) string {
	var w words
	w.add(a.Kind.String())
	switch a.Kind {
	case KindPlace:
		n.formatOrder(&w, a)
	case KindReplace:
		w.target(a)
		n.formatOrder(&w, a)
		if a.ContinueOnFailure {
			w.add("force")
		}
	case KindAmend:
		w.target(a)
		w.add("to", strconv.FormatUint(uint64(a.Quantity), 10), "lots")
	case KindCancel:
		w.target(a)
	case KindCancelAll:
		if a.AllMarkets {
			w.add("everywhere")
		} else {
			w.add(n.Symbol(a.Market))
		}
	case KindTransfer:
		n.formatAmount(&w, a.Asset, a.Amount)
		w.add("to", a.Detail.Account.String())
	case KindWithdraw:
		n.formatAmount(&w, a.Asset, a.Amount)
		w.add("fee")
		n.formatAmount(&w, a.Asset, a.Detail.Fee)
		w.add("to", strconv.Quote(a.Detail.Reference))
	case KindAttestDeposit:
		w.add(strconv.Quote(a.Detail.Reference))
		n.formatAmount(&w, a.Asset, a.Amount)
		w.add("to", a.Detail.Account.String())
	case KindCompleteWithdrawal:
		w.add(strconv.FormatUint(uint64(a.Withdrawal), 10), strconv.Quote(a.Detail.Reference))
	case KindCancelWithdrawal, KindSignWithdrawal, KindFailWithdrawal:
		w.add(strconv.FormatUint(uint64(a.Withdrawal), 10))
	case KindSetMarketStatus:
		w.add(n.Symbol(a.Market), a.Status.String())
	case KindListAsset:
		w.add(fmt.Sprintf("%+v", *a.Detail.NewAsset))
	case KindListMarket:
		w.add(fmt.Sprintf("%+v", *a.Detail.NewMarket))
	case KindSetCommittee:
		w.add(fmt.Sprintf("of %d validators", len(a.Detail.NewCommittee.Validators)))
	case KindSetParams:
		w.add(fmt.Sprintf("%+v", *a.Detail.NewParams))
	}
	return strings.Join(w, " ")
}

type words []string

func (w *words) add(more ...string) { *w = append(*w, more...) }

func (w *words) target(a *Action) {
	if a.Order != 0 {
		w.add("order=" + strconv.FormatUint(uint64(a.Order), 10))
	} else {
		w.add("target=" + a.Target.String())
	}
}

func (n *Names) formatAmount(w *words, id AssetID, amount Amount) {
	if int(id) >= len(n.Assets) {
		w.add(string(appendNumber(nil, amount, 0, 0)), fmt.Sprintf("units-of-asset-%d", id))
		return
	}
	w.add(n.Assets[id].FormatAmount(amount), n.Assets[id].Symbol)
}

func (n *Names) formatOrder(w *words, a *Action) {
	w.add(n.Symbol(a.Market), a.Side.String())
	if int(a.Market) >= len(n.Markets) {
		w.add(fmt.Sprintf("%d lots at %d ticks", a.Quantity, a.Price))
		return
	}
	m := &n.Markets[a.Market]
	if a.Type == MarketOrder {
		w.add("market")
	}
	switch {
	case !a.Amount.IsZero():
		w.add("for", n.Assets[m.Quote].FormatAmount(a.Amount))
	default:
		w.add(m.FormatQuantity(&n.Assets[m.Base], a.Quantity))
	}
	if a.Type != MarketOrder {
		w.add("at", m.FormatPrice(a.Price))
	}
	if a.Type == PostOnly {
		w.add("post-only")
	}
	switch a.TIF {
	case IOC, FOK:
		w.add(a.TIF.String())
	case GTD:
		w.add("until=" + strconv.FormatInt(a.ExpireAtMs, 10))
	}
	if a.STP != STPDefault {
		w.add("stp=" + a.STP.String())
	}
	if a.ClientID != (ClientID{}) {
		w.add("name=" + a.ClientID.String())
	}
}
