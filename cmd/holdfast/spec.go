package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/pelletier/go-toml/v2"

	"github.com/holdfast-mesh/holdfast/node"
	"github.com/holdfast-mesh/holdfast/node/ledger"
)

// specBytesMax bounds a file that describes a network; a hundred thousand
// opening balances are about 15 MB.
const specBytesMax = 32 << 20

// spec is a network as people write it, in TOML. Numbers of money are decimal
// texts in whole tokens.
type spec struct {
	Name       string          `toml:"name"`
	Bootstrap  []string        `toml:"bootstrap"`
	Validators []specValidator `toml:"validators"`
	Assets     []specAsset     `toml:"assets"`
	Markets    []specMarket    `toml:"markets"`
	Custodians specCouncil     `toml:"custodians"`
	Governors  specCouncil     `toml:"governors"`
	Balances   []specBalance   `toml:"balances"`
	Params     specParams      `toml:"params"`
}

type specValidator struct {
	Key      string   `toml:"key"` // public, in hexadecimal, or a peer id
	Weight   uint64   `toml:"weight"`
	Provider string   `toml:"provider"`
	Region   string   `toml:"region"`
	Zone     string   `toml:"zone"`
	Operator string   `toml:"operator"`
	Addrs    []string `toml:"addrs"`
}

type specAsset struct {
	Symbol           string `toml:"symbol"`
	Decimals         uint8  `toml:"decimals"`
	WithdrawalFeeMin string `toml:"withdrawal_fee_min"`
}

type specMarket struct {
	Market        string `toml:"market"` // such as BTC-USDT
	Tick          string `toml:"tick"`
	Lot           string `toml:"lot"`
	MinNotional   string `toml:"min_notional"`
	MakerPPM      int32  `toml:"maker_ppm"`
	TakerPPM      int32  `toml:"taker_ppm"`
	FeeAsset      string `toml:"fee_asset"` // received or quote
	BandPPM       uint32 `toml:"band_ppm"`
	Reference     string `toml:"reference"`
	STP           string `toml:"stp"`
	Status        string `toml:"status"`
	OpenOrdersMax uint32 `toml:"open_orders_max"`
}

type specCouncil struct {
	Threshold uint8    `toml:"threshold"`
	Members   []string `toml:"members"`
}

type specBalance struct {
	Account string `toml:"account"`
	Asset   string `toml:"asset"`
	Amount  string `toml:"amount"`
}

type specParams struct {
	NonceWindow   uint32 `toml:"nonce_window"`
	ReopenGapMs   int64  `toml:"reopen_gap_ms"`
	ReopenMs      *int64 `toml:"reopen_ms"` // 0 says not at all
	FillsMax      uint32 `toml:"fills_max"`
	OpenOrdersMax uint32 `toml:"open_orders_max"`
	LevelsShown   uint32 `toml:"levels_shown"`
}

// specExample is what network new --example prints. A test makes a network of it.
const specExample = `# A network of Holdfast. Make its bundle with:
#   holdfast network new --spec THIS-FILE --out network.bundle

name = "example"

# Addresses of nodes that are no validators, if any: with /p2p/ and the peer id.
bootstrap = []

# Each validator runs "holdfast init" and tells its key or peer id. No provider
# and no region may hold more than a third of the weight.
[[validators]]
key = "1111111111111111111111111111111111111111111111111111111111111111"
weight = 1
provider = "aws"
region = "frankfurt"
zone = "a"
operator = "first.example"
addrs = ["/ip4/192.0.2.1/udp/4001/quic-v1", "/ip4/192.0.2.1/tcp/4001"]

[[validators]]
key = "2222222222222222222222222222222222222222222222222222222222222222"
weight = 1
provider = "gcp"
region = "zurich"
operator = "second.example"
addrs = ["/ip4/192.0.2.2/udp/4001/quic-v1"]

[[validators]]
key = "3333333333333333333333333333333333333333333333333333333333333333"
weight = 1
provider = "ovh"
region = "paris"
operator = "third.example"
addrs = ["/ip4/192.0.2.3/udp/4001/quic-v1"]

[[validators]]
key = "4444444444444444444444444444444444444444444444444444444444444444"
weight = 1
provider = "hetzner"
region = "helsinki"
operator = "fourth.example"
addrs = ["/ip4/192.0.2.4/udp/4001/quic-v1"]

[[assets]]
symbol = "BTC"
decimals = 8
withdrawal_fee_min = "0.0001"

[[assets]]
symbol = "USDT"
decimals = 6
withdrawal_fee_min = "1"

[[markets]]
market = "BTC-USDT"
tick = "0.01"            # the price step
lot = "0.0001"           # the quantity step
min_notional = "5"       # what an order must be worth
maker_ppm = 0            # fees in millionths
taker_ppm = 1000
fee_asset = "received"   # or quote
band_ppm = 50000         # market orders trade within 5 % of the last price
reference = "60000.00"   # the price until the first trade
stp = "expire-maker"     # or expire-taker, expire-both, decrement, none

# Custodians attest deposits and pay out withdrawals, governors list markets and
# change committee and rules; each by as many signatures as the threshold says.
[custodians]
threshold = 2
members = [
  "5555555555555555555555555555555555555555555555555555555555555555",
  "6666666666666666666666666666666666666666666666666666666666666666",
  "7777777777777777777777777777777777777777777777777777777777777777",
]

[governors]
threshold = 1
members = ["8888888888888888888888888888888888888888888888888888888888888888"]

# What accounts begin with. It counts as deposited.
[[balances]]
account = "9999999999999999999999999999999999999999999999999999999999999999"
asset = "USDT"
amount = "1000000"
`

