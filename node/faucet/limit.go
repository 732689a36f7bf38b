package faucet

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/holdfast-mesh/holdfast/node/api"
	"github.com/holdfast-mesh/holdfast/node/ledger"
)

// problem is a refusal, as the network's API writes them.
func problem(status int, code, title, detail, remedy string, after time.Duration) *api.Problem {
	return &api.Problem{Type: "urn:holdfast:problem:" + code, Title: title, Status: status, Code: code, Detail: detail, Remedy: remedy, RetryAfterMs: after.Milliseconds()}
}

// refuse says why an account gets nothing now, or nil. The lock is held. Where the
// clock has been set back, gifts look younger than they are, and limits hold longer:
// by a day at most, for no ledger executes what is signed further ahead.
func (f *Faucet) refuse(to ledger.Account, nowMs int64) error {
	if to == f.self {
		return problem(http.StatusForbidden, "OWN_ACCOUNT", "The account is the faucet's own.", "A gift to itself changes nothing.", "Give the account of your wallet: holdfast wallet show.", 0)
	}
	if len(f.open) >= openMax {
		return problem(http.StatusServiceUnavailable, "BUSY", "The faucet has no room now.", "Too many gifts are under way.", "Ask again in a moment.", time.Second)
	}
	if last := f.newest[to]; last != nil {
		if wait := f.cfg.Every - time.Duration(nowMs-last.timeMs)*time.Millisecond; wait > 0 {
			return limited("ACCOUNT_LIMIT", "The account has had its share.", "One gift every "+f.cfg.Every.String()+" is one account's share; the last was operation "+last.id.String()+".", min(wait, f.cfg.Every))
		}
	}
	if f.given >= f.cfg.Total {
		return problem(http.StatusForbidden, "TOTAL_LIMIT", "The faucet has given all it is to give.", "No more gifts come from it.", "Ask its operator to raise the total, or ask another faucet.", 0)
	}
	for len(f.hour) > 0 && f.hour[0] <= nowMs-time.Hour.Milliseconds() {
		f.hour = f.hour[1:]
	}
	if over := len(f.hour) - f.cfg.Hourly; over >= 0 {
		wait := time.Duration(f.hour[over]-nowMs)*time.Millisecond + time.Hour
		return limited("HOURLY_LIMIT", "The faucet has given what it is to give in an hour.", "It goes on when the hour is over.", min(wait, time.Hour))
	}
	return nil
}

func limited(code, title, detail string, wait time.Duration) *api.Problem {
	wait = max(wait, time.Millisecond)
	return problem(http.StatusTooManyRequests, code, title, detail, "Ask again in "+wait.Round(time.Second).String()+".", wait)
}

// afford says whether the wallet has what one more gift takes, beside those that are
// under way: a gift that the ledger would refuse is not signed.
func (f *Faucet) afford(ctx context.Context) error {
	empty := func(detail string) error {
		return problem(http.StatusServiceUnavailable, "EMPTY", "The faucet is empty.", detail, "Ask its operator to fill it, or ask another faucet.", 0)
	}
	has, err := f.cfg.Gateway.Account(ctx, f.self)
	if refused := (*api.Problem)(nil); errors.As(err, &refused) && refused.Code == "UNKNOWN_ACCOUNT" {
		return empty("Its wallet has never received anything.")
	}
	if err != nil {
		return unreached(err)
	}
	f.mu.Lock()
	gifts := uint64(len(f.open) + 1)
	f.mu.Unlock()
	for _, coin := range f.cfg.Gift {
		asset := &f.cfg.Names.Assets[coin.Asset]
		var available ledger.Amount
		for _, b := range has.Balances {
			if b.Asset == asset.Symbol {
				if available, err = asset.ParseAmount(b.Available); err != nil {
					return unreached(err)
				}
			}
		}
		if needed, ok := coin.Amount.Mul(gifts); !ok || available.Less(needed) {
			return empty("Its wallet has " + asset.FormatAmount(available) + " " + asset.Symbol + ".")
		}
	}
	return nil
}

// unreached says that the faucet's node does not answer as it should.
func unreached(err error) error {
	return problem(http.StatusBadGateway, "NODE", "The faucet's node does not answer.", err.Error(), "Ask again in a moment.", 5*time.Second)
}
