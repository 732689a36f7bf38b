package p2p

import (
	"fmt"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

func TestScores(t *testing.T) {
	now := time.Unix(1000, 0)
	s := newScores()
	small := offence{"small", 40}
	for i, want := range []bool{false, false, true} {
		if banned, _ := s.add("p", small, now); banned != want {
			t.Errorf("offence %d: banned %v", i, banned)
		}
	}
	if b, why, until := s.banned("p", now.Add(banFirst-1)); !b || why != "small" || !until.Equal(now.Add(banFirst)) {
		t.Errorf("%v %q %v", b, why, until)
	}
	if b, _, _ := s.banned("p", now.Add(banFirst)); b {
		t.Error("the ban does not end")
	}
	// Points fade: one offence a minute is forgiven for ever.
	for i := range 100 {
		if banned, _ := s.add("q", small, now.Add(time.Duration(i)*time.Minute)); banned {
			t.Fatal("banned for one small offence a minute")
		}
	}
	// The next ban is longer, until the peer has behaved for as long as the last.
	at := now.Add(banFirst)
	if _, length := s.add("p", offenceFrame, at); length != 2*banFirst {
		t.Errorf("second ban %v", length)
	}
	if _, length := s.add("p", offenceFrame, at.Add(5*banFirst)); length != banFirst {
		t.Errorf("ban after good behaviour %v", length)
	}
	for range 20 {
		_, _, until := s.banned("p", at.Add(5*banFirst))
		if until.IsZero() {
			until = at.Add(5 * banFirst)
		}
		at = until.Add(time.Second).Add(-5 * banFirst)
		if _, length := s.add("p", offenceFrame, until.Add(time.Second)); length > banMax {
			t.Errorf("ban of %v", length)
		}
	}
}

func TestOffendersAreBounded(t *testing.T) {
	s := newScores()
	now := time.Unix(1000, 0)
	s.add("banned", offenceFrame, now)
	for i := range offendersMax + 200 {
		s.add(peer.ID(fmt.Sprint(i)), offenceStreams, now.Add(time.Duration(i)*time.Millisecond))
	}
	if len(s.offenders) > offendersMax {
		t.Errorf("%d offenders", len(s.offenders))
	}
	if b, _, _ := s.banned("banned", now.Add(5*time.Second)); !b {
		t.Error("others' offences have ended a ban")
	}
}

func TestBucket(t *testing.T) {
	now := time.Unix(0, 0)
	b := newBucket(10, 5, now)
	for i := range 5 {
		if !b.take(1, now) {
			t.Fatalf("token %d is not there", i)
		}
	}
	if b.take(1, now) || b.wait(1) != 100*time.Millisecond {
		t.Errorf("more than the burst, or to wait %v", b.wait(1))
	}
	if !b.take(1, now.Add(100*time.Millisecond)) || b.take(1, now.Add(100*time.Millisecond)) {
		t.Error("a tenth of a second is not one token")
	}
	if b.take(6, now.Add(time.Hour)) {
		t.Error("more than the burst after an hour")
	}
}
