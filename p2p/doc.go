// Package p2p carries bytes between peers: streams, requests, gossip, DHT, healing.
//
// It knows peers, bytes and protocols; nothing of blocks or orders. A caller
// opens a host, gives it what it serves, and reads what happened to its peers:
//
//	config := p2p.DefaultConfig()
//	config.Identity, config.Network = key, network
//	config.Committee = validators
//	config.Blocks, config.Server = node, node
//	host, err := p2p.Open(config)
//	if err != nil {
//		return err
//	}
//	defer host.Close()
//	return host.Run(ctx)
//
// # Ways
//
// Streams carry validators' blocks. Every validator asks every other for its
// stream and says which rounds it has; the other sends what it makes with
// Broadcast from then on, and what was missed out of the caller's Backlog. A
// slow receiver costs a bounded queue, never a block: what does not fit comes
// from Backlog later. Others' blocks, given to Offer, go to followers at once
// and to validators that have not shown to have them, so that two validators
// with a broken link between them still have each other's blocks.
//
// Requests (Request, Fetch) get objects by CID: Request from one peer, Fetch from
// whoever has them. Answers are checked against their CIDs, and peers that lie
// are banned.
//
// Questions (Ask) carry the caller's own protocol: bytes to one peer, bytes back.
// The peer's Server answers, or says that it is unable to:
//
//	answer, err := host.Ask(ctx, peer, question)
//	if err != nil {
//		return err // ErrUnable, ErrBusy, a broken link: ask another
//	}
//	if err := check(answer); err != nil {
//		host.Punish(peer, "wrong answer") // nobody else can tell
//	}
//
// Streams of the caller's own protocols (Handle, Dial) are connections like any other,
// but the peer at the other end is proven.
//
// Gossip (Join, Publish) reaches whoever listens, with no promise. Validators join
// the blocks' topic to publish alone, observers to listen.
//
// The DHT (PutRecord, GetRecord, Provide, FindProviders) finds records, holders
// of objects and peers, in the background.
//
// # Life and death
//
// A loop dials every second whoever should be connected and is not: the
// validators, the peers of the bundle, and peers of an address book on disk as
// long as peers, or peers of some provider, are wanting. A heartbeat finds
// peers that are cut off within two seconds. Peers whom the library's gossip has
// forgotten are connected anew. Nothing else is needed to be whole
// again after a cut of any length, not even the bootstrap peers.
//
// What peers may cost is bounded: frames, streams, queues, requests, records,
// tables. A peer that does what no honest peer does is cut off and refused for
// a time, under its proven id.
package p2p
