package p2p

import (
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// offence is something a peer did that costs us, with its price in points.
// Points fade, banPoints of them at once are a ban.
type offence struct {
	what   string
	points float64
}

const (
	banPoints = 100
	// pointsFadePerSecond lets a peer that errs now and then go on for ever.
	pointsFadePerSecond = 1
	banFirst            = 30 * time.Second
	banMax              = time.Hour
	// offendersMax bounds the table; new identities are free to make, so the one
	// that has been quiet for longest makes room.
	offendersMax = 4096
)

var (
	offenceFrame     = offence{"malformed frame", banPoints}
	offenceInvalid   = offence{"invalid block", banPoints}
	offenceWrongCID  = offence{"answer that does not match its CID", banPoints}
	offenceGossip    = offence{"invalid gossip message", 10}
	offenceRecord    = offence{"forged DHT record", 25}
	offenceStreams   = offence{"more streams than allowed", 5}
	offenceTopics    = offence{"subscription to foreign topics", banPoints}
	offenceStalled   = offence{"stream neither read nor written", 40}
	offenceRequests  = offence{"requests above the allowed rate", 2}
	offenceUnallowed = offence{"validators' stream opened by a stranger", 20}
	offenceReported  = offence{"reported by the caller", banPoints}
)

// scores remembers who offended and who is banned. A ban is bound to the peer
// id, so it survives reconnects; it doubles each time, and a peer that behaves
// for as long as its last ban begins anew.
type scores struct {
	mu        sync.Mutex
	offenders map[peer.ID]*offender
}

type offender struct {
	points  float64
	at      time.Time // points are as of then
	until   time.Time // banned until
	banTime time.Duration
	reason  string
}

func newScores() *scores { return &scores{offenders: make(map[peer.ID]*offender)} }

// add books an offence and reports whether it starts a ban, and for how long.
func (s *scores) add(p peer.ID, o offence, now time.Time) (banned bool, banTime time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.offenders[p]
	if e == nil {
		s.makeRoom()
		e = &offender{at: now}
		s.offenders[p] = e
	}
	e.points = max(0, e.points-now.Sub(e.at).Seconds()*pointsFadePerSecond) + o.points
	e.at = now
	if e.points < banPoints || now.Before(e.until) {
		return false, 0
	}
	if now.After(e.until.Add(e.banTime)) {
		e.banTime = 0
	}
	e.banTime = min(max(banFirst, 2*e.banTime), banMax)
	e.until = now.Add(e.banTime)
	e.points, e.reason = 0, o.what
	return true, e.banTime
}

// banned reports whether the peer is refused now, why and until when.
func (s *scores) banned(p peer.ID, now time.Time) (bool, string, time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.offenders[p]
	if e == nil || !now.Before(e.until) {
		return false, "", time.Time{}
	}
	return true, e.reason, e.until
}

func (s *scores) makeRoom() {
	if len(s.offenders) < offendersMax {
		return
	}
	var oldest peer.ID
	var at time.Time
	for p, e := range s.offenders { // order: the least is the least in any order
		last := e.at
		if e.until.After(last) {
			last = e.until
		}
		if at.IsZero() || last.Before(at) {
			oldest, at = p, last
		}
	}
	delete(s.offenders, oldest)
}
