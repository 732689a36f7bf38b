// Package api shows the ledger to programs and people: HTTP, JSON and WebSocket.
//
// It declares the Backend it needs; the node provides one:
//
//	server, err := api.New(backend, config)
//	if err != nil {
//		return err // all that is wrong with config
//	}
//	err = server.Run(ctx) // listens; ends with ctx, when all is drained
//
// Every answer says which commit it is from, how old that is and whether the
// node sees a quorum: its as_of. What is wrong with a request is a Problem, with
// a code for programs and a sentence for people that says what to do.
//
// A program that is not a node uses a Client:
//
//	client, err := api.NewClient("http://127.0.0.1:8080")
//	...
//	signed, err := draft.Sign(key)
//	answer, err := client.SubmitWait(ctx, signed)
//
// # How it is made
//
// An endpoint is a row: path, parameters, the type of its answer, what problems it
// can say, and its handler. The router and the OpenAPI document are made from the
// rows and the types, so that neither knows a path or a field the other does not;
// a test compares both with what is really answered.
//
// A stream has no queue. It is the index of the last commit it has delivered, and
// asks the Backend for the next. Who reads slowly falls behind, until the node does
// not keep the next commit any more; then the stream says where to resume, and ends.
//
// Everything a stranger can make the server hold has a bound, in Config or beside
// its use: connections and streams, of all and of one address, headers, bodies,
// operations, subscriptions, and how long each may take.
//
// The answers' Go types, the server's JSON, the client and the OpenAPI document
// at /v1/openapi.json are the same types.
package api
