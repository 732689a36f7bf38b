//go:build !linux

package faults

// segmentBytes is 0: only Linux cuts a write into packets.
func segmentBytes([]byte) int { return 0 }

// withoutSegmentBytes returns oob: there is nothing to take out.
func withoutSegmentBytes(oob []byte) []byte { return oob }
