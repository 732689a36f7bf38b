package faults

import (
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// Every packet is sent at its time to the nanosecond, in the order of the times,
// whatever the order they were pushed in.
func TestQueueSendsEachAtItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var sent, want []time.Duration
		q := newQueue(func(late) { sent = append(sent, time.Since(began)) })
		chance := rand.New(rand.NewPCG(1, 1))
		for range 1000 {
			at := time.Duration(1 + chance.Int64N(int64(time.Second)))
			want = append(want, at)
			if !q.push(late{data: []byte("x")}, began.Add(at)) {
				t.Fatal("no room")
			}
		}
		time.Sleep(2 * time.Second) // of the test's own clock
		synctest.Wait()
		q.close()
		slices.Sort(want)
		if !slices.Equal(sent, want) {
			t.Errorf("%d packets were sent, at other times than asked", len(sent))
		}
	})
}

func TestQueueKeepsTheOrderOfOneMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sent []byte
		q := newQueue(func(p late) { sent = append(sent, p.data...) })
		at := time.Now().Add(time.Second)
		for _, c := range []byte("abcdefghij") {
			q.push(late{data: []byte{c}}, at)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		q.close()
		if string(sent) != "abcdefghij" {
			t.Errorf("sent %q", sent)
		}
	})
}

func TestQueueIsBoundedAndForgetsOnClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sent := 0
		q := newQueue(func(late) { sent++ })
		big := late{data: make([]byte, queueBytesMax/2)}
		at := time.Now().Add(time.Second)
		if fits := q.push(big, at); !fits || !q.push(big, at) {
			t.Fatal("no room for what fits")
		}
		if q.push(late{data: []byte("x")}, at) {
			t.Error("room for more than the bound")
		}
		q.close()
		q.close() // again is nothing
		if q.push(late{}, at) {
			t.Error("a closed queue takes packets")
		}
		time.Sleep(2 * time.Second)
		if sent != 0 {
			t.Error("a closed queue sends")
		}
	})
}
