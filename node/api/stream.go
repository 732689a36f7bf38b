package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
)

// Bounds of a stream.
const (
	askBytesMax   = 4096 // of a message from a client: a subscription
	subscribedMax = 64   // subscriptions of one stream
	tradesShown   = 50   // in a snapshot
	peersPeriod   = time.Second
	closeGrace    = time.Second // for the client to agree to the end
)

// streamEndpoints is the stream.
var streamEndpoints = []endpoint{{
	name: "stream", method: http.MethodGet, path: "/v1/stream",
	about: "A WebSocket. The client sends Subscription objects, the server Message objects: for each subscription a snapshot, then " +
		"updates, each with the cursor after which to subscribe again to miss nothing. Channels: book, trades, account, commits, peers. " +
		"Who reads too slowly, so that the node does not keep what comes next, is told so and closed.",
	says:  []*problemKind{badHandshake, tooManyStreams},
	serve: (*Server).stream,
}}

func (s *Server) stream(c *call) (any, error) {
	leave, err := s.streams.enter(&s.config, c.share.of.String())
	if err != nil {
		return nil, err
	}
	defer leave()
	w := &upgrading{ResponseWriter: c.w, header: make(http.Header)}
	conn, err := websocket.Accept(w, c.r, nil)
	if err != nil {
		return nil, badHandshake.of("It is no WebSocket handshake: %s.", shorten(strings.TrimSpace(w.said)))
	}
	c.status = http.StatusSwitchingProtocols
	conn.SetReadLimit(askBytesMax)
	f := &follower{s: s, conn: conn, share: c.share, seen: s.backend.AsOf().Commit}
	f.run()
	return nil, nil
}

// upgrading keeps what websocket.Accept writes about a bad handshake, in plain
// text, from being sent: we say it as a problem.
type upgrading struct {
	http.ResponseWriter
	header http.Header
	said   string
}

// Header returns what becomes the header if the handshake is good.
func (u *upgrading) Header() http.Header { return u.header }

// Write takes the text of a bad handshake.
func (u *upgrading) Write(b []byte) (int, error) {
	u.said += string(b)
	return len(b), nil
}

// WriteHeader sends the header of a good handshake.
func (u *upgrading) WriteHeader(status int) {
	if status != http.StatusSwitchingProtocols {
		return
	}
	for name, values := range u.header {
		u.ResponseWriter.Header()[name] = values
	}
	u.ResponseWriter.WriteHeader(status)
}

// Unwrap lets the connection be taken over.
func (u *upgrading) Unwrap() http.ResponseWriter { return u.ResponseWriter }

// follower is one stream: a client, what it has subscribed to, and how far it
// is. It has no queue: when the client is slow, the node's commits run ahead of
// seen, until the node does not keep the next one any more.
type follower struct {
	s     *Server
	conn  *websocket.Conn
	share *share

	seen      uint64 // the commits up to this one are delivered
	following []*following
	wrote     time.Time
}

// end is why a stream ends: a close status with its text, after a problem if
// there is one.
type end struct {
	code    websocket.StatusCode
	text    string
	problem *Problem
}

// Error makes an end an error.
func (e *end) Error() string { return e.text }

// run serves the stream until the client leaves, is too slow, or the server
// drains. All of its goroutines have ended when it returns.
func (f *follower) run() {
	ctx, cancel := context.WithCancel(f.s.draining)
	defer cancel()
	// When a Read's context ends, the connection is closed: hanging up ends every
	// call on it.
	reading, hangUp := context.WithCancel(context.Background())
	defer hangUp()
	defer context.AfterFunc(f.s.draining, func() { time.AfterFunc(f.s.config.DrainTimeout/2, hangUp) })()

	asks, commits := make(chan ask), make(chan arrival)
	var both sync.WaitGroup
	both.Go(func() { defer cancel(); f.read(reading, ctx, asks) })
	both.Go(func() { f.follow(ctx, f.seen, commits) })
	err := f.serve(ctx, asks, commits)
	cancel()
	f.part(err, hangUp)
	both.Wait()
}