// readSpec reads a description. Names it does not know are faults.
func readSpec(path string) (*spec, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("spec: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, specBytesMax+1))
	if err == nil && len(b) > specBytesMax {
		err = fmt.Errorf("more than %d bytes", specBytesMax)
	}
	if err != nil {
		return nil, fmt.Errorf("spec: %s: %w", path, err)
	}
	s, err := parseSpec(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return s, nil
}

func parseSpec(b []byte) (*spec, error) {
	s := new(spec)
	err := toml.NewDecoder(bytes.NewReader(b)).DisallowUnknownFields().Decode(s)
	if missing := (*toml.StrictMissingError)(nil); errors.As(err, &missing) {
		var all []error
		for i := range missing.Errors {
			row, column := missing.Errors[i].Position()
			all = append(all, fmt.Errorf("line %d, column %d: there is no %q in the description of a network", row, column, strings.Join(missing.Errors[i].Key(), ".")))
		}
		return nil, errors.Join(all...)
	}
	if err != nil {
		return nil, placed(err)
	}
	return s, nil
}

// network turns the description, with the applications of a directory if one is named,
// into a genesis. It is the one way to it: whoever makes a network, checks one or
// changes its committee counts the same validators in the same places. The placement is
// told; judge refuses it.
func (s *spec) network(applications string) (*ledger.Genesis, networkView, error) {
	if err := s.apply(applications); err != nil {
		return nil, networkView{}, err
	}
	genesis, err := s.build()
	if err != nil {
		return nil, networkView{}, fmt.Errorf("this is no network yet:\n%w", err)
	}
	view, err := viewGenesis(genesis)
	return genesis, view, err
}

// builder turns a description into a genesis and keeps every fault it meets.
type builder struct {
	spec    *spec
	genesis *ledger.Genesis
	faults  []error
}

func (b *builder) fault(where string, err error) {
	if err != nil {
		b.faults = append(b.faults, fmt.Errorf("%s: %w", where, err))
	}
}

// build returns the genesis, or every fault that keeps it from being one.
func (s *spec) build() (*ledger.Genesis, error) {
	b := &builder{spec: s, genesis: &ledger.Genesis{Name: s.Name, Params: ledger.DefaultParams()}}
	b.params()
	b.validators()
	b.assets()
	b.markets()
	b.balances()
	b.genesis.Custodians = b.council("custodians", s.Custodians)
	b.genesis.Governors = b.council("governors", s.Governors)
	if len(b.faults) > 0 {
		return nil, errors.Join(b.faults...)
	}
	return b.genesis, b.genesis.Validate()
}

func (b *builder) params() {
	p, s := &b.genesis.Params, &b.spec.Params
	p.NonceWindow = cmp.Or(s.NonceWindow, p.NonceWindow)
	p.ReopenGapMs = cmp.Or(s.ReopenGapMs, p.ReopenGapMs)
	if s.ReopenMs != nil {
		p.ReopenMs = *s.ReopenMs
	}
	p.FillsMax = cmp.Or(s.FillsMax, p.FillsMax)
	p.OpenOrdersMax = cmp.Or(s.OpenOrdersMax, p.OpenOrdersMax)
	p.LevelsShown = cmp.Or(s.LevelsShown, p.LevelsShown)
}

func (b *builder) validators() {
	for i, v := range b.spec.Validators {
		where := fmt.Sprintf("validator %d", i)
		key, err := parseKey(v.Key)
		b.fault(where, err)
		about, err := node.About{Provider: v.Provider, Region: v.Region, Zone: v.Zone, Operator: v.Operator, Addrs: v.Addrs}.Encode()
		b.fault(where, err)
		b.genesis.Committee.Validators = append(b.genesis.Committee.Validators,
			ledger.Validator{Key: key, Weight: cmp.Or(v.Weight, 1), About: about})
	}
}

// parseKey reads a public key in hexadecimal, or a peer id.
func parseKey(text string) (ledger.Account, error) {
	if id, err := peer.Decode(text); err == nil {
		if key, ok := node.KeyOfPeer(id); ok {
			return key, nil
		}
		return ledger.Account{}, fmt.Errorf("%q is a peer id, but not of an Ed25519 key", text)
	}
	key, err := ledger.ParseAccount(text)
	if err != nil {
		err = fmt.Errorf("%q is no key: give 64 hexadecimal digits, or a peer id, which begins with 12D3KooW", text)
	}
	return key, err
}

func (b *builder) assets() {
	for _, a := range b.spec.Assets {
		asset := ledger.Asset{Symbol: a.Symbol, Decimals: a.Decimals}
		if a.WithdrawalFeeMin != "" {
			var err error
			asset.WithdrawalFeeMin, err = asset.ParseAmount(a.WithdrawalFeeMin)
			b.fault("asset "+a.Symbol+": withdrawal_fee_min", err)
		}
		b.genesis.Assets = append(b.genesis.Assets, asset)
	}
}

func (b *builder) markets() {
	for _, s := range b.spec.Markets {
		b.genesis.Markets = append(b.genesis.Markets, b.market(s))
	}
}

func (b *builder) market(s specMarket) ledger.Market {
	where := "market " + s.Market
	names := ledger.Names{Assets: b.genesis.Assets}
	m := ledger.Market{
		MakerPPM: s.MakerPPM, TakerPPM: s.TakerPPM, BandPPM: s.BandPPM, OpenOrdersMax: s.OpenOrdersMax, STP: ledger.ExpireMaker,
	}
	baseName, quoteName, ok := strings.Cut(s.Market, "-")
	if !ok {
		b.fault(where, errors.New("name it by its two assets, such as BTC-USDT"))
		return m
	}
	var errs [2]error
	m.Base, errs[0] = names.Asset(baseName)
	m.Quote, errs[1] = names.Asset(quoteName)
	if err := errors.Join(errs[:]...); err != nil {
		b.fault(where, err)
		return m
	}
	base, quote := &names.Assets[m.Base], &names.Assets[m.Quote]
	read := func(what, text string, into func(string) error) {
		if text != "" {
			b.fault(where+": "+what, into(text))
		}
	}
	read("tick", s.Tick, func(t string) (err error) { m.Tick, err = parseDecimal(t); return })
	read("lot", s.Lot, func(t string) error {
		n, err := base.ParseAmount(t)
		lot, fits := n.Uint64()
		if err == nil && !fits {
			err = fmt.Errorf("%q is too large", t)
		}
		m.Lot = lot
		return err
	})
	read("min_notional", s.MinNotional, func(t string) (err error) { m.MinNotional, err = quote.ParseAmount(t); return })
	read("stp", s.STP, func(t string) (err error) { m.STP, err = ledger.ParseSTP(t); return })
	read("status", s.Status, func(t string) (err error) { m.Status, err = ledger.ParseStatus(t); return })
	read("fee_asset", s.FeeAsset, func(t string) error {
		switch t {
		case "received":
			m.FeeAsset = ledger.FeeReceived
		case "quote":
			m.FeeAsset = ledger.FeeQuote
		default:
			return fmt.Errorf("%q is neither received nor quote", t)
		}
		return nil
	})
	if m.Tick.Units != 0 {
		read("reference", s.Reference, func(t string) (err error) { m.Reference, err = m.ParsePrice(quote, t); return })
	}
	return m
}

// parseDecimal reads a number such as 0.01, without needless zeros at its end.
func parseDecimal(text string) (ledger.Decimal, error) {
	whole, fraction, pointed := strings.Cut(text, ".")
	if pointed && fraction == "" {
		return ledger.Decimal{}, fmt.Errorf("%q: %w", text, ledger.ErrNumber)
	}
	fraction = strings.TrimRight(fraction, "0")
	if fraction != "" {
		whole += "." + fraction
	}
	a := ledger.Asset{Decimals: uint8(min(len(fraction), 255))}
	n, err := a.ParseAmount(whole)
	units, fits := n.Uint64()
	if err == nil && (!fits || len(fraction) > ledger.TickDecimalsMax) {
		err = fmt.Errorf("%q has too many digits", text)
	}
	return ledger.Decimal{Units: units, Decimals: a.Decimals}, err
}

func (b *builder) council(what string, s specCouncil) ledger.Council {
	c := ledger.Council{Threshold: s.Threshold}
	for i, text := range s.Members {
		key, err := parseKey(text)
		b.fault(fmt.Sprintf("%s: member %d", what, i), err)
		c.Members = append(c.Members, key)
	}
	slices.SortFunc(c.Members, func(a, b ledger.Account) int { return bytes.Compare(a[:], b[:]) })
	return c
}

func (b *builder) balances() {
	names := ledger.Names{Assets: b.genesis.Assets}
	for i, s := range b.spec.Balances {
		where := fmt.Sprintf("balance %d", i)
		account, err := parseKey(s.Account)
		b.fault(where, err)
		asset, err := names.Asset(s.Asset)
		if err != nil {
			b.fault(where, err)
			continue
		}
		amount, err := names.Assets[asset].ParseAmount(s.Amount)
		b.fault(where, err)
		b.genesis.Balances = append(b.genesis.Balances, ledger.Balance{Account: account, Asset: asset, Amount: amount})
	}
	slices.SortFunc(b.genesis.Balances, func(x, y ledger.Balance) int {
		return cmp.Or(bytes.Compare(x.Account[:], y.Account[:]), cmp.Compare(x.Asset, y.Asset))
	})
}
