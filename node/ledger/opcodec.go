package ledger

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
)

// DecodeOp reads an operation from its canonical bytes. It refuses everything
// that is not exactly one well-formed operation, with a *DecodeError that
// names the offset and the reason, at a cost bounded by OpBytesMax.
//
// The result keeps b: the caller must not change it afterwards. Whether the
// signature is good is for a Verifier to say, and whether the op can execute
// for a Ledger.
func DecodeOp(b []byte) (*Unverified, error) {
	if len(b) > OpBytesMax {
		return nil, &DecodeError{OpBytesMax, fmt.Sprintf("an operation has at most %d bytes, this has %d", OpBytesMax, len(b))}
	}
	c := codec{buf: b}
	u := &Unverified{raw: b}
	c.op(&u.Draft, &u.Signature, u)
	if err := c.end(); err != nil {
		return nil, err
	}
	return u, nil
}

// Bytes returns the canonical encoding it was decoded from. Read only.
func (u *Unverified) Bytes() []byte { return u.raw }

// op is an operation, whole when signature is not nil and else what is signed.
// Reading, at learns where the signature stands.
func (c *codec) op(d *Draft, signature *[SignatureBytes]byte, at *Unverified) {
	f := c.open("an operation")
	f.link("net", &d.Network)
	if signature != nil {
		from := c.off
		f.exact("sig", signature[:])
		if at != nil {
			at.sigFrom, at.sigTo = from, c.off
		}
	}
	f.exact("acct", d.Account[:])
	f.millis("time", &d.TimeMs, TimeMsMax)
	number(&f, "nonce", &d.Nonce, TimeMsMax)
	f.millis("window", &d.WindowMs, WindowMsMax)
	if f.next("actions", true) {
		n := c.length(len(d.Actions), "the list of actions", 1, ActionsMax)
		if !c.writing {
			d.Actions = make([]Action, n)
		}
		for i := range d.Actions {
			c.action(&d.Actions[i])
		}
	}
	f.close()
	if c.writing || c.fault != nil {
		return
	}
	switch {
	case d.Network == Digest{}:
		c.fail(0, "the network (net) is missing")
	case d.Account == Account{}:
		c.fail(0, "the account (acct) is missing")
	case len(d.Actions) == 0:
		c.fail(0, "the actions are missing")
	case signature != nil && at.sigFrom == at.sigTo:
		c.fail(0, "the signature (sig) is missing")
	}
}

// kindNames are the names of the kinds in an encoded op.
var kindNames = [kindEnd]string{
	KindPlace:              "place",
	KindAmend:              "amend",
	KindCancel:             "cancel",
	KindCancelAll:          "cancel_all",
	KindReplace:            "replace",
	KindTransfer:           "transfer",
	KindWithdraw:           "withdraw",
	KindCancelWithdrawal:   "cancel_withdrawal",
	KindAttestDeposit:      "attest_deposit",
	KindSignWithdrawal:     "sign_withdrawal",
	KindCompleteWithdrawal: "complete_withdrawal",
	KindFailWithdrawal:     "fail_withdrawal",
	KindListAsset:          "list_asset",
	KindListMarket:         "list_market",
	KindSetMarketStatus:    "set_market_status",
	KindSetCommittee:       "set_committee",
	KindSetParams:          "set_params",
}

// String returns the kind's name as encoded, such as "cancel_all".
func (k Kind) String() string {
	if k == 0 || k >= kindEnd {
		return fmt.Sprintf("kind %d", uint8(k))
	}
	return kindNames[k]
}

// kindOf returns the kind of this name, or 0.
func kindOf(name []byte) Kind {
	for k := KindPlace; k < kindEnd; k++ {
		if string(name) == kindNames[k] {
			return k
		}
	}
	return 0
}

