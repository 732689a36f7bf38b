package faucet

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/fxamacker/cbor/v2"

	"github.com/holdfast-mesh/holdfast/node/ledger"
	"github.com/holdfast-mesh/holdfast/storage"
)

// The journal is a store:
//
//	gift/<number 8>  a record, in CBOR; numbers ascend in the order of signing
//	wallet           whose gifts they are: network and account
const (
	prefixGift = "gift/"
	keyWallet  = "wallet"
)

// gift is one gift. Its operation is kept until its end is known.
type gift struct {
	number uint64
	to     ledger.Account
	timeMs int64  // when it was signed
	nonce  uint64 // of the operation
	raw    []byte // the signed operation; nil once it has ended
	// expiresMs is the commit time after which raw never executes.
	expiresMs int64
	id        ledger.Digest
}

func (g *gift) open() bool { return g.raw != nil }

// record is a gift on disk.
type record struct {
	To        []byte `cbor:"to"`
	TimeMs    int64  `cbor:"time_ms"`
	Nonce     uint64 `cbor:"nonce"`
	Op        []byte `cbor:"op"` // the operation while it is open, then its digest
	ExpiresMs int64  `cbor:"expires_ms,omitempty"`
}

var errJournal = errors.New("the faucet's journal is damaged: move it away only if you accept that everybody may ask again")

func giftKey(number uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte(prefixGift), number)
}

func (g *gift) encode() []byte {
	r := record{To: g.to[:], TimeMs: g.timeMs, Nonce: g.nonce, Op: g.id[:]}
	if g.open() {
		r.Op, r.ExpiresMs = g.raw, g.expiresMs
	}
	b, err := cbor.Marshal(r)
	if err != nil {
		panic("faucet: invariant broken: a record can be encoded: " + err.Error())
	}
	return b
}

func decodeGift(key, value []byte) (*gift, error) {
	var r record
	if err := cbor.Unmarshal(value, &r); err != nil {
		return nil, fmt.Errorf("%w: %w", errJournal, err)
	}
	if len(key) != len(prefixGift)+8 || len(r.To) != len(ledger.Account{}) || len(r.Op) < len(ledger.Digest{}) {
		return nil, errJournal
	}
	g := &gift{number: binary.BigEndian.Uint64(key[len(prefixGift):]), to: ledger.Account(r.To), timeMs: r.TimeMs, nonce: r.Nonce, expiresMs: r.ExpiresMs}
	if r.ExpiresMs == 0 {
		g.id = ledger.Digest(r.Op)
	} else {
		g.raw, g.id = r.Op, sha256.Sum256(r.Op)
	}
	return g, nil
}

// write makes a change durable.
func (f *Faucet) write(change func(*storage.Batch)) error {
	var b storage.Batch
	change(&b)
	if err := f.store.Write(&b); err != nil {
		return fmt.Errorf("the faucet's journal: %w", err)
	}
	return nil
}

// read brings back what the journal holds.
func (f *Faucet) read() error {
	owner := append(f.cfg.Network[:], f.self[:]...)
	there, err := f.store.Get([]byte(keyWallet))
	switch {
	case errors.Is(err, storage.ErrNotFound):
		if err := f.write(func(b *storage.Batch) { b.Set([]byte(keyWallet), owner) }); err != nil {
			return err
		}
	case err != nil:
		return err
	case string(there) != string(owner):
		return fmt.Errorf("%s is the journal of another wallet or network: choose another directory", f.cfg.Dir)
	}
	for entry, err := range f.store.Scan(storage.Prefix([]byte(prefixGift))) {
		if err != nil {
			return err
		}
		g, err := decodeGift(entry.Key, append([]byte(nil), entry.Value...))
		if err != nil {
			return err
		}
		f.enter(g)
	}
	return nil
}
