package ledger

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/bits"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Bounds of a genesis.
const (
	GenesisBytesMax   = 64 << 20 // a million opening balances
	GenesisNameMax    = 64       // bytes
	CouncilMax        = 64       // members; more cannot be asked to sign one thing
	ValidatorsMax     = 256      // every validator holds a stream to every other
	ValidatorAboutMax = 1024     // bytes of what the node wants to know about one
	BalancesMax       = 1 << 20
)

// Genesis is everything a network starts from. The CID of its canonical bytes
// is the network's id.
type Genesis struct {
	Name       string   // for people: 1 to GenesisNameMax bytes on one line
	Assets     []Asset  // an AssetID is the position
	Markets    []Market // a MarketID is the position
	Custodians Council  // attest deposits and pay out withdrawals
	Governors  Council  // list, halt, change committee and parameters
	Params     Params
	Balances   []Balance // opening balances, counted as deposits; ascending by (Account, Asset)
	Committee  Committee // the validators, for the node
}

// Council is a group of keys of which Threshold decide together, on identical
// content. An empty council, of threshold 0, can never decide anything.
type Council struct {
	Threshold uint8
	Members   []Account // ascending, none twice
}

// Balance is an opening balance, in units.
type Balance struct {
	Account Account
	Asset   AssetID
	Amount  Amount
}

// Committee names the validators. The ledger keeps it for those who ask; it
// changes nothing about wallets and orders.
type Committee struct {
	Validators []Validator // in the order the node counts them in
}

// Validator is one member of the committee.
type Validator struct {
	Key    Account // an Ed25519 public key
	Weight uint64  // its votes
	About  []byte  // peer id, provider, region, addresses: the node's business
}

// Params are the rules of a network that its governors can change.
type Params struct {
	NonceWindow   uint32 // nonces kept per account
	ReopenGapMs   int64  // a longer gap between commits makes the markets post-only ...
	ReopenMs      int64  // ... for this long of commit time; 0: not at all
	FillsMax      uint32 // fills per action
	OpenOrdersMax uint32 // open orders per account and market, where the market says nothing
	LevelsShown   uint32 // price levels of a side that readers are shown
}

// DefaultParams are the parameters of a network that has no wishes.
func DefaultParams() Params {
	return Params{
		NonceWindow:   100,
		ReopenGapMs:   30_000,
		ReopenMs:      5_000,
		FillsMax:      512,
		OpenOrdersMax: 200,
		LevelsShown:   1_000,
	}
}

// paramBounds are the least and most of each parameter: what is beyond would
// make a node slow, large or useless.
const (
	nonceWindowMax   = 1_000
	reopenMsMax      = 24 * 3600_000
	fillsMaxMax      = 10_000
	openOrdersMaxMax = 100_000
	levelsShownMax   = 10_000
)

// faults lists what is out of bounds.
func (p *Params) faults() (all []string) {
	within := func(name string, v, least, most int64) {
		if v < least || v > most {
			all = append(all, fmt.Sprintf("%s is %d, it must be %d to %d", name, v, least, most))
		}
	}
	within("the nonce window", int64(p.NonceWindow), 1, nonceWindowMax)
	within("reopen_gap_ms", p.ReopenGapMs, 1, reopenMsMax)
	within("reopen_ms", p.ReopenMs, 0, reopenMsMax)
	within("fills per action", int64(p.FillsMax), 1, fillsMaxMax)
	within("open orders", int64(p.OpenOrdersMax), 1, openOrdersMaxMax)
	within("levels shown", int64(p.LevelsShown), 1, levelsShownMax)
	return all
}

func (c *Council) empty() bool { return c.Threshold == 0 && len(c.Members) == 0 }

// faults lists what is wrong with a council.
func (c *Council) faults() (all []string) {
	if len(c.Members) > CouncilMax {
		all = append(all, fmt.Sprintf("%d members, at most %d are allowed", len(c.Members), CouncilMax))
	}
	if int(c.Threshold) > len(c.Members) || c.Threshold == 0 && len(c.Members) > 0 {
		all = append(all, fmt.Sprintf("%d of %d members can never decide", c.Threshold, len(c.Members)))
	}
	for i := range c.Members {
		if i == 0 && c.Members[0] == (Account{}) || i > 0 && bytes.Compare(c.Members[i-1][:], c.Members[i][:]) >= 0 {
			all = append(all, fmt.Sprintf("member %d is zero, repeated or not in ascending order", i))
		}
	}
	return all
}

