package testnet

import (
	"crypto/ed25519"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/holdfast-mesh/holdfast/node/ledger"
)

// signer is an account that signs operations. Any number of goroutines may use it.
type signer struct {
	key     ed25519.PrivateKey
	account ledger.Account
	network ledger.Digest

	mu   sync.Mutex // guards last
	last uint64     // nonce
}

func newSigner(key ed25519.PrivateKey, network ledger.Digest) *signer {
	return &signer{key: key, account: ledger.AccountOf(key), network: network}
}

// nonce is the time in milliseconds, or the next number if that is used.
func (s *signer) nonce(nowMs int64) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = max(s.last+1, uint64(nowMs))
	return s.last
}

// sign makes an operation of one action; a window of 0 is the ledger's default.
func (s *signer) sign(a ledger.Action, windowMs int64) (raw []byte, id ledger.Digest, err error) {
	now := time.Now().UnixMilli()
	raw, err = ledger.Draft{
		Network: s.network, Account: s.account, Nonce: s.nonce(now), TimeMs: now, WindowMs: windowMs,
		Actions: []ledger.Action{a},
	}.Sign(s.key)
	if err != nil {
		return nil, id, fmt.Errorf("testnet: signing: %w", err)
	}
	u, err := ledger.DecodeOp(raw)
	if err != nil {
		return nil, id, fmt.Errorf("testnet: reading what was signed: %w", err)
	}
	return raw, u.ID(), nil
}

// orderName is a client's own name for its nth order.
func orderName(client, n int) string { return "c" + strconv.Itoa(client) + "-" + strconv.Itoa(n) }
