package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/holdfast-mesh/holdfast/node/ledger"
)

// The media types of the API.
const (
	typeJSON    = "application/json"
	typeCBOR    = "application/cbor"
	typeCBORSeq = "application/cbor-seq"
	typeProblem = "application/problem+json"
	typeBlock   = "application/vnd.ipld.dag-cbor"
)

// answerBytesMax bounds what a client reads of one answer: the largest is a page
// of an account's history or a commit of many operations.
const answerBytesMax = 64 << 20

// idleMax is how many connections a client keeps open for its next requests: as
// many as a load generator's goroutines, which would else dial for each.
const idleMax = 256

// Client asks a node over HTTP. Many goroutines may use one at the same time. An
// answer that is not a success is the error *Problem, as the node wrote it.
type Client struct {
	base string
	// HTTP does the requests. It may be replaced before the first use. Its timeout
	// is zero: the contexts say how long a request may take.
	HTTP *http.Client
}

// NewClient returns a client of the node at a base address, such as
// http://127.0.0.1:8080.
func NewClient(base string) (*Client, error) {
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("api: %q is no address of a node: one is like http://127.0.0.1:8080", base)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConns, transport.MaxIdleConnsPerHost = idleMax, idleMax
	return &Client{base: strings.TrimRight(u.String(), "/"), HTTP: &http.Client{Transport: transport}}, nil
}

// Page says which part of a list is asked for. The zero Page is its newest part.
type Page struct {
	Before string // a list's Next, or a cursor
	Limit  int    // at most PageMax; 0: as the server likes
}

func (p Page) query() url.Values {
	q := url.Values{}
	if p.Before != "" {
		q.Set("before", p.Before)
	}
	if p.Limit != 0 {
		q.Set("limit", strconv.Itoa(p.Limit))
	}
	return q
}

// onward is the query of a list that goes from old to new.
func onward(after uint64, limit int) url.Values {
	q := url.Values{}
	if after != 0 {
		q.Set("after", strconv.FormatUint(after, 10))
	}
	if limit != 0 {
		q.Set("limit", strconv.Itoa(limit))
	}
	return q
}

// Status describes the node.
func (c *Client) Status(ctx context.Context) (a Status, err error) {
	return a, c.get(ctx, "/v1/status", nil, &a)
}

// Network describes the network: assets, councils, parameters.
func (c *Client) Network(ctx context.Context) (a Network, err error) {
	return a, c.get(ctx, "/v1/network", nil, &a)
}

// Peers returns the peers the node knows.
func (c *Client) Peers(ctx context.Context) (a Peers, err error) {
	return a, c.get(ctx, "/v1/peers", nil, &a)
}

// Committee returns the committee of the running epoch.
func (c *Client) Committee(ctx context.Context) (a Committee, err error) {
	return a, c.get(ctx, "/v1/committee", nil, &a)
}

// Contract says what works now.
func (c *Client) Contract(ctx context.Context) (a Contract, err error) {
	return a, c.get(ctx, "/v1/contract", nil, &a)
}

// Markets returns all markets.
func (c *Client) Markets(ctx context.Context) (a Markets, err error) {
	return a, c.get(ctx, "/v1/markets", nil, &a)
}

// Book returns the best levels of a market's sides; 0 levels: as the server likes.
func (c *Client) Book(ctx context.Context, market string, levels int) (a Book, err error) {
	q := url.Values{}
	if levels != 0 {
		q.Set("levels", strconv.Itoa(levels))
	}
	return a, c.get(ctx, "/v1/markets/"+url.PathEscape(market)+"/book", q, &a)
}

// Trades returns a page of a market's trades.
func (c *Client) Trades(ctx context.Context, market string, page Page) (a Trades, err error) {
	return a, c.get(ctx, "/v1/markets/"+url.PathEscape(market)+"/trades", page.query(), &a)
}

// Candles returns a market's candles that begin at or after fromMs; 0 for both
// numbers: the newest, as many as the server likes.
func (c *Client) Candles(ctx context.Context, market string, interval Interval, fromMs int64, limit int) (a Candles, err error) {
	q := url.Values{"interval": {string(interval)}}
	if fromMs != 0 {
		q.Set("from_ms", strconv.FormatInt(fromMs, 10))
	}
	if limit != 0 {
		q.Set("limit", strconv.Itoa(limit))
	}
	return a, c.get(ctx, "/v1/markets/"+url.PathEscape(market)+"/candles", q, &a)
}

// Account returns an account's balances. Of one that has never received anything
// the error is a *Problem with the code UNKNOWN_ACCOUNT.
func (c *Client) Account(ctx context.Context, account ledger.Account) (a Account, err error) {
	return a, c.get(ctx, "/v1/accounts/"+account.String(), nil, &a)
}

// AccountProof returns an account's balances with a proof of its whole state.
func (c *Client) AccountProof(ctx context.Context, account ledger.Account) (a Account, err error) {
	return a, c.get(ctx, "/v1/accounts/"+account.String(), url.Values{"proof": {"true"}}, &a)
}

// Orders returns an account's open orders after one, oldest first, at most
// limit; 0 for both: from the first, as many as the server likes.
func (c *Client) Orders(ctx context.Context, account ledger.Account, after uint64, limit int) (a Orders, err error) {
	return a, c.get(ctx, "/v1/accounts/"+account.String()+"/orders", onward(after, limit), &a)
}

