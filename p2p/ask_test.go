package p2p

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// askedAndAnswering are two connected hosts, of which the second answers.
func askedAndAnswering(t *testing.T, answer func(context.Context, peer.ID, []byte) ([]byte, error)) (a, b *peerUnderTest) {
	t.Helper()
	all := startCommittee(t, 2, nil, nil)
	all[1].shelf.mu.Lock()
	all[1].shelf.answer = answer
	all[1].shelf.mu.Unlock()
	eventually(t, "connected", func() bool { return streamsAll(all) })
	return all[0], all[1]
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

func TestQuestionsOfEverySizeAreAnswered(t *testing.T) {
	a, b := askedAndAnswering(t, func(_ context.Context, _ peer.ID, q []byte) ([]byte, error) {
		return append([]byte(nil), q...), nil
	})
	for _, n := range []int{0, 1, pieceBytes, pieceBytes + 1, 1 << 20, QuestionBytesMax} {
		q := randomBytes(n)
		got, err := a.Ask(testContext(t), b.ID(), q)
		if err != nil || !bytes.Equal(got, q) {
			t.Errorf("%d bytes: %d came back, %v", n, len(got), err)
		}
	}
	if _, err := a.Ask(testContext(t), b.ID(), make([]byte, QuestionBytesMax+1)); err == nil {
		t.Error("a question over the limit is sent")
	}
}

func TestServerKnowsWhoAsks(t *testing.T) {
	a, b := askedAndAnswering(t, func(_ context.Context, from peer.ID, _ []byte) ([]byte, error) {
		return []byte(from), nil
	})
	if got, err := a.Ask(testContext(t), b.ID(), nil); err != nil || peer.ID(got) != a.ID() {
		t.Errorf("%x, %v", got, err)
	}
}

// A peer that cannot answer says so, and neither side thinks ill of the other.
func TestUnableIsNoOffence(t *testing.T) {
	a, b := askedAndAnswering(t, func(_ context.Context, _ peer.ID, q []byte) ([]byte, error) {
		if len(q) > 1 {
			return make([]byte, AnswerBytesMax+1), nil
		}
		return nil, errors.New("the disk is on fire")
	})
	for _, q := range []string{"?", "too much?"} {
		if _, err := a.Ask(testContext(t), b.ID(), []byte(q)); !errors.Is(err, ErrUnable) {
			t.Errorf("%q: %v", q, err)
		}
	}
	for _, h := range []*peerUnderTest{a, b} {
		if len(h.scores.offenders) > 0 {
			t.Errorf("offences are booked: %v", h.scores.offenders)
		}
	}
}

func TestAskEndsWithItsContext(t *testing.T) {
	asked := make(chan struct{})
	a, b := askedAndAnswering(t, func(ctx context.Context, _ peer.ID, _ []byte) ([]byte, error) {
		close(asked)
		<-ctx.Done() // until the host ends, which waits for this
		return nil, ctx.Err()
	})
	ctx, cancel := context.WithCancel(testContext(t))
	go func() { <-asked; cancel() }()
	if _, err := a.Ask(ctx, b.ID(), []byte("?")); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	_, stranger := testIdentity(t)
	if _, err := a.Ask(testContext(t), stranger, []byte("?")); err == nil {
		t.Error("a peer that is not connected answers")
	}
}

// An asker of a long question that is refused hears so, though nobody reads it.
func TestBusyIsHeardBeforeALongQuestionIsRead(t *testing.T) {
	a, b := askedAndAnswering(t, func(context.Context, peer.ID, []byte) ([]byte, error) { return []byte("!"), nil })
	b.serving.mu.Lock()
	b.serving.open = servingMax
	b.serving.mu.Unlock()
	ctx, cancel := context.WithCancel(testContext(t))
	defer cancel()
	refused := make(chan error)
	go func() {
		_, err := a.Ask(ctx, b.ID(), make([]byte, QuestionBytesMax))
		refused <- err
	}()
	eventually(t, "busy is heard", func() bool { return testutil.ToFloat64(a.meter.fetches) > 1 })
	b.serving.mu.Lock()
	b.serving.open = 0
	b.serving.mu.Unlock()
	if err := <-refused; err != nil {
		t.Error(err)
	}
	if _, guilty := b.scores.offenders[a.ID()]; guilty {
		t.Error("the one who is refused for others' sake is booked for it")
	}
}

// However much a caller asks at once, its host asks no more than the peer allows.
func TestHonestAskersAreNotRefused(t *testing.T) {
	a, b := askedAndAnswering(t, func(_ context.Context, _ peer.ID, q []byte) ([]byte, error) { return q, nil })
	const askers, each = 40, 8
	failed := make(chan error, askers)
	for range askers {
		go func() {
			var err error
			for range each {
				_, e := a.Ask(testContext(t), b.ID(), []byte("?"))
				err = errors.Join(err, e)
			}
			failed <- err
		}()
	}
	for range askers {
		if err := <-failed; err != nil {
			t.Error(err)
		}
	}
	if n := testutil.ToFloat64(b.meter.throttled); n > 0 {
		t.Errorf("%v requests were refused", n)
	}
}

// A crowd of strangers cannot keep validators from being answered.
func TestStrangersLeaveRoomToValidators(t *testing.T) {
	s := newTurnstile(1, servingMax, servingPerPeer)
	now := time.Now()
	for i := range servingMax {
		_, stranger := testIdentity(t)
		if way, _ := s.enter(stranger, false, now); (way == passed) != (i < servingMax/2) {
			t.Fatalf("stranger %d: %d", i, way)
		}
	}
	_, validator := testIdentity(t)
	for i := range servingPerPeer + 1 {
		want := passed
		if i == servingPerPeer {
			want = tooMany
		}
		if way, _ := s.enter(validator, true, now); way != want {
			t.Fatalf("request %d of a validator: %d", i, way)
		}
	}
}
