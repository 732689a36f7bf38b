package p2p

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// meter holds the figures of one host. They count whether or not anybody reads.
type meter struct {
	ups, downs, bans, offences   prometheus.Counter
	dials, dialFailures          prometheus.Counter
	broadcasts, lagging, relayed prometheus.Counter
	sent, received               prometheus.Counter
	gossipIn, gossipOut          prometheus.Counter
	gossipRejected               prometheus.Counter
	fetches, fetchFailures       prometheus.Counter
	served, throttled            prometheus.Counter
	rtt, fetchTime               prometheus.Histogram

	registered []prometheus.Collector
}

func newMeter() *meter {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: "holdfast", Subsystem: "p2p", Name: name, Help: help})
	}
	histogram := func(name, help string, first float64) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: "holdfast", Subsystem: "p2p", Name: name, Help: help,
			Buckets: prometheus.ExponentialBuckets(first, 2, 16)})
	}
	return &meter{
		ups:            counter("peer_ups_total", "Peers that became connected."),
		downs:          counter("peer_downs_total", "Peers that ceased to be connected."),
		bans:           counter("bans_total", "Peers that were refused for a time."),
		offences:       counter("offences_total", "What peers did that honest ones do not."),
		dials:          counter("dials_total", "Dials that ended."),
		dialFailures:   counter("dial_failures_total", "Dials that failed."),
		broadcasts:     counter("blocks_broadcast_total", "Own blocks sent out."),
		lagging:        counter("blocks_deferred_total", "Own blocks a full queue left to the store, per peer."),
		relayed:        counter("blocks_relayed_total", "Others' blocks handed on to peers that lacked them."),
		sent:           counter("stream_sent_bytes_total", "Bytes written to block streams."),
		received:       counter("stream_received_bytes_total", "Bytes read from block streams."),
		gossipIn:       counter("gossip_received_total", "Gossip messages that were accepted."),
		gossipOut:      counter("gossip_published_total", "Gossip messages published."),
		gossipRejected: counter("gossip_rejected_total", "Gossip messages that were invalid."),
		fetches:        counter("fetch_attempts_total", "Requests sent."),
		fetchFailures:  counter("fetch_failures_total", "Requests that failed."),
		served:         counter("fetch_served_bytes_total", "Bytes of answers to requests."),
		throttled:      counter("fetch_throttled_total", "Requests refused for their rate."),
		rtt:            histogram("heartbeat_seconds", "Round trip of heartbeats.", 50e-6),
		fetchTime:      histogram("fetch_seconds", "Time of requests that succeeded.", 200e-6),
	}
}

func (m *meter) register(h *Host) error {
	if h.config.Registerer == nil {
		return nil
	}
	gauge := func(name, help string, f func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "holdfast", Subsystem: "p2p", Name: name, Help: help}, f)
	}
	collectors := []prometheus.Collector{
		m.ups, m.downs, m.bans, m.offences, m.dials, m.dialFailures, m.broadcasts, m.lagging, m.relayed,
		m.sent, m.received, m.gossipIn, m.gossipOut, m.gossipRejected, m.fetches, m.fetchFailures,
		m.served, m.throttled, m.rtt, m.fetchTime,
		gauge("peers", "Connected peers.", func() float64 { return float64(len(h.connectedPeers())) }),
		gauge("validators_connected", "Connected validators.", func() float64 { return float64(h.validatorsConnected()) }),
		gauge("book_peers", "Peers in the address book.", func() float64 { return float64(len(h.book.entries())) }),
		gauge("queued_bytes", "Bytes of blocks that wait for slow peers.", func() float64 { return float64(h.queuedBytes()) }),
	}
	var errs []error
	for _, c := range collectors {
		if err := h.config.Registerer.Register(c); err != nil {
			errs = append(errs, err)
			continue
		}
		m.registered = append(m.registered, c)
	}
	return errors.Join(errs...)
}

func (m *meter) unregister(h *Host) {
	for _, c := range m.registered {
		h.config.Registerer.Unregister(c)
	}
	m.registered = nil
}

func (h *Host) validatorsConnected() (n int) {
	for _, p := range h.connectedPeers() {
		if h.roles.isValidator(p) {
			n++
		}
	}
	return n
}

func (h *Host) queuedBytes() (n int) {
	for _, s := range h.allSenders() {
		s.mu.Lock()
		n += s.queued
		s.mu.Unlock()
	}
	return n
}
