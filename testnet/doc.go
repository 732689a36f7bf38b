// Package testnet starts, hurts, watches and judges networks of real nodes.
//
// A caller brings a network up, hurts it, heals it, and takes it down:
//
//	n, err := testnet.Up(ctx, testnet.DefaultConfig())
//	if err != nil {
//		return err
//	}
//	defer n.Down()
//	err = n.Do(ctx, testnet.Fault{Kind: testnet.Cut, From: []string{"aws"}})
//
// or has a scenario do all of that under load and judge it:
//
//	verdict, err := testnet.Run(ctx, scenario, options)
//
// # Nodes
//
// Each node is a process of this same binary, on loopback, with a packet filter
// (package faults) under its QUIC socket. All it writes is below one directory. A
// node ends when its parent does, however that ends. With DriverDocker nodes are
// containers, which leave networks to be cut; the filters measure, and do nothing.
//
// # Proof
//
// A fault that did not bite proves nothing. While faults are in force the network
// is measured: every node sends numbered packets to every other through its own
// rules, and each direction's loss and delay are held against what the faults in
// force should do. What was not measured is inconclusive, never held.
//
// # Judgement
//
// A run writes down what clients asked and were told, and what nodes committed.
// The checkers read these files alone, so a run can be judged again later.
package testnet
