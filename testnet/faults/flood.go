package faults

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"
)

// Flooding says what rubbish to send: packets of random bytes that look like QUIC's,
// Rate a second to each of To, for a time.
type Flooding struct {
	To   []string      `json:"to"` // ip:port
	Rate int           `json:"rate"`
	For  time.Duration `json:"for_ns"`
}

// Bounds of a flood, which is for a machine that has other things to do as well.
const (
	FloodRateMax = 20_000
	FloodForMax  = 10 * time.Second
	floodBytes   = 1200 // what QUIC sends at first
	floodEvery   = 10 * time.Millisecond
)

// Flood sends rubbish from the node's own socket, through its rules, and returns when
// its time is over.
func (f *Filter) Flood(ctx context.Context, p Flooding) error {
	if p.Rate < 1 || p.Rate > FloodRateMax || p.For <= 0 || p.For > FloodForMax {
		return fmt.Errorf("faults: flood: %d packets a second for %v: at most %d for %v", p.Rate, p.For, FloodRateMax, FloodForMax)
	}
	to, err := parseRemotes(p.To)
	if err != nil {
		return fmt.Errorf("faults: flood: %w", err)
	}
	tick := time.NewTicker(floodEvery)
	defer tick.Stop()
	chance := rand.New(rand.NewPCG(f.seed, 0))
	rubbish := make([]byte, floodBytes)
	for ticks := range int(p.For / floodEvery) {
		for range p.Rate*(ticks+1)/100 - p.Rate*ticks/100 {
			for _, remote := range to {
				if err := f.sendRubbish(remote, rubbish, chance); err != nil {
					return err
				}
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
	return nil
}

// sendRubbish sends random bytes with QUIC's fixed bit, half of them as of a new
// connection.
func (f *Filter) sendRubbish(to netip.AddrPort, b []byte, chance *rand.Rand) error {
	for i := 0; i+8 <= len(b); i += 8 {
		word := chance.Uint64()
		for j := range 8 {
			b[i+j] = byte(word >> (8 * j))
		}
	}
	b[0] |= 0x40
	return f.sendTo(to, b)
}
