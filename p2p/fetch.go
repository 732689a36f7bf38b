package p2p

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
)

const (
	// fetchPeersMax bounds the peers one Fetch asks before the DHT.
	fetchPeersMax = 8
	// fetchTurns is how often a peer is asked whose answers break off.
	fetchTurns = 2
)

// Request asks one connected peer for objects by their CIDs, requestCIDsMax of
// them at most, and returns those it has, each checked. more says that the
// answer was cut at its limit: ask again for the rest. A peer that answers with
// wrong bytes is banned. Errors wrap ErrBusy, ErrUnable or ctx's.
func (h *Host) Request(ctx context.Context, to peer.ID, cids []cid.Cid) (items []Item, more bool, err error) {
	if err := validateRequest(cids); err != nil {
		return nil, false, fmt.Errorf("p2p: request: %w", err)
	}
	last, err := h.exchange(ctx, to, [][]byte{encodeRequest(cids)}, func(s network.Stream) (e ending, err error) {
		items, e, err = readItems(s, cids)
		return e, err
	})
	if err != nil {
		return items, false, fmt.Errorf("p2p: request to %s: %w", to, err)
	}
	return items, last.status == endMore, nil
}

// readItems reads objects up to the end frame. Each has requestTimeout to come.
func readItems(stream network.Stream, cids []cid.Cid) (items []Item, end ending, err error) {
	wanted := make(map[cid.Cid]bool, len(cids))
	for _, c := range cids {
		wanted[c] = true
	}
	bytes := 0
	for {
		stream.SetReadDeadline(time.Now().Add(requestTimeout))
		kind, body, err := readAnyFrame(stream, itemFrameMax)
		switch {
		case err != nil:
			return items, ending{}, err
		case kind == frameEnd:
			end, err = decodeEnd(body)
			return items, end, err
		case kind != frameItem:
			return items, ending{}, frameError("kind %d in an answer to a request", kind)
		}
		item, err := decodeItem(body)
		if err != nil {
			return items, ending{}, err
		}
		if !wanted[item.CID] {
			return items, ending{}, frameError("%s was not asked for, or twice", item.CID)
		}
		delete(wanted, item.CID)
		bytes += len(item.Data)
		if len(items) == itemsMax || (len(items) > 0 && bytes > itemsBytesMax) {
			return items, ending{}, frameError("an answer of more than %d objects or %d bytes", itemsMax, itemsBytesMax)
		}
		items = append(items, item)
	}
}

// Fetch gets objects by CID from whoever has them: first from the peer who
// spoke of them, then from other connected peers at random, validators first,
// then from those the DHT knows. Who breaks off is asked once more. It returns
// what it found; objects still missing make the error an ErrNotFound, or ctx's.
func (h *Host) Fetch(ctx context.Context, from peer.ID, cids []cid.Cid) ([]Item, error) {
	for _, c := range cids {
		if err := checkable(c); err != nil {
			return nil, fmt.Errorf("p2p: fetch: %w", err)
		}
	}
	missing := slices.Clone(cids)
	var found []Item
	var broke error
	for turn, peers := 0, h.fetchOrder(from); turn < fetchTurns && len(peers) > 0; turn++ {
		found, missing, peers, broke = h.fetchFromAll(ctx, peers, found, missing)
	}
	if len(missing) > 0 && ctx.Err() == nil && h.finder != nil {
		found, missing = h.fetchFromProviders(ctx, found, missing)
	}
	if len(missing) == 0 {
		return found, nil
	}
	if ctx.Err() != nil {
		return found, fmt.Errorf("p2p: fetch: %d of %d objects missing: %w", len(missing), len(cids), ctx.Err())
	}
	err := fmt.Errorf("%w: %d of %d objects", ErrNotFound, len(missing), len(cids))
	if broke != nil {
		err = fmt.Errorf("%w; a peer that may have them failed: %w", err, broke)
	}
	return found, err
}

// fetchFromAll asks peers in turn for what is missing. It returns those whose
// answers broke off, and how the last of them did: they may have the rest.
func (h *Host) fetchFromAll(ctx context.Context, peers []peer.ID, found []Item, missing []cid.Cid) (_ []Item, _ []cid.Cid, broken []peer.ID, broke error) {
	for _, p := range peers {
		if len(missing) == 0 || ctx.Err() != nil {
			break
		}
		var err error
		if found, missing, err = h.fetchFrom(ctx, p, found, missing); err != nil {
			broken, broke = append(broken, p), err
		}
	}
	return found, missing, broken, broke
}

// fetchOrder is whom to ask: from, then up to fetchPeersMax others at random.
func (h *Host) fetchOrder(from peer.ID) []peer.ID {
	var validators, others []peer.ID
	for _, p := range h.Peers() {
		switch {
		case p.ID == from:
		case p.Validator:
			validators = append(validators, p.ID)
		default:
			others = append(others, p.ID)
		}
	}
	for _, list := range [][]peer.ID{validators, others} {
		rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	}
	order := append(validators, others...)
	order = order[:min(len(order), fetchPeersMax)]
	if from != "" && from != h.host.ID() {
		order = append([]peer.ID{from}, order...)
	}
	return order
}

// fetchFrom asks one peer for all that is missing, in batches, for as long as
// it has something new.
func (h *Host) fetchFrom(ctx context.Context, p peer.ID, found []Item, missing []cid.Cid) ([]Item, []cid.Cid, error) {
	var absent []cid.Cid // this peer does not have them
	for len(missing) > 0 {
		batch := missing[:min(len(missing), requestCIDsMax)]
		items, more, err := h.Request(ctx, p, batch)
		found = append(found, items...)
		got := make(map[cid.Cid]bool, len(items))
		for _, i := range items {
			got[i.CID] = true
		}
		rest := slices.DeleteFunc(slices.Clone(batch), func(c cid.Cid) bool { return got[c] })
		missing = missing[len(batch):]
		if err != nil {
			return found, slices.Concat(absent, rest, missing), err
		}
		if more && len(items) > 0 {
			missing = slices.Concat(rest, missing)
		} else {
			absent = append(absent, rest...)
		}
	}
	return found, absent, nil
}

func (h *Host) fetchFromProviders(ctx context.Context, found []Item, missing []cid.Cid) ([]Item, []cid.Cid) {
	providers, err := h.FindProviders(ctx, missing[0], fetchPeersMax)
	if err != nil {
		h.log.Debug("no providers found", "cid", missing[0], "err", err)
	}
	for _, p := range providers {
		if len(missing) == 0 || ctx.Err() != nil {
			break
		}
		dialling, dialled := context.WithTimeout(ctx, h.config.DialTimeout)
		err := h.host.Connect(dialling, p)
		dialled()
		if err == nil {
			found, missing, _ = h.fetchFrom(ctx, p.ID, found, missing) // the next may have the rest
		}
	}
	return found, missing
}
