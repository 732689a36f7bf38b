package replica

import (
	"github.com/holdfast-mesh/holdfast/node/ledger"
)

// batchOf is a commit as the ledger takes it.
func batchOf(c *Commit) ledger.Batch {
	return ledger.Batch{Index: c.Index, Digest: ledger.Digest(c.Digest), TimeMs: c.TimeMs, Ops: c.Ops}
}

// writeChunks hands a state's snapshot to put in chunks of exactly
// chunkBytesMax, but for the last: its own chunks can be longer by a record.
func writeChunks(l *ledger.Ledger, put func(chunk []byte) error) error {
	w := l.Snapshot()
	var rest []byte
	for more := true; more; {
		rest, more = w.AppendChunk(rest)
		for len(rest) > chunkBytesMax || !more && len(rest) > 0 {
			n := min(len(rest), chunkBytesMax)
			if err := put(append([]byte(nil), rest[:n]...)); err != nil {
				return err
			}
			rest = append(rest[:0], rest[n:]...)
		}
	}
	return nil
}