// faults lists what is wrong with a committee. One without validators is a
// ledger by itself, such as in a test; whether a network can live with this
// committee is for the node to say.
func (c *Committee) faults() (all []string) {
	if len(c.Validators) > ValidatorsMax {
		all = append(all, fmt.Sprintf("%d validators, at most %d are allowed", len(c.Validators), ValidatorsMax))
	}
	seen := make(map[Account]int, len(c.Validators))
	var total, carry uint64
	for i := range c.Validators {
		v := &c.Validators[i]
		if first, twice := seen[v.Key]; twice {
			all = append(all, fmt.Sprintf("validators %d and %d have one key", first, i))
		}
		seen[v.Key] = i
		if v.Key == (Account{}) || v.Weight == 0 {
			all = append(all, fmt.Sprintf("validator %d has no key or no weight", i))
		}
		if len(v.About) > ValidatorAboutMax {
			all = append(all, fmt.Sprintf("validator %d says %d bytes about itself, at most %d are allowed", i, len(v.About), ValidatorAboutMax))
		}
		if total, carry = bits.Add64(total, v.Weight, 0); carry != 0 || total > idMax {
			all = append(all, fmt.Sprintf("the weights sum to more than %d", uint64(idMax)))
			total = 0
		}
	}
	return all
}

// Validate returns an error that lists everything wrong with the genesis, or nil.
func (g *Genesis) Validate() error {
	var all []error
	add := func(where string, faults ...string) {
		for _, fault := range faults {
			all = append(all, fmt.Errorf("%s: %s", where, fault))
		}
	}
	if n := len(g.Name); n == 0 || n > GenesisNameMax || !utf8.ValidString(g.Name) || strings.ContainsFunc(g.Name, unicode.IsControl) {
		add("name", fmt.Sprintf("it needs 1 to %d bytes of text on one line", GenesisNameMax))
	}
	g.validateListings(add)
	add("custodians", g.Custodians.faults()...)
	add("governors", g.Governors.faults()...)
	add("params", g.Params.faults()...)
	g.validateBalances(add)
	add("committee", g.Committee.faults()...)
	return errors.Join(all...)
}

func (g *Genesis) validateListings(add func(string, ...string)) {
	if n := len(g.Assets); n > AssetsMax {
		add("assets", fmt.Sprintf("there are %d, at most %d are allowed", n, AssetsMax))
	}
	if n := len(g.Markets); n > MarketsMax {
		add("markets", fmt.Sprintf("there are %d, at most %d are allowed", n, MarketsMax))
	}
	symbols := make(map[string]int, len(g.Assets))
	for i := range g.Assets {
		where := fmt.Sprintf("asset %d", i)
		add(where, g.Assets[i].faults()...)
		if first, twice := symbols[g.Assets[i].Symbol]; twice {
			add(where, fmt.Sprintf("%s is asset %d already", g.Assets[i].Symbol, first))
		}
		symbols[g.Assets[i].Symbol] = i
	}
	pairs := make(map[[2]AssetID]int, len(g.Markets))
	for i := range g.Markets {
		m, where := &g.Markets[i], fmt.Sprintf("market %d", i)
		faults := m.faults()
		add(where, faults...)
		if first, twice := pairs[[2]AssetID{m.Base, m.Quote}]; twice {
			add(where, fmt.Sprintf("market %d trades these assets already", first))
		}
		pairs[[2]AssetID{m.Base, m.Quote}] = i
		if int(m.Base) >= len(g.Assets) || int(m.Quote) >= len(g.Assets) {
			add(where, fmt.Sprintf("assets %d and %d, but there are only %d", m.Base, m.Quote, len(g.Assets)))
		} else if len(faults) == 0 {
			if _, err := m.TickLot(&g.Assets[m.Base], &g.Assets[m.Quote]); err != nil {
				add(where, err.Error())
			}
		}
	}
}

func (g *Genesis) validateBalances(add func(string, ...string)) {
	if n := len(g.Balances); n > BalancesMax {
		add("balances", fmt.Sprintf("there are %d, at most %d are allowed", n, BalancesMax))
		return
	}
	totals := make([]Amount, len(g.Assets))
	for i := range g.Balances {
		b, where := &g.Balances[i], fmt.Sprintf("balance %d", i)
		if b.Account == (Account{}) || b.Amount.IsZero() {
			add(where, "it has no account or no amount")
		}
		if i > 0 && g.Balances[i-1].compare(b) >= 0 {
			add(where, "it is repeated, or not in ascending order by account and asset")
		}
		if int(b.Asset) >= len(totals) {
			add(where, fmt.Sprintf("asset %d, but there are only %d", b.Asset, len(totals)))
			continue
		}
		var ok bool
		if totals[b.Asset], ok = totals[b.Asset].Add(b.Amount); !ok {
			add(where, fmt.Sprintf("all of %s together is beyond 2^128 units", g.Assets[b.Asset].Symbol))
			totals[b.Asset] = Amount{}
		}
	}
}

// compare orders balances by account, then asset.
func (b *Balance) compare(o *Balance) int {
	if c := bytes.Compare(b.Account[:], o.Account[:]); c != 0 {
		return c
	}
	return int(b.Asset) - int(o.Asset)
}

