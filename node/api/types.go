package api

import (
	"encoding/json"
	"fmt"
	"time"
)

// The types below are the JSON that the server writes and the client reads; the
// OpenAPI document is made from them, the texts of their doc tags included.
//
// Amounts, prices and quantities are decimal strings by the strict grammar of
// the ledger's text. Times end in _ms and count Unix milliseconds. Accounts are
// 64 hexadecimal digits, operations, blocks, commits and networks are CIDs. No
// number is above 2^53-1.

// Stamp is a time in Unix milliseconds that is written as RFC 3339, in UTC.
type Stamp int64

const stampLayout = "2006-01-02T15:04:05.000Z"

// MarshalJSON writes the time as text.
func (s Stamp) MarshalJSON() ([]byte, error) {
	return time.UnixMilli(int64(s)).UTC().AppendFormat(nil, `"`+stampLayout+`"`), nil
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (s *Stamp) UnmarshalJSON(b []byte) error {
	var text string
	if err := json.Unmarshal(b, &text); err != nil {
		return err
	}
	t, err := time.Parse(stampLayout, text)
	if err != nil {
		return fmt.Errorf("api: a time is written as %s: %w", stampLayout, err)
	}
	*s = Stamp(t.UnixMilli())
	return nil
}

// AsOf says what an answer is as of (promise P5).
type AsOf struct {
	Commit uint64 `json:"commit" doc:"Index of the newest executed commit."`
	Time   Stamp  `json:"time" doc:"The commit's time."`
	AgeMs  int64  `json:"age_ms" doc:"How old that is by the node's clock, in milliseconds."`
	Quorum bool   `json:"quorum" doc:"Whether the node sees more than two thirds of the weight, itself included. Without, what it says may be behind."`
}

// Status is the answer of /v1/status.
type Status struct {
	AsOf       AsOf   `json:"as_of"`
	Network    string `json:"network" doc:"The network's id: the CID of its genesis."`
	Name       string `json:"name" doc:"The network's name, for people."`
	Peer       string `json:"peer" doc:"The node's peer id."`
	Version    string `json:"version"`
	Validator  bool   `json:"validator" doc:"Whether the node is in the committee of the running epoch."`
	Provider   string `json:"provider"`
	Region     string `json:"region"`
	Zone       string `json:"zone"`
	Ready      bool   `json:"ready" doc:"Whether it has caught up with what a quorum has committed and can do its work."`
	CatchingUp bool   `json:"catching_up" doc:"Whether it is fetching what others have committed."`
	Recovering bool   `json:"recovering" doc:"Whether it has lost its disk and may not propose yet."`
	DiskFull   bool   `json:"disk_full" doc:"Whether operations are refused for want of disk."`
	Alarm      string `json:"alarm" doc:"Why the node has stopped taking part for good, for a person to look at; empty: it has not."`
	Epoch      uint64 `json:"epoch"`
	Round      uint64 `json:"round" doc:"The newest round of blocks the node is in."`
	Pool       Pool   `json:"pool"`
	Peers      int    `json:"peers" doc:"How many peers it is connected to."`
	Weight     Weight `json:"weight"`
	StartedMs  int64  `json:"started_ms"`
}

// Pool says how full the pool of operations is that wait for a block.
type Pool struct {
	Ops     int     `json:"ops"`
	Journal int     `json:"journal" doc:"Operations acknowledged here that have not ended."`
	Full    float64 `json:"full" doc:"0 is empty, at 1 new ones are refused."`
}

// Weight is what of the committee a node sees, itself included if it is in it.
type Weight struct {
	Connected uint64 `json:"connected"`
	Quorum    uint64 `json:"quorum" doc:"The least weight that decides."`
	Total     uint64 `json:"total"`
}

// Network is the answer of /v1/network.
type Network struct {
	AsOf       AsOf    `json:"as_of"`
	Network    string  `json:"network" doc:"The network's id: the CID of its genesis."`
	Name       string  `json:"name"`
	Assets     []Asset `json:"assets"`
	Custodians Council `json:"custodians"`
	Governors  Council `json:"governors"`
	Params     Params  `json:"params"`
	Accounts   int     `json:"accounts" doc:"How many accounts there are."`
}

// Asset is something that can be held, and the ledger's own accounts in it.
type Asset struct {
	Asset            string `json:"asset" doc:"Its symbol."`
	ID               uint16 `json:"id" doc:"Its number in operations."`
	Decimals         int    `json:"decimals"`
	WithdrawalFeeMin string `json:"withdrawal_fee_min" is:"decimal"`
	Deposited        string `json:"deposited" is:"decimal" doc:"All that ever came in."`
	Withdrawn        string `json:"withdrawn" is:"decimal" doc:"All that ever left."`
	Fees             string `json:"fees" is:"decimal" doc:"What the house has earned."`
}

// Council is a group of keys of which Threshold decide together.
type Council struct {
	Threshold int      `json:"threshold"`
	Members   []string `json:"members"`
}

// Params are the rules of a network that its governors can change.
type Params struct {
	NonceWindow   uint32 `json:"nonce_window" doc:"Nonces kept per account."`
	ReopenGapMs   int64  `json:"reopen_gap_ms" doc:"After a longer gap between commits the markets take post-only orders alone for a while."`
	ReopenMs      int64  `json:"reopen_ms" doc:"For how long."`
	FillsMax      uint32 `json:"fills_max" doc:"Fills per action."`
	OpenOrdersMax uint32 `json:"open_orders_max" doc:"Open orders per account and market, where the market says nothing."`
	LevelsShown   uint32 `json:"levels_shown" doc:"Price levels of a side that are shown."`
}

// Peers is the answer of /v1/peers.
type Peers struct {
	AsOf  AsOf   `json:"as_of"`
	Peers []Peer `json:"peers"`
}

// Peer is another node.
type Peer struct {
	Peer      string   `json:"peer" doc:"Its peer id."`
	Validator bool     `json:"validator"`
	Connected bool     `json:"connected"`
	Provider  string   `json:"provider"`
	Region    string   `json:"region"`
	Zone      string   `json:"zone"`
	Version   string   `json:"version"`
	Addresses []string `json:"addresses"`
	Path      string   `json:"path" doc:"How it is reached: direct, relayed, or empty if it is not."`
	RTTMs     float64  `json:"rtt_ms" doc:"Round trip in milliseconds; 0: not measured."`
	SeenMs    int64    `json:"seen_ms" doc:"When something was last heard of it; 0: never."`
}

// Committee is the answer of /v1/committee.
type Committee struct {
	AsOf       AsOf        `json:"as_of"`
	Epoch      uint64      `json:"epoch"`
	Weight     uint64      `json:"weight" doc:"The sum of all."`
	Quorum     uint64      `json:"quorum" doc:"The least weight that decides."`
	Faults     uint64      `json:"faults" doc:"The most weight that may be faulty."`
	Validators []Validator `json:"validators"`
}

// Validator is a member of the committee.
type Validator struct {
	Author    int      `json:"author" doc:"Its position, by which blocks name it."`
	Key       string   `json:"key" is:"account" doc:"The Ed25519 public key it signs blocks with."`
	Peer      string   `json:"peer"`
	Weight    uint64   `json:"weight"`
	Provider  string   `json:"provider"`
	Region    string   `json:"region"`
	Zone      string   `json:"zone"`
	Operator  string   `json:"operator"`
	Addresses []string `json:"addresses" doc:"Where the committee says others reach it, without /p2p/."`
	Connected bool     `json:"connected"`
	Self      bool     `json:"self" doc:"Whether it is the node that answers."`
	Round     uint64   `json:"round" doc:"The newest round of its blocks that is known here."`
}

// Markets is the answer of /v1/markets.
type Markets struct {
	AsOf    AsOf     `json:"as_of"`
	Markets []Market `json:"markets"`
}

// Market is a pair of assets that trade.
type Market struct {
	Market        string `json:"market"`
	ID            uint16 `json:"id" doc:"Its number in operations."`
	Base          string `json:"base"`
	Quote         string `json:"quote"`
	Tick          string `json:"tick" is:"decimal" doc:"The price step, in the quote asset; operations count ticks."`
	Lot           string `json:"lot" is:"decimal" doc:"The quantity step, in the base asset; operations count lots."`
	MinNotional   string `json:"min_notional" is:"decimal" doc:"What an order must be worth, in the quote asset."`
	MakerPPM      int32  `json:"maker_ppm" doc:"Fee in millionths; below zero: a rebate."`
	TakerPPM      int32  `json:"taker_ppm"`
	FeeAsset      string `json:"fee_asset" doc:"received: each side pays in what it receives; quote: both pay in the quote asset."`
	BandPPM       uint32 `json:"band_ppm" doc:"Market orders trade within this of the last price; 0: no band."`
	STP           string `json:"stp" doc:"Self-trade prevention of orders that name none."`
	OpenOrdersMax uint32 `json:"open_orders_max" doc:"Per account."`
	Status        string `json:"status" doc:"What it takes now."`
	StatusSet     string `json:"status_set" doc:"What governors have set; after a gap between commits a trading market is POST_ONLY for a while."`
	Last          string `json:"last" doc:"The last trade's price; empty: none."`
}

// Book is the answer of /v1/markets/{market}/book.
type Book struct {
	AsOf   AsOf    `json:"as_of"`
	Market string  `json:"market"`
	Bids   []Level `json:"bids" doc:"Best first."`
	Asks   []Level `json:"asks" doc:"Best first."`
}

// Level is the orders of one price, summed up.
type Level struct {
	Price    string `json:"price" is:"decimal"`
	Quantity string `json:"quantity" is:"decimal" doc:"In an update of a stream, 0 says that the level is gone."`
	Orders   int    `json:"orders"`
}

// Trades is the answer of /v1/markets/{market}/trades.
type Trades struct {
	AsOf   AsOf    `json:"as_of"`
	Market string  `json:"market"`
	Trades []Trade `json:"trades" doc:"Newest first; in a stream oldest first."`
	Next   string  `json:"next" doc:"Ask again with before=this for those before; empty: there are none."`
}

// Trade is a fill.
type Trade struct {
	Cursor     Cursor `json:"cursor"`
	TimeMs     int64  `json:"time_ms" doc:"The commit's time."`
	Price      string `json:"price" is:"decimal"`
	Quantity   string `json:"quantity" is:"decimal"`
	Amount     string `json:"amount" is:"decimal" doc:"What it is worth, in the quote asset."`
	Side       string `json:"side" doc:"The taker's."`
	TakerOrder uint64 `json:"taker_order"`
	MakerOrder uint64 `json:"maker_order"`
	Op         string `json:"op" is:"cid" doc:"The operation that caused it."`
}

// Candles is the answer of /v1/markets/{market}/candles.
type Candles struct {
	AsOf     AsOf     `json:"as_of"`
	Market   string   `json:"market"`
	Interval Interval `json:"interval"`
	Candles  []Candle `json:"candles" doc:"Oldest first; an interval without a trade has none."`
}

// Candle sums up the trades of an interval.
type Candle struct {
	StartMs  int64  `json:"start_ms" doc:"In commit time."`
	Open     string `json:"open" is:"decimal"`
	High     string `json:"high" is:"decimal"`
	Low      string `json:"low" is:"decimal"`
	Close    string `json:"close" is:"decimal"`
	Quantity string `json:"quantity" is:"decimal" doc:"In the base asset."`
	Amount   string `json:"amount" is:"decimal" doc:"In the quote asset."`
	Trades   uint64 `json:"trades"`
}

// Account is the answer of /v1/accounts/{account}.
type Account struct {
	AsOf        AsOf         `json:"as_of"`
	Account     string       `json:"account" is:"account"`
	Balances    []Balance    `json:"balances"`
	Withdrawals []Withdrawal `json:"withdrawals" doc:"Those open."`
	OpenOrders  int          `json:"open_orders"`
	NonceFloor  uint64       `json:"nonce_floor" doc:"Nonces at or below it are refused."`
	NonceLast   uint64       `json:"nonce_last" doc:"The highest nonce used; 0: none."`
	Proof       *Proof       `json:"proof,omitempty" doc:"If asked for with ?proof."`
}

// Balance is what an account has of an asset.
type Balance struct {
	Asset     string `json:"asset"`
	Available string `json:"available" is:"decimal"`
	Held      string `json:"held" is:"decimal" doc:"For open orders and withdrawals."`
}

// Withdrawals is the answer of /v1/withdrawals.
type Withdrawals struct {
	AsOf        AsOf         `json:"as_of"`
	Withdrawals []Withdrawal `json:"withdrawals" doc:"Those open, oldest first."`
	Next        uint64       `json:"next,omitempty" doc:"Ask again with after=this for those that follow; missing: there are none."`
}

// Withdrawal is an open withdrawal.
type Withdrawal struct {
	Withdrawal uint64 `json:"withdrawal" doc:"Its id."`
	Account    string `json:"account" is:"account" doc:"Whose it is."`
	Asset      string `json:"asset"`
	Amount     string `json:"amount" is:"decimal"`
	Fee        string `json:"fee" is:"decimal"`
	Address    string `json:"address"`
	State      string `json:"state"`
	Signed     int    `json:"signed" doc:"How many custodians have said that the payment is signed."`
	Completed  int    `json:"completed" doc:"How many have said that it has arrived."`
	Failed     int    `json:"failed" doc:"How many have said that it never will."`
}

// Proof shows an account's state to somebody who trusts a root.
type Proof struct {
	AsOf  AsOf   `json:"as_of" doc:"What the proof is as of; it may be a commit later than the rest of the answer."`
	Root  string `json:"root" doc:"The state root, in hexadecimal. A checkpoint of the same commit certifies it."`
	Bytes []byte `json:"bytes" doc:"The proof in base64, for ledger.VerifyProof."`
}

// Orders is the answer of /v1/accounts/{account}/orders.
type Orders struct {
	AsOf    AsOf    `json:"as_of"`
	Account string  `json:"account" is:"account"`
	Orders  []Order `json:"orders" doc:"Those open, oldest first."`
	Next    uint64  `json:"next,omitempty" doc:"Ask again with after=this for those that follow; missing: there are none."`
}

// Order is an open order.
type Order struct {
	Order      uint64 `json:"order" doc:"Its id."`
	ClientID   string `json:"client_id" doc:"The account's own name for it; empty: none."`
	Market     string `json:"market"`
	Side       string `json:"side"`
	Price      string `json:"price" is:"decimal"`
	Remaining  string `json:"remaining" is:"decimal"`
	Executed   string `json:"executed" is:"decimal"`
	ExpireAtMs int64  `json:"expire_at_ms" doc:"0: never."`
}

// History is the answer of /v1/accounts/{account}/history.
type History struct {
	AsOf    AsOf    `json:"as_of"`
	Account string  `json:"account" is:"account"`
	Events  []Event `json:"events" doc:"Newest first."`
	Next    string  `json:"next" doc:"Ask again with before=this for those before; empty: there are none."`
}

// Event is something that happened. Which fields it has depends on its kind.
type Event struct {
	Cursor Cursor `json:"cursor"`
	TimeMs int64  `json:"time_ms" doc:"The commit's time."`
	Kind   string `json:"kind"`
	Op     string `json:"op,omitempty" is:"cid" doc:"The operation that caused it; none: time did."`
	Action *int   `json:"action,omitempty" doc:"Position among the operation's actions; none: the operation as a whole."`
	Reason string `json:"reason,omitempty" doc:"Why something was refused: one of the ledger's codes."`
	Detail string `json:"detail,omitempty" doc:"The reason as a sentence."`

	Account      string `json:"account,omitempty" is:"account"`
	Counterparty string `json:"counterparty,omitempty" is:"account" doc:"A trade's maker; whom a transfer goes to."`

	Market    string `json:"market,omitempty"`
	Side      string `json:"side,omitempty" doc:"The order's; a trade's taker's."`
	Order     uint64 `json:"order,omitempty" doc:"A trade's taker's."`
	Maker     uint64 `json:"maker,omitempty" doc:"A trade's resting order."`
	State     string `json:"state,omitempty" doc:"The order's after it; of a trade the resting order's."`
	Price     string `json:"price,omitempty" is:"decimal"`
	Quantity  string `json:"quantity,omitempty" is:"decimal"`
	Executed  string `json:"executed,omitempty" is:"decimal"`
	Remaining string `json:"remaining,omitempty" is:"decimal"`
	Count     uint64 `json:"count,omitempty" doc:"How many orders a cancel_all has cancelled."`

	Asset         string `json:"asset,omitempty"`
	Amount        string `json:"amount,omitempty" is:"decimal" doc:"In the asset, or in the market's quote asset."`
	Fee           string `json:"fee,omitempty" is:"decimal" doc:"A trade's taker's; below zero: a rebate."`
	FeeAsset      string `json:"fee_asset,omitempty"`
	MakerFee      string `json:"maker_fee,omitempty" is:"decimal" doc:"Below zero: a rebate."`
	MakerFeeAsset string `json:"maker_fee_asset,omitempty"`

	Withdrawal      uint64 `json:"withdrawal,omitempty"`
	WithdrawalState string `json:"withdrawal_state,omitempty"`
	Votes           int    `json:"votes,omitempty" doc:"How many custodians or governors have said so."`
	Status          string `json:"status,omitempty" doc:"The market's."`
	First           uint64 `json:"first,omitempty" doc:"The commit that executed the same operation before."`
}

// Op is the answer of /v1/ops/{op}, and an entry of that to POST /v1/ops.
type Op struct {
	AsOf      *AsOf          `json:"as_of,omitempty" doc:"Missing inside a list, which has one for all."`
	Op        string         `json:"op" is:"cid" doc:"The operation's id."`
	Status    OpState        `json:"status"`
	Reason    string         `json:"reason,omitempty" doc:"Why it was rejected: one of the ledger's codes, or BAD_FORMAT, BAD_SIGNATURE."`
	Detail    string         `json:"detail,omitempty" doc:"The reason as a sentence."`
	ExpiresMs int64          `json:"expires_ms,omitempty" doc:"The last commit time at which it can execute."`
	Commit    uint64         `json:"commit,omitempty" doc:"The commit that executed it."`
	Position  *uint32        `json:"position,omitempty" doc:"Among the commit's operations."`
	TimeMs    int64          `json:"time_ms,omitempty" doc:"The commit's time."`
	Actions   []ActionResult `json:"actions,omitempty" doc:"What became of each, in order, once it is final."`
}

// ActionResult says what became of an action.
type ActionResult struct {
	Refused bool    `json:"refused"`
	Reason  string  `json:"reason,omitempty"`
	Detail  string  `json:"detail,omitempty"`
	Order   uint64  `json:"order,omitempty" doc:"The order it made or changed."`
	State   string  `json:"state,omitempty" doc:"The order's."`
	Events  []Event `json:"events,omitempty" doc:"All it did, if the node still knows."`
}

// Ops is the answer of POST /v1/ops.
type Ops struct {
	AsOf AsOf `json:"as_of"`
	Ops  []Op `json:"ops" doc:"One for each that was sent, in order."`
}

// Commit is the answer of /v1/commits/{index}.
type Commit struct {
	AsOf     AsOf     `json:"as_of"`
	Index    uint64   `json:"index"`
	Commit   string   `json:"commit" doc:"Its CID."`
	Previous string   `json:"previous" doc:"The CID of the one before; empty: it is the first."`
	Epoch    uint64   `json:"epoch"`
	Round    uint64   `json:"round" doc:"The leader's."`
	Leader   int      `json:"leader" doc:"The author of the leader block."`
	TimeMs   int64    `json:"time_ms"`
	Blocks   []string `json:"blocks" doc:"The CIDs of its blocks in order, the leader last."`
	Ops      []string `json:"ops" doc:"The ids of its operations in the order of the blocks."`
}

// Checkpoint is the answer of /v1/checkpoints/latest.
type Checkpoint struct {
	AsOf        AsOf     `json:"as_of"`
	Index       uint64   `json:"index" doc:"The commit it is of."`
	Commit      string   `json:"commit" doc:"That commit's CID."`
	Root        string   `json:"root" doc:"The state root after it, in hexadecimal."`
	Epoch       uint64   `json:"epoch" doc:"Of the committee that certified it."`
	Certificate []byte   `json:"certificate" doc:"DAG-CBOR in base64: names the blocks that vote for it."`
	Votes       []string `json:"votes" doc:"The CIDs of those blocks, for /v1/blocks."`
}

// Contract is the answer of /v1/contract: what works, per kind of operation.
type Contract struct {
	AsOf  AsOf            `json:"as_of"`
	State string          `json:"state" doc:"Which column is in force: with_quorum, without_quorum or alone."`
	Kinds []ContractEntry `json:"kinds"`
}

// ContractEntry is what one kind of operation does in each state of the network,
// and now, which a full disk or an alarm can make less.
type ContractEntry struct {
	Kind          string `json:"kind" doc:"An action of an operation, or a kind of question."`
	Now           string `json:"now"`
	WithQuorum    string `json:"with_quorum"`
	WithoutQuorum string `json:"without_quorum"`
	Alone         string `json:"alone"`
	Why           string `json:"why,omitempty" doc:"Why now is less than the column in force."`
}

// Problem is the answer when something is wrong, by RFC 9457.
type Problem struct {
	Type         string `json:"type" doc:"urn:holdfast:problem: and the code."`
	Title        string `json:"title" doc:"The kind of problem, as a sentence."`
	Status       int    `json:"status" doc:"The HTTP status."`
	Code         string `json:"code" doc:"Stable, for programs."`
	Detail       string `json:"detail" doc:"What is wrong with this request."`
	Remedy       string `json:"remedy" doc:"What to do."`
	RetryAfterMs int64  `json:"retry_after_ms,omitempty"`
	Oldest       string `json:"oldest,omitempty" doc:"The oldest commit that is kept."`
	Op           string `json:"op,omitempty" is:"cid" doc:"The operation that was rejected."`
	AsOf         *AsOf  `json:"as_of,omitempty"`
}

// Error makes a Problem an error that people can read.
func (p *Problem) Error() string {
	text := p.Code + ": " + p.Detail
	if p.Remedy != "" {
		text += " " + p.Remedy
	}
	return text
}
