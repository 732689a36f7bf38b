package main

import (
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"
)

// Whoever signs with a wallet at the same moment gets another nonce.
func TestNoncesDiffer(t *testing.T) {
	path := filepath.Join(t.TempDir(), "alice"+walletSuffix)
	now := time.Now()
	var got [20]uint64
	var work sync.WaitGroup
	for i := range got {
		work.Go(func() { got[i] = takeNonce(t.Context(), path, now) })
	}
	work.Wait()
	slices.Sort(got[:])
	for i, n := range got {
		if want := uint64(now.UnixMilli()) + uint64(i); n != want {
			t.Fatalf("nonces %v from %d on", got, now.UnixMilli())
		}
	}
	if later := now.Add(time.Second); takeNonce(t.Context(), path, later) != uint64(later.UnixMilli()) {
		t.Error("the clock is not followed when it has gone on")
	}
}

// What the file says is no reason not to sign.
func TestNonceWithoutItsFile(t *testing.T) {
	dir := t.TempDir()
	now := time.Now()
	want := uint64(now.UnixMilli())
	for _, text := range []string{"", "rubbish", "-1", "99999999999999999", "18446744073709551615"} {
		if err := os.WriteFile(filepath.Join(dir, "a"+nonceSuffix), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := takeNonce(t.Context(), filepath.Join(dir, "a"+walletSuffix), now); got != want {
			t.Errorf("%q: %d", text, got)
		}
	}
	if got := takeNonce(t.Context(), filepath.Join(dir, "nowhere", "a"+walletSuffix), now); got != want {
		t.Errorf("without its directory: %d", got)
	}
}