// Encode returns the canonical bytes of a valid genesis.
func (g *Genesis) Encode() ([]byte, error) {
	if err := g.Validate(); err != nil {
		return nil, fmt.Errorf("%w:\n%w", ErrNotEncodable, err)
	}
	c := codec{writing: true}
	c.genesis(g)
	if len(c.buf) > GenesisBytesMax {
		return nil, fmt.Errorf("%w: %d bytes, at most %d are allowed", ErrNotEncodable, len(c.buf), GenesisBytesMax)
	}
	return c.buf, nil
}

// ID returns the network's id: the digest of the CID of the canonical bytes.
func (g *Genesis) ID() (Digest, error) {
	b, err := g.Encode()
	return sha256.Sum256(b), err
}

// DecodeGenesis reads a genesis from its canonical bytes and validates it. Of
// malformed bytes the error is a *DecodeError, of an invalid genesis the list
// of its faults.
func DecodeGenesis(b []byte) (*Genesis, error) {
	if len(b) > GenesisBytesMax {
		return nil, &DecodeError{GenesisBytesMax, fmt.Sprintf("a genesis has at most %d bytes, this has %d", GenesisBytesMax, len(b))}
	}
	g, c := new(Genesis), codec{buf: b}
	c.genesis(g)
	if err := c.end(); err != nil {
		return nil, err
	}
	if err := g.Validate(); err != nil {
		return nil, err
	}
	return g, nil
}

func (c *codec) genesis(g *Genesis) {
	f := c.open("a genesis")
	f.text("name", &g.Name, GenesisNameMax)
	list(&f, "assets", &g.Assets, AssetsMax, (*fields).asset)
	object(&f, "params", g.Params != Params{}, &g.Params, (*fields).params)
	list(&f, "markets", &g.Markets, MarketsMax, (*fields).market)
	list(&f, "balances", &g.Balances, BalancesMax, (*fields).balance)
	object(&f, "committee", len(g.Committee.Validators) != 0, &g.Committee, (*fields).committee)
	object(&f, "governors", !g.Governors.empty(), &g.Governors, (*fields).council)
	object(&f, "custodians", !g.Custodians.empty(), &g.Custodians, (*fields).council)
	f.close()
}

// object is a field holding an object, left out when it would be empty.
func object[T any](f *fields, key string, present bool, v *T, each func(*fields, *T)) {
	if !f.next(key, present) {
		return
	}
	at := f.c.off
	one := f.c.open(key)
	if !f.c.writing && one.left == 0 {
		f.c.zero(at)
	}
	each(&one, v)
	one.close()
}

// list is a field holding objects, one map each.
func list[T any](f *fields, key string, v *[]T, most int, each func(*fields, *T)) {
	if !f.next(key, len(*v) != 0) {
		return
	}
	c := f.c
	n := c.length(len(*v), key, 1, most)
	if c.writing {
		for i := range *v {
			one := c.open(key)
			each(&one, &(*v)[i])
			one.close()
		}
		return
	}
	// Grown as they come, so that a length costs nothing that bytes do not back.
	for i := 0; i < n && c.fault == nil; i++ {
		var t T
		one := c.open("an entry of " + key)
		each(&one, &t)
		one.close()
		*v = append(*v, t)
	}
}

func (f *fields) params(p *Params) {
	f.millis("reopen", &p.ReopenMs, reopenMsMax)
	number(f, "fills_max", &p.FillsMax, fillsMaxMax)
	f.millis("reopen_gap", &p.ReopenGapMs, reopenMsMax)
	number(f, "open_orders", &p.OpenOrdersMax, openOrdersMaxMax)
	number(f, "levels_shown", &p.LevelsShown, levelsShownMax)
	number(f, "nonce_window", &p.NonceWindow, nonceWindowMax)
}

func (f *fields) balance(b *Balance) {
	f.exact("acct", b.Account[:])
	number(f, "asset", &b.Asset, ^AssetID(0))
	f.amount("amount", &b.Amount)
}

func (f *fields) council(m *Council) {
	if f.next("members", len(m.Members) != 0) {
		c := f.c
		n := c.length(len(m.Members), "the members", 1, CouncilMax)
		if !c.writing {
			m.Members = make([]Account, n)
		}
		for i := range m.Members {
			c.key(&m.Members[i])
		}
	}
	number(f, "threshold", &m.Threshold, CouncilMax)
}

// key is a public key standing in a list.
func (c *codec) key(a *Account) {
	if c.writing {
		c.head(majorBytes, uint64(len(a)))
		c.buf = append(c.buf, a[:]...)
		return
	}
	at := c.off
	b := c.readString(majorBytes, "a public key", len(a))
	if c.fault == nil && len(b) != len(a) {
		c.failf(at, "a public key has %d bytes, not %d", len(a), len(b))
	}
	copy(a[:], b)
}

func (f *fields) committee(m *Committee) {
	list(f, "validators", &m.Validators, ValidatorsMax, (*fields).validator)
}

func (f *fields) validator(v *Validator) {
	f.exact("key", v.Key[:])
	f.blob("about", &v.About, ValidatorAboutMax)
	number(f, "weight", &v.Weight, idMax)
}