// action is a map of one entry: the kind's name, and the map of its fields.
func (c *codec) action(a *Action) {
	at := c.off
	outer := c.open("an action")
	if c.writing {
		outer.next(kindNames[a.Kind], true)
	} else {
		if outer.left != 1 {
			c.fail(at, "an action is a map of one entry, its kind")
			return
		}
		at = c.off
		name := c.readString(majorText, "an action's kind", 64)
		if a.Kind = kindOf(name); a.Kind == 0 {
			c.failf(at, "there is no action %q", name)
			return
		}
		outer.left = 0
	}
	at = c.off
	f := c.open("the fields of an action")
	switch a.Kind {
	case KindPlace, KindReplace:
		c.order(&f, a)
	case KindAmend:
		number(&f, "qty", &a.Quantity, LotsMax)
		number(&f, "order", &a.Order, idMax)
		f.exact("target", a.Target[:])
	case KindCancel:
		number(&f, "order", &a.Order, idMax)
		f.exact("target", a.Target[:])
	case KindCancelAll:
		f.flag("all", &a.AllMarkets)
		number(&f, "market", &a.Market, ^MarketID(0))
	case KindCancelWithdrawal, KindSignWithdrawal, KindFailWithdrawal:
		number(&f, "id", &a.Withdrawal, idMax)
	case KindSetMarketStatus:
		number(&f, "market", &a.Market, ^MarketID(0))
		number(&f, "status", &a.Status, StatusHalt)
	default:
		if !c.writing {
			a.Detail = new(Detail)
		}
		c.detailed(&f, a, a.Detail)
	}
	f.close()
	outer.close()
	if !c.writing && c.fault == nil {
		if fault := a.shape(); fault != "" {
			c.fail(at, a.Kind.String()+" "+fault)
		}
	}
}

// idMax bounds the numbers the ledger gives out, like every other number
// that JSON readers see.
const idMax = 1<<53 - 1

// order is what Place and Replace say.
func (c *codec) order(f *fields, a *Action) {
	replace := a.Kind == KindReplace
	number(f, "qty", &a.Quantity, LotsMax)
	number(f, "stp", &a.STP, AllowSelf)
	number(f, "tif", &a.TIF, GTD)
	f.exact("name", a.ClientID[:])
	number(f, "side", &a.Side, Sell)
	number(f, "type", &a.Type, MarketOrder)
	if replace {
		f.flag("force", &a.ContinueOnFailure)
		number(f, "order", &a.Order, idMax)
	}
	number(f, "price", &a.Price, TicksMax)
	f.millis("until", &a.ExpireAtMs, TimeMsMax)
	f.amount("budget", &a.Amount)
	number(f, "market", &a.Market, ^MarketID(0))
	if replace {
		f.exact("target", a.Target[:])
	}
}

// detailed is what the kinds with a Detail say.
func (c *codec) detailed(f *fields, a *Action, d *Detail) {
	switch a.Kind {
	case KindTransfer:
		f.exact("to", d.Account[:])
		number(f, "asset", &a.Asset, ^AssetID(0))
		f.amount("amount", &a.Amount)
	case KindWithdraw:
		f.amount("fee", &d.Fee)
		number(f, "asset", &a.Asset, ^AssetID(0))
		f.amount("amount", &a.Amount)
		f.text("address", &d.Reference, ReferenceMax)
	case KindAttestDeposit:
		f.text("id", &d.Reference, ReferenceMax)
		f.exact("to", d.Account[:])
		number(f, "asset", &a.Asset, ^AssetID(0))
		f.amount("amount", &a.Amount)
	case KindCompleteWithdrawal:
		number(f, "id", &a.Withdrawal, idMax)
		f.text("tx", &d.Reference, ReferenceMax)
	case KindListAsset:
		payload(c, &d.NewAsset)
		f.asset(d.NewAsset)
	case KindListMarket:
		payload(c, &d.NewMarket)
		f.market(d.NewMarket)
	case KindSetCommittee:
		payload(c, &d.NewCommittee)
		f.committee(d.NewCommittee)
	case KindSetParams:
		payload(c, &d.NewParams)
		f.params(d.NewParams)
	}
}

// payload makes room for what is read behind a pointer.
func payload[T any](c *codec, v **T) {
	if !c.writing {
		*v = new(T)
	}
}

