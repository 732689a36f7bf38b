package faults

import (
	"container/heap"
	"sync"
	"time"
)

// queueBytesMax bounds the packets that wait at one socket: 80 ms at 400 MB/s, far
// more than a node sends. What does not fit vanishes, as in a full router.
const queueBytesMax = 32 << 20

// queue holds late packets and gives each to send when its time has come, in the
// order of their times. One goroutine does so; close ends it.
type queue struct {
	send func(late)
	wake chan struct{} // holds a word when the next packet may have changed
	done chan struct{}
	over sync.WaitGroup

	mu     sync.Mutex // guards what is below
	byTime lateHeap
	bytes  int
	count  uint64
	closed bool
}

func newQueue(send func(late)) *queue {
	q := &queue{send: send, wake: make(chan struct{}, 1), done: make(chan struct{})}
	q.over.Go(q.run)
	return q
}

// push takes a packet to be sent at a time. False: there is no room.
func (q *queue) push(p late, at time.Time) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed || q.bytes+p.bytes() > queueBytesMax {
		return false
	}
	q.count++
	q.bytes += p.bytes()
	heap.Push(&q.byTime, lateAt{late: p, at: at, number: q.count})
	if q.byTime[0].number == q.count {
		select {
		case q.wake <- struct{}{}:
		default: // it will look anyway
		}
	}
	return true
}

// close forgets what waits and returns when the goroutine has ended.
func (q *queue) close() {
	q.mu.Lock()
	if !q.closed {
		q.closed = true
		close(q.done)
	}
	q.mu.Unlock()
	q.over.Wait()
}

func (q *queue) run() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		timer.Reset(q.sendDue())
		select {
		case <-q.done:
			return
		case <-q.wake:
		case <-timer.C:
		}
	}
}

// sendDue sends every packet whose time has come and returns how long it is till
// the next one's.
func (q *queue) sendDue() time.Duration {
	for {
		p, wait, ok := q.pop(time.Now())
		if !ok {
			return wait
		}
		q.send(p)
	}
}

func (q *queue) pop(now time.Time) (p late, wait time.Duration, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.byTime) == 0 || q.closed {
		return p, time.Hour, false
	}
	if wait = q.byTime[0].at.Sub(now); wait > 0 {
		return p, wait, false
	}
	p = heap.Pop(&q.byTime).(lateAt).late
	q.bytes -= p.bytes()
	return p, 0, true
}

// lateAt is a late packet with its time; of two at the same time the one that was
// pushed first goes first.
type lateAt struct {
	late
	at     time.Time
	number uint64
}

type lateHeap []lateAt

func (h lateHeap) Len() int      { return len(h) }
func (h lateHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h lateHeap) Less(i, j int) bool {
	if h[i].at.Equal(h[j].at) {
		return h[i].number < h[j].number
	}
	return h[i].at.Before(h[j].at)
}
func (h *lateHeap) Push(x any) { *h = append(*h, x.(lateAt)) }
func (h *lateHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	old[len(old)-1] = lateAt{}
	*h = old[:len(old)-1]
	return last
}
