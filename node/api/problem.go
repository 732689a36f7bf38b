package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"time"
)

// problemKind is a kind of problem: what does not depend on the request.
type problemKind struct {
	code   string // stable
	status int
	title  string
	remedy string
}

// The kinds of problem. The codes of the ledger's reasons come on top: an
// operation that is sent alone and rejected is a problem with its reason's code.
var (
	badParameter   = &problemKind{"BAD_PARAMETER", 400, "A parameter is missing, unknown or malformed.", "Correct the parameter; /v1/openapi.json says what there is."}
	badBody        = &problemKind{"BAD_BODY", 400, "The body is not what its media type says.", "Send operations in canonical DAG-CBOR, or one in DAG-JSON."}
	notFound       = &problemKind{"NOT_FOUND", 404, "There is no such path.", "/v1/openapi.json says which paths there are."}
	noSuchThing    = &problemKind{"NO_SUCH_THING", 404, "There is no such thing on this node.", "Check the name; if it is new, this node may not have it yet: compare as_of."}
	unknownMarket  = &problemKind{"UNKNOWN_MARKET", 404, "There is no such market.", "/v1/markets says which there are."}
	unknownAccount = &problemKind{"UNKNOWN_ACCOUNT", 404, "The account has never received anything on this network.", "Deposit or transfer to it first; compare as_of, this node may be behind."}
	tooOld         = &problemKind{"TOO_OLD", 410, "The node does not keep what is this old.", "Ask a node that keeps more, or go on from the oldest it keeps."}
	badMethod      = &problemKind{"BAD_METHOD", 405, "The path does not take this method.", "The Allow header says which it takes."}
	tooLarge       = &problemKind{"TOO_LARGE", 413, "The body is larger than the path takes.", "Send fewer operations in one request."}
	tooMany        = &problemKind{"TOO_MANY_OPS", 413, "There are more operations than one request may have.", "Send fewer operations in one request."}
	badMediaType   = &problemKind{"BAD_MEDIA_TYPE", 415, "The path does not take this media type.", "Send application/cbor for one operation, application/cbor-seq for several, or application/json."}
	rejected       = &problemKind{"REJECTED", 422, "The operation is rejected.", "The code and the detail say why; nothing was taken."}
	rateLimited    = &problemKind{"RATE_LIMITED", 429, "This address asks for more than its share.", "Wait as long as Retry-After says, and send operations in batches."}
	tooManyStreams = &problemKind{"TOO_MANY_STREAMS", 429, "There are as many streams open as may be.", "Subscribe to several channels over one stream, or close some."}
	badHandshake   = &problemKind{"BAD_HANDSHAKE", 426, "The path speaks WebSocket.", "Connect with a WebSocket client, from the node's own origin if it is a browser."}
	internal       = &problemKind{"INTERNAL", 500, "The node has failed to answer.", "Try again, or another node; the node's log says what has happened."}
	busy           = &problemKind{"BUSY", 503, "The node has no room now.", "Try again after Retry-After, or another node."}
	diskFull       = &problemKind{"DISK_FULL", 507, "The node's disk is full, so it takes no operations.", "Submit to another node; reads go on. Its operator has to make room."}
	stopped        = &problemKind{"STOPPED", 503, "The node takes no operations.", "Submit to another node; /v1/status says why this one has stopped."}
	notReady       = &problemKind{"NOT_READY", 503, "The node is not ready.", "Wait until it has caught up, or ask another node; /v1/status says what it does."}
	localOnly      = &problemKind{"LOCAL_ONLY", 403, "The path is for the node's own machine.", "Ask over the loopback address, without a proxy."}
)

// retryDefault is said where nobody knows better.
const retryDefault = time.Second

// of makes a problem of this kind.
func (k *problemKind) of(format string, args ...any) *Problem {
	return &Problem{
		Type: "urn:holdfast:problem:" + k.code, Title: k.title, Status: k.status, Code: k.code,
		Detail: fmt.Sprintf(format, args...), Remedy: k.remedy,
	}
}

// after adds when to try again.
func (p *Problem) after(d time.Duration) *Problem {
	p.RetryAfterMs = max(1, d.Milliseconds())
	return p
}

// problemFor turns any error of a handler into a problem. Errors nobody foresaw
// become internal ones, without their text: unforeseen says so.
func problemFor(err error) (p *Problem, unforeseen bool) {
	var (
		full  *BusyError
		old   *TooOldError
		large *http.MaxBytesError
	)
	switch {
	case errors.As(err, &p):
		return p, false
	case errors.As(err, &full):
		return busy.of("There is no room in %s.", full.What).after(full.After), false
	case errors.As(err, &old):
		p = tooOld.of("Nothing before commit %d is kept here.", old.Oldest)
		p.Oldest = strconv.FormatUint(old.Oldest, 10)
		return p, false
	case errors.As(err, &large):
		return tooLarge.of("At most %d bytes are taken.", large.Limit), false
	case errors.Is(err, ErrNotFound):
		return noSuchThing.of("What the path names is not here."), false
	case errors.Is(err, ErrDiskFull):
		return diskFull.of("Nothing was taken."), false
	case errors.Is(err, ErrStopped):
		return stopped.of("Nothing was taken."), false
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return busy.of("The request was ended before it was answered.").after(retryDefault), false
	}
	return internal.of("Something went wrong that is not the request's fault."), true
}

// write sends the problem.
func (p *Problem) write(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Content-Type", typeProblem)
	h.Set("Cache-Control", "no-store")
	if p.RetryAfterMs > 0 {
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(float64(p.RetryAfterMs)/1000))))
	}
	raw, err := json.Marshal(p)
	if err != nil {
		panic("api: invariant broken: a problem can be written: " + err.Error())
	}
	w.WriteHeader(p.Status)
	w.Write(append(raw, '\n')) // if nobody reads it, nobody misses it
}
