package replica

import (
	"encoding/binary"
	"iter"

	"github.com/holdfast-mesh/holdfast/node/dag"
)

// Store is what a replica reads: one validator's disk. It is written through
// Effects only. Reads see every batch that was made durable before. Values
// belong to the store and are not changed by anyone.
//
// An error says the disk cannot be read; a record that was never written, or
// was deleted, is no error. BuildSnapshot and Serve call a Store from other
// goroutines than Step, so the product's is safe for that.
type Store interface {
	Get(key []byte) (value []byte, ok bool, err error)
	// Scan goes through the keys with a prefix in ascending order, beginning
	// with the first that is not below from. A nil from begins with the first.
	Scan(prefix, from []byte) iter.Seq2[Record, error]
}

// Record is one change of a Store. A nil Value deletes the key.
type Record struct{ Key, Value []byte }

// The layout of a validator's disk. Numbers in keys are big endian, so that the
// order of keys is the order of rounds and of commits: what is written
// together lies together.
//
//	block/<epoch 8><round 8><author 2><digest 32>  the block's canonical bytes
//	commit/<index 8>                               dag.Commit, naming its blocks
//	checkpoint/<index 8>                           Certificate
//	manifest/<index 8>                             Manifest: the snapshot is complete
//	snapshot/<index 8><chunk 4>                    a chunk of a ledger's state
//	epoch/<epoch 8>                                the committee of an epoch
//	handover/<epoch 8>                             how it hands over to the next; kept for good
//	meta/network, meta/recover, meta/alarm         see the constants
//
// Other prefixes (intake/ and indexes) are the node's own.
const (
	prefixBlock      = "block/"
	prefixCommit     = "commit/"
	prefixCheckpoint = "checkpoint/"
	prefixManifest   = "manifest/"
	prefixSnapshot   = "snapshot/"
	prefixEpoch      = "epoch/"
	prefixHandover   = "handover/"

	keyNetwork = "meta/network" // the digest of the genesis this disk belongs to
	keyRecover = "meta/recover" // present while a lost disk keeps us from proposing
	keyAlarm   = "meta/alarm"   // why this validator stopped for good
)

func appendUint(key []byte, n uint64) []byte { return binary.BigEndian.AppendUint64(key, n) }

// blockKey names a stored block; all of its parts are in dag.Ref but the epoch.
func blockKey(epoch uint64, ref dag.Ref) []byte {
	k := roundKey(epoch, ref.Round)
	k = binary.BigEndian.AppendUint16(k, uint16(ref.Author))
	return append(k, ref.Digest[:]...)
}

// roundKey is where the blocks of a round begin.
func roundKey(epoch, round uint64) []byte {
	k := make([]byte, 0, len(prefixBlock)+8+8+2+len(dag.Digest{}))
	return appendUint(appendUint(append(k, prefixBlock...), epoch), round)
}

// epochPrefix is what the keys of an epoch's blocks begin with.
func epochPrefix(epoch uint64) []byte { return roundKey(epoch, 0)[:len(prefixBlock)+8] }

// parseBlockKey is the inverse of blockKey; ok is false for any other key.
func parseBlockKey(key []byte) (epoch uint64, ref dag.Ref, ok bool) {
	if len(key) != len(prefixBlock)+18+len(ref.Digest) || string(key[:len(prefixBlock)]) != prefixBlock {
		return 0, ref, false
	}
	rest := key[len(prefixBlock):]
	epoch = binary.BigEndian.Uint64(rest)
	ref.Round = binary.BigEndian.Uint64(rest[8:])
	ref.Author = dag.Author(binary.BigEndian.Uint16(rest[16:]))
	copy(ref.Digest[:], rest[18:])
	return epoch, ref, true
}

// indexKey names a record that is kept by its commit's index or by its epoch.
func indexKey(prefix string, n uint64) []byte {
	return appendUint(append(make([]byte, 0, len(prefix)+8), prefix...), n)
}

// parseIndexKey is the inverse of indexKey.
func parseIndexKey(prefix string, key []byte) (uint64, bool) {
	if len(key) != len(prefix)+8 || string(key[:len(prefix)]) != prefix {
		return 0, false
	}
	return binary.BigEndian.Uint64(key[len(prefix):]), true
}

func chunkKey(index uint64, chunk uint32) []byte {
	k := make([]byte, 0, len(prefixSnapshot)+12)
	return binary.BigEndian.AppendUint32(appendUint(append(k, prefixSnapshot...), index), chunk)
}

func parseChunkKey(key []byte) (index uint64, chunk uint32, ok bool) {
	if len(key) != len(prefixSnapshot)+12 || string(key[:len(prefixSnapshot)]) != prefixSnapshot {
		return 0, 0, false
	}
	rest := key[len(prefixSnapshot):]
	return binary.BigEndian.Uint64(rest), binary.BigEndian.Uint32(rest[8:]), true
}
