package api

// Channel is what a stream can be subscribed to.
type Channel string

// The channels. Each begins with a snapshot and goes on with updates. A
// subscription that names a cursor to go on after gets no snapshot but all
// updates since, except for the book and the peers: their newest state is all
// there is.
const (
	ChannelBook    Channel = "book"    // a market's levels, and then those that changed
	ChannelTrades  Channel = "trades"  // a market's newest trades, and then each
	ChannelAccount Channel = "account" // an account's state and orders, and then each event
	ChannelCommits Channel = "commits" // each commit
	ChannelPeers   Channel = "peers"   // the peers, whenever they have changed
)

var channels = []Channel{ChannelBook, ChannelTrades, ChannelAccount, ChannelCommits, ChannelPeers}

// Do is what a client asks of a stream.
type Do string

const (
	DoSubscribe   Do = "subscribe"
	DoUnsubscribe Do = "unsubscribe"
)

// Subscription is what a client sends over a stream.
type Subscription struct {
	Do      Do      `json:"do"`
	Channel Channel `json:"channel"`
	Market  string  `json:"market,omitempty" doc:"For book and trades."`
	Account string  `json:"account,omitempty" doc:"For account."`
	After   *Cursor `json:"after,omitempty" doc:"Go on after this cursor of an earlier stream."`
	Levels  int     `json:"levels,omitempty" doc:"For book: how many of a side, 50 unless told."`
}

// MessageType says what a message of a stream is.
type MessageType string

const (
	MessageSnapshot MessageType = "snapshot"
	MessageUpdate   MessageType = "update"
	MessageAlive    MessageType = "alive"   // nothing has happened; AsOf says how fresh that is
	MessageProblem  MessageType = "problem" // a subscription failed, or the stream ends
)

// Message is what a server sends over a stream. It has the fields of its channel.
type Message struct {
	Type    MessageType `json:"type"`
	Channel Channel     `json:"channel,omitempty"`
	AsOf    AsOf        `json:"as_of"`
	Cursor  Cursor      `json:"cursor" doc:"Subscribe after this to miss nothing."`
	Market  string      `json:"market,omitempty"`
	Account string      `json:"account,omitempty"`

	Bids    []Level        `json:"bids,omitempty" doc:"Of book: all, or those that changed; quantity 0: gone."`
	Asks    []Level        `json:"asks,omitempty"`
	Trades  []Trade        `json:"trades,omitempty" doc:"Oldest first."`
	State   *Account       `json:"state,omitempty" doc:"Of account, in a snapshot; missing: the account has never received anything."`
	Orders  []Order        `json:"orders,omitempty" doc:"Of account, in a snapshot."`
	Events  []Event        `json:"events,omitempty" doc:"Of account, in order."`
	Commits []CommitNotice `json:"commits,omitempty" doc:"In order; in a snapshot the newest."`
	Peers   []Peer         `json:"peers,omitempty" doc:"All of them."`
	Problem *Problem       `json:"problem,omitempty"`
}

// CommitNotice says that a commit was executed.
type CommitNotice struct {
	Index  uint64 `json:"index"`
	Commit string `json:"commit,omitempty" doc:"Its CID."`
	TimeMs int64  `json:"time_ms"`
	Ops    int    `json:"ops" doc:"How many operations it has."`
	Events int    `json:"events" doc:"How many events they made."`
}
