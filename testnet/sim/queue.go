package sim

import "time"

// event is one thing that happens at one moment of virtual time.
type event struct {
	at     time.Duration // since the start of the run
	seq    uint64        // orders events of one moment: first scheduled, first served
	kind   eventKind
	node   int32       // whom it concerns: a node, a client or a fault, as its kind says
	life   uint32      // the life of the node it was meant for: a crash voids it
	from   int32       // the sender of a delivery; of a fault 0 when it begins, 1 when it ends
	msg    *message    // of a delivery
	sub    *submission // of what passes between clients and gateways
	answer *answer     // of evAnswer
}

// eventKind says what an event does.
type eventKind uint8

const (
	evDeliver  eventKind = iota // a message reaches a node
	evSynced                    // a node's batch is durable
	evWake                      // a replica asked to be woken
	evBeat                      // a node's heartbeat is due
	evSnapshot                  // a snapshot made beside the loop is finished
	evFault                     // a fault of the plan begins or ends
	evLiar                      // a liar does something of its own accord
	evClient                    // a client acts
	evSubmit                    // an operation reaches a gateway
	evAsk                       // a client's question about one reaches a gateway
	evAnswer                    // an answer reaches a client
	evHealed                    // the last fault has ended
	evLook                      // is all well again?
	evVerdict                   // it should be
	eventKinds
)

// queue is the order of events: by time, and at one time as they were scheduled.
// It is a binary heap of values, so a run allocates nothing for its events.
type queue struct {
	heap []event
	seq  uint64
}

// push schedules e; its seq is set here.
func (q *queue) push(e event) {
	q.seq++
	e.seq = q.seq
	q.heap = append(q.heap, e)
	i := len(q.heap) - 1
	for i > 0 {
		up := (i - 1) / 2
		if !e.before(&q.heap[up]) {
			break
		}
		q.heap[i] = q.heap[up]
		i = up
	}
	q.heap[i] = e
}

// pop removes the next event; ok is false when nothing will ever happen.
func (q *queue) pop() (e event, ok bool) {
	if len(q.heap) == 0 {
		return event{}, false
	}
	e = q.heap[0]
	last := len(q.heap) - 1
	moved := q.heap[last]
	q.heap[last] = event{}
	q.heap = q.heap[:last]
	if last > 0 {
		q.sink(&moved)
	}
	return e, true
}

// sink puts an event in the place of the first and everything in order.
func (q *queue) sink(e *event) {
	i := 0
	for {
		down := 2*i + 1
		if down >= len(q.heap) {
			break
		}
		if down+1 < len(q.heap) && q.heap[down+1].before(&q.heap[down]) {
			down++
		}
		if !q.heap[down].before(e) {
			break
		}
		q.heap[i] = q.heap[down]
		i = down
	}
	q.heap[i] = *e
}

func (a *event) before(b *event) bool {
	if a.at != b.at {
		return a.at < b.at
	}
	return a.seq < b.seq
}
