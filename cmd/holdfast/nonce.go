package main

import (
	"context"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/gofrs/flock"
)

const (
	// nonceSuffix ends the name of the file beside a wallet's key that holds the last
	// nonce it signed with.
	nonceSuffix = ".nonce"
	// nonceWait bounds how long other processes that sign are waited for.
	nonceWait = 5 * time.Second
	// nonceAheadMax is how far a wallet may sign ahead of its clock. A file that says
	// more is of a clock that was wrong.
	nonceAheadMax = time.Hour
)

// takeNonce returns a nonce for an operation that is signed now with the wallet at path:
// the time in milliseconds, or one more than the wallet's last. So a script that signs
// several at once does not have one of them refused as NONCE_USED. Where the wallet's
// directory cannot be written the time alone has to do.
func takeNonce(ctx context.Context, path string, now time.Time) uint64 {
	nonce := uint64(now.UnixMilli())
	path = strings.TrimSuffix(path, walletSuffix) + nonceSuffix
	ctx, cancel := context.WithTimeout(ctx, nonceWait)
	defer cancel()
	lock := flock.New(path, flock.SetPermissions(0o600))
	if ok, err := lock.TryLockContext(ctx, 5*time.Millisecond); err != nil || !ok {
		return nonce
	}
	defer lock.Unlock()
	text, _ := os.ReadFile(path)
	last, _ := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
	if last >= nonce && last < nonce+uint64(nonceAheadMax.Milliseconds()) {
		nonce = last + 1
	}
	_ = os.WriteFile(path, strconv.AppendUint(nil, nonce, 10), 0o600) // at worst the clock has to do next time
	return nonce
}