// History returns a page of what happened to an account.
func (c *Client) History(ctx context.Context, account ledger.Account, page Page) (a History, err error) {
	return a, c.get(ctx, "/v1/accounts/"+account.String()+"/history", page.query(), &a)
}

// Withdrawals returns open withdrawals of all accounts after one, oldest first,
// at most limit; 0 for both: from the first, as many as the server likes.
func (c *Client) Withdrawals(ctx context.Context, after uint64, limit int) (a Withdrawals, err error) {
	return a, c.get(ctx, "/v1/withdrawals", onward(after, limit), &a)
}

// Op says how an operation stands.
func (c *Client) Op(ctx context.Context, id ledger.Digest) (a Op, err error) {
	return a, c.get(ctx, "/v1/ops/"+id.String(), nil, &a)
}

// WaitOp waits until an operation has ended and says how. When ctx ends first,
// the error is its.
func (c *Client) WaitOp(ctx context.Context, id ledger.Digest) (a Op, err error) {
	for {
		if err = c.get(ctx, "/v1/ops/"+id.String(), url.Values{"wait": {"final"}}, &a); err != nil || a.Status.Ended() {
			return a, err
		}
	}
}

// Submit hands over up to OpsMax signed operations in canonical bytes and says,
// in order, what became of each: pending says that it is durable on this node.
func (c *Client) Submit(ctx context.Context, ops ...[]byte) (a Ops, err error) {
	return a, c.post(ctx, nil, ops, &a)
}

// SubmitWait is Submit, and waits for the operations to end, for as long as the
// server allows; those that have not by then are pending still.
func (c *Client) SubmitWait(ctx context.Context, ops ...[]byte) (a Ops, err error) {
	return a, c.post(ctx, url.Values{"wait": {"final"}}, ops, &a)
}

// Commit returns a commit.
func (c *Client) Commit(ctx context.Context, index uint64) (a Commit, err error) {
	return a, c.get(ctx, "/v1/commits/"+strconv.FormatUint(index, 10), nil, &a)
}

// Block returns a block's DAG-CBOR. Whether its CID is what was asked for is for
// the caller to check if it does not trust the node.
func (c *Client) Block(ctx context.Context, id ledger.Digest) ([]byte, error) {
	var raw []byte
	err := c.get(ctx, "/v1/blocks/"+id.String(), nil, &raw)
	return raw, err
}

// Checkpoint returns the newest certified checkpoint.
func (c *Client) Checkpoint(ctx context.Context) (a Checkpoint, err error) {
	return a, c.get(ctx, "/v1/checkpoints/latest", nil, &a)
}

func (c *Client) get(ctx context.Context, path string, q url.Values, answer any) error {
	return c.do(ctx, http.MethodGet, path, q, "", nil, answer)
}

func (c *Client) post(ctx context.Context, q url.Values, ops [][]byte, answer any) error {
	return c.do(ctx, http.MethodPost, "/v1/ops", q, typeCBORSeq, bytes.Join(ops, nil), answer)
}

// do asks and decodes: a *[]byte gets the body as it is.
func (c *Client) do(ctx context.Context, method, path string, q url.Values, bodyType string, body []byte, answer any) error {
	address := c.base + path
	if len(q) > 0 {
		address += "?" + q.Encode()
	}
	request, err := http.NewRequestWithContext(ctx, method, address, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("api: %w", err)
	}
	if bodyType != "" {
		request.Header.Set("Content-Type", bodyType)
	}
	response, err := c.HTTP.Do(request)
	if err != nil {
		return fmt.Errorf("api: %w", err)
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(response.Body, answerBytesMax+1))
	if err != nil {
		return fmt.Errorf("api: reading the answer to %s %s: %w", method, path, err)
	}
	if len(raw) > answerBytesMax {
		return fmt.Errorf("api: the answer to %s %s has more than %d bytes", method, path, answerBytesMax)
	}
	if response.StatusCode >= http.StatusBadRequest {
		return problemIn(response, raw)
	}
	if to, ok := answer.(*[]byte); ok {
		*to = raw
		return nil
	}
	if err := json.Unmarshal(raw, answer); err != nil {
		return fmt.Errorf("api: the answer to %s %s is not what a node of this version writes: %w", method, path, err)
	}
	return nil
}

// problemIn reads a problem document, or makes one of an answer that has none,
// such as a proxy's.
func problemIn(response *http.Response, raw []byte) error {
	p := &Problem{}
	if response.Header.Get("Content-Type") == typeProblem && json.Unmarshal(raw, p) == nil && p.Code != "" {
		return p
	}
	return &Problem{
		Type: "about:blank", Title: http.StatusText(response.StatusCode), Status: response.StatusCode,
		Code: "HTTP_" + strconv.Itoa(response.StatusCode), Detail: "The answer is " + response.Status + " and no problem document.",
		Remedy: "Check that the address is a node's.",
	}
}

// CodeOf returns the code of the Problem in an error, or nothing.
func CodeOf(err error) string {
	var p *Problem
	if errors.As(err, &p) {
		return p.Code
	}
	return ""
}
