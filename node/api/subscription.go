package api

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/coder/websocket"

	"github.com/holdfast-mesh/holdfast/node/ledger"
)

// following is one subscription.
type following struct {
	Subscription
	market  ledger.MarketID
	account ledger.Account
	after   Cursor // what came up to it is delivered

	// What the client knows of a book, and of the peers.
	book  *bookNow
	peers []Peer
}

// asked does what the client wants, or says what is wrong with it.
func (f *follower) asked(ctx context.Context, a ask) error {
	if err := take(f.share.requests, time.Now(), 1); err != nil {
		p, _ := problemFor(err)
		return &end{websocket.StatusPolicyViolation, p.Code, p}
	}
	if a.problem == nil {
		a.problem = f.faultOf(a.Subscription)
	}
	if a.problem != nil {
		m := &Message{Type: MessageProblem, Problem: a.problem}
		if slices.Contains(channels, a.Channel) {
			m.Channel, m.Market, m.Account = a.Channel, shorten(a.Market), shorten(a.Account)
		}
		return f.send(m)
	}
	switch a.Do {
	case DoUnsubscribe:
		f.drop(&a.Subscription)
		return nil
	default:
		return f.begin(ctx, a.Subscription)
	}
}

// faultOf says what is wrong with a subscription, if anything.
func (f *follower) faultOf(a Subscription) *Problem {
	market, account := a.Channel == ChannelBook || a.Channel == ChannelTrades, a.Channel == ChannelAccount
	switch {
	case a.Do != DoSubscribe && a.Do != DoUnsubscribe:
		return badParameter.of("do must be subscribe or unsubscribe.")
	case !slices.Contains(channels, a.Channel):
		return badParameter.of("channel must be one of %v.", channels)
	case !market && a.Market != "", !account && a.Account != "":
		return badParameter.of("The channel %s is of no market or account.", a.Channel)
	case a.Levels != 0 && a.Channel != ChannelBook, a.Levels < 0, a.Levels > levelsMax:
		return badParameter.of("levels is for the channel book, and from 1 to %d.", levelsMax)
	case a.Do == DoSubscribe && len(f.following) >= subscribedMax:
		return badParameter.of("One stream takes at most %d subscriptions; open another.", subscribedMax)
	}
	if market {
		if _, _, _, err := f.s.marketOf(a.Market); err != nil {
			p, _ := problemFor(err)
			return p
		}
	}
	if account {
		if _, err := ledger.ParseAccount(a.Account); err != nil {
			return badParameter.of("account must be 64 hexadecimal digits.")
		}
	}
	return nil
}

// drop ends a subscription.
func (f *follower) drop(a *Subscription) {
	f.following = slices.DeleteFunc(f.following, func(g *following) bool {
		return g.Channel == a.Channel && g.Market == a.Market && g.Account == a.Account
	})
}

// begin starts a subscription, which is known to be sound: with a snapshot, or
// with all since the cursor.
func (f *follower) begin(ctx context.Context, a Subscription) error {
	f.drop(&a)
	if a.Levels == 0 {
		a.Levels = levelsDefault
	}
	g := &following{Subscription: a}
	switch a.Channel {
	case ChannelBook, ChannelTrades:
		g.market, _, _, _ = f.s.marketOf(a.Market)
	case ChannelAccount:
		g.account, _ = ledger.ParseAccount(a.Account)
	}
	f.following = append(f.following, g)
	if a.After != nil && a.Channel != ChannelBook && a.Channel != ChannelPeers {
		return f.resume(ctx, g)
	}
	m, err := f.snapshot(ctx, g)
	if err != nil {
		p, _ := problemFor(err)
		f.drop(&a)
		return f.send(&Message{Type: MessageProblem, Channel: a.Channel, Market: a.Market, Account: a.Account, Problem: p})
	}
	m.Type, m.Channel, m.Market, m.Account = MessageSnapshot, a.Channel, a.Market, a.Account
	return f.send(m)
}

// resume delivers what came after the cursor up to what the stream has seen.
func (f *follower) resume(ctx context.Context, g *following) error {
	g.after = *g.After
	for index := max(1, g.after.Commit); index <= f.seen; index++ {
		e, err := f.s.backend.Next(ctx, index-1)
		var old *TooOldError
		if errors.As(err, &old) {
			p, _ := problemFor(err)
			f.drop(&g.Subscription)
			return f.send(&Message{Type: MessageProblem, Channel: g.Channel, Market: g.Market, Account: g.Account, Problem: p})
		}
		if err != nil {
			return f.endOf(err)
		}
		if err := f.deliver(g, f.s.prepare(e)); err != nil {
			return err
		}
	}
	return nil
}