// shape returns what is wrong with the way an action is put together, or "".
// Such an action is malformed: it means nothing, whatever the ledger's state.
func (a *Action) shape() string {
	switch a.Kind {
	case KindPlace:
		return a.orderShape()
	case KindReplace:
		if fault := a.targetShape(); fault != "" {
			return fault
		}
		return a.orderShape()
	case KindAmend, KindCancel:
		return a.targetShape()
	case KindCancelAll:
		if a.AllMarkets && a.Market != 0 {
			return "names a market and all of them"
		}
	case KindTransfer:
		if a.Detail.Account == (Account{}) {
			return "names nobody to pay to"
		}
	case KindWithdraw:
		if a.Detail.Reference == "" {
			return "has no address to pay to"
		}
	case KindAttestDeposit:
		if a.Detail.Reference == "" || a.Detail.Account == (Account{}) {
			return "needs the deposit's id and the account it is for"
		}
	case KindCancelWithdrawal, KindSignWithdrawal, KindCompleteWithdrawal, KindFailWithdrawal:
		if a.Withdrawal == 0 {
			return "names no withdrawal"
		}
	case KindListAsset:
		return strings.Join(a.Detail.NewAsset.faults(), "; ")
	case KindListMarket:
		return strings.Join(a.Detail.NewMarket.faults(), "; ")
	case KindSetCommittee:
		return strings.Join(a.Detail.NewCommittee.faults(), "; ")
	case KindSetParams:
		return strings.Join(a.Detail.NewParams.faults(), "; ")
	}
	return ""
}

func (a *Action) targetShape() string {
	switch {
	case a.Order == 0 && a.Target == ClientID{}:
		return "names no order"
	case a.Order != 0 && a.Target != ClientID{}:
		return "names an order by id and by client id: one is enough"
	}
	return ""
}

func (a *Action) orderShape() string {
	switch {
	case a.Type == MarketOrder && (a.Price != 0 || a.TIF != GTC):
		return "is a market order, which has neither price nor time in force"
	case !a.Amount.IsZero() && (a.Type != MarketOrder || a.Side != Buy):
		return "has a budget, which only a market buy can have"
	case !a.Amount.IsZero() && a.Quantity != 0:
		return "has a quantity and a budget: one is enough"
	case a.Type == PostOnly && (a.TIF == IOC || a.TIF == FOK):
		return "is post-only and so cannot trade at once"
	case (a.TIF == GTD) != (a.ExpireAtMs != 0):
		return "has an expiry exactly when its time in force is GTD"
	}
	return ""
}

// ErrNotEncodable says that an operation or genesis cannot be written: it is
// too long, or it is malformed.
var ErrNotEncodable = errors.New("ledger: this cannot be written")

// encode writes the op, signed when signature is not nil, and makes sure that
// it reads back as the same. What was read back is returned: raw is the bytes.
func (d *Draft) encode(signature *[SignatureBytes]byte) (*Unverified, error) {
	for i := range d.Actions {
		if fault := d.Actions[i].incomplete(); fault != "" {
			return nil, fmt.Errorf("%w: action %d %s", ErrNotEncodable, i, fault)
		}
	}
	w := codec{writing: true}
	w.op(d, signature, nil)
	if len(w.buf) > OpBytesMax {
		return nil, fmt.Errorf("%w: %d bytes, at most %d are allowed", ErrNotEncodable, len(w.buf), OpBytesMax)
	}
	r := codec{buf: w.buf}
	back := &Unverified{raw: w.buf}
	if signature != nil {
		r.op(&back.Draft, &back.Signature, back)
	} else {
		r.op(&back.Draft, nil, nil)
	}
	if err := r.end(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotEncodable, err)
	}
	if !reflect.DeepEqual(back.Draft, *d) {
		return nil, fmt.Errorf("%w: a field is set that its kind of action does not have", ErrNotEncodable)
	}
	return back, nil
}

// incomplete returns what is missing of an action before it can be written,
// or "".
func (a *Action) incomplete() string {
	d := a.Detail
	switch a.Kind {
	case KindPlace, KindAmend, KindCancel, KindCancelAll, KindReplace, KindCancelWithdrawal,
		KindSignWithdrawal, KindFailWithdrawal, KindSetMarketStatus:
		return ""
	case KindTransfer, KindWithdraw, KindAttestDeposit, KindCompleteWithdrawal:
		if d != nil {
			return ""
		}
	case KindListAsset:
		if d != nil && d.NewAsset != nil {
			return ""
		}
	case KindListMarket:
		if d != nil && d.NewMarket != nil {
			return ""
		}
	case KindSetCommittee:
		if d != nil && d.NewCommittee != nil {
			return ""
		}
	case KindSetParams:
		if d != nil && d.NewParams != nil {
			return ""
		}
	default:
		return "has no kind"
	}
	return fmt.Sprintf("is a %v without its Detail", a.Kind)
}
