package api

import (
	"context"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-mesh/holdfast/node/ledger"
)

// stuck is a node whose Submit hangs, whatever its context says.
type stuck struct {
	*fakeNode
	release chan struct{}
}

func (n stuck) Submit(ctx context.Context, ops [][]byte) ([]OpStatus, error) {
	<-n.release
	return n.fakeNode.Submit(ctx, ops)
}

// TestServeOutlivesItsHandlers: when Serve returns, nobody uses the backend.
func TestServeOutlivesItsHandlers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		config := testConfig()
		s, _ := servePiped(t, config)
		node := stuck{s.node, make(chan struct{})}
		s.server.backend = node
		go s.Submit(t.Context(), s.node.signed(t, "alice", limit(ledger.Sell, 10_000, 10_000)))
		synctest.Wait()
		s.stop()
		time.Sleep(10 * config.DrainTimeout)
		select {
		case <-s.ended:
			t.Fatal("Serve has returned while a handler waits for the backend")
		default:
		}
		close(node.release)
		if err := <-s.ended; err != nil {
			t.Error(err)
		}
		s.ended <- nil
		r, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "/v1/status", nil)
		s.server.backend = nil // whoever is late must not ask it
		w := &written{header: make(http.Header)}
		if s.server.Handler().ServeHTTP(w, r); w.status != http.StatusServiceUnavailable {
			t.Errorf("who is late is answered %d", w.status)
		}
	})
}
