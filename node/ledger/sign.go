package ledger

import (
	"crypto/ed25519"
	"errors"

	voi "github.com/oasisprotocol/curve25519-voi/primitives/ed25519"
)

// Default windows of the client libraries. A stale order should die, a stale
// wish to get out should not.
const (
	WindowMsDefault = 60_000
	WindowMsPatient = WindowMsMax // for ops that only cancel and withdraw
)

// ErrWrongKey says that a draft was to be signed by another account's key.
var ErrWrongKey = errors.New("ledger: the key is not the account's")

// AccountOf returns the account of a private key.
func AccountOf(key ed25519.PrivateKey) Account {
	return Account(key.Public().(ed25519.PublicKey))
}

// DefaultWindowMs returns the window the client libraries give to an op of
// these actions: a day when all of them cancel or withdraw, else a minute.
func DefaultWindowMs(actions []Action) int64 {
	for i := range actions {
		switch actions[i].Kind {
		case KindCancel, KindCancelAll, KindWithdraw, KindCancelWithdrawal:
		default:
			return WindowMsDefault
		}
	}
	return WindowMsPatient
}

// Sign returns the canonical bytes of the draft with the signature of key,
// which must be the account's. A WindowMs of zero is replaced by
// DefaultWindowMs; everything else stands as it is, and what the format cannot
// say is refused with ErrNotEncodable.
func (d Draft) Sign(key ed25519.PrivateKey) ([]byte, error) {
	if AccountOf(key) != d.Account {
		return nil, ErrWrongKey
	}
	if d.WindowMs == 0 {
		d.WindowMs = DefaultWindowMs(d.Actions)
	}
	u, err := d.encode(&unsigned)
	if err != nil {
		return nil, err
	}
	message := u.appendMessage(make([]byte, 0, len(u.raw)+len(signTag)+len(u.Network)))
	copy(u.raw[u.sigTo-SignatureBytes:u.sigTo], voi.Sign(voi.PrivateKey(key), message))
	return u.raw, nil
}

// unsigned stands for a signature until there is one. It is not zero, for the format
// leaves zeros out.
var unsigned = [SignatureBytes]byte{1}
