package api

import (
	"container/list"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// addressesMax bounds the addresses whose rates are remembered: about 2 MB. The
// one that has been silent for longest is forgotten first, and its savings are
// full again by then, or its crowd is too large to be told apart by addresses.
const addressesMax = 8192

// rates bounds what each address asks for.
type rates struct {
	requests, ops rate.Limit
	burst         float64 // seconds

	mu    sync.Mutex
	at    map[netip.Addr]*list.Element
	order *list.List // of *share, silent for longest first
}

// share is what one address may have.
type share struct {
	of       netip.Addr
	requests *rate.Limiter
	ops      *rate.Limiter
}

func newRates(c *Config) *rates {
	return &rates{
		requests: rate.Limit(c.Requests), ops: rate.Limit(c.Ops), burst: c.BurstSeconds,
		at: make(map[netip.Addr]*list.Element), order: list.New(),
	}
}

// of returns an address's share.
func (r *rates) of(remote string) *share {
	address := addressOf(remote)
	r.mu.Lock()
	defer r.mu.Unlock()
	if at := r.at[address]; at != nil {
		r.order.MoveToBack(at)
		return at.Value.(*share)
	}
	if len(r.at) >= addressesMax {
		oldest := r.order.Front()
		delete(r.at, oldest.Value.(*share).of)
		r.order.Remove(oldest)
	}
	s := &share{
		of:       address,
		requests: rate.NewLimiter(r.requests, int(float64(r.requests)*r.burst)),
		ops:      rate.NewLimiter(r.ops, int(float64(r.ops)*r.burst)),
	}
	r.at[address] = r.order.PushBack(s)
	return s
}

// take takes n of a share at once, or nothing and says when to come again.
func take(from *rate.Limiter, now time.Time, n int) error {
	if from.AllowN(now, n) {
		return nil
	}
	missing := float64(n) - from.TokensAt(now)
	wait := time.Duration(missing / float64(from.Limit()) * float64(time.Second))
	return rateLimited.of("It may go on in %d ms.", max(1, wait.Milliseconds())).after(wait)
}

// addressOf is who a request comes from: an IPv4 address, or the /64 of an IPv6
// one, since whoever has one of these has them all.
func addressOf(remote string) netip.Addr {
	ap, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Addr{}
	}
	address := ap.Addr().Unmap().WithZone("")
	if address.Is6() {
		if prefix, err := address.Prefix(64); err == nil {
			return prefix.Addr()
		}
	}
	return address
}
