package faucet

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/holdfast-mesh/holdfast/node/api"
	"github.com/holdfast-mesh/holdfast/node/ledger"
)

// Bounds of the handler.
const (
	bodyBytesMax   = 1 << 10 // an account is 64 characters
	answerBytesMax = 64 << 10
	waitersMax     = 64
	waitMax        = 20 * time.Second // below what clients and proxies bear
)

// Path is where a faucet is asked, and told of.
const Path = "/v1/faucet"

// Request is the body of POST /v1/faucet.
type Request struct {
	Account string `json:"account"` // in hexadecimal
}

// Answer says what an asking has come to.
type Answer struct {
	Account string      `json:"account"`
	Gift    []string    `json:"gift"` // such as 100 USDT
	Op      string      `json:"op"`
	Status  api.OpState `json:"status"`
	Commit  uint64      `json:"commit,omitempty"`
	NextMs  int64       `json:"next_ms"` // when the account may ask again
}

// About is the answer of GET /v1/faucet.
type About struct {
	Network string   `json:"network"`
	Account string   `json:"account"` // the wallet's
	Gift    []string `json:"gift"`
	EveryMs int64    `json:"every_ms"` // between two gifts to one account
	Hourly  int      `json:"hourly"`
	Total   int      `json:"total"`
	Given   int      `json:"given"` // of Total
	Open    int      `json:"open"`  // under way
}

// answer is what whoever asked is told.
func (f *Faucet) answer(g *gift, op api.Op) (Answer, error) {
	a := Answer{Account: g.to.String(), Gift: f.cfg.giftTexts(), Op: g.id.String(), Status: op.Status, Commit: op.Commit, NextMs: g.timeMs + f.cfg.Every.Milliseconds()}
	switch op.Status {
	case api.OpUnknown, "":
		a.Status = api.OpPending
	case api.OpRejected, api.OpExpired:
		return a, problem(http.StatusServiceUnavailable, "NOT_PAID", "The network did not execute the gift.", fmt.Sprintf("Operation %s is %s %s.", g.id, op.Status, op.Reason), "Ask again in a minute; it was not counted.", window)
	}
	if op.Status == api.OpFinal && !paidBy(op) {
		return a, problem(http.StatusServiceUnavailable, "NOT_PAID", "The ledger refused the gift.", fmt.Sprintf("Operation %s: %s.", g.id, op.Actions[0].Reason), "Ask the faucet's operator; it was not counted.", window)
	}
	return a, nil
}

// About tells the limits and how much of them is used.
func (f *Faucet) About() About {
	f.mu.Lock()
	defer f.mu.Unlock()
	return About{
		Network: f.cfg.Network.String(), Account: f.self.String(), Gift: f.cfg.giftTexts(), EveryMs: f.cfg.Every.Milliseconds(),
		Hourly: f.cfg.Hourly, Total: f.cfg.Total, Given: f.given, Open: len(f.open),
	}
}

// Handler serves the faucet. Its answers are JSON, its refusals problem documents
// (RFC 9457) as those of the node's API.
func (f *Faucet) Handler() http.Handler {
	waiting := make(chan struct{}, waitersMax)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok\n") })
	mux.HandleFunc("GET "+Path, func(w http.ResponseWriter, _ *http.Request) { say(w, f.About(), nil) })
	mux.HandleFunc("POST "+Path, func(w http.ResponseWriter, r *http.Request) {
		to, err := readRequest(w, r)
		if err != nil {
			say(w, nil, err)
			return
		}
		select {
		case waiting <- struct{}{}:
			defer func() { <-waiting }()
		default:
			say(w, nil, problem(http.StatusServiceUnavailable, "BUSY", "The faucet has no room now.", "Too many ask at once.", "Ask again in a moment.", time.Second))
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), waitMax)
		defer cancel()
		a, err := f.Ask(ctx, to)
		if err != nil && !errors.As(err, new(*api.Problem)) {
			f.log.Error("a gift failed", "to", to, "err", err)
		}
		say(w, a, err)
	})
	return mux
}

func readRequest(w http.ResponseWriter, r *http.Request) (to ledger.Account, err error) {
	body := json.NewDecoder(http.MaxBytesReader(w, r.Body, bodyBytesMax))
	body.DisallowUnknownFields()
	var q Request
	if err = body.Decode(&q); err == nil && body.More() {
		err = errors.New("more than one object")
	}
	if err == nil {
		to, err = ledger.ParseAccount(q.Account)
	}
	if err != nil {
		return to, problem(http.StatusBadRequest, "BAD_BODY", "The body is not a request to a faucet.", err.Error(), `Send {"account": "..."} with the account in hexadecimal, as holdfast wallet show prints it.`, 0)
	}
	return to, nil
}

// say answers with v, or with what went wrong.
func say(w http.ResponseWriter, v any, err error) {
	status, kind := http.StatusOK, "application/json"
	if err != nil {
		p := (*api.Problem)(nil)
		if !errors.As(err, &p) {
			p = problem(http.StatusInternalServerError, "INTERNAL", "The faucet has failed to answer.", "Something went wrong that is not the request's fault.", "Ask again; the faucet's log says what has happened.", time.Second)
		}
		v, status, kind = p, p.Status, "application/problem+json"
		if p.RetryAfterMs > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(float64(p.RetryAfterMs)/1000))))
		}
	}
	raw, err := json.Marshal(v)
	if err != nil {
		panic("faucet: invariant broken: an answer can be written: " + err.Error())
	}
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	w.Write(append(raw, '\n')) // if nobody reads it, the gift is found by asking again
}

// Client asks a faucet over HTTP. Many goroutines may use one.
type Client struct {
	// Base is the faucet's address, such as http://127.0.0.1:8088.
	Base string
	// Host, if not empty, is the name by which a mesh's HTTP proxy at Base finds it.
	Host string
	// HTTP does the requests; nil is the default client.
	HTTP *http.Client
}

// Ask asks for a gift to an account. A refusal is the error *api.Problem.
func (c *Client) Ask(ctx context.Context, to ledger.Account) (a Answer, err error) {
	body, err := json.Marshal(Request{Account: to.String()})
	if err != nil {
		return a, err
	}
	return a, c.do(ctx, http.MethodPost, body, &a)
}

// About asks for the limits.
func (c *Client) About(ctx context.Context) (a About, err error) {
	return a, c.do(ctx, http.MethodGet, nil, &a)
}

func (c *Client) do(ctx context.Context, method string, body []byte, into any) error {
	r, err := http.NewRequestWithContext(ctx, method, c.Base+Path, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("faucet: %w", err)
	}
	r.Host = c.Host
	r.Header.Set("Content-Type", "application/json")
	client := c.HTTP
	if client == nil {
		client = http.DefaultClient
	}
	answer, err := client.Do(r)
	if err != nil {
		return fmt.Errorf("faucet: %w", err)
	}
	defer answer.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(answer.Body, answerBytesMax))
	if err != nil {
		return fmt.Errorf("faucet: %w", err)
	}
	if answer.StatusCode == http.StatusOK {
		if err := json.Unmarshal(raw, into); err != nil {
			return fmt.Errorf("faucet: its answer makes no sense: %w", err)
		}
		return nil
	}
	p := new(api.Problem)
	if err := json.Unmarshal(raw, p); err != nil || p.Code == "" {
		return fmt.Errorf("faucet: it answers %s: %s", answer.Status, bytes.TrimSpace(raw))
	}
	return p
}
