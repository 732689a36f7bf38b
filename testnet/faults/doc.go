// Package faults puts packet-level faults under a node's QUIC socket: drop, delay,
// jitter, duplicate, reorder and rate, either way, per remote node.
//
// A process that may be hurt makes its sockets through a Filter and lets others
// command it over a unix socket:
//
//	filter := faults.New(seed)
//	server, err := faults.Listen(path, filter)
//	if err != nil {
//		return err
//	}
//	defer server.Close()
//	config.ListenUDP = filter.ListenUDP
//
// or leaves all of that to FromEnvironment, which does nothing unless a testnet
// started the process. Who commands it dials the same path:
//
//	client, err := faults.Dial(ctx, path)
//	err = client.Set(ctx, faults.Table{"127.0.0.1:4001": {Drop: 1}})
//
// # What a fault is
//
// A remote node is named by the addresses its packets go to. A packet that a rule
// drops vanishes: nobody is told, nothing is closed. A batch that QUIC hands to
// the kernel in one piece is taken apart first, so that every packet has a fate
// of its own. Chance comes from the seed and the remote's address.
//
// # Proof
//
// Probe sends numbered packets from the node's own socket through its own rules;
// the filter of the remote takes them out of what QUIC reads and counts them. So
// what a rule does to a direction is measured where QUIC would have noticed it.
//
// # Speed
//
// A Socket embeds *net.UDPConn and has its batched and segmented writes and reads,
// so QUIC keeps its fast path. A remote without a rule costs a map look-up and an
// atomic addition a packet.
package faults
