//go:build !unix

package node

// filesMax is how many files this process may have open: not known here.
func filesMax() (n uint64, known bool) { return 0, false }
