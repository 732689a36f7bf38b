package node

import (
	"fmt"
	"maps"
	"testing"

	"github.com/holdfast-mesh/holdfast/node/api"
)

func TestPeersAreCountedByProvider(t *testing.T) {
	peers := []api.Peer{
		{Provider: "aws", Validator: true, Connected: true}, {Provider: "aws", Validator: true},
		{Provider: "gcp", Validator: true},
		{Provider: "home", Connected: true}, {Provider: "aws", Connected: true}, {Provider: "\xff", Connected: true},
	}
	if got, want := countProviders(peers), map[string]int{"aws": 2, "gcp": 0, "home": 1, "": 1}; !maps.Equal(got, want) {
		t.Errorf("%v, not %v", got, want)
	}
	// Observers that each claim another provider do not make a label each.
	peers = peers[:3]
	for i := range 100 {
		peers = append(peers, api.Peer{Provider: fmt.Sprint("liar", i), Connected: true})
	}
	got := countProviders(peers)
	if len(got) > providersShownMax+1 || got["aws"] != 1 || got["other"] != 100-(providersShownMax-2) {
		t.Errorf("%d labels, %d others", len(got), got["other"])
	}
}
