// Package faucet gives a little of a test network's money to whoever asks, within
// limits, and never twice for one asking.
//
// A gift is one signed operation. It is durable in the faucet's own journal before
// any node sees it, and it is that operation which is sent again after a crash, a
// timeout or a lost answer: the ledger executes an operation once, however often it
// comes. Limits count what is in the journal, so they hold over restarts. How an
// operation ended counts as not paid only if the network has said so.
//
// The caller opens it beside a node, and serves its handler:
//
//	f, err := faucet.Open(config)
//	go f.Run(ctx)                      // settles what a crash has left open
//	http.Serve(listener, f.Handler())  // POST /v1/faucet, GET /v1/faucet, GET /healthz
//	f.Close()
//
// The wallet should be the faucet's alone, and hold no more than may be lost: keys are
// free, so whoever wants more than his share asks in many names, up to Hourly and
// Total.
package faucet
