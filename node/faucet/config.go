package faucet

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/holdfast-mesh/holdfast/node/api"
	"github.com/holdfast-mesh/holdfast/node/ledger"
)

// Gateway is the node that takes the faucet's operations; *api.Client is one.
type Gateway interface {
	Submit(ctx context.Context, ops ...[]byte) (api.Ops, error)
	Op(ctx context.Context, id ledger.Digest) (api.Op, error)
	WaitOp(ctx context.Context, id ledger.Digest) (api.Op, error)
	Account(ctx context.Context, account ledger.Account) (api.Account, error)
}

// Coin is an amount of an asset.
type Coin struct {
	Asset  ledger.AssetID
	Amount ledger.Amount
}

// Config is everything a faucet needs.
type Config struct {
	// Dir is the directory of the journal. One faucet at a time.
	Dir string
	// Network and Names are those of the network, Key is the wallet's.
	Network ledger.Digest
	Names   ledger.Names
	Key     ed25519.PrivateKey
	Gateway Gateway
	// Gift is what one asking brings: 1 to GiftMax coins of different assets.
	Gift []Coin
	// Every is the least time between two gifts to one account.
	Every time.Duration
	// Hourly bounds the gifts of any hour, Total all gifts there ever are from this
	// journal. To give more, raise Total.
	Hourly, Total int
	// Now is the clock; nil is the machine's.
	Now func() time.Time
	Log *slog.Logger // nil is silence
}

// Bounds of a configuration.
const (
	GiftMax  = 8
	TotalMax = 1_000_000 // the journal is read into memory, a hundred bytes each
	EveryMin = time.Second
	EveryMax = 365 * 24 * time.Hour
)

// Validate lists every fault at once.
func (c *Config) Validate() error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if c.Dir == "" {
		fault("the directory of the faucet's journal is missing")
	}
	if len(c.Key) != ed25519.PrivateKeySize || c.Gateway == nil {
		fault("the wallet's key or the gateway is missing")
	}
	if len(c.Gift) == 0 || len(c.Gift) > GiftMax {
		fault("a gift of %d coins: give 1 to %d", len(c.Gift), GiftMax)
	}
	seen := make(map[ledger.AssetID]bool)
	for _, coin := range c.Gift {
		if int(coin.Asset) >= len(c.Names.Assets) || coin.Amount.IsZero() || seen[coin.Asset] {
			fault("the gift's coins must be of different assets, each more than nothing")
		}
		seen[coin.Asset] = true
	}
	if c.Every < EveryMin || c.Every > EveryMax {
		fault("one gift every %v: choose %v to %v", c.Every, EveryMin, EveryMax)
	}
	for _, limit := range []struct {
		name string
		n    int
	}{{"an hour", c.Hourly}, {"in all", c.Total}} {
		if limit.n < 1 || limit.n > TotalMax {
			fault("%d gifts %s: choose 1 to %d", limit.n, limit.name, TotalMax)
		}
	}
	return errors.Join(faults...)
}

// actions are what a gift to an account does.
func (c *Config) actions(to ledger.Account) []ledger.Action {
	actions := make([]ledger.Action, len(c.Gift))
	for i, coin := range c.Gift {
		actions[i] = ledger.Action{Kind: ledger.KindTransfer, Asset: coin.Asset, Amount: coin.Amount, Detail: &ledger.Detail{Account: to}}
	}
	return actions
}

// giftTexts are the gift's coins for people.
func (c *Config) giftTexts() []string {
	texts := make([]string, len(c.Gift))
	for i, coin := range c.Gift {
		asset := &c.Names.Assets[coin.Asset]
		texts[i] = asset.FormatAmount(coin.Amount) + " " + asset.Symbol
	}
	return texts
}
