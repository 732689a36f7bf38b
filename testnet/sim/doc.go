// Package sim runs many replicas in one goroutine and virtual time, from one seed.
//
// The network, the disks, the clocks and the liars are its own; replica, dag and
// ledger are the product's:
//
//	s := sim.New(sim.Config{Seed: 7, Replicas: 4})
//	for s.Step() {
//	}
//	report := s.Report()
//
// A seed replays to the byte.
package sim
