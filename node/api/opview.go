package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/ipld/go-ipld-prime/codec/dagcbor"
	"github.com/ipld/go-ipld-prime/codec/dagjson"
	"github.com/ipld/go-ipld-prime/node/basicnode"

	"github.com/holdfast-mesh/holdfast/node/ledger"
)

// Bounds of a body.
const (
	opsBytesMax   = 4 << 20 // 512 operations of a few kB, or 256 of the largest
	opJSONMax     = 8 * ledger.OpBytesMax
	opJSONNesting = 16 // an operation has maps in a list in a map, and listings a few more
)

var waitParam = param{name: "wait", about: "final: answer when it has ended, or after a while with its present status.", value: paramText, enum: []string{"final"}}

// opEndpoints take operations and tell how they stand.
var opEndpoints = []endpoint{
	{
		name: "submit", method: http.MethodPost, path: "/v1/ops", answer: Ops{},
		about: "Takes signed operations: application/cbor is one, application/cbor-seq up to 512, application/json one in DAG-JSON. " +
			"What is pending in the answer is durable on this node. In a sequence each operation has its own status; " +
			"one sent alone that is rejected is a problem with the code of its reason.",
		params: []param{waitParam},
		says:   []*problemKind{badBody, tooLarge, tooMany, badMediaType, rejected, diskFull, busy, stopped, internal},
		serve:  (*Server).submit,
	},
	{
		name: "op", method: http.MethodGet, path: "/v1/ops/{op}", answer: Op{},
		about:  "How an operation stands: unknown, pending, included, final, rejected or expired.",
		params: []param{{name: "op", about: "The operation's id, a CID.", value: paramText}, waitParam},
		says:   []*problemKind{internal},
		serve:  (*Server).op,
	},
}

func (s *Server) op(c *call) (any, error) {
	id, err := c.digest("op")
	if err != nil {
		return nil, err
	}
	wait, err := c.wait()
	if err != nil {
		return nil, err
	}
	status, err := s.backend.Op(c.r.Context(), id)
	if err == nil && wait && !status.State.Ended() {
		status, err = s.waitFor(c, []OpStatus{status})
	}
	if err != nil {
		return nil, err
	}
	n, asOf := s.now()
	a := n.op(&status)
	a.AsOf = &asOf
	return &a, nil
}

// waitFor waits until all of the operations have ended, or for WaitTimeout
// together, and puts their newest status in place. It returns the last.
func (s *Server) waitFor(c *call, of []OpStatus) (last OpStatus, err error) {
	control := http.NewResponseController(c.w)
	_ = control.SetReadDeadline(time.Time{}) // the request is read; see allowMore for the error
	ctx, cancel := s.untilDrained(c.r.Context(), s.config.WaitTimeout)
	defer cancel()
	for i := range of {
		if !of[i].State.Ended() {
			if of[i], err = s.waitOne(ctx, c.r.Context(), of[i]); err != nil {
				return last, err
			}
		}
		last = of[i]
	}
	s.allowMore(c.w, time.Now())
	return last, nil
}

// waitOne waits for one operation as long as ctx lasts, and then asks how it stands.
func (s *Server) waitOne(ctx, request context.Context, of OpStatus) (OpStatus, error) {
	now, err := s.backend.Wait(ctx, of.ID)
	if err != nil && ctx.Err() != nil && request.Err() == nil {
		return s.backend.Op(request, of.ID)
	}
	return now, err
}

// submit takes operations. Nothing here depends on their content: cutting a
// sequence is all there is between the wire and the backend.
func (s *Server) submit(c *call) (any, error) {
	wait, err := c.wait()
	if err != nil {
		return nil, err
	}
	ops, alone, err := c.ops()
	if err != nil {
		return nil, err
	}
	if err := take(c.share.ops, time.Now(), len(ops)); err != nil {
		return nil, err
	}
	status, err := s.backend.Submit(c.r.Context(), ops)
	if err != nil {
		return nil, err
	}
	if wait {
		if _, err := s.waitFor(c, status); err != nil {
			return nil, err
		}
	}
	if alone && status[0].State == OpRejected && status[0].Commit == 0 {
		return nil, problemOfOp(&status[0])
	}
	n, asOf := s.now()
	a := &Ops{AsOf: asOf, Ops: make([]Op, len(status))}
	for i := range status {
		a.Ops[i] = n.op(&status[i])
	}
	return a, nil
}

