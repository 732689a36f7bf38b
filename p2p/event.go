package p2p

import (
	"fmt"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// EventKind says what happened to a peer.
type EventKind int

const (
	PeerUp      EventKind = iota + 1 // the first connection stands
	PeerDown                         // the last connection is gone
	PathChanged                      // connected as before, another way
	PeerBanned                       // refused for a time, see Reason
)

func (k EventKind) String() string {
	switch k {
	case PeerUp:
		return "peer up"
	case PeerDown:
		return "peer down"
	case PathChanged:
		return "path changed"
	case PeerBanned:
		return "peer banned"
	}
	return fmt.Sprintf("event %d", int(k))
}

// Path is the kind of way the packets of a connection take.
type Path string

const (
	PathQUIC    Path = "quic"
	PathTCP     Path = "tcp"
	PathRelayed Path = "relayed" // through another peer; limited in time and bytes
	PathNone    Path = ""
)

// Notice says how the end of a peer was noticed.
type Notice string

const (
	NoticedByBeat  Notice = "heartbeat" // it was silent for Config.DeadAfter
	NoticedByClose Notice = "close"     // it, or the transport, closed the connection
	NoticedByUs    Notice = "ours"      // we closed it: a ban, or the end of the host
)

// Event is one thing that happened to a peer.
type Event struct {
	Kind   EventKind
	Peer   peer.ID
	Path   Path   // the way now, or until now
	Addr   string // the multiaddr behind it
	Reason string // why it is down or banned, for a person
	Notice Notice // how a PeerDown was noticed
	At     time.Time
}

// eventsMax bounds the events nobody has read. A caller that is a thousand
// behind does better to look at Peers.
const eventsMax = 1024

// eventQueue keeps the newest events for a caller who reads at his own pace.
type eventQueue struct {
	mu      sync.Mutex
	waiting []Event
	dropped uint64
	wake    chan struct{}
}

func newEventQueue() *eventQueue { return &eventQueue{wake: make(chan struct{}, 1)} }

func (q *eventQueue) push(e Event) {
	q.mu.Lock()
	if len(q.waiting) >= eventsMax {
		q.waiting = q.waiting[1:]
		q.dropped++
	}
	q.waiting = append(q.waiting, e)
	q.mu.Unlock()
	signal(q.wake)
}

func (q *eventQueue) take() (events []Event, dropped uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	events, dropped = q.waiting, q.dropped
	q.waiting, q.dropped = nil, 0
	return events, dropped
}

// signal wakes the one who waits on a channel of capacity one, without waiting.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
