package api

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/holdfast-mesh/holdfast/node/ledger"
)

// object is a JSON object being made.
type object = map[string]any

// Document returns the OpenAPI 3.1 document of the API. It is made from the
// endpoints and the types that the handlers use. The bytes are shared: read only.
func Document() []byte { return document() }

var document = sync.OnceValue(func() []byte {
	raw, err := json.MarshalIndent(describe(endpoints()), "", " ")
	if err != nil {
		panic("api: invariant broken: the document can be written: " + err.Error())
	}
	return raw
})

const aboutAPI = `A node of a Holdfast network: wallets and order books that stay alive when a whole cloud provider goes dark.

Every answer says what it is as of: the newest executed commit, its time, how old that is, and whether the node sees a quorum. ` +
	`One that does not says so, and never pretends.

Amounts, prices and quantities are decimal strings, in whole tokens. Times that end in _ms count Unix milliseconds. ` +
	`Operations, blocks, commits and networks are named by their CIDs. Lists of what happened have cursors, which are the same on every node.

What is wrong with a request is a problem document by RFC 9457, with a stable code, a sentence, and what to do. ` +
	`Every path answers an unknown method with 405 BAD_METHOD, and any other path is 404 NOT_FOUND. ` +
	`An address that asks for too much is answered 429 RATE_LIMITED, and Retry-After says when to go on.

The paths under /debug/ are for people on the node's own machine, and no part of this document.`

func describe(all []endpoint) object {
	s := &schemas{made: make(object)}
	paths := make(object)
	for i := range all {
		e := &all[i]
		of, ok := paths[e.path].(object)
		if !ok {
			of = make(object)
			paths[e.path] = of
		}
		of[strings.ToLower(e.method)] = s.operation(e)
	}
	codes, sentences := reasons()
	problem := s.made["Problem"].(object)["properties"].(object)["code"].(object)
	problem["enum"] = slices.Compact(slices.Sorted(slices.Values(slices.Concat(problemCodes(all), codes, verdicts))))
	return object{
		"openapi": "3.1.0",
		"info": object{
			"title": "Holdfast", "version": "1", "description": aboutAPI + "\n\nThe ledger's codes:" + sentences,
			"license": object{"name": "Apache 2.0", "identifier": "Apache-2.0"},
		},
		"paths":      paths,
		"components": object{"schemas": s.made},
	}
}

// operation describes an endpoint.
func (s *schemas) operation(e *endpoint) object {
	o := object{"operationId": e.name, "summary": e.about, "responses": s.responses(e)}
	var params []any
	for i := range e.params {
		p := &e.params[i]
		schema := object{"type": string(p.value)}
		if p.enum != nil {
			schema["enum"] = p.enum
		}
		in := "query"
		if e.inPath(p) {
			in = "path"
		}
		params = append(params, object{"name": p.name, "in": in, "required": in == "path", "description": p.about, "schema": schema})
	}
	if params != nil {
		o["parameters"] = params
	}
	switch e.name {
	case "submit":
		o["requestBody"] = submitBody()
	case "stream":
		o["x-websocket"] = object{"client": s.of(Subscription{}), "server": s.of(Message{})}
	}
	return o
}

// responses describes what an endpoint answers, by status.
func (s *schemas) responses(e *endpoint) object {
	all := make(object)
	switch {
	case e.name == "stream":
		all["101"] = object{"description": "The stream is open."}
	case e.answer != nil:
		all["200"] = object{"description": "The answer.", "content": object{typeJSON: object{"schema": s.of(e.answer)}}}
	case e.media == typeJSON:
		all["200"] = object{"description": "The document.", "content": object{typeJSON: object{"schema": object{"type": "object"}}}, "headers": asOfHeader()}
	case e.media == typeBlock:
		all["200"] = object{"description": "The bytes.", "content": object{e.media: object{}}, "headers": asOfHeader()}
	default:
		all["200"] = object{"description": "The text.", "content": object{e.media: object{}}}
	}
	for status, codes := range e.problems() {
		all[status] = object{"description": strings.Join(codes, " "), "content": object{typeProblem: object{"schema": s.of(Problem{})}}}
	}
	return all
}

func asOfHeader() object {
	return object{"Holdfast-As-Of": object{"description": "The as_of, as JSON.", "required": true, "schema": object{"type": "string"}}}
}

// problems lists what an endpoint can say is wrong, by status.
func (e *endpoint) problems() map[string][]string {
	all := make(map[string][]string)
	for _, k := range append([]*problemKind{badParameter, rateLimited}, e.says...) {
		status := strconv.Itoa(k.status)
		all[status] = append(all[status], k.code+": "+k.title)
	}
	return all
}

// submitBody describes what POST /v1/ops takes.
func submitBody() object {
	link := object{"type": "object", "required": []string{"/"}, "additionalProperties": false,
		"properties": object{"/": object{"type": "string", "description": "A CID."}}}
	bytes := object{"type": "object", "required": []string{"/"}, "additionalProperties": false,
		"properties": object{"/": object{"type": "object", "required": []string{"bytes"}, "additionalProperties": false,
			"properties": object{"bytes": object{"type": "string", "description": "Base64 without padding."}}}}}
	return object{
		"required": true,
		"content": object{
			typeCBOR:    object{"schema": object{"description": "One operation in canonical DAG-CBOR."}},
			typeCBORSeq: object{"schema": object{"description": "Up to " + strconv.Itoa(OpsMax) + " operations, one after the other (RFC 8742)."}},
			typeJSON: object{"schema": object{
				"description": "One operation in DAG-JSON: exactly what is signed, so prices count ticks and quantities lots. " +
					"/v1/markets says how large these are.",
				"type": "object", "required": []string{"acct", "actions", "net", "sig"}, "additionalProperties": false,
				"properties": object{
					"net":     link,
					"acct":    bytes,
					"sig":     bytes,
					"nonce":   object{"type": "integer", "description": "Unused by the account so far; read as milliseconds."},
					"time":    object{"type": "integer", "description": "The signer's clock, in Unix milliseconds."},
					"window":  object{"type": "integer", "description": "How long after time it may still execute, in milliseconds."},
					"actions": object{"type": "array", "minItems": 1, "maxItems": ledger.ActionsMax, "items": object{"type": "object", "minProperties": 1, "maxProperties": 1}},
				},
			}},
		},
	}
}

// verdicts are the codes of a Backend about an operation that never got to a
// ledger.
var verdicts = []string{CodeBadFormat, CodeBadSignature}

// reasons are the codes of the ledger, with their sentences.
func reasons() (codes []string, text string) {
	for r := ledger.ReasonNone + 1; ; r++ {
		known, ok := ledger.ParseReason(r.String())
		if !ok || known != r {
			break
		}
		codes = append(codes, r.String())
		text += "\n- " + r.String() + ": " + r.Sentence()
	}
	return codes, text
}

// problemCodes are all codes a problem can have, but for the ledger's.
func problemCodes(all []endpoint) (codes []string) {
	seen := []*problemKind{badParameter, rateLimited, notFound, badMethod, localOnly}
	for i := range all {
		seen = append(seen, all[i].says...)
	}
	for _, k := range seen {
		codes = append(codes, k.code)
	}
	return codes
}
