package p2p

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/peerstore"
	ma "github.com/multiformats/go-multiaddr"
)

// Healing. Every Config.HealEvery, also when all is well: the validators first,
// then the peers of the bundle, then the book as long as peers or providers are
// wanting, then what mDNS and the DHT found, which is in the book too. Nothing is
// ever given up: a cut may last longer than any library's memory, and the
// bootstrap peers may be gone for good.
const (
	// dialsMax bounds dials to peers outside the committee that run at once.
	dialsMax = 32
	// bookDialsPerRound tries this many peers of the book at a time.
	bookDialsPerRound = 8
	// providersWanted is how many peers of each known provider are kept.
	providersWanted = 2
)

func (h *Host) heal() {
	tick := time.NewTicker(h.config.HealEvery)
	defer tick.Stop()
	for {
		h.healOnce()
		h.healGossip()
		h.refuseCrowds()
		select {
		case <-tick.C:
		case <-h.healNow:
			// A peer has just gone, or there is a new committee. Not more often
			// than the dials that follow can be told apart.
			select {
			case <-time.After(healPause):
			case <-h.ctx.Done():
				return
			}
		case <-h.ctx.Done():
			return
		}
	}
}

// healPause keeps a burst of departures from being a burst of rounds.
const healPause = 20 * time.Millisecond

func (h *Host) healOnce() {
	for _, p := range h.roles.members() {
		h.dial(p.ID, slices.Concat(p.Addrs, h.book.addrs(p.ID)), true)
	}
	for _, p := range h.config.Bundle {
		h.dial(p.ID, slices.Concat(p.Addrs, h.book.addrs(p.ID)), false)
	}
	for _, e := range h.wantedOfBook() {
		h.dial(e.ID, e.Addrs, false)
	}
}

// wantedOfBook picks peers to try: of providers we have too few of, and any
// while there are too few at all. The choice is random, so that every peer of
// the book has its turn.
func (h *Host) wantedOfBook() []bookEntry {
	connected := make(map[peer.ID]bool)
	perProvider := make(map[string]int)
	for _, p := range h.Peers() {
		connected[p.ID] = true
		perProvider[p.Provider]++
	}
	entries := h.book.entries()
	rand.Shuffle(len(entries), func(i, j int) { entries[i], entries[j] = entries[j], entries[i] })
	short := h.config.PeersWanted - len(connected)
	var wanted []bookEntry
	for _, e := range entries {
		if connected[e.ID] || len(wanted) == bookDialsPerRound {
			continue
		}
		if short > 0 || perProvider[e.Provider] < providersWanted {
			wanted = append(wanted, e)
			perProvider[e.Provider]++
			short--
		}
	}
	return wanted
}

// dial tries a peer once, in the background, unless it is connected, being
// dialled or banned.
func (h *Host) dial(p peer.ID, addrs []ma.Multiaddr, validator bool) {
	if p == h.host.ID() || h.host.Network().Connectedness(p) == network.Connected {
		return
	}
	if banned, _, _ := h.scores.banned(p, time.Now()); banned {
		return
	}
	h.mu.Lock()
	if h.dialling[p] || (!validator && len(h.dialling) >= dialsMax) {
		h.mu.Unlock()
		return
	}
	h.dialling[p] = true
	h.mu.Unlock()

	if !h.spawn(func() { h.dialOnce(p, addrs) }) {
		h.dialled(p)
	}
}

func (h *Host) dialOnce(p peer.ID, addrs []ma.Multiaddr) {
	defer h.dialled(p)
	h.host.Peerstore().AddAddrs(p, addrs, peerstore.TempAddrTTL)
	h.swarm.Backoff().Clear(p) // it would grow to five minutes
	ctx, cancel := context.WithTimeout(h.ctx, h.config.DialTimeout)
	defer cancel()
	began := time.Now()
	ctx = network.WithDialPeerTimeout(ctx, h.config.DialTimeout)
	if h.host.Network().Connectedness(p) == network.Limited {
		ctx = network.WithForceDirectDial(ctx, "a relayed connection is no reason to stop")
	}
	_, err := h.host.Network().DialPeer(ctx, p)
	h.meter.dials.Add(1)
	if err == nil {
		return
	}
	h.meter.dialFailures.Add(1)
	h.log.Debug("dial failed", "peer", p, "took", time.Since(began), "err", err)
	if time.Since(began) >= h.config.HealEvery {
		signal(h.healNow) // its turn was due while it was being dialled
	}
}

func (h *Host) dialled(p peer.ID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.dialling, p)
}

// found takes a peer that mDNS or another peer told of.
func (h *Host) found(info peer.AddrInfo) {
	if info.ID == h.host.ID() {
		return
	}
	h.book.tell(info.ID, info.Addrs, time.Now())
	h.dial(info.ID, info.Addrs, false)
}

// streamsCrowd is more streams than all our protocols and the library's need
// with one peer; it is below QUIC's own limit of 256, at which streams wait.
const streamsCrowd = 192

// refuseCrowds punishes peers that hold crowds of streams open, whether they
// speak a protocol of ours on them or nothing at all.
func (h *Host) refuseCrowds() {
	for _, c := range h.host.Network().Conns() {
		inbound := 0
		for _, s := range c.GetStreams() {
			if s.Stat().Direction == network.DirInbound {
				inbound++
			}
		}
		if inbound > streamsCrowd {
			h.punish(c.RemotePeer(), offence{offenceStreams.what, banPoints})
		}
	}
}
