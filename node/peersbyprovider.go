package node

import (
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/holdfast-mesh/holdfast/node/api"
)

var descPeers = prometheus.NewDesc("holdfast_peers", "Connected peers, by provider; a validator's is in the bundle, an observer says its own.", []string{"provider"}, nil)

// providersShownMax bounds the labels: what observers call their provider is up to them.
const providersShownMax = 32

// peersByProvider counts connected peers. Providers of the committee are always there, so
// that one out of reach is a zero and not a gap.
type peersByProvider struct{ n *Node }

func (p peersByProvider) Describe(ch chan<- *prometheus.Desc) { ch <- descPeers }

func (p peersByProvider) Collect(ch chan<- prometheus.Metric) {
	for provider, peers := range countProviders(backend(p).Peers()) { // order: each is a sample of its own
		ch <- prometheus.MustNewConstMetric(descPeers, prometheus.GaugeValue, float64(peers), provider)
	}
}

// countProviders counts the connected among peers, whose validators come first.
func countProviders(peers []api.Peer) map[string]int {
	counts := make(map[string]int)
	for _, p := range peers {
		name := strings.ToValidUTF8(p.Provider, "") // a label must be, and an observer may say anything
		if _, known := counts[name]; !known && !p.Validator && (!p.Connected || len(counts) >= providersShownMax) {
			name = "other"
		}
		if p.Connected {
			counts[name]++
		} else if p.Validator {
			counts[name] += 0
		}
	}
	return counts
}