// problemOfOp says that an operation was rejected before it got into a commit.
func problemOfOp(s *OpStatus) *Problem {
	code, detail := s.why()
	p := rejected.of("%s", detail)
	p.Code, p.Type, p.Op = code, "urn:holdfast:problem:"+code, s.ID.String()
	return p
}

// ops reads the body: one operation alone, or several.
func (c *call) ops() (ops [][]byte, alone bool, err error) {
	media, _, err := mime.ParseMediaType(c.r.Header.Get("Content-Type"))
	if err != nil {
		media = ""
	}
	switch media {
	case typeCBOR:
		body, err := c.body(ledger.OpBytesMax)
		return [][]byte{body}, true, err
	case typeCBORSeq:
		body, err := c.body(opsBytesMax)
		if err != nil {
			return nil, false, err
		}
		ops, err = split(body)
		return ops, false, err
	case typeJSON:
		body, err := c.body(opJSONMax)
		if err != nil {
			return nil, true, err
		}
		op, err := fromJSON(body)
		return [][]byte{op}, true, err
	}
	return nil, false, badMediaType.of("The Content-Type is %q.", shorten(c.r.Header.Get("Content-Type")))
}

// body reads all of the body. One that says it is longer than most is refused
// before it is read.
func (c *call) body(most int64) ([]byte, error) {
	if c.r.ContentLength > most {
		c.w.Header().Set("Connection", "close")
		return nil, tooLarge.of("At most %d bytes are taken, this has %d.", most, c.r.ContentLength)
	}
	b := bytes.NewBuffer(make([]byte, 0, max(c.r.ContentLength, 0)+bytes.MinRead))
	_, err := b.ReadFrom(http.MaxBytesReader(c.w, c.r.Body, most))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return nil, err
	case err != nil:
		return nil, badBody.of("The body ended early.")
	case b.Len() == 0:
		return nil, badBody.of("The body is empty.")
	}
	return b.Bytes(), nil
}

// skipping reads one item of a sequence without looking at what it is. The
// nesting is bounded by what the deepest operation has.
var skipping = func() cbor.DecMode {
	mode, err := cbor.DecOptions{MaxNestedLevels: opJSONNesting, IndefLength: cbor.IndefLengthForbidden, MaxArrayElements: 1 << 17, MaxMapPairs: 1 << 17}.DecMode()
	if err != nil {
		panic("api: invariant broken: the decoding options are right: " + err.Error())
	}
	return mode
}()

// skipped is an item that nobody wants to decode.
type skipped struct{}

// UnmarshalCBOR is told the item's bytes, and needs none of them.
func (skipped) UnmarshalCBOR([]byte) error { return nil }

// split cuts a CBOR sequence (RFC 8742) into its items, which share its bytes.
func split(body []byte) (items [][]byte, err error) {
	for rest := body; len(rest) > 0; {
		at := len(body) - len(rest)
		if len(items) == OpsMax {
			return nil, tooMany.of("At most %d operations are taken at once.", OpsMax)
		}
		after, err := skipping.UnmarshalFirst(rest, &skipped{})
		if err != nil {
			return nil, badBody.of("At byte %d there is no CBOR item: %s.", at, shorten(err.Error()))
		}
		end := len(body) - len(after)
		items, rest = append(items, body[at:end:end]), after
	}
	return items, nil
}

// fromJSON returns the canonical DAG-CBOR of what a body says in DAG-JSON
// (https://ipld.io/specs/codecs/dag-json): the same maps, lists and numbers
// as in the signed bytes, links as {"/": cid} and bytes as {"/": {"bytes":
// base64}}. What it says is for the operation's decoder to judge.
func fromJSON(body []byte) ([]byte, error) {
	builder := basicnode.Prototype.Any.NewBuilder()
	options := dagjson.DecodeOptions{ParseLinks: true, ParseBytes: true, MaxDepth: opJSONNesting}
	reader := bytes.NewReader(body)
	if err := options.Decode(builder, reader); err != nil {
		return nil, badBody.of("It is no DAG-JSON: %s.", shorten(err.Error()))
	}
	var b bytes.Buffer
	if err := dagcbor.Encode(builder.Build(), io.Writer(&b)); err != nil {
		return nil, badBody.of("It cannot be written as DAG-CBOR: %s.", shorten(fmt.Sprint(err)))
	}
	return b.Bytes(), nil
}