// snapshot says how things stand, and sets from where updates go on.
func (f *follower) snapshot(ctx context.Context, g *following) (*Message, error) {
	switch g.Channel {
	case ChannelBook:
		b, asOf := f.s.bookOf(g.market)
		g.book, g.after = b, endOfCommit(asOf.Commit)
		m := &Message{Cursor: g.after}
		m.Bids, m.Asks = b.best(g.Levels)
		return m, nil
	case ChannelTrades:
		asOf := f.s.backend.AsOf()
		g.after = endOfCommit(asOf.Commit)
		records, err := f.s.backend.Trades(ctx, g.market, Cursor{asOf.Commit + 1, 0}, tradesShown)
		n, _ := f.s.now()
		m := &Message{Cursor: g.after}
		for i := range records {
			m.Trades = append(m.Trades, n.trade(&records[len(records)-1-i]))
		}
		return m, err
	case ChannelAccount:
		return f.accountNow(g), nil
	case ChannelCommits:
		asOf := f.s.backend.AsOf()
		g.after = endOfCommit(asOf.Commit)
		return &Message{Cursor: g.after, Commits: []CommitNotice{{Index: asOf.Commit, TimeMs: int64(asOf.Time)}}}, nil
	default:
		g.peers = f.s.backend.Peers()
		return &Message{Peers: g.peers}, nil
	}
}

func (f *follower) accountNow(g *following) *Message {
	var state ledger.AccountState
	var known bool
	var n *listing
	var asOf AsOf
	f.s.view(func(l *ledger.Ledger, newest *listing, at AsOf) {
		n, asOf = newest, at
		state, known = l.State(g.account)
	})
	g.after = endOfCommit(asOf.Commit)
	m := &Message{Cursor: g.after}
	if known {
		m.State = n.account(&state, asOf)
		m.Orders, _ = n.orders(state.Orders, 0, PageMax)
	}
	return m
}

// deliverAll delivers the next commit to every subscription.
func (f *follower) deliverAll(p *prepared) error {
	f.seen = p.Index
	for _, g := range f.following {
		if err := f.deliver(g, p); err != nil {
			return err
		}
	}
	return nil
}

// deliver sends what a commit has for a subscription, if anything.
func (f *follower) deliver(g *following, p *prepared) error {
	m := &Message{Type: MessageUpdate, Channel: g.Channel, Market: g.Market, Account: g.Account}
	if p.Index < g.after.Commit || g.after == endOfCommit(p.Index) {
		return nil
	}
	m.Cursor = endOfCommit(p.Index)
	switch g.Channel {
	case ChannelBook:
		if p.books[g.market] {
			f.bookChange(g, m)
		}
	case ChannelTrades:
		m.Trades = p.tradesAfter(g.market, g.after)
	case ChannelAccount:
		m.Events = p.events(g.account, g.after)
	case ChannelCommits:
		m.Commits = []CommitNotice{{Index: p.Index, Commit: p.Digest.String(), TimeMs: p.TimeMs, Ops: p.Ops, Events: len(p.Records)}}
	default:
		return nil
	}
	g.after = m.Cursor
	if len(m.Bids)+len(m.Asks)+len(m.Trades)+len(m.Events)+len(m.Commits) == 0 {
		return nil
	}
	return f.send(m)
}

// bookChange puts the levels into m that the client does not know yet, as of the
// newest commit: a stream that is behind jumps.
func (f *follower) bookChange(g *following, m *Message) {
	b, asOf := f.s.bookOf(g.market)
	wasBids, wasAsks := g.book.best(g.Levels)
	bids, asks := b.best(g.Levels)
	m.Bids, m.Asks = changed(wasBids, bids), changed(wasAsks, asks)
	m.Cursor, g.book = endOfCommit(asOf.Commit), b
}

// deliverPeers sends the peers to who wants them, if they have changed in more
// than what changes all the time.
func (f *follower) deliverPeers() error {
	for _, g := range f.following {
		if g.Channel != ChannelPeers {
			continue
		}
		now := f.s.backend.Peers()
		if slices.EqualFunc(g.peers, now, samePeer) {
			continue
		}
		g.peers = now
		if err := f.send(&Message{Type: MessageUpdate, Channel: ChannelPeers, Peers: now}); err != nil {
			return err
		}
	}
	return nil
}

func samePeer(a, b Peer) bool {
	return a.Peer == b.Peer && a.Connected == b.Connected && a.Path == b.Path && a.Validator == b.Validator &&
		a.Provider == b.Provider && a.Region == b.Region && a.Zone == b.Zone && a.Version == b.Version && slices.Equal(a.Addresses, b.Addresses)
}
