package ledger

import (
	"fmt"
	"strconv"
	"strings"
)

// ParseAction reads a line in the form Format writes. A quantity or price that
// the market cannot take is the Reason it would be refused for; anything that
// is not such a line is ErrText.
func (n *Names) ParseAction(line string) (Action, error) {
	p := parser{names: n, rest: line}
	var a Action
	a.Kind = kindOf([]byte(p.word("an action")))
	switch a.Kind {
	case KindPlace:
		p.order(&a)
	case KindReplace:
		p.target(&a)
		p.order(&a)
	case KindAmend:
		p.target(&a)
		p.expect("to")
		a.Quantity = Lots(p.number("a number of lots", uint64(LotsMax)))
		p.expect("lots")
	case KindCancel:
		p.target(&a)
	case KindCancelAll:
		if a.AllMarkets = p.accept("everywhere"); !a.AllMarkets {
			a.Market = p.market()
		}
	case KindTransfer:
		a.Detail = new(Detail)
		a.Amount, a.Asset = p.amount()
		p.expect("to")
		a.Detail.Account = p.account()
	case KindWithdraw:
		a.Detail = new(Detail)
		a.Amount, a.Asset = p.amount()
		p.expect("fee")
		var of AssetID
		if a.Detail.Fee, of = p.amount(); of != a.Asset {
			p.fail("the fee is in another asset")
		}
		p.expect("to")
		a.Detail.Reference = p.quoted()
	case KindAttestDeposit:
		a.Detail = &Detail{Reference: p.quoted()}
		a.Amount, a.Asset = p.amount()
		p.expect("to")
		a.Detail.Account = p.account()
	case KindCompleteWithdrawal:
		a.Withdrawal = WithdrawalID(p.number("a withdrawal's number", idMax))
		a.Detail = &Detail{Reference: p.quoted()}
	case KindCancelWithdrawal, KindSignWithdrawal, KindFailWithdrawal:
		a.Withdrawal = WithdrawalID(p.number("a withdrawal's number", idMax))
	case KindSetMarketStatus:
		a.Market = p.market()
		var err error
		a.Status, err = ParseStatus(p.word("a status"))
		p.keep(err)
	default:
		p.fail("it begins with none of the actions a line can say")
	}
	if p.err == nil && p.rest != "" {
		p.fail(fmt.Sprintf("nobody asked for %q", p.rest))
	}
	if p.err == nil {
		if fault := a.shape(); fault != "" {
			p.fail("it " + fault)
		}
	}
	return a, p.err
}

// parser takes words off a line. The first fault sticks.
type parser struct {
	names *Names
	rest  string
	err   error
}

func (p *parser) keep(err error) {
	if p.err == nil {
		p.err = err
	}
}

func (p *parser) fail(why string) { p.keep(fmt.Errorf("%w: %s", ErrText, why)) }

// word takes the next word; what says what should be there.
func (p *parser) word(what string) string {
	word, rest, _ := strings.Cut(p.rest, " ")
	if word == "" {
		p.fail(what + " is missing")
	}
	p.rest = rest
	return word
}

func (p *parser) accept(word string) bool {
	head, rest, _ := strings.Cut(p.rest, " ")
	if head != word {
		return false
	}
	p.rest = rest
	return true
}

func (p *parser) expect(word string) {
	if !p.accept(word) {
		p.fail(fmt.Sprintf("%q should come before %q", word, p.rest))
	}
}

func (p *parser) number(what string, most uint64) uint64 {
	n, err := strconv.ParseUint(p.word(what), 10, 64)
	if err != nil || n > most {
		p.fail(what + " is missing or too large")
	}
	return n
}

func (p *parser) quoted() string {
	prefix, err := strconv.QuotedPrefix(p.rest)
	if err != nil {
		p.fail("a text in quotation marks is missing")
		return ""
	}
	p.rest = strings.TrimPrefix(p.rest[len(prefix):], " ")
	text, err := strconv.Unquote(prefix)
	p.keep(err)
	return text
}

func (p *parser) account() Account {
	a, err := ParseAccount(p.word("an account"))
	p.keep(err)
	return a
}

func (p *parser) market() MarketID {
	id, err := p.names.Market(p.word("a market"))
	p.keep(err)
	return id
}

// amount takes an amount and its asset's symbol.
func (p *parser) amount() (Amount, AssetID) {
	number := p.word("an amount")
	id, err := p.names.Asset(p.word("an asset"))
	p.keep(err)
	if p.err != nil {
		return Amount{}, 0
	}
	n, err := p.names.Assets[id].ParseAmount(number)
	p.keep(err)
	return n, id
}

func (p *parser) target(a *Action) {
	key, value, _ := strings.Cut(p.word("order= or target="), "=")
	var err error
	switch key {
	case "order":
		var n uint64
		n, err = strconv.ParseUint(value, 10, 53)
		a.Order = OrderID(n)
	case "target":
		a.Target, err = ParseClientID(value)
	default:
		p.fail("order= or target= should say which order is meant")
	}
	if err != nil {
		p.fail(err.Error())
	}
}

func (p *parser) order(a *Action) {
	a.Market = p.market()
	side, err := ParseSide(p.word("buy or sell"))
	p.keep(err)
	if p.err != nil {
		return
	}
	a.Side = side
	m := &p.names.Markets[a.Market]
	base, quote := &p.names.Assets[m.Base], &p.names.Assets[m.Quote]
	if p.accept("market") {
		a.Type = MarketOrder
	}
	if a.Type == MarketOrder && p.accept("for") {
		a.Amount, err = quote.ParseAmount(p.word("a budget"))
	} else {
		a.Quantity, err = m.ParseQuantity(base, p.word("a quantity"))
	}
	p.keep(err)
	if a.Type != MarketOrder {
		p.expect("at")
		a.Price, err = m.ParsePrice(quote, p.word("a price"))
		p.keep(err)
	}
	for p.err == nil && p.rest != "" {
		p.option(a, p.word("an option"))
	}
}

// option is what may follow an order.
func (p *parser) option(a *Action, word string) {
	key, value, _ := strings.Cut(word, "=")
	var err error
	switch {
	case word == "post-only":
		a.Type = PostOnly
	case word == "ioc":
		a.TIF = IOC
	case word == "fok":
		a.TIF = FOK
	case word == "force" && a.Kind == KindReplace:
		a.ContinueOnFailure = true
	case key == "until":
		a.TIF = GTD
		a.ExpireAtMs, err = strconv.ParseInt(value, 10, 54)
	case key == "stp":
		a.STP, err = ParseSTP(value)
	case key == "name":
		a.ClientID, err = ParseClientID(value)
	default:
		p.fail(fmt.Sprintf("there is no option %q", word))
	}
	if err != nil {
		p.fail(err.Error())
	}
}