// part ends the stream: it says why, and gives the client a moment to agree.
func (f *follower) part(err error, hangUp func()) {
	defer time.AfterFunc(closeGrace, hangUp).Stop()
	why := &end{code: websocket.StatusGoingAway, text: "The node is shutting down."}
	errors.As(err, &why)
	if why.problem != nil {
		if f.send(&Message{Type: MessageProblem, Problem: why.problem}) != nil {
			hangUp()
			return
		}
	}
	f.conn.Close(why.code, why.text) // it is over either way
}

// ask is what a client wants, or what is wrong with how it said so.
type ask struct {
	Subscription
	problem *Problem
}

// read hands on what the client asks until the connection ends, or nobody
// listens. It goes on reading after that, since only who reads learns of the end.
func (f *follower) read(reading, ctx context.Context, asks chan<- ask) {
	for {
		_, raw, err := f.conn.Read(reading)
		if err != nil {
			return
		}
		var a ask
		decoder := json.NewDecoder(bytes.NewReader(raw))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&a.Subscription); err != nil {
			a.problem = badParameter.of("The message is no subscription: %s.", shorten(err.Error()))
		}
		select {
		case asks <- a:
		case <-ctx.Done():
		}
	}
}

// arrival is the next commit, or why there is none.
type arrival struct {
	commit *Executed
	err    error
}

// follow hands on the commits after one, in order.
func (f *follower) follow(ctx context.Context, after uint64, commits chan<- arrival) {
	for {
		e, err := f.s.backend.Next(ctx, after)
		select {
		case commits <- arrival{e, err}:
		case <-ctx.Done():
			return
		}
		if err != nil {
			return
		}
		after = e.Index
	}
}

// serve delivers until something ends the stream, which is the error, or ctx
// ends, which is none.
func (f *follower) serve(ctx context.Context, asks <-chan ask, commits <-chan arrival) error {
	alive, peers := time.NewTicker(f.s.config.AlivePeriod), time.NewTicker(peersPeriod)
	defer alive.Stop()
	defer peers.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return nil
		case a := <-asks:
			err = f.asked(ctx, a)
		case next := <-commits:
			if next.err != nil {
				return f.endOf(next.err)
			}
			err = f.deliverAll(f.s.prepare(next.commit))
		case <-alive.C:
			if time.Since(f.wrote) >= f.s.config.AlivePeriod {
				err = f.send(&Message{Type: MessageAlive})
			}
		case <-peers.C:
			err = f.deliverPeers()
		}
		if err != nil {
			return err
		}
	}
}

// endOf says why the stream ends when the next commit cannot be had.
func (f *follower) endOf(err error) error {
	p, unforeseen := problemFor(err)
	if unforeseen {
		f.s.config.Log.Error("api: a stream failed", "err", err)
	}
	if p.Code == tooOld.code {
		p.Detail = "The stream was read too slowly. " + p.Detail
	}
	return &end{websocket.StatusTryAgainLater, p.Code + ": go on after " + f.cursor().String(), p}
}

// cursor is how far the stream is.
func (f *follower) cursor() Cursor { return endOfCommit(f.seen) }

// endOfCommit is a cursor after everything in a commit.
func endOfCommit(index uint64) Cursor { return Cursor{index, math.MaxUint32} }

// send writes a message. A client that does not take it in time is cut off.
func (f *follower) send(m *Message) error {
	m.AsOf = f.s.backend.AsOf()
	if m.Cursor == (Cursor{}) {
		m.Cursor = f.cursor()
	}
	raw, err := json.Marshal(m)
	if err != nil {
		panic("api: invariant broken: a message can be written: " + err.Error())
	}
	ctx, cancel := context.WithTimeout(context.Background(), f.s.config.StreamTimeout)
	defer cancel()
	f.wrote = time.Now()
	return f.conn.Write(ctx, websocket.MessageText, raw)
}
