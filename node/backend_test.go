package node

import (
	"testing"

	"github.com/holdfast-mesh/holdfast/node/api"
	"github.com/holdfast-mesh/holdfast/node/ledger"
	"github.com/holdfast-mesh/holdfast/storage"
)

// An operation that comes to a gateway while the commit that executes it is being
// synced is on its way, although its own nonce is used. Two nodes killed in turn under
// load showed it: a client was told that an executed operation was rejected.
func TestSubmittedWhileItsCommitIsSynced(t *testing.T) {
	c := newCluster(t, 4)
	c.untilQuorum()
	raw := c.transfer(0)
	final := c.final(0, raw)
	c.ends(1, final.ID, api.OpFinal)
	other := c.op(c.traders[1], "transfer 0.000001 USDT to "+ledger.AccountOf(c.faucet).String())
	c.halt(1, false)

	// The node again, as it is between the step and the end of the sync: its ledger
	// has executed the commit, and nothing a reader looks at says so.
	n, err := Open(c.nodes[1].cfg, discard)
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	empty, err := storage.Open(t.TempDir(), storage.DefaultOptions())
	if err != nil {
		t.Fatal(err)
	}
	defer empty.Close()
	if n.index, err = openIndex(empty, 0); err != nil {
		t.Fatal(err)
	}
	verified, errs := n.standing.Load().verifier.Ops([][]byte{raw, other})
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
	result := []api.OpStatus{{ID: final.ID, State: api.OpPending}, {State: api.OpPending}}
	if err := (backend{n}).screen(t.Context(), verified, result); err != nil {
		t.Fatal(err)
	}
	if result[0].State != api.OpPending || verified[0] != nil {
		t.Errorf("it is %+v, and journalled: %v", result[0], verified[0] != nil)
	}
	if verified[1] == nil {
		t.Error("another operation is not journalled")
	}
	reused, _ := n.standing.Load().verifier.Ops([][]byte{raw})
	if got := refusal(n.replica.Ledger(), reused[0]); got != executing {
		t.Errorf("the ledger that has executed it says %v", got)
	}
}
