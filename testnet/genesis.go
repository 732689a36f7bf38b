package testnet

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/holdfast-mesh/holdfast/node/ledger"
)

// The assets and markets of every test network, by position.
const (
	BTC ledger.AssetID = iota
	ETH
	USDT
)

const (
	BTCUSDT ledger.MarketID = iota
	ETHUSDT
)

// assets are what can be held: 8, 18 and 6 decimals, so that both ends of what the
// ledger can count are in use.
func assets() []ledger.Asset {
	return []ledger.Asset{
		BTC:  {Symbol: "BTC", Decimals: 8, WithdrawalFeeMin: ledger.Units(1_000)},
		ETH:  {Symbol: "ETH", Decimals: 18, WithdrawalFeeMin: ledger.Units(1_000_000_000_000)},
		USDT: {Symbol: "USDT", Decimals: 6, WithdrawalFeeMin: ledger.Units(1_000_000)},
	}
}

func markets() []ledger.Market {
	market := func(base ledger.AssetID, lot uint64, reference ledger.Ticks) ledger.Market {
		return ledger.Market{
			Base: base, Quote: USDT, Tick: ledger.Decimal{Units: 1, Decimals: 2}, Lot: lot,
			MinNotional: ledger.Units(1_000_000), MakerPPM: 500, TakerPPM: 1_000,
			STP: ledger.ExpireMaker, Reference: reference, OpenOrdersMax: 1_000,
		}
	}
	return []ledger.Market{
		BTCUSDT: market(BTC, 10_000, 6_000_000),               // lots of 0.0001, from 60 000.00
		ETHUSDT: market(ETH, 1_000_000_000_000_000, 2_500_00), // lots of 0.001, from 2 500.00
	}
}

// opening is what the faucet, and a hundredth of it each client, begins with.
func opening() []ledger.Amount {
	amount := func(tokens uint64, decimals int) ledger.Amount {
		a := ledger.Units(tokens)
		for range decimals {
			a, _ = a.Mul(10) // 10^7 tokens of 18 decimals are far below the bound
		}
		return a
	}
	return []ledger.Amount{BTC: amount(10_000, 8), ETH: amount(1_000_000, 18), USDT: amount(100_000_000, 6)}
}

// keyOf makes a key from the network's seed. Test networks only: who knows the seed
// has the money.
func keyOf(seed uint64, role string, i int) ed25519.PrivateKey {
	h := sha256.New()
	h.Write([]byte("holdfast testnet key\n" + role + "\n"))
	h.Write(binary.BigEndian.AppendUint64(nil, seed))
	h.Write(binary.BigEndian.AppendUint64(nil, uint64(i)))
	return ed25519.NewKeyFromSeed(h.Sum(nil))
}

// Councils of a test network: two of three.
const (
	councilMembers   = 3
	councilThreshold = 2
)

func council(seed uint64, role string) ledger.Council {
	c := ledger.Council{Threshold: councilThreshold}
	for i := range councilMembers {
		c.Members = append(c.Members, ledger.AccountOf(keyOf(seed, role, i)))
	}
	slices.SortFunc(c.Members, func(a, b ledger.Account) int { return bytes.Compare(a[:], b[:]) })
	return c
}

// genesis is what the network starts from.
func genesis(c Config, faucet ledger.Account, validators []ledger.Validator) (*ledger.Genesis, error) {
	g := &ledger.Genesis{
		Name: "testnet", Assets: assets(), Markets: markets(), Params: ledger.DefaultParams(),
		Custodians: council(c.Seed, "custodian"), Governors: council(c.Seed, "governor"),
		Committee: ledger.Committee{Validators: validators},
	}
	fund := func(a ledger.Account, share uint64) {
		for asset, all := range opening() {
			part, _ := all.Div(share)
			g.Balances = append(g.Balances, ledger.Balance{Account: a, Asset: ledger.AssetID(asset), Amount: part})
		}
	}
	fund(faucet, 1)
	for i := range c.Clients {
		fund(ledger.AccountOf(keyOf(c.Seed, "client", i)), 100)
	}
	slices.SortFunc(g.Balances, func(a, b ledger.Balance) int {
		if order := bytes.Compare(a.Account[:], b.Account[:]); order != 0 {
			return order
		}
		return int(a.Asset) - int(b.Asset)
	})
	if err := g.Validate(); err != nil {
		return nil, fmt.Errorf("testnet: the genesis: %w", err)
	}
	return g, nil
}
