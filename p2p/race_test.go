//go:build race

package p2p

// raceEnabled says that the race detector is on, under which nothing is simulated.
const raceEnabled = true
